//! Logs become lines.

use std::collections::HashMap;
use std::io::{self, Write};

use super::line::{
    Content, FORMAT, GroupLine, Line, MessageLine, OwedLine, SessionLine, SubscriptionLine,
    UserLine, WillLine,
};
use crate::runtime::recovery::{Past, told_anew};
use crate::shard::ShardId;
use crate::shard::record::{
    CHANGE, Change, MESSAGE, MessageHead, QueueNumber, SessionState, SubscriptionState, Target,
    WillState,
};
use crate::storage::Kind;
use crate::time::Time;

/// Writes everything that shards keep as JSON lines.
///
/// # Errors
///
/// If `out` does not take it.
pub fn export(pasts: &[Past], out: &mut dyn Write) -> io::Result<()> {
    let mut writer = Exporter { names: HashMap::new(), out, outcome: Ok(()) };
    writer.line(&Line::HawkerExport { format: FORMAT });
    // Each session is a line.
    told_anew(pasts, |_| ShardId(0), u32::MAX, &mut |_, kind, payload| {
        writer.record(kind, payload);
    });
    writer.outcome?;
    out.flush()
}

struct Exporter<'a> {
    names: HashMap<QueueNumber, Name>,
    out: &'a mut dyn Write,
    outcome: io::Result<()>,
}

enum Name {
    Client(String),
    Group(String),
}

impl Exporter<'_> {
    fn line(&mut self, line: &Line) {
        if self.outcome.is_ok() {
            let text = serde_json::to_string(line).expect("texts and numbers make JSON");
            self.outcome = writeln!(self.out, "{text}");
        }
    }

    fn record(&mut self, kind: Kind, payload: &[u8]) {
        match kind {
            CHANGE => match Change::decode(payload) {
                Some(Change::Session(state)) => {
                    self.names.insert(state.number, Name::Client(state.client_id.clone()));
                    self.line(&Line::Session(session(state)));
                }
                Some(Change::User { session, user }) => {
                    if let Some(Name::Client(client_id)) = self.names.get(&session) {
                        let client_id = client_id.clone();
                        self.line(&Line::SessionUser(UserLine { client_id, user }));
                    }
                }
                Some(Change::Group { group, name, .. }) => {
                    self.names.insert(group, Name::Group(name.clone()));
                    self.line(&Line::SharedGroup(GroupLine { name }));
                }
                _ => {}
            },
            MESSAGE => {
                if let Some((head, body)) = MessageHead::decode(payload) {
                    let line = self.message(&head, body);
                    self.line(&Line::Message(line));
                }
            }
            _ => {}
        }
    }

    fn message(&self, head: &MessageHead, body: &[u8]) -> MessageLine {
        let message = head.message(body);
        let mut properties = Vec::new();
        message.properties().write_to(&mut properties);
        MessageLine {
            topic: message.topic().to_owned(),
            qos: head.qos as u8,
            retain: head.retain,
            is_retained_message: head.stored,
            content: Content::of(&properties, message.payload()),
            expires_at_micros: Some(head.expires)
                .filter(|at| *at != Time::NEVER)
                .map(Time::as_micros),
            stamp: head.stamp.0,
            owed: head.targets.iter().map(|target| self.owed(target)).collect(),
        }
    }

    fn owed(&self, target: &Target) -> OwedLine {
        let (client_id, shared_group) = match &self.names[&target.queue] {
            Name::Client(name) => (Some(name.clone()), None),
            Name::Group(name) => (None, Some(name.clone())),
        };
        OwedLine {
            client_id,
            shared_group,
            ordinal: Some(target.ordinal),
            qos: target.qos as u8,
            retain: target.retain,
            subscription_identifiers: target.subscription_ids.clone(),
        }
    }
}

fn session(state: SessionState) -> SessionLine {
    SessionLine {
        client_id: state.client_id,
        expiry_interval_seconds: state.expiry_interval,
        away_since_micros: state.detached_at_micros,
        subscriptions: state.subscriptions.into_iter().map(subscription).collect(),
        will: state.will.map(will),
        last_ordinal: state.last_ordinal,
        sent_through: state.sent_through,
        unreleased_packet_ids: state.taken,
        received_ordinals: state.received,
    }
}

fn subscription(SubscriptionState { filter, options, id }: SubscriptionState) -> SubscriptionLine {
    SubscriptionLine {
        filter,
        qos: options & 0b11,
        no_local: options & 0b100 != 0,
        retain_as_published: options & 0b1000 != 0,
        retain_handling: options >> 4 & 0b11,
        identifier: id,
    }
}

fn will(will: WillState) -> WillLine {
    WillLine {
        topic: will.topic,
        qos: will.qos,
        retain: will.retain,
        content: Content::of(&will.properties, &will.payload),
        message_expiry_interval_seconds: will.message_expiry_interval,
        delay_interval_seconds: will.delay_interval,
    }
}
