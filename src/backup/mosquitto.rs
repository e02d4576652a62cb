//! Mosquitto's `mosquitto.db`, versions 5 and 6 (Mosquitto 1.6 to 2.0), as lines.
//!
//! The file is a header (15 bytes of magic, a checksum that is not used, a version) and chunks of
//! a type, a length and their content. Numbers are big-endian, but for the message numbers and
//! times, which are the writing machine's own. Source: `src/persist.h` of Mosquitto.

use std::collections::BTreeMap;
use std::path::Path;

use super::import::{Import, ImportError, Importer};
use super::line::{Content, Line, MessageLine, OwedLine, SessionLine, SubscriptionLine};
use crate::proto::SubscriptionFilter;
use crate::time::Time;

const MAGIC: &[u8] = b"\x00\xB5\x00mosquitto db";

/// How far a message to a client has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Queued,
    Sent,
    /// QoS 2: its PUBREC has come.
    Received,
}

impl State {
    /// Of what Mosquitto calls `mosquitto_msg_state`.
    fn of(number: u8) -> State {
        match number {
            // wait_for_puback, wait_for_pubrec
            3 | 5 => State::Sent,
            // resend_pubrel, wait_for_pubcomp
            6 | 9 => State::Received,
            _ => State::Queued,
        }
    }
}

/// Reads the content of a `mosquitto.db` into a data directory that keeps nothing yet.
///
/// # Errors
///
/// See [`ImportError`].
pub fn import(db: &[u8], directory: &Path, now: Time) -> Result<Import, ImportError> {
    let database = Database::read(db).map_err(ImportError::Mosquitto)?;
    let mut importer = Importer::begin(directory, now)?;
    for line in database.lines(now) {
        importer.line(line).map_err(ImportError::Mosquitto)?;
    }
    importer.finish()
}

/// What the file says.
#[derive(Default)]
struct Database {
    version: u32,
    clients: BTreeMap<String, Client>,
    messages: BTreeMap<u64, Stored>,
    retained: Vec<u64>,
    /// QoS 2 messages that their senders have not released.
    unreleased: Vec<u64>,
}

#[derive(Default)]
struct Client {
    /// Seconds of 1970; 0 is none.
    expires_at: i64,
    expiry_interval: u32,
    subscriptions: Vec<SubscriptionLine>,
    /// In the order they are owed.
    owed: Vec<Owed>,
    /// Of QoS 2 messages that it sent and has not released.
    unreleased_packet_ids: Vec<u16>,
}

struct Owed {
    message: u64,
    packet_id: u16,
    qos: u8,
    retain: bool,
    state: State,
    subscription_ids: Vec<u32>,
}

struct Stored {
    topic: String,
    properties: Vec<u8>,
    payload: Vec<u8>,
    qos: u8,
    retain: bool,
    /// Seconds of 1970; 0 is never.
    expires_at: i64,
}

type Read<T> = Result<T, String>;

impl Database {
    fn read(db: &[u8]) -> Read<Database> {
        let mut database = Database::default();
        let mut reader = Reader { bytes: db, at: 0 };
        if reader.take(MAGIC.len()).ok() != Some(MAGIC) {
            return Err("this is no mosquitto.db: it does not begin like one".to_owned());
        }
        reader.take(4)?;
        database.version = reader.u32()?;
        if !matches!(database.version, 5 | 6) {
            return Err(format!(
                "found version {} of mosquitto.db, expected 5 or 6; start and stop Mosquitto 1.6 \
                 or later once with it, which writes it anew",
                database.version
            ));
        }
        while reader.at < db.len() {
            let (kind, length) = (reader.u32()?, reader.u32()?);
            let chunk = reader.take(length as usize)?;
            let mut chunk = Reader { bytes: chunk, at: 0 };
            let at = reader.at - length as usize;
            let taken = match kind {
                2 => database.message(&mut chunk),
                3 => database.client_message(&mut chunk),
                4 => chunk.host_u64().map(|message| database.retained.push(message)),
                5 => database.subscription(&mut chunk),
                6 => database.client(&mut chunk),
                // Configuration of the file, and what later versions may add.
                _ => Ok(()),
            };
            taken.map_err(|why| format!("at byte {at}, in a chunk of type {kind}: {why}"))?;
        }
        Ok(database)
    }

    fn message(&mut self, chunk: &mut Reader<'_>) -> Read<()> {
        let (number, expires_at) = (chunk.host_u64()?, chunk.host_u64()?.cast_signed());
        let payload_bytes = chunk.u32()? as usize;
        let _source_packet_id = chunk.u16()?;
        let (source_id, source_username) = (chunk.u16()?, chunk.u16()?);
        let topic_bytes = chunk.u16()?;
        let _source_port = chunk.u16()?;
        let (qos, retain) = (chunk.u8()?, chunk.u8()? != 0);
        chunk.take(usize::from(source_id) + usize::from(source_username))?;
        let topic = chunk.text(topic_bytes)?;
        let payload = chunk.take(payload_bytes)?.to_vec();
        let properties = chunk.properties()?.to_vec();
        let stored = Stored { topic, properties, payload, qos, retain, expires_at };
        self.messages.insert(number, stored);
        Ok(())
    }

    fn client_message(&mut self, chunk: &mut Reader<'_>) -> Read<()> {
        let message = chunk.host_u64()?;
        let (packet_id, client_id_bytes) = (chunk.u16()?, chunk.u16()?);
        let (qos, state) = (chunk.u8()?, State::of(chunk.u8()?));
        let (retain_dup, direction) = (chunk.u8()?, chunk.u8()?);
        let client_id = chunk.text(client_id_bytes)?;
        let subscription_ids = subscription_ids(chunk.properties()?);
        let client = self.clients.entry(client_id).or_default();
        if direction == 0 {
            client.unreleased_packet_ids.push(packet_id);
            self.unreleased.push(message);
        } else {
            let retain = retain_dup >> 4 != 0;
            client.owed.push(Owed { message, packet_id, qos, retain, state, subscription_ids });
        }
        Ok(())
    }

    fn subscription(&mut self, chunk: &mut Reader<'_>) -> Read<()> {
        let identifier = chunk.u32()?;
        let (client_id_bytes, filter_bytes) = (chunk.u16()?, chunk.u16()?);
        let (qos, options) = (chunk.u8()?, chunk.u8()?);
        chunk.take(2)?;
        let client_id = chunk.text(client_id_bytes)?;
        let subscription = SubscriptionLine {
            filter: chunk.text(filter_bytes)?,
            qos: qos & 0b11,
            no_local: options & 0b100 != 0,
            retain_as_published: options & 0b1000 != 0,
            retain_handling: options >> 4 & 0b11,
            identifier,
        };
        self.clients.entry(client_id).or_default().subscriptions.push(subscription);
        Ok(())
    }

    fn client(&mut self, chunk: &mut Reader<'_>) -> Read<()> {
        let expires_at = chunk.host_u64()?.cast_signed();
        let expiry_interval = chunk.u32()?;
        let _last_packet_id = chunk.u16()?;
        let client_id_bytes = chunk.u16()?;
        if self.version >= 6 {
            let _listener_port = chunk.u16()?;
            let _username_bytes = chunk.u16()?;
            chunk.take(4)?;
        }
        let client_id = chunk.text(client_id_bytes)?;
        let client = self.clients.entry(client_id).or_default();
        (client.expires_at, client.expiry_interval) = (expires_at, expiry_interval);
        Ok(())
    }

    /// Sessions, then messages with whom they are owed to.
    fn lines(mut self, now: Time) -> Vec<Line> {
        let mut owed: BTreeMap<u64, Vec<OwedLine>> = BTreeMap::new();
        let mut sessions: Vec<SessionLine> = Vec::new();
        for (client_id, client) in std::mem::take(&mut self.clients) {
            sessions.push(client.session(client_id, now, &mut owed));
        }
        for message in &self.unreleased {
            if let Some(stored) = self.messages.get(message) {
                hand_out(*message, stored, &mut sessions, &mut owed);
            }
        }
        let mut lines: Vec<Line> = sessions.into_iter().map(Line::Session).collect();
        for (number, stored) in self.messages {
            let is_retained_message = self.retained.contains(&number);
            let owed = owed.remove(&number).unwrap_or_default();
            if is_retained_message || !owed.is_empty() {
                lines.push(Line::Message(stored.line(is_retained_message, owed)));
            }
        }
        lines
    }
}

impl Client {
    fn session(
        self,
        client_id: String,
        now: Time,
        owed: &mut BTreeMap<u64, Vec<OwedLine>>,
    ) -> SessionLine {
        let mut session = SessionLine {
            client_id,
            expiry_interval_seconds: self.expiry_interval,
            away_since_micros: self.away_since(now),
            subscriptions: self.subscriptions,
            unreleased_packet_ids: self.unreleased_packet_ids,
            ..SessionLine::default()
        };
        for message in self.owed {
            let ordinal = message.ordinal(session.last_ordinal);
            session.last_ordinal = ordinal;
            match message.state {
                State::Received => session.received_ordinals.push(ordinal),
                State::Sent | State::Queued => {
                    let line = message.line(&session.client_id, ordinal);
                    owed.entry(message.message).or_default().push(line);
                }
            }
            if message.state != State::Queued {
                session.sent_through = ordinal;
            }
        }
        session
    }

    /// Since when it is away; now if that is not kept.
    fn away_since(&self, now: Time) -> Option<u64> {
        let since = self.expires_at.saturating_sub(i64::from(self.expiry_interval));
        let is_kept = self.expires_at > 0 && since > 0 && self.expiry_interval != u32::MAX;
        Some(if is_kept { since.unsigned_abs().saturating_mul(1_000_000) } else { now.as_micros() })
    }
}

impl Owed {
    /// Its ordinal behind another one: the next, but the packet identifier of what was sent is
    /// that of its ordinal.
    fn ordinal(&self, last: u64) -> u64 {
        let Some(index) = self.packet_id.checked_sub(1).filter(|_| self.state != State::Queued)
        else {
            return last + 1;
        };
        let identifiers = u64::from(u16::MAX);
        last + 1 + (u64::from(index) + identifiers - last % identifiers) % identifiers
    }

    fn line(&self, client_id: &str, ordinal: u64) -> OwedLine {
        OwedLine {
            client_id: Some(client_id.to_owned()),
            ordinal: Some(ordinal),
            qos: self.qos,
            retain: self.retain,
            subscription_identifiers: self.subscription_ids.clone(),
            ..OwedLine::default()
        }
    }
}

impl Stored {
    fn line(self, is_retained_message: bool, owed: Vec<OwedLine>) -> MessageLine {
        let expires_at = u64::try_from(self.expires_at).ok().filter(|seconds| *seconds > 0);
        MessageLine {
            topic: self.topic,
            qos: self.qos,
            retain: self.retain,
            is_retained_message,
            content: Content::of(&self.properties, &self.payload),
            expires_at_micros: expires_at.map(|seconds| seconds.saturating_mul(1_000_000)),
            owed,
            ..MessageLine::default()
        }
    }
}

/// A QoS 2 message that Mosquitto had and would have handed out at its PUBREL: Hawker hands out
/// at once. Of a shared group the first member gets it.
fn hand_out(
    number: u64,
    stored: &Stored,
    sessions: &mut [SessionLine],
    owed: &mut BTreeMap<u64, Vec<OwedLine>>,
) {
    let mut groups = Vec::new();
    for session in sessions {
        let (mut qos, mut subscription_identifiers) = (None, Vec::new());
        for subscription in &session.subscriptions {
            let Ok(filter) = SubscriptionFilter::parse(&subscription.filter) else { continue };
            if !filter.topic_filter().matches(&stored.topic) {
                continue;
            }
            if filter.is_shared() {
                if groups.contains(&subscription.filter) {
                    continue;
                }
                groups.push(subscription.filter.clone());
            }
            qos = qos.max(Some(subscription.qos.min(stored.qos)));
            subscription_identifiers.extend(Some(subscription.identifier).filter(|id| *id != 0));
        }
        let Some(qos) = qos else { continue };
        session.last_ordinal += 1;
        owed.entry(number).or_default().push(OwedLine {
            client_id: Some(session.client_id.clone()),
            ordinal: Some(session.last_ordinal),
            qos,
            subscription_identifiers,
            ..OwedLine::default()
        });
    }
}

/// The subscription identifiers among encoded properties.
fn subscription_ids(properties: &[u8]) -> Vec<u32> {
    let mut reader = Reader { bytes: properties, at: 0 };
    let mut ids = Vec::new();
    while reader.u8() == Ok(0x0B) {
        match reader.variable() {
            Ok(id) => ids.push(id),
            Err(_) => break,
        }
    }
    ids
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Read<&'a [u8]> {
        let rest = &self.bytes[self.at..];
        let taken = rest.get(..count).ok_or_else(|| {
            format!("the file ends too early: {} bytes where {count} belong", rest.len())
        })?;
        self.at += count;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Read<[u8; N]> {
        self.take(N).map(|bytes| bytes.try_into().expect("as many as were asked for"))
    }

    fn u8(&mut self) -> Read<u8> {
        self.array().map(|[byte]| byte)
    }

    fn u16(&mut self) -> Read<u16> {
        self.array().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Read<u32> {
        self.array().map(u32::from_be_bytes)
    }

    fn host_u64(&mut self) -> Read<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn text(&mut self, bytes: u16) -> Read<String> {
        let bytes = self.take(usize::from(bytes))?;
        String::from_utf8(bytes.to_vec()).map_err(|_| "a text is not UTF-8".to_owned())
    }

    fn variable(&mut self) -> Read<u32> {
        let mut value = 0;
        for shift in [0, 7, 14, 21] {
            let byte = self.u8()?;
            value |= u32::from(byte & 0x7F) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err("a length has more than 4 bytes".to_owned())
    }

    /// Properties with their length before them; none where the chunk ends.
    fn properties(&mut self) -> Read<&'a [u8]> {
        if self.at == self.bytes.len() {
            return Ok(&[]);
        }
        let length = self.variable()?;
        self.take(length as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DB: &[u8] = include_bytes!("../../tests/durability/mosquitto-2.0.11.db");

    #[test]
    fn a_file_cut_anywhere_is_refused_or_read_as_far_as_it_goes() {
        for length in 0..DB.len() {
            if let Ok(database) = Database::read(&DB[..length]) {
                database.lines(Time::from_micros(1));
            }
        }
    }

    #[test]
    fn a_file_with_any_byte_wrong_is_refused_or_read_as_it_is() {
        for at in 0..DB.len() {
            let mut db = DB.to_vec();
            db[at] ^= 0xFF;
            if let Ok(database) = Database::read(&db) {
                database.lines(Time::from_micros(1));
            }
        }
    }

    #[test]
    fn what_was_sent_has_the_ordinal_of_its_packet_identifier() {
        let owed = |packet_id, state| Owed {
            message: 1,
            packet_id,
            qos: 1,
            retain: false,
            state,
            subscription_ids: Vec::new(),
        };
        assert_eq!(owed(7, State::Sent).ordinal(0), 7);
        assert_eq!(owed(8, State::Sent).ordinal(7), 8);
        assert_eq!(owed(1, State::Sent).ordinal(65_535), 65_536, "identifiers begin again");
        assert_eq!(owed(5, State::Sent).ordinal(65_535 + 5), 2 * 65_535 + 5);
        assert_eq!(owed(9, State::Queued).ordinal(3), 4, "its identifier is not taken yet");
    }
}
