//! Any packet, written and read again, is the same packet: every kind, version and direction.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::{From, written};
use crate::proto::*;

// Packets borrow what they carry. Generated strings and bytes are leaked, so that a strategy can
// give out whole packets; a run leaks a few megabytes.

fn text() -> impl Strategy<Value = &'static str> {
    prop_oneof![
        8 => "[^\0]{0,12}",
        1 => "[a-z]{200}",
    ]
    .prop_map(|text| &*text.leak())
}

fn bytes() -> impl Strategy<Value = &'static [u8]> {
    prop_oneof![8 => vec(any::<u8>(), 0..20), 1 => vec(any::<u8>(), 120..300)]
        .prop_map(|bytes| &*bytes.leak())
}

fn topic() -> impl Strategy<Value = TopicName<'static>> {
    "[^\0+#]{1,20}".prop_map(|text| TopicName::new(text.leak()).expect("legal"))
}

fn filter() -> impl Strategy<Value = &'static str> {
    let level = prop_oneof![Just("+".to_owned()), "[^\0+#/]{0,6}"];
    let filter = (vec(level, 1..5), prop_oneof![Just(""), Just("/#")])
        .prop_map(|(levels, end)| levels.join("/") + end)
        .prop_map(|filter| if filter.is_empty() { "/".to_owned() } else { filter });
    let prefix = prop_oneof![
        4 => Just(String::new()),
        1 => Just("$queue/".to_owned()),
        1 => "[^\0+#/]{1,6}".prop_map(|group| format!("$share/{group}/")),
    ];
    (prefix, filter).prop_map(|(prefix, filter)| &*(prefix + &filter).leak())
}

fn packet_id() -> impl Strategy<Value = PacketId> {
    (1..=u16::MAX).prop_map(|value| PacketId::new(value).expect("not 0"))
}

fn qos() -> impl Strategy<Value = QoS> {
    prop_oneof![Just(QoS::AtMostOnce), Just(QoS::AtLeastOnce), Just(QoS::ExactlyOnce)]
}

fn variable_byte_integer() -> impl Strategy<Value = u32> {
    prop_oneof![1..=0x7Fu32, 0x80..=0x3FFFu32, 0x4000..=0x1F_FFFFu32, 0x20_0000..=268_435_455u32]
}

fn user_properties(version: Version) -> impl Strategy<Value = UserProperties<'static>> {
    of_5(version, vec((text(), text()), 0..4))
        .prop_map(|pairs| UserProperties::Plain(pairs.unwrap_or_default().leak()))
}

/// What only 5.0 can carry: `None` before.
fn of_5<S>(version: Version, strategy: S) -> BoxedStrategy<Option<S::Value>>
where
    S: Strategy + 'static,
    S::Value: Clone,
{
    match version {
        Version::V31 | Version::V311 => Just(None).boxed(),
        Version::V5 => option::of(strategy).boxed(),
    }
}

/// The reason codes that a packet may have in 5.0; success before.
fn reason(
    version: Version,
    packet: PacketType,
    sender: super::super::Sender,
) -> impl Strategy<Value = ReasonCode> {
    let mut reasons = vec![ReasonCode::Success];
    if version == Version::V5 {
        reasons = ReasonCode::ALL.to_vec();
        reasons.retain(|reason| reason.belongs_to(packet, sender));
    }
    proptest::sample::select(reasons)
}

fn sender(from: From) -> super::super::Sender {
    match from {
        From::Client => super::super::Sender::Client,
        From::Server => super::super::Sender::Server,
    }
}

fn forward(version: Version) -> impl Strategy<Value = ForwardProperties<'static>> {
    let properties = (
        option::of(any::<bool>()),
        option::of(text()),
        option::of(topic()),
        option::of(bytes()),
        vec((text(), text()), 0..3),
    );
    of_5(version, properties).prop_map(|properties| {
        let mut encoded = Vec::new();
        let mut string = |id: u8, strings: &[&[u8]]| {
            encoded.push(id);
            for string in strings {
                encoded.extend((string.len() as u16).to_be_bytes());
                encoded.extend_from_slice(string);
            }
        };
        let Some((format, content_type, response, correlation, user)) = properties else {
            return ForwardProperties::NONE;
        };
        if let Some(text) = content_type {
            string(0x03, &[text.as_bytes()]);
        }
        if let Some(topic) = response {
            string(0x08, &[topic.as_str().as_bytes()]);
        }
        if let Some(data) = correlation {
            string(0x09, &[data]);
        }
        for (name, value) in user {
            string(0x26, &[name.as_bytes(), value.as_bytes()]);
        }
        if let Some(format) = format {
            encoded.extend([0x01, u8::from(format)]);
        }
        ForwardProperties::from_encoded(encoded.leak())
    })
}

fn publish_properties(
    from: From,
    version: Version,
) -> impl Strategy<Value = PublishProperties<'static>> {
    let ids = match (from, version) {
        (From::Server, Version::V5) => vec(variable_byte_integer(), 0..4).boxed(),
        _ => Just(Vec::new()).boxed(),
    };
    (of_5(version, 1..=u16::MAX), of_5(version, any::<u32>()), ids, forward(version)).prop_map(
        |(topic_alias, message_expiry_interval, ids, forward)| PublishProperties {
            topic_alias,
            message_expiry_interval,
            subscription_ids: SubscriptionIds::Plain(ids.leak()),
            forward,
        },
    )
}

fn publish(from: From, version: Version) -> impl Strategy<Value = Packet<'static>> {
    let properties = publish_properties(from, version);
    (any::<bool>(), qos(), any::<bool>(), topic(), packet_id(), properties, bytes(), any::<bool>())
        .prop_map(|(dup, qos, retain, topic, packet_id, properties, payload, unnamed)| {
            let acknowledged = qos != QoS::AtMostOnce;
            let unnamed = unnamed && properties.topic_alias.is_some();
            Packet::Publish(Publish {
                dup: dup && acknowledged,
                qos,
                retain,
                topic: if unnamed { TopicName::empty() } else { topic },
                packet_id: acknowledged.then_some(packet_id),
                properties,
                payload,
            })
        })
}

fn will(version: Version) -> impl Strategy<Value = Will<'static>> {
    let expiry = of_5(version, any::<u32>());
    let delay = of_5(version, any::<u32>());
    (topic(), qos(), any::<bool>(), delay, expiry, forward(version), bytes()).prop_map(
        |(topic, qos, retain, delay_interval, message_expiry_interval, forward, payload)| Will {
            topic,
            qos,
            retain,
            delay_interval: delay_interval.unwrap_or(0),
            properties: PublishProperties {
                message_expiry_interval,
                forward,
                ..PublishProperties::NONE
            },
            payload,
        },
    )
}

fn connect(version: Version) -> impl Strategy<Value = Packet<'static>> {
    let head = (any::<bool>(), any::<bool>(), any::<u16>(), text(), option::of(will(version)));
    let credentials = (option::of(text()), option::of(bytes()));
    let limits = (
        of_5(version, any::<u32>()),
        of_5(version, 1..=u16::MAX),
        of_5(version, 1..=u32::MAX),
        of_5(version, any::<u16>()),
    );
    let rest = (
        of_5(version, any::<bool>()),
        of_5(version, any::<bool>()),
        user_properties(version),
        of_5(version, (text(), option::of(bytes()))),
    );
    (head, credentials, limits, rest).prop_map(move |(head, credentials, limits, rest)| {
        let mut connect = Connect::new(version, head.3);
        connect.bridge = head.0 && version != Version::V5;
        connect.clean_start = head.1;
        connect.keep_alive = head.2;
        connect.will = head.4;
        connect.credentials.user_name = credentials.0;
        if credentials.0.is_some() || version == Version::V5 {
            connect.credentials.password = credentials.1;
        }
        connect.session_expiry_interval = limits.0;
        connect.receive_maximum = limits.1;
        connect.maximum_packet_size = limits.2;
        connect.topic_alias_maximum = limits.3;
        connect.request_response_information = rest.0.unwrap_or(false);
        connect.request_problem_information = rest.1.unwrap_or(true);
        connect.user_properties = rest.2;
        connect.authentication_method = rest.3.map(|(method, _)| method);
        connect.authentication_data = rest.3.and_then(|(_, data)| data);
        Packet::Connect(connect)
    })
}

fn connack(version: Version) -> impl Strategy<Value = Packet<'static>> {
    let reason = match version {
        Version::V31 | Version::V311 => (0..=5u8)
            .prop_map(|code| ReasonCode::from_connect_return_code(code).expect("0 to 5"))
            .boxed(),
        Version::V5 => reason(version, PacketType::ConnAck, sender(From::Server)).boxed(),
    };
    let numbers = (
        of_5(version, any::<u32>()),
        of_5(version, 1..=u16::MAX),
        of_5(version, prop_oneof![Just(QoS::AtMostOnce), Just(QoS::AtLeastOnce)]),
        of_5(version, 1..=u32::MAX),
        of_5(version, any::<u16>()),
        of_5(version, any::<u16>()),
    );
    let available = [(); 4].map(|()| of_5(version, any::<bool>()));
    let texts = [(); 4].map(|()| of_5(version, text()));
    let authentication = of_5(version, (text(), option::of(bytes())));
    let rest = (user_properties(version), authentication);
    (any::<bool>(), reason, numbers, available, texts, rest).prop_map(
        move |(present, reason, numbers, available, texts, rest)| {
            let told = version != Version::V31 && reason == ReasonCode::Success;
            Packet::ConnAck(ConnAck {
                session_present: present && told,
                reason,
                session_expiry_interval: numbers.0,
                receive_maximum: numbers.1,
                maximum_qos: numbers.2,
                retain_available: available[0],
                maximum_packet_size: numbers.3,
                assigned_client_id: texts[0],
                topic_alias_maximum: numbers.4,
                reason_string: texts[1],
                user_properties: rest.0,
                wildcard_subscription_available: available[1],
                subscription_ids_available: available[2],
                shared_subscription_available: available[3],
                server_keep_alive: numbers.5,
                response_information: texts[2],
                server_reference: texts[3],
                authentication_method: rest.1.map(|(method, _)| method),
                authentication_data: rest.1.and_then(|(_, data)| data),
            })
        },
    )
}

fn ack(
    from: From,
    version: Version,
    packet_type: PacketType,
    kind: fn(Ack<'static>) -> Packet<'static>,
) -> BoxedStrategy<Packet<'static>> {
    let reason = reason(version, packet_type, sender(from));
    (packet_id(), reason, of_5(version, text()), user_properties(version))
        .prop_map(move |(packet_id, reason, reason_string, user_properties)| {
            kind(Ack { packet_id, reason, reason_string, user_properties })
        })
        .boxed()
}

fn acks(from: From, version: Version) -> impl Strategy<Value = Packet<'static>> {
    prop_oneof![
        ack(from, version, PacketType::PubAck, Packet::PubAck),
        ack(from, version, PacketType::PubRec, Packet::PubRec),
        ack(from, version, PacketType::PubRel, Packet::PubRel),
        ack(from, version, PacketType::PubComp, Packet::PubComp),
    ]
}

fn subscription_options(version: Version) -> impl Strategy<Value = SubscriptionOptions> {
    let retain_handling = proptest::sample::select(vec![
        RetainHandling::Send,
        RetainHandling::SendIfNew,
        RetainHandling::DoNotSend,
    ]);
    (qos(), of_5(version, (any::<bool>(), any::<bool>(), retain_handling))).prop_map(
        |(qos, options)| {
            let (no_local, retain_as_published, retain_handling) = options.unwrap_or_default();
            SubscriptionOptions { qos, no_local, retain_as_published, retain_handling }
        },
    )
}

fn subscribe(version: Version) -> impl Strategy<Value = Packet<'static>> {
    let filters = vec((filter(), subscription_options(version)), 1..5);
    let subscription_id = of_5(version, variable_byte_integer());
    (packet_id(), subscription_id, user_properties(version), filters).prop_map(
        move |(packet_id, subscription_id, user_properties, mut filters)| {
            for (filter, options) in &mut filters {
                options.no_local &=
                    !(filter.starts_with("$share/") || filter.starts_with("$queue/"));
            }
            let encoded = SubscribeFilters::encode_list(version, &filters).leak();
            let filters = SubscribeFilters::from_encoded(version, encoded).expect("legal");
            Packet::Subscribe(Subscribe { packet_id, subscription_id, user_properties, filters })
        },
    )
}

fn unsubscribe(version: Version) -> impl Strategy<Value = Packet<'static>> {
    (packet_id(), user_properties(version), vec(filter(), 1..5)).prop_map(
        |(packet_id, user_properties, filters)| {
            let encoded = UnsubscribeFilters::encode_list(&filters).leak();
            let filters = UnsubscribeFilters::from_encoded(encoded).expect("legal");
            Packet::Unsubscribe(Unsubscribe { packet_id, user_properties, filters })
        },
    )
}

/// Reason codes as bytes, for SUBACK and UNSUBACK.
fn reasons(version: Version, packet: PacketType) -> BoxedStrategy<&'static [u8]> {
    let code = match (packet, version) {
        (PacketType::SubAck, Version::V31 | Version::V311) => {
            proptest::sample::select(&[0u8, 1, 2, 0x80][..]).boxed()
        }
        _ => reason(version, packet, sender(From::Server)).prop_map(ReasonCode::as_u8).boxed(),
    };
    match (packet, version) {
        (PacketType::UnsubAck, Version::V31 | Version::V311) => Just(&[][..]).boxed(),
        _ => vec(code, 1..5).prop_map(|codes| &*codes.leak()).boxed(),
    }
}

fn suback(version: Version) -> impl Strategy<Value = Packet<'static>> {
    let reasons = reasons(version, PacketType::SubAck);
    (packet_id(), of_5(version, text()), user_properties(version), reasons).prop_map(
        |(packet_id, reason_string, user_properties, reasons)| {
            Packet::SubAck(SubAck { packet_id, reason_string, user_properties, reasons })
        },
    )
}

fn unsuback(version: Version) -> impl Strategy<Value = Packet<'static>> {
    let reasons = reasons(version, PacketType::UnsubAck);
    (packet_id(), of_5(version, text()), user_properties(version), reasons).prop_map(
        |(packet_id, reason_string, user_properties, reasons)| {
            Packet::UnsubAck(UnsubAck { packet_id, reason_string, user_properties, reasons })
        },
    )
}

fn disconnect(from: From, version: Version) -> impl Strategy<Value = Packet<'static>> {
    let reason = reason(version, PacketType::Disconnect, sender(from));
    let expiry = of_5(version, any::<u32>());
    let reference = of_5(version, text());
    (reason, expiry, of_5(version, text()), user_properties(version), reference).prop_map(
        move |(reason, expiry, reason_string, user_properties, server_reference)| {
            Packet::Disconnect(Disconnect {
                reason,
                session_expiry_interval: expiry.filter(|_| from == From::Client),
                reason_string,
                user_properties,
                server_reference: server_reference.filter(|_| from == From::Server),
            })
        },
    )
}

fn auth(from: From) -> impl Strategy<Value = Packet<'static>> {
    let reason = reason(Version::V5, PacketType::Auth, sender(from));
    (reason, text(), option::of(bytes()), option::of(text()), user_properties(Version::V5))
        .prop_map(|(reason, method, data, reason_string, user_properties)| {
            let auth = Auth::new(reason, method, data);
            Packet::Auth(Auth { reason_string, user_properties, ..auth })
        })
}

fn packet(from: From, version: Version) -> BoxedStrategy<Packet<'static>> {
    let both = prop_oneof![publish(from, version), acks(from, version)];
    let of_both = if version == Version::V5 {
        prop_oneof![4 => both, 1 => disconnect(from, version), 1 => auth(from)].boxed()
    } else {
        both.boxed()
    };
    match from {
        From::Client => prop_oneof![
            4 => of_both,
            2 => connect(version),
            1 => subscribe(version),
            1 => unsubscribe(version),
            1 => Just(Packet::PingReq),
            1 => disconnect(from, version),
        ]
        .boxed(),
        From::Server => prop_oneof![
            4 => of_both,
            2 => connack(version),
            1 => suback(version),
            1 => unsuback(version),
            1 => Just(Packet::PingResp),
        ]
        .boxed(),
    }
}

fn any_packet() -> impl Strategy<Value = (From, Version, Packet<'static>)> {
    let from = prop_oneof![Just(From::Client), Just(From::Server)];
    (from, proptest::sample::select(&super::VERSIONS[..])).prop_flat_map(|(from, version)| {
        packet(from, version).prop_map(move |packet| (from, version, packet))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn what_is_written_is_read_again((from, version, packet) in any_packet()) {
        let bytes = written(&packet, version);
        prop_assert_eq!(from.read(version, &bytes), Ok(packet));
    }

    #[test]
    fn a_publish_has_the_length_it_says((from, version, packet) in any_packet()) {
        let _ = from;
        if let Packet::Publish(publish) = &packet {
            prop_assert_eq!(publish.encoded_len(version), written(&packet, version).len());
        }
    }

    #[test]
    fn no_bytes_make_the_decoder_panic(bytes in vec(any::<u8>(), 0..60), limit in any::<u32>()) {
        for from in [From::Client, From::Server] {
            for version in super::VERSIONS {
                if let Ok(Cut::Whole { frame, .. }) = Frame::cut(&bytes, limit) {
                    let _ = from.decode(version, frame);
                }
            }
        }
    }
}
