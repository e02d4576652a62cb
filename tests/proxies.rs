//! The broker behind proxies that people use: nginx that ends TLS in front of a WebSocket, haproxy
//! that says whose connection it brings. And what openssl finds at its own TLS.

mod support;

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use loadtest::mqtt::Qos;
use loadtest::report::Faults;
use loadtest::scenario::shape::{Shape, ShapeOptions};
use loadtest::scenario::throughput::{Throughput, Window};
use loadtest::settings::{Common, QosLevel};
use support::{Broker, Directory, Setup, certificate, dashboard, has_browser, is_present, run};

/// Where `tests/clients/install` unpacks them.
fn proxies() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/proxies")
}

/// Where its libraries are, which are not installed either.
fn libraries() -> PathBuf {
    proxies().join(format!("usr/lib/{}-linux-gnu", std::env::consts::ARCH))
}

/// A proxy that is ended when dropped.
struct Proxy {
    child: Child,
    address: SocketAddr,
    _directory: Directory,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // It has ended by itself, or it is killed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Proxy {
    /// Starts it with a configuration in which `ADDRESS`, `DIR` and `CERTIFICATE` are filled in.
    fn start(name: &str, configuration: &str, arguments: &[&str]) -> Option<Proxy> {
        let program = proxies().join("usr/sbin").join(name);
        if !is_present(program.exists(), name) {
            return None;
        }
        let directory = Directory::new();
        let free = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = free.local_addr().expect("it is bound");
        drop(free);
        let both = ["certificate.pem", "key.pem"].map(|name| {
            let file = certificate().with_file_name(name);
            std::fs::read_to_string(file).expect("a fixture")
        });
        directory.write("both.pem", &both.concat());
        let text = configuration
            .replace("ADDRESS", &address.to_string())
            .replace("DIR", &directory.path().display().to_string());
        let file = directory.write("configuration", &text);
        let child = Command::new(program)
            .env("LD_LIBRARY_PATH", libraries())
            .args(arguments)
            .arg(file)
            .stdin(Stdio::null())
            .stdout(Stdio::inherit())
            .spawn()
            .expect("the proxy can be started");
        let proxy = Proxy { child, address, _directory: directory };
        while TcpStream::connect(address).is_err() {
            std::thread::sleep(Duration::from_millis(20));
        }
        Some(proxy)
    }
}

fn nginx(to: SocketAddr, forwarded: &str) -> Option<Proxy> {
    let configuration = format!(
        "daemon off;\nerror_log DIR/error.log;\npid DIR/pid;\nevents {{}}\nhttp {{\n\
         access_log off;\n\
         client_body_temp_path DIR/a; proxy_temp_path DIR/b; fastcgi_temp_path DIR/c;\n\
         uwsgi_temp_path DIR/d; scgi_temp_path DIR/e;\n\
         server {{\n  listen ADDRESS ssl;\n  ssl_certificate DIR/both.pem;\n\
         ssl_certificate_key DIR/both.pem;\n  location /mqtt {{\n    proxy_pass http://{to};\n\
         proxy_http_version 1.1;\n    proxy_set_header Upgrade $http_upgrade;\n\
         proxy_set_header Connection upgrade;\n    proxy_set_header X-Forwarded-For {forwarded};\n\
         }}\n}}\n}}\n"
    );
    Proxy::start("nginx", &configuration, &["-c"])
}

/// Three pairs exchange a thousand messages of some size each, none of them amiss.
fn exchange(target: String) {
    exchange_showing(target, None);
}

/// The same by clients that show the certificate of this name below `support/tls`.
fn exchange_showing(target: String, own: Option<&str>) {
    let file = |end: &str| own.map(|own| certificate().with_file_name(format!("{own}{end}")));
    let common = Common {
        target: Some(target),
        cert: file(".pem"),
        key: file("-key.pem"),
        ca: Some(certificate()),
        warmup: Some(0.0),
        patience: Some(5.0),
        quiet: Some(true),
        ..Common::default()
    };
    let throughput = Throughput {
        traffic: ShapeOptions {
            shape: Shape::Pairs,
            publishers: 3,
            qos: QosLevel(Qos::AtLeastOnce),
            payload: 3000,
            ..ShapeOptions::default()
        },
        window: Window { in_flight: 20, messages: Some(1000) },
    };
    let settings = common.resolve().expect("valid");
    let report = throughput.run(&settings).expect("it comes to its end");
    assert_eq!(report.faults, Faults::default());
    assert!(report.is_passed(), "{:?}", report.broken_limits);
}

#[test]
fn nginx_ends_tls_in_front_of_a_web_socket() {
    let broker = Setup::shards(2).scheme("ws").start();
    let Some(nginx) = nginx(broker.address(), "$remote_addr") else { return };
    exchange(format!("wss://{}/mqtt", nginx.address));
}

#[test]
fn a_browser_comes_through_nginx() {
    if !has_browser() {
        return;
    }
    let broker = Setup::shards(2).scheme("ws").start();
    let Some(nginx) = nginx(broker.address(), "$remote_addr") else { return };
    let admin = broker.admin().expect("it says where");
    run(Command::new("node")
        .arg(dashboard("test/main.mjs"))
        .env("BROKER", format!("http://{admin}"))
        .env("WS", format!("ws://{}/mqtt", broker.address()))
        .env("VIA", format!("wss://{}/mqtt", nginx.address))
        .env("CERTIFICATE", certificate())
        .env("LOOK", "1280-light")
        .env("ONLY", "the_client_tool_speaks_mqtt"));
}

#[test]
fn nginx_says_whose_web_socket_it_is() {
    let config = "[[listeners]]\naddress = 'ws://127.0.0.1:0'\nforwarded_from = ['127.0.0.1']\n";
    let broker = Setup::shards(1).own_listeners().config(config).start();
    // On its own machine the proxy's client is no guest without a name.
    let Some(nginx) = nginx(broker.address(), "\"6.6.6.6, 10.9.8.7\"") else { return };
    let target = format!("wss://{}/mqtt", nginx.address);
    let connect = std::panic::catch_unwind(|| exchange(target));
    assert!(connect.is_err(), "it is refused");
    broker.await_log("10.9.8.7:0");
}

fn haproxy(to: SocketAddr, send: &str) -> Option<Proxy> {
    haproxy_binding(to, "", send)
}

/// One that takes connections by these options.
fn haproxy_binding(to: SocketAddr, options: &str, send: &str) -> Option<Proxy> {
    let configuration = format!(
        "global\n  stats timeout 1s\ndefaults\n  mode tcp\n  timeout connect 5s\n\
         timeout client 30s\n  timeout server 30s\nfrontend mqtt\n  bind ADDRESS {options}\n\
         default_backend broker\nbackend broker\n  server one {to} {send}\n"
    );
    Proxy::start("haproxy", &configuration, &["-db", "-f"])
}

#[test]
fn haproxy_says_whose_connection_it_brings() {
    let config = "[[listeners]]\naddress = 'tcp://127.0.0.1:0'\nproxy_from = ['127.0.0.0/8']\n\
                  [mqtt]\nanonymous_allowed = true\n";
    for send in ["send-proxy", "send-proxy-v2", "send-proxy-v2-ssl-cn"] {
        let broker = Setup::shards(2).own_listeners().config(config).start();
        let Some(haproxy) = haproxy(broker.address(), send) else { return };
        exchange(format!("tcp://{}", haproxy.address));
    }
    // One that says nothing is not served.
    let broker = Setup::shards(2).own_listeners().config(config).start();
    let Some(haproxy) = haproxy(broker.address(), "") else { return };
    let target = format!("tcp://{}", haproxy.address);
    assert!(std::panic::catch_unwind(|| exchange(target)).is_err());
    broker.await_log("no PROXY header");
}

#[test]
fn haproxy_says_whose_certificate_it_has_verified() {
    let config = "[[listeners]]\naddress = 'tcp://127.0.0.1:0'\nproxy_from = ['127.0.0.0/8']\n\
                  [mqtt]\nanonymous_allowed = false\n\
                  [[auth.rules]]\nusers = ['ann']\npublish = ['#']\nsubscribe = ['#']\n";
    let broker = Setup::shards(2).own_listeners().config(config).start();
    let issuers = certificate().with_file_name("fleet").join("fleet.pem");
    // It brings everybody, and says of each what it found.
    let options = format!(
        "ssl crt DIR/both.pem ca-file {} verify optional ca-ignore-err all crt-ignore-err all",
        issuers.display()
    );
    let Some(haproxy) = haproxy_binding(broker.address(), &options, "send-proxy-v2-ssl-cn") else {
        return;
    };
    let target = format!("tls://{}", haproxy.address);
    exchange_showing(target.clone(), Some("fleet/ann"));
    for other in [None, Some("fleet/carl"), Some("client-stranger")] {
        let outcome = std::panic::catch_unwind(|| exchange_showing(target.clone(), other));
        assert!(outcome.is_err(), "{other:?}");
    }
}

/// What `openssl s_client` says when it connects with these options.
fn s_client(broker: &Broker, options: &[&str]) -> Output {
    let mut command = Command::new("openssl");
    command.args(["s_client", "-connect", &broker.address().to_string(), "-CAfile"]);
    command.arg(certificate()).args(options).stdin(Stdio::null());
    command.output().expect("openssl can be started")
}

#[test]
fn openssl_finds_new_versions_and_good_ciphers_alone() {
    let present = Command::new("openssl").arg("version").output().is_ok();
    if !is_present(present, "openssl") {
        return;
    }
    let broker = Setup::shards(1).scheme("tls").start();
    let says = |options: &[&str]| {
        let output = s_client(&broker, options);
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    for (version, name) in [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")] {
        let said = says(&[version, "-alpn", "mqtt"]);
        assert!(said.contains(&format!("New, {name}")), "{said}");
        assert!(said.contains("Verify return code: 0 (ok)"), "{said}");
        assert!(said.contains("ALPN protocol: mqtt"), "{said}");
    }
    let weak = [
        &["-tls1"][..],
        &["-tls1_1"],
        &["-tls1_2", "-cipher", "RSA"],
        &["-tls1_2", "-cipher", "ECDHE+SHA1"],
        &["-tls1_2", "-cipher", "3DES:RC4:NULL:aNULL:EXPORT:@SECLEVEL=0"],
    ];
    for options in weak {
        let said = says(options);
        assert!(!said.contains("New, TLSv1"), "{options:?}: {said}");
    }
    // No renegotiation, no compression.
    let said = says(&["-tls1_2"]);
    assert!(said.contains("Compression: NONE"), "{said}");
}
