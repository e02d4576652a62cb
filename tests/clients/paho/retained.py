"""Retained messages: the last one of a topic waits for whoever subscribes."""

from harness import check, equal, fence


def the_last_value_waits(context):
    """A late subscriber gets the last retained message with its flag set; a live one without."""
    publisher = context.connected("publisher")
    topic = context.topic("lamp")
    live = context.connected("live")
    live.subscribe(topic, 1)
    publisher.publish(topic, "off", 1, retain=True)
    publisher.publish(topic, "on", 1, retain=True)
    live.expect(topic, "off", 1, retain=False)
    live.expect(topic, "on", 1, retain=False)
    publisher.publish(topic, "passing", 1)
    live.expect(topic, "passing", 1, retain=False)
    late = context.connected("late")
    late.subscribe(topic, 1)
    late.expect(topic, "on", 1, retain=True)
    fence(publisher, late, topic)
    live.expect(topic, "fence")
    publisher.publish(topic, "", 1, retain=True)


def an_empty_payload_clears(context):
    """An empty retained payload is delivered to who is there and leaves nothing behind."""
    publisher = context.connected("publisher")
    topic = context.topic("lamp")
    live = context.connected("live")
    live.subscribe(topic, 1)
    publisher.publish(topic, "on", 1, retain=True)
    publisher.publish(topic, "", 1, retain=True)
    live.expect(topic, "on", 1, retain=False)
    live.expect(topic, "", 1, retain=False)
    late = context.connected("late")
    late.subscribe(topic, 1)
    fence(publisher, late, topic, 1)


def wildcards_find_them_all(context):
    """A wildcard subscription gets every retained message it matches, wherever it is kept."""
    publisher = context.connected("publisher")
    topics = [context.topic(f"house/{room}/{thing}")
              for room in range(10) for thing in ("lamp", "door", "window")]
    for topic in topics:
        publisher.publish(topic, f"state of {topic}", 1, retain=True)
    expected = {
        context.topic("house/#"): topics,
        context.topic("house/+/lamp"): [t for t in topics if t.endswith("lamp")],
        context.topic("house/3/+"): [t for t in topics if "/3/" in t],
        context.topic("garden/#"): [],
    }
    for index, (topic_filter, wanted) in enumerate(expected.items()):
        late = context.connected(f"late-{index}")
        late.subscribe(context.topic("fence"), 1)
        late.subscribe(topic_filter, 1)
        arrived = late.take(len(wanted))
        equal(sorted(m.topic for m in arrived), sorted(wanted), f"topics of {topic_filter}")
        for message in arrived:
            equal(message.payload.decode(), f"state of {message.topic}", "payload")
            equal((message.qos, message.retain), (1, True), f"QoS and flag of {message}")
        fence(publisher, late, context.topic("fence"), 1)
    for topic in topics:
        publisher.publish(topic, "", 1, retain=True)


def their_qos_is_the_lower_one(context):
    """A retained message keeps its QoS, lowered to that of the subscription."""
    publisher = context.connected("publisher")
    for kept in (0, 1, 2):
        publisher.publish(context.topic(f"kept/{kept}"), "x", kept, retain=True)
    publisher.publish(context.topic("kept/3"), "last", 2, retain=True)
    for granted in (0, 1, 2):
        late = context.connected(f"late-{granted}")
        for kept in (0, 1, 2):
            late.subscribe(context.topic(f"kept/{kept}"), granted)
            late.expect(context.topic(f"kept/{kept}"), "x", min(kept, granted), retain=True)


def subscribing_again_repeats_them(context):
    """Each SUBSCRIBE gets them, also a repeated one."""
    publisher = context.connected("publisher")
    topic = context.topic("lamp")
    publisher.publish(topic, "on", 1, retain=True)
    client = context.connected("client")
    for _ in range(3):
        client.subscribe(topic, 1)
        client.expect(topic, "on", 1, retain=True)
    fence(publisher, client, topic)


def retain_handling(context):
    """5.0 only: 0 always sends them, 1 for new subscriptions alone, 2 never."""
    publisher = context.connected("publisher")
    topic = context.topic("lamp")
    publisher.publish(topic, "on", 1, retain=True)
    for handling, first, again in ((0, True, True), (1, True, False), (2, False, False)):
        client = context.connected(f"client-{handling}")
        for wanted in (first, again):
            client.subscribe(topic, 1, retainHandling=handling)
            if wanted:
                client.expect(topic, "on", 1, retain=True)
            fence(publisher, client, topic, 1)


def retain_as_published(context):
    """5.0 only: the flag is handed on to a subscriber that asks for it."""
    publisher = context.connected("publisher")
    topic = context.topic("lamp")
    keeps = context.connected("keeps")
    keeps.subscribe(topic, 1, retainAsPublished=True)
    clears = context.connected("clears")
    clears.subscribe(topic, 1, retainAsPublished=False)
    publisher.publish(topic, "on", 1, retain=True)
    publisher.publish(topic, "passing", 1, retain=False)
    keeps.expect(topic, "on", 1, retain=True)
    keeps.expect(topic, "passing", 1, retain=False)
    clears.expect(topic, "on", 1, retain=False)
    clears.expect(topic, "passing", 1, retain=False)


def a_live_message_and_a_retained_one_race(context):
    """A subscriber ends with the newest value, however its SUBSCRIBE meets the PUBLISH."""
    publisher = context.connected("publisher")
    for round_ in range(30):
        topic = context.topic(f"round/{round_}")
        publisher.publish(topic, "0", 1, retain=True)
        subscriber = context.connected(f"subscriber-{round_}")
        mids = [publisher.send(topic, str(index), 1, retain=True) for index in range(1, 21)]
        subscriber.subscribe(topic, 1)
        for mid in mids:
            publisher.acknowledged(mid)
        seen = []
        while not seen or seen[-1] != 20:
            seen.append(int(subscriber.next("the newest value").payload))
        check(seen == sorted(seen), f"round {round_}: an older value after a newer one: {seen}")
        subscriber.disconnect()
