//! What happened: traces of clients, topics and addresses, and the last messages that were lost.

use std::os::unix::fs::PermissionsExt as _;

use super::*;

/// The lines of a trace's file, once it has ended.
fn stopped(broker: &Broker, id: u64) -> Vec<Value> {
    let ended = delete(broker, &format!("/traces/{id}"));
    assert_eq!((ended.status, &ended.body["state"]), (200, &json!("ended")), "{ended:?}");
    let file = ended.body["file"].as_str().expect("a path");
    let file = broker.directory().join(file);
    let text = std::fs::read_to_string(&file).expect("it is there");
    let lines: Vec<Value> =
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(ended.body["events"].as_u64(), Some(lines.len() as u64));
    assert_eq!(downloaded(broker, id), text, "what is downloaded is the file");
    lines
}

fn downloaded(broker: &Broker, id: u64) -> String {
    let mut stream = open(broker);
    let host = broker.admin().expect("it says so");
    let head = format!("GET /api/v1/traces/{id}/log HTTP/1.0\r\nHost: {host}\r\n\r\n");
    stream.write_all(head.as_bytes()).expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers and closes");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    assert!(head.contains("attachment; filename=\"trace-"), "{head}");
    body.to_owned()
}

fn started(broker: &Broker, order: &Value) -> u64 {
    let answer = post(broker, "/traces", order);
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.body["state"], "running");
    answer.body["id"].as_u64().expect("a number")
}

/// Direction and event of each line.
fn steps(lines: &[Value]) -> Vec<String> {
    let text = |line: &Value, name: &str| line[name].as_str().unwrap_or_default().to_owned();
    lines.iter().map(|one| format!("{} {}", text(one, "direction"), text(one, "event"))).collect()
}

fn find<'l>(lines: &'l [Value], step: &str, client_id: &str) -> &'l Value {
    let at = steps(lines)
        .iter()
        .zip(lines)
        .position(|(one, line)| one == step && line["client_id"] == client_id);
    &lines[at.unwrap_or_else(|| panic!("no {step} of {client_id} in {lines:#?}"))]
}

#[test]
fn one_client_is_followed_from_its_connect_to_its_end() {
    let broker = in_memory(2).start();
    let id = started(&broker, &json!({ "client_id": "device", "minutes": 5 }));
    let mut other = Client::connect(broker.address(), "other", 0);
    let mut device = Client::connect(broker.address(), "device", 60);
    device.subscribe("order/#", 1);
    assert_eq!(device.publish("state/device", "secret", false), 0x10, "nobody wants it");
    other.publish("order/1", "go", false);
    assert_eq!(device.read().0, 0x32);
    device.stream.write_all(&[0x40, 2, 0, 1]).expect("it reads");
    device.stream.write_all(&[0xc0, 0]).expect("it reads");
    assert_eq!(device.read().0, 0xd0);
    device.leave();
    other.publish("order/2", "later", false);
    other.leave();
    until(|| get(&broker, "/clients/device")["queued"] == 1);
    let lines = stopped(&broker, id);
    let expected = [
        "in connect",
        "out connack",
        "in subscribe",
        "out suback",
        "in publish",
        "broker routed",
        "out puback",
        "out publish",
        "in puback",
        "in pingreq",
        "out pingresp",
        "in disconnect",
        "broker closed",
        "broker queued",
        "trace ended",
    ];
    // A message may be sent at once or by way of its queue.
    let found: Vec<String> = steps(&lines);
    let mut rest = found.iter();
    for step in expected {
        assert!(rest.any(|found| found == step), "{step} in this order: {found:?}");
    }
    let (_, events) = lines.split_last().expect("the last one says why");
    assert!(events.iter().all(|line| line["client_id"] == "device"), "{events:#?}");
    let connect = find(&lines, "in connect", "device")["detail"].as_str().expect("it has one");
    assert!(connect.contains("MQTT 5.0, clean start no, keep-alive 60 s"), "{connect}");
    assert_eq!(find(&lines, "in subscribe", "device")["detail"], "order/# at QoS 1");
    assert_eq!(find(&lines, "out suback", "device")["detail"], "granted QoS 1");
    let publish = find(&lines, "in publish", "device");
    assert_eq!((&publish["topic"], &publish["qos"]), (&json!("state/device"), &json!(1)));
    assert_eq!(publish["bytes"], 18);
    assert!(!downloaded(&broker, id).contains("payload"), "payloads are not asked for");
    assert_eq!(find(&lines, "out puback", "device")["reason_code"], 0x10);
    let times: Vec<u64> = lines.iter().filter_map(|line| line["at_us"].as_u64()).collect();
    assert!(times.is_sorted() && times.len() == lines.len());
}

#[test]
fn a_topic_is_followed_on_every_shard_whoever_it_concerns() {
    let broker = in_memory(2).start();
    let clients: Vec<String> = (0..32).map(|index| format!("reader-{index}")).collect();
    let mut readers: Vec<Client> =
        clients.iter().map(|name| Client::connect(broker.address(), name, 60)).collect();
    readers.iter_mut().for_each(|reader| reader.subscribe("plant/+/state", 0));
    readers.pop().expect("there are 32").leave();
    until(|| get(&broker, "/clients?state=away")["total"] == 1);
    let order = json!({ "filter": "plant/#", "payload_bytes": 4 });
    let id = started(&broker, &order);
    let mut writer = Client::connect(broker.address(), "writer", 0);
    writer.publish("elsewhere", "x", false);
    writer.publish("plant/7/state", "running", false);
    readers.iter_mut().for_each(|reader| drop(reader.read()));
    writer.subscribe("plant/+/order", 0);
    let lines = stopped(&broker, id);
    let publish = find(&lines, "in publish", "writer");
    assert_eq!(
        (&publish["topic"], &publish["payload_base64"]),
        (&json!("plant/7/state"), &json!("cnVubg=="))
    );
    for reader in &clients[..31] {
        assert_eq!(find(&lines, "out publish", reader)["topic"], "plant/7/state");
    }
    let dropped = find(&lines, "broker dropped", "reader-31")["detail"].as_str().expect("why");
    assert!(dropped.contains("mqtt.queue_qos0"), "{dropped}");
    find(&lines, "in subscribe", "writer");
    let shards: BTreeSet<u64> = lines.iter().filter_map(|line| line["shard"].as_u64()).collect();
    assert_eq!(shards.len(), 2, "both have a part of it: all clients on one is too rare to see");
    assert!(lines.iter().all(|line| line["topic"] != "elsewhere"));
}

#[test]
fn an_address_is_followed_whoever_comes_from_there() {
    let text = "[auth]\nban_failures = 0\n[[auth.rules]]\npublish = [\"a\"]\n";
    let broker = in_memory(2).config(text).start();
    let id = started(&broker, &json!({ "address": "127.0.0.0/8" }));
    let elsewhere = started(&broker, &json!({ "address": "192.0.2.1" }));
    let mut client = Client::connect(broker.address(), "from-here", 0);
    assert_eq!(client.publish("b", "not allowed", false), 0x87);
    let mut stranger = TcpStream::connect(broker.address()).expect("the broker accepts");
    stranger.write_all(b"GET / HTTP/1.1\r\n\r\n").expect("it reads");
    let _ = stranger.read_to_end(&mut Vec::new());
    let lines = stopped(&broker, id);
    let dropped = find(&lines, "broker dropped", "from-here")["detail"].as_str().expect("why");
    assert!(dropped.contains("not_allowed: no rule allows it"), "{dropped}");
    let nobody = lines.iter().filter(|line| line["client_id"].is_null());
    assert!(steps(&nobody.cloned().collect::<Vec<_>>()).contains(&"broker closed".to_owned()));
    assert_eq!(steps(&stopped(&broker, elsewhere)), ["trace ended"]);
}

#[test]
fn traces_are_bounded_listed_and_forgotten() {
    let broker = in_memory(1).start();
    let wrong = [
        (json!({}), "give one of"),
        (json!({ "client_id": "a", "filter": "b" }), "give one of"),
        (json!({ "client_id": "" }), "give one of"),
        (json!({ "filter": "a/#/b" }), "no topic filter"),
        (json!({ "address": "nowhere" }), "10.0.0.0/8"),
        (json!({ "client_id": "a", "minutes": 0 }), "1 to 1440"),
        (json!({ "client_id": "a", "payload_bytes": 5000 }), "0 to 4096"),
        (json!({ "client_id": "a", "hours": 1 }), "unknown field"),
    ];
    for (order, expected) in wrong {
        let answer = post(&broker, "/traces", &order);
        let message = answer.body["error"]["message"].as_str().unwrap_or_default();
        assert_eq!(answer.status, 422, "{order}");
        assert!(message.contains(expected), "{order}: {message}");
    }
    let ids: Vec<u64> = (0..8)
        .map(|index| started(&broker, &json!({ "client_id": format!("c{index}") })))
        .collect();
    let answer = post(&broker, "/traces", &json!({ "client_id": "one more" }));
    assert_eq!((answer.status, answer.code()), (409, "too_many_traces"));
    let listed = get(&broker, "/traces");
    assert_eq!(listed["traces"].as_array().map(Vec::len), Some(8));
    assert_eq!(listed["traces"][0]["client_id"], "c7", "the newest first");

    let shown = get(&broker, &format!("/traces/{}", ids[0]));
    assert_eq!((&shown["by"], &shown["lost"]), (&json!("local"), &json!(0)));
    let minutes = shown["ends_at_ms"].as_u64().zip(shown["started_at_ms"].as_u64());
    assert_eq!(minutes.map(|(end, start)| end - start), Some(600_000), "ten minutes");
    let file = broker.directory().join(shown["file"].as_str().expect("a path"));
    let mode = std::fs::metadata(&file).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "what clients say is private");
    stopped(&broker, ids[0]);
    assert_eq!(delete(&broker, &format!("/traces/{}", ids[0])).status, 200);
    assert_eq!(request(&broker, "GET", &format!("/traces/{}", ids[0]), &[], "").status, 404);
    assert!(!file.exists(), "its file went with it");
    started(&broker, &json!({ "client_id": "one more" }));
}

#[test]
fn what_happens_is_read_live_and_by_whom_it_may() {
    let text = format!("admin_tokens = [\"eve:viewer:{TOKEN_HASH}\"]\n");
    let broker = in_memory(2).start();
    let id = started(&broker, &json!({ "client_id": "live" }));
    let mut stream = open(&broker);
    let host = broker.admin().expect("it says so");
    let head = format!("GET /api/v1/traces/{id}/events HTTP/1.1\r\nHost: {host}\r\n\r\n");
    stream.write_all(head.as_bytes()).expect("it reads");
    let mut lines = BufReader::new(stream).lines().map(|line| line.expect("a line"));
    assert!(lines.any(|line| line == ": following"));
    let mut client = Client::connect(broker.address(), "live", 0);
    assert!(lines.any(|line| line.starts_with("data: ") && line.contains("\"connack\"")));
    client.publish("a", "b", false);
    assert!(lines.any(|line| line.starts_with("data: ") && line.contains("\"puback\"")));
    assert_eq!(delete(&broker, &format!("/traces/{id}")).status, 200);
    assert!(lines.any(|line| line.contains("it was stopped")));

    let guarded = in_memory(1).config(&text).start();
    let bearer = format!("Authorization: Bearer {TOKEN}");
    assert_eq!(request(&guarded, "GET", "/traces", &[&bearer], "").status, 200);
    let answer = request(&guarded, "POST", "/traces", &[&bearer], "{\"client_id\": \"a\"}");
    assert_eq!((answer.status, answer.code()), (403, "role_too_low"));
}

#[test]
fn what_was_lost_is_told_with_its_reason() {
    let text = "[mqtt]\nqueue_messages_max = 2\nretained_bytes_max = 0\nsys_interval_s = 0\n\
                [[auth.rules]]\npublish = [\"#\"]\nsubscribe = [\"#\"]\n\
                deny_publish = [\"secret/#\"]\ndeny_subscribe = [\"secret/#\"]\n";
    let broker = in_memory(2).config(text).start();
    let mut sleeper = Client::connect(broker.address(), "sleeper", 600);
    sleeper.subscribe("queue/#", 1);
    sleeper.leave();
    until(|| get(&broker, "/clients?state=away")["total"] == 1);
    let mut writer = Client::connect(broker.address(), "writer", 0);
    for index in 0..5 {
        writer.publish(&format!("queue/{index}"), "payload", false);
    }
    assert_eq!(writer.publish("secret/plan", "x", false), 0x87);
    writer.publish("kept/1", "x", true);
    writer.stream.write_all(&packet(0x82, b"\0\x05\0\0\x08secret/#\x01")).expect("it reads");
    assert_eq!(writer.read().1.last(), Some(&0x87));
    until(|| get(&broker, "/drops")["total"] == 6);

    let drops = get(&broker, "/drops");
    let whys = names(drops["drops"].as_array().expect("rows"), "why");
    assert_eq!(whys.iter().filter(|why| **why == "queue_full").count(), 3, "{whys:?}");
    let row = |query: &str| {
        let found = get(&broker, &format!("/drops?{query}"));
        assert_eq!(found["total"], 1, "{query}: {found}");
        found["drops"][0].clone()
    };
    let refused = row("why=not_allowed");
    assert_eq!(
        (&refused["publisher"], &refused["topic"]),
        (&json!("writer"), &json!("secret/plan"))
    );
    assert_eq!(refused["detail"], "auth.rules[0] denies \"secret/#\"");
    assert_eq!(row("filter=kept/%2B")["why"], "not_retained");
    assert_eq!(row("search=SECRET/%23")["why"], "not_subscribed");
    let lost = row("filter=queue/0");
    assert_eq!((&lost["receiver"], &lost["bytes"]), (&json!("sleeper"), &json!(14)));
    assert_eq!(get(&broker, "/drops?client_id=sleeper")["total"], 3);
    assert_eq!(request(&broker, "GET", "/drops?why=bad_luck", &[], "").status, 422);
    let paged = all(&broker, "/drops?limit=2", "drops");
    assert_eq!(paged.len(), 6);
    let times: Vec<u64> = paged.iter().filter_map(|row| row["at_ms"].as_u64()).collect();
    assert!(times.iter().rev().is_sorted(), "the newest first");

    let at_most_once = [&super::text("queue/zero")[..], b"\0x"].concat();
    writer.stream.write_all(&packet(0x30, &at_most_once)).expect("it reads");
    until(|| get(&broker, "/drops?why=away")["total"] == 1);
    assert_eq!(get(&broker, "/drops")["total"], 6, "nobody promised that one");
    assert_eq!(row("filter=queue/zero")["why"], "away");
    assert_eq!(get(&broker, "/drops?client_id=sleeper")["total"], 4);

    let question = json!({ "client_id": "writer", "topic": "secret/plan", "qos": 1 });
    let explained = post(&broker, "/explain", &question).body;
    assert_eq!(explained["outcome"], "refused");
    assert_eq!(explained["happened"][0]["why"], "not_allowed");
    let question = json!({ "client_id": "writer", "topic": "queue/9", "qos": 1 });
    assert_eq!(post(&broker, "/explain", &question).body["happened"], json!([]));
}

#[test]
fn a_terminal_follows_until_it_is_interrupted() {
    let broker = in_memory(2).start();
    let admin = format!("http://{}", broker.admin().expect("it says so"));
    let ctl = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hawker"));
        command.args(["ctl", "--admin", &admin]).args(arguments).stdout(Stdio::piped());
        command.spawn().expect("it can be started")
    };
    let mut follower = ctl(&["trace", "--client", "term", "--payload-bytes", "8"]);
    until(|| get(&broker, "/traces")["traces"][0]["state"] == "running");
    let mut client = Client::connect(broker.address(), "term", 0);
    client.publish("a/b", "hello", false);
    let out = BufReader::new(follower.stdout.take().expect("it is piped"));
    let mut lines = out.lines().map(|line| line.expect("a line"));
    let publish = lines.find(|line| line.contains("-> publish")).expect("it is printed");
    assert!(publish.ends_with(" term a/b qos 1 8 bytes id 2 hello"), "{publish}");
    assert!(lines.any(|line| line.contains("<- puback") && line.contains("0x10")));
    let pid = follower.id().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().expect("kill is there").success());
    assert!(lines.any(|line| line.ends_with("ended          (it was stopped)")));
    assert_eq!(follower.wait().expect("it ends").code(), Some(0));
    assert_eq!(get(&broker, "/traces")["traces"][0]["state"], "ended");

    client.publish("$SYS/mine", "no", false);
    let output = ctl(&["drops", "--client", "term"]).wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("not_allowed") && said.contains("the broker's own"), "{said}");
    let output = ctl(&["explain", "term", "$SYS/mine"]).wait_with_output().expect("it ends");
    assert!(String::from_utf8_lossy(&output.stdout).contains("lost lately:"));
    let none = ctl(&["trace"]).wait_with_output().expect("it ends");
    assert_eq!(none.status.code(), Some(2), "one of the three is needed");
}
