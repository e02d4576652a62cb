//! A chat service with the broker in it: who may enter, what a room lets through, and what
//! happened.
//!
//!     cargo run --release --example embed
//!     mosquitto_sub -u ann -P secret -t 'room/#' -v &
//!     mosquitto_pub -u bob -P secret -t room/lobby -m 'Hello, world'

use std::error::Error;
use std::sync::Arc;

use hawker::Broker;
use hawker::auth::{Identity, Verdict};
use hawker::local::LocalMessage;
use hawker::proto::{QoS, ReasonCode};
use hawker::shard::{Event, Replacement};

fn main() -> Result<(), Box<dyn Error>> {
    let broker = Broker::builder()
        .authenticate(|login| async move {
            // Ask a database here: the client waits, nobody else does.
            match (login.user.as_deref(), login.password.as_deref().map(Vec::as_slice)) {
                (Some(user), Some(b"secret")) => Verdict::Allow(Arc::new(Identity::user(user))),
                _ => Verdict::Deny,
            }
        })
        .authorize_publish(|client, message| async move {
            if !message.topic().starts_with("room/") {
                return Err(ReasonCode::NotAuthorized);
            }
            let user = client.user.as_deref().unwrap_or("somebody");
            let text = String::from_utf8_lossy(message.payload());
            Ok(Some(Replacement {
                topic: message.topic().to_owned(),
                payload: format!("{user}: {text}").into(),
                qos: message.qos,
            }))
        })
        .authorize_forward(|receiver, publication| {
            // Nobody hears of the staff's room but the staff.
            publication.topic != "room/staff" || receiver.user == Some("ann")
        })
        .events()
        .start()?;
    for address in broker.addresses() {
        println!("listening on {address}; every user's password is \"secret\"");
    }
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    runtime.block_on(async {
        let mut events = broker.events().expect("it was built with events");
        let publisher = broker.locals().publisher().await?;
        while let Some(event) = events.next().await {
            match event {
                Event::Connected(client) => {
                    let user = client.user.as_deref().unwrap_or("somebody");
                    let payload = format!("{user} is here").into();
                    let topic = "room/lobby".to_owned();
                    let qos = QoS::AtLeastOnce;
                    publisher.publish(LocalMessage { topic, payload, qos, retain: false }).await?;
                }
                other => println!("{other:?}"),
            }
        }
        Ok(())
    })
}
