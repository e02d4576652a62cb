//! Packets byte for byte as the specification draws them.

use super::samples::id;
use super::{From, written};
use crate::proto::*;

fn publish(qos: QoS) -> Publish<'static> {
    Publish {
        dup: false,
        qos,
        retain: false,
        topic: TopicName::new("a/b").expect("legal"),
        packet_id: (qos != QoS::AtMostOnce).then(|| id(10)),
        properties: PublishProperties::NONE,
        payload: b"hi",
    }
}

#[track_caller]
fn assert_written(packet: Packet<'_>, version: Version, expected: &[u8]) {
    assert_eq!(written(&packet, version), expected, "{packet:?} in {version}");
}

#[test]
fn a_connect_of_each_version_names_its_protocol() {
    let connect = |version| Packet::Connect(Connect::new(version, "c"));
    assert_written(connect(Version::V31), Version::V31, b"\x10\x0F\0\x06MQIsdp\x03\x02\0\0\0\x01c");
    assert_written(connect(Version::V311), Version::V311, b"\x10\x0D\0\x04MQTT\x04\x02\0\0\0\x01c");
    assert_written(connect(Version::V5), Version::V5, b"\x10\x0E\0\x04MQTT\x05\x02\0\0\0\0\x01c");
}

#[test]
fn a_bridge_of_mosquitto_is_let_in_before_5() {
    for (version, bytes) in [
        (Version::V31, &b"\x10\x0F\0\x06MQIsdp\x83\x02\0\0\0\x01c"[..]),
        (Version::V311, b"\x10\x0D\0\x04MQTT\x84\x02\0\0\0\x01c"),
    ] {
        match From::Client.read(Version::V5, bytes) {
            Ok(Packet::Connect(connect)) => {
                assert!(connect.bridge);
                assert_eq!(connect.version, version);
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn the_example_connect_of_the_specification_is_read() {
    // 3.1.2, figure 3.6 of 3.1.1: user name, password, will at QoS 1, clean session, keep alive 10.
    let bytes = b"\x10\x1C\0\x04MQTT\x04\xCE\0\x0A\0\x01c\0\x01w\0\x02hi\0\x01u\0\x03pwd";
    let mut expected = Connect::new(Version::V311, "c");
    expected.keep_alive = 10;
    expected.credentials = Credentials { user_name: Some("u"), password: Some(b"pwd") };
    expected.will = Some(Will {
        topic: TopicName::new("w").expect("legal"),
        qos: QoS::AtLeastOnce,
        retain: false,
        delay_interval: 0,
        properties: PublishProperties::NONE,
        payload: b"hi",
    });
    assert_eq!(From::Client.read(Version::V311, bytes), Ok(Packet::Connect(expected)));
}

#[test]
fn a_client_of_3_1_may_promise_credentials_and_leave_them_out() {
    let bytes = b"\x10\x0F\0\x06MQIsdp\x03\xC2\0\0\0\x01c";
    let expected = Connect::new(Version::V31, "c");
    assert_eq!(From::Client.read(Version::V31, bytes), Ok(Packet::Connect(expected)));
}

#[test]
fn a_password_may_stand_alone_in_5() {
    let bytes = b"\x10\x11\0\x04MQTT\x05\x42\0\0\0\0\x01c\0\x01p";
    let mut expected = Connect::new(Version::V5, "c");
    expected.credentials.password = Some(b"p");
    assert_eq!(From::Client.read(Version::V5, bytes), Ok(Packet::Connect(expected)));
}

#[test]
fn a_publish_has_a_packet_identifier_above_qos_0_alone() {
    // [MQTT-2.2.1-2]
    let at = |qos| Packet::Publish(publish(qos));
    assert_written(at(QoS::AtMostOnce), Version::V311, b"\x30\x07\0\x03a/bhi");
    assert_written(at(QoS::AtLeastOnce), Version::V311, b"\x32\x09\0\x03a/b\0\x0Ahi");
    assert_written(at(QoS::AtLeastOnce), Version::V5, b"\x32\x0A\0\x03a/b\0\x0A\0hi");
    let mut stray = publish(QoS::AtMostOnce);
    stray.packet_id = Some(id(1));
    assert_written(Packet::Publish(stray), Version::V311, b"\x30\x07\0\x03a/bhi");
}

#[test]
fn dup_is_never_written_at_qos_0() {
    // [MQTT-3.3.1-2]
    let mut publish = publish(QoS::AtMostOnce);
    publish.dup = true;
    assert_written(Packet::Publish(publish), Version::V311, b"\x30\x07\0\x03a/bhi");
}

#[test]
fn a_head_counts_the_payload_it_does_not_carry() {
    let mut publish = publish(QoS::AtLeastOnce);
    let payload = vec![7; 200];
    publish.payload = &payload;
    for version in super::VERSIONS {
        let mut head = Vec::new();
        assert!(publish.encode_head(version, &mut head));
        let whole = written(&Packet::Publish(publish.clone()), version);
        assert_eq!([&head[..], &payload].concat(), whole);
        assert_eq!(publish.encoded_len(version), whole.len());
    }
}

#[test]
fn an_acknowledgement_of_success_takes_four_bytes() {
    let mut out = Vec::new();
    for (packet_type, first_byte) in [
        (PacketType::PubAck, 0x40),
        (PacketType::PubRec, 0x50),
        (PacketType::PubRel, 0x62),
        (PacketType::PubComp, 0x70),
    ] {
        for version in super::VERSIONS {
            out.clear();
            encode_ack(packet_type, version, id(0x0102), ReasonCode::Success, &mut out);
            assert_eq!(out, [first_byte, 2, 1, 2]);
        }
        out.clear();
        let reason = ReasonCode::PacketIdentifierNotFound;
        encode_ack(packet_type, Version::V5, id(0x0102), reason, &mut out);
        assert_eq!(out, [first_byte, 3, 1, 2, 0x92]);
        out.clear();
        encode_ack(packet_type, Version::V311, id(0x0102), reason, &mut out);
        assert_eq!(out, [first_byte, 2, 1, 2]);
    }
}

#[test]
fn acknowledgements_may_leave_out_their_end() {
    let ack = |reason| Ok(Packet::PubAck(Ack::new(id(1), reason)));
    let read = |bytes| From::Client.read(Version::V5, bytes);
    assert_eq!(read(&[0x40, 2, 0, 1]), ack(ReasonCode::Success));
    assert_eq!(read(&[0x40, 3, 0, 1, 0x10]), ack(ReasonCode::NoMatchingSubscribers));
    assert_eq!(read(&[0x40, 4, 0, 1, 0x10, 0]), ack(ReasonCode::NoMatchingSubscribers));
}

#[test]
fn a_disconnect_may_leave_out_its_end() {
    let disconnect = |reason| Ok(Packet::Disconnect(Disconnect::new(reason)));
    let read = |bytes| From::Client.read(Version::V5, bytes);
    assert_eq!(read(&[0xE0, 0]), disconnect(ReasonCode::Success));
    assert_eq!(read(&[0xE0, 1, 4]), disconnect(ReasonCode::DisconnectWithWill));
    assert_eq!(read(&[0xE0, 2, 4, 0]), disconnect(ReasonCode::DisconnectWithWill));
    let bare = Packet::Disconnect(Disconnect::new(ReasonCode::Success));
    assert_written(bare.clone(), Version::V5, &[0xE0, 0]);
    assert_written(bare, Version::V311, &[0xE0, 0]);
}

#[test]
fn an_empty_auth_is_the_servers_success() {
    match From::Server.read(Version::V5, &[0xF0, 0]) {
        Ok(Packet::Auth(auth)) => {
            assert_eq!(auth.reason, ReasonCode::Success);
            assert_eq!(auth.authentication_method, None);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn refusals_of_3_are_return_codes() {
    // [MQTT-3.2.2-4 of 3.1.1]
    let connack = ConnAck::new(true, ReasonCode::BadUserNameOrPassword);
    assert_written(Packet::ConnAck(connack.clone()), Version::V311, &[0x20, 2, 0, 4]);
    assert_written(Packet::ConnAck(connack), Version::V5, &[0x20, 3, 0, 0x86, 0]);
}

#[test]
fn the_session_is_told_of_from_3_1_1_on() {
    let connack = Packet::ConnAck(ConnAck::new(true, ReasonCode::Success));
    assert_written(connack.clone(), Version::V31, &[0x20, 2, 0, 0]);
    assert_written(connack.clone(), Version::V311, &[0x20, 2, 1, 0]);
    assert_written(connack, Version::V5, &[0x20, 3, 1, 0, 0]);
}

#[test]
fn a_failed_subscription_is_0x80_before_5() {
    // [MQTT-3.9.3-2 of 3.1.1]
    let suback = Packet::SubAck(SubAck::new(id(1), &[2, 0x87, 0x8F]));
    assert_written(suback.clone(), Version::V311, &[0x90, 5, 0, 1, 2, 0x80, 0x80]);
    assert_written(suback, Version::V5, &[0x90, 6, 0, 1, 0, 2, 0x87, 0x8F]);
}

#[test]
fn an_unsuback_has_reason_codes_in_5_alone() {
    let unsuback = Packet::UnsubAck(UnsubAck::new(id(1), &[0, 0x11]));
    assert_written(unsuback.clone(), Version::V311, &[0xB0, 2, 0, 1]);
    assert_written(unsuback, Version::V5, &[0xB0, 5, 0, 1, 0, 0, 0x11]);
}

#[test]
fn dup_on_subscribe_unsubscribe_and_pubrel_is_of_3_1() {
    for bytes in
        [&[0x8A, 6, 0, 1, 0, 1, b'a', 0][..], &[0xAA, 5, 0, 1, 0, 1, b'a'], &[0x6A, 2, 0, 1]]
    {
        assert!(From::Client.read(Version::V31, bytes).is_ok());
        assert!(matches!(
            From::Client.read(Version::V311, bytes),
            Err(DecodeError::FixedHeaderFlags(_, 0b1010)),
        ));
    }
}

#[test]
fn a_connect_that_cannot_be_read_is_answered_in_its_version() {
    let refusal = |bytes: &[u8]| {
        let Ok(Cut::Whole { frame, .. }) = Frame::cut(bytes, 100) else { panic!("no frame") };
        let error = Packet::decode_from_client(Version::V5, frame).expect_err("cannot be read");
        let (version, connack) = Connect::refusal(&frame, error)?;
        Some((version, written(&Packet::ConnAck(connack), version)))
    };
    // [MQTT-3.1.2-2]: level 3 of `MQTT` and level 6 do not exist.
    assert_eq!(
        refusal(b"\x10\x0D\0\x04MQTT\x03\x02\0\0\0\x01c"),
        Some((Version::V311, vec![0x20, 2, 0, 1])),
    );
    assert_eq!(
        refusal(b"\x10\x0D\0\x04MQTT\x06\x02\0\0\0\x01c"),
        Some((Version::V5, vec![0x20, 3, 0, 0x84, 0])),
    );
    assert_eq!(
        refusal(b"\x10\x0F\0\x06MQIsdp\x04\x02\0\0\0\x01c"),
        Some((Version::V31, vec![0x20, 2, 0, 1])),
    );
    // Malformed: 5.0 is told, 3.1.1 is not. [MQTT-3.1.4-1 of 3.1.1]
    assert_eq!(
        refusal(b"\x10\x0E\0\x04MQTT\x05\x03\0\0\0\0\x01c"),
        Some((Version::V5, vec![0x20, 3, 0, 0x81, 0])),
    );
    assert_eq!(refusal(b"\x10\x0D\0\x04MQTT\x04\x03\0\0\0\x01c"), None);
    // Another protocol altogether. [MQTT-3.1.2-1]
    assert_eq!(refusal(b"\x10\x0D\0\x04HTTP\x05\x02\0\0\0\x01c"), None);
}

#[test]
fn what_helps_people_is_left_out_where_it_does_not_fit() {
    // [MQTT-3.2.2-19, -20]
    let mut connack = ConnAck::new(false, ReasonCode::ServerBusy);
    connack.reason_string = Some("come back later");
    connack.user_properties = UserProperties::Plain(&[("retry", "60")]);
    let packet = Packet::ConnAck(connack.clone());
    let fitted = |size_max| {
        let mut out = vec![0xAA];
        let fits = packet.encode_within(Version::V5, size_max, &mut out);
        assert_eq!(out[0], 0xAA);
        assert_eq!(fits, out.len() > 1);
        (out.len() - 1) as u32
    };
    let whole = fitted(u32::MAX);
    let without_user_properties = fitted(whole - 1);
    let bare = fitted(without_user_properties - 1);
    assert_eq!([whole, without_user_properties, bare, fitted(bare - 1)], [35, 23, 5, 0]);
}

#[test]
fn lengths_the_format_cannot_express_are_cut_to_what_it_can() {
    let long = "\u{E4}".repeat(40_000);
    let pairs = [("k", long.as_str()), ("k", "v")];
    let mut disconnect = Disconnect::new(ReasonCode::AdministrativeAction);
    disconnect.reason_string = Some(&long);
    disconnect.user_properties = UserProperties::Plain(&pairs);
    let bytes = written(&Packet::Disconnect(disconnect), Version::V5);
    match From::Server.read(Version::V5, &bytes) {
        Ok(Packet::Disconnect(read)) => {
            // 65,535 is in the middle of a character.
            assert_eq!(read.reason_string.map(str::len), Some(65_534));
            assert_eq!(read.user_properties, UserProperties::Plain(&[("k", "v")]));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn properties_of_the_hop_are_not_handed_on() {
    // [MQTT-3.3.2-4, -7, -15, -16, -17, -18, -20]
    let bytes = b"\x30\x25\0\x01t\x20\x23\0\x05\x26\0\x01a\0\x01b\x02\0\0\0\x09\
        \x08\0\x01r\x09\0\x01c\x26\0\x01a\0\x01d\x01\0x";
    let Ok(Packet::Publish(publish)) = From::Client.read(Version::V5, bytes) else {
        panic!("cannot be read")
    };
    assert_eq!(publish.properties.topic_alias, Some(5));
    assert_eq!(publish.properties.message_expiry_interval, Some(9));
    let mut kept = Vec::new();
    publish.properties.forward.write_to(&mut kept);
    assert_eq!(kept, b"\x26\0\x01a\0\x01b\x08\0\x01r\x09\0\x01c\x26\0\x01a\0\x01d\x01\0");
    assert_eq!(publish.properties.forward.len(), kept.len());
    assert_eq!(publish.properties.forward, ForwardProperties::from_encoded(&kept));
    let read: Vec<Property<'_>> = publish.properties.forward.iter().collect();
    assert_eq!(
        read,
        [
            Property::UserProperty(("a", "b")),
            Property::ResponseTopic(TopicName::new("r").expect("legal")),
            Property::CorrelationData(b"c"),
            Property::UserProperty(("a", "d")),
            Property::PayloadFormatIndicator(false),
        ],
    );
}

#[test]
fn a_byte_order_mark_is_kept() {
    // [MQTT-1.5.4-3]
    let bytes = b"\x30\x06\0\x04\xEF\xBB\xBFt";
    let Ok(Packet::Publish(publish)) = From::Client.read(Version::V311, bytes) else {
        panic!("cannot be read")
    };
    assert_eq!(publish.topic.as_str(), "\u{FEFF}t");
}
