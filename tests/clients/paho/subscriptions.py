"""Subscriptions: which messages a filter asks for."""

from harness import check, equal, fence, promised_by_hawker_alone


def wildcards(context):
    """`+` stands for one level and `#` for the rest, its parent included."""
    publisher = context.connected("publisher")
    topics = ["a", "a/b", "a/b/c", "a/c", "b", "b/c", "/a", "a/", "a//c", "A"]
    matches = {
        "#": topics,
        "a": ["a"],
        "a/#": ["a", "a/b", "a/b/c", "a/c", "a/", "a//c"],
        "+": ["a", "b", "A"],
        "+/+": ["a/b", "a/c", "b/c", "/a", "a/"],
        "a/+": ["a/b", "a/c", "a/"],
        "a/+/c": ["a/b/c", "a//c"],
        "+/b/#": ["a/b", "a/b/c"],
        "/+": ["/a"],
        "a/+/#": ["a/b", "a/b/c", "a/c", "a/", "a//c"],
    }
    for index, (topic_filter, wanted) in enumerate(matches.items()):
        client = context.connected(f"client-{index}")
        client.subscribe(context.topic(topic_filter), 1)
        client.subscribe(f"{context.prefix}-fence", 1)
        for topic in topics:
            publisher.send(context.topic(topic), topic, 1)
        publisher.send(f"{context.prefix}-fence", "fence", 1)
        arrived = []
        while (message := client.next("the fence")).payload != b"fence":
            arrived.append(message.topic)
        # `#` also matches the level above: the fence is not below the prefix.
        equal(arrived, [context.topic(topic) for topic in wanted], f"topics of {topic_filter}")
        client.disconnect()


def dollar_topics_are_apart(context):
    """Filters that begin with a wildcard do not see topics that begin with `$`."""
    publisher = context.connected("publisher")
    dollar = f"${context.prefix}"
    named = context.connected("named")
    named.subscribe(f"{dollar}/#", 1)
    wild = context.connected("wild")
    wild.subscribe("#", 1)
    wild.subscribe("+/x", 1)
    publisher.publish(f"{dollar}/x", "hidden", 1)
    publisher.publish(context.topic("x"), "seen", 1)
    named.expect(f"{dollar}/x", "hidden", 1)
    while (message := wild.next("the visible topic")).topic != context.topic("x"):
        check(not message.topic.startswith("$"), f"a wildcard saw {message.topic}")


def unsubscribe(context):
    """After UNSUBACK nothing more comes, while other subscriptions go on."""
    client = context.connected("client")
    publisher = context.connected("publisher")
    client.subscribe(context.topic("a"), 1)
    client.subscribe(context.topic("b"), 1)
    publisher.publish(context.topic("a"), "one", 1)
    client.expect(context.topic("a"), "one", 1)
    codes = client.unsubscribe(context.topic("a"))
    if context.v5:
        equal([code.value for code in codes], [0x00], "UNSUBACK of a subscription")
    codes = client.unsubscribe(context.topic("never"))
    if context.v5:
        equal([code.value for code in codes], [0x11], "UNSUBACK of no subscription")
    publisher.publish(context.topic("a"), "two", 1)
    fence(publisher, client, context.topic("b"), 1)


def subscribing_again_replaces(context):
    """The same filter again replaces the subscription, its QoS included."""
    client = context.connected("client")
    publisher = context.connected("publisher")
    for qos in (2, 0, 1):
        client.subscribe(context.topic("a"), qos)
        publisher.publish(context.topic("a"), str(qos), 2)
        client.expect(context.topic("a"), str(qos), qos)
    fence(publisher, client, context.topic("a"), 1)


@promised_by_hawker_alone
def overlapping(context):
    """With several matching subscriptions the highest QoS counts."""
    client = context.connected("client")
    client.subscribe(context.topic("#"), 0)
    client.subscribe(context.topic("a/+"), 2)
    client.subscribe(context.topic("a/b"), 1)
    client.subscribe(f"{context.prefix}-fence", 2)
    publisher = context.connected("publisher")
    publisher.publish(context.topic("a/b"), "x", 2)
    publisher.publish(f"{context.prefix}-fence", "fence", 2)
    levels = []
    while (message := client.next("the fence")).payload != b"fence":
        equal((message.topic, message.payload), (context.topic("a/b"), b"x"), "message")
        levels.append(message.qos)
    # One copy or one for each: the specification leaves the choice. [MQTT-3.3.4-2]
    check(max(levels) == 2 and len(levels) in (1, 3), f"levels {levels}")


def no_local(context):
    """5.0 only: a client does not get its own messages through a subscription that says so."""
    client = context.connected("client")
    other = context.connected("other")
    client.subscribe(context.topic("chat"), 1, noLocal=True)
    client.subscribe(context.topic("fence"), 1)
    client.publish(context.topic("chat"), "own", 1)
    fence(client, client, context.topic("fence"), 1)
    other.publish(context.topic("chat"), "other's", 1)
    client.expect(context.topic("chat"), "other's", 1)


def subscription_identifiers(context):
    """5.0 only: a message names the subscriptions it came by."""
    client = context.connected("client")
    client.subscribe(context.topic("a/#"), 1, subscription_id=1)
    client.subscribe(context.topic("a/b"), 1, subscription_id=268_435_455)
    client.subscribe(context.topic("c"), 1)
    publisher = context.connected("publisher")
    publisher.publish(context.topic("a/b"), "both", 1)
    publisher.publish(context.topic("c"), "none", 1)
    found = []
    while (message := client.next("the message without")).payload != b"none":
        equal(message.topic, context.topic("a/b"), "topic")
        found += message.property("SubscriptionIdentifier", [])
    equal(sorted(found), [1, 268_435_455], "identifiers")
    equal(message.property("SubscriptionIdentifier"), None, "identifier of the plain one")
    client.subscribe(context.topic("a/b"), 1, subscription_id=7)
    publisher.publish(context.topic("a/b"), "changed", 1)
    publisher.publish(context.topic("c"), "none", 1)
    found = []
    while (message := client.next("the message without")).payload != b"none":
        found += message.property("SubscriptionIdentifier", [])
    equal(sorted(found), [1, 7], "identifiers after the change")


def many_filters(context):
    """A thousand subscriptions of one client: each gets what it asked for, and no more."""
    client = context.connected("client")
    count = 1000
    topics = [context.topic(f"n/{index}") for index in range(count)]
    for start in range(0, count, 50):
        client.subscribe_many(topics[start:start + 50], 1)
    publisher = context.connected("publisher")
    for index in range(count):
        publisher.send(topics[index], str(index), 1)
    arrived = client.take(count)
    equal([message.topic for message in arrived], topics, "topics")
    codes = client.unsubscribe(topics[::2])
    if context.v5:
        equal({code.value for code in codes}, {0}, "codes of UNSUBACK")
    for index in range(count):
        publisher.send(topics[index], str(index), 1)
    arrived = client.take(count // 2)
    equal([int(message.payload) for message in arrived], list(range(1, count, 2)), "payloads")
    fence(publisher, client, context.topic("n/1"), 1)
