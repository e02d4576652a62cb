//! CONNECT and CONNACK: chapters 3.1 and 3.2.

use std::time::{Duration, Instant};

use super::brokers::{
    Broker, on_every_broker, on_every_broker_with, on_every_version, on_every_version_at_once,
};
use super::client::{Arrival, Client, PATIENCE, QUIET};
use super::packet::Packet;
use super::wire::Version::{self, V5, V31, V311};
use super::wire::{self, Connect, Will, first, four, id, two};

/// Sends bytes that are no acceptable CONNECT: 5.0 is told why, before that nothing is said.
#[track_caller]
fn expect_refused(broker: &Broker, version: Version, bytes: &[u8], reasons: &[u8]) {
    let mut client = Client::open(broker, version);
    client.send(bytes);
    if version == V5 {
        client.expect_refusal(reasons);
    } else {
        client.expect_close();
    }
}

/// Every legal packet that is no CONNECT.
fn packets_of_the_connected(version: Version) -> Vec<Vec<u8>> {
    let mut packets = vec![
        wire::Publish::new(version, "a", "b").bytes(),
        wire::Publish::new(version, "a", "b").qos(1, 1).bytes(),
        wire::ack(first::PUBACK, 1),
        wire::ack(first::PUBREC, 1),
        wire::ack(first::PUBREL, 1),
        wire::ack(first::PUBCOMP, 1),
        wire::subscribe(version, 1, &[("a", 0)]),
        wire::unsubscribe(version, 1, &["a"]),
        wire::PINGREQ.to_vec(),
        wire::disconnect(),
    ];
    if version == V5 {
        packets.push(wire::reason_with(first::AUTH, 0x18, &[]));
        packets.push(wire::reason_with(first::DISCONNECT, 0x04, &[]));
    }
    packets
}

#[test]
fn a_packet_before_connect_ends_the_connection_without_an_answer() {
    // [v3.1.1 MQTT-3.1.0-1] [v3.1.1 MQTT-3.2.0-1] [v3.1.1 MQTT-4.8.0-1]
    // [v5 MQTT-3.1.0-1] [v5 MQTT-3.2.0-1] [v5 MQTT-3.14.0-1]
    on_every_version(|broker, version| {
        for packet in packets_of_the_connected(version) {
            let mut client = Client::open(broker, version);
            client.send(&packet);
            client.expect_close();
        }
    });
}

#[test]
fn a_second_connect_is_a_protocol_error() {
    // [v3.1.1 MQTT-3.1.0-2] [v5 MQTT-3.1.0-2] [v5 MQTT-4.13.1-1]
    on_every_version(|broker, version| {
        let connect = Connect::new(version, broker.unique());
        let mut client = Client::connect(broker, &connect);
        client.send(connect.bytes());
        client.expect_end(&[0x82]);
        let mut hasty = Client::open(broker, version);
        hasty.send([connect.bytes(), connect.bytes()].concat());
        assert_eq!(hasty.expect_connack().reason, 0);
        hasty.expect_end(&[0x82]);
    });
}

#[test]
fn connack_accepts_with_zero_and_comes_first_and_once() {
    // [v3.1.1 MQTT-3.1.4-4] [v3.1.1 MQTT-3.2.0-1] [v3.1.1 MQTT-3.2.2-1]
    // [v5 MQTT-3.1.4-5] [v5 MQTT-3.2.0-1] [v5 MQTT-3.2.0-2] [v5 MQTT-3.2.2-1] [v5 MQTT-3.2.2-2]
    // [v5 MQTT-3.2.2-8]
    on_every_version(|broker, version| {
        let topic = broker.unique();
        let mut client = Client::open(broker, version);
        // All at once: a client need not wait for CONNACK.
        client.send(
            [
                Connect::new(version, broker.unique()).bytes(),
                wire::subscribe(version, 1, &[(&topic, 0)]),
                wire::PINGREQ.to_vec(),
            ]
            .concat(),
        );
        let connack = client.expect_connack();
        assert_eq!((connack.reason, connack.session_present), (0, false));
        let rest = [client.next(), client.next()];
        assert!(rest.contains(&Packet::PingResp), "{rest:?}");
        assert!(matches!(&rest, [Packet::SubAck(_), _] | [_, Packet::SubAck(_)]), "{rest:?}");
        client.expect_silence(QUIET);
    });
}

#[test]
fn another_protocol_name_is_turned_away() {
    // [v3.1.1 MQTT-3.1.2-1] [v5 MQTT-3.1.2-1] [v5 MQTT-3.1.4-2] [v5 MQTT-4.13.2-1]
    on_every_broker(|broker| {
        let names: [(&[u8], u8); 9] = [
            (b"MQTX", 4),
            (b"mqtt", 4),
            (b"mqtt", 5),
            (b"", 4),
            (b"MQTTT", 5),
            (b"MQIsdp", 4),
            (b"MQIsdp", 5),
            (b"MQTT", 3),
            (b"MQIsdq", 3),
        ];
        for (name, level) in names {
            let mut connect = Connect::new(if level == 5 { V5 } else { V311 }, broker.unique());
            connect.protocol_name = name.to_vec();
            connect.level = level;
            expect_unsupported(broker, &connect);
        }
    });
}

#[test]
fn another_protocol_level_is_answered_and_turned_away() {
    // [v3.1.1 MQTT-3.1.2-2] [v3.1.1 MQTT-3.2.2-4] [v3.1.1 MQTT-3.2.2-5]
    // [v5 MQTT-3.1.2-2] [v5 MQTT-3.2.2-6] [v5 MQTT-3.2.2-7]
    on_every_broker(|broker| {
        // 0x83 and 0x84 are 3 and 4 with the bit by which bridges of Mosquitto tell who they are.
        for level in [0, 1, 2, 6, 7, 0x80, 0x85, 0x86, 0xFF] {
            let mut connect = Connect::new(V311, broker.unique());
            connect.level = level;
            let answer = expect_unsupported(broker, &connect);
            assert!(!answer.is_empty(), "level {level} got no answer");
        }
    });
}

/// That a CONNECT is answered, if at all, with "unacceptable protocol version" in the form of
/// some version, and that this is the end. Gives the answer.
#[track_caller]
fn expect_unsupported(broker: &Broker, connect: &Connect) -> Vec<u8> {
    // The strict reader wants one version; here any of them may answer.
    let mut client = Client::open(broker, connect.version);
    client.send(connect.bytes());
    let answer = client.read_raw_to_end();
    let right = match answer[..] {
        [] | [0x20, 2, 0, 1] => true,
        [0x20, length, 0, 0x84, ..] => answer.len() == usize::from(length) + 2,
        _ => false,
    };
    assert!(right, "{connect:?} was answered with {answer:02x?}");
    answer
}

#[test]
fn the_reserved_connect_flag_must_be_zero() {
    // [v3.1.1 MQTT-3.1.2-3] [v3.1.1 MQTT-3.1.4-1] [v5 MQTT-3.1.2-3] [v5 MQTT-3.1.4-1]
    on_every_version(|broker, version| {
        if version == V31 {
            return; // 3.1 does not use the bit.
        }
        let connect = Connect::new(version, broker.unique()).flip_flags(0x01);
        expect_refused(broker, version, &connect.bytes(), &[0x81]);
    });
}

#[test]
fn will_flags_without_a_will_are_malformed() {
    // [v3.1.1 MQTT-3.1.2-11] [v3.1.1 MQTT-3.1.2-13] [v3.1.1 MQTT-3.1.2-15]
    // [v5 MQTT-3.1.2-11] [v5 MQTT-3.1.2-13]
    on_every_version(|broker, version| {
        if version == V31 {
            return; // 3.1 has the bits ignored.
        }
        for bits in [0x08, 0x10, 0x18, 0x20, 0x28] {
            let connect = Connect::new(version, broker.unique()).flip_flags(bits);
            expect_refused(broker, version, &connect.bytes(), &[0x81, 0x82]);
        }
    });
}

#[test]
fn a_will_of_qos_3_is_malformed() {
    // [v3.1.1 MQTT-3.1.2-14] [v5 MQTT-3.1.2-12]
    on_every_version(|broker, version| {
        let will = Will::new("a", "b").qos(3);
        let connect = Connect::new(version, broker.unique()).will(will);
        expect_refused(broker, version, &connect.bytes(), &[0x81]);
    });
}

#[test]
fn flags_and_payload_of_connect_must_agree() {
    // [v3.1.1 MQTT-3.1.2-9] [v3.1.1 MQTT-3.1.2-11] [v3.1.1 MQTT-3.1.2-18]
    // [v3.1.1 MQTT-3.1.2-19] [v3.1.1 MQTT-3.1.2-20] [v3.1.1 MQTT-3.1.2-21]
    // [v3.1.1 MQTT-3.1.3-1] [v3.1.1 MQTT-3.1.3-3] [v3.1.1 MQTT-3.1.4-1]
    // [v5 MQTT-3.1.2-9] [v5 MQTT-3.1.2-16] [v5 MQTT-3.1.2-17] [v5 MQTT-3.1.2-18]
    // [v5 MQTT-3.1.2-19] [v5 MQTT-3.1.3-1] [v5 MQTT-3.1.3-3] [v5 MQTT-3.1.4-1]
    on_every_version(|broker, version| {
        let bare = Connect::new(version, broker.unique());
        let named = bare.clone().user_name("user");
        let full = named.clone().password("secret").will(Will::new("a", "b"));
        let mut lies = vec![
            full.clone().flip_flags(0x04), // a will that no flag announces
        ];
        if version != V31 {
            // 3.1 lets a name or password be missing, or more bytes follow.
            lies.push(bare.clone().flip_flags(0x80)); // no user name
            lies.push(named.clone().flip_flags(0x40)); // no password
            lies.push(named.clone().flip_flags(0x80)); // a user name that no flag announces
            lies.push(full.clone().flip_flags(0x40)); // a password that no flag announces
            lies.push(bare.clone().flip_flags(0x04)); // no will
        }
        for connect in lies {
            expect_refused(broker, version, &connect.bytes(), &[0x81, 0x82]);
        }
        // Not even a client id.
        let body = bare.body();
        let body = &body[..body.len() - bare.client_id.len() - 2];
        expect_refused(broker, version, &wire::packet(first::CONNECT, body), &[0x81, 0x82]);
    });
}

#[test]
fn a_password_without_a_user_name_is_for_5_0_only() {
    // [v3.1.1 MQTT-3.1.2-22] [v5 MQTT-3.1.2-19]
    on_every_broker(|broker| {
        let connect = Connect::new(V311, broker.unique()).password("secret");
        Client::ask(broker, &connect).expect_close();
        let connect = Connect::new(V5, broker.unique()).password(b"\x00\xFF not text");
        // Whether it opens the door is another matter; the packet is right.
        let connack = Client::ask(broker, &connect).expect_connack();
        assert!([0x00, 0x86, 0x87].contains(&connack.reason), "{connack:?}");
    });
}

#[test]
fn every_client_id_of_up_to_23_letters_and_digits_is_allowed() {
    // [v3.1.1 MQTT-3.1.3-4] [v3.1.1 MQTT-3.1.3-5] [v5 MQTT-3.1.3-4] [v5 MQTT-3.1.3-5]
    const ALPHABET: &str = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    on_every_version(|broker, version| {
        for start in (0..ALPHABET.len()).step_by(13) {
            for length in [1, 2, 22, 23] {
                let id: String = ALPHABET.chars().cycle().skip(start).take(length).collect();
                Client::connect(broker, &Connect::new(version, id)).disconnect();
            }
        }
    });
}

#[test]
fn an_empty_client_id_is_replaced_by_one_of_its_own() {
    // [v3.1.1 MQTT-3.1.3-6] [v5 MQTT-3.1.3-6] [v5 MQTT-3.1.3-7] [v5 MQTT-3.2.2-16]
    on_every_broker(|broker| {
        let mut old = [0, 1].map(|_| Client::connect(broker, &Connect::new(V311, "")));
        old.iter_mut().for_each(Client::ping);

        let connect = Connect::new(V5, "").property(four(id::SESSION_EXPIRY, 60));
        let mut clients = [0, 1, 2].map(|_| Client::connect(broker, &connect));
        clients.iter_mut().for_each(Client::ping);
        let mut ids: Vec<String> = clients
            .iter()
            .map(|client| client.connack.as_ref().expect("it is connected"))
            .map(|connack| connack.properties.text(id::ASSIGNED_CLIENT_ID))
            .map(|id| id.expect("a client id is assigned").to_owned())
            .collect();
        let [first, ..] = clients;
        first.vanish();
        let again = Connect::new(V5, &ids[0]).persistent();
        let again = Client::connect(broker, &again).connack.expect("it is connected");
        assert!(again.session_present, "the assigned client id names the session");
        assert_eq!(again.properties.text(id::ASSIGNED_CLIENT_ID), None);
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), 3, "client ids are unique: {ids:?}");
    });
}

#[test]
fn an_empty_client_id_may_also_ask_for_a_kept_session_in_5_0() {
    // [v5 MQTT-3.1.3-6] [v5 MQTT-3.1.3-7]
    on_every_broker(|broker| {
        let client = Client::connect(broker, &Connect::new(V5, "").persistent());
        let connack = client.connack.clone().expect("it is connected");
        assert!(!connack.session_present);
        assert!(connack.properties.has(id::ASSIGNED_CLIENT_ID));
    });
}

#[test]
fn an_empty_client_id_with_a_session_to_keep_is_rejected_before_5_0() {
    // [v3.1.1 MQTT-3.1.3-7] [v3.1.1 MQTT-3.1.3-8] [v3.1.1 MQTT-3.1.3-9]
    // [v3.1.1 MQTT-3.2.2-4] [v3.1.1 MQTT-3.2.2-5] [v3.1.1 MQTT-3.2.2-6]
    on_every_broker(|broker| {
        Client::ask(broker, &Connect::new(V311, "").resume()).expect_refusal(&[2]);
        // 3.1 demands a client id in any case.
        Client::ask(broker, &Connect::new(V31, "")).expect_refusal(&[2]);
        Client::ask(broker, &Connect::new(V31, "").resume()).expect_refusal(&[2]);
    });
}

#[test]
fn a_refused_client_id_is_named_in_connack() {
    // [v3.1.1 MQTT-3.1.3-9] [v5 MQTT-3.1.3-8] [v5 MQTT-3.2.2-7]
    on_every_broker_with("[mqtt]\nclient_id_bytes_max = 23\n", |broker| {
        for (version, reason) in [(V31, 2), (V311, 2), (V5, 0x85)] {
            let longest = "x".repeat(23);
            Client::connect(broker, &Connect::new(version, &longest)).disconnect();
            let connect = Connect::new(version, longest + "y");
            Client::ask(broker, &connect).expect_refusal(&[reason]);
        }
    });
}

#[test]
fn a_new_connection_takes_over_from_the_older_one() {
    // [v3.1.1 MQTT-3.1.4-2] [v5 MQTT-3.1.4-3]
    on_every_broker(|broker| {
        for older in Version::ALL {
            for newer in Version::ALL {
                let id = broker.unique();
                let mut old = Client::connect(broker, &Connect::new(older, &id));
                let mut new = Client::connect(broker, &Connect::new(newer, &id));
                old.expect_end(&[0x8E]);
                new.ping();
            }
        }
    });
}

#[test]
fn only_the_last_of_many_connections_with_one_client_id_stays() {
    // [v3.1.1 MQTT-3.1.3-2] [v3.1.1 MQTT-3.1.4-2] [v5 MQTT-3.1.3-2] [v5 MQTT-3.1.4-3]
    on_every_version(|broker, version| {
        let connect = Connect::new(version, broker.unique()).persistent();
        let mut all: Vec<Client> = (0..20).map(|_| Client::ask(broker, &connect)).collect();
        let deadline = Instant::now() + PATIENCE;
        while all.len() > 1 && Instant::now() < deadline {
            all.retain_mut(|client| match client.poll(Duration::from_millis(10)) {
                Arrival::Packet(Packet::ConnAck(connack)) => connack.reason == 0,
                Arrival::Packet(Packet::Disconnect(said)) => said.reason == 0x8E,
                Arrival::Packet(other) => panic!("{other:?}"),
                Arrival::Closed => false,
                Arrival::Silence => true,
            });
        }
        let [last] = &mut all[..] else { panic!("{} connections of one client", all.len()) };
        if last.connack.is_none() {
            last.expect_connack();
        }
        last.ping();
    });
}

#[test]
fn what_follows_a_refused_connect_is_not_processed() {
    // [v3.1.1 MQTT-3.1.4-5] [v5 MQTT-3.1.4-6]
    on_every_broker(|broker| {
        let topic = broker.unique();
        let mut observer = Client::start(broker, V311);
        observer.subscribe(&topic, 0);
        for (connect, reason) in [
            (Connect::new(V311, "").resume(), 2),
            (Connect::new(V5, broker.unique()).property(wire::text(id::AUTH_METHOD, "?")), 0x8C),
        ] {
            let mut client = Client::open(broker, connect.version);
            let publish = wire::Publish::new(connect.version, &topic, "smuggled").bytes();
            client.send([connect.bytes(), publish].concat());
            client.expect_refusal(&[reason, 0x87]);
        }
        // By the same connection that a smuggled message would have to overtake.
        let mut honest = Client::start(broker, V311);
        honest.publish_qos(&topic, 0, "honest");
        assert_eq!(observer.receive_payload(), "honest");
        observer.expect_nothing();
    });
}

#[test]
fn a_silent_client_is_cut_off_after_its_keep_alive() {
    // [v3.1.1 MQTT-3.1.2-24] [v5 MQTT-3.1.2-22] [v5 MQTT-3.2.2-22]
    on_every_version_at_once(|broker, version| {
        let topic = broker.unique();
        let mut observer = Client::start(broker, version);
        observer.subscribe(&topic, 0);
        let connect = Connect::new(version, broker.unique())
            .keep_alive(1)
            .will(Will::new(&topic, "the network failed"));
        let mut client = Client::connect(broker, &connect);
        client.expect_end(&[0x8D]);
        assert_eq!(observer.receive_payload(), "the network failed");
    });
}

#[test]
fn any_packet_keeps_a_connection_alive() {
    // [v3.1.1 MQTT-3.1.2-24] [v3.1.1 MQTT-3.12.4-1] [v5 MQTT-3.1.2-22] [v5 MQTT-3.12.4-1]
    on_every_version_at_once(|broker, version| {
        let connect = Connect::new(version, broker.unique());
        let mut busy = Client::connect(broker, &connect.clone().keep_alive(2));
        let mut unbound = Client::start(broker, version);
        for round in 0..8 {
            std::thread::sleep(Duration::from_millis(500));
            if round % 2 == 0 {
                busy.ping();
            } else {
                busy.publish_qos("nobody/listens", 0, "still here");
            }
        }
        busy.ping();
        unbound.ping();
    });
}

#[test]
fn what_the_broker_sends_does_not_keep_a_client_alive() {
    // [v3.1.1 MQTT-3.1.2-24] [v5 MQTT-3.1.2-22]
    on_every_version_at_once(|broker, version| {
        let topic = broker.unique();
        let connect = Connect::new(version, broker.unique()).keep_alive(1);
        let mut listener = Client::connect(broker, &connect);
        listener.subscribe(&topic, 0);
        let mut publisher = Client::start(broker, version);
        let deadline = Instant::now() + PATIENCE;
        let mut ended = false;
        while !ended && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(50));
            publisher.publish_qos(&topic, 0, "tick");
            match listener.poll(Duration::from_millis(1)) {
                Arrival::Packet(Packet::Disconnect(said)) => assert_eq!(said.reason, 0x8D),
                Arrival::Closed => ended = true,
                _ => {}
            }
        }
        assert!(ended, "messages to a client are not messages from it");
    });
}

#[test]
fn the_server_keep_alive_is_told_and_kept() {
    // [v5 MQTT-3.1.2-21] [v5 MQTT-3.1.2-22] [v5 MQTT-3.2.2-21] [v5 MQTT-3.2.2-22]
    on_every_broker_with("[mqtt]\nkeep_alive_s_max = 1\n", |broker| {
        for asked in [0, 2, 65_535] {
            let connect = Connect::new(V5, broker.unique()).keep_alive(asked);
            let client = Client::connect(broker, &connect);
            let connack = client.connack.clone().expect("it is connected");
            assert_eq!(connack.properties.number(id::SERVER_KEEP_ALIVE), Some(1));
        }
        let connect = Connect::new(V5, broker.unique()).keep_alive(1);
        let mut client = Client::connect(broker, &connect);
        let connack = client.connack.clone().expect("it is connected");
        assert_eq!(connack.properties.number(id::SERVER_KEEP_ALIVE).unwrap_or(1), 1);
        client.expect_end(&[0x8D]);
        let connect = Connect::new(V5, broker.unique()).keep_alive(65_535);
        Client::connect(broker, &connect).expect_end(&[0x8D]);
    });
}

#[test]
fn who_does_not_send_connect_in_time_is_cut_off() {
    // [v3.1.1 MQTT-3.1.0-1] [v5 MQTT-3.1.0-1] [v5 MQTT-3.14.0-1]
    on_every_broker_with("[mqtt]\nconnect_timeout_ms = 300\n", |broker| {
        let mut silent = Client::open(broker, V311);
        let mut slow = Client::open(broker, V5);
        let connect = Connect::new(V5, broker.unique()).bytes();
        slow.send(&connect[..connect.len() - 1]);
        silent.expect_close();
        slow.expect_close();
        // The clock stops with CONNECT.
        let mut client = Client::start(broker, V5);
        std::thread::sleep(Duration::from_millis(600));
        client.ping();
    });
}

#[test]
fn response_information_is_given_to_who_asks_only() {
    // [v5 MQTT-3.1.2-28]
    on_every_broker_with("[mqtt]\nresponse_topic_prefix = \"reply/\"\n", |broker| {
        let given = |request: Option<u8>| {
            let mut connect = Connect::new(V5, broker.unique());
            connect.properties =
                request.map(|value| wire::byte(id::REQUEST_RESPONSE, value)).into_iter().collect();
            let connack = Client::connect(broker, &connect).connack.expect("it is connected");
            connack.properties.text(id::RESPONSE_INFORMATION).map(str::to_owned)
        };
        assert_eq!(given(None), None);
        assert_eq!(given(Some(0)), None);
        let prefix = given(Some(1)).expect("the prefix is configured");
        assert!(prefix.starts_with("reply"), "{prefix}");
    });
    on_every_broker(|broker| {
        let connect =
            Connect::new(V5, broker.unique()).property(wire::byte(id::REQUEST_RESPONSE, 0));
        let connack = Client::connect(broker, &connect).connack.expect("it is connected");
        assert!(!connack.properties.has(id::RESPONSE_INFORMATION));
    });
}

#[test]
fn connack_names_what_the_broker_takes() {
    // [v5 MQTT-3.2.2-9] [v5 MQTT-3.2.2-10] [v5 MQTT-3.2.2-12] [v5 MQTT-3.2.2-13]
    on_every_broker(|broker| {
        let will = Will::new(broker.unique(), "w").qos(2).retain();
        let mut client = Client::connect(broker, &Connect::new(V5, broker.unique()).will(will));
        let connack = client.connack.clone().expect("it is connected");
        // Everything is supported, which absence says; a value may only say the same.
        for available in [
            id::RETAIN_AVAILABLE,
            id::WILDCARD_AVAILABLE,
            id::SUBSCRIPTION_IDS_AVAILABLE,
            id::SHARED_AVAILABLE,
        ] {
            assert_ne!(connack.properties.number(available), Some(0), "{available:#04x}");
        }
        assert_eq!(connack.properties.number(id::MAXIMUM_QOS), None, "QoS 2 is supported");
        let topic = broker.unique();
        client.subscribe(&topic, 2);
        client.publish(client.message(&topic, "two").retain(), 2);
        assert_eq!(client.receive_payload(), "two");
    });
}

#[test]
fn who_is_told_that_nothing_is_retained_is_held_to_it() {
    // [v5 MQTT-3.2.2-13] [v5 MQTT-3.2.2-14]
    on_every_broker_with("[mqtt]\nretained_messages_max = 0\n", |broker| {
        let topic = broker.unique();
        let connect = |version| {
            Connect::new(version, broker.unique()).will(Will::new(&topic, "left").retain())
        };
        let mut client = Client::start(broker, V5);
        let told = client.connack.clone().expect("it is connected").properties;
        assert_eq!(told.number(id::RETAIN_AVAILABLE), Some(0));
        Client::ask(broker, &connect(V5)).expect_refusal(&[0x9A]);
        client.send(client.message(&topic, "kept").retain().bytes());
        client.expect_end(&[0x9A]);
        // Those of before are not told; what they publish is delivered, and not retained.
        let mut older = Client::connect(broker, &connect(V311));
        older.subscribe(&topic, 1);
        older.publish(older.message(&topic, "delivered").retain(), 1);
        assert_eq!(older.receive_payload(), "delivered");
        let mut late = Client::start(broker, V5);
        late.subscribe(&topic, 1);
        late.expect_nothing();
    });
}

#[test]
fn the_session_expiry_interval_in_use_is_told_if_it_is_not_the_one_asked_for() {
    // [v5 MQTT-3.1.2-23]
    on_every_broker_with("[mqtt]\nsession_expiry_s_max = 100\n", |broker| {
        for (asked, told) in [(99, None), (100, None), (101, Some(100)), (u32::MAX, Some(100))] {
            let connect =
                Connect::new(V5, broker.unique()).property(four(id::SESSION_EXPIRY, asked));
            let connack = Client::connect(broker, &connect).connack.expect("it is connected");
            let found = connack.properties.number(id::SESSION_EXPIRY);
            let right = found == told || (told.is_none() && found == Some(asked));
            assert!(right, "asked for {asked}, was told {found:?}");
        }
    });
}

#[test]
fn a_client_that_cannot_be_answered_changes_nothing() {
    // [v5 MQTT-3.1.2-24]
    on_every_broker(|broker| {
        let topic = broker.unique();
        let mut listener = Client::start(broker, V5);
        listener.subscribe(&topic, 0);
        let kept = Connect::new(V5, broker.unique()).persistent();
        let mut older = Client::connect(broker, &kept);
        let small = Connect::new(V5, &kept.client_id)
            .property(four(id::MAXIMUM_PACKET_SIZE, 6))
            .will(Will::new(&topic, "never let in"));
        Client::ask(broker, &small).expect_close();
        // Its connection and its session go on, and no will was left.
        older.ping();
        older.vanish();
        let connack = Client::connect(broker, &kept).connack.expect("it is connected");
        assert!(connack.session_present);
        listener.expect_nothing();
    });
}

#[test]
fn a_maximum_packet_size_too_small_for_connack_gets_none_beyond_it() {
    // [v5 MQTT-3.1.2-24] [v5 MQTT-3.2.2-19] [v5 MQTT-3.2.2-20]
    on_every_broker(|broker| {
        for size in [1, 2, 4, 5, 8, 12, 16, 24, 32] {
            let connect = Connect::new(V5, broker.unique())
                .property(four(id::MAXIMUM_PACKET_SIZE, size))
                .property(two(id::RECEIVE_MAXIMUM, 1));
            // The client watches the size of all it reads. A CONNACK, or the end.
            match Client::ask(broker, &connect).poll(PATIENCE) {
                Arrival::Packet(Packet::ConnAck(_)) | Arrival::Closed => {}
                other => panic!("with {size} bytes at most: {other:?}"),
            }
        }
    });
}
