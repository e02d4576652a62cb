//! A program with a broker in it.

mod support;

#[allow(dead_code)]
#[path = "logins/client.rs"]
mod client;

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use client::Client;
use hawker::auth::{Identity, Verdict};

use hawker::Broker;
use hawker::config::{Config, Durability};
use hawker::local::{LocalError, LocalMessage};
use hawker::proto::{QoS, ReasonCode};
use hawker::shard::{Event, Replacement};

fn config() -> Config {
    let mut config = Config {
        admin: None,
        shards: Some(3),
        durability: Durability::Memory,
        ..Config::default()
    };
    config.listeners.truncate(1);
    config.listeners[0].address.port = 0;
    config
}

fn wait<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.expect("a runtime").block_on(future)
}

fn message(topic: &str, payload: &str, qos: QoS) -> LocalMessage {
    let payload = payload.as_bytes().to_vec().into();
    LocalMessage { topic: topic.to_owned(), payload, qos, retain: false }
}

#[test]
fn clients_within_the_process_are_clients() {
    let broker = Broker::start(&config()).expect("a broker");
    let address = broker.addresses().next().expect("it listens");
    assert_eq!(address.ip(), SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).ip());
    wait(async {
        let filters = [("news/#", QoS::ExactlyOnce), ("other", QoS::AtMostOnce)];
        let mut subscription = broker.locals().subscribe(&filters).await.expect("a subscription");
        let publisher = broker.locals().publisher().await.expect("a publisher");
        let all = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];
        for round in 0..2000 {
            let message = message("news/today", &round.to_string(), all[round % 3]);
            let taken = publisher.publish(message.clone()).await;
            assert_eq!(taken.expect("it is taken"), ReasonCode::Success);
            assert_eq!(subscription.next().await, Some(message));
        }
        let nobody = publisher.publish(message("nobody", "", QoS::AtLeastOnce)).await;
        assert_eq!(nobody.expect("it is taken"), ReasonCode::NoMatchingSubscribers);
        let wrong = publisher.publish(message("a/#", "", QoS::AtLeastOnce)).await;
        assert!(matches!(wrong, Err(LocalError::Topic)));
        assert!(matches!(
            broker.locals().subscribe(&[("a/#/b", QoS::AtMostOnce)]).await.err(),
            Some(LocalError::Topic)
        ));
        broker.stop();
        assert_eq!(subscription.next().await, None);
        assert!(publisher.publish(message("a", "", QoS::AtLeastOnce)).await.is_err());
    });
    broker.join().expect("nothing failed");
}

#[test]
fn who_does_not_read_loses_nothing() {
    let broker = Broker::start(&config()).expect("a broker");
    wait(async {
        let mut subscription =
            broker.locals().subscribe(&[("a", QoS::AtLeastOnce)]).await.expect("a subscription");
        let publisher = broker.locals().publisher().await.expect("a publisher");
        for number in 0..5000 {
            let message = message("a", &number.to_string(), QoS::AtLeastOnce);
            publisher.publish(message).await.expect("it is taken");
        }
        for number in 0..5000 {
            let next = subscription.next().await.expect("it is owed");
            assert_eq!(next.payload, number.to_string());
        }
    });
    broker.stop();
    broker.join().expect("nothing failed");
}

fn enter(broker: &Broker, level: u8, user: &str) -> Result<Client, u8> {
    let address = broker.addresses().next().expect("it listens");
    let stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
    Client::over(stream, level, (Some(user), Some(b"secret")), None)
}

fn end(broker: Broker) {
    broker.stop();
    broker.join().expect("nothing failed");
}

#[test]
fn a_hook_says_who_may_enter() {
    let hook = |login: Arc<hawker::auth::Login>| async move {
        assert_eq!(login.password.as_deref().map(Vec::as_slice), Some(&b"secret"[..]));
        match login.user.as_deref() {
            Some("ann") => Verdict::Allow(Arc::new(Identity::user("Ann"))),
            Some("eve") => Verdict::Deny,
            Some("panic") => panic!("as it was told to"),
            Some("slow") => std::future::pending().await,
            _ => Verdict::Ignore,
        }
    };
    let builder = Broker::builder().config(config()).authenticate(hook);
    let broker = builder.hook_timeout(Duration::from_millis(300)).start().expect("a broker");
    assert!(enter(&broker, 5, "ann").is_ok());
    assert_eq!(enter(&broker, 5, "eve").err(), Some(0x86));
    assert_eq!(enter(&broker, 5, "panic").err(), Some(0x88));
    assert_eq!(enter(&broker, 4, "slow").err(), Some(3));
    assert_eq!(enter(&broker, 5, "other").err(), Some(0x86), "nobody knows it");
    end(broker);
}

#[test]
fn a_hook_changes_or_refuses_messages() {
    let hook = |client: hawker::shard::Client, message: Arc<hawker::message::Message>| async move {
        assert!(client.client_id.ends_with("-device"), "{client:?}");
        match message.topic() {
            "other/topic" => {
                let (topic, payload) = ("news/topic".to_owned(), "changed".into());
                Ok(Some(Replacement { topic, payload, qos: QoS::AtMostOnce }))
            }
            "wrong" => {
                let (topic, payload) = ("#".to_owned(), "".into());
                Ok(Some(Replacement { topic, payload, qos: QoS::AtMostOnce }))
            }
            "no" => Err(ReasonCode::QuotaExceeded),
            "panic" => panic!("as it was told to"),
            "slow" => {
                tokio::time::sleep(Duration::from_millis(200)).await;
                Ok(None)
            }
            _ => Ok(None),
        }
    };
    let config = Config { durability: Durability::Memory, ..config() };
    let builder = Broker::builder().config(config).authorize_publish(hook);
    let broker = builder.start().expect("a broker");
    let mut subscription = wait(
        broker.locals().subscribe(&[("news/#", QoS::ExactlyOnce), ("slow", QoS::AtLeastOnce)]),
    )
    .expect("a subscription");
    let mut ann = enter(&broker, 5, "ann").expect("anonymous ones may enter");
    assert_eq!(ann.publish("news/plain"), 0);
    assert_eq!(ann.publish("other/topic"), 0);
    assert_eq!(ann.publish("wrong"), 0x90);
    assert_eq!(ann.publish("no"), 0x97);
    assert_eq!(ann.publish("panic"), 0x83);
    // What follows waits, and nobody else does.
    let topics = ["slow", "news/a", "slow", "news/b"];
    for topic in topics {
        ann.send(0x30, &[&client::field(topic.as_bytes()), &[0], topic.as_bytes()]);
    }
    let mut bob = enter(&broker, 4, "bob").expect("anonymous ones may enter");
    assert_eq!(bob.publish("news/bob"), 0);
    let mut got = Vec::new();
    while got.len() < 7 {
        let next = wait(subscription.next()).expect("a message");
        got.push((next.topic, String::from_utf8_lossy(&next.payload).into_owned(), next.qos));
    }
    let (from_bob, from_ann): (Vec<_>, Vec<_>) = got.into_iter().partition(|m| m.0 == "news/bob");
    assert_eq!(from_bob.len(), 1);
    assert_eq!(from_ann[0], ("news/plain".to_owned(), "hello".to_owned(), QoS::AtLeastOnce));
    assert_eq!(from_ann[1], ("news/topic".to_owned(), "changed".to_owned(), QoS::AtMostOnce));
    let order: Vec<&str> = from_ann[2..].iter().map(|m| m.0.as_str()).collect();
    assert_eq!(order, topics);
    end(broker);
}

#[test]
fn a_hook_lowers_or_refuses_subscriptions() {
    let hook = |_client, filter: Box<str>, qos: QoS| async move {
        match &*filter {
            "lower" => Ok(QoS::AtMostOnce),
            "no" | "$share/group/no" => Err(ReasonCode::TopicFilterInvalid),
            _ => Ok(qos),
        }
    };
    let builder = Broker::builder().config(config()).authorize_subscribe(hook);
    let broker = builder.start().expect("a broker");
    let mut ann = enter(&broker, 5, "ann").expect("anonymous ones may enter");
    assert_eq!(ann.subscribe("plain"), 1);
    assert_eq!(ann.subscribe("lower"), 0);
    assert_eq!(ann.subscribe("no"), 0x8F);
    assert_eq!(ann.subscribe("$share/group/no"), 0x8F);
    let mut old = enter(&broker, 4, "old").expect("anonymous ones may enter");
    assert_eq!(old.subscribe("no"), 0x80);
    end(broker);
}

#[test]
fn an_acknowledgement_waits_for_its_hook() {
    let (release, released) = tokio::sync::watch::channel(false);
    let hook = move |_client, _message| {
        let mut released = released.clone();
        async move { drop(released.wait_for(|released| *released).await) }
    };
    let builder = Broker::builder().config(config()).published(hook);
    let broker = builder.start().expect("a broker");
    let mut ann = enter(&broker, 5, "ann").expect("anonymous ones may enter");
    ann.send(0x32, &[&client::field(b"a"), &[0, 9, 0]]);
    ann.send(0xC0, &[]);
    assert_eq!(ann.read().0, 0xD0, "the ping is answered, the message is not acknowledged");
    release.send(true).expect("the hook waits");
    assert_eq!(ann.read().0, 0x40);
    end(broker);
}

#[test]
fn events_tell_what_happens() {
    let broker = Broker::builder().config(config()).events().start().expect("a broker");
    let mut events = broker.events().expect("it was built with events");
    let mut ann = enter(&broker, 5, "ann").expect("anonymous ones may enter");
    assert_eq!(ann.subscribe("a"), 1);
    ann.send(0x32, &[&client::field(b"a"), &[0, 9, 0], b"hello"]);
    let (first, second) = (ann.read(), ann.read());
    let (publish, _puback) = if first.0 >> 4 == 3 { (first, second) } else { (second, first) };
    ann.send(0x40, &[&publish.1[3..5]]);
    ann.send(0xA2, &[&[0, 7, 0], &client::field(b"a")]);
    assert_eq!(ann.read().0, 0xB0);
    ann.send(0xE0, &[&[4, 0]]);
    let mut seen = Vec::new();
    while !matches!(seen.last(), Some(Event::Disconnected(..))) {
        seen.push(wait(events.next()).expect("an event"));
    }
    let [
        Event::Connected(client),
        Event::Subscribed(_, filter, QoS::AtLeastOnce),
        Event::Published(_, published),
        Event::Delivered(_, delivered),
        Event::Unsubscribed(_, ended),
        Event::Disconnected(_, Some(ReasonCode::DisconnectWithWill)),
    ] = &seen[..]
    else {
        panic!("{seen:?}");
    };
    assert_eq!((&*client.client_id, &**filter, &**ended), ("ann-device", "a", "a"));
    assert_eq!((published.payload(), delivered.payload()), (&b"hello"[..], &b"hello"[..]));
    drop(ann);
    end(broker);
    assert!(wait(events.next()).is_none());
}

#[test]
fn a_hook_says_who_may_get_what() {
    let hook = |receiver: hawker::shard::Receiver<'_>,
                publication: &hawker::message::Publication<'_>| {
        assert!(publication.topic != "panic", "as it was told to");
        publication.topic != "private" || receiver.client_id == "ann-device"
    };
    let builder = Broker::builder().config(config()).authorize_forward(hook);
    let broker = builder.start().expect("a broker");
    let mut ann = enter(&broker, 5, "ann").expect("anonymous ones may enter");
    let mut bob = enter(&broker, 4, "bob").expect("anonymous ones may enter");
    assert_eq!((ann.subscribe("#"), bob.subscribe("#")), (1, 1));
    wait(async {
        let publisher = broker.locals().publisher().await.expect("a publisher");
        for topic in ["private", "panic", "public"] {
            publisher.publish(message(topic, "", QoS::AtLeastOnce)).await.expect("it is taken");
        }
    });
    assert_eq!(&ann.read().1[2..9], b"private");
    assert_eq!(&ann.read().1[2..8], b"public");
    assert_eq!(&bob.read().1[2..8], b"public");
    end(broker);
}

#[test]
fn a_hook_changes_or_refuses_wills() {
    let hook = |client: hawker::shard::Client, message: Arc<hawker::message::Message>| async move {
        assert_eq!((&*client.client_id, client.user), ("ann-device", None));
        match message.topic() {
            "other" => {
                let (topic, payload) = ("news/will".to_owned(), "changed".into());
                Ok(Some(Replacement { topic, payload, qos: QoS::AtLeastOnce }))
            }
            "news/no" => Err(ReasonCode::NotAuthorized),
            "news/panic" => panic!("as it was told to"),
            _ => Ok(None),
        }
    };
    let builder = Broker::builder().config(config()).authorize_publish(hook);
    let broker = builder.start().expect("a broker");
    let mut subscription =
        wait(broker.locals().subscribe(&[("news/#", QoS::ExactlyOnce)])).expect("a subscription");
    let leave = |topic: &str| {
        let address = broker.addresses().next().expect("it listens");
        let stream = TcpStream::connect(address).expect("it listens");
        drop(Client::over(stream, 5, (Some("ann"), Some(b"secret")), Some(topic)));
    };
    for topic in ["news/no", "news/panic", "other", "news/plain"] {
        leave(topic);
    }
    let mut got: Vec<_> = (0..2)
        .map(|_| wait(subscription.next()).expect("a will"))
        .map(|will| (will.topic, String::from_utf8_lossy(&will.payload).into_owned()))
        .collect();
    got.sort_unstable();
    let plain = ("news/plain".to_owned(), "gone".to_owned());
    assert_eq!(got, [plain, ("news/will".to_owned(), "changed".to_owned())]);
    end(broker);
}

#[test]
fn a_hook_says_who_of_a_shared_group_may_get_what() {
    let hook = |receiver: hawker::shard::Receiver<'_>,
                publication: &hawker::message::Publication<'_>| {
        match publication.topic {
            "private" => receiver.client_id == "bob-device",
            topic => topic != "nobody",
        }
    };
    let builder = Broker::builder().config(config()).authorize_forward(hook);
    let broker = builder.start().expect("a broker");
    let users = ["ann", "bob", "eve"];
    let mut clients = users.map(|user| enter(&broker, 4, user).expect("it may enter"));
    for client in &mut clients {
        assert_eq!(client.subscribe("$share/group/#"), 1);
    }
    wait(async {
        let publisher = broker.locals().publisher().await.expect("a publisher");
        for topic in ["private", "nobody", "private", "private", "public", "public", "public"] {
            publisher.publish(message(topic, "", QoS::AtLeastOnce)).await.expect("it is taken");
        }
    });
    // What was handed out has arrived once each has got its part of the public ones.
    let mut private = [0; 3];
    for (client, private) in clients.iter_mut().zip(&mut private) {
        loop {
            let (_, body) = client.read();
            match &body[2..8] {
                b"public" => break,
                b"privat" => *private += 1,
                other => panic!("{other:?}"),
            }
        }
    }
    assert_eq!(private, [0, 3, 0]);
    end(broker);
}
