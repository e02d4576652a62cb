//! Every metric that is exported: its name, what it is, and where its figure comes from.
//!
//! Figures of a shard carry its number. No label has values that clients choose, so that there are
//! never more series than the configuration means.

use super::exposition::{Exposition, Format, Kind, Label};
use crate::cli::VERSION;
use crate::metrics::{Label as _, Value};
use crate::runtime::{BackupFigures, Counted, Counter, Figures, LogFacts, Pause, Refusal};
use crate::sys::Usage;

/// The compiler that made this.
const RUSTC: &str = env!("HAWKER_RUSTC");

/// What was counted, as text.
pub(super) fn text(format: Format, counted: &[Counted], counter: &Counter) -> String {
    let mut page = Exposition::new(format);
    drivers(&mut page, counted);
    cores(&mut page, counted);
    let damages = counted.iter().map(|one| one.log.damages).sum();
    broker(&mut page, counter, damages);
    process(&mut page, &Usage::read());
    page.end()
}

/// What the threads of the shards count.
fn drivers(page: &mut Exposition, counted: &[Counted]) {
    let mut family = |name: &str, kind: Kind, help: &str, value: &dyn Fn(&Counted) -> u64| {
        let mut family = page.family(name, kind, help);
        for shard in counted {
            family.sample(&[("shard", &shard.shard)], value(shard));
        }
    };
    use Kind::{Counter, Gauge};
    family("hawker_connections", Gauge, "Connections now.", &|c| c.connections as u64);
    family("hawker_sessions", Gauge, "Sessions now, connected or away.", &|c| c.sessions as u64);
    family("hawker_ring_enters_total", Counter, "Calls of io_uring_enter.", &|c| c.enters);
    family("hawker_turns_total", Counter, "Turns of the shard's loop.", &|c| c.turns);
    let help = "Subscriptions of all sessions now, shared ones included.";
    family("hawker_subscriptions", Gauge, help, &|c| c.holdings.subscriptions as u64);
    let help = "Retained messages now.";
    family("hawker_retained_messages", Gauge, help, &|c| c.holdings.retained_messages as u64);
    family("hawker_retained_bytes", Gauge, "Their bytes.", &|c| c.holdings.retained_bytes);
    let help = "Messages that wait in queues now, of sessions and of shared groups.";
    family("hawker_queued_messages", Gauge, help, &|c| c.holdings.queued_messages as u64);
    let help = "Memory that they take.";
    family("hawker_queued_bytes", Gauge, help, &|c| c.holdings.queued_bytes);
    let help = "QoS 1 and 2 messages that were sent to clients and are not completed.";
    family("hawker_inflight_messages", Gauge, help, &|c| c.holdings.inflight_messages as u64);
    family("hawker_log_segments", Gauge, "Segments of the log.", &|c| c.log.segments);
    let help = "Bytes from the log's oldest record to its end.";
    family("hawker_log_bytes", Gauge, help, &|c| c.log.bytes);
    let help = "Bytes of the log that are of use: messages owed or retained, sessions and groups.";
    family("hawker_log_live_bytes", Gauge, help, &|c| c.log.live_bytes);
    let help = "Messages in the log that are owed or retained.";
    family("hawker_log_messages", Gauge, help, &|c| c.log.messages);
    let help = "1 while messages that must be kept are refused for want of room.";
    family("hawker_log_full", Gauge, help, &|c| u64::from(c.log.is_full));
    family("hawker_log_commits_total", Counter, "Commits of the log.", &|c| c.commits);
    let help = "Connections now that have not come to their first packet.";
    family("hawker_handshakes", Gauge, help, &|c| c.handshakes as u64);
    let help = "Bytes of packets of clients that are not let in yet.";
    family("hawker_stranger_bytes", Gauge, help, &|c| c.holdings.stranger_bytes);
    let help = "Of those there were, the ones that said too little and were let go for others.";
    family("hawker_handshakes_let_go_total", Counter, help, &|c| c.handshakes_let_go);
    let help =
        "Connections closed as they came: by a ban, or a limit of the listener or of an address.";
    let mut kept_out = page.family("hawker_connections_kept_out_total", Kind::Counter, help);
    for shard in counted {
        for (why, count) in shard.kept_out.counts() {
            kept_out.sample(&[("shard", &shard.shard), (Refusal::NAME, &why)], count);
        }
    }
    let help = "Times that a listener stopped accepting for a while, so that connections wait.";
    let mut pauses = page.family("hawker_accepting_paused_total", Kind::Counter, help);
    for shard in counted {
        for (cause, count) in shard.accepting_paused.counts() {
            pauses.sample(&[("shard", &shard.shard), (Pause::NAME, &cause)], count);
        }
    }
    let help = "From handing what is to be synced to the kernel until it is on stable storage.";
    let mut syncs = page.family("hawker_log_sync_seconds", Kind::Histogram, help);
    for shard in counted {
        syncs.durations(&[("shard", &shard.shard)], &shard.sync_times);
    }
    let help = "Work of one turn of the shard's loop.";
    let mut turns = page.family("hawker_turn_seconds", Kind::Histogram, help);
    for shard in counted {
        turns.durations(&[("shard", &shard.shard)], &shard.turn_times);
    }
}

/// What the cores of the shards count.
fn cores(page: &mut Exposition, counted: &[Counted]) {
    let by_shard: Vec<_> = counted.iter().map(|c| (c.shard, c.metrics.entries())).collect();
    let Some((_, first)) = by_shard.first() else { return };
    for (index, metric) in first.iter().enumerate() {
        let kind = match metric.value {
            Value::Durations(_) => Kind::Histogram,
            Value::Count(_) | Value::Tally(..) => Kind::Counter,
        };
        let name = format!("hawker_{}", metric.name);
        let mut family = page.family(&name, kind, metric.help);
        for (shard, metrics) in &by_shard {
            let shard: Label<'_> = ("shard", shard);
            match &metrics[index].value {
                Value::Count(count) => drop(family.sample(&[shard], count)),
                Value::Tally(name, counts) => {
                    for (value, count) in counts {
                        family.sample(&[shard, (name, value)], count);
                    }
                }
                Value::Durations(durations) => drop(family.durations(&[shard], durations)),
            }
        }
    }
}

/// What is known of the broker as a whole.
fn broker(page: &mut Exposition, counter: &Counter, damages: u64) {
    let labels: [Label<'_>; 3] =
        [("version", &VERSION), ("rustc", &RUSTC), ("durability", &counter.durability)];
    let help = "What is running: always 1.";
    page.family("hawker_build_info", Kind::Info, help).sample(&labels, 1);
    let help = "When the broker was ready for clients, since 1970.";
    let ready_at = counter.ready_at.as_secs_f64();
    page.family("hawker_start_time_seconds", Kind::Gauge, help).sample(&[], ready_at);
    in_force(page, &counter.in_force.figures());
    entrance(page, counter);
    if let Some(facts) = &counter.log {
        log(page, facts, damages);
        backups(page, &counter.backups.figures());
    }
}

/// What became of backups.
fn backups(page: &mut Exposition, figures: &BackupFigures) {
    let help = "Backups that were taken.";
    page.family("hawker_backups_total", Kind::Counter, help)
        .sample(&[("outcome", &"completed")], figures.completed)
        .sample(&[("outcome", &"failed")], figures.failed);
    let mut family = |name: &str, help: &str, value: f64| {
        page.family(name, Kind::Gauge, help).sample(&[], value);
    };
    let help = "When the last completed backup was taken, since 1970; 0 before there is one.";
    family("hawker_backup_last_timestamp_seconds", help, figures.last_at.as_secs_f64());
    family("hawker_backup_last_bytes", "Its bytes.", figures.last_bytes as f64);
    let help = "How long it took, its reader included.";
    family("hawker_backup_last_duration_seconds", help, figures.last_duration.as_secs_f64());
    let help = "How long shards waited for each other for it, at most.";
    family("hawker_backup_last_pause_seconds", help, figures.last_pause.as_secs_f64());
    let help = "Bytes of segments that a running backup has still to copy: the disk may hold so \
                much more than the log.";
    family("hawker_backup_held_bytes", help, figures.held_bytes as f64);
}

/// Who comes in where, and who does not.
fn entrance(page: &mut Exposition, counter: &Counter) {
    let help = "Connections now, by listener, those that speak no MQTT yet included.";
    let mut connections = page.family("hawker_listener_connections", Kind::Gauge, help);
    for (listener, count) in counter.connections_by_listener() {
        connections.sample(&[("listener", &listener)], count);
    }
    let help = "Connections there can be, by the limit of open files and those of the listeners.";
    let max = counter.connections_max.map_or("+Inf".to_owned(), |max| max.to_string());
    page.family("hawker_connections_max", Kind::Gauge, help).sample(&[], max);
    let help = "Addresses that are banned now.";
    let banned = counter.banned_addresses();
    page.family("hawker_banned_addresses", Kind::Gauge, help).sample(&[], banned);
}

/// What is known of the log as a whole: what does not change, and the `damages` found since the
/// start. Without a log there are no such figures.
fn log(page: &mut Exposition, facts: &LogFacts, damages: u64) {
    let help = "Bytes that the log may have, of all shards together; each has an equal part.";
    page.family("hawker_log_limit_bytes", Kind::Gauge, help).sample(&[], facts.bytes_max);
    let help = "Bytes of a segment.";
    page.family("hawker_log_segment_bytes", Kind::Gauge, help).sample(&[], facts.segment_bytes);
    let help = "Damaged places of the log that were left out, at the start and since.";
    let damages = facts.damages as u64 + damages;
    page.family("hawker_log_damages", Kind::Gauge, help).sample(&[], damages);
    let help = "How long the start took to read the log.";
    page.family("hawker_recovery_seconds", Kind::Gauge, help)
        .sample(&[], facts.read_in.as_secs_f64());
}

/// What the configuration says that runs, and how it came to run.
fn in_force(page: &mut Exposition, figures: &Figures) {
    let help = "Sessions there can be; each shard may have an equal part.";
    page.family("hawker_sessions_max", Kind::Gauge, help).sample(&[], figures.sessions_max);
    let help = "Memory that queues may take, of all shards together; each has an equal part.";
    page.family("hawker_queue_memory_limit_bytes", Kind::Gauge, help)
        .sample(&[], figures.queue_memory_bytes_max);
    let help = "Times the configuration was read again.";
    page.family("hawker_config_reloads_total", Kind::Counter, help)
        .sample(&[("outcome", &"applied")], figures.reloads_applied)
        .sample(&[("outcome", &"refused")], figures.reloads_refused);
    let help = "1 if the last of these was applied, or there was none; 0 if it was refused.";
    page.family("hawker_config_last_reload_successful", Kind::Gauge, help)
        .sample(&[], u8::from(figures.is_last_applied));
    let help = "When that was, since 1970; of a broker that was not reloaded, its start.";
    page.family("hawker_config_last_reload_timestamp_seconds", Kind::Gauge, help)
        .sample(&[], figures.last_at.as_secs_f64());
    let help = "When a certificate that a listener shows, or one in its file, ends, since 1970.";
    let mut ends = page.family("hawker_certificate_expiry_timestamp_seconds", Kind::Gauge, help);
    for (listener, file, end) in &figures.certificates_end {
        let file = file.to_string_lossy();
        ends.sample(&[("listener", listener), ("certificate", &file)], end.as_secs());
    }
    let help = "When the first list of revoked certificates has to be replaced, since 1970.";
    let mut ends =
        page.family("hawker_revocation_list_expiry_timestamp_seconds", Kind::Gauge, help);
    for (listener, end) in &figures.revoked_end {
        ends.sample(&[("listener", listener)], end.as_secs());
    }
}

/// What the kernel tells of the process, under the names that every program uses. What it does not
/// tell is left out.
fn process(page: &mut Exposition, usage: &Usage) {
    let mut family = |name: &str, kind: Kind, help: &str, value: Option<f64>| {
        if let Some(value) = value {
            page.family(name, kind, help).sample(&[], value);
        }
    };
    use Kind::{Counter, Gauge};
    let whole = |count: Option<u64>| count.map(|count| count as f64);
    let help = "Bytes of memory in use.";
    family("process_resident_memory_bytes", Gauge, help, whole(usage.resident_bytes));
    let help = "Bytes of address space, maps of the log included.";
    family("process_virtual_memory_bytes", Gauge, help, whole(usage.virtual_bytes));
    family("process_open_fds", Gauge, "Descriptors that are open.", whole(usage.open_fds));
    family("process_max_fds", Gauge, "Descriptors that may be open.", whole(usage.max_fds));
    let help = "Processor time of all threads.";
    family("process_cpu_seconds_total", Counter, help, usage.cpu_seconds);
    let help = "When the process started, since 1970.";
    family("process_start_time_seconds", Gauge, help, usage.started);
}
