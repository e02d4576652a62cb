//! Who comes and goes, told below `$SYS/brokers/{node}/clients/` if `mqtt.presence_events` is set.
//!
//! Such a message is at QoS 0 and not retained: it tells of a moment. As long as nobody has
//! subscribed to it, nothing is made but its topic.

use std::fmt::Write as _;
use std::sync::Arc;

use super::Shard;
use super::connection::Connection;
use super::effect::{ConnectionId, Listener};
use super::route::Origin;
use crate::message::Publication;
use crate::proto::{Connect, ForwardProperties, QoS, ReasonCode};
use crate::time::Time;

/// What happened to a connection.
pub(super) enum Presence<'a> {
    /// Its client was let in, for so many seconds beyond its connection.
    Connected(&'a Connect<'a>, u32),
    /// It is over; the reason if there was one.
    Disconnected(Option<ReasonCode>),
}

impl Shard {
    /// Tells of a client that was let in.
    pub(super) fn tell_connected(
        &mut self,
        now: Time,
        id: ConnectionId,
        client_id: &Arc<str>,
        connect: &Connect<'_>,
        expiry_interval: u32,
    ) {
        let Some(connection) = self.connections.get(id) else { return };
        let presence = Presence::Connected(connect, expiry_interval);
        let told = self.presence(now, client_id, connection, &presence);
        self.publish_presence(now, told);
    }

    /// Tells of a client that came or went, whose connection is this.
    pub(super) fn tell_presence(
        &mut self,
        now: Time,
        client_id: &Arc<str>,
        connection: &Connection,
        presence: &Presence<'_>,
    ) {
        let told = self.presence(now, client_id, connection, presence);
        self.publish_presence(now, told);
    }

    fn publish_presence(&mut self, now: Time, told: Option<(String, String)>) {
        let Some((topic, payload)) = told else { return };
        let properties = ForwardProperties::from_encoded(b"");
        let (payload, never) = (payload.as_bytes(), Time::NEVER);
        let mut publication = Publication::new(&topic, properties, payload, QoS::AtMostOnce, never);
        self.publish(now, &mut publication, Origin { session: None, hash: 0 }, None);
    }

    /// Topic and payload, if anybody wants them. Clients within the process neither come nor go.
    fn presence(
        &self,
        now: Time,
        client_id: &Arc<str>,
        connection: &Connection,
        presence: &Presence<'_>,
    ) -> Option<(String, String)> {
        if connection.peer.listener == Listener::LOCAL {
            return None;
        }
        let mut topic = String::from("$SYS/brokers/");
        write_level(&mut topic, &self.policy.node);
        topic.push_str("/clients/");
        write_level(&mut topic, client_id);
        topic.push_str(match presence {
            Presence::Connected(..) => "/connected",
            Presence::Disconnected(_) => "/disconnected",
        });
        let mut is_wanted = false;
        self.tree.for_each_match(&topic, |_| is_wanted = true);
        if !is_wanted || topic.len() > usize::from(u16::MAX) {
            return None;
        }
        Some((topic, told(now, client_id, connection, presence)))
    }
}

/// What there is to say, as JSON.
fn told(now: Time, client_id: &str, connection: &Connection, presence: &Presence<'_>) -> String {
    let user = connection.identity().and_then(|identity| identity.user.as_deref());
    let mut text = String::from("{\"client_id\":");
    write_text(&mut text, client_id);
    text.push_str(",\"user\":");
    match user {
        Some(user) => write_text(&mut text, user),
        None => text.push_str("null"),
    }
    let address = connection.peer.address;
    let _ = write!(text, ",\"address\":\"{address}\"");
    if let Some(version) = connection.version() {
        let _ = write!(text, ",\"protocol\":\"{version}\"");
    }
    let at_ms = now.as_micros() / 1000;
    let _ = match presence {
        Presence::Connected(connect, expiry_s) => write!(
            text,
            ",\"keep_alive_s\":{},\"clean_start\":{},\"session_expiry_s\":{expiry_s},\
             \"connected_at_ms\":{at_ms}}}",
            connect.keep_alive, connect.clean_start,
        ),
        Presence::Disconnected(reason) => {
            let connected_at_ms = connection.since.as_micros() / 1000;
            let (word, code) = match reason {
                Some(reason) => (reason.to_string(), reason.as_u8().to_string()),
                None => ("connection lost".to_owned(), "null".to_owned()),
            };
            write!(
                text,
                ",\"reason\":\"{word}\",\"reason_code\":{code},\
                 \"connected_at_ms\":{connected_at_ms},\"disconnected_at_ms\":{at_ms}}}"
            )
        }
    };
    text
}

/// A name as one level of a topic: what would make it more, or a filter, is written as in URLs.
fn write_level(topic: &mut String, name: &str) {
    for character in name.chars() {
        match character {
            '/' | '+' | '#' | '%' => {
                let _ = write!(topic, "%{:02X}", u32::from(character));
            }
            other => topic.push(other),
        }
    }
}

/// A text of JSON.
fn write_text(json: &mut String, text: &str) {
    json.push('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => {
                json.push('\\');
                json.push(character);
            }
            control if control < ' ' => {
                let _ = write!(json, "\\u{:04x}", u32::from(control));
            }
            other => json.push(other),
        }
    }
    json.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_level_of_a_topic() {
        let mut topic = String::new();
        write_level(&mut topic, "a/b+c#d%e\u{e4}");
        assert_eq!(topic, "a%2Fb%2Bc%23d%25e\u{e4}");
    }

    #[test]
    fn a_text_is_read_back_as_it_was() {
        let name = "a\"b\\c\u{1}\n\u{e4}\u{1f600}";
        let mut json = String::new();
        write_text(&mut json, name);
        assert_eq!(serde_json::from_str::<String>(&json).expect("it is JSON"), name);
    }
}
