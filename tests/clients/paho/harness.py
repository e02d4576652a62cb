"""A paho-mqtt client that a test can tell what to do and ask what happened.

paho runs each connection on a thread of its own and calls back; here every wait has one deadline
and every check says what it expected. Nothing sleeps to see that something does *not* happen: a
later message of the same publisher, the fence, arrives after whatever it should have followed.
"""

import functools
import os
import queue
import socket
import threading
import time

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

# When something that has not happened counts as never.
PATIENCE_S = 30
# Messages a publisher has unacknowledged at most: beyond a limit of its own paho queues them and
# then mixes up their order, and a 5.0 broker says how many it takes.
WINDOW = 100

# How to connect: tcp, tls, ws or wss.
SCHEME = os.environ.get("SCHEME", "tcp")

VERSIONS = {"31": paho.MQTTv31, "311": paho.MQTTv311, "5": paho.MQTTv5}


class Failed(Exception):
    """What a scenario expected did not hold."""


def check(condition, what):
    if not condition:
        raise Failed(what)


def equal(actual, expected, what):
    if actual != expected:
        raise Failed(f"{what}: expected {shown(expected)}, got {shown(actual)}")


def shown(value):
    text = repr(value)
    return text if len(text) <= 600 else f"{text[:300]} ... {text[-200:]} ({len(text)} characters)"


def until(condition, what):
    """Waits for something this process can see."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        check(time.monotonic() < deadline, f"never happened: {what}")
        time.sleep(0.005)


def properties(packet, **values):
    """MQTT 5.0 properties of a packet: `properties("PUBLISH", TopicAlias=1)`."""
    found = Properties(getattr(PacketTypes, packet))
    for name, value in values.items():
        setattr(found, name, value)
    return found


def promised_by_hawker_alone(scenario):
    """Marks what other brokers do not do, by choice or against the specification."""

    @functools.wraps(scenario)
    def run(context):
        if context.foreign:
            print("skipped: not every broker does this")
        else:
            scenario(context)

    return run


class Message:
    """An arrived PUBLISH."""

    def __init__(self, arrived, topic):
        self.topic = topic
        self.payload = arrived.payload
        self.qos = arrived.qos
        self.retain = bool(arrived.retain)
        self.dup = bool(arrived.dup)
        self.mid = arrived.mid
        self.properties = getattr(arrived, "properties", None)

    def property(self, name, default=None):
        return getattr(self.properties, name, default)

    def __repr__(self):
        return (f"<{self.topic} {self.payload[:40]!r} qos={self.qos} retain={self.retain}"
                f" dup={self.dup}>")


class Client:
    def __init__(self, context, name, *, clean=True, keep_alive=60, will=None, client_id=None,
                 manual_ack=False, connect_properties=None):
        self.context = context
        self.name = name
        self.client_id = f"{context.prefix}-{name}" if client_id is None else client_id
        self.clean = clean
        self.keep_alive = keep_alive
        self.connect_properties = connect_properties
        self.manual_ack = manual_ack
        self.arrived = queue.Queue()
        self.connacks = queue.Queue()
        self.subacks = {}
        self.unsubacks = {}
        self.published = {}
        self.unacknowledged = 0
        self.disconnects = queue.Queue()
        self.aliases = {}
        self.lock = threading.Condition()
        self.paho = self._paho()
        if will is not None:
            self.paho.will_set(**will)

    def _paho(self):
        v5 = self.context.version == "5"
        client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id=self.client_id,
            clean_session=None if v5 else self.clean,
            protocol=VERSIONS[self.context.version],
            reconnect_on_failure=False,
            manual_ack=self.manual_ack,
            transport="websockets" if SCHEME in ("ws", "wss") else "tcp",
        )
        if SCHEME in ("tls", "wss"):
            client.tls_set(ca_certs=os.environ["CERTIFICATE"])
        client.max_inflight_messages_set(0)
        client.max_queued_messages_set(0)
        client.on_connect = lambda _c, _u, flags, code, props: self.connacks.put(
            (flags, code, props))
        client.on_disconnect = lambda _c, _u, _f, code, _p: self._disconnected(code)
        client.on_subscribe = lambda _c, _u, mid, codes, _p: self._note(self.subacks, mid, codes)
        client.on_unsubscribe = lambda _c, _u, mid, codes, _p: self._note(
            self.unsubacks, mid, codes)
        client.on_publish = lambda _c, _u, mid, code, _p: self._published(mid, code)
        client.on_message = lambda _c, _u, message: self._message(message)
        return client

    # What paho's thread calls.

    def _note(self, table, mid, value):
        with self.lock:
            table[mid] = value
            self.lock.notify_all()

    def _published(self, mid, code):
        with self.lock:
            self.unacknowledged -= 1
            self.published[mid] = code
            self.lock.notify_all()

    def _disconnected(self, code):
        self.aliases.clear()
        self.disconnects.put(code)

    def _message(self, message):
        alias = getattr(getattr(message, "properties", None), "TopicAlias", None)
        topic = message.topic
        if alias is not None:
            if topic:
                self.aliases[alias] = topic
            else:
                topic = self.aliases.get(alias, f"<unknown alias {alias}>")
        self.arrived.put(Message(message, topic))

    # What a scenario calls.

    def connect(self, session_present=False):
        """Connects and checks CONNACK."""
        code = self.try_connect()
        check(not code.is_failure, f"{self.name}: CONNACK says {code}")
        # 3.1 has no session present flag.
        if session_present is not None and self.context.version != "31":
            equal(self.flags.session_present, session_present, f"{self.name}: session present")
        return self

    def try_connect(self):
        """Connects and hands back CONNACK's code."""
        self._start_connect()
        self.paho.loop_start()
        try:
            self.flags, code, self.connack = self.connacks.get(timeout=PATIENCE_S)
        except queue.Empty:
            raise Failed(f"{self.name}: no CONNACK") from None
        return code

    def resume(self):
        """Connects the same paho client again: it still has what is in flight."""
        self.paho.reconnect()
        self.paho.loop_start()
        try:
            flags, code, _ = self.connacks.get(timeout=PATIENCE_S)
        except queue.Empty:
            raise Failed(f"{self.name}: no CONNACK on the way back") from None
        check(not code.is_failure, f"{self.name}: CONNACK says {code}")
        if self.context.version != "31":
            check(flags.session_present, f"{self.name}: the session is gone")

    def _start_connect(self):
        arguments = {}
        if self.context.version == "5":
            arguments = {"clean_start": self.clean, "properties": self.connect_properties}
        self.paho.connect(self.context.host, self.context.port, self.keep_alive, **arguments)

    def disconnect(self, reason=None, props=None):
        """Says goodbye."""
        if self.context.version == "5" and (reason is not None or props is not None):
            self.paho.disconnect(reasoncode=reason, properties=props)
        else:
            self.paho.disconnect()
        self._ended()

    def drop(self):
        """Loses the connection without a word."""
        connection = self.paho.socket()
        if connection is not None:
            # Within a WebSocket is the socket itself. That of TLS would first forget its keys, and
            # paho's thread would read what it cannot understand.
            connection = getattr(connection, "_socket", connection)
            socket.socket.shutdown(connection, socket.SHUT_RDWR)
        self._ended()

    def freeze(self):
        """Keeps the connection open and never reads or writes again."""
        self.paho.loop_stop()

    def await_disconnect(self):
        """Waits for the broker to end the connection and hands back the reason."""
        return self._ended()

    def _ended(self):
        try:
            code = self.disconnects.get(timeout=PATIENCE_S)
        except queue.Empty:
            raise Failed(f"{self.name}: the connection did not end") from None
        self.paho.loop_stop()
        return code

    def subscribe(self, topic_filter, qos=0, granted=None, subscription_id=None, **options):
        """Subscribes and checks SUBACK."""
        if self.context.version == "5":
            props = None
            if subscription_id is not None:
                props = properties("SUBSCRIBE", SubscriptionIdentifier=subscription_id)
            _, mid = self.paho.subscribe(
                topic_filter, options=SubscribeOptions(qos=qos, **options), properties=props)
        else:
            _, mid = self.paho.subscribe(topic_filter, qos)
        codes = self._await(self.subacks, mid, "SUBACK")
        equal([code.value for code in codes], [qos if granted is None else granted],
              f"{self.name}: SUBACK for {topic_filter}")

    def subscribe_many(self, topic_filters, qos):
        """Subscribes to all in one packet and checks SUBACK."""
        options = SubscribeOptions(qos=qos) if self.context.version == "5" else qos
        _, mid = self.paho.subscribe([(topic_filter, options) for topic_filter in topic_filters])
        codes = self._await(self.subacks, mid, "SUBACK")
        equal([code.value for code in codes], [qos] * len(topic_filters), f"{self.name}: SUBACK")

    def unsubscribe(self, topic_filter):
        """Unsubscribes and hands back the codes of UNSUBACK."""
        _, mid = self.paho.unsubscribe(topic_filter)
        return self._await(self.unsubacks, mid, "UNSUBACK")

    def _await(self, table, mid, what):
        with self.lock:
            found = self.lock.wait_for(lambda: mid in table, PATIENCE_S)
            check(found, f"{self.name}: no {what}")
            return table.pop(mid)

    def send(self, topic, payload, qos=0, retain=False, **values):
        """Publishes without waiting for the acknowledgement."""
        if isinstance(payload, str):
            payload = payload.encode()
        props = properties("PUBLISH", **values) if values else None
        with self.lock:
            room = self.lock.wait_for(lambda: self.unacknowledged < WINDOW, PATIENCE_S)
            check(room, f"{self.name}: {WINDOW} messages without an acknowledgement")
            self.unacknowledged += 1
        info = self.paho.publish(topic, payload, qos, retain, properties=props)
        equal(info.rc, paho.MQTT_ERR_SUCCESS, f"{self.name}: publish")
        return info.mid

    def publish(self, topic, payload, qos=0, retain=False, **values):
        """Publishes and waits for the acknowledgement, whose code it hands back."""
        return self.acknowledged(self.send(topic, payload, qos, retain, **values))

    def acknowledged(self, mid):
        """Waits until the message has gone all its way to the broker."""
        return self._await(self.published, mid, f"acknowledgement of message {mid}")

    def ack(self, message):
        """Acknowledges a message of a client made with `manual_ack`."""
        self.paho.ack(message.mid, message.qos)

    def next(self, what="a message"):
        """The next message that arrives."""
        try:
            return self.arrived.get(timeout=PATIENCE_S)
        except queue.Empty:
            raise Failed(f"{self.name}: {what} did not arrive") from None

    def take(self, count, what="messages"):
        """The next `count` messages that arrive."""
        return [self.next(f"{what}, number {index + 1} of {count},") for index in range(count)]

    def expect(self, topic, payload, qos=None, retain=None, dup=False):
        """Checks that the next message is this one."""
        if isinstance(payload, str):
            payload = payload.encode()
        message = self.next(f"{payload[:40]!r} on {topic}")
        equal(message.topic, topic, f"{self.name}: topic of {message}")
        check(message.payload == payload,
              f"{self.name}: expected {shown(payload)} on {topic}, got {message}")
        if qos is not None:
            equal(message.qos, qos, f"{self.name}: QoS of {message}")
        if retain is not None:
            equal(message.retain, retain, f"{self.name}: retain flag of {message}")
        if dup is not None:
            equal(message.dup, dup, f"{self.name}: dup flag of {message}")
        return message

    def is_silent(self):
        """Whether nothing has arrived that was not taken."""
        return self.arrived.empty()


class Context:
    """A scenario's broker, protocol version and names."""

    def __init__(self, host, port, version, prefix, foreign):
        self.host = host
        self.port = port
        self.version = version
        self.prefix = prefix
        self.foreign = foreign
        self.clients = []

    @property
    def v5(self):
        return self.version == "5"

    def topic(self, name):
        """A topic of this scenario alone."""
        return f"{self.prefix}/{name}"

    def client(self, name, **options):
        client = Client(self, name, **options)
        self.clients.append(client)
        return client

    def connected(self, name, **options):
        return self.client(name, **options).connect()

    def persistent(self, name, expiry_s=3600, **options):
        """A client whose session outlives its connection."""
        props = options.pop("connect_properties", None)
        if self.v5:
            props = props or properties("CONNECT")
            props.SessionExpiryInterval = expiry_s
        return self.client(name, clean=False, connect_properties=props, **options)

    def again(self, client, **options):
        """A new client with the client id of another."""
        return self.client(f"{client.name}-again", client_id=client.client_id, **options)


def fence(publisher, subscriber, topic, qos=0):
    """Shows that nothing else was on its way: the next message to arrive is the fence.

    The subscriber has a subscription that matches `topic`, the publisher is the one whose
    messages are waited for, and `qos` is theirs: order is kept on one level.
    """
    publisher.send(topic, "fence", qos)
    subscriber.expect(topic, "fence")


def next_of_any(clients):
    """The next message of whichever client gets one, and that client."""
    until(lambda: any(not client.is_silent() for client in clients), "a message for any of them")
    client = next(client for client in clients if not client.is_silent())
    return client, client.next()
