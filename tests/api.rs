//! The admin API against the real binary: every route, who may, pages, streams.

#[path = "api/backups.rs"]
mod backups;
#[path = "api/presence.rs"]
mod presence;
mod support;
#[path = "api/traces.rs"]
mod traces;

#[path = "api/document.rs"]
mod document;

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::{Broker, Setup};

const PATIENCE: Duration = Duration::from_secs(60);

/// A token and its SHA-256.
const TOKEN: &str = "correct horse battery staple";
const TOKEN_HASH: &str = "c4bbcb1fbec99d65bf59d85c8cb62ee2db963f0fe106f483d9afa73bd4e39a8a";

/// What came back.
#[derive(Debug)]
struct Answer {
    status: u16,
    body: Value,
}

impl Answer {
    fn code(&self) -> &str {
        self.body["error"]["code"].as_str().unwrap_or_default()
    }
}

/// One request with headers of its own, on a connection of its own.
fn request(broker: &Broker, verb: &str, path: &str, headers: &[&str], body: &str) -> Answer {
    let mut stream = open(broker);
    let host = format!("Host: {}", broker.admin().expect("it says so"));
    let has_host = headers.iter().any(|line| line.to_ascii_lowercase().starts_with("host:"));
    let mut head = format!("{verb} /api/v1{path} HTTP/1.1\r\nConnection: close\r\n");
    for line in headers.iter().copied().chain((!has_host).then_some(&*host)) {
        head += &format!("{line}\r\n");
    }
    head += &format!("Content-Length: {}\r\n\r\n{body}", body.len());
    stream.write_all(head.as_bytes()).expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers and closes");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    let body = serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {answer}"));
    Answer { status: status.expect("a status"), body }
}

fn open(broker: &Broker) -> TcpStream {
    let stream = TcpStream::connect(broker.admin().expect("it says so")).expect("it accepts");
    stream.set_read_timeout(Some(PATIENCE)).expect("a fresh socket takes options");
    stream
}

fn get(broker: &Broker, path: &str) -> Value {
    let answer = request(broker, "GET", path, &[], "");
    assert_eq!(answer.status, 200, "{path}: {}", answer.body);
    answer.body
}

fn post(broker: &Broker, path: &str, body: &Value) -> Answer {
    request(broker, "POST", path, &["Content-Type: application/json"], &body.to_string())
}

fn delete(broker: &Broker, path: &str) -> Answer {
    request(broker, "DELETE", path, &["X-Hawker: 1"], "")
}

/// A client of 5.0 without a library, so that thousands cost little.
struct Client {
    stream: TcpStream,
}

impl Client {
    /// Connects with a session that outlives the connection if `expiry_s` says so.
    fn connect(address: SocketAddr, client_id: &str, expiry_s: u32) -> Client {
        let (client, body) = Client::ask(address, client_id, expiry_s);
        assert_eq!(body[1], 0, "{client_id}: {body:?}");
        client
    }

    /// Why a client is not let in, if it is not.
    fn refused(address: SocketAddr, client_id: &str) -> Option<u8> {
        let (_, body) = Client::ask(address, client_id, 0);
        Some(body[1]).filter(|reason| *reason != 0)
    }

    /// A client and what its CONNACK said.
    fn ask(address: SocketAddr, client_id: &str, expiry_s: u32) -> (Client, Vec<u8>) {
        let mut stream = TcpStream::connect(address).expect("the broker accepts");
        stream.set_read_timeout(Some(PATIENCE)).expect("a fresh socket takes options");
        let mut rest = b"\x00\x04MQTT\x05\x00\x00\x3c\x05\x11".to_vec();
        rest.extend(expiry_s.to_be_bytes());
        rest.extend(text(client_id));
        stream.write_all(&packet(0x10, &rest)).expect("it reads");
        let mut client = Client { stream };
        let (kind, body) = client.read();
        assert_eq!(kind, 0x20, "{client_id}: {body:?}");
        (client, body)
    }

    fn subscribe(&mut self, filter: &str, qos: u8) {
        let mut rest = vec![0, 1, 0];
        rest.extend(text(filter));
        rest.push(qos);
        self.stream.write_all(&packet(0x82, &rest)).expect("it reads");
        let (kind, body) = self.read();
        assert_eq!((kind, body.last()), (0x90, Some(&qos)), "{filter}: {body:?}");
    }

    /// Publishes at QoS 1; the reason code that comes back.
    fn publish(&mut self, topic: &str, payload: &str, retain: bool) -> u8 {
        let mut rest = text(topic);
        rest.extend([0, 2, 0]);
        rest.extend(payload.as_bytes());
        self.stream.write_all(&packet(0x32 | u8::from(retain), &rest)).expect("it reads");
        let (kind, body) = self.read();
        assert_eq!(kind, 0x40, "{body:?}");
        body.get(2).copied().unwrap_or(0)
    }

    /// The next packet: its first byte and what follows the length.
    fn read(&mut self) -> (u8, Vec<u8>) {
        let mut byte = [0];
        self.stream.read_exact(&mut byte).expect("a packet");
        let (kind, mut length, mut shift) = (byte[0], 0_usize, 0);
        loop {
            self.stream.read_exact(&mut byte).expect("a length");
            length |= usize::from(byte[0] & 0x7f) << shift;
            shift += 7;
            if byte[0] & 0x80 == 0 {
                break;
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).expect("a body");
        (kind, body)
    }

    fn leave(mut self) {
        self.stream.write_all(&[0xe0, 0]).expect("it reads");
        let _ = self.stream.read_to_end(&mut Vec::new());
    }
}

fn packet(kind: u8, rest: &[u8]) -> Vec<u8> {
    let mut packet = vec![kind];
    let mut length = rest.len();
    loop {
        let more = if length > 0x7f { 0x80 } else { 0 };
        packet.push((length & 0x7f) as u8 | more);
        length >>= 7;
        if length == 0 {
            break;
        }
    }
    packet.extend(rest);
    packet
}

fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u16).to_be_bytes()[..], text.as_bytes()].concat()
}

/// Every row of a list, page by page.
fn all(broker: &Broker, path: &str, rows: &str) -> Vec<Value> {
    let mut found = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = get(broker, &format!("{path}{cursor}"));
        found.extend(page[rows].as_array().expect("rows").iter().cloned());
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return found,
        }
    }
}

fn names(rows: &[Value], name: &str) -> Vec<String> {
    rows.iter().map(|row| row[name].as_str().expect("a name").to_owned()).collect()
}

fn until(mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "it never came true");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn in_memory(shards: usize) -> Setup {
    Setup::shards(shards).argument("--durability").argument("memory")
}

#[test]
fn the_broker_is_seen_as_a_whole_and_in_parts() {
    let broker = Setup::shards(2).start();
    let mut client = Client::connect(broker.address(), "watcher", 60);
    client.subscribe("a/+", 1);
    Client::connect(broker.address(), "sleeper", 60).leave();
    client.publish("r/1", "kept", true);
    let overview = get(&broker, "/overview");
    assert_eq!(overview["shards"], 2);
    assert_eq!(overview["connections"], 1);
    assert_eq!(overview["sessions"], 2);
    assert_eq!(overview["subscriptions"], 1);
    assert_eq!(overview["messages_received_total"], 1);
    assert_eq!(overview["durability"], "fsync");
    assert_eq!(overview["role"], "single");
    assert_eq!(overview["admin"]["role"], "admin");
    for key in ["version", "node", "uptime_s", "queued", "retained", "bytes_received_total"] {
        assert!(!overview[key].is_null(), "{key}");
    }
    let listeners = get(&broker, "/listeners");
    let address = format!("tcp://{}", broker.address());
    assert_eq!(listeners[0]["address"], address);
    assert_eq!(listeners[0]["connections"], 1);
    assert_eq!(overview["listeners"], listeners);
    let shards = get(&broker, "/shards");
    let connections = |shard: &Value| shard["connections"].as_u64().expect("a number");
    assert_eq!(shards.as_array().expect("a list").iter().map(connections).sum::<u64>(), 1);
    assert!(shards[0]["counters"]["packets_received_total"].is_u64());
    assert!(shards[0]["log"]["segments"].is_u64());
    let log = get(&broker, "/log");
    assert_eq!(log["shards"].as_array().map(Vec::len), Some(2));
    assert!(overview["queue_memory_bytes"].is_u64() && overview["queued_bytes"].is_null());
}

#[test]
fn what_a_query_cannot_say_is_named() {
    let broker = in_memory(1).start();
    for (verb, path, said) in [
        (
            "GET",
            "/clients?limt=3&state=away&x",
            "limt, x: unknown in this query, which takes state, search, limit, cursor",
        ),
        ("GET", "/overview?limit=3", "limit: unknown in this query, which takes nothing"),
        ("DELETE", "/clients/a?forget=true", "forget: unknown in this query, which takes session"),
    ] {
        let answer = request(&broker, verb, path, &["X-Hawker: 1"], "");
        assert_eq!((answer.status, answer.code()), (422, "unprocessable"), "{path}");
        assert_eq!(answer.body["error"]["message"], said);
    }
}

#[test]
fn thousands_of_clients_come_in_pages_and_each_once() {
    let broker = in_memory(3).start();
    let count = 2500;
    let mut here = Vec::new();
    for index in 0..count {
        let client = Client::connect(broker.address(), &format!("c{index:05}"), 600);
        if index % 5 == 0 { here.push(client) } else { client.leave() }
    }
    until(|| get(&broker, "/clients?state=connected&limit=1")["total"] == json!(count / 5));
    let begun = Instant::now();
    let clients = all(&broker, "/clients?limit=400", "clients");
    println!("{count} clients in {} ms", begun.elapsed().as_millis());
    let expected: Vec<String> = (0..count).map(|index| format!("c{index:05}")).collect();
    assert_eq!(names(&clients, "client_id"), expected);
    let away = all(&broker, "/clients?state=away&limit=1000", "clients");
    assert_eq!(away.len(), count - count / 5);
    assert!(away.iter().all(|row| row["connected"] == false && row["disconnected_at_ms"].is_u64()));
    let found = get(&broker, "/clients?search=C0012&limit=3");
    assert_eq!(found["total"], 10);
    let found = found["clients"].as_array().expect("rows").clone();
    assert_eq!(names(&found, "client_id"), ["c00120", "c00121", "c00122"]);
    assert_eq!(found[0]["connected"], true);
    assert_eq!(found[0]["protocol"], "5.0");
    // By address, which only who is connected has.
    assert_eq!(get(&broker, "/clients?search=127.0.0.1:&limit=1")["total"], json!(count / 5));
    for wrong in ["?state=gone", "?limit=many", "?cursor=*"] {
        let answer = request(&broker, "GET", &format!("/clients{wrong}"), &[], "");
        assert_eq!((answer.status, answer.code()), (422, "unprocessable"), "{wrong}");
    }
}

#[test]
fn a_client_is_seen_and_kicked() {
    let broker = in_memory(2).start();
    let mut client = Client::connect(broker.address(), "a/b c", 600);
    client.subscribe("x/#", 1);
    client.subscribe("$share/g/y", 2);
    let seen = get(&broker, "/clients/a%2Fb%20c");
    assert_eq!(seen["client_id"], "a/b c");
    assert_eq!(seen["connected"], true);
    assert_eq!(seen["session_expiry_s"], 600);
    assert_eq!(seen["keep_alive_s"], 60);
    assert_eq!(seen["will"], false);
    assert_eq!(seen["subscriptions"], 2);
    assert_eq!(seen["subscriptions_list"][0]["group"], "g");
    assert_eq!(seen["subscriptions_list"][1]["filter"], "x/#");
    assert_eq!(seen["subscriptions_list"][1]["qos"], 1);
    assert_eq!(request(&broker, "GET", "/clients/nobody", &[], "").status, 404);

    let kicked = delete(&broker, "/clients/a%2Fb%20c");
    assert_eq!((kicked.status, &kicked.body["was_connected"]), (200, &json!(true)));
    assert_eq!(kicked.body["session"], "kept");
    // [MQTT-3.14.2-1]: Administrative action.
    let (kind, body) = client.read();
    assert_eq!((kind, body.first()), (0xe0, Some(&0x98)));
    let seen = get(&broker, "/clients/a%2Fb%20c");
    assert_eq!((&seen["connected"], &seen["subscriptions"]), (&json!(false), &json!(2)));
    broker.await_log("hawker::audit");

    assert_eq!(delete(&broker, "/clients/a%2Fb%20c?session=lose").status, 422);
    assert_eq!(delete(&broker, "/clients/a%2Fb%20c?session=forget").status, 200);
    assert_eq!(request(&broker, "GET", "/clients/a%2Fb%20c", &[], "").status, 404);
    assert_eq!(delete(&broker, "/clients/a%2Fb%20c").status, 404);
    assert!(all(&broker, "/subscriptions?limit=10", "subscriptions").is_empty());
}

#[test]
fn subscriptions_are_listed_and_found_by_topic() {
    let broker = in_memory(3).start();
    let mut clients = Vec::new();
    for index in 0..6 {
        let mut client = Client::connect(broker.address(), &format!("s{index}"), 600);
        client.subscribe(&format!("own/{index}"), 0);
        client.subscribe("news/#", (index % 3) as u8);
        client.subscribe("$share/workers/jobs/+", 1);
        clients.push(client);
    }
    let listed = all(&broker, "/subscriptions?limit=4", "subscriptions");
    let key = |row: &Value| (row["client_id"].to_string(), row["filter"].to_string());
    let keys: Vec<_> = listed.iter().map(key).collect();
    assert_eq!(keys.len(), 18);
    assert!(keys.is_sorted());
    assert_eq!(keys.iter().collect::<BTreeSet<_>>().len(), 18, "each once");
    assert_eq!(get(&broker, "/subscriptions?search=OWN/3")["total"], 1);
    let found = get(&broker, "/subscriptions?topic=news%2Ftoday");
    let found = found["subscriptions"].as_array().expect("rows");
    assert_eq!(names(found, "client_id"), ["s0", "s1", "s2", "s3", "s4", "s5"]);
    assert!(found.iter().all(|row| row["filter"] == "news/#" && row["group"].is_null()));
    let found = get(&broker, "/subscriptions?topic=jobs/7");
    let found = found["subscriptions"].as_array().expect("rows");
    assert_eq!(found.len(), 6);
    assert!(found.iter().all(|row| row["group"] == "workers" && row["filter"] == "jobs/+"));
    assert_eq!(request(&broker, "GET", "/subscriptions?topic=a/%23", &[], "").status, 422);
}

#[test]
fn messages_are_published_retained_and_deleted() {
    let broker = Setup::shards(2).start();
    let mut client = Client::connect(broker.address(), "reader", 0);
    client.subscribe("p/#", 0);
    let one = post(&broker, "/publish", &json!({ "topic": "p/a", "payload": "hi", "qos": 1 }));
    assert_eq!((one.status, &one.body["reason_code"]), (200, &json!(0)), "{}", one.body);
    assert_eq!(client.read().1, [&text("p/a")[..], b"\0hi"].concat());
    let nobody = post(&broker, "/publish", &json!({ "topic": "q", "qos": 1 }));
    assert_eq!(nobody.body["reason"], "no matching subscribers");
    for wrong in [
        json!({ "topic": "a/#" }),
        json!({ "topic": "a", "qos": 3 }),
        json!({ "topic": "a", "payload": "x", "payload_base64": "eA==" }),
        json!({ "topic": "a", "payload_base64": "?" }),
        json!({ "topic": "a", "colour": "red" }),
        json!({ "topic": "$SYS/broker/version" }),
        json!({ "payload": "x" }),
    ] {
        let answer = post(&broker, "/publish", &wrong);
        assert_eq!((answer.status, answer.code()), (422, "unprocessable"), "{wrong}");
    }
    let batch: Vec<Value> = (0..700)
        .map(|index| json!({ "topic": format!("p/{index:03}"), "payload": "x", "qos": 1, "retain": true }))
        .collect();
    let answer = post(&broker, "/publish/batch", &json!(batch));
    let answers = answer.body.as_array().expect("a list");
    assert!(answers.len() == 700 && answers.iter().all(|one| one["reason_code"] == 0));
    for index in 0..700 {
        let (_, body) = client.read();
        assert_eq!(body[2..7], *format!("p/{index:03}").as_bytes(), "in their order");
    }
    assert_eq!(post(&broker, "/publish/batch", &json!(vec![&batch[0]; 1001])).status, 422);

    let retained = all(&broker, "/retained?filter=p/%2B&limit=300", "retained");
    let topics: Vec<String> = (0..700).map(|index| format!("p/{index:03}")).collect();
    assert_eq!(names(&retained, "topic"), topics);
    assert_eq!(retained[0]["payload_preview"], "x");
    assert_eq!(get(&broker, "/retained?filter=other/%23")["total"], 0);
    assert_eq!(request(&broker, "GET", "/retained?filter=a%23", &[], "").status, 422);
    let kept = get(&broker, "/retained/p/007");
    assert_eq!((&kept["payload"], &kept["payload_base64"]), (&json!("x"), &json!("eA==")));
    assert_eq!(delete(&broker, "/retained/p/007").status, 200);
    assert_eq!(request(&broker, "GET", "/retained/p/007", &[], "").status, 404);
    assert_eq!(delete(&broker, "/retained/p/007").status, 404);
    assert_eq!(get(&broker, "/retained?filter=p/%23")["total"], 699);
}

#[test]
fn a_topic_of_slashes_is_a_topic() {
    let broker = in_memory(2).start();
    for topic in ["/", "//", "/a", "a/", "a//b", "\u{e4} b/%"] {
        let put = json!({ "topic": topic, "payload": "x", "qos": 1, "retain": true });
        assert_eq!(post(&broker, "/publish", &put).status, 200);
        let escaped: String = topic.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let path = format!("/retained/{escaped}");
        assert_eq!(get(&broker, &path)["topic"], topic);
        assert_eq!(delete(&broker, &path).status, 200, "{topic}");
    }
}

#[test]
fn messages_are_streamed_as_they_come() {
    let broker = in_memory(2).start();
    post(
        &broker,
        "/publish",
        &json!({ "topic": "s/old", "payload": "kept", "qos": 1, "retain": true }),
    );
    let mut stream = open(&broker);
    let host = broker.admin().expect("it says so");
    let head = format!("GET /api/v1/subscribe?filter=s/%23&qos=1 HTTP/1.1\r\nHost: {host}\r\n\r\n");
    stream.write_all(head.as_bytes()).expect("it reads");
    let mut lines = BufReader::new(stream.try_clone().expect("a second handle")).lines();
    let mut event = || loop {
        let line = lines.next().expect("more").expect("text");
        if let Some(data) = line.strip_prefix("data: ") {
            return serde_json::from_str::<Value>(data).expect("JSON");
        }
    };
    let kept = event();
    assert_eq!((&kept["topic"], &kept["retain"]), (&json!("s/old"), &json!(true)));
    for index in 0..500 {
        let payload = format!("{index}");
        post(&broker, "/publish", &json!({ "topic": "s/new", "payload": payload, "qos": 1 }));
        let message = event();
        assert_eq!((&message["payload"], &message["qos"]), (&json!(payload), &json!(1)));
    }
    drop((lines, stream));
    // Its client goes with it; the one that publishes for the API stays.
    until(|| get(&broker, "/overview")["connections"] == 1);
    assert_eq!(request(&broker, "GET", "/subscribe", &[], "").status, 422);
    assert_eq!(request(&broker, "GET", "/subscribe?filter=a%23", &[], "").status, 422);
}

#[test]
fn a_viewer_takes_nothing_from_workers_and_leaves_streams_to_operators() {
    const OPERATORS: &str = "another horse";
    let operators_hash = "aee3127e464c9d5bd64365054604bdea04e9181aabf18f626ab3e534fbcc1bed";
    let text = format!(
        "admin_tokens = [\"eve:viewer:{TOKEN_HASH}\", \"otto:operator:{operators_hash}\"]\n"
    );
    let broker = in_memory(1).config(&text).start();
    let host = broker.admin().expect("it says so");
    let subscribe = |filter: &str, token: &str| {
        let mut stream = open(&broker);
        let head = format!(
            "GET /api/v1/subscribe?filter={filter} HTTP/1.1\r\nHost: {host}\r\n\
             Authorization: Bearer {token}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).expect("it reads");
        let mut status = String::new();
        let mut reader = BufReader::new(stream);
        reader.read_line(&mut status).expect("it answers");
        (status[9..12].to_owned(), reader)
    };
    assert_eq!(subscribe("$share/g/jobs", TOKEN).0, "403");
    assert_eq!(subscribe("$share/g/jobs", OPERATORS).0, "200");
    let mut streams = Vec::new();
    let refused = loop {
        let (status, stream) = subscribe("a", TOKEN);
        if status != "200" {
            break status;
        }
        streams.push(stream);
    };
    assert!(refused == "429" && (1..64).contains(&streams.len()), "{refused} {}", streams.len());
    assert_eq!(subscribe("a", OPERATORS).0, "200");
}

#[test]
fn what_would_become_of_a_message_is_explained() {
    let rules = "[[auth.rules]]\npublish = [\"open/#\"]\nqos_max = 1\nsubscribe = [\"#\"]\n\
                 [[auth.rules]]\ndeny_publish = [\"open/secret\"]\n";
    let broker = in_memory(2).config(rules).start();
    let _publisher = Client::connect(broker.address(), "pub", 0);
    let mut here = Client::connect(broker.address(), "here", 0);
    here.subscribe("open/+", 1);
    let mut away = Client::connect(broker.address(), "away", 600);
    away.subscribe("open/a", 1);
    away.leave();
    let mut member = Client::connect(broker.address(), "member", 0);
    member.subscribe("$share/g/open/#", 0);
    let ask = |client_id: &str, topic: &str, qos: u8| {
        let question = json!({ "client_id": client_id, "topic": topic, "qos": qos });
        let answer = post(&broker, "/explain", &question);
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.body
    };
    until(|| get(&broker, "/clients/away")["connected"] == false);
    let allowed = ask("pub", "open/a", 1);
    assert_eq!(allowed["publish"]["allowed"], true);
    assert_eq!(allowed["publish"]["by"], "auth.rules[0] allows \"open/#\"");
    assert_eq!(allowed["publish"]["judged"], "as it is connected");
    assert_eq!(allowed["outcome"], "delivered");
    let matches = allowed["matches"].as_array().expect("a list");
    assert_eq!(names(matches, "client_id"), ["away", "here", "member"]);
    assert_eq!(names(matches, "filter"), ["open/a", "open/+", "open/#"]);
    assert_eq!(matches[0]["what"], "waits behind 0 messages");
    assert_eq!((&matches[1]["what"], &matches[1]["qos"]), (&json!("sent at once"), &json!(1)));
    assert_eq!(matches[2]["group"], "g");
    let dropped = ask("pub", "open/a", 0);
    assert_eq!(dropped["matches"][0]["what"], "dropped: away, and QoS 0 does not wait");
    for (client_id, topic, qos, why) in [
        ("pub", "open/secret", 0, "auth.rules[1] denies"),
        ("pub", "open/a", 2, "up to QoS 1 alone"),
        ("nobody", "closed", 0, "none allows it"),
        ("pub", "$SYS/x", 0, "the broker's own"),
    ] {
        let refused = ask(client_id, topic, qos);
        assert_eq!(refused["outcome"], "refused", "{refused}");
        assert!(refused["publish"]["by"].as_str().expect("a text").contains(why), "{refused}");
    }
    assert_eq!(post(&broker, "/explain", &json!({ "client_id": "x" })).status, 422);
}

#[test]
fn addresses_are_banned_and_let_in_again() {
    let broker = in_memory(1).start();
    let order = json!({ "address": "192.0.2.7", "seconds": 60, "why": "noise" });
    let banned = post(&broker, "/bans", &order);
    assert_eq!((banned.status, &banned.body["by"]), (200, &json!("operator")));
    let bans = get(&broker, "/bans");
    assert_eq!((&bans[0]["address"], &bans[0]["why"]), (&json!("192.0.2.7"), &json!("noise")));
    assert_eq!(delete(&broker, "/bans/192.0.2.7").status, 200);
    assert_eq!(delete(&broker, "/bans/192.0.2.7").status, 404);
    assert_eq!(get(&broker, "/bans"), json!([]));
    for wrong in [
        json!({ "address": "192.0.2.7", "seconds": 0 }),
        json!({ "address": "host", "seconds": 1 }),
    ] {
        assert_eq!(post(&broker, "/bans", &wrong).status, 422, "{wrong}");
    }
    let own = post(&broker, "/bans", &json!({ "address": "127.0.0.1", "seconds": 60 }));
    assert_eq!((own.status, own.code()), (409, "own_machine"));
    assert_eq!(delete(&broker, "/bans/host").status, 404);
    assert_eq!(delete(&broker, "/bans/host?kind=machine").status, 422);
}

#[test]
fn networks_users_and_client_ids_are_banned_and_let_go() {
    let broker = in_memory(2).start();
    let mut pump = Client::connect(broker.address(), "pump", 60);
    let mut valve = Client::connect(broker.address(), "valve", 60);
    let ban = json!({ "client_id": "pump", "seconds": 60, "why": "floods" });
    let banned = post(&broker, "/bans", &ban);
    assert_eq!((banned.status, &banned.body["client_id"]), (200, &json!("pump")));
    assert_eq!(pump.read().0, 0xe0, "it is let go");
    assert_eq!(Client::refused(broker.address(), "pump"), Some(0x8a));
    let network = json!({ "address": "10.1.2.3/8", "seconds": 60 });
    assert_eq!(post(&broker, "/bans", &network).body["name"], "10.0.0.0/8");
    assert_eq!(post(&broker, "/bans", &json!({ "user": "ann", "seconds": 60 })).status, 200);
    let bans = get(&broker, "/bans");
    let kinds: Vec<&Value> = (0..3).map(|index| &bans[index]["kind"]).collect();
    assert_eq!(kinds, [&json!("address"), &json!("user"), &json!("client_id")]);
    for wrong in [
        json!({ "client_id": "", "seconds": 60 }),
        json!({ "user": "ann", "client_id": "pump", "seconds": 60 }),
        json!({ "seconds": 60 }),
    ] {
        assert_eq!(post(&broker, "/bans", &wrong).status, 422, "{wrong}");
    }
    assert_eq!(delete(&broker, "/bans/pump?kind=client_id").status, 200);
    assert_eq!(delete(&broker, "/bans/pump?kind=client_id").status, 404);
    assert_eq!(delete(&broker, "/bans/10.0.0.0%2F8").status, 200);
    assert_eq!(delete(&broker, "/bans/ann?kind=group").status, 422);
    assert_eq!(Client::refused(broker.address(), "pump"), None);
    valve.stream.write_all(&[0xc0, 0]).expect("it reads");
    assert_eq!(valve.read().0, 0xd0, "nobody meant it");
}

#[test]
fn the_configuration_is_seen_and_reloaded() {
    let broker = in_memory(1).config("[mqtt]\nreceive_maximum = 11\n").start();
    let setting = |key: &str| {
        let all = get(&broker, "/config");
        let all = all["settings"].as_array().expect("a list").clone();
        all.into_iter().find(|setting| setting["key"] == key).expect("a key")
    };
    let receive_maximum = setting("mqtt.receive_maximum");
    assert_eq!(receive_maximum["value"], 11);
    assert!(receive_maximum["origin"].as_str().expect("a text").ends_with("hawker.toml:2"));
    assert_eq!(setting("durability")["origin"], "--durability");
    assert_eq!(setting("tls.key")["origin"], "HAWKER_TLS__KEY");
    assert_eq!(setting("mqtt.topic_alias_maximum")["origin"], "default");

    let file = broker.directory().join("hawker.toml");
    let reload = |text: &str| {
        std::fs::write(&file, text).expect("the directory is writable");
        let answer = post(&broker, "/reload", &json!({}));
        assert_eq!(answer.status, 200);
        answer.body
    };
    let done = reload("[mqtt]\nreceive_maximum = 12\n");
    assert_eq!(done, json!({ "applied": true, "restart_needed": [] }));
    assert_eq!(setting("mqtt.receive_maximum")["value"], 12);
    let wrong = reload("[mqtt]\nreceive_maximum = 0\n");
    assert_eq!(wrong["applied"], false);
    assert!(wrong["error"].as_str().expect("a text").contains("mqtt.receive_maximum"));
    assert_eq!(setting("mqtt.receive_maximum")["value"], 12);
    let waiting = reload("[storage]\nlog_bytes_max = 1073741824\n");
    assert_eq!(waiting["restart_needed"], json!(["storage.log_bytes_max"]));
    let before = setting("storage.log_bytes_max");
    let still = reload("[storage]\nlog_bytes_max = 1073741824\n");
    assert_eq!(still["restart_needed"], json!(["storage.log_bytes_max"]));
    assert_ne!(setting("storage.log_bytes_max")["value"], 1_073_741_824, "it is not in force");
    assert_eq!(setting("storage.log_bytes_max"), before);
    assert_eq!(reload("")["restart_needed"], json!([]), "it is what runs");
    assert_eq!(setting("listeners[0].path")["value"], "/mqtt");
}

#[test]
fn roles_bound_what_tokens_are_good_for() {
    let token = |role: &str| format!("admin_tokens = [\"t:{role}:{TOKEN_HASH}\"]\n");
    let broker = in_memory(1).config(&token("viewer")).start();
    let bearer = format!("Authorization: Bearer {TOKEN}");
    let ask = |verb: &str, path: &str| {
        let answer = request(&broker, verb, path, &[&bearer], "{}");
        (answer.status, answer.code().to_owned())
    };
    let without = request(&broker, "GET", "/overview", &[], "");
    assert_eq!((without.status, without.code()), (401, "token_needed"));
    let wrong = request(&broker, "GET", "/overview", &["Authorization: Bearer x"], "");
    assert_eq!((wrong.status, wrong.code()), (401, "token_unknown"));
    let low = (403, "role_too_low".to_owned());
    assert_eq!(ask("GET", "/overview").0, 200);
    assert_eq!(ask("POST", "/explain").0, 422);
    assert_eq!(ask("DELETE", "/clients/x"), low);
    assert_eq!(ask("POST", "/publish"), low);
    assert_eq!(ask("POST", "/bans"), low);
    assert_eq!(ask("GET", "/config"), low);

    let file = broker.directory().join("hawker.toml");
    std::fs::write(&file, token("operator")).expect("the directory is writable");
    broker.signal("HUP");
    until(|| ask("DELETE", "/clients/x").0 == 404);
    assert_eq!(ask("POST", "/publish").0, 422);
    assert_eq!(ask("POST", "/reload"), low);
    std::fs::write(&file, token("admin")).expect("the directory is writable");
    broker.signal("HUP");
    until(|| ask("GET", "/config").0 == 200);
    assert!(!get_text(&broker, &bearer).contains(TOKEN_HASH), "hashes are left out");

    for _ in 0..9 {
        request(&broker, "GET", "/overview", &["Authorization: Bearer x"], "");
    }
    // The one before was forgotten with the right one; this is the tenth.
    request(&broker, "GET", "/overview", &["Authorization: Bearer x"], "");
    assert_eq!(ask("GET", "/overview"), (429, "too_many_failures".to_owned()));
}

fn get_text(broker: &Broker, bearer: &str) -> String {
    request(broker, "GET", "/config", &[bearer], "").body.to_string()
}

#[test]
fn pages_and_names_of_others_are_refused() {
    let broker = in_memory(1).start();
    let ask = |verb: &str, headers: &[&str]| {
        let answer = request(&broker, verb, "/clients/x", headers, "");
        (answer.status, answer.code().to_owned())
    };
    assert_eq!(ask("GET", &["Host: evil.example"]), (403, "host_unknown".to_owned()));
    assert_eq!(ask("GET", &["Origin: http://evil.example"]), (403, "cross_site".to_owned()));
    assert_eq!(ask("GET", &["Sec-Fetch-Site: cross-site"]), (403, "cross_site".to_owned()));
    assert_eq!(ask("GET", &["X-Forwarded-For: 192.0.2.1"]), (401, "token_needed".to_owned()));
    assert_eq!(ask("DELETE", &[]), (403, "guard_missing".to_owned()));
    assert_eq!(ask("DELETE", &["X-Hawker: 1"]).0, 404);
    assert_eq!(ask("PUT", &["X-Hawker: 1"]), (405, "method_not_allowed".to_owned()));
    assert_eq!(request(&broker, "GET", "/nothing", &[], "").status, 404);
    let name = format!("Host: localhost:{}", broker.admin().expect("it says so").port());
    assert_eq!(ask("GET", &[&name]).0, 404);
}

#[test]
fn every_route_of_the_document_is_there() {
    let broker = in_memory(1).start();
    let document = get(&broker, "/openapi.json");
    assert_eq!(document["openapi"], "3.1.0");
    let paths = document["paths"].as_object().expect("paths");
    assert!(paths.len() > 15);
    for (path, verbs) in paths {
        let path = path.strip_prefix("/api/v1").expect("it is below");
        let path = path.replace("{client_id}", "x").replace("{topic}", "x").replace("{id}", "x");
        let path = path.replace("{address}", "192.0.2.1");
        for verb in verbs.as_object().expect("verbs").keys() {
            let verb = verb.to_ascii_uppercase();
            let answer = request(&broker, &verb, &path, &["X-Hawker: 1"], "");
            // Of nothing that is kept there is no backup.
            let is_known = [200, 404, 409, 422].contains(&answer.status);
            assert!(is_known, "{verb} {path}: {answer:?}");
            let unknown = answer.body["error"]["message"].as_str().unwrap_or_default();
            assert!(!unknown.contains("no such route"), "{verb} {path}");
        }
    }
}

#[test]
fn the_broker_says_of_itself_what_mosquitto_would() {
    let broker = Setup::shards(2).variable("HAWKER_MQTT__SYS_INTERVAL_S", "1").start();
    let mut client = Client::connect(broker.address(), "watcher", 600);
    until(|| request(&broker, "GET", "/retained/$SYS/broker/uptime", &[], "").status == 200);
    client.subscribe("$SYS/#", 1);
    let mut seen = BTreeSet::new();
    let wanted = [
        "version",
        "uptime",
        "clients/connected",
        "clients/total",
        "clients/maximum",
        "messages/received",
        "publish/messages/dropped",
        "bytes/sent",
        "retained messages/count",
        "heap/current",
        "load/messages/received/15min",
    ];
    while !wanted.iter().all(|name| seen.contains(&format!("$SYS/broker/{name}"))) {
        let (kind, body) = client.read();
        assert_eq!(kind & 0xf6, 0x30, "at QoS 0, retained or live");
        let length = usize::from(u16::from_be_bytes([body[0], body[1]]));
        seen.insert(String::from_utf8(body[2..2 + length].to_vec()).expect("a topic"));
    }
    drop(client);
    let mut writer = Client::connect(broker.address(), "writer", 0);
    // Not authorized.
    assert_eq!(writer.publish("$SYS/broker/uptime", "x", true), 0x87);
    assert_eq!(writer.publish("$SYSTEM/x", "x", false), 0x10);
    let total = get(&broker, "/retained")["total"].as_u64();
    assert!(total > Some(40), "{total:?}");
    // Nothing of it is in the log.
    let (status, directory) = broker.terminate();
    assert!(status.success());
    let broker = Setup::shards(2).variable("HAWKER_MQTT__SYS_INTERVAL_S", "0").start_in(directory);
    assert_eq!(get(&broker, "/retained")["total"], 0);
}

#[test]
fn a_terminal_shows_and_changes_the_same() {
    let broker = in_memory(2).start();
    let mut client = Client::connect(broker.address(), "term/1", 600);
    client.subscribe("a/#", 1);
    let ctl = |arguments: &[&str]| {
        let admin = format!("http://{}", broker.admin().expect("it says so"));
        let mut command = Command::new(env!("CARGO_BIN_EXE_hawker"));
        let output = command.args(["ctl", "--admin", &admin]).args(arguments).output();
        let output = output.expect("it can be started");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let complained = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), said, complained)
    };
    let done = |arguments: &[&str], expected: &str| {
        let (code, said, complained) = ctl(arguments);
        assert_eq!(code, Some(0), "{arguments:?}: {said}{complained}");
        assert!(said.contains(expected), "{arguments:?}: {said}");
    };
    done(&["status"], "connections              1");
    done(&["status", "--json"], "\"sessions\": 1");
    done(&["clients", "--search", "TERM"], "term/1");
    done(&["clients"], "CLIENT ID  USER  CONNECTED  ADDRESS");
    done(&["client", "term/1"], "a/#");
    let (_, said, _) = ctl(&["client", "term/1"]);
    let since = said.lines().find(|line| line.starts_with("connected_at ")).expect("it is told");
    assert!(since.contains(" 20") && since.ends_with('Z'), "{since}");
    done(&["explain", "term/1", "a/b", "--qos", "1"], "everybody may do everything");
    done(&["publish", "a/b", "hello", "-q", "2", "-r"], "success");
    assert_eq!(client.read().0 & 0xf0, 0x30);
    done(&["retained"], "a/b");
    done(&["retained", "a/b", "--show"], "hello");
    done(&["retained", "a/b", "--delete"], "success");
    assert_eq!(
        client.read().1,
        [&text("a/b")[..], b"\0\x02\0"].concat(),
        "what deletes it is live"
    );
    done(&["ban", "192.0.2.7", "60", "--why", "noise"], "operator");
    done(&["bans"], "noise");
    done(&["unban", "192.0.2.7"], "192.0.2.7");
    done(&["ban", "--client-id", "a/b c", "60"], "client_id");
    done(&["unban", "--client-id", "a/b c"], "a/b c");
    done(&["reload"], "applied                  yes");
    done(&["config"], "mqtt.receive_maximum");
    done(&["kick", "term/1", "--forget"], "forgotten");
    assert_eq!(client.read().0, 0xe0);
    let (code, _, complained) = ctl(&["client", "term/1"]);
    assert_eq!(code, Some(1));
    assert!(complained.contains("no client"), "{complained}");
    let (code, ..) = ctl(&["--admin", "http://127.0.0.1:1", "status"]);
    assert!(code != Some(0));

    let mut follower = Command::new(env!("CARGO_BIN_EXE_hawker"))
        .args(["ctl", "--admin", &format!("http://{}", broker.admin().expect("it says so"))])
        .args(["subscribe", "news/#"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it can be started");
    until(|| get(&broker, "/subscriptions?topic=news/x")["total"] == 1);
    done(&["publish", "news/x", "read all about it"], "success");
    let mut lines = BufReader::new(follower.stdout.take().expect("it is piped"));
    let mut line = String::new();
    lines.read_line(&mut line).expect("a line");
    assert_eq!(line, "news/x read all about it\n");
    let binary = json!({ "topic": "news/x", "payload_base64": "AP8Q" });
    assert_eq!(post(&broker, "/publish", &binary).status, 200);
    line.clear();
    lines.read_line(&mut line).expect("a line");
    assert_eq!(line, "news/x (3 bytes) 00ff10\n");
    drop(lines);
    done(&["publish", "news/x", "to nobody"], "success");
    let ended = follower.wait_with_output().expect("it ends with who reads it");
    assert_eq!((ended.status.code(), &*ended.stderr), (Some(0), &b""[..]));
}

#[test]
fn a_token_from_the_command_line_is_taken() {
    let output = Command::new(env!("CARGO_BIN_EXE_hawker"))
        .args(["token", "add", "ops", "operator"])
        .output()
        .expect("it can be started");
    assert!(output.status.success());
    let token = String::from_utf8(output.stdout).expect("text");
    let said = String::from_utf8(output.stderr).expect("text");
    let entry = said.lines().last().expect("the text for the file");
    let broker = in_memory(1).config(&format!("admin_tokens = [{entry}]\n")).start();
    let bearer = format!("Authorization: Bearer {}", token.trim());
    assert_eq!(request(&broker, "GET", "/overview", &[&bearer], "").body["admin"]["who"], "ops");
    let file = broker.directory().join("token");
    std::fs::write(&file, &token).expect("the directory is writable");
    let status = |mode: u32| {
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).expect("ours");
        let admin = format!("http://{}", broker.admin().expect("it says so"));
        let mut command = Command::new(env!("CARGO_BIN_EXE_hawker"));
        command.args(["ctl", "--admin", &admin, "--token-file"]).arg(&file).arg("status");
        command.output().expect("it can be started").status.code()
    };
    assert_eq!(status(0o600), Some(0));
    assert_eq!(status(0o644), Some(1), "everybody could read it");
}
