"""Sessions: what a client is owed while it is away, and who it is when it comes back."""

import time

from harness import check, equal, fence, properties


def messages_wait_in_order(context):
    """A persistent session collects QoS 1 and 2 while its client is away, and keeps the order."""
    away = context.persistent("away").connect()
    away.subscribe(context.topic("queue/#"), 2)
    away.disconnect()
    publisher = context.connected("publisher")
    count = 500
    for index in range(count):
        for qos in (1, 2):
            publisher.send(context.topic(f"queue/{qos}"), str(index), qos)
    # Acknowledged last on each level, so all before it are in.
    publisher.publish(context.topic("queue/1"), str(count), 1)
    publisher.publish(context.topic("queue/2"), str(count), 2)
    back = context.persistent("away").connect(session_present=True)
    arrived = back.take(2 * (count + 1))
    for qos in (1, 2):
        numbers = [int(message.payload) for message in arrived if message.qos == qos]
        equal(numbers, list(range(count + 1)), f"QoS {qos}")
        fence(publisher, back, context.topic(f"queue/{qos}"), qos)


def qos_0_does_not_wait(context):
    """QoS 0 messages are for those who are there."""
    away = context.persistent("away").connect()
    away.subscribe(context.topic("queue"), 1)
    away.disconnect()
    publisher = context.connected("publisher")
    publisher.send(context.topic("queue"), "missed", 0)
    publisher.publish(context.topic("queue"), "kept", 1)
    back = context.persistent("away").connect(session_present=True)
    back.expect(context.topic("queue"), "kept", 1)
    fence(publisher, back, context.topic("queue"), 1)


def a_clean_start_forgets(context):
    """A clean start ends the old session: nothing waits and nothing is subscribed."""
    client = context.persistent("client").connect()
    client.subscribe(context.topic("queue"), 1)
    client.disconnect()
    publisher = context.connected("publisher")
    publisher.publish(context.topic("queue"), "forgotten", 1)
    again = context.again(client).connect(session_present=False)
    again.subscribe(context.topic("other"), 1)
    publisher.publish(context.topic("queue"), "not subscribed", 1)
    fence(publisher, again, context.topic("other"), 1)
    again.disconnect()
    context.persistent("client").connect(session_present=False)


def unacknowledged_messages_come_again(context):
    """What was sent and not acknowledged is sent again on the next connection, marked DUP."""
    # The will tells when the broker knows that the connection is gone.
    will = {"topic": context.topic("gone"), "payload": "gone", "qos": 1}
    client = context.persistent("client", manual_ack=True, will=will).connect()
    client.subscribe(context.topic("work"), 1)
    publisher = context.connected("publisher")
    publisher.subscribe(context.topic("gone"), 1)
    for index in range(10):
        publisher.publish(context.topic("work"), str(index), 1)
    first = client.take(10)
    equal([message.dup for message in first], [False] * 10, "dup flags of the first delivery")
    for message in first[:4]:
        client.ack(message)
    # The broker's answer to another packet shows that it has the acknowledgements.
    client.subscribe(context.topic("other"), 1)
    client.drop()
    publisher.expect(context.topic("gone"), "gone", 1)
    publisher.publish(context.topic("work"), "10", 1)
    back = context.persistent("client").connect(session_present=True)
    again = back.take(7)
    equal([int(message.payload) for message in again], list(range(4, 11)), "payloads")
    equal([message.dup for message in again], [True] * 6 + [False], "dup flags")
    equal([message.mid for message in again[:6]], [message.mid for message in first[4:]],
          "packet identifiers")
    fence(publisher, back, context.topic("work"), 1)


def subscriptions_survive(context):
    """Subscriptions of a persistent session are there without another SUBSCRIBE."""
    client = context.persistent("client").connect()
    client.subscribe(context.topic("a/+"), 1)
    client.subscribe(context.topic("b/#"), 2)
    client.subscribe(context.topic("c"), 0)
    client.unsubscribe(context.topic("b/#"))
    client.disconnect()
    back = context.persistent("client").connect(session_present=True)
    publisher = context.connected("publisher")
    publisher.send(context.topic("b/1"), "unsubscribed", 1)
    publisher.send(context.topic("a/1"), "one", 1)
    back.expect(context.topic("a/1"), "one", 1)
    publisher.send(context.topic("c"), "two", 1)
    back.expect(context.topic("c"), "two", 0)


def takeover(context):
    """A second connection of the same client id ends the first and takes its session."""
    first = context.persistent("client").connect()
    first.subscribe(context.topic("queue"), 1)
    publisher = context.connected("publisher")
    second = context.persistent("client").connect(session_present=True)
    code = first.await_disconnect()
    if context.v5 and not context.foreign:
        equal(code.value, 0x8E, "reason of the takeover")
    publisher.publish(context.topic("queue"), "for the second", 1)
    second.expect(context.topic("queue"), "for the second", 1)
    check(first.is_silent(), "the first connection still gets messages")


def takeover_under_load(context):
    """Twenty takeovers while messages flow: each arrives, in order, somewhere."""
    client = context.persistent("client").connect()
    client.subscribe(context.topic("queue"), 2)
    publisher = context.connected("publisher")
    seen = []
    for round_ in range(20):
        for index in range(50):
            publisher.send(context.topic("queue"), str(round_ * 50 + index), 2)
        # paho keeps the QoS 2 state with the client object, so this one object comes back.
        client.drop()
        client.resume()
    publisher.publish(context.topic("queue"), "1000", 2)
    while not seen or seen[-1] != 1000:
        seen.append(int(client.next("the rest").payload))
    equal(seen, list(range(1001)), "payloads")


def an_empty_client_id(context):
    """The broker gives a name to who has none; 3.1.1 may not then ask for a kept session."""
    client = context.client("nameless", client_id="").connect()
    other = context.client("nameless-too", client_id="").connect()
    if context.v5:
        names = [getattr(c.connack, "AssignedClientIdentifier", "") for c in (client, other)]
        check(all(names), f"no assigned client identifier: {names}")
        check(names[0] != names[1], f"one name for two clients: {names}")
    for index, each in enumerate((client, other)):
        each.subscribe(context.topic("t"), 1)
        client.publish(context.topic("t"), str(index), 1)
        each.expect(context.topic("t"), str(index), 1)
        if index == 0:
            continue
        client.expect(context.topic("t"), "1", 1)


def session_expiry(context):
    """5.0 only: a session lives as long after its connection as the client said."""
    short = context.persistent("short", expiry_s=1).connect()
    long = context.persistent("long", expiry_s=3600).connect()
    none = context.persistent("none", expiry_s=0).connect()
    changed = context.persistent("changed", expiry_s=3600).connect()
    for client in (short, long, none):
        client.drop()
    changed.disconnect(props=properties("DISCONNECT", SessionExpiryInterval=0))
    context.persistent("none").connect(session_present=False)
    context.persistent("changed").connect(session_present=False)
    time.sleep(3)
    context.persistent("short").connect(session_present=False)
    context.persistent("long").connect(session_present=True)


def messages_expire(context):
    """5.0 only: a message waits no longer than it lives, and says how long it still has."""
    away = context.persistent("away").connect()
    away.subscribe(context.topic("queue"), 1)
    away.disconnect()
    publisher = context.connected("publisher")
    publisher.publish(context.topic("queue"), "stale", 1, MessageExpiryInterval=1)
    publisher.publish(context.topic("queue"), "fresh", 1, MessageExpiryInterval=3600)
    publisher.publish(context.topic("queue"), "eternal", 1)
    time.sleep(3)
    back = context.persistent("away").connect(session_present=True)
    fresh = back.expect(context.topic("queue"), "fresh", 1)
    left = fresh.property("MessageExpiryInterval", 0)
    check(3000 < left <= 3598, f"the remaining time is {left} s")
    eternal = back.expect(context.topic("queue"), "eternal", 1)
    equal(eternal.property("MessageExpiryInterval"), None, "expiry of the eternal message")
    fence(publisher, back, context.topic("queue"), 1)


def retained_messages_expire(context):
    """5.0 only: a retained message goes when its time is over."""
    publisher = context.connected("publisher")
    publisher.publish(context.topic("stale"), "x", 1, retain=True, MessageExpiryInterval=1)
    publisher.publish(context.topic("fresh"), "x", 1, retain=True, MessageExpiryInterval=3600)
    time.sleep(3)
    late = context.connected("late")
    late.subscribe(context.topic("fence"), 1)
    late.subscribe(context.topic("#"), 1)
    fresh = late.expect(context.topic("fresh"), "x", 1, retain=True)
    left = fresh.property("MessageExpiryInterval", 0)
    check(3000 < left <= 3598, f"the remaining time is {left} s")
    late.unsubscribe(context.topic("#"))
    fence(publisher, late, context.topic("fence"), 1)
