//! Who may enter, and enhanced authentication with SCRAM-SHA-256: chapters 3.15 and 4.12.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};

use super::brokers::{Broker, on_every_broker, on_every_broker_with};
use super::client::{Arrival, Client, PATIENCE};
use super::packet::{Packet, Properties};
use super::wire::Version::{V5, V311};
use super::wire::{self, Connect, Will, first, id, text};

const METHOD: &str = "SCRAM-SHA-256";
const USER: &str = "alice";
const PASSWORD: &[u8] = b"correct horse";
const SALT: &[u8] = b"0123456789abcdef";
const ROUNDS: u32 = 4096;

fn hmac(key: &[u8], message: &[u8]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("any key will do");
    mac.update(message);
    mac.finalize().into_bytes().into()
}

/// `Hi` of RFC 5802.
fn salted(password: &[u8], salt: &[u8], rounds: u32) -> [u8; 32] {
    let mut block = hmac(password, &[salt, &[0, 0, 0, 1]].concat());
    let mut all = block;
    for _ in 1..rounds {
        block = hmac(password, &block);
        all.iter_mut().zip(block).for_each(|(all, byte)| *all ^= byte);
    }
    all
}

/// A configuration with one user, open to others as far as `anonymous` says.
fn config(anonymous: bool) -> String {
    let salted = salted(PASSWORD, SALT, ROUNDS);
    let stored = Sha256::digest(hmac(&salted, b"Client Key"));
    let server = hmac(&salted, b"Server Key");
    let [salt, stored, server] =
        [SALT, &stored[..], &server[..]].map(|bytes| STANDARD.encode(bytes));
    format!(
        "[mqtt]\nanonymous_allowed = {anonymous}\n\n\
         [auth.scram_users]\n{USER} = \"SCRAM-SHA-256${ROUNDS}:{salt}${stored}:{server}\"\n"
    )
}

/// The client's side of one exchange.
struct Scram {
    password: Vec<u8>,
    first_bare: String,
    server_signature: Vec<u8>,
}

impl Scram {
    fn new(user: &str, password: &[u8]) -> Scram {
        let first_bare = format!("n={user},r=rOprNGfwEbeRWgbNEkqO");
        Scram { password: password.to_vec(), first_bare, server_signature: Vec::new() }
    }

    fn first(&self) -> String {
        format!("n,,{}", self.first_bare)
    }

    /// The answer to the server's first message.
    fn last(&mut self, server_first: &str) -> String {
        let part = |name: &str| {
            let found = server_first.split(',').find_map(|part| part.strip_prefix(name));
            found.unwrap_or_else(|| panic!("{name} is missing in {server_first:?}"))
        };
        let nonce = part("r=");
        assert!(nonce.len() > 20 && nonce.starts_with("rOprNGfwEbeRWgbNEkqO"), "{server_first}");
        let salt = STANDARD.decode(part("s=")).expect("the salt is Base64");
        let rounds: u32 = part("i=").parse().expect("the rounds are a number");
        let salted = salted(&self.password, &salt, rounds);
        let without_proof = format!("c=biws,r={nonce}");
        let message = format!("{},{server_first},{without_proof}", self.first_bare);
        let client_key = hmac(&salted, b"Client Key");
        let signature = hmac(&Sha256::digest(client_key), message.as_bytes());
        let proof: Vec<u8> = client_key.iter().zip(signature).map(|(a, b)| a ^ b).collect();
        self.server_signature = hmac(&hmac(&salted, b"Server Key"), message.as_bytes()).to_vec();
        format!("{without_proof},p={}", STANDARD.encode(proof))
    }

    /// That the server knows the password, too.
    fn verify(&self, server_last: &[u8]) {
        let expected = format!("v={}", STANDARD.encode(&self.server_signature));
        assert_eq!(String::from_utf8_lossy(server_last), expected);
    }
}

fn asking(broker: &Broker, data: impl AsRef<[u8]>) -> Connect {
    Connect::new(V5, broker.unique())
        .property(text(id::AUTH_METHOD, METHOD))
        .property(text(id::AUTH_DATA, data))
}

fn answer(reason: u8, data: impl AsRef<[u8]>) -> Vec<u8> {
    let list = [text(id::AUTH_METHOD, METHOD), text(id::AUTH_DATA, data)];
    wire::reason_with(first::AUTH, reason, &list)
}

#[track_caller]
fn expect_auth(client: &mut Client, reason: u8) -> Properties {
    match client.next() {
        Packet::Auth(auth) if auth.reason == reason => {
            assert_eq!(auth.properties.text(id::AUTH_METHOD), Some(METHOD));
            auth.properties
        }
        other => panic!("expected AUTH {reason:#04x}, found {other:?}"),
    }
}

/// The server's first message, asked for with this CONNECT.
#[track_caller]
fn challenge(broker: &Broker, connect: &Connect) -> (Client, String) {
    let mut client = Client::ask(broker, connect);
    let data = expect_auth(&mut client, 0x18);
    let data = data.data(id::AUTH_DATA).expect("a challenge").to_vec();
    (client, String::from_utf8(data).expect("SCRAM is text"))
}

/// Goes through the whole exchange.
#[track_caller]
fn enter(broker: &Broker) -> Client {
    let mut scram = Scram::new(USER, PASSWORD);
    let (mut client, server_first) = challenge(broker, &asking(broker, scram.first()));
    client.send(answer(0x18, scram.last(&server_first)));
    let connack = client.expect_connack();
    assert_eq!(connack.reason, 0, "{connack:?}");
    assert_eq!(connack.properties.text(id::AUTH_METHOD), Some(METHOD));
    scram.verify(connack.properties.data(id::AUTH_DATA).expect("the server's signature"));
    client
}

/// That an exchange ends without entry: CONNACK with one of the reasons, or just the end.
#[track_caller]
fn expect_no_entry(client: &mut Client, reasons: &[u8]) {
    match client.poll(PATIENCE) {
        Arrival::Packet(Packet::ConnAck(connack)) => {
            assert!(reasons.contains(&connack.reason), "{connack:?}, not {reasons:02x?}");
            client.expect_close();
        }
        Arrival::Closed => {}
        other => panic!("{other:?}"),
    }
}

#[test]
fn scram_lets_in_who_knows_the_password() {
    // [v5 MQTT-4.12.0-2] [v5 MQTT-4.12.0-3] [v5 MQTT-4.12.0-5] [v5 MQTT-3.15.2-1]
    on_every_broker_with(&config(false), |broker| {
        let mut client = enter(broker);
        client.ping();
        client.publish_qos("a", 1, "x");
    });
}

#[test]
fn scram_keeps_out_who_does_not_know_the_password() {
    // [v5 MQTT-4.12.0-4] [v5 MQTT-3.1.4-2]
    on_every_broker_with(&config(true), |broker| {
        for (user, password) in [(USER, &b"wrong"[..]), ("mallory", b"wrong"), (USER, b"")] {
            let mut scram = Scram::new(user, password);
            let (mut client, server_first) = challenge(broker, &asking(broker, scram.first()));
            client.send(answer(0x18, scram.last(&server_first)));
            // The same for an unknown user as for a wrong password: nothing is given away.
            client.expect_refusal(&[0x86, 0x87]);
        }
    });
}

#[test]
fn a_broken_exchange_lets_nobody_in() {
    // [v5 MQTT-4.12.0-4] [v5 MQTT-4.12.0-5] [v5 MQTT-3.14.0-1]
    on_every_broker_with(&config(true), |broker| {
        let refused = [0x80, 0x81, 0x82, 0x86, 0x87, 0x8C];
        for data in [&b""[..], b"n,,", b"y", b"\xFF\x00", b"n,,n=alice", b"p=tls-unique,,n=a,r=b"] {
            expect_no_entry(&mut Client::ask(broker, &asking(broker, data)), &refused);
        }
        let scram = Scram::new(USER, PASSWORD);
        let connect = asking(broker, scram.first());
        let other_method =
            [text(id::AUTH_METHOD, "SCRAM-SHA-1"), text(id::AUTH_DATA, "c=biws,r=x,p=")];
        let answers = [
            answer(0x18, ""),
            answer(0x18, "c=biws,r=x,p=AAAA"),
            answer(0x00, "c=biws"),
            answer(0x19, scram.first()),
            answer(0x7F, "c=biws"),
            wire::reason_with(first::AUTH, 0x18, &other_method),
            wire::reason_with(first::AUTH, 0x18, &[]),
            wire::packet(first::AUTH, &[]),
        ];
        for answer in answers {
            let (mut client, _) = challenge(broker, &connect);
            client.send(answer);
            expect_no_entry(&mut client, &refused);
        }
    });
}

#[test]
fn only_auth_and_disconnect_may_come_before_connack() {
    // [v5 MQTT-3.1.2-30] [v5 MQTT-3.14.0-1] [v5 MQTT-3.2.0-1]
    on_every_broker_with(&config(true), |broker| {
        let topic = broker.unique();
        let mut observer = Client::start(broker, V5);
        observer.subscribe(&topic, 0);
        let connect = asking(broker, Scram::new(USER, PASSWORD).first());
        for packet in [
            wire::Publish::new(V5, &topic, "too early").bytes(),
            wire::subscribe(V5, 1, &[("a", 0)]),
            wire::PINGREQ.to_vec(),
            connect.bytes(),
        ] {
            let (mut client, _) = challenge(broker, &connect);
            client.send(packet);
            expect_no_entry(&mut client, &[0x82]);
        }
        let will = Will::new(&topic, "of nobody");
        let (mut client, _) = challenge(broker, &connect.clone().will(will.clone()));
        client.send(wire::disconnect());
        client.expect_close();
        // Nor does the will count of who was never let in.
        let (client, _) = challenge(broker, &connect.will(will));
        client.vanish();
        observer.expect_nothing();
    });
}

#[test]
fn who_was_not_let_in_takes_nobody_over() {
    // [v5 MQTT-3.1.4-2] [v5 MQTT-4.12.0-4]
    on_every_broker_with(&config(true), |broker| {
        let id = broker.unique();
        let mut client = Client::connect(broker, &Connect::new(V5, &id));
        let mut connect = asking(broker, Scram::new(USER, PASSWORD).first());
        connect.client_id = id.into_bytes();
        let (mut stranger, _) = challenge(broker, &connect);
        stranger.send(answer(0x18, "c=biws,r=x,p=AAAA"));
        expect_no_entry(&mut stranger, &[0x80, 0x82, 0x86, 0x87]);
        client.ping();
    });
}

#[test]
fn an_unknown_method_is_refused() {
    // [v5 MQTT-4.12.0-1]
    let test = |broker: &Broker| {
        for method in ["", "PLAIN", "scram-sha-256", "SCRAM-SHA-1"] {
            let connect = Connect::new(V5, broker.unique()).property(text(id::AUTH_METHOD, method));
            Client::ask(broker, &connect).expect_refusal(&[0x8C]);
        }
    };
    on_every_broker(test);
    on_every_broker_with(&config(true), test);
}

#[test]
fn without_a_method_there_is_no_auth() {
    // [v5 MQTT-4.12.0-6] [v5 MQTT-4.12.0-7]
    on_every_broker(|broker| {
        for packet in [
            answer(0x18, "x"),
            answer(0x19, "x"),
            answer(0x00, "x"),
            wire::packet(first::AUTH, &[]),
        ] {
            let mut client = Client::start(broker, V5);
            let connack = client.connack.clone().expect("it is connected");
            assert!(!connack.properties.has(id::AUTH_METHOD));
            client.send(packet);
            client.expect_end(&[0x82]);
        }
        let mut stranger = Client::open(broker, V5);
        stranger.send(answer(0x18, "x"));
        stranger.expect_close();
    });
}

#[test]
fn authentication_data_without_a_method_is_a_protocol_error() {
    // [v5 MQTT-4.13.1-1]
    on_every_broker(|broker| {
        let connect = Connect::new(V5, broker.unique()).property(text(id::AUTH_DATA, "x"));
        Client::ask(broker, &connect).expect_refusal(&[0x82]);
    });
}

#[test]
fn a_client_may_authenticate_again() {
    // [v5 MQTT-4.12.1-1] [v5 MQTT-4.12.0-5] [v5 MQTT-3.15.2-1]
    on_every_broker_with(&config(true), |broker| {
        let topic = broker.unique();
        let mut client = enter(broker);
        client.subscribe(&topic, 0);
        for _ in 0..2 {
            let mut scram = Scram::new(USER, PASSWORD);
            client.send(answer(0x19, scram.first()));
            let data = expect_auth(&mut client, 0x18);
            let server_first = data.data(id::AUTH_DATA).expect("a challenge");
            // Everything else goes on meanwhile.
            client.publish_qos(&topic, 0, "meanwhile");
            assert_eq!(client.receive_payload(), "meanwhile");
            client.send(answer(0x18, scram.last(&String::from_utf8_lossy(server_first))));
            let data = expect_auth(&mut client, 0x00);
            scram.verify(data.data(id::AUTH_DATA).expect("the server's signature"));
        }
        client.ping();
    });
}

#[test]
fn an_exchange_stays_within_the_maximum_packet_size() {
    // [v5 MQTT-3.15.2-2] [v5 MQTT-3.15.2-3] [v5 MQTT-3.1.2-24]
    on_every_broker_with(&config(true), |broker| {
        for size in [8, 64, 120, 160, 200] {
            let mut scram = Scram::new(USER, b"wrong");
            let connect =
                asking(broker, scram.first()).property(wire::four(id::MAXIMUM_PACKET_SIZE, size));
            let mut client = Client::ask(broker, &connect);
            // The client's reader refuses whatever is larger. Where SCRAM does not fit, it ends.
            if let Arrival::Packet(Packet::Auth(auth)) = client.poll(PATIENCE) {
                let server_first = auth.properties.data(id::AUTH_DATA).expect("a challenge");
                let last = scram.last(&String::from_utf8_lossy(server_first));
                client.send(answer(0x18, last));
                client.read_to_end();
            }
        }
    });
}

#[test]
fn a_failed_second_authentication_ends_the_connection() {
    // [v5 MQTT-4.12.1-1] [v5 MQTT-4.12.1-2]
    on_every_broker_with(&config(true), |broker| {
        let mut client = enter(broker);
        let mut scram = Scram::new(USER, b"wrong");
        client.send(answer(0x19, scram.first()));
        let data = expect_auth(&mut client, 0x18);
        let server_first = data.data(id::AUTH_DATA).expect("a challenge");
        client.send(answer(0x18, scram.last(&String::from_utf8_lossy(server_first))));
        client.expect_end(&[0x87]);

        let other = [text(id::AUTH_METHOD, "SCRAM-SHA-1"), text(id::AUTH_DATA, "n,,n=a,r=b")];
        for packet in [
            wire::reason_with(first::AUTH, 0x19, &other),
            wire::reason_with(first::AUTH, 0x19, &[]),
            answer(0x18, "c=biws"),
            answer(0x00, "c=biws"),
        ] {
            let mut client = enter(broker);
            client.send(packet);
            client.expect_end(&[0x82, 0x8C, 0x87]);
        }
    });
}

#[test]
fn who_must_say_who_they_are_is_turned_away_without() {
    // [v3.1.1 MQTT-3.2.2-4] [v3.1.1 MQTT-3.2.2-5] [v5 MQTT-3.1.4-2] [v5 MQTT-3.2.2-7]
    // [v5 MQTT-4.13.2-1]
    on_every_broker_with(&config(false), |broker| {
        let connect = Connect::new(V311, broker.unique());
        Client::ask(broker, &connect).expect_refusal(&[4, 5]);
        let named = connect.user_name(USER).password("wrong");
        Client::ask(broker, &named).expect_refusal(&[4, 5]);
        let connect = Connect::new(V5, broker.unique());
        Client::ask(broker, &connect).expect_refusal(&[0x86, 0x87]);
        let named = connect.user_name(USER).password("wrong");
        Client::ask(broker, &named).expect_refusal(&[0x86, 0x87]);
        enter(broker).ping();
    });
}
