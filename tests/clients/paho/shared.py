"""Shared subscriptions: each message for one member of the group."""

from collections import Counter

from harness import check, equal, fence, next_of_any, promised_by_hawker_alone


def each_message_goes_to_one_member(context):
    """Three members get 300 messages between them; a plain subscriber gets them all."""
    shared = f"$share/group/{context.topic('jobs/#')}"
    members = [context.connected(f"member-{index}") for index in range(3)]
    for member in members:
        member.subscribe(shared, 2)
        member.subscribe(context.topic(f"fence/{member.name}"), 2)
    plain = context.connected("plain")
    plain.subscribe(context.topic("jobs/#"), 2)
    publisher = context.connected("publisher")
    count = 300
    for index in range(count):
        publisher.send(context.topic(f"jobs/{index % 7}"), str(index), index % 3)
    equal(len(plain.take(count)), count, "messages of the plain subscriber")
    # Each message goes by way of the group's shard, so nothing else can tell when it is there.
    taken = Counter()
    shares = Counter()
    for _ in range(count):
        member, message = next_of_any(members)
        taken[int(message.payload)] += 1
        shares[member.name] += 1
    equal(taken, Counter(range(count)), "messages of the group")
    for member in members:
        check(shares[member.name] > 0, f"{member.name} got nothing: {shares}")
        fence(publisher, member, context.topic(f"fence/{member.name}"), 2)


def two_groups_get_a_copy_each(context):
    """Groups of one filter do not take from each other, nor do other filters."""
    publisher = context.connected("publisher")
    members = {}
    for group in ("red", "blue"):
        members[group] = context.connected(group)
        members[group].subscribe(f"$share/{group}/{context.topic('jobs')}", 1)
    for index in range(50):
        publisher.send(context.topic("jobs"), str(index), 1)
    for group, member in members.items():
        arrived = [int(message.payload) for message in member.take(50)]
        equal(arrived, list(range(50)), f"messages of {group}")
    for member in members.values():
        check(member.is_silent(), "more arrived than was sent")


def a_member_that_unsubscribes_gets_no_more(context):
    """The rest of the group takes over."""
    shared = f"$share/group/{context.topic('jobs')}"
    stays = context.connected("stays")
    stays.subscribe(shared, 1)
    leaves = context.connected("leaves")
    leaves.subscribe(shared, 1)
    leaves.subscribe(context.topic("fence"), 1)
    leaves.unsubscribe(shared)
    publisher = context.connected("publisher")
    for index in range(20):
        publisher.publish(context.topic("jobs"), str(index), 1)
    equal([int(message.payload) for message in stays.take(20)], list(range(20)), "messages")
    fence(publisher, leaves, context.topic("fence"), 1)


@promised_by_hawker_alone
def no_retained_message(context):
    """A shared subscription gets no retained message when it is made. [MQTT-4.8.2, 3.8.4]"""
    publisher = context.connected("publisher")
    publisher.publish(context.topic("jobs"), "old", 1, retain=True)
    member = context.connected("member")
    member.subscribe(f"$share/group/{context.topic('jobs')}", 1)
    fence(publisher, member, context.topic("jobs"), 1)


@promised_by_hawker_alone
def what_a_lost_member_had_goes_to_another(context):
    """Messages that a member did not acknowledge before it left are another's."""
    shared = f"$share/group/{context.topic('jobs')}"
    lost = context.connected("lost", manual_ack=True)
    lost.subscribe(shared, 1)
    other = context.connected("other")
    other.subscribe(shared, 1)
    publisher = context.connected("publisher")
    for index in range(40):
        publisher.publish(context.topic("jobs"), str(index), 1)
    equal(len(lost.take(20)), 20, "messages of the one that will be lost")
    lost.drop()
    arrived = sorted(int(message.payload) for message in other.take(40))
    equal(arrived, list(range(40)), "messages of the other")
    fence(publisher, other, context.topic("jobs"), 1)
