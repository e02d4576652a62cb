//! The broker as a process: how it stops, reads its configuration again, and answers operators.

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{self, UnixDatagram};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use support::{Broker, Directory, Setup, answers, is_present, permit};

/// CONNECT of 5.0 and of 3.1.1, clean, with an empty client id.
const CONNECT_V5: &[u8] = b"\x10\x0d\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x00";
const CONNECT_V311: &[u8] = b"\x10\x0c\x00\x04MQTT\x04\x02\x00\x3c\x00\x00";

#[test]
fn a_stop_says_goodbye_and_succeeds() {
    for signal in ["TERM", "INT"] {
        let mut broker = Broker::start(2);
        let mut newer: Vec<TcpStream> =
            (0..10).map(|_| connected(broker.address(), CONNECT_V5).0).collect();
        let mut older = connected(broker.address(), CONNECT_V311).0;
        broker.signal(signal);
        for stream in &mut newer {
            let goodbye = rest(stream);
            // DISCONNECT, Server shutting down. [MQTT-4.13.2-1]
            assert_eq!(goodbye.first(), Some(&0xE0), "{signal}: {goodbye:?}");
            assert_eq!(goodbye.get(2), Some(&0x8B), "{signal}: {goodbye:?}");
        }
        assert_eq!(rest(&mut older), b"", "{signal}: 3.1.1 knows no DISCONNECT of a server");
        let status = broker.await_exit();
        assert!(status.success(), "{signal}: {status}");
    }
}

#[test]
fn a_stopped_or_killed_broker_starts_again_on_its_directory() {
    let setup = || Setup::shards(1);
    let (status, directory) = setup().start().terminate();
    assert!(status.success(), "{status}");
    let directory = setup().start_in(directory).kill();
    connected(setup().start_in(directory).address(), CONNECT_V5);
}

#[test]
fn sighup_reads_the_configuration_again() {
    let file = |receive_maximum: &str| format!("[mqtt]\nreceive_maximum = {receive_maximum}\n");
    let broker = Setup::shards(2).config(&file("11")).start();
    let granted = || receive_maximum(&connected(broker.address(), CONNECT_V5).1);
    assert_eq!(granted(), Some(11));

    rewrite(&broker, &file("12"));
    broker.signal("HUP");
    until(|| granted() == Some(12));

    // What is wrong is said, and changes nothing.
    rewrite(&broker, &file("-1"));
    broker.signal("HUP");
    broker.await_log("mqtt.receive_maximum");
    assert_eq!(granted(), Some(12));

    // Both are counted, and the last one is told of.
    let Some(admin) = broker.admin() else { panic!("no admin address in {}", broker.log()) };
    let told = |outcomes: [u32; 2], successful: u32| {
        let metrics = get(admin, "/metrics");
        let has = |line: String| metrics.lines().any(|other| other == line);
        has(format!("hawker_config_reloads_total{{outcome=\"applied\"}} {}", outcomes[0]))
            && has(format!("hawker_config_reloads_total{{outcome=\"refused\"}} {}", outcomes[1]))
            && has(format!("hawker_config_last_reload_successful {successful}"))
    };
    until(|| told([1, 1], 0));
    rewrite(&broker, &file("13"));
    broker.signal("HUP");
    until(|| told([2, 1], 1));
}

#[test]
fn a_service_manager_is_told_of_start_reload_and_stop() {
    let directory = Directory::new();
    let path = directory.join("notify");
    let abstract_name = format!("hawker-test-{}", std::process::id());
    let abstract_address =
        net::SocketAddr::from_abstract_name(&abstract_name).expect("a short name");
    let path_address = net::SocketAddr::from_pathname(&path).expect("a short path");
    let sockets = [
        (path.to_string_lossy().into_owned(), path_address),
        (format!("@{abstract_name}"), abstract_address),
    ];
    for (name, address) in sockets {
        let socket = UnixDatagram::bind_addr(&address).expect("a free name");
        socket.set_read_timeout(Some(Duration::from_secs(60))).expect("a fresh socket");
        let mut broker = Setup::shards(2).variable("NOTIFY_SOCKET", &name).start();
        assert_eq!(told(&socket), "READY=1\n", "{name}");
        connected(broker.address(), CONNECT_V5);

        broker.signal("HUP");
        let reloading = told(&socket);
        let micros = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=");
        let micros: u64 = micros.expect("a reload").trim_end().parse().expect("a number");
        assert!(micros > 0, "{name}: {reloading}");
        assert_eq!(told(&socket), "READY=1\n", "{name}");

        broker.signal("TERM");
        assert_eq!(told(&socket), "STOPPING=1\n", "{name}");
        assert!(broker.await_exit().success(), "{name}");
    }
}

#[test]
fn a_watchdog_is_fed_while_every_shard_takes_its_turns() {
    let directory = Directory::new();
    let path = directory.join("notify");
    let socket = UnixDatagram::bind(&path).expect("a free name");
    socket.set_read_timeout(Some(Duration::from_secs(60))).expect("a fresh socket");
    let broker = Setup::shards(2)
        .variable("NOTIFY_SOCKET", &path.to_string_lossy())
        .variable("WATCHDOG_USEC", "400000")
        .start();
    assert_eq!(told(&socket), "READY=1\n");
    for _ in 0..3 {
        assert_eq!(told(&socket), "WATCHDOG=1\n");
    }
    assert!(broker.log().contains("hawker is ready"));
}

#[test]
fn a_service_manager_that_is_gone_costs_a_line_in_the_log() {
    let mut broker = Setup::shards(1).variable("NOTIFY_SOCKET", "/nowhere/notify").start();
    broker.await_log("the service manager cannot be told");
    connected(broker.address(), CONNECT_V5);
    broker.signal("TERM");
    assert!(broker.await_exit().success());
}

#[test]
fn the_configurations_of_image_and_kubernetes_are_right() {
    let packaging = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging");
    let manifest = std::fs::read_to_string(packaging.join("kubernetes.yaml")).expect("it is ours");
    // The block of the ConfigMap: what is indented below its key.
    let mut lines = manifest.lines().skip_while(|line| !line.ends_with("hawker.toml: |")).skip(1);
    let block: String = (&mut lines)
        .take_while(|line| line.starts_with("    ") || line.is_empty())
        .map(|line| format!("{}\n", line.trim_start()))
        .collect();
    assert!(block.contains("[[listeners]]"), "no configuration in kubernetes.yaml");
    let directory = Directory::new();
    let passwords = directory.write("passwords", "");
    permit(&passwords, 0o600);
    let block = block.replace("/etc/hawker-passwords/passwords", &passwords.to_string_lossy());
    for file in [packaging.join("docker.toml"), directory.write("kubernetes.toml", &block)] {
        let output = Command::new(env!("CARGO_BIN_EXE_hawker"))
            .arg("check-config")
            .arg(&file)
            .output()
            .expect("the broker's binary can be started");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {said}", file.display());
    }
}

/// The next datagram of a broker to its service manager.
fn told(socket: &UnixDatagram) -> String {
    let mut message = [0; 256];
    let length = socket.recv(&mut message).expect("the broker tells something");
    String::from_utf8_lossy(&message[..length]).into_owned()
}

#[test]
fn operators_get_answers_over_http() {
    let broker = Broker::start(2);
    let Some(admin) = broker.admin() else { panic!("no admin address in {}", broker.log()) };
    let _client = connected(broker.address(), CONNECT_V5);
    for path in ["/healthz", "/readyz"] {
        let answer = get(admin, path);
        assert!(answer.starts_with("HTTP/1.1 200"), "{path}: {answer}");
    }
    let version = get(admin, "/version");
    assert!(version.contains(env!("CARGO_PKG_VERSION")), "{version}");
    let metrics = get(admin, "/metrics");
    assert!(metrics.starts_with("HTTP/1.1 200"), "{metrics}");
    assert!(metrics.contains("# TYPE hawker_"), "{metrics}");
    assert!(metrics.contains("content-type: text/plain; version=0.0.4"), "{metrics}");
    let asks = "Accept: application/openmetrics-text;version=1.0.0,text/plain;q=0.5\r\n";
    let open_metrics = get_with(admin, "/metrics", asks);
    assert!(open_metrics.contains("content-type: application/openmetrics-text"), "{open_metrics}");
    assert!(open_metrics.ends_with("# EOF\n"), "{open_metrics}");
    assert!(get(admin, "/nothing").starts_with("HTTP/1.1 404"));
}

#[test]
fn a_refused_connect_is_counted_by_its_reason() {
    let broker = Setup::shards(2).config("[mqtt]\nanonymous_allowed = false\n").start();
    let Some(admin) = broker.admin() else { panic!("no admin address in {}", broker.log()) };
    let refused: [(&str, &[u8]); 4] = [
        ("not_authorized", CONNECT_V311),
        // An empty client id of a client that wants its session kept.
        ("client_id", b"\x10\x0c\x00\x04MQTT\x04\x00\x00\x3c\x00\x00"),
        // A method of authentication that is not offered.
        ("method", b"\x10\x11\x00\x04MQTT\x05\x02\x00\x3c\x04\x15\x00\x01X\x00\x00"),
        ("version", b"\x10\x0c\x00\x04MQTT\x09\x02\x00\x3c\x00\x00"),
    ];
    for (reason, connect) in refused {
        let count = || {
            let label = format!("reason=\"{reason}\"");
            let metrics = get(admin, "/metrics");
            let is_it = |line: &&str| {
                line.starts_with("hawker_connects_refused_total{") && line.contains(&label)
            };
            let counts = metrics.lines().filter(is_it).filter_map(|line| line.split(' ').nth(1));
            counts.map(|count| count.parse::<u64>().expect("a number")).sum::<u64>()
        };
        assert_eq!(count(), 0, "{reason}");
        let mut stream = broker.connect();
        stream.write_all(connect).expect("the broker reads");
        rest(&mut stream);
        assert_eq!(count(), 1, "{reason}: {}", get(admin, "/metrics"));
    }
}

#[test]
fn the_end_of_a_listeners_certificate_is_told() {
    let config = "[[listeners]]\nname = \"safe\"\naddress = \"tls://127.0.0.1:0\"\n\
                  certificate = \"shown.pem\"\nkey = \"key.pem\"\n";
    let key = support::certificate().with_file_name("key.pem");
    let setup = Setup::shards(1).own_listeners().config(config);
    let broker = setup.file("shown.pem", &support::certificate()).file("key.pem", &key).start();
    let Some(admin) = broker.admin() else { panic!("no admin address in {}", broker.log()) };
    let metrics = get(admin, "/metrics");
    // `openssl x509 -noout -enddate` says 28 October 2126.
    let line = "hawker_certificate_expiry_timestamp_seconds{listener=\"safe\",\
                certificate=\"shown.pem\"} 4948891802";
    assert!(metrics.lines().any(|other| other == line), "{metrics}");
}

#[test]
fn a_log_for_machines_is_one_object_a_line() {
    let broker = Setup::shards(1).argument("--log-format").argument("json").start();
    for line in broker.log().lines() {
        assert!(line.starts_with('{') && line.ends_with('}'), "{line}");
    }
}

/// A connection that was let in, and its CONNACK.
fn connected(address: SocketAddr, connect: &[u8]) -> (TcpStream, Vec<u8>) {
    let mut stream = TcpStream::connect(address).expect("the broker accepts");
    stream.write_all(connect).expect("the broker reads");
    let mut head = [0; 2];
    stream.read_exact(&mut head).expect("a CONNACK");
    assert_eq!(head[0], 0x20, "the first packet is a CONNACK");
    let mut body = vec![0; usize::from(head[1])];
    stream.read_exact(&mut body).expect("a whole CONNACK");
    assert_eq!(body[1], 0, "refused: {body:?}");
    (stream, body)
}

/// What comes until the connection ends.
fn rest(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).expect("an orderly end");
    bytes
}

/// The receive maximum that a CONNACK of 5.0 grants; the only property looked for here.
fn receive_maximum(connack: &[u8]) -> Option<u16> {
    let mut properties = &connack[3..];
    while let Some((&identifier, rest)) = properties.split_first() {
        let length = match identifier {
            0x21 => return Some(u16::from_be_bytes([rest[0], rest[1]])),
            0x24 | 0x25 | 0x28 | 0x29 | 0x2A => 1,
            0x13 | 0x22 => 2,
            0x11 | 0x27 => 4,
            0x12 | 0x1A | 0x1F => 2 + usize::from(u16::from_be_bytes([rest[0], rest[1]])),
            other => panic!("property {other:#x} in a CONNACK"),
        };
        properties = &rest[length..];
    }
    None
}

fn rewrite(broker: &Broker, toml: &str) {
    let file = Path::new(broker.directory()).join("hawker.toml");
    std::fs::write(file, toml).expect("the test's directory is writable");
}

fn until(condition: impl Fn() -> bool) {
    for _ in 0..3000 {
        if condition() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("it never happened");
}

fn get(address: SocketAddr, path: &str) -> String {
    get_with(address, path, "")
}

fn get_with(address: SocketAddr, path: &str, headers: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("the admin server accepts");
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: hawker\r\n{headers}Connection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("the admin server reads");
    String::from_utf8_lossy(&rest(&mut stream)).into_owned()
}

/// What `hawker` prints with these arguments.
fn printed(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_hawker")).args(arguments).output();
    let output = output.expect("the broker's binary can be started");
    assert!(output.status.success(), "{arguments:?}");
    String::from_utf8(output.stdout).expect("it speaks UTF-8")
}

#[test]
fn a_shell_completes_the_command_line() {
    let directory = Directory::new();
    let script = directory.write("completions", &printed(&["completions", "bash"]));
    let completed = |words: &str, place: usize| {
        let asks = format!(
            "source '{}'; COMP_WORDS=({words}); COMP_CWORD={place}; \
             _hawker hawker \"${{COMP_WORDS[$COMP_CWORD]}}\" \"${{COMP_WORDS[$COMP_CWORD-1]}}\"; \
             echo \"${{COMPREPLY[@]}}\"",
            script.display()
        );
        let output = Command::new("bash").args(["--norc", "-c", &asks]).output();
        let output = output.expect("bash can be started");
        assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("it speaks UTF-8").trim().to_owned()
    };
    assert_eq!(completed("hawker ch", 1), "check-config");
    assert_eq!(completed("hawker ctl ba", 2), "ban bans backup");
    assert_eq!(completed("hawker run --durability ''", 3), "fsync os memory");
    for (shell, says) in [("zsh", "#compdef hawker"), ("fish", "complete -c hawker")] {
        assert!(printed(&["completions", shell]).contains(says), "{shell}");
    }
}

#[test]
fn every_command_has_a_page_of_the_manual() {
    let directory = Directory::new();
    let folder = directory.join("man1");
    printed(&["man", folder.to_str().expect("our own paths are UTF-8")]);
    let page = |name: &str| {
        let path = folder.join(format!("{name}.1"));
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    };
    assert_eq!(printed(&["man"]), page("hawker"));
    for within in ["", "log", "ctl", "passwd", "token"] {
        let arguments: Vec<&str> = within.split(' ').filter(|word| !word.is_empty()).collect();
        let help = printed(&[&arguments[..], &["--help"]].concat());
        let commands = help.lines().skip_while(|line| *line != "Commands:").skip(1);
        let commands = commands.take_while(|line| line.starts_with("  "));
        let commands: Vec<&str> = commands
            .filter(|line| !line.starts_with("   "))
            .filter_map(|line| line.split_whitespace().next())
            .filter(|name| *name != "help")
            .collect();
        assert!(!commands.is_empty(), "{help}");
        for command in commands {
            let words = ["hawker", within, command].map(str::to_owned).into_iter();
            let name = words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join("-");
            assert!(page(&name).contains(".SH NAME"), "{name}");
        }
    }
    if !is_present(answers("groff"), "groff") {
        return;
    }
    for entry in std::fs::read_dir(&folder).expect("it is there") {
        let path = entry.expect("it can be listed").path();
        let output =
            Command::new("groff").args(["-man", "-ww", "-z", "-Tutf8"]).arg(&path).output();
        let complaints = output.expect("groff can be started").stderr;
        assert!(complaints.is_empty(), "{}", String::from_utf8_lossy(&complaints));
    }
}
