//! The harness finds what a broker does wrong. Method: run the real scenarios against a relay
//! that does one thing wrong to one message, and look for exactly that in the report.

use std::net::SocketAddr;
use std::thread;

use loadtest::mqtt::Qos;
use loadtest::report::{Faults, Report};
use loadtest::scenario::rate::{Rate, Speed};
use loadtest::scenario::shape::{Shape, ShapeOptions};
use loadtest::scenario::throughput::{Throughput, Window};
use loadtest::settings::{Common, QosLevel, Settings};

mod relay;

use relay::{Fault, Relay};

/// Messages of each of two streams in a run.
const MESSAGES: u64 = 200;

/// The message that meets the fault, among all those of a run.
const NUMBER: u64 = 151;

fn start(fault: Fault) -> SocketAddr {
    let relay = Relay::bind("127.0.0.1:0", fault).expect("a port is free");
    let address = relay.address().expect("bound");
    // It ends with the test's process.
    thread::spawn(move || relay.run());
    address
}

fn settings(target: SocketAddr, threads: usize) -> Settings {
    let common = Common {
        target: Some(target.to_string()),
        threads: Some(threads),
        patience: Some(1.0),
        warmup: Some(0.0),
        quiet: Some(true),
        ..Common::default()
    };
    common.resolve().expect("valid")
}

fn traffic(shape: Shape, qos: Qos) -> ShapeOptions {
    ShapeOptions {
        shape,
        publishers: 2,
        subscribers: Some(2),
        qos: QosLevel(qos),
        ..ShapeOptions::default()
    }
}

fn run(fault: Fault, shape: Shape, qos: Qos, threads: usize) -> Report {
    let scenario = Throughput {
        traffic: traffic(shape, qos),
        window: Window { in_flight: 10, messages: Some(MESSAGES) },
    };
    scenario.run(&settings(start(fault), threads)).expect("the run comes to its end")
}

fn faults(fault: Fault, qos: Qos) -> Faults {
    let report = run(fault, Shape::Pairs, qos, 1);
    assert_eq!(report.is_passed(), report.faults == Faults::default());
    report.faults
}

#[test]
fn a_relay_without_fault_passes_in_every_shape_and_level() {
    for shape in [Shape::Pairs, Shape::FanIn, Shape::FanOut] {
        for qos in [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce] {
            for threads in [1, 3] {
                let report = run(Fault::Nothing, shape, qos, threads);
                assert_eq!(report.faults, Faults::default(), "{shape:?} {qos} {threads}");
                assert!(report.is_passed(), "{:?}", report.broken_limits);
            }
        }
    }
}

#[test]
fn an_open_loop_passes_too() {
    let rate = Rate {
        traffic: traffic(Shape::Pairs, Qos::AtLeastOnce),
        speed: Speed { rate: 2000.0, ..Speed::default() },
    };
    let mut settings = settings(start(Fault::Nothing), 2);
    settings.duration = std::time::Duration::from_millis(200);
    let report = rate.run(&settings).expect("the run comes to its end");
    assert_eq!(report.faults, Faults::default());
    assert!(report.latencies.iter().any(|latency| latency.name == "delivery"));
}

#[test]
fn a_lost_message_is_found() {
    for qos in [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce] {
        let expected = Faults { lost: 1, ..Faults::default() };
        assert_eq!(faults(Fault::Lose(NUMBER), qos), expected, "{qos}");
    }
}

#[test]
fn the_last_message_lost_is_found() {
    let expected = Faults { lost: 1, ..Faults::default() };
    assert_eq!(faults(Fault::Lose(2 * MESSAGES - 1), Qos::AtMostOnce), expected);
}

#[test]
fn a_repeated_message_is_found() {
    for qos in [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce] {
        let expected = Faults { duplicated: 1, ..Faults::default() };
        assert_eq!(faults(Fault::Repeat(NUMBER), qos), expected, "{qos}");
    }
}

#[test]
fn the_last_message_repeated_is_found() {
    let expected = Faults { duplicated: 1, ..Faults::default() };
    assert_eq!(faults(Fault::Repeat(2 * MESSAGES - 1), Qos::AtMostOnce), expected);
}

#[test]
fn a_message_out_of_order_is_found() {
    let expected = Faults { out_of_order: 1, ..Faults::default() };
    assert_eq!(faults(Fault::Delay(NUMBER), Qos::AtMostOnce), expected);
}

#[test]
fn a_damaged_message_is_found_and_counts_as_lost_too() {
    let expected = Faults { corrupt: 1, lost: 1, ..Faults::default() };
    assert_eq!(faults(Fault::Damage(NUMBER), Qos::AtMostOnce), expected);
}

#[test]
fn a_message_for_someone_else_is_found() {
    let expected = Faults { misrouted: 1, ..Faults::default() };
    assert_eq!(faults(Fault::Misroute(NUMBER), Qos::AtLeastOnce), expected);
}

#[test]
fn a_message_that_is_never_acknowledged_is_found() {
    let expected = Faults { unacknowledged: 1, ..Faults::default() };
    assert_eq!(faults(Fault::AcknowledgeNever(NUMBER), Qos::AtLeastOnce), expected);
}

#[test]
fn an_acknowledgement_of_nothing_is_found() {
    let found = faults(Fault::AcknowledgeNothing(NUMBER), Qos::AtLeastOnce);
    assert_eq!(found.protocol_errors, 1);
}

#[test]
fn bytes_that_are_no_packet_are_found() {
    assert_eq!(faults(Fault::Babble(NUMBER), Qos::AtMostOnce).protocol_errors, 1);
}

#[test]
fn a_broken_connection_is_found() {
    assert_eq!(faults(Fault::HangUp(NUMBER), Qos::AtLeastOnce).dropped, 1);
}

#[test]
fn nobody_at_the_door_is_an_error_that_says_so() {
    // Bound and closed again: nobody listens there.
    let address = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
        listener.local_addr().expect("bound")
    };
    let scenario =
        Throughput { traffic: traffic(Shape::Pairs, Qos::AtMostOnce), ..Throughput::default() };
    let error = scenario.run(&settings(address, 1)).expect_err("nobody is there").to_string();
    assert!(error.contains("connecting") && error.contains("refused"), "{error}");
}
