//! Lines become the log of a new data directory.

use std::collections::HashMap;
use std::fmt;
use std::io::{self, BufRead};
use std::path::Path;
use std::sync::Arc;

use super::line::{
    FORMAT, GroupLine, Line, MessageLine, OwedLine, SessionLine, SubscriptionLine, UserLine,
    WillLine,
};
use crate::message::{Message, Stamp};
use crate::proto::{
    Cut, Frame, PACKET_SIZE_MAX, Packet, PacketId, QoS, SubscriptionFilter, SubscriptionOptions,
    Version,
};
use crate::runtime::recovery::{NewLog, RecoveryError};
use crate::shard::record::{
    CHANGE, Change, MESSAGE, MessageHead, QueueNumber, SessionState, SubscriptionState, Target,
    WillState, write_varint,
};
use crate::time::Time;

/// What was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Import {
    /// Sessions.
    pub sessions: usize,
    /// Messages that somebody is owed or that are retained.
    pub messages: usize,
}

impl fmt::Display for Import {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} sessions and {} messages", self.sessions, self.messages)
    }
}

/// Why nothing was imported.
#[derive(Debug)]
pub enum ImportError {
    /// The directory cannot take it.
    Directory(RecoveryError),
    /// It cannot be read.
    Read(io::Error),
    /// A line is wrong.
    Line(usize, String),
    /// A file of Mosquitto's is wrong, or of a version that is not known.
    Mosquitto(String),
}

impl fmt::Display for ImportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ImportError::Directory(error) => error.fmt(f)?,
            ImportError::Read(error) => write!(f, "cannot read: {error}")?,
            ImportError::Line(number, why) => write!(f, "line {number}: {why}")?,
            ImportError::Mosquitto(why) => f.write_str(why)?,
        }
        f.write_str("; nothing was imported")
    }
}

impl std::error::Error for ImportError {}

impl From<RecoveryError> for ImportError {
    fn from(error: RecoveryError) -> ImportError {
        ImportError::Directory(error)
    }
}

/// Reads an export into a data directory that keeps nothing yet. The directory changes at the end
/// and at once: a crash leaves all of it or nothing.
///
/// # Errors
///
/// See [`ImportError`].
pub fn import(from: impl BufRead, directory: &Path, now: Time) -> Result<Import, ImportError> {
    let mut importer = Importer::begin(directory, now)?;
    let mut lines = from.lines().zip(1..);
    let head = lines.next().map(|(line, _)| line.map_err(ImportError::Read)).transpose()?;
    match head.as_deref().map(serde_json::from_str) {
        Some(Ok(Line::HawkerExport { format: FORMAT })) => {}
        Some(Ok(Line::HawkerExport { format })) => {
            let why = format!("found export format {format}, and this version reads {FORMAT}");
            return Err(ImportError::Line(1, why));
        }
        _ => {
            let why = "expected {\"hawker_export\":{\"format\":1}}: this is no export of Hawker's \
                       (`hawker import --mosquitto` reads mosquitto.db)";
            return Err(ImportError::Line(1, why.to_owned()));
        }
    }
    for (line, number) in lines {
        let line = line.map_err(ImportError::Read)?;
        let wrong = |why: String| ImportError::Line(number, why);
        let line = serde_json::from_str(&line).map_err(|error| wrong(error.to_string()))?;
        importer.line(line).map_err(wrong)?;
    }
    importer.finish()
}

/// Writes lines into the log of a new directory.
pub(super) struct Importer {
    log: NewLog,
    now: Time,
    clients: HashMap<String, Queue>,
    groups: HashMap<String, Queue>,
    numbers: QueueNumber,
    imported: Import,
}

struct Queue {
    number: QueueNumber,
    last_ordinal: u64,
}

impl Importer {
    pub(super) fn begin(directory: &Path, now: Time) -> Result<Importer, RecoveryError> {
        Ok(Importer {
            log: NewLog::begin(directory)?,
            now,
            clients: HashMap::new(),
            groups: HashMap::new(),
            numbers: 0,
            imported: Import::default(),
        })
    }

    pub(super) fn finish(self) -> Result<Import, ImportError> {
        self.log.finish()?;
        Ok(self.imported)
    }

    /// Takes one line; the errors say what is wrong with it.
    pub(super) fn line(&mut self, line: Line) -> Result<(), String> {
        match line {
            Line::HawkerExport { .. } => Err("an export begins only once".to_owned()),
            Line::Session(session) => self.session(session),
            Line::SessionUser(user) => self.user(user),
            Line::SharedGroup(group) => self.group(group),
            Line::Message(message) => self.message(&message),
        }
    }

    fn queue(&mut self, last_ordinal: u64) -> Queue {
        self.numbers += 1;
        Queue { number: self.numbers, last_ordinal }
    }

    fn session(&mut self, line: SessionLine) -> Result<(), String> {
        let client_id = line.client_id;
        if self.clients.contains_key(&client_id) {
            return Err(format!("client id {client_id:?} has a session already"));
        }
        if client_id.is_empty() || client_id.len() > usize::from(u16::MAX) {
            return Err("a client id has 1 to 65535 bytes".to_owned());
        }
        let queue = self.queue(line.last_ordinal);
        if line.unreleased_packet_ids.iter().any(|id| PacketId::new(*id).is_none()) {
            return Err("a packet identifier is 1 to 65535".to_owned());
        }
        let subscriptions = line.subscriptions.into_iter().map(subscription);
        let state = SessionState {
            number: queue.number,
            client_id: client_id.clone(),
            expiry_interval: line.expiry_interval_seconds,
            detached_at_micros: line.away_since_micros,
            will: line.will.map(will).transpose()?,
            last_ordinal: line.last_ordinal,
            sent_through: line.sent_through,
            subscriptions: subscriptions.collect::<Result<_, _>>()?,
            taken: line.unreleased_packet_ids,
            received: line.received_ordinals,
            user: None,
        };
        for change in state.into_changes(self.log.segment_bytes()) {
            self.log.append(CHANGE, &change.encode());
        }
        self.clients.insert(client_id, queue);
        self.imported.sessions += 1;
        Ok(())
    }

    fn user(&mut self, UserLine { client_id, user }: UserLine) -> Result<(), String> {
        let queue = self.clients.get(&client_id);
        let queue = queue.ok_or_else(|| format!("client id {client_id:?} has no session yet"))?;
        let change = Change::User { session: queue.number, user };
        self.log.append(CHANGE, &change.encode());
        Ok(())
    }

    fn group(&mut self, GroupLine { name }: GroupLine) -> Result<(), String> {
        let parsed = SubscriptionFilter::parse(&name).map_err(|error| error.to_string())?;
        if !parsed.is_shared() {
            return Err(format!("{name:?} is no $share/GROUP/FILTER"));
        }
        if self.groups.contains_key(&name) {
            return Err(format!("{name:?} was there already"));
        }
        let filter = parsed.topic_filter().as_str().to_owned();
        let queue = self.queue(0);
        let change = Change::Group { group: queue.number, name: name.clone(), filter };
        self.log.append(CHANGE, &change.encode());
        self.groups.insert(name, queue);
        Ok(())
    }

    fn message(&mut self, line: &MessageLine) -> Result<(), String> {
        let (properties, payload) = line.content.parts()?;
        let message = checked(&line.topic, &properties, &payload, quality(line.qos)?, line.retain)?;
        let mut head = MessageHead::of(&crate::message::Publication::of(&message));
        head.retain = line.retain;
        head.stored = line.is_retained_message;
        head.expires = line.expires_at_micros.map_or(Time::NEVER, Time::from_micros);
        head.stamp = match (line.is_retained_message, line.stamp) {
            (true, 0) => Stamp(self.now.as_micros() << 6),
            (_, stamp) => Stamp(stamp),
        };
        for owed in &line.owed {
            head.targets.push(self.target(owed)?);
        }
        let mut record = Vec::new();
        head.encode(&mut record);
        record.extend_from_slice(message.body());
        self.log.append(MESSAGE, &record);
        self.imported.messages += 1;
        Ok(())
    }

    fn target(&mut self, line: &OwedLine) -> Result<Target, String> {
        let (queue, name) = match (&line.client_id, &line.shared_group) {
            (Some(client_id), None) => (self.clients.get_mut(client_id), client_id),
            (None, Some(group)) => (self.groups.get_mut(group), group),
            _ => return Err("a message is owed to a `client_id` or to a `shared_group`".to_owned()),
        };
        let queue = queue.ok_or_else(|| format!("no line before this one is of {name:?}"))?;
        let ordinal = line.ordinal.unwrap_or(queue.last_ordinal + 1);
        if ordinal == 0 {
            return Err("ordinals begin at 1".to_owned());
        }
        queue.last_ordinal = queue.last_ordinal.max(ordinal);
        let qos = quality(line.qos)?;
        let subscription_ids = line.subscription_identifiers.clone();
        Ok(Target { queue: queue.number, ordinal, qos, retain: line.retain, subscription_ids })
    }
}

fn quality(qos: u8) -> Result<QoS, String> {
    QoS::from_bits(qos).ok_or_else(|| format!("found QoS {qos}, expected 0, 1 or 2"))
}

fn subscription(line: SubscriptionLine) -> Result<SubscriptionState, String> {
    SubscriptionFilter::parse(&line.filter)
        .map_err(|error| format!("filter {:?}: {error}", line.filter))?;
    let mut options = quality(line.qos)? as u8;
    options |= if line.no_local { 0b100 } else { 0 };
    options |= if line.retain_as_published { 0b1000 } else { 0 };
    options |= line.retain_handling << 4;
    if line.retain_handling > 2 || SubscriptionOptions::from_byte(Version::V5, options).is_err() {
        return Err(format!("found retain_handling {}, expected 0, 1 or 2", line.retain_handling));
    }
    Ok(SubscriptionState { filter: line.filter, options, id: line.identifier })
}

fn will(line: WillLine) -> Result<WillState, String> {
    let (properties, payload) = line.content.parts()?;
    let message = checked(&line.topic, &properties, &payload, quality(line.qos)?, line.retain)?;
    let mut properties = Vec::new();
    message.properties().write_to(&mut properties);
    Ok(WillState {
        topic: line.topic,
        properties,
        payload,
        qos: line.qos,
        retain: line.retain,
        message_expiry_interval: line.message_expiry_interval_seconds,
        delay_interval: line.delay_interval_seconds,
    })
}

/// A message, if the codec finds it right.
fn checked(
    topic: &str,
    properties: &[u8],
    payload: &[u8],
    qos: QoS,
    retain: bool,
) -> Result<Arc<Message>, String> {
    let packet = publish_packet(topic, properties, payload);
    let frame = match Frame::cut(&packet, PACKET_SIZE_MAX as u32) {
        Ok(Cut::Whole { frame, .. }) => frame,
        _ => return Err(format!("the message on {topic:?} is larger than a packet can be")),
    };
    let publish = match Packet::decode_from_server(Version::V5, frame) {
        Ok(Packet::Publish(publish)) => publish,
        Ok(_) => unreachable!("it is a PUBLISH"),
        Err(error) => return Err(format!("the message on {topic:?}: {error}")),
    };
    let mut forwarded = Vec::new();
    publish.properties.forward.write_to(&mut forwarded);
    Ok(Arc::new(Message::from_parts(topic, &forwarded, payload, qos, retain)))
}

/// A PUBLISH of MQTT 5.0 with whatever properties these are. A length that is too long for the
/// format is refused when it is read.
fn publish_packet(topic: &str, properties: &[u8], payload: &[u8]) -> Vec<u8> {
    let topic_bytes = u16::try_from(topic.len()).unwrap_or(u16::MAX);
    let mut body = topic_bytes.to_be_bytes().to_vec();
    body.extend_from_slice(&topic.as_bytes()[..usize::from(topic_bytes)]);
    write_varint(properties.len() as u64, &mut body);
    body.extend_from_slice(properties);
    body.extend_from_slice(payload);
    let mut packet = vec![0x30];
    write_varint(body.len() as u64, &mut packet);
    packet.append(&mut body);
    packet
}
