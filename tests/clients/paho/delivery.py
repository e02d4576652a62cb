"""Messages arrive: what was sent, as often as was promised, in the order it was sent."""

import hashlib
import random

from harness import check, equal, fence, promised_by_hawker_alone, properties


def every_pair_of_qos(context):
    """A message arrives with the lower of its own QoS and that of the subscription."""
    publisher = context.connected("publisher")
    for granted in (0, 1, 2):
        subscriber = context.connected(f"subscriber-{granted}")
        subscriber.subscribe(context.topic("#"), granted)
        for sent in (0, 1, 2):
            topic = context.topic(f"{sent}/to/{granted}")
            publisher.publish(topic, f"payload {sent} {granted}", sent)
            subscriber.expect(topic, f"payload {sent} {granted}", min(sent, granted), retain=False)
        subscriber.disconnect()


def order_of_each_qos(context):
    """A thousand messages of each QoS in one stream: each QoS keeps its order, none is lost."""
    subscriber = context.connected("subscriber")
    subscriber.subscribe(context.topic("#"), 2)
    publisher = context.connected("publisher")
    count = 1000
    for index in range(count):
        for qos in (0, 1, 2):
            publisher.send(context.topic(f"q{qos}"), str(index), qos)
    arrived = subscriber.take(3 * count)
    for qos in (0, 1, 2):
        numbers = [int(message.payload) for message in arrived if message.qos == qos]
        equal(numbers, list(range(count)), f"QoS {qos}")
    check(subscriber.is_silent(), "more arrived than was sent")


def any_payload_and_topic(context):
    """Empty, binary and long payloads, and topics of any script and many levels."""
    subscriber = context.connected("subscriber")
    subscriber.subscribe(context.topic("#"), 1)
    publisher = context.connected("publisher")
    payloads = [b"", b"\x00", bytes(range(256)), b"\xff\xfe\xfd", b"x" * 127, b"x" * 128,
                b"x" * 16_383, b"x" * 16_384, b"x" * 70_000]
    topics = ["a", "a/b/c/d/e/f/g/h/i/j", "/", "//", "a//b", "with space", "naïve/日本語/🐉",
              "l" * 500]
    for topic in topics:
        for payload in payloads:
            publisher.send(context.topic(topic), payload, 1)
            subscriber.expect(context.topic(topic), payload, 1, retain=False)


def one_to_many(context):
    """Fifty subscribers of one topic each get every message of one publisher in order."""
    subscribers = []
    for index in range(50):
        subscriber = context.connected(f"subscriber-{index}")
        subscriber.subscribe(context.topic("news"), index % 3)
        subscribers.append(subscriber)
    publisher = context.connected("publisher")
    for index in range(100):
        publisher.send(context.topic("news"), str(index), 2)
    for index, subscriber in enumerate(subscribers):
        arrived = subscriber.take(100)
        equal([int(message.payload) for message in arrived], list(range(100)), subscriber.name)
        equal({message.qos for message in arrived}, {index % 3}, f"{subscriber.name}: QoS")
        check(subscriber.is_silent(), f"{subscriber.name} got more than was sent")


def many_to_one(context):
    """One subscriber of twenty publishers gets every message, each publisher's in order."""
    subscriber = context.connected("subscriber")
    subscriber.subscribe(context.topic("+"), 2)
    publishers = [context.connected(f"publisher-{index}") for index in range(20)]
    for number in range(50):
        for index, publisher in enumerate(publishers):
            publisher.send(context.topic(str(index)), str(number), 1 + index % 2)
    arrived = subscriber.take(20 * 50)
    for index in range(20):
        numbers = [int(m.payload) for m in arrived if m.topic == context.topic(str(index))]
        equal(numbers, list(range(50)), f"publisher {index}")


def published_before_suback_or_after(context):
    """What is published after SUBACK arrives, wherever publisher and subscriber live."""
    publishers = [context.connected(f"publisher-{index}") for index in range(8)]
    for round_ in range(20):
        subscriber = context.connected(f"subscriber-{round_}")
        topic = context.topic(f"round/{round_}")
        subscriber.subscribe(topic, 1)
        for index, publisher in enumerate(publishers):
            publisher.send(topic, str(index), index % 2)
        payloads = {int(message.payload) for message in subscriber.take(len(publishers))}
        equal(payloads, set(range(len(publishers))), f"round {round_}")
        subscriber.disconnect()


def _large(context, size):
    payload = random.Random(size).randbytes(size)
    digest = hashlib.sha256(payload).hexdigest()
    subscriber = context.connected("subscriber")
    subscriber.subscribe(context.topic("large"), 2)
    publisher = context.connected("publisher")
    for qos in (0, 1, 2):
        publisher.send(context.topic("large"), payload, qos)
        message = subscriber.next(f"{size} bytes at QoS {qos}")
        equal(len(message.payload), size, f"length at QoS {qos}")
        equal(hashlib.sha256(message.payload).hexdigest(), digest, f"digest at QoS {qos}")
        equal(message.qos, qos, "QoS")
    fence(publisher, subscriber, context.topic("large"))


def payload_of_1_mib(context):
    _large(context, 1 << 20)


def payload_of_10_mib(context):
    _large(context, 10 << 20)


def qos_2_is_exactly_once(context):
    """Five thousand messages, each once, in order."""
    subscriber = context.connected("subscriber")
    subscriber.subscribe(context.topic("once"), 2)
    publisher = context.connected("publisher")
    count = 5000
    sent = [publisher.send(context.topic("once"), str(index), 2) for index in range(count)]
    arrived = subscriber.take(count)
    for mid in sent:
        publisher.acknowledged(mid)
    equal([int(message.payload) for message in arrived], list(range(count)), "payloads")
    equal({message.qos for message in arrived}, {2}, "QoS")
    fence(publisher, subscriber, context.topic("once"), 2)


def qos_2_is_exactly_once_over_lost_connections(context):
    """Both ends lose their connections again and again; each message arrives once."""
    subscriber = context.persistent("subscriber").connect()
    subscriber.subscribe(context.topic("once"), 2)
    publisher = context.persistent("publisher").connect()
    chance = random.Random(7)
    count = 600
    for index in range(count):
        publisher.send(context.topic("once"), str(index), 2)
        if chance.random() < 0.02:
            publisher.drop()
            publisher.resume()
        if chance.random() < 0.02:
            subscriber.drop()
            subscriber.resume()
    arrived = subscriber.take(count)
    # [MQTT-4.6.0-6] keeps the order also over a lost connection.
    equal([int(message.payload) for message in arrived], list(range(count)), "payloads")
    fence(publisher, subscriber, context.topic("once"), 2)


def qos_1_is_at_least_once_over_lost_connections(context):
    """The publisher's connection is lost again and again; no message is."""
    subscriber = context.connected("subscriber")
    subscriber.subscribe(context.topic("once"), 1)
    publisher = context.persistent("publisher").connect()
    chance = random.Random(8)
    count = 600
    for index in range(count):
        publisher.send(context.topic("once"), str(index), 1)
        if chance.random() < 0.02:
            publisher.drop()
            publisher.resume()
    publisher.send(context.topic("once"), "last", 1)
    first_seen = []
    while (message := subscriber.next("the rest")).payload != b"last":
        number = int(message.payload)
        if number not in first_seen[-200:]:
            first_seen.append(number)
    equal(first_seen, list(range(count)), "payloads without repetitions")


@promised_by_hawker_alone
def a_busy_receive_window(context):
    """A client that takes two messages at a time never has a third one unacknowledged."""
    options = {"manual_ack": True}
    if context.v5:
        options["connect_properties"] = properties("CONNECT", ReceiveMaximum=2)
    subscriber = context.connected("subscriber", **options)
    subscriber.subscribe(context.topic("work"), 1)
    subscriber.subscribe(context.topic("fence"), 0)
    publisher = context.connected("publisher")
    for index in range(50):
        publisher.publish(context.topic("work"), str(index), 1)
    publisher.send(context.topic("fence"), "fence")
    window = 2 if context.v5 else 50
    unacknowledged = []
    taken = []
    fenced = False
    # QoS 0 has no window: the fence passes what waits, after which nothing more may come.
    while len(taken) < 50:
        if not fenced or len(unacknowledged) < min(window, 50 - len(taken)):
            message = subscriber.next("the next of the window")
            if message.topic == context.topic("fence"):
                fenced = True
                continue
            unacknowledged.append(message)
            check(len(unacknowledged) <= window, f"{len(unacknowledged)} unacknowledged messages")
        else:
            check(subscriber.is_silent(), f"beyond the receive maximum after {taken}")
            for message in unacknowledged:
                taken.append(int(message.payload))
                subscriber.ack(message)
            unacknowledged.clear()
    equal(taken, list(range(50)), "payloads")
