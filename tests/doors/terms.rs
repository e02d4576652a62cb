//! What one listener asks of its clients and others do not: a user, a version, an interface.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;

use super::support::{Broker, Directory, Setup, listening};

/// The addresses of the listeners, in the order of the configuration.
fn addresses(broker: &Broker) -> Vec<SocketAddr> {
    broker.log().lines().filter_map(listening).collect()
}

/// What a client that names no user is answered to CONNECT at this protocol level.
fn connack(address: SocketAddr, level: u8) -> Vec<u8> {
    let name: &[u8] = if level == 3 { b"\0\x06MQIsdp" } else { b"\0\x04MQTT" };
    let properties: &[u8] = if level == 5 { b"\0" } else { b"" };
    let body = [name, &[level, 2, 0, 60], properties, b"\0\x01c"].concat();
    let mut stream = TcpStream::connect(address).expect("the broker accepts");
    stream.write_all(&[&[0x10, body.len() as u8], &body[..]].concat()).expect("the broker reads");
    let mut answer = [0; 4];
    stream.read_exact(&mut answer).expect("a CONNACK");
    assert_eq!(answer[0], 0x20, "{answer:?}");
    answer.to_vec()
}

/// The reason code or return code of that.
fn code(address: SocketAddr, level: u8) -> u8 {
    connack(address, level)[3]
}

#[test]
fn a_listener_says_itself_whether_a_user_is_needed() {
    let listeners = "[[listeners]]\naddress = 'tcp://127.0.0.1:0'\n\
                     [[listeners]]\naddress = 'tcp://127.0.0.1:0'\nanonymous_allowed = true\n\
                     [[listeners]]\naddress = 'tcp://127.0.0.1:0'\nanonymous_allowed = false\n";
    let start = |of_all: &str| {
        Setup::shards(2).own_listeners().config(&format!("{of_all}{listeners}")).start()
    };
    for (of_all, unsaid) in [
        ("", 0),
        ("mqtt.anonymous_allowed = true\n", 0),
        ("mqtt.anonymous_allowed = false\n", 0x87),
    ] {
        let broker = start(of_all);
        let [as_all, open, shut] = addresses(&broker)[..] else { panic!("{}", broker.log()) };
        assert_eq!(code(as_all, 5), unsaid, "{of_all}");
        assert_eq!((code(open, 5), code(open, 4)), (0, 0), "{of_all}");
        assert_eq!((code(shut, 5), code(shut, 4)), (0x87, 5), "{of_all}");
        let log = broker.log();
        assert!(log.contains(&format!("{open} (anonymous clients allowed)")), "{log}");
        assert!(log.contains(&format!("{shut} (credentials needed)")), "{log}");
    }
}

#[test]
fn a_listener_speaks_the_versions_it_is_told() {
    let broker = Setup::shards(2)
        .own_listeners()
        .config(
            "[[listeners]]\naddress = 'tcp://127.0.0.1:0'\nprotocol_versions = ['5.0']\n\
             [[listeners]]\naddress = 'tcp://127.0.0.1:0'\nprotocol_versions = ['3.1', '3.1.1']\n\
             [[listeners]]\naddress = 'tcp://127.0.0.1:0'\n",
        )
        .start();
    let [new, old, any] = addresses(&broker)[..] else { panic!("{}", broker.log()) };
    for (address, codes) in [(new, [1, 1, 0]), (old, [0, 0, 0x84]), (any, [0, 0, 0])] {
        assert_eq!([3, 4, 5].map(|level| code(address, level)), codes, "{address}");
    }
    broker.await_log("unsupported protocol version");
}

#[test]
fn a_listener_takes_the_packets_of_its_interface_alone() {
    let broker = Setup::shards(2)
        .own_listeners()
        .config(
            "mqtt.anonymous_allowed = true\n\
             [[listeners]]\naddress = 'tcp://0.0.0.0:0'\nbind_interface = 'lo'\n\
             [[listeners]]\naddress = 'tcp://0.0.0.0:0'\nbind_interface = 'none7'\noptional = true\n",
        )
        .start();
    broker.await_log("skipped, as it is optional");
    let port = broker.port();
    assert_eq!(code(SocketAddr::from(([127, 0, 0, 1], port)), 5), 0);
    let directory = Directory::new();
    let config = "[[listeners]]\naddress = 'tcp://0.0.0.0:0'\nbind_interface = 'none7'\n";
    let output = Command::new(env!("CARGO_BIN_EXE_hawker"))
        .args(["run", "--admin", "off", "-c"])
        .arg(directory.write("hawker.toml", config))
        .current_dir(directory.path())
        .output()
        .expect("the broker's binary can be started");
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("no interface none7") && said.contains("`ip link`"), "{said}");
}

#[test]
fn a_request_for_a_websocket_is_as_long_as_its_listener_takes() {
    let broker = Setup::shards(1)
        .own_listeners()
        .config(
            "[[listeners]]\naddress = 'ws://127.0.0.1:0'\n\
             [[listeners]]\naddress = 'ws://127.0.0.1:0'\nrequest_bytes_max = 65536\n\
             [[listeners]]\naddress = 'ws://127.0.0.1:0'\nrequest_bytes_max = 1024\n",
        )
        .start();
    let status = |address: SocketAddr, cookie_bytes: usize| {
        let cookie = "c".repeat(cookie_bytes);
        let request = format!(
            "GET /mqtt HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             Sec-WebSocket-Protocol: mqtt\r\nCookie: {cookie}\r\n\r\n"
        );
        let mut stream = TcpStream::connect(address).expect("the broker accepts");
        // One whose request is too long may be told so before it has said all of it.
        let _ = stream.write_all(request.as_bytes());
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).map(|()| answer[9..].to_vec()).unwrap_or_default()
    };
    let [usual, large, small] = addresses(&broker)[..] else { panic!("{}", broker.log()) };
    for (address, cookie_bytes, expected) in
        [(usual, 4_000, "101"), (large, 60_000, "101"), (small, 400, "101"), (small, 4_000, "400")]
    {
        let found = status(address, cookie_bytes);
        assert_eq!(String::from_utf8_lossy(&found), expected, "{address} {cookie_bytes}");
    }
    assert_ne!(status(usual, 60_000), b"101");
}
