//! One packet of each kind with all that it may carry, and one with as little as it may.

use super::From;
use crate::proto::*;

/// A packet, the side that sends it and the versions that have it so.
pub(super) struct Sample {
    pub(super) from: From,
    pub(super) version: Version,
    pub(super) packet: Packet<'static>,
}

pub(super) fn samples() -> Vec<Sample> {
    let mut samples = Vec::new();
    for version in super::VERSIONS {
        let mut add = |from, packet| samples.push(Sample { from, version, packet });
        for connect in [full_connect(version), Connect::new(version, "")] {
            add(From::Client, Packet::Connect(connect));
        }
        for connack in [full_connack(version), ConnAck::new(false, ReasonCode::NotAuthorized)] {
            add(From::Server, Packet::ConnAck(connack));
        }
        for from in [From::Client, From::Server] {
            add(from, Packet::Publish(full_publish(from, version)));
            add(from, Packet::Publish(bare_publish()));
            for kind in [Packet::PubAck, Packet::PubRec, Packet::PubRel, Packet::PubComp] {
                add(from, kind(Ack::new(id(1), ReasonCode::Success)));
            }
        }
        add(From::Client, Packet::Subscribe(full_subscribe(version)));
        add(From::Client, Packet::Unsubscribe(full_unsubscribe(version)));
        add(From::Server, Packet::SubAck(full_suback(version)));
        add(From::Server, Packet::UnsubAck(full_unsuback(version)));
        add(From::Client, Packet::PingReq);
        add(From::Server, Packet::PingResp);
        add(From::Client, Packet::Disconnect(Disconnect::new(ReasonCode::Success)));
    }
    samples.extend(samples_of_5_alone());
    samples
}

fn samples_of_5_alone() -> impl Iterator<Item = Sample> {
    let not_found = Ack {
        packet_id: id(65_535),
        reason: ReasonCode::PacketIdentifierNotFound,
        reason_string: Some("no such packet"),
        user_properties: USER_PROPERTIES,
    };
    let quota = Ack { reason: ReasonCode::QuotaExceeded, ..not_found.clone() };
    let short = |reason| Ack::new(id(7), reason);
    let client = [
        Packet::PubAck(quota.clone()),
        Packet::PubAck(short(ReasonCode::NoMatchingSubscribers)),
        Packet::PubRec(quota),
        Packet::PubRec(short(ReasonCode::UnspecifiedError)),
        Packet::PubRel(not_found.clone()),
        Packet::PubRel(short(ReasonCode::PacketIdentifierNotFound)),
        Packet::PubComp(not_found),
        Packet::PubComp(short(ReasonCode::PacketIdentifierNotFound)),
        Packet::Disconnect(Disconnect {
            reason: ReasonCode::DisconnectWithWill,
            session_expiry_interval: Some(u32::MAX),
            reason_string: Some("gone"),
            user_properties: USER_PROPERTIES,
            server_reference: None,
        }),
        Packet::Disconnect(Disconnect::new(ReasonCode::DisconnectWithWill)),
        Packet::Auth(full_auth(ReasonCode::ReAuthenticate)),
    ];
    let server = [
        Packet::Disconnect(Disconnect {
            reason: ReasonCode::ServerMoved,
            session_expiry_interval: None,
            reason_string: Some("elsewhere"),
            user_properties: USER_PROPERTIES,
            server_reference: Some("other.example:1883"),
        }),
        Packet::Auth(full_auth(ReasonCode::ContinueAuthentication)),
    ];
    let sample = |from| move |packet| Sample { from, version: Version::V5, packet };
    client.into_iter().map(sample(From::Client)).chain(server.into_iter().map(sample(From::Server)))
}

const USER_PROPERTIES: UserProperties<'static> =
    UserProperties::Plain(&[("name", "value"), ("name", ""), ("", "\u{FEFF}other")]);

/// Payload format, content type, response topic, correlation data and two user properties.
const FORWARD: &[u8] = b"\x01\x01\x03\0\x04text\x08\0\x03a/b\x09\0\x02\0\xFF\x26\0\x01k\0\x01v\
    \x26\0\x01k\0\x01w";

pub(super) fn id(value: u16) -> PacketId {
    PacketId::new(value).expect("not 0")
}

fn full_connect(version: Version) -> Connect<'static> {
    let mut connect = Connect::new(version, "client-\u{1F98B}");
    connect.clean_start = false;
    connect.keep_alive = 65_535;
    connect.bridge = version != Version::V5;
    connect.credentials = Credentials { user_name: Some("user"), password: Some(b"\0\xFF") };
    connect.will = Some(Will {
        topic: TopicName::new("will/topic").expect("legal"),
        qos: QoS::ExactlyOnce,
        retain: true,
        delay_interval: 0,
        properties: PublishProperties::NONE,
        payload: b"gone",
    });
    if version == Version::V5 {
        connect.session_expiry_interval = Some(3600);
        connect.receive_maximum = Some(1);
        connect.maximum_packet_size = Some(1 << 20);
        connect.topic_alias_maximum = Some(16);
        connect.request_response_information = true;
        connect.request_problem_information = false;
        connect.user_properties = USER_PROPERTIES;
        connect.authentication_method = Some("SCRAM-SHA-256");
        connect.authentication_data = Some(b"n,,n=user,r=nonce");
        let will = connect.will.as_mut().expect("set above");
        will.delay_interval = 5;
        will.properties.message_expiry_interval = Some(60);
        will.properties.forward = ForwardProperties::from_encoded(FORWARD);
    }
    connect
}

fn full_connack(version: Version) -> ConnAck<'static> {
    let connack = ConnAck::new(version != Version::V31, ReasonCode::Success);
    if version != Version::V5 {
        return connack;
    }
    ConnAck {
        session_expiry_interval: Some(0),
        receive_maximum: Some(10),
        maximum_qos: Some(QoS::AtLeastOnce),
        retain_available: Some(false),
        maximum_packet_size: Some(1),
        assigned_client_id: Some("assigned"),
        topic_alias_maximum: Some(64),
        reason_string: Some("welcome"),
        user_properties: USER_PROPERTIES,
        wildcard_subscription_available: Some(true),
        subscription_ids_available: Some(true),
        shared_subscription_available: Some(false),
        server_keep_alive: Some(30),
        response_information: Some("response/"),
        server_reference: Some("other"),
        authentication_method: Some("SCRAM-SHA-256"),
        authentication_data: Some(b"v=proof"),
        ..connack
    }
}

fn full_publish(from: From, version: Version) -> Publish<'static> {
    let mut publish = Publish {
        dup: true,
        qos: QoS::ExactlyOnce,
        retain: true,
        topic: TopicName::new("a/\u{E4}/c").expect("legal"),
        packet_id: Some(id(0x0102)),
        properties: PublishProperties::NONE,
        payload: b"payload",
    };
    if version == Version::V5 {
        publish.properties.topic_alias = Some(1);
        publish.properties.message_expiry_interval = Some(1);
        publish.properties.forward = ForwardProperties::from_encoded(FORWARD);
        if from == From::Server {
            publish.properties.subscription_ids =
                SubscriptionIds::Plain(&[1, 127, 128, 16_384, 268_435_455]);
        }
    }
    publish
}

fn bare_publish() -> Publish<'static> {
    Publish {
        dup: false,
        qos: QoS::AtMostOnce,
        retain: false,
        topic: TopicName::new("t").expect("legal"),
        packet_id: None,
        properties: PublishProperties::NONE,
        payload: b"",
    }
}

fn full_subscribe(version: Version) -> Subscribe<'static> {
    let options = SubscriptionOptions {
        qos: QoS::ExactlyOnce,
        no_local: true,
        retain_as_published: true,
        retain_handling: RetainHandling::DoNotSend,
    };
    let plain = SubscriptionOptions::at(QoS::AtLeastOnce);
    let encoded = match version {
        Version::V31 | Version::V311 => &[("a/+/#", plain), ("$share/g/b", plain)],
        Version::V5 => &[("a/+/#", options), ("$share/g/b", plain)],
    };
    let encoded = SubscribeFilters::encode_list(version, encoded).leak();
    Subscribe {
        packet_id: id(10),
        subscription_id: (version == Version::V5).then_some(268_435_455),
        user_properties: of_5(version, USER_PROPERTIES),
        filters: SubscribeFilters::from_encoded(version, encoded).expect("legal"),
    }
}

fn full_unsubscribe(version: Version) -> Unsubscribe<'static> {
    let encoded = UnsubscribeFilters::encode_list(&["a/+/#", "$queue/b"]).leak();
    Unsubscribe {
        packet_id: id(11),
        user_properties: of_5(version, USER_PROPERTIES),
        filters: UnsubscribeFilters::from_encoded(encoded).expect("legal"),
    }
}

fn full_suback(version: Version) -> SubAck<'static> {
    SubAck {
        packet_id: id(10),
        reason_string: of_5(version, Some("partly")),
        user_properties: of_5(version, USER_PROPERTIES),
        reasons: &[0, 1, 2, 0x80],
    }
}

fn full_unsuback(version: Version) -> UnsubAck<'static> {
    UnsubAck {
        packet_id: id(11),
        reason_string: of_5(version, Some("partly")),
        user_properties: of_5(version, USER_PROPERTIES),
        reasons: of_5(version, &[0, 0x11, 0x87]),
    }
}

fn full_auth(reason: ReasonCode) -> Auth<'static> {
    Auth {
        reason_string: Some("again"),
        user_properties: USER_PROPERTIES,
        ..Auth::new(reason, "SCRAM-SHA-256", Some(b"\0data"))
    }
}

/// What only 5.0 can carry.
fn of_5<T: Default>(version: Version, value: T) -> T {
    if version == Version::V5 { value } else { T::default() }
}
