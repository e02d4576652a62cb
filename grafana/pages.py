"""The pages: which question each row answers, and what is shown for it.

From top to bottom a page goes from "is it well?" to "why?".
"""

from panels import (
    BLUE,
    GREEN,
    ORANGE,
    PURPLE,
    RED,
    YELLOW,
    Page,
    Query,
    Row,
    by_broker,
    by_label,
    by_label_now,
    by_shard,
    chosen,
    figure,
    fullest,
    graph,
    greatest,
    heatmap,
    percentiles,
    plus,
    quantile,
    rate,
    risen,
    table,
    total,
)

RECEIVED = [f"hawker_publishes_received_qos{qos}_total" for qos in (0, 1, 2)]
SENT = [f"hawker_publishes_sent_qos{qos}_total" for qos in (0, 1, 2)]

# What was lost against the will of whoever sent it, with the words of the legends.
LOST = {
    "hawker_dropped_queue_full_total": ("queue full", RED),
    "hawker_dropped_share_queue_full_total": ("queue of a shared group full", ORANGE),
    "hawker_dropped_log_full_total": ("log full", PURPLE),
    "hawker_dropped_outbox_full_total": ("slow connection, QoS 0", YELLOW),
    "hawker_dropped_too_large_total": ("larger than the client takes", BLUE),
}
# What MQTT foresees: the message had a time or the client was away.
MEANT = {
    "hawker_dropped_expired_total": ("expired", GREEN),
    "hawker_dropped_away_total": ("client away, QoS 0", "dark-green"),
}
REASONS = {**LOST, **MEANT}


def rates(reasons):
    """A line a reason."""
    return [Query(rate(metric), legend, colour) for metric, (legend, colour) in reasons.items()]


OVERVIEW = Page(
    "overview",
    "Hawker: overview",
    "Is the broker well, and if not, which page says why.",
    (
        Row("Is it well?", (
            figure(
                "Brokers that answer",
                "Brokers whose last scrape succeeded. A broker that runs and does not answer has a "
                "shard that does not turn: see its /readyz.",
                "short",
                Query('sum (up{job="hawker", instance=~"$instance"})', "brokers"),
            ),
            figure(
                "Clients connected",
                "Connections now, over all shards.",
                "short",
                Query(total("hawker_connections"), "connections"),
            ),
            figure(
                "Messages in",
                "PUBLISH packets received each second.",
                "mps",
                Query(plus(*map(rate, RECEIVED)), "in"),
            ),
            figure(
                "Messages out",
                "PUBLISH packets sent each second.",
                "mps",
                Query(plus(*map(rate, SENT)), "out"),
            ),
            figure(
                "Messages lost",
                "Messages dropped because a queue, the log or a connection was full or the client "
                "takes no packet so large, in the time shown. 0 is good.",
                "short",
                Query(plus(*map(risen, LOST)), "lost"),
                warns=(1, 1000),
            ),
            figure(
                "Log full",
                "1 while QoS 1 and 2 messages that must be kept are refused for want of room.",
                "short",
                Query(greatest("hawker_log_full"), "full"),
                warns=(1,),
            ),
            table(
                "Alerts",
                "Alerts of alerts.yaml that fire or are about to.",
                'ALERTS{alertname=~"Hawker.*", instance=~"$instance"}',
            ),
        )),
        Row("Who is there?", (
            graph(
                "Connections and sessions",
                "Sessions outlive their connections: the distance is clients that are away.",
                "short",
                Query(total("hawker_connections"), "connections", BLUE),
                Query(total("hawker_sessions"), "sessions", PURPLE),
            ),
            graph(
                "Coming and going",
                "Clients let in, connections that ended and sessions taken over by a newer "
                "connection. Many of all three at once: clients that lose their network, or two "
                "that share a client id.",
                "cps",
                Query(rate("hawker_connects_accepted_total"), "let in", GREEN),
                Query(rate("hawker_connections_closed_total"), "ended", ORANGE),
                Query(rate("hawker_takeovers_total"), "taken over", PURPLE),
            ),
            graph(
                "Turned away",
                "Clients that were not let in, and connections closed before they could ask. The "
                "page about security says why.",
                "cps",
                Query(rate("hawker_connects_refused_total"), "CONNECT refused", ORANGE),
                Query(rate("hawker_connections_kept_out_total"), "kept out", RED),
            ),
        )),
        Row("What goes through?", (
            graph(
                "Messages",
                "PUBLISH packets. Out is more than in where a message has several subscribers.",
                "mps",
                Query(plus(*map(rate, RECEIVED)), "in", BLUE),
                Query(plus(*map(rate, SENT)), "out", GREEN),
            ),
            graph(
                "Bytes",
                "Bytes of MQTT, without TLS and TCP, and how many of them are payloads.",
                "binBps",
                Query(rate("hawker_received_bytes_total"), "in", BLUE),
                Query(rate("hawker_sent_bytes_total"), "out", GREEN),
                Query(rate("hawker_publish_received_bytes_total"), "payloads in", PURPLE),
                Query(rate("hawker_publish_sent_bytes_total"), "payloads out", ORANGE),
            ),
            graph(
                "Dropped, by reason",
                "The first five are losses; expired messages and QoS 0 messages for clients that "
                "are away are as MQTT foresees.",
                "mps",
                *rates(REASONS),
            ),
        )),
        Row("Does it keep up?", (
            by_shard(
                "Work of a turn, 99th percentile",
                "A shard answers nobody else while it works on a turn. Milliseconds are good.",
                "s",
                quantile(0.99, "hawker_turn_seconds"),
            ),
            by_shard(
                "Share of time at work",
                "Time in turns, of all time. Near 100 % the shard's core is all used.",
                "percentunit",
                rate("hawker_turn_seconds_sum", by="shard"),
                most=1,
            ),
            graph(
                "Log",
                "From the oldest record to the end, and of that what is still needed. "
                "storage.log_bytes_max is the limit of the first.",
                "bytes",
                Query(total("hawker_log_bytes"), "size", BLUE),
                Query(total("hawker_log_live_bytes"), "still needed", GREEN),
            ),
        )),
    ),
)

SHARDS = Page(
    "shards",
    "Hawker: shards and rings",
    "Do the shards share the work, and does each keep up.",
    (
        Row("Does each shard keep up?", (
            figure(
                "Busiest shard",
                "Of all time, the share that the busiest shard spends in turns.",
                "percentunit",
                Query(f'max ({rate("hawker_turn_seconds_sum", by="shard")})', "busiest"),
                warns=(0.7, 0.9),
                width=6,
            ),
            figure(
                "Work of a turn, 99.9th percentile",
                "Of the slowest shard.",
                "s",
                Query(f'max ({quantile(0.999, "hawker_turn_seconds")})', "slowest"),
                warns=(0.01, 0.1),
                width=6,
            ),
            figure(
                "Turns over 100 ms",
                "Turns in the time shown that were longer than 100 ms: so long a shard answered "
                "nobody else.",
                "short",
                Query(
                    f'{risen("hawker_turn_seconds_count")} - sum (increase('
                    'hawker_turn_seconds_bucket{instance=~"$instance", le="0.1"}[$__range]))',
                    "turns",
                ),
                warns=(1, 100),
                width=6,
            ),
            figure(
                "Reading paused",
                "Times reading from a client was paused in the time shown.",
                "short",
                Query(risen("hawker_reading_paused_total"), "pauses"),
                width=6,
            ),
            by_shard(
                "Share of time at work",
                "Time in turns, of all time. One shard far above the others: see the row below.",
                "percentunit",
                rate("hawker_turn_seconds_sum", by="shard"),
                width=12,
                most=1,
            ),
            by_shard(
                "Work of a turn, 99.9th percentile",
                "Long turns delay every client of the shard.",
                "s",
                quantile(0.999, "hawker_turn_seconds"),
                width=12,
            ),
            heatmap(
                "Work of turns",
                "How many turns took how long.",
                "s",
                "hawker_turn_seconds",
            ),
            by_shard(
                "Reading paused",
                "How often reading from a client was paused, by shard.",
                "cps",
                rate("hawker_reading_paused_total", by="shard"),
                width=12,
            ),
            by_label(
                "Why reading is paused",
                "lane: another shard is behind. acknowledgements: the log or another shard is, and "
                "the client has sent all it may. replies: the client does not read what it is "
                "answered. subscribing: it asks for many subscriptions. login: who it is is being "
                "asked. Now and then that is back-pressure at work.",
                "cps",
                "hawker_reading_paused_total",
                "cause",
                width=12,
            ),
            percentiles(
                "From PUBLISH to acknowledgement",
                "QoS 1 and 2 messages that wait for the log or other shards; those that wait for "
                "nothing are not counted.",
                "hawker_publish_acknowledge_seconds",
                width=12,
            ),
        )),
        Row("Is the work shared?", (
            by_shard(
                "Connections",
                "A hash of the client id decides the shard, so these are nearly equal.",
                "short",
                total("hawker_connections", by="shard"),
            ),
            by_shard(
                "Sessions",
                "Connected or away.",
                "short",
                total("hawker_sessions", by="shard"),
            ),
            by_shard(
                "Packets in",
                "Packets of every kind that clients of the shard sent.",
                "pps",
                rate("hawker_packets_received_total", by="shard"),
            ),
            by_shard(
                "Connections handed to a shard",
                "By accepting, or by a move to the client's home shard.",
                "cps",
                rate("hawker_connections_accepted_total", by="shard"),
            ),
            by_shard(
                "Messages to other shards",
                "Messages for clients of other shards, publications and answers.",
                "mps",
                rate("hawker_lane_messages_sent_total", by="shard"),
            ),
            by_shard(
                "Messages from other shards",
                "Their other end. Far below what was sent: this shard does not keep up.",
                "mps",
                rate("hawker_lane_messages_received_total", by="shard"),
            ),
        )),
        Row("What does the ring cost?", (
            by_shard(
                "Turns",
                "Turns of the shard's loop. Under load there are fewer and each does more.",
                "cps",
                rate("hawker_turns_total", by="shard"),
            ),
            by_shard(
                "System calls",
                "Calls of io_uring_enter. About one a turn is as it should be.",
                "cps",
                rate("hawker_ring_enters_total", by="shard"),
            ),
            by_shard(
                "Packets in a turn",
                "How much a turn takes at once: the larger, the less a packet costs.",
                "short",
                f'{rate("hawker_packets_received_total", by="shard")} / '
                f'{rate("hawker_turns_total", by="shard")}',
            ),
        )),
    ),
)

STORAGE = Page(
    "storage",
    "Hawker: storage",
    "Is there room for what must be kept, and is what was kept whole.",
    (
        Row("Is it well?", (
            figure(
                "Log full",
                "1 while QoS 1 and 2 messages that must be kept are refused for want of room.",
                "short",
                Query(greatest("hawker_log_full"), "full"),
                warns=(1,),
                width=4,
            ),
            figure(
                "Damaged places",
                "Places of the log that were left out, at the last start and since "
                '(storage.on_damage = "quarantine"). The log of the broker names them all, '
                "report.txt in quarantine-* of the data directory those of the start.",
                "short",
                Query(f'max ({chosen("hawker_log_damages")})', "places"),
                warns=(1,),
                width=4,
            ),
            figure(
                "Refused for want of room",
                "QoS 1 and 2 messages that were not kept and not acknowledged in the time shown.",
                "short",
                Query(risen("hawker_dropped_log_full_total"), "refused"),
                warns=(1,),
                width=4,
            ),
            figure(
                "Still needed",
                "Of the log's bytes, those of messages that are owed or retained. The rest is "
                "given back segment by segment.",
                "percentunit",
                Query(f'{total("hawker_log_live_bytes")} / {total("hawker_log_bytes")}', "needed"),
                width=4,
                most=1,
            ),
            figure(
                "Size of a segment",
                "Each file of the log has this size from its beginning (storage.segment_bytes).",
                "bytes",
                Query(greatest("hawker_log_segment_bytes"), "segment"),
                width=4,
            ),
            figure(
                "Read at the start in",
                "How long the last start took to read the log. Of several brokers, the slowest.",
                "s",
                Query(greatest("hawker_recovery_seconds"), "read"),
                width=4,
            ),
        )),
        Row("How large is the log?", (
            graph(
                "Size",
                "From the oldest record to the end, and of that what is still needed. The limit, "
                "storage.log_bytes_max, is divided evenly among the shards.",
                "bytes",
                Query(total("hawker_log_bytes"), "size", BLUE),
                Query(total("hawker_log_live_bytes"), "still needed", GREEN),
                Query(total("hawker_log_limit_bytes"), "limit", RED),
            ),
            by_shard(
                "Size by shard",
                "Each shard has a log of its own.",
                "bytes",
                total("hawker_log_bytes", by="shard"),
            ),
            by_shard(
                "Segments",
                "Files of storage.segment_bytes. They only ever go from the front.",
                "short",
                total("hawker_log_segments", by="shard"),
            ),
            by_shard(
                "Messages kept",
                "Messages in the log that are owed to a session or a shared group, or retained.",
                "short",
                total("hawker_log_messages", by="shard"),
            ),
            by_shard(
                "Bytes still needed, by shard",
                "Bytes of those messages.",
                "bytes",
                total("hawker_log_live_bytes", by="shard"),
            ),
            graph(
                "Growth",
                "How fast the bytes that are still needed grow, over a quarter of an hour. Above 0 "
                "for long: sessions are owed more and more.",
                "binBps",
                Query(f'sum (deriv({chosen("hawker_log_live_bytes")}[15m]))', "growth", ORANGE),
            ),
        )),
        Row("Is there a backup?", (
            figure(
                "Since the last backup",
                "Of a broker that has none since its start: since 1970.",
                "s",
                Query(
                    f"time() - min ({chosen('hawker_backup_last_timestamp_seconds')})", "since"
                ),
                width=6,
            ),
            figure(
                "Its size",
                "Bytes of the archive.",
                "bytes",
                Query(greatest("hawker_backup_last_bytes"), "size"),
                width=6,
            ),
            graph(
                "Backups",
                "Taken in five minutes. Failed ones ended before they were whole; the log says "
                "why.",
                "short",
                *(
                    Query(
                        'sum (increase(hawker_backups_total{instance=~"$instance", '
                        f'outcome="{outcome}"}}[5m]))',
                        outcome,
                        color,
                    )
                    for outcome, color in (("completed", GREEN), ("failed", RED))
                ),
            ),
            graph(
                "Held for a backup",
                "Bytes of segments that a running backup has still to copy: the disk may hold so "
                "much more than the log.",
                "bytes",
                Query(total("hawker_backup_held_bytes"), "held", ORANGE),
            ),
            graph(
                "How long a backup takes",
                "The last one with its reader, and how long shards waited for each other for it.",
                "s",
                Query(greatest("hawker_backup_last_duration_seconds"), "all", BLUE),
                Query(greatest("hawker_backup_last_pause_seconds"), "pause", PURPLE),
            ),
        )),
        Row("How is it written?", (
            by_shard(
                "Commits",
                'Commits each second; with durability = "fsync" each is one sync of the disk.',
                "cps",
                rate("hawker_log_commits_total", by="shard"),
            ),
            percentiles(
                "Time of a sync",
                'With durability = "fsync" from the beginning of a commit until it is on stable '
                'storage: every acknowledgement waits for that. With "os" in the background.',
                "hawker_log_sync_seconds",
            ),
            heatmap(
                "Syncs",
                "How many syncs took how long.",
                "s",
                "hawker_log_sync_seconds",
            ),
            graph(
                "Messages in a commit",
                "QoS 1 and 2 messages received for each commit. Messages for nobody who is kept "
                "need none.",
                "short",
                Query(
                    f"({plus(*map(rate, RECEIVED[1:]))}) / {rate('hawker_log_commits_total')}",
                    "messages",
                    BLUE,
                ),
            ),
            graph(
                "Refused for want of room",
                "QoS 1 and 2 messages refused because the log had no room, and retained messages "
                "refused because there are mqtt.retained_messages_max or retained_bytes_max.",
                "mps",
                Query(rate("hawker_dropped_log_full_total"), "log full", PURPLE),
                Query(rate("hawker_retained_refused_total"), "retained store full", ORANGE),
            ),
        )),
    ),
)

SESSIONS = Page(
    "sessions",
    "Hawker: sessions and delivery",
    "Who is owed messages, do they arrive, and what becomes of those that do not.",
    (
        Row("Who is there?", (
            graph(
                "Connections and sessions",
                "Sessions outlive their connections: the distance is clients that are away.",
                "short",
                Query(total("hawker_connections"), "connections", BLUE),
                Query(total("hawker_sessions"), "sessions", PURPLE),
            ),
            graph(
                "Coming and going",
                "Clients let in and connections that ended.",
                "cps",
                Query(rate("hawker_connects_accepted_total"), "let in", GREEN),
                Query(rate("hawker_connections_closed_total"), "ended", ORANGE),
            ),
            graph(
                "Ends",
                "Connections that ended because a newer one took the session over, or nothing came "
                "for one and a half times the keep-alive; sessions that expired; wills published.",
                "cps",
                Query(rate("hawker_takeovers_total"), "taken over", PURPLE),
                Query(rate("hawker_keep_alive_timeouts_total"), "keep-alive ran out", ORANGE),
                Query(rate("hawker_sessions_expired_total"), "session expired", BLUE),
                Query(rate("hawker_wills_published_total"), "will published", YELLOW),
            ),
            by_label_now(
                "Connections, by listener",
                "Where clients come in; those that speak no MQTT yet are included.",
                "short",
                "hawker_listener_connections",
                "listener",
            ),
            graph(
                "Subscriptions",
                "Of all sessions, shared ones included.",
                "short",
                Query(total("hawker_subscriptions"), "subscriptions", BLUE),
            ),
            graph(
                "Retained messages",
                "Messages that new subscribers get. Topics that are never used again keep theirs.",
                "short",
                Query(total("hawker_retained_messages"), "retained", BLUE),
            ),
        )),
        Row("Who is owed what?", (
            graph(
                "Messages owed",
                "In queues: for clients that are away or slower than their messages come. In "
                "flight: sent, and not completed by the client.",
                "short",
                Query(total("hawker_queued_messages"), "in queues", ORANGE),
                Query(total("hawker_inflight_messages"), "in flight", BLUE),
            ),
            graph(
                "Memory of queues",
                "What messages in queues take in memory, and mqtt.queue_memory_bytes_max, of which "
                "each shard may use an equal part. Payloads that are in the log take none.",
                "bytes",
                Query(total("hawker_queued_bytes"), "in queues", ORANGE),
                Query(total("hawker_queue_memory_limit_bytes"), "limit", RED),
            ),
            graph(
                "Bytes of retained messages",
                "mqtt.retained_bytes_max bounds them.",
                "bytes",
                Query(total("hawker_retained_bytes"), "retained", BLUE),
            ),
        )),
        Row("What comes in and goes out?", (
            graph(
                "In, by QoS",
                "PUBLISH packets received; at QoS 2 repetitions are not counted.",
                "mps",
                *(
                    Query(rate(metric), f"QoS {qos}", colour)
                    for qos, (metric, colour) in enumerate(zip(RECEIVED, (GREEN, BLUE, PURPLE)))
                ),
                stacked=True,
            ),
            graph(
                "Out, by QoS",
                "PUBLISH packets sent for the first time.",
                "mps",
                *(
                    Query(rate(metric), f"QoS {qos}", colour)
                    for qos, (metric, colour) in enumerate(zip(SENT, (GREEN, BLUE, PURPLE)))
                ),
                stacked=True,
            ),
            graph(
                "Copies of a message",
                "Messages out for each message in: how many subscribers one has on average.",
                "short",
                Query(
                    f"({plus(*map(rate, SENT))}) / ({plus(*map(rate, RECEIVED))})", "copies", BLUE
                ),
            ),
            graph(
                "Bytes of a packet",
                "Bytes received for each packet received, of every kind.",
                "bytes",
                Query(
                    f"{rate('hawker_received_bytes_total')} / "
                    f"{rate('hawker_packets_received_total')}",
                    "bytes",
                    BLUE,
                ),
            ),
            graph(
                "Sent again",
                "PUBLISH packets sent again after a reconnection: what was in flight when the "
                "connection was lost.",
                "mps",
                Query(rate("hawker_publishes_resent_total"), "sent again", ORANGE),
            ),
            graph(
                "For nobody",
                "Publications that matched no subscription anywhere. Many of them: clients publish "
                "what nobody wants, or a subscriber is missing.",
                "mps",
                Query(rate("hawker_publishes_unmatched_total"), "matched nothing", ORANGE),
            ),
        )),
        Row("What is lost, and why?", (
            graph(
                "Lost",
                "Messages dropped because something was full, or because the client takes no "
                "packet so large. Each limit that is reached is named in the broker's log.",
                "mps",
                *rates(LOST),
                width=12,
                stacked=True,
            ),
            graph(
                "Dropped as MQTT foresees",
                "Messages that expired, and QoS 0 messages whose client was away "
                "(mqtt.queue_qos0).",
                "mps",
                *rates(MEANT),
                stacked=True,
                width=12,
            ),
            graph(
                "Refused",
                'Messages refused because a queue was full (mqtt.queue_policy = "refuse-publisher")'
                ", and retained messages that were delivered and not retained: the store was full.",
                "mps",
                Query(rate("hawker_refused_queue_full_total"), "queue full", RED),
                Query(rate("hawker_retained_refused_total"), "retained store full", ORANGE),
                width=12,
            ),
            graph(
                "Owed",
                "Messages in the log that are owed or retained. Growth with few connections: "
                "clients that do not come back.",
                "short",
                Query(total("hawker_log_messages"), "kept", BLUE),
                width=12,
            ),
        )),
    ),
)

SECURITY = Page(
    "security",
    "Hawker: security",
    "Who is turned away, and does anybody try what is not allowed.",
    (
        Row("Does anybody try?", (
            figure(
                "Failed logins",
                "Logins with a wrong password or an unknown user in the time shown.",
                "short",
                Query(risen("hawker_logins_refused_total"), "failed"),
                warns=(10, 1000),
                width=6,
            ),
            figure(
                "Kept out",
                "Connections closed as they came in the time shown: of an address with "
                "auth.ban_failures failed logins, or beyond a limit of the listener.",
                "short",
                Query(risen("hawker_connections_kept_out_total"), "kept out"),
                warns=(1, 1000),
                width=6,
            ),
            figure(
                "Not allowed",
                "Messages and subscriptions in the time shown that no rule allowed.",
                "short",
                Query(
                    plus(
                        risen("hawker_publishes_not_allowed_total"),
                        risen("hawker_subscriptions_refused_total"),
                    ),
                    "not allowed",
                ),
                warns=(10, 1000),
                width=6,
            ),
            figure(
                "Protocol errors",
                "Connections ended in the time shown for a protocol violation or a malformed "
                "packet.",
                "short",
                Query(risen("hawker_protocol_errors_total"), "errors"),
                warns=(10, 1000),
                width=6,
            ),
        )),
        Row("Who is turned away?", (
            graph(
                "CONNECT",
                "CONNECT packets answered with success, refused, and of these the failed logins.",
                "cps",
                Query(rate("hawker_connects_accepted_total"), "let in", GREEN),
                Query(rate("hawker_connects_refused_total"), "refused", ORANGE),
                Query(rate("hawker_logins_refused_total"), "failed login", RED),
                width=12,
            ),
            graph(
                "Kept out",
                "Connections closed as they came: of banned addresses, or beyond connections_max "
                "or connections_per_address_max of a listener. The broker's log names addresses.",
                "cps",
                Query(rate("hawker_connections_kept_out_total"), "kept out", RED),
                width=12,
            ),
            graph(
                "Banned addresses",
                "Addresses that are kept out now for auth.ban_failures failed logins.",
                "short",
                Query(total("hawker_banned_addresses"), "banned", RED),
                width=12,
            ),
            by_label(
                "CONNECT refused, by reason",
                "The runbook says of each reason what mends it (HawkerRefusesClients).",
                "cps",
                "hawker_connects_refused_total",
                "reason",
                width=12,
                stacked=True,
            ),
            graph(
                "Handshakes",
                "Connections now that have not come to their first packet, and those that were let "
                "go in the time shown because they said too little while others waited. Many of "
                "both are a flood of connections that say nothing (slowloris); it keeps nobody out. "
                "Too large are those that were let go because all such held too much memory.",
                "short",
                Query(total("hawker_handshakes"), "on their way", BLUE),
                Query(risen("hawker_handshakes_let_go_total"), "let go", RED),
                Query(risen("hawker_strangers_let_go_total"), "too large", ORANGE),
                width=12,
            ),
            by_label(
                "Accepting pauses, by cause",
                "Connections wait in the kernel: handshakes_max or connections_per_s_max of a "
                "listener is reached, or the process has no descriptor left.",
                "cps",
                "hawker_accepting_paused_total",
                "cause",
                width=12,
                stacked=True,
            ),
            by_label(
                "Kept out, by what",
                "A ban of the address, connections_max of the listener, or its "
                "connections_per_address_max.",
                "cps",
                "hawker_connections_kept_out_total",
                "why",
                width=12,
                stacked=True,
            ),
        )),
        Row("Do those answer who know clients?", (
            by_label(
                "Logins, by outcome",
                "Users with passwords, tokens and the web service. busy: too many wait; "
                "unavailable: the service does not answer. SCRAM and certificates need no asking.",
                "cps",
                "hawker_logins_total",
                "outcome",
                width=12,
                stacked=True,
            ),
            percentiles(
                "Time of a login",
                "From the question to the answer. A password takes some 50 ms on purpose; more "
                "than that is a queue, or a slow service.",
                "hawker_login_seconds",
                width=12,
            ),
        )),
        Row("What is not allowed?", (
            graph(
                "Rules",
                "Messages that no rule allowed to be published, and subscriptions that none "
                "allowed, and times that a client sent more than it may.",
                "cps",
                Query(rate("hawker_publishes_not_allowed_total"), "publish", ORANGE),
                Query(rate("hawker_subscriptions_refused_total"), "subscribe", PURPLE),
                Query(rate("hawker_rate_exceeded_total"), "too fast", BLUE),
                width=12,
            ),
            graph(
                "Protocol",
                "Connections ended for what they sent, or because they sent nothing for one and a "
                "half times their keep-alive.",
                "cps",
                Query(rate("hawker_protocol_errors_total"), "protocol errors", RED),
                Query(rate("hawker_keep_alive_timeouts_total"), "keep-alive ran out", ORANGE),
                width=12,
            ),
        )),
    ),
)

PROCESS = Page(
    "process",
    "Hawker: process and limits",
    "What runs, what does the process use, and which limit is near.",
    (
        Row("What runs?", (
            table(
                "Brokers",
                "Version, compiler and durability of each broker.",
                chosen("hawker_build_info"),
                width=12,
            ),
            figure(
                "Running for",
                "Since the process started. Of several brokers, the youngest.",
                "s",
                Query(f"time() - max ({chosen('process_start_time_seconds')})", "running"),
                width=6,
            ),
            figure(
                "Time to get ready",
                "From the start of the process until clients were let in. Of several brokers, the "
                "slowest.",
                "s",
                Query(
                    f"max ({chosen('hawker_start_time_seconds')} - on (instance) "
                    f"{chosen('process_start_time_seconds')})",
                    "start",
                ),
                width=6,
            ),
        )),
        Row("Is the configuration that of the file?", (
            figure(
                "Last reload",
                "1 if it was applied, 0 if it was refused and the broker goes on with what it had. "
                "Its log says what is wrong.",
                "short",
                Query(f"min ({chosen('hawker_config_last_reload_successful')})", "applied"),
                width=6,
            ),
            figure(
                "Since the last reload",
                "Or, of a broker that was not reloaded, since its start.",
                "s",
                Query(
                    f"time() - max ({chosen('hawker_config_last_reload_timestamp_seconds')})",
                    "since",
                ),
                width=6,
            ),
            graph(
                "Reloads",
                "Times the configuration was read again in five minutes.",
                "short",
                *(
                    Query(
                        'sum (increase(hawker_config_reloads_total{instance=~"$instance", '
                        f'outcome="{outcome}"}}[5m]))',
                        outcome,
                        colour,
                    )
                    for outcome, colour in (("applied", GREEN), ("refused", RED))
                ),
                width=12,
            ),
            graph(
                "Certificates",
                "How long the certificates of each listener still hold, by their files.",
                "s",
                Query(
                    f"{chosen('hawker_certificate_expiry_timestamp_seconds')} - time()",
                    "{{instance}} {{listener}} {{certificate}}",
                ),
                width=12,
            ),
            graph(
                "Lists of revoked certificates",
                "How long the first list of each listener still holds; then no client of its "
                "issuer is let in.",
                "s",
                Query(
                    f"{chosen('hawker_revocation_list_expiry_timestamp_seconds')} - time()",
                    "{{instance}} {{listener}}",
                ),
                width=12,
            ),
        )),
        Row("What does it use?", (
            graph(
                "Memory",
                "Memory in use, and address space; the log's segments are mapped and count in the "
                "second. Of the first, what clients hold that are not let in yet.",
                "bytes",
                Query(total("process_resident_memory_bytes"), "in use", BLUE),
                Query(total("hawker_stranger_bytes"), "not let in yet", ORANGE),
                Query(total("process_virtual_memory_bytes"), "address space", PURPLE),
            ),
            by_broker(
                "Processors",
                "Processor time of all threads, a second: 2 is two processors.",
                "short",
                rate("process_cpu_seconds_total", by="instance"),
            ),
            graph(
                "Descriptors",
                "Each connection takes one. At the limit nobody else gets in.",
                "short",
                Query(total("process_open_fds"), "open", BLUE),
                Query(total("process_max_fds"), "limit", RED),
            ),
        )),
        Row("Which limit is near?", (
            by_broker(
                "Connections",
                "Of those there can be: by the limit of open files, or connections_max of all "
                "listeners if that is less.",
                "percentunit",
                f"{total('hawker_connections', by='instance')} / "
                f"{greatest('hawker_connections_max', by='instance')}",
                most=1,
            ),
            by_broker(
                "Sessions",
                "Of mqtt.sessions_max, by the fullest shard: each may have an equal part.",
                "percentunit",
                fullest("hawker_sessions", "hawker_sessions_max"),
                most=1,
            ),
            by_broker(
                "Memory of queues",
                "Of mqtt.queue_memory_bytes_max, by the fullest shard.",
                "percentunit",
                fullest("hawker_queued_bytes", "hawker_queue_memory_limit_bytes"),
                most=1,
            ),
            by_broker(
                "Log",
                "Of storage.log_bytes_max, by the fullest shard.",
                "percentunit",
                fullest("hawker_log_bytes", "hawker_log_limit_bytes"),
                most=1,
            ),
            by_broker(
                "Descriptors",
                "Of those that the process may have open.",
                "percentunit",
                f"{chosen('process_open_fds')} / {chosen('process_max_fds')}",
                most=1,
            ),
        )),
    ),
)

PAGES = (OVERVIEW, SHARDS, STORAGE, SESSIONS, SECURITY, PROCESS)
