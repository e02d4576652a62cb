//! What a shared group owes outlives the broker, and what it has let go of does not come back.

use std::net::SocketAddr;

use super::client::{Link, Packet};
use super::support::{Broker, Setup};

const FILTER: &str = "$share/group/job";

fn open(broker: &Broker, client_id: &str) -> Link {
    Link::open(broker.address(), client_id).expect("the broker accepts")
}

/// Sends a packet that is answered, and hears the answer.
fn ask(link: &mut Link, first: u8, body: &[u8], answer: u8) {
    link.send(first, body).expect("the broker reads");
    let (heard, _) = link.await_packet().expect("the broker answers");
    assert_eq!(heard, answer);
}

fn subscribe(link: &mut Link, qos: u8) {
    let filter = [&[0, 1, 0, FILTER.len() as u8], FILTER.as_bytes(), &[qos]].concat();
    ask(link, 0x82, &filter, 0x90);
}

fn unsubscribe(link: &mut Link) {
    ask(link, 0xa2, &[&[0, 2, 0, FILTER.len() as u8], FILTER.as_bytes()].concat(), 0xb0);
}

/// Publishes to the group until the broker owns the message; all that the one shard did before is
/// durable then.
fn publish(address: SocketAddr, qos: u8, payload: &str) {
    let mut link = Link::open(address, "publisher").expect("the broker accepts");
    let body = [b"\x00\x03job\x00\x01", payload.as_bytes()].concat();
    ask(&mut link, 0x30 | qos << 1, &body, if qos == 1 { 0x40 } else { 0x50 });
    if qos == 2 {
        ask(&mut link, 0x62, &[0, 1], 0x70);
    }
}

fn packet_id((first, body): &Packet) -> [u8; 2] {
    let at = if first & 0xf0 == 0x30 { 5 } else { 0 };
    [body[at], body[at + 1]]
}

/// The payload of a PUBLISH.
fn payload((first, body): Packet) -> String {
    assert_eq!(first & 0xf0, 0x30, "{body:?}");
    String::from_utf8(body[7..].to_vec()).expect("tests send text")
}

#[test]
fn a_late_acknowledgement_completes_no_message_of_a_group_that_began_anew() {
    let broker = Setup::shards(1).start();
    let mut member = open(&broker, "member");
    subscribe(&mut member, 1);
    publish(broker.address(), 1, "old");
    let old = member.await_packet().expect("it comes");
    unsubscribe(&mut member);
    subscribe(&mut member, 1);
    publish(broker.address(), 1, "new");
    assert_eq!(payload(member.await_packet().expect("it comes")), "new");
    member.send(0x40, &packet_id(&old)).expect("the broker reads");
    ask(&mut member, 0xc0, &[], 0xd0);
    publish(broker.address(), 1, "newer");
    let broker = Setup::shards(1).start_in(broker.kill());
    let mut member = open(&broker, "member");
    for expected in ["new", "newer"] {
        assert_eq!(payload(member.await_packet().expect("it comes")), expected);
    }
}

#[test]
fn a_qos_2_message_of_a_member_whose_session_ended_does_not_come_back() {
    // [MQTT-4.8.2-5]
    let broker = Setup::shards(1).start();
    // For its sake the group's messages are kept.
    subscribe(&mut open(&broker, "away"), 2);
    let chosen = || Link::open_clean(broker.address(), "chosen").expect("the broker accepts");
    let mut member = chosen();
    subscribe(&mut member, 2);
    for payload in ["half way", "broken off"] {
        publish(broker.address(), 2, payload);
    }
    let half_way = member.await_packet().expect("it comes");
    assert_eq!(payload(member.await_packet().expect("it comes")), "broken off");
    ask(&mut member, 0x50, &packet_id(&half_way), 0x62);
    // Its session ends before another one begins.
    drop(chosen());
    publish(broker.address(), 2, "next");
    let broker = Setup::shards(1).start_in(broker.kill());
    assert_eq!(payload(open(&broker, "away").await_packet().expect("it comes")), "next");
}
