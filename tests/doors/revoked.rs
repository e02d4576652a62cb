//! Client certificates that were withdrawn, by lists that openssl has made; and those that a proxy
//! tells of.

use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::support::{Broker, Setup, certificate};
use crate::{answers, client_showing, connected, is_alive, refused, rest};

/// A file of the fixtures.
fn fleet(name: &str) -> PathBuf {
    certificate().with_file_name("fleet").join(name)
}

/// The text of several files.
fn texts(names: &[&str]) -> String {
    let read = |name: &&str| std::fs::read_to_string(fleet(name)).expect("a fixture");
    names.iter().map(read).collect()
}

const CONFIG: &str = "[tls]\ncertificate = 'certificate.pem'\nkey = 'key.pem'\n\
    [mqtt]\nanonymous_allowed = false\n\
    [[auth.rules]]\nsubscribe = ['user/%u']\n\
    [[listeners]]\naddress = 'tls://127.0.0.1:0'\nclient_ca = 'issuers.pem'\n\
    client_crl = 'revoked.pem'\n";

/// A broker that takes the certificates of two issuers but those that are on these lists.
fn without(lists: &[&str]) -> Broker {
    let directory = crate::support::Directory::new();
    directory.write("revoked.pem", &texts(lists));
    directory.write("issuers.pem", &texts(&["fleet.pem", "partner.pem"]));
    Setup::shards(2)
        .own_listeners()
        .config(CONFIG)
        .file("certificate.pem", &certificate())
        .file("key.pem", &certificate().with_file_name("key.pem"))
        .start_in(directory)
}

fn is_let_in(address: SocketAddr, name: &str) -> bool {
    let config = client_showing(&[&certificate()], Some(&format!("fleet/{name}")));
    let user = format!("user/{name}");
    match &answers(address, &config, &[&user])[..] {
        [0, 0] => true,
        [] => false,
        other => panic!("{name}: {other:?}"),
    }
}

#[test]
fn who_is_on_a_list_is_not_let_in() {
    let broker = without(&["bob-revoked.pem", "carl-revoked.pem"]);
    let are_in = || ["ann", "bob", "carl"].map(|name| is_let_in(broker.address(), name));
    assert_eq!(are_in(), [true, false, false]);
    broker.await_log("TLS: the client's certificate is revoked");
    // Without the list of the other issuer nobody knows who of its clients is withdrawn.
    let put = |name: &str, text: &str| {
        std::fs::write(broker.directory().join(name), text).expect("it is writable");
        broker.signal("HUP");
    };
    put("revoked.pem", &texts(&["nobody-revoked.pem"]));
    broker.await_log("configuration reloaded");
    assert_eq!(are_in(), [true, true, false]);
    broker.await_log("client_crl has no list of an issuer");
    // What is no list changes nothing.
    put("revoked.pem", &texts(&["fleet.pem"]));
    broker.await_log("revoked.pem: no list of revoked certificates in PEM");
    let torn = "-----BEGIN X509 CRL-----\nMAAA\n-----END X509 CRL-----\n";
    put("revoked.pem", &(texts(&["bob-revoked.pem"]) + torn));
    broker.await_log("no list of revoked certificates in PEM: ParseError");
    assert_eq!(are_in(), [true, true, false]);
}

#[test]
fn a_list_that_has_expired_lets_nobody_in() {
    let broker = without(&["expired.pem", "carl-revoked.pem"]);
    broker.await_log("a list in client_crl has expired");
    assert!(!is_let_in(broker.address(), "ann"));
    broker.await_log("of the issuer of the client's certificate has expired");
}

#[test]
fn a_ticket_of_before_is_no_way_around_a_list() {
    let broker = without(&["nobody-revoked.pem"]);
    let config = client_showing(&[&certificate()], Some("fleet/bob"));
    let again = || answers(broker.address(), &config, &["user/bob"]);
    assert_eq!([again(), again()], [[0, 0], [0, 0]]);
    std::fs::write(broker.directory().join("revoked.pem"), texts(&["bob-revoked.pem"]))
        .expect("it is writable");
    broker.signal("HUP");
    broker.await_log("configuration reloaded");
    // The doors change a moment later.
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert_eq!(again(), []);
}

#[test]
fn who_comes_on_a_list_while_connected_is_let_go() {
    let broker = without(&["nobody-revoked.pem", "carl-revoked.pem"]);
    let come = |name| {
        let config = client_showing(&[&certificate()], Some(&format!("fleet/{name}")));
        connected(broker.address(), &config)
    };
    let (mut ann, mut bob) = (come("ann"), come("bob"));
    let lists = texts(&["bob-revoked.pem", "carl-revoked.pem"]);
    std::fs::write(broker.directory().join("revoked.pem"), lists).expect("it is writable");
    broker.signal("HUP");
    assert_eq!(rest(&mut bob), [0xE0, 1, 0x98]);
    broker.await_log("let go: its certificate is revoked");
    assert!(is_alive(&mut ann));
}

#[test]
fn a_list_belongs_to_an_issuer() {
    let said = refused(
        "[[listeners]]\naddress = 'tcp://127.0.0.1:0'\nclient_crl = 'revoked.pem'\n\
         [[listeners]]\naddress = 'tcp://127.0.0.1:1'\nproxy_from = ['10.0.0.0/8']\n\
         client_user = 'alternative-name'\n",
    );
    assert!(said.contains("no certificate is asked for; give client_ca"), "{said}");
    assert!(said.contains("a proxy tells the common name"), "{said}");
}

/// A header of version 2 from 10.9.8.7, with these values behind the address.
fn header(values: &[Vec<u8>]) -> Vec<u8> {
    let body = [&[10, 9, 8, 7, 10, 0, 0, 1, 0x10, 0xE1, 7, 0x5B][..], &values.concat()].concat();
    let length = (body.len() as u16).to_be_bytes();
    [b"\r\n\r\n\0\r\nQUIT\n\x21\x11", &length[..], &body].concat()
}

fn tlv(kind: u8, value: &[u8]) -> Vec<u8> {
    [&[kind][..], &(value.len() as u16).to_be_bytes(), value].concat()
}

/// What is told of TLS: of a certificate of ann's, shown or not, with the result of its check.
fn tls(client: u8, verify: u8) -> Vec<u8> {
    let inner = [tlv(0x21, b"TLSv1.3"), tlv(0x22, b"ann")].concat();
    tlv(0x20, &[&[client, 0, 0, 0, verify][..], &inner].concat())
}

/// What CONNECT is answered behind such a header: a reason code; nothing if the header is refused.
fn brought(broker: &Broker, values: &[Vec<u8>]) -> Option<u8> {
    const PACKETS: &[u8] = b"\x10\x11\x00\x04MQTT\x04\x02\x00\x3c\x00\x05phone\
        \x82\x0d\x00\x01\x00\x08name/ann\x00";
    let mut stream = broker.connect();
    stream.write_all(&[&header(values)[..], PACKETS].concat()).expect("it accepts");
    let mut connack = [0; 4];
    stream.read_exact(&mut connack).ok()?;
    if connack[3] == 0 {
        let mut suback = [0; 5];
        stream.read_exact(&mut suback).expect("a SUBACK");
        assert_eq!(suback, [0x90, 3, 0, 1, 0], "rules know the name");
    }
    Some(connack[3])
}

#[test]
fn a_proxy_says_whose_certificate_it_has_verified() {
    let start = |listener: &str| {
        let config = format!(
            "[mqtt]\nanonymous_allowed = false\n[log]\nlevel = 'debug'\n\
             [[auth.rules]]\nusers = ['ann']\nsubscribe = ['name/%{{cert.cn}}']\n\
             [[listeners]]\naddress = 'tcp://127.0.0.1:0'\nproxy_from = ['127.0.0.1']\n{listener}"
        );
        Setup::shards(2).own_listeners().config(&config).start()
    };
    let broker = start("");
    let authority = tlv(0x02, b"mqtt.example.org");
    assert_eq!(brought(&broker, &[authority, tls(0x03, 0)]), Some(0));
    broker.await_log("a proxy has ended the TLS of a connection");
    broker.await_log("mqtt.example.org");
    assert_eq!(brought(&broker, &[tls(0x05, 0)]), Some(0), "shown earlier in its session");
    for (values, why) in [
        (vec![tls(0x03, 1)], "it is not verified"),
        (vec![tls(0x01, 0)], "none was shown"),
        (vec![], "there was no TLS"),
    ] {
        assert_eq!(brought(&broker, &values), Some(5), "{why}");
    }
    for (values, said) in [
        (vec![vec![0x20, 0]], "ends within a TLV"),
        (vec![tlv(0x20, &[3])], "a TLV of TLS that is too short"),
        (vec![tlv(0x20, &[3, 0, 0, 0, 0, 0x22, 0, 1, 0xFF])], "a common name that is no name"),
        (vec![tls(3, 0), tls(3, 0)], "tells something twice"),
        (vec![tlv(0x02, b"\0")], "an authority that is no name of a host"),
        (vec![tlv(0x03, &[0; 4])], "a wrong checksum"),
    ] {
        assert_eq!(brought(&broker, &values), None, "{said}");
        broker.await_log(said);
    }
    let broker = start("client_user = 'none'\n");
    assert_eq!(brought(&broker, &[tls(0x03, 0)]), Some(5), "it was not to prove anybody");
}
