//! SUBSCRIBE and UNSUBSCRIBE.

use super::super::From::Client;
use super::{malformed, protocol, refused, sender};
use crate::proto::DecodeError as E;
use crate::proto::Version::{V5, V311};
use crate::proto::{PropertyId as I, ReasonCode, TopicError as T};

#[test]
fn subscribe() {
    sender(Client, V5).is_refused(&[
        protocol("packet identifier 0 [MQTT-2.2.1-3]", b"\x82\x07\0\0\0\0\x01a\0", E::PacketIdZero),
        protocol(
            "no filter [MQTT-3.8.3-2, 3.8.3-3 of 3.1.1]",
            b"\x82\x03\0\x01\0",
            E::NoTopicFilters,
        ),
        protocol("QoS 3", b"\x82\x07\0\x01\0\0\x01a\x03", E::SubscriptionOptions(3)),
        protocol("retain handling 3", b"\x82\x07\0\x01\0\0\x01a\x30", E::SubscriptionOptions(0x30)),
        malformed(
            "reserved options [MQTT-3.8.3-5]",
            b"\x82\x07\0\x01\0\0\x01a\x40",
            E::SubscriptionOptionsReserved(0x40),
        ),
        protocol(
            "no local on a shared subscription [MQTT-3.8.3-4]",
            b"\x82\x10\0\x01\0\0\x0A$share/g/a\x04",
            E::NoLocalShared,
        ),
        refused(
            "share name without filter [MQTT-4.8.2-2]",
            b"\x82\x0E\0\x01\0\0\x08$share/g\0",
            E::TopicFilter(T::ShareName),
            ReasonCode::TopicFilterInvalid,
        ),
        refused(
            "empty share name [MQTT-4.8.2-1]",
            b"\x82\x0F\0\x01\0\0\x09$share//a\0",
            E::TopicFilter(T::ShareName),
            ReasonCode::TopicFilterInvalid,
        ),
        refused(
            "# before the end [MQTT-4.7.1-1]",
            b"\x82\x09\0\x01\0\0\x03#/a\0",
            E::TopicFilter(T::Wildcard),
            ReasonCode::TopicFilterInvalid,
        ),
        refused(
            "empty filter [MQTT-4.7.3-1]",
            b"\x82\x06\0\x01\0\0\0\0",
            E::TopicFilter(T::Empty),
            ReasonCode::TopicFilterInvalid,
        ),
        malformed("filter not UTF-8 [MQTT-3.8.3-1]", b"\x82\x07\0\x01\0\0\x01\xFF\0", E::Utf8),
        malformed(
            "U+0000 in the filter [MQTT-1.5.4-2]",
            b"\x82\x07\0\x01\0\0\x01\0\0",
            E::NullCharacter,
        ),
        protocol(
            "subscription identifier 0",
            b"\x82\x09\0\x01\x02\x0B\0\0\x01a\0",
            E::PropertyValue(I::SubscriptionIdentifier),
        ),
        protocol(
            "subscription identifier twice",
            b"\x82\x0B\0\x01\x04\x0B\x01\x0B\x02\0\x01a\0",
            E::PropertyRepeated(I::SubscriptionIdentifier),
        ),
        malformed(
            "subscription identifier of five bytes",
            b"\x82\x0D\0\x01\x06\x0B\xFF\xFF\xFF\xFF\x01\0\x01a\0",
            E::VariableByteInteger,
        ),
    ]);
    sender(Client, V311).is_refused(&[
        protocol("no filter", b"\x82\x02\0\x01", E::NoTopicFilters),
        malformed("no options", b"\x82\x05\0\x01\0\x01a", E::Truncated),
        protocol("QoS 3", b"\x82\x06\0\x01\0\x01a\x03", E::SubscriptionOptions(3)),
        malformed(
            "options of 5.0 before",
            b"\x82\x06\0\x01\0\x01a\x04",
            E::SubscriptionOptionsReserved(4),
        ),
        refused(
            "+ in a level [MQTT-4.7.1-2]",
            b"\x82\x07\0\x01\0\x02a+\0",
            E::TopicFilter(T::Wildcard),
            ReasonCode::TopicFilterInvalid,
        ),
        protocol(
            "second filter wrong",
            b"\x82\x0A\0\x01\0\x01a\0\0\x01+\x03",
            E::SubscriptionOptions(3),
        ),
    ]);
}

#[test]
fn unsubscribe() {
    sender(Client, V5).is_refused(&[
        protocol("no filter [MQTT-3.10.3-2]", b"\xA2\x03\0\x01\0", E::NoTopicFilters),
        malformed(
            "subscription identifier",
            b"\xA2\x08\0\x01\x02\x0B\x01\0\x01a",
            E::PropertyMisplaced(I::SubscriptionIdentifier),
        ),
    ]);
    sender(Client, V311).is_refused(&[
        protocol("no filter", b"\xA2\x02\0\x01", E::NoTopicFilters),
        malformed("filter not UTF-8 [MQTT-3.10.3-1]", b"\xA2\x05\0\x01\0\x01\xFF", E::Utf8),
        malformed("half a filter", b"\xA2\x06\0\x01\0\x01a\0", E::Truncated),
        protocol("packet identifier 0", b"\xA2\x05\0\0\0\x01a", E::PacketIdZero),
    ]);
}
