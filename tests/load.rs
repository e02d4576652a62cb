//! The load harness at each door of the broker. Method: every message of a short run is counted,
//! and where a client must not get in, the harness says why.

mod support;

use std::path::Path;

use loadtest::mqtt::Qos;
use loadtest::report::{Faults, Report};
use loadtest::scenario::connect::Connect;
use loadtest::scenario::shape::{Shape, ShapeOptions};
use loadtest::scenario::throughput::{Throughput, Window};
use loadtest::settings::{Common, QosLevel, Settings};
use support::{Broker, Setup, certificate};

/// A broker with one shard that listens by `scheme`.
fn broker(scheme: &'static str) -> Broker {
    Setup::shards(1).scheme(scheme).start()
}

/// Where it is, and whom the harness trusts there.
fn at(broker: &Broker, scheme: &str, ca: Option<&Path>) -> Common {
    Common {
        target: Some(format!("{scheme}://{}", broker.address())),
        ca: ca.map(Path::to_path_buf),
        warmup: Some(0.0),
        duration: Some(0.2),
        patience: Some(3.0),
        quiet: Some(true),
        ..Common::default()
    }
}

fn resolved(common: Common) -> Settings {
    common.resolve().expect("valid")
}

/// A window that does not fit into one TLS record, nor into one frame.
fn throughput(qos: Qos, payload: u32) -> Throughput {
    Throughput {
        traffic: ShapeOptions {
            shape: Shape::Pairs,
            publishers: 3,
            qos: QosLevel(qos),
            payload,
            ..ShapeOptions::default()
        },
        window: Window { in_flight: 20, messages: Some(300) },
    }
}

fn value(report: &Report, name: &str) -> f64 {
    report.value(name).unwrap_or_else(|| panic!("no figure {name:?}"))
}

#[test]
fn every_message_passes_every_door() {
    for scheme in ["tcp", "tls", "ws", "wss"] {
        let broker = broker(scheme);
        let settings = resolved(at(&broker, scheme, Some(&certificate())));
        for (qos, payload) in
            [(Qos::AtMostOnce, 64), (Qos::AtLeastOnce, 20_000), (Qos::ExactlyOnce, 64)]
        {
            let report = throughput(qos, payload).run(&settings).expect("it comes to its end");
            assert_eq!(report.faults, Faults::default(), "{scheme} {qos} {payload}");
            assert!(report.is_passed(), "{scheme} {qos}: {:?}", report.broken_limits);
        }
    }
}

#[test]
fn who_returns_goes_on_with_a_session_only_when_asked_to() {
    let broker = broker("wss");
    let connect = Connect { connections: 20, ..Connect::default() };
    for resume in [false, true] {
        let common = at(&broker, "wss", Some(&certificate()));
        let settings = resolved(Common { resume: Some(resume), ..common });
        let report = connect.run(&settings).expect("it comes to its end");
        assert!(report.is_passed(), "{:?}", report.broken_limits);
        assert_eq!(value(&report, "ramp sessions resumed"), 0.0);
        let expected = if resume { 100.0 } else { 0.0 };
        assert_eq!(value(&report, "storm sessions resumed"), expected);
    }
}

#[test]
fn who_is_not_let_in_says_why() {
    let refused = |common: Common| {
        let result = throughput(Qos::AtMostOnce, 64).run(&resolved(common));
        result.expect_err("nobody is let in").to_string()
    };
    let tls = broker("tls");
    let other = certificate().with_file_name("other-certificate.pem");
    let error = refused(at(&tls, "tls", Some(&other)));
    assert!(error.contains("certificate"), "{error}");
    let error = refused(at(&tls, "tcp", None));
    assert!(error.contains("closed the connection"), "{error}");
    let web = broker("ws");
    let target = Some(format!("ws://{}/elsewhere", web.address()));
    let error = refused(Common { target, ..at(&web, "ws", None) });
    assert!(error.contains("WebSocket refused: HTTP/1.1 404"), "{error}");
}

#[test]
fn a_certificate_is_shown_where_one_is_asked_for() {
    let file = |name: &str| certificate().with_file_name(name);
    let config = "[[listeners]]\naddress = \"tls://127.0.0.1:0\"\ncertificate = \"own.pem\"\n\
                  key = \"key.pem\"\nclient_ca = \"clients.pem\"\n";
    let broker = Setup::shards(1)
        .own_listeners()
        .file("own.pem", &certificate())
        .file("key.pem", &file("key.pem"))
        .file("clients.pem", &file("clients.pem"))
        .config(config)
        .start();
    let common = at(&broker, "tls", Some(&certificate()));
    let run = |common: Common| throughput(Qos::AtMostOnce, 64).run(&resolved(common));
    let (cert, key) = (Some(file("client-ann.pem")), Some(file("client-ann-key.pem")));
    let report = run(Common { cert, key, ..common.clone() }).expect("ann is let in");
    assert!(report.is_passed(), "{:?}", report.broken_limits);
    let error = run(common).expect_err("nobody is let in without").to_string();
    assert!(error.contains("TLS:") || error.contains("closed"), "{error}");
}
