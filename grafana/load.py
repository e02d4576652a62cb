"""A load that touches everything a broker counts, in scenes; an MQTT client is part of it.

Each scene names the metrics that it moves. The scenes suppose the broker of `stack.py`, whose
limits are small.
"""

import socket
import struct
import threading
import time
import urllib.request

# How long an answer may take.
PATIENCE_S = 20


class Client:
    """A connection: what a scene says is sent at once, and answers are waited for."""

    def __init__(self, address, client_id, version=4, clean=True, keep_alive=60, will=None,
                 user=None, password=None, properties=b"", receive_bytes=None, before=b""):
        self.version = version
        self.acknowledges = True
        self.last_id = 0
        self.socket = socket.socket()
        if receive_bytes:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        self.socket.settimeout(PATIENCE_S)
        self.socket.connect(address)
        self.socket.sendall(before)
        self.unread = b""
        flags = (clean << 1) | (bool(will) << 2) | (bool(user) << 7) | (bool(password) << 6)
        body = text("MQTT") + bytes([version, flags]) + struct.pack("!H", keep_alive)
        body += self.properties(properties) + text(client_id)
        if will:
            body += self.properties(b"") + text(will[0]) + text(will[1])
        body += b"".join(text(word) for word in (user, password) if word)
        self.send(0x10, body)
        # 0 where it was let in.
        self.answer = self.wait_for(0x20)[1]

    def subscribe(self, topic_filter, qos=0):
        """Returns the answer: the QoS, or 0x80 and above."""
        body = self.next_id() + self.properties(b"") + text(topic_filter) + bytes([qos])
        self.send(0x82, body)
        return self.wait_for(0x90)[-1]

    def publish(self, topic, payload=b"x", qos=0, retain=False, properties=b""):
        """Waits until the message is acknowledged, by whatever reason."""
        packet_id = self.next_id() if qos else b""
        body = text(topic) + packet_id + self.properties(properties) + payload
        self.send(0x30 | qos << 1 | retain, body)
        if qos == 1:
            self.wait_for(0x40)
        if qos == 2:
            answer = self.wait_for(0x50)
            if len(answer) < 3 or answer[2] < 0x80:
                self.send(0x62, packet_id)
                self.wait_for(0x70)

    def receive(self, count, seconds=PATIENCE_S):
        """Waits for so many messages, but not longer; returns how many came."""
        until = time.monotonic() + seconds
        for had in range(count):
            try:
                self.socket.settimeout(max(until - time.monotonic(), 0.01))
                self.wait_for(0x30)
            except (TimeoutError, ConnectionError):
                return had
        return count

    def disconnect(self):
        """Leaves in order."""
        try:
            self.send(0xE0, b"")
        except OSError:
            pass
        self.socket.close()

    def drop(self):
        """Is gone without a word."""
        self.socket.close()

    def next_id(self):
        self.last_id = self.last_id % 65535 + 1
        return struct.pack("!H", self.last_id)

    def properties(self, properties):
        return bytes([len(properties)]) + properties if self.version == 5 else b""

    def send(self, kind, body):
        length, left = b"", len(body)
        while True:
            left, digit = left >> 7, left & 0x7F
            length += bytes([digit | (0x80 if left else 0)])
            if not left:
                break
        self.socket.sendall(bytes([kind]) + length + body)

    def wait_for(self, kind):
        """The body of the next packet of this kind; messages before it are acknowledged."""
        while True:
            first, body = self.packet()
            if first & 0xF0 == 0x30:
                self.acknowledge(first, body)
            if first & 0xF0 == 0x60:
                self.send(0x70, body[:2])
            if first & 0xF0 == kind:
                return body

    def acknowledge(self, first, body):
        qos = first >> 1 & 3
        if qos and self.acknowledges:
            end = 2 + struct.unpack("!H", body[:2])[0]
            self.send(0x40 if qos == 1 else 0x50, body[end:end + 2])

    def packet(self):
        first = self.take(1)[0]
        length, shift = 0, 0
        while True:
            digit = self.take(1)[0]
            length |= (digit & 0x7F) << shift
            shift += 7
            if digit < 0x80:
                return first, self.take(length)

    def take(self, count):
        while len(self.unread) < count:
            more = self.socket.recv(65536)
            if not more:
                raise ConnectionError("the broker closed the connection")
            self.unread += more
        taken, self.unread = self.unread[:count], self.unread[count:]
        return taken


def text(word):
    word = word if isinstance(word, bytes) else word.encode()
    return struct.pack("!H", len(word)) + word


# Properties of MQTT 5.0.
def message_expires(seconds):
    return b"\x02" + struct.pack("!I", seconds)


def session_expires(seconds):
    return b"\x11" + struct.pack("!I", seconds)


def packet_bytes_max(count):
    return b"\x27" + struct.pack("!I", count)


# Scenes

SCENES = []
# What the kernel tells of the process.
PROCESS = [
    "process_resident_memory_bytes", "process_virtual_memory_bytes", "process_open_fds",
    "process_max_fds", "process_cpu_seconds_total", "process_start_time_seconds",
]


def scene(*metrics):
    """Moves these metrics."""
    def add(function):
        function.metrics = metrics
        SCENES.append(function)
        return function
    return add


def be_seen():
    """Waits for a scrape, which is due each second."""
    time.sleep(1.5)


def leave_behind(broker, client_id, topic_filter):
    """A session whose client is away."""
    client = Client(broker.address, client_id, clean=False)
    client.subscribe(topic_filter, 1)
    client.disconnect()


def forget(broker, client_id):
    """A session that is no more."""
    Client(broker.address, client_id).disconnect()


@scene("connections_accepted_total", "connects_accepted_total", "connections_closed_total",
       "received_bytes_total", "sent_bytes_total", "packets_received_total",
       "publish_received_bytes_total", "publish_sent_bytes_total",
       *(f"publishes_received_qos{qos}_total" for qos in (0, 1, 2)),
       *(f"publishes_sent_qos{qos}_total" for qos in (0, 1, 2)),
       "lane_messages_sent_total", "lane_messages_received_total", "turns_total",
       "ring_enters_total", "turn_seconds", "connections", "sessions",
       "publish_acknowledge_seconds",
       "listener_connections", "connections_max", "sessions_max", "subscriptions", "build_info", "start_time_seconds", *PROCESS)
def everybody_gets_everything(broker, name):
    # Eight of them: they live on both shards.
    subscribers = [Client(broker.address, f"{name}-s{n}", version=4 + n % 2) for n in range(8)]
    for subscriber in subscribers:
        subscriber.subscribe(f"{name}/#", 2)
    publisher = Client(broker.address, f"{name}-p")
    for qos in (0, 1, 2):
        publisher.publish(f"{name}/a", qos=qos)
    for subscriber in subscribers:
        subscriber.receive(3)
        subscriber.disconnect()
    publisher.disconnect()


@scene("publishes_unmatched_total", "retained_refused_total", "retained_messages", "retained_bytes")
def nobody_wants_it(broker, name):
    client = Client(broker.address, name)
    for number in range(8):
        client.publish(f"{name}/{number}", qos=1, retain=True)
    be_seen()
    for number in range(8):
        client.publish(f"{name}/{number}", b"", qos=1, retain=True)
    client.disconnect()


@scene("log_limit_bytes", "log_segment_bytes", "recovery_seconds", "queued_messages", "queued_bytes",
       "queue_memory_limit_bytes", "log_sync_seconds", "log_bytes", "log_live_bytes", "log_messages", "log_segments", "log_commits_total",
       "dropped_queue_full_total", "dropped_away_total")
def away_for_too_long(broker, name):
    leave_behind(broker, name, f"{name}/#")
    publisher = Client(broker.address, f"{name}-p")
    publisher.publish(f"{name}/a", qos=0)
    for _ in range(20):
        publisher.publish(f"{name}/a", qos=1)
    publisher.disconnect()
    be_seen()
    back = Client(broker.address, name, clean=False)
    back.receive(10)
    back.disconnect()
    forget(broker, name)


@scene("dropped_share_queue_full_total")
def a_group_without_members(broker, name):
    leave_behind(broker, name, f"$share/{name}/{name}/#")
    publisher = Client(broker.address, f"{name}-p")
    for _ in range(40):
        publisher.publish(f"{name}/a", qos=1)
    publisher.disconnect()
    forget(broker, name)


@scene("refused_queue_full_total")
def publishers_are_told(broker, name):
    broker.reload(queue_policy="refuse-publisher")
    leave_behind(broker, name, f"{name}/#")
    publisher = Client(broker.address, f"{name}-p", version=5)
    for _ in range(20):
        publisher.publish(f"{name}/a", qos=1)
    publisher.disconnect()
    Client(broker.address, name).disconnect()
    broker.reload(queue_policy="drop-oldest")


@scene("config_reloads_total", "config_last_reload_successful",
       "config_last_reload_timestamp_seconds", "certificate_expiry_timestamp_seconds",
       "revocation_list_expiry_timestamp_seconds")
def a_reload_is_refused(broker, name):
    broker.reload(queue_policy="what-nobody-knows", says="not reloaded")
    broker.reload(queue_policy="drop-oldest")


@scene("dropped_expired_total", "sessions_expired_total")
def too_late(broker, name):
    leave_behind(broker, name, f"{name}/#")
    short = Client(broker.address, f"{name}-s", version=5, properties=session_expires(1))
    short.subscribe(f"{name}/#", 1)
    short.drop()
    publisher = Client(broker.address, f"{name}-p", version=5)
    for _ in range(3):
        publisher.publish(f"{name}/a", qos=1, properties=message_expires(1))
    time.sleep(2.5)
    back = Client(broker.address, name, clean=False)
    publisher.publish(f"{name}/a", qos=1)
    back.receive(1)
    back.disconnect()
    publisher.disconnect()
    forget(broker, name)


@scene("dropped_too_large_total")
def too_large(broker, name):
    client = Client(broker.address, name, version=5, properties=packet_bytes_max(64))
    client.subscribe(f"{name}/#", 1)
    client.publish(f"{name}/a", bytes(100), qos=1)
    client.publish(f"{name}/a", bytes(100))
    client.disconnect()


@scene("dropped_outbox_full_total")
def too_slow(broker, name):
    slow = Client(broker.address, name, receive_bytes=4096)
    slow.subscribe(f"{name}/#")
    publisher = Client(broker.address, f"{name}-p")
    for _ in range(400):
        publisher.publish(f"{name}/a", bytes(30000))
    publisher.publish(f"{name}-end", qos=1)
    publisher.disconnect()
    slow.drop()


@scene("publishes_resent_total", "inflight_messages")
def lost_in_flight(broker, name):
    client = Client(broker.address, name, clean=False)
    client.subscribe(f"{name}/#", 1)
    client.acknowledges = False
    publisher = Client(broker.address, f"{name}-p")
    publisher.publish(f"{name}/a", qos=1)
    publisher.disconnect()
    client.receive(1)
    be_seen()
    client.drop()
    back = Client(broker.address, name, clean=False)
    back.receive(1)
    back.disconnect()
    forget(broker, name)


@scene("takeovers_total", "wills_published_total", "keep_alive_timeouts_total")
def silence(broker, name):
    watcher = Client(broker.address, f"{name}-w")
    watcher.subscribe(f"{name}/#")
    first = Client(broker.address, name)
    second = Client(broker.address, name, keep_alive=1, will=(f"{name}/gone", b"gone"))
    watcher.receive(1)
    for client in (first, second):
        client.drop()
    watcher.disconnect()


@scene("connects_refused_total", "logins_refused_total", "reading_paused_total", "logins_total",
       "login_seconds")
def wrong_passwords(broker, name):
    Client(broker.address, name, user="ann", password=broker.password).disconnect()
    for user in ("ann", "nobody"):
        for _ in range(3):
            Client(broker.address, name, user=user, password="wrong").drop()


@scene("publishes_not_allowed_total", "subscriptions_refused_total")
def not_allowed(broker, name):
    client = Client(broker.address, name)
    for _ in range(5):
        client.publish("secret/a", qos=1)
        client.subscribe("secret/#")
    client.disconnect()


@scene("rate_exceeded_total")
def flood(broker, name):
    client = Client(broker.address, "flood")
    for _ in range(300):
        client.publish(f"{name}/a")
    client.disconnect()


@scene("protocol_errors_total")
def nonsense(broker, name):
    client = Client(broker.address, name)
    client.send(0xF0, b"nonsense")
    client.drop()


@scene("connections_kept_out_total")
def beyond_the_limit(broker, name):
    # Its one place may be taken by the one before.
    for _ in range(3):
        try:
            first = Client(broker.narrow, name)
            Client(broker.narrow, f"{name}-2").drop()
        except ConnectionError:
            pass
        else:
            raise AssertionError("the listener has a limit")
        first.drop()


@scene("handshakes", "handshakes_let_go_total", "accepting_paused_total")
def a_crowd_that_says_nothing(broker, name):
    # One place a shard: whoever comes behind waits until those before have had their time.
    silent = [socket.create_connection(broker.crowded) for _ in range(6)]
    be_seen()
    Client(broker.crowded, name).disconnect()
    for one in silent:
        one.close()


@scene("stranger_bytes", "strangers_let_go_total")
def a_crowd_that_does_not_end_its_connects(broker, name):
    # Two shards have a MiB each for CONNECTs of which a part has come.
    connect = b"\x10\xb0\xea\x01" + text("MQTT") + bytes([4, 2, 0, 60, 0x70, 0]) + bytes(28000)
    crowd = [socket.create_connection(broker.address) for _ in range(120)]
    for one in crowd:
        one.sendall(connect)
    be_seen()
    for one in crowd:
        one.close()


@scene("banned_addresses")
def a_guesser_behind_a_proxy(broker, name):
    header = b"PROXY TCP4 203.0.113.9 127.0.0.1 5555 1883\r\n"
    for _ in range(2):
        Client(broker.proxied, name, user="ann", password="wrong", before=header).drop()
    try:
        Client(broker.proxied, name, before=header).drop()
    except ConnectionError:
        # Until the ban is over.
        time.sleep(3.5)
    else:
        raise AssertionError("whoever guesses is kept out")


@scene("backups_total", "backup_last_timestamp_seconds", "backup_last_bytes",
       "backup_last_duration_seconds", "backup_last_pause_seconds")
def a_backup(broker, name):
    leave_behind(broker, name, f"{name}/#")
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"http://{broker.admin}/api/v1/backup", timeout=PATIENCE_S) as answer:
        archive = answer.read()
    forget(broker, name)
    if name.encode() not in archive:
        raise AssertionError("the backup does not know the session")


@scene("log_full", "dropped_log_full_total")
def no_room(broker, name):
    names = [f"{name}-{number}" for number in range(4)]
    for one in names:
        leave_behind(broker, one, f"{one}/#")
    publisher = Client(broker.address, f"{name}-p", version=5)
    for _ in range(16):
        for one in names:
            publisher.publish(f"{one}/a", bytes(20000), qos=1)
    publisher.disconnect()
    # The metric is seen by a scrape.
    time.sleep(2.5)
    for one in names:
        forget(broker, one)


def play(broker, round_number):
    """All scenes, one after the other; yields what each is called and what went wrong, if so."""
    for one in SCENES:
        title = one.__name__.replace("_", " ")
        try:
            one(broker, f"{one.__name__}-{round_number}")
        except (OSError, AssertionError) as error:
            yield title, f"{type(error).__name__}: {error}"
        else:
            yield title, None


class Traffic(threading.Thread):
    """Devices that report all the time, at every QoS, and two who listen."""

    def __init__(self, broker, a_second=50):
        super().__init__(daemon=True)
        self.broker, self.pause, self.ending = broker, 1 / a_second, threading.Event()

    def run(self):
        while not self.ending.is_set():
            try:
                self.report()
            except OSError:
                # The broker was busy with something else; a device comes back.
                self.ending.wait(1)

    def report(self):
        listeners = [Client(self.broker.address, f"listener-{number}") for number in range(2)]
        for listener in listeners:
            listener.subscribe("report/+/state", 2)
        devices = [Client(self.broker.address, f"device-{number}") for number in range(12)]
        number = 0
        try:
            while not self.ending.wait(self.pause):
                number += 1
                device = number % len(devices)
                devices[device].publish(f"report/{device}/state", b"%d" % number, qos=number % 3)
                for listener in listeners:
                    listener.receive(1)
        finally:
            for client in (*listeners, *devices):
                client.disconnect()

    def end(self):
        self.ending.set()
        self.join(PATIENCE_S)
