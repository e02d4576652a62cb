"""What 5.0 adds to a message is handed on."""

from harness import check, equal, fence, properties


def handed_on(context):
    """Every property of a publish that is meant for the receiver arrives as it was sent."""
    subscriber = context.connected("subscriber")
    subscriber.subscribe(context.topic("t"), 2)
    publisher = context.connected("publisher")
    pairs = [("b", "1"), ("a", "2"), ("b", "1"), ("", ""), ("ключ", "значение")]
    for qos in (0, 1, 2):
        publisher.publish(
            context.topic("t"), "ünï", qos, UserProperty=pairs, ContentType="text/plain",
            PayloadFormatIndicator=1, ResponseTopic=context.topic("answer"),
            CorrelationData=bytes(range(256)), MessageExpiryInterval=1000)
        message = subscriber.expect(context.topic("t"), "ünï", qos)
        equal(message.property("UserProperty"), pairs, "user properties")
        equal(message.property("ContentType"), "text/plain", "content type")
        equal(message.property("PayloadFormatIndicator"), 1, "payload format indicator")
        equal(message.property("ResponseTopic"), context.topic("answer"), "response topic")
        equal(message.property("CorrelationData"), bytes(range(256)), "correlation data")
        check(990 < message.property("MessageExpiryInterval", 0) <= 1000, "message expiry interval")
        equal(message.property("TopicAlias"), None, "topic alias")
    publisher.publish(context.topic("t"), "plain", 1)
    message = subscriber.expect(context.topic("t"), "plain", 1)
    check(message.properties.isEmpty(), f"properties out of nowhere: {message.properties}")


def retained_messages_keep_theirs(context):
    """Properties are part of a retained message."""
    publisher = context.connected("publisher")
    publisher.publish(context.topic("t"), "x", 1, retain=True, UserProperty=[("a", "1")],
                      ContentType="text/plain", CorrelationData=b"\x00")
    late = context.connected("late")
    late.subscribe(context.topic("t"), 1)
    message = late.expect(context.topic("t"), "x", 1, retain=True)
    equal(message.property("UserProperty"), [("a", "1")], "user properties")
    equal(message.property("ContentType"), "text/plain", "content type")
    equal(message.property("CorrelationData"), b"\x00", "correlation data")


def request_and_response(context):
    """A request names where its answer goes, and the answer says what it answers."""
    responder = context.connected("responder")
    responder.subscribe(context.topic("requests"), 1)
    requester = context.connected("requester")
    requester.subscribe(context.topic("answers/requester"), 1)
    for index in range(20):
        requester.send(context.topic("requests"), f"what is {index} squared?", 1,
                       ResponseTopic=context.topic("answers/requester"),
                       CorrelationData=index.to_bytes(4))
    for index in range(20):
        request = responder.next("a request")
        number = int.from_bytes(request.property("CorrelationData"))
        responder.send(request.property("ResponseTopic"), str(number * number), 1,
                       CorrelationData=request.property("CorrelationData"))
    for index in range(20):
        answer = requester.expect(context.topic("answers/requester"), str(index * index), 1)
        equal(answer.property("CorrelationData"), index.to_bytes(4), "correlation data")


def topic_aliases_from_the_client(context):
    """A client names a topic once and then by its alias, and may give the alias to another."""
    publisher = context.connected("publisher")
    most = getattr(publisher.connack, "TopicAliasMaximum", 0)
    check(most >= 2, f"the broker takes {most} topic aliases")
    subscriber = context.connected("subscriber")
    subscriber.subscribe(context.topic("#"), 1)
    publisher.send(context.topic("first"), "0", 1, TopicAlias=1)
    publisher.send(context.topic("last"), "1", 1, TopicAlias=most)
    publisher.send("", "2", 1, TopicAlias=1)
    publisher.send("", "3", 0, TopicAlias=most)
    publisher.send(context.topic("second"), "4", 1, TopicAlias=1)
    publisher.send("", "5", 1, TopicAlias=1)
    arrived = subscriber.take(6)
    topics = {int(message.payload): message.topic for message in arrived}
    equal([topics[index] for index in range(6)],
          [context.topic(name) for name in ("first", "last", "first", "last", "second", "second")],
          "topics")
    for message in arrived:
        equal(message.property("TopicAlias"), None, f"topic alias of {message}")


def topic_aliases_from_the_broker(context):
    """Whatever aliases the broker uses, each message is of the right topic."""
    subscriber = context.connected(
        "subscriber", connect_properties=properties("CONNECT", TopicAliasMaximum=3))
    subscriber.subscribe(context.topic("#"), 1)
    publisher = context.connected("publisher")
    count = 200
    for index in range(count):
        publisher.send(context.topic(f"t/{index * index % 7}"), str(index), 1)
    arrived = subscriber.take(count)
    for index, message in enumerate(arrived):
        equal(int(message.payload), index, "order")
        equal(message.topic, context.topic(f"t/{index * index % 7}"), f"topic of {message}")
        check(message.property("TopicAlias", 1) in (1, 2, 3), f"alias of {message}")
    if not context.foreign:
        check(any(message.property("TopicAlias") for message in arrived), "no alias was used")


def maximum_packet_size(context):
    """A client gets no packet larger than it takes, and what follows is not held up."""
    small = context.connected(
        "small", connect_properties=properties("CONNECT", MaximumPacketSize=200))
    large = context.connected("large")
    for client in (small, large):
        client.subscribe(context.topic("t"), 2)
    publisher = context.connected("publisher")
    for qos in (0, 1, 2):
        publisher.publish(context.topic("t"), "x" * 300, qos)
        publisher.publish(context.topic("t"), f"small {qos}", qos)
        large.expect(context.topic("t"), "x" * 300, qos)
        large.expect(context.topic("t"), f"small {qos}", qos)
        small.expect(context.topic("t"), f"small {qos}", qos)
    fence(publisher, small, context.topic("t"), 2)


def what_the_broker_grants(context):
    """CONNACK says what the broker can do, and leaves out what is the default."""
    client = context.client("client", connect_properties=properties(
        "CONNECT", SessionExpiryInterval=3600, ReceiveMaximum=10)).connect()
    found = client.connack
    equal(getattr(found, "MaximumQoS", 2), 2, "maximum QoS")
    for name in ("RetainAvailable", "WildcardSubscriptionAvailable",
                 "SubscriptionIdentifierAvailable", "SharedSubscriptionAvailable"):
        equal(getattr(found, name, 1), 1, name)
    check(getattr(found, "ReceiveMaximum", 65535) >= 1, "receive maximum")
    equal(getattr(found, "AssignedClientIdentifier", None), None, "assigned client identifier")
