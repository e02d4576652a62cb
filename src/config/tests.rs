//! What an operator writes and what comes of it.

use std::ffi::OsString;
use std::path::PathBuf;

use super::draft::Draft;
use super::*;

fn file(text: &str) -> Result<Config, ConfigError> {
    let mut draft = Draft::default();
    draft.take_file("hawker.toml".as_ref(), text.as_bytes());
    draft.finish()
}

fn errors(result: Result<Config, ConfigError>) -> String {
    match result {
        Ok(config) => panic!("taken: {config:?}"),
        Err(error) => error.to_string(),
    }
}

fn environment(variables: &[(&str, &str)]) -> Source {
    Source::new().environment(
        variables.iter().map(|(name, value)| (OsString::from(name), OsString::from(value))),
    )
}

/// Each file with all that is said about it.
const REFUSED: &[(&str, &str)] = &[
    (
        "\n\n[mqtt]\nrecieve_maximum = 10\n",
        "hawker.toml:4: mqtt.recieve_maximum: unknown key; did you mean mqtt.receive_maximum?",
    ),
    (
        "receive_maximum = 10\n",
        "hawker.toml:1: receive_maximum: unknown key; did you mean mqtt.receive_maximum?",
    ),
    ("shard = 2", "hawker.toml:1: shard: unknown key; did you mean shards?"),
    ("[mqttt]\n", "hawker.toml:1: mqttt: unknown key; did you mean mqtt?"),
    (
        "bananas = 2",
        "hawker.toml:1: bananas: unknown key; remove it, or find its name in docs/config.md",
    ),
    (
        "[mqtt]\nreceive_maximum = 70000",
        "hawker.toml:2: mqtt.receive_maximum: found 70000, expected a whole number from 1 to 65535",
    ),
    (
        "mqtt.receive_maximum = -0x1",
        "hawker.toml:1: not TOML: integers with a radix cannot be signed",
    ),
    (
        "[mqtt]\nreceive_maximum = \"10\"",
        "hawker.toml:2: mqtt.receive_maximum: found \"10\", expected a whole number from 1 to \
         65535; write it without quotes",
    ),
    (
        "[mqtt]\npacket_bytes_max = \"16MB\"",
        "hawker.toml:2: mqtt.packet_bytes_max: found \"16MB\", expected a whole number of bytes \
         from 128 to 268435460",
    ),
    (
        "[mqtt]\npacket_bytes_max = 268_435_461",
        "hawker.toml:2: mqtt.packet_bytes_max: found 268435461, expected a whole number of bytes \
         from 128 to 268435460",
    ),
    (
        "[mqtt]\noutbox_bytes_max = 1.5",
        "hawker.toml:2: mqtt.outbox_bytes_max: found 1.5, expected a whole number of bytes from \
         4096 to 1073741824",
    ),
    (
        "[mqtt]\nqueue_bytes_max = 99999999999999999999999999999999999999999999",
        "hawker.toml:2: mqtt.queue_bytes_max: found \
         99999999999999999999999999999999999999999999, expected a whole number of bytes from 0 to \
         1099511627776",
    ),
    (
        "[mqtt]\nqueue_qos0 = \"yes\"",
        "hawker.toml:2: mqtt.queue_qos0: found \"yes\", expected true or false",
    ),
    (
        "[mqtt]\nqueue_policy = \"drop-oldst\"",
        "hawker.toml:2: mqtt.queue_policy: found \"drop-oldst\", expected \"drop-oldest\", \
         \"drop-newest\" or \"refuse-publisher\"; did you mean \"drop-oldest\"?",
    ),
    (
        "durability = \"disk\"",
        "hawker.toml:1: durability: found \"disk\", expected \"fsync\", \"os\" or \"memory\"",
    ),
    (
        "durability = 2024-01-01",
        "hawker.toml:1: durability: found the date 2024-01-01, expected \"fsync\", \"os\" or \
         \"memory\"",
    ),
    ("mqtt = 5", "hawker.toml:1: mqtt: found 5, expected a table, [mqtt]"),
    ("shards = 0", "hawker.toml:1: shards: found 0, expected a whole number from 1 to 64"),
    ("shards = 65", "hawker.toml:1: shards: found 65, expected a whole number from 1 to 64"),
    (
        "cpus = [1, 1]",
        "hawker.toml:1: cpus: found an array, expected different CPU numbers up to 8191, as \
         [0, 1, 2, 3] or \"0-3\"",
    ),
    (
        "cpus = \"3-1\"",
        "hawker.toml:1: cpus: found \"3-1\", expected different CPU numbers up to 8191, as \
         [0, 1, 2, 3] or \"0-3\"",
    ),
    (
        "cpus = \"0-3\"\nshards = 2",
        "hawker.toml:2: shards: 4 CPUs for 2 shards leaves 2 without work; name 2 or ask for 4 \
         shards",
    ),
    ("cpus = \"0-64\"", "hawker.toml:1: cpus: 65 CPUs are more than the 64 shards there can be"),
    (
        "data_dir = \"\"",
        "hawker.toml:1: data_dir: found \"\", expected the path of a folder; \".\" is the working \
         directory",
    ),
    (
        "admin = \"localhost\"",
        "hawker.toml:1: admin: found \"localhost\", expected \"ADDRESS:PORT\" or \"off\"; an \
         address and a port, such as 127.0.0.1:18083 or [::1]:18083",
    ),
    (
        "admin = \"127.0.0.1:1883\"",
        "hawker.toml:1: admin: 127.0.0.1:1883 is taken by the listener tcp://127.0.0.1:1883; \
         change one port",
    ),
    (
        "admin = \"127.0.0.1:99\"\n[[listeners]]\naddress = \"tcp://0.0.0.0:99\"",
        "hawker.toml:2: listeners: 127.0.0.1:99 is taken by the listener tcp://0.0.0.0:99; change \
         one port",
    ),
    (
        "[log]\nlevel = \"info,hawker=loud\"",
        "hawker.toml:2: log.level: found \"info,hawker=loud\", expected a level (off, error, \
         warn, info, debug, trace), or levels by module such as \
         \"info,hawker::runtime=debug\"; mend \"hawker=loud\"",
    ),
    (
        "listeners = []",
        "hawker.toml:1: listeners: found an array, expected one [[listeners]] table or more",
    ),
    (
        "listeners = [\"tcp://[::]:1\"]",
        "hawker.toml:1: listeners[0]: found \"tcp://[::]:1\", expected a table; write \
         [[listeners]] with address = \"tcp://[::]:1\"",
    ),
    (
        "\n[[listeners]]\nname = \"a\"",
        "hawker.toml:2: listeners[0].address: missing; add it: address = \"tcp://HOST:PORT\"",
    ),
    (
        "[[listeners]]\nadress = \"tcp://[::]:1\"",
        "hawker.toml:2: listeners[0].adress: unknown key; did you mean listeners[0].address?",
    ),
    (
        "[[listeners]]\naddress = \"localhost:1883\"",
        "hawker.toml:2: listeners[0].address: found \"localhost:1883\", expected \
         \"tcp://HOST:PORT\"; begin it with tcp://, tls://, ws://, wss://, mux:// or unix:",
    ),
    (
        "[[listeners]]\naddress = \"tcp://::1:1883\"",
        "hawker.toml:2: listeners[0].address: found \"tcp://::1:1883\", expected \
         \"tcp://HOST:PORT\"; an IPv6 address stands in brackets, such as [::1]",
    ),
    (
        "[[listeners]]\nname = \"WAN\"\naddress = \"tcp://a:1\"\n[[listeners]]\naddress = \
         \"tcp://b:1\"\n[[auth.rules]]\nlisteners = [\"wan\", \"WAN\", \"tcp://b:1\"]",
        "hawker.toml:7: auth.rules[0].listeners[0]: no listener is called \"wan\"; there are \
         \"WAN\", \"tcp://b:1\"",
    ),
    (
        "[[listeners]]\nname = \"a\"\naddress = \"tcp://a:1\"\n[[listeners]]\nname = \
         \"a\"\naddress = \"tcp://a:1\"",
        "hawker.toml:5: listeners[1].name: \"a\" is the name of the listener at \
         hawker.toml:1\nhawker.toml:6: listeners[1].address: tcp://a:1 is the address of the \
         listener at hawker.toml:1",
    ),
    (
        "[[listeners]]\naddress = \"tls://a:1\"\n[[listeners]]\naddress = \"tcp://a:2\"\npath = \
         \"/mqtt\"\norigins = [\"https://a\"]\n[tls]\ncertificate = \"c\"\nkey = \"k\"",
        "hawker.toml:5: listeners[1].path: it is about WebSocket, which a listener with tcp:// does \
         not speak; remove it, or listen with ws://, wss:// or mux://\nhawker.toml:6: \
         listeners[1].origins: it is about WebSocket, which a listener with tcp:// does not speak; \
         remove it, or listen with ws://, wss:// or mux://",
    ),
    (
        "[[auth.rules]]\n[[auth.rules]]\npublish = [\n  \"a\",\n  \"a/#/b\",\n  \"a/%i\"]\n\
         networks = [\"10.0.0.0/33\"]\nusers = [7]\ngroups = []",
        "hawker.toml:5: auth.rules[1].publish[1]: found \"a/#/b\", expected a topic filter, in \
         which %u, %c and %{cert.cn} alone stand for something\nhawker.toml:6: \
         auth.rules[1].publish[2]: found \"a/%i\", expected a topic filter, in which %u, %c and \
         %{cert.cn} alone stand for something\nhawker.toml:7: auth.rules[1].networks[0]: found \
         \"10.0.0.0/33\", expected a network such as \"10.0.0.0/8\"\nhawker.toml:8: \
         auth.rules[1].users[0]: found 7, expected a user name\nhawker.toml:9: \
         auth.rules[1].groups: empty; give the name of a group, or remove the key if it is about all",
    ),
    (
        "admin_hosts = [\"a\", \"b:1\"]\n[auth.groups]\nstaff = [\"ann\", 7]\ncrew = \"ann\"",
        "hawker.toml:1: admin_hosts[1]: found \"b:1\", expected the name of a host such as \
         \"broker.example.org\", without a port\nhawker.toml:3: auth.groups.staff[1]: found 7, \
         expected a user name\nhawker.toml:4: auth.groups.crew: found \"ann\", expected a list of \
         user names",
    ),
    (
        "cpus = [0, -1]\n[[listeners]]\naddress = \"tcp://a:1\"\nproxy_from = [\"x\"]\n\
         protocol_versions = [\"5\"]",
        "hawker.toml:1: cpus[1]: found -1, expected a CPU number up to 8191\nhawker.toml:4: \
         listeners[0].proxy_from[0]: found \"x\", expected a network such as \
         \"10.0.0.0/8\"\nhawker.toml:5: listeners[0].protocol_versions[0]: found \"5\", expected \
         \"3.1\", \"3.1.1\" or \"5.0\"",
    ),
    (
        "[[listeners]]\naddress = \"tcp://[::]:1\"\nprotocol_versions = []",
        "hawker.toml:3: listeners[0].protocol_versions: found an array, expected one or more of \
         [\"3.1\", \"3.1.1\", \"5.0\"]",
    ),
    (
        "[[listeners]]\naddress = \"tcp://[::]:1\"\nbind_interface = \"eth0/1\"",
        "hawker.toml:3: listeners[0].bind_interface: found \"eth0/1\", expected the name of a \
         network interface, of 1 to 15 bytes",
    ),
    (
        "[[listeners]]\naddress = \"unix:/run/s\"\nbind_interface = \"lo\"",
        "hawker.toml:3: listeners[0].bind_interface: a socket in the file system is of no network; \
         remove it",
    ),
    (
        "[mqtt]\npacket_bytes_max = 512",
        "hawker.toml:2: mqtt.packet_bytes_max: 512 bytes cannot hold the CONNECT of a client whose \
         id has mqtt.client_id_bytes_max = 1024 bytes; allow 1042 or lower that",
    ),
    (
        "[storage]\nsegment_bytes = 65_536\n[mqtt]\npacket_bytes_max = 70_000",
        "hawker.toml:4: mqtt.packet_bytes_max: packets of 70000 bytes are more than half of \
         storage.segment_bytes = 65536, so that the log could not keep their messages; allow 32768 \
         or raise that to 140000",
    ),
    (
        "[mqtt]\nresponse_topic_prefix = \"a/#\"",
        "hawker.toml:2: mqtt.response_topic_prefix: found \"a/#\", expected the beginning of a \
         topic name, of 1 to 1024 bytes without +, # and control characters",
    ),
    (
        "[auth.scram_users]\nalice = \"secret\"",
        "hawker.toml:2: auth.scram_users.alice: found no SCRAM verifier, expected \
         SCRAM-SHA-256$<iterations>:<salt>$<stored key>:<server key>; `hawker scram USER` prints \
         one",
    ),
    (
        "auth.scram_users = 1",
        "hawker.toml:1: auth.scram_users: found 1, expected a table of user = \"verifier\", which \
         `hawker scram USER` prints; write it into the configuration file",
    ),
    (
        "shards = 1\nshards = 2",
        "hawker.toml:2: not TOML: shards is there already, further up: write it once, with all \
         that belongs to it",
    ),
    (
        "[tls]\n[log]\n[tls]",
        "hawker.toml:3: not TOML: tls is there already, further up: write it once, with all that \
         belongs to it",
    ),
    ("shards 4", "hawker.toml:1: not TOML: key with no value, expected `=`"),
    ("data_dir = \"x", "hawker.toml:1: not TOML: invalid basic string, expected `\"`"),
];

#[test]
fn a_wrong_file_is_refused_with_line_key_value_and_remedy() {
    for (text, expected) in REFUSED {
        assert_eq!(errors(file(text)), *expected, "of the file:\n{text}\n");
    }
}

#[test]
fn all_that_is_wrong_is_said_at_once_in_the_order_of_the_file() {
    let text = "shards = 0\ndata_dir 4\n[mqtt]\nqueue_qos0 = 1\nfoo = 2\n[log]\nformat = \"xml\"";
    let lines: Vec<String> = errors(file(text)).lines().map(|line| line[..14].to_owned()).collect();
    let expected =
        ["hawker.toml:1:", "hawker.toml:2:", "hawker.toml:4:", "hawker.toml:5:", "hawker.toml:7:"];
    assert_eq!(lines, expected);
}

#[test]
fn no_file_can_cause_a_panic() {
    let text = "shards = 2\n[[listeners]]\naddress = \"tcp://[::1]:1\"\n[mqtt]\nqueue_qos0 = true\n\
                [auth.scram_users]\n'a b' = \"x\"";
    for end in 0..text.len() {
        let _ = file(&text[..end]);
        let mut torn = text.as_bytes().to_vec();
        torn[end] = b"\xff\0[]\"={}\n"[end % 9];
        Draft::default().take_file("x".as_ref(), &torn);
    }
    for deep in ["[", "{a=", "a.", "[[a.", "\"\"\"", "'"] {
        let _ = file(&format!("cpus = {}", deep.repeat(10_000)));
        let _ = file(&deep.repeat(10_000));
    }
}

#[test]
fn a_file_that_is_not_utf8_is_refused_at_its_line() {
    let mut draft = Draft::default();
    draft.take_file("hawker.toml".as_ref(), b"shards = 1\n# \xff");
    assert_eq!(errors(draft.finish()), "hawker.toml:2: not TOML: a byte that is not UTF-8");
}

#[test]
fn an_empty_file_is_the_default() {
    assert_eq!(file("").expect("taken"), Config::default());
}

#[test]
fn every_table_can_be_written() {
    let config = file(
        "shards = 4\ncpus = '0-2,5'\ndata_dir = '/var/lib/hawker'\ndurability = 'os'\nadmin = 'off'\n\
         [[listeners]]\nname = 'lan'\naddress = 'tcp://0.0.0.0:1883'\n\
         [[listeners]]\naddress = 'tcp://[::]:0'\noptional = true\nbind_interface = 'eth1'\n\
         anonymous_allowed = false\nprotocol_versions = ['5.0']\n\
         [log]\nlevel = 'warn'\nformat = 'json'\n\
         [mqtt]\nshare_strategy = 'sticky'\nqueue_bytes_max = 0x1000\nanonymous_allowed = true\n\
         [auth.scram_users]\n\
         alice = 'SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU='",
    )
    .unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(config.shards, Some(4));
    assert_eq!(config.cpus, Some(vec![0, 1, 2, 5]));
    assert_eq!(config.data_dir, PathBuf::from("/var/lib/hawker"));
    assert_eq!(config.durability, Durability::Os);
    assert_eq!(config.admin, None);
    assert_eq!(config.log, LogConfig { level: "warn".into(), format: LogFormat::Json });
    assert_eq!(config.mqtt.share_strategy, ShareStrategy::Sticky);
    assert_eq!(config.mqtt.queue_bytes_max, 4096);
    assert_eq!(config.mqtt.anonymous_allowed, Some(true));
    let [lan, any] = &config.listeners[..] else { panic!("{:?}", config.listeners) };
    assert_eq!((lan.name.as_str(), lan.address.port, lan.terms.optional), ("lan", 1883, false));
    assert_eq!(
        (any.name.as_str(), any.address.host.as_str(), any.terms.optional),
        ("tcp://[::]:0", "::", true)
    );
    assert_eq!(any.terms.bind_interface.as_deref(), Some("eth1"));
    assert_eq!((lan.terms.anonymous_allowed, any.terms.anonymous_allowed), (None, Some(false)));
    assert_eq!(any.terms.protocol_versions, [crate::proto::Version::V5]);
    assert_eq!(config.auth.scram_users["alice"].iterations, 4096);
}

#[test]
fn flags_overrule_the_environment_which_overrules_the_file() {
    let path = std::env::temp_dir().join(format!("hawker-precedence-{}", std::process::id()));
    let text = "shards = 1\n[log]\nlevel = 'warn'\nformat = 'json'\n[mqtt]\nreceive_maximum = 7\n\
                [[listeners]]\naddress = 'tcp://[::1]:7'";
    std::fs::write(&path, text).expect("the temporary folder is writable");
    let variables = [
        ("HAWKER_SHARDS", "2"),
        ("HAWKER_LOG", "error"),
        ("HAWKER_MQTT__RECEIVE_MAXIMUM", "8"),
        ("HAWKER_LISTEN", "tcp://a:1, tcp://b:2"),
    ];
    let source = environment(&variables).file(&path).flag("--shards", "shards", vec!["3".into()]);
    let config = source.load().unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(config.shards, Some(3), "flag");
    assert_eq!(config.log.level, "error", "environment");
    assert_eq!(config.mqtt.receive_maximum, 8, "environment");
    assert_eq!(config.log.format, LogFormat::Json, "file");
    assert_eq!(config.mqtt.inflight_messages_max, 8192, "default");
    let addresses: Vec<_> = config.listeners.iter().map(|one| one.address.to_string()).collect();
    assert_eq!(addresses, ["tcp://a:1", "tcp://b:2"], "the environment replaces the file's");

    std::fs::write(&path, "shards = 'x'").expect("the temporary folder is writable");
    assert!(source.load().is_err(), "the file is read again, and overruling excuses nothing");
    std::fs::remove_file(&path).expect("it was just written");
    let gone = errors(source.load());
    assert_eq!(
        gone,
        format!("{}: cannot be read: No such file or directory (os error 2)", path.display())
    );
}

#[test]
fn an_error_names_the_variable_or_the_flag() {
    let source = environment(&[
        ("HAWKER_SHARDS", "many"),
        ("HAWKER_SHARD", "2"),
        ("HAWKER_MQTT__RECIEVE_MAXIMUM", "2"),
        ("HAWKER_ZZZ__YYYYYYYYYYYYYYY", "2"),
    ])
    .flag("--admin", "admin", vec!["nowhere".into()])
    .flag("--listen", "listeners", vec!["tcp://x".into(), "tcp://x:70000".into()]);
    assert_eq!(
        errors(source.load()),
        "HAWKER_MQTT__RECIEVE_MAXIMUM: unknown key; did you mean HAWKER_MQTT__RECEIVE_MAXIMUM?\n\
         HAWKER_SHARD: unknown key; did you mean HAWKER_SHARDS?\n\
         HAWKER_SHARDS: shards: found \"many\", expected a whole number from 1 to 64\n\
         HAWKER_ZZZ__YYYYYYYYYYYYYYY: unknown key; remove it, or find its name in docs/config.md\n\
         --admin: admin: found \"nowhere\", expected \"ADDRESS:PORT\" or \"off\"; an address and a \
         port, such as 127.0.0.1:18083 or [::1]:18083\n\
         --listen: listeners: found \"tcp://x\", expected \"tcp://HOST:PORT\"; the port is a \
         number from 0 to 65535\n\
         --listen: listeners: found \"tcp://x:70000\", expected \"tcp://HOST:PORT\"; the port is \
         a number from 0 to 65535"
    );
}

#[test]
fn variables_of_others_are_left_in_peace() {
    let source = environment(&[
        ("HAWKER_SERVICE_HOST", "10.0.0.1"),
        ("HAWKER_PORT", "tcp://10.0.0.1:1883"),
        ("HAWKER_PORT_1883_TCP_ADDR", "10.0.0.1"),
        ("HAWKER_MQTT_SERVICE_PORT_MQTT", "1883"),
        ("HAWKER_BIN", "/usr/bin/hawker"),
        ("HAWKER_CONFIG", "elsewhere"),
        ("HAWKER_SHARDS", ""),
        ("PATH", "/bin"),
    ]);
    assert_eq!(source.load().expect("taken"), Config::default());
}

#[test]
fn listeners_on_port_0_have_names_of_their_own() {
    let addresses = vec!["tcp://127.0.0.1:0".to_owned(); 3];
    let config = Source::new().flag("--listen", "listeners", addresses).load().expect("taken");
    let names: Vec<_> = config.listeners.iter().map(|listener| listener.name.as_str()).collect();
    assert_eq!(names, ["tcp://127.0.0.1:0", "tcp://127.0.0.1:0#2", "tcp://127.0.0.1:0#3"]);
}

#[test]
fn an_address_is_written_as_it_is_read() {
    for text in ["tcp://0.0.0.0:1883", "tcp://[::]:0", "tcp://[fe80::1]:1", "tcp://my-host.lan:9"] {
        assert_eq!(
            text.parse::<ListenAddress>().map(|address| address.to_string()),
            Ok(text.into())
        );
    }
    for text in ["tcp://:1", "tcp://[1.2.3.4]:1", "tcp://a b:1", "tcp://[::1:1", "tcp://a:+1"] {
        assert!(text.parse::<ListenAddress>().is_err(), "{text}");
    }
}

#[test]
fn packets_are_as_large_as_the_log_can_keep_where_nobody_says_how_large() {
    let packet_bytes_max = |text| file(text).expect("taken").mqtt.packet_bytes_max;
    assert_eq!(packet_bytes_max("[storage]\nsegment_bytes = 65_536"), 32 << 10);
    assert_eq!(packet_bytes_max("[storage]\nsegment_bytes = 1_073_741_824"), 16 << 20);
    let without_log = "durability = \"memory\"\n[storage]\nsegment_bytes = 65_536";
    assert_eq!(packet_bytes_max(without_log), 16 << 20);
}

#[test]
fn a_verifier_is_written_as_it_is_read_and_keeps_its_keys_to_itself() {
    let text = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==\
                $WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";
    let verifier: ScramVerifier = text.parse().expect("a verifier");
    assert_eq!(verifier.to_string(), text);
    assert_eq!(format!("{verifier:?}"), "ScramVerifier { iterations: 4096, .. }");
    let refused = |from: &str, to: &str| text.replace(from, to).parse::<ScramVerifier>().err();
    assert_eq!(refused("4096", "4095"), Some(ScramVerifierError::Iterations));
    assert_eq!(refused("W22ZaJ0SNY7soEsUEjb6gQ==", "AAAA"), Some(ScramVerifierError::Salt));
    assert_eq!(refused("WG5d8o", "!"), Some(ScramVerifierError::Key));
    assert_eq!(refused("SHA-256", "SHA-1"), Some(ScramVerifierError::Shape));
}
