"""Wills: the last words of a client that went without a goodbye."""

from harness import Failed, check, equal, fence, promised_by_hawker_alone, properties


def _will(context, payload="gone", qos=1, retain=False, topic="will", **values):
    will = {"topic": context.topic(topic), "payload": payload, "qos": qos, "retain": retain}
    if values:
        will["properties"] = properties("WILLMESSAGE", **values)
    return will


def a_lost_connection_publishes_it(context):
    """With its QoS and payload, for each QoS."""
    observer = context.connected("observer")
    observer.subscribe(context.topic("will"), 2)
    for qos in (0, 1, 2):
        client = context.connected(f"client-{qos}", will=_will(context, f"gone {qos}", qos))
        client.drop()
        observer.expect(context.topic("will"), f"gone {qos}", qos, retain=False)


def a_goodbye_discards_it(context):
    """DISCONNECT takes the will back; the next will of the same client is the first to come."""
    observer = context.connected("observer")
    observer.subscribe(context.topic("will"), 1)
    for round_ in range(5):
        context.connected("client", will=_will(context, f"never {round_}")).disconnect()
    context.connected("client", will=_will(context, "gone")).drop()
    observer.expect(context.topic("will"), "gone", 1)
    fence(context.connected("publisher"), observer, context.topic("will"), 1)


def a_retained_will_waits(context):
    """A will with the retain flag is there for who comes later."""
    client = context.connected("client", will=_will(context, "gone", retain=True))
    observer = context.connected("observer")
    observer.subscribe(context.topic("will"), 1)
    client.drop()
    observer.expect(context.topic("will"), "gone", 1, retain=False)
    # The observer and the place where it is kept hear of it at about the same time.
    for attempt in range(50):
        late = context.connected(f"late-{attempt}")
        late.subscribe(context.topic("will"), 1)
        if late.expect(context.topic("will"), "gone", 1).retain:
            return
    raise Failed("the will was not kept")


def a_silent_client_is_given_up(context):
    """Who sends nothing for one and a half times the keep-alive is gone, and its will comes."""
    observer = context.connected("observer")
    observer.subscribe(context.topic("will"), 1)
    client = context.connected("client", keep_alive=1, will=_will(context, "silent"))
    client.freeze()
    observer.expect(context.topic("will"), "silent", 1)


def disconnect_with_will(context):
    """5.0 only: DISCONNECT 0x04 asks for the will."""
    from paho.mqtt.packettypes import PacketTypes
    from paho.mqtt.reasoncodes import ReasonCode

    observer = context.connected("observer")
    observer.subscribe(context.topic("will"), 1)
    client = context.connected("client", will=_will(context, "asked for"))
    client.disconnect(ReasonCode(PacketTypes.DISCONNECT, "Disconnect with will message"))
    observer.expect(context.topic("will"), "asked for", 1)


def its_properties_arrive(context):
    """5.0 only: what the will says about itself is handed on."""
    observer = context.connected("observer")
    observer.subscribe(context.topic("will"), 1)
    client = context.connected("client", will=_will(
        context, ContentType="text/plain", PayloadFormatIndicator=1, ResponseTopic="answer",
        CorrelationData=b"\x00\x01", UserProperty=[("a", "1"), ("a", "2")],
        MessageExpiryInterval=100))
    client.drop()
    message = observer.expect(context.topic("will"), "gone", 1)
    equal(message.property("ContentType"), "text/plain", "content type")
    equal(message.property("PayloadFormatIndicator"), 1, "payload format indicator")
    equal(message.property("ResponseTopic"), "answer", "response topic")
    equal(message.property("CorrelationData"), b"\x00\x01", "correlation data")
    equal(message.property("UserProperty"), [("a", "1"), ("a", "2")], "user properties")
    check(90 < message.property("MessageExpiryInterval", 0) <= 100, "message expiry interval")


def a_delayed_will_waits(context):
    """5.0 only: the will comes when its delay is over, and not at all if the client is back."""
    observer = context.connected("observer")
    observer.subscribe(context.topic("will/#"), 1)
    # The one that comes back would have spoken first, were it not for its return.
    back = context.persistent("back", will=_will(
        context, "back", topic="will/back", WillDelayInterval=1)).connect()
    late = context.persistent("late", will=_will(
        context, "late", topic="will/late", WillDelayInterval=3)).connect()
    prompt = context.persistent("prompt", will=_will(
        context, "prompt", topic="will/prompt", WillDelayInterval=0)).connect()
    back.drop()
    context.persistent("back").connect(session_present=True)
    late.drop()
    prompt.drop()
    observer.expect(context.topic("will/prompt"), "prompt", 1)
    observer.expect(context.topic("will/late"), "late", 1)


@promised_by_hawker_alone
def the_end_of_the_session_ends_the_delay(context):
    """5.0 only: a will waits no longer than its session lives."""
    observer = context.connected("observer")
    observer.subscribe(context.topic("will/#"), 1)
    # A delay of an hour, but the session ends at once, or after a second, or by a clean start.
    at_once = context.client("at-once", will=_will(
        context, "at once", topic="will/1", WillDelayInterval=3600)).connect()
    at_once.drop()
    observer.expect(context.topic("will/1"), "at once", 1)
    second = context.persistent("second", expiry_s=1, will=_will(
        context, "second", topic="will/2", WillDelayInterval=3600)).connect()
    second.drop()
    observer.expect(context.topic("will/2"), "second", 1)
    clean = context.persistent("clean", will=_will(
        context, "clean", topic="will/3", WillDelayInterval=3600)).connect()
    clean.drop()
    context.again(clean).connect(session_present=False)
    observer.expect(context.topic("will/3"), "clean", 1)
