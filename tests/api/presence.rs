//! What the broker tells MQTT clients of others who come and go.

use std::collections::BTreeMap;

use super::*;

/// The next message: topic and payload of JSON.
fn next(watcher: &mut Client) -> (String, Value) {
    let (kind, body) = watcher.read();
    assert_eq!(kind, 0x30, "at QoS 0 and not retained");
    let length = usize::from(u16::from_be_bytes([body[0], body[1]]));
    let topic = String::from_utf8(body[2..2 + length].to_vec()).expect("a topic");
    let payload = &body[2 + length + 1..];
    (topic, serde_json::from_slice(payload).expect("JSON"))
}

#[test]
fn each_client_is_told_of_once_as_it_comes_and_once_as_it_goes() {
    let text = "[mqtt]\npresence_events = true\nsys_interval_s = 0\n";
    let broker = in_memory(2).config(text).start();
    let node = get(&broker, "/overview")["node"].as_str().expect("a name").to_owned();
    let mut watcher = Client::connect(broker.address(), "watcher", 0);
    watcher.subscribe("$SYS/brokers/+/clients/+/+", 0);
    let mut names: Vec<String> = (0..16).map(|index| format!("client-{index}")).collect();
    names.push("a/b+c \"quoted\"".to_owned());
    let clients: Vec<Client> =
        names.iter().map(|name| Client::connect(broker.address(), name, 7)).collect();
    clients.into_iter().for_each(Client::leave);
    let mut told: BTreeMap<(String, String), Vec<Value>> = BTreeMap::new();
    for _ in 0..2 * names.len() {
        let (topic, payload) = next(&mut watcher);
        let (head, what) = topic.rsplit_once('/').expect("it has levels");
        let client_id = payload["client_id"].as_str().expect("a name").to_owned();
        let level = match client_id.as_str() {
            "a/b+c \"quoted\"" => "a%2Fb%2Bc \"quoted\"",
            plain => plain,
        };
        assert_eq!(head, format!("$SYS/brokers/{node}/clients/{level}"));
        told.entry((client_id, what.to_owned())).or_default().push(payload);
    }
    for name in names {
        let came = &told[&(name.clone(), "connected".to_owned())];
        let went = &told[&(name.clone(), "disconnected".to_owned())];
        assert_eq!((came.len(), went.len()), (1, 1), "{name}");
        assert_eq!(came[0]["protocol"], "5.0");
        assert_eq!(came[0]["user"], Value::Null);
        assert!(came[0]["address"].as_str().is_some_and(|it| it.starts_with("127.0.0.1:")));
        let (keep_alive, expiry) = (&came[0]["keep_alive_s"], &came[0]["session_expiry_s"]);
        assert_eq!((keep_alive, expiry), (&json!(60), &json!(7)));
        assert_eq!(came[0]["clean_start"], false);
        assert_eq!((&went[0]["reason_code"], &went[0]["protocol"]), (&json!(0), &json!("5.0")));
        let (then, now) = (&went[0]["connected_at_ms"], &went[0]["disconnected_at_ms"]);
        assert!(then.as_u64() <= now.as_u64() && then.as_u64() > Some(0));
    }

    let kicked = Client::connect(broker.address(), "kicked", 0);
    assert!(next(&mut watcher).0.ends_with("/kicked/connected"));
    assert_eq!(delete(&broker, "/clients/kicked").status, 200);
    let (topic, payload) = next(&mut watcher);
    assert!(topic.ends_with("/kicked/disconnected"), "{topic}");
    assert_eq!(payload["reason_code"], 0x98);
    drop(kicked);
    drop(Client::connect(broker.address(), "lost", 0));
    assert!(next(&mut watcher).0.ends_with("/lost/connected"));
    assert_eq!(next(&mut watcher).1["reason"], "connection lost");
    // What publishes for the API is within the broker, and is nobody's presence.
    post(&broker, "/publish", &json!({ "topic": "x", "payload": "x" }));
    let older = Client::connect(broker.address(), "twice", 0);
    assert!(next(&mut watcher).0.ends_with("/twice/connected"));
    let _newer = Client::connect(broker.address(), "twice", 0);
    assert_eq!(next(&mut watcher).1["reason_code"], 0x8e, "taken over");
    assert!(next(&mut watcher).0.ends_with("/twice/connected"));
    drop(older);
    assert_eq!(get(&broker, "/retained?filter=$SYS/%23")["total"], 0);
}

#[test]
fn rules_decide_who_is_told_and_nobody_is_unless_it_is_asked_for() {
    let text = "[mqtt]\npresence_events = true\nsys_interval_s = 0\n\
                [[auth.rules]]\npublish = [\"#\"]\nsubscribe = [\"#\"]\n\
                deny_subscribe = [\"$SYS/brokers/#\"]\n";
    let broker = in_memory(2).config(text).start();
    let mut watcher = Client::connect(broker.address(), "watcher", 0);
    watcher.stream.write_all(&packet(0x82, b"\0\x05\0\0\x06$SYS/#\x00")).expect("it reads");
    assert_eq!(watcher.read().1.last(), Some(&0x87), "not authorized");

    let broker = in_memory(2).config("[mqtt]\nsys_interval_s = 0\n").start();
    let mut watcher = Client::connect(broker.address(), "watcher", 0);
    watcher.subscribe("$SYS/#", 0);
    watcher.subscribe("end", 0);
    Client::connect(broker.address(), "silent", 0).leave();
    let mut writer = Client::connect(broker.address(), "writer", 0);
    writer.publish("end", "{}", false);
    assert_eq!(next(&mut watcher).0, "end", "nothing before it");
}

#[test]
fn what_the_broker_says_of_itself_is_not_counted_with_what_clients_retain() {
    let text = "[mqtt]\nsys_interval_s = 1\nretained_messages_max = 4\n";
    let broker = in_memory(2).config(text).start();
    let sys = |topic: &str| {
        let path = format!("/retained/$SYS/broker/{}", topic.replace(' ', "%20"));
        let answer = request(&broker, "GET", &path, &[], "");
        answer.body["payload"].as_str().unwrap_or_default().to_owned()
    };
    let mut writer = Client::connect(broker.address(), "writer", 0);
    for index in 0..2 {
        writer.publish(&format!("kept/{index}"), "12345", true);
    }
    let mut reader = Client::connect(broker.address(), "reader", 0);
    reader.subscribe("kept/0", 0);
    assert_eq!(reader.read().0, 0x31);
    until(|| sys("publish/bytes/received") == "10" && sys("publish/bytes/sent") == "5");
    assert_eq!(sys("retained messages/count"), "2");
    let overview = get(&broker, "/overview");
    assert_eq!((&overview["retained"], &overview["retained_bytes"]), (&json!(2), &json!(22)));
    assert!(get(&broker, "/retained?filter=$SYS/%23")["total"].as_u64() > Some(40));
    let counters = get(&broker, "/shards");
    let refused: u64 = counters
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|shard| shard["counters"]["retained_refused_total"].as_u64())
        .sum();
    assert_eq!(refused, 0, "and finds room whatever the limit");
}
