//! A program with a broker in it.

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};

use hawker::config::{Config, Durability};
use hawker::local::{LocalError, LocalMessage};
use hawker::proto::{QoS, ReasonCode};
use hawker::runtime::Broker;

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
