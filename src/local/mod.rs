//! Clients within the broker's own process.
//!
//! They speak MQTT 5.0 over a pair of sockets to a shard, so whatever holds for a client holds for
//! them: order, acknowledgements that wait for the log, queues. They need not say who they are and
//! may do everything.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::sync::Arc;

use bytes::Bytes;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc, oneshot};

use crate::proto::{
    Ack, Connect, Cut, Frame, Packet, PacketId, Publish, PublishProperties, QoS, ReasonCode,
    RetainHandling, Subscribe, SubscribeFilters, SubscriptionOptions, TopicName, UserProperties,
    Version,
};

/// Unacknowledged messages of one publisher; fewer than any broker's receive maximum by default.
const IN_FLIGHT_MAX: usize = 512;

/// Messages that wait for whoever subscribed; beyond them the broker's queue takes over.
const WAITING_MAX: usize = 256;

/// Largest packet taken: what the specification allows.
const PACKET_BYTES_MAX: u32 = u32::MAX;

/// Opens connections to the shards.
#[derive(Clone)]
pub struct Locals {
    /// Gives a shard the other end.
    hand_over: Arc<dyn Fn(OwnedFd) + Send + Sync>,
    /// Where the sockets are served.
    handle: Handle,
}

/// Why something could not be done within the process.
#[derive(Debug)]
pub enum LocalError {
    /// The topic or filter is none.
    Topic,
    /// The broker says no, and why.
    Refused(ReasonCode),
    /// The broker stops, or there are no descriptors left.
    Gone,
}

impl fmt::Display for LocalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LocalError::Topic => f.write_str("no topic name, or no topic filter"),
            LocalError::Refused(reason) => reason.fmt(f),
            LocalError::Gone => f.write_str("the broker takes no more connections"),
        }
    }
}

impl std::error::Error for LocalError {}

/// A message, as a client within the process sends and gets it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LocalMessage {
    /// Its topic.
    pub topic: String,
    /// Its payload.
    pub payload: Bytes,
    /// At which QoS it is sent, or was delivered.
    pub qos: QoS,
    /// To be kept as the topic's, or kept as that.
    pub retain: bool,
}

impl Locals {
    pub(crate) fn new(
        hand_over: impl Fn(OwnedFd) + Send + Sync + 'static,
        handle: Handle,
    ) -> Locals {
        Locals { hand_over: Arc::new(hand_over), handle }
    }

    /// A client that publishes. The future can be awaited by any executor.
    ///
    /// # Errors
    ///
    /// [`LocalError::Gone`] if the broker stops or has no descriptors left.
    pub async fn publisher(&self) -> Result<Publisher, LocalError> {
        let (sender, requests) = mpsc::unbounded_channel();
        let link = self.link().await?;
        self.handle.spawn(serve_publisher(link, requests));
        Ok(Publisher { sender, room: Arc::new(Semaphore::new(IN_FLIGHT_MAX)) })
    }

    /// A client that subscribes to topic filters, `$share/...` included, at these QoS. Retained
    /// messages come first. The future can be awaited by any executor.
    ///
    /// # Errors
    ///
    /// [`LocalError::Topic`] if a filter is none; [`LocalError::Refused`]; [`LocalError::Gone`].
    pub async fn subscribe(&self, filters: &[(&str, QoS)]) -> Result<Subscription, LocalError> {
        let mut link = self.link().await?;
        let options = |qos| SubscriptionOptions {
            qos,
            no_local: false,
            retain_as_published: true,
            retain_handling: RetainHandling::Send,
        };
        let filters: Vec<(&str, SubscriptionOptions)> =
            filters.iter().map(|(filter, qos)| (*filter, options(*qos))).collect();
        let encoded = SubscribeFilters::encode_list(Version::V5, &filters);
        let filters =
            SubscribeFilters::from_encoded(Version::V5, &encoded).map_err(|_| LocalError::Topic)?;
        let packet_id = PacketId::FIRST;
        let user_properties = UserProperties::NONE;
        let subscribe = Subscribe { packet_id, subscription_id: None, user_properties, filters };
        link.write(&Packet::Subscribe(subscribe)).await?;
        let (sender, messages) = mpsc::channel(WAITING_MAX);
        let (taken, answer) = oneshot::channel();
        self.handle.spawn(serve_subscription(link, sender, taken));
        answer.await.map_err(|_| LocalError::Gone)??;
        Ok(Subscription { messages })
    }

    async fn link(&self) -> Result<Link, LocalError> {
        let gone = |_: io::Error| LocalError::Gone;
        let (ours, theirs) = StdUnixStream::pair().map_err(gone)?;
        ours.set_nonblocking(true).map_err(gone)?;
        (self.hand_over)(theirs.into());
        let stream = {
            let _within = self.handle.enter();
            UnixStream::from_std(ours).map_err(gone)?
        };
        let (reader, writer) = stream.into_split();
        let mut link = Link { reader, writer, unread: Vec::new(), consumed: 0 };
        let mut connect = Connect::new(Version::V5, "");
        connect.clean_start = true;
        link.write(&Packet::Connect(connect)).await?;
        match link.read().await? {
            Packet::ConnAck(connack) if connack.reason == ReasonCode::Success => {}
            Packet::ConnAck(connack) => return Err(LocalError::Refused(connack.reason)),
            _ => return Err(LocalError::Gone),
        }
        Ok(link)
    }
}

/// One end of the pair.
struct Link {
    reader: OwnedReadHalf,
    writer: OwnedWriteHalf,
    unread: Vec<u8>,
    /// Bytes at the front of `unread` that were looked at.
    consumed: usize,
}

impl Link {
    async fn write(&mut self, packet: &Packet<'_>) -> Result<(), LocalError> {
        let mut bytes = Vec::new();
        packet.encode(Version::V5, &mut bytes);
        self.writer.write_all(&bytes).await.map_err(|_| LocalError::Gone)
    }

    /// The next packet. Dropped while it waits, it has lost nothing.
    async fn read(&mut self) -> Result<Packet<'_>, LocalError> {
        self.unread.drain(..std::mem::take(&mut self.consumed));
        loop {
            match Frame::cut(&self.unread, PACKET_BYTES_MAX) {
                Ok(Cut::Whole { size, .. }) => {
                    self.consumed = size;
                    break;
                }
                Ok(Cut::Partial { .. }) => {}
                Err(_) => return Err(LocalError::Gone),
            }
            if self.reader.read_buf(&mut self.unread).await.unwrap_or(0) == 0 {
                return Err(LocalError::Gone);
            }
        }
        let Ok(Cut::Whole { frame, .. }) = Frame::cut(&self.unread, PACKET_BYTES_MAX) else {
            unreachable!("it was cut above");
        };
        Packet::decode_from_server(Version::V5, frame).map_err(|_| LocalError::Gone)
    }
}

/// A client that publishes. Its clones share a connection and its order.
#[derive(Clone)]
pub struct Publisher {
    sender: mpsc::UnboundedSender<Request>,
    room: Arc<Semaphore>,
}

struct Request {
    message: LocalMessage,
    answer: oneshot::Sender<ReasonCode>,
}

impl Publisher {
    /// Whether the broker has ended its connection: nothing can be published any more.
    pub fn is_over(&self) -> bool {
        self.sender.is_closed()
    }

    /// Publishes, and waits until the broker has taken the message over: at QoS 0 until it is
    /// sent, else until it is acknowledged, which means what it means to any client.
    ///
    /// # Errors
    ///
    /// [`LocalError::Topic`] for a topic with wildcards, or an empty one; what the broker says.
    pub async fn publish(&self, message: LocalMessage) -> Result<ReasonCode, LocalError> {
        TopicName::new(&message.topic).map_err(|_| LocalError::Topic)?;
        let _room = self.room.acquire().await.map_err(|_| LocalError::Gone)?;
        let (answer, reason) = oneshot::channel();
        self.sender.send(Request { message, answer }).map_err(|_| LocalError::Gone)?;
        let reason = reason.await.map_err(|_| LocalError::Gone)?;
        if reason.is_error() { Err(LocalError::Refused(reason)) } else { Ok(reason) }
    }
}

async fn serve_publisher(mut link: Link, mut requests: mpsc::UnboundedReceiver<Request>) {
    let mut waiting: HashMap<u16, oneshot::Sender<ReasonCode>> = HashMap::new();
    let mut last = 0_u16;
    loop {
        enum Event {
            Request(Request),
            Released(PacketId),
            Done(PacketId, ReasonCode),
        }
        let event = tokio::select! {
            request = requests.recv() => match request {
                Some(request) => Event::Request(request),
                None => return,
            },
            packet = link.read() => match packet {
                Ok(Packet::PubAck(ack) | Packet::PubComp(ack)) => Event::Done(ack.packet_id, ack.reason),
                Ok(Packet::PubRec(ack)) if ack.reason.is_error() => {
                    Event::Done(ack.packet_id, ack.reason)
                }
                Ok(Packet::PubRec(ack)) => Event::Released(ack.packet_id),
                Ok(Packet::Disconnect(_)) | Err(_) => return,
                Ok(_) => continue,
            },
        };
        let sent = match event {
            Event::Done(id, reason) => {
                if let Some(answer) = waiting.remove(&id.get()) {
                    // Whoever asked has gone on.
                    let _ = answer.send(reason);
                }
                Ok(())
            }
            Event::Released(id) => {
                link.write(&Packet::PubRel(Ack::new(id, ReasonCode::Success))).await
            }
            Event::Request(Request { message, answer }) => {
                while last == 0 || waiting.contains_key(&last) {
                    last = last.wrapping_add(1);
                }
                let id = PacketId::new(last).filter(|_| message.qos > QoS::AtMostOnce);
                let sent = link.write(&Packet::Publish(publish(&message, id))).await;
                match id {
                    Some(id) => drop(waiting.insert(id.get(), answer)),
                    None => drop(answer.send(ReasonCode::Success)),
                }
                last = last.wrapping_add(1);
                sent
            }
        };
        if sent.is_err() {
            return;
        }
    }
}

fn publish(message: &LocalMessage, packet_id: Option<PacketId>) -> Publish<'_> {
    Publish {
        dup: false,
        qos: message.qos,
        retain: message.retain,
        topic: TopicName::from_checked(&message.topic),
        packet_id,
        properties: PublishProperties::default(),
        payload: &message.payload,
    }
}

/// What was subscribed to; ends when dropped.
pub struct Subscription {
    messages: mpsc::Receiver<LocalMessage>,
}

impl Subscription {
    /// The next message; nothing once the broker stops.
    pub async fn next(&mut self) -> Option<LocalMessage> {
        self.messages.recv().await
    }
}

/// Acknowledges what was handed on: who does not take it has it in the broker's queue.
async fn serve_subscription(
    mut link: Link,
    messages: mpsc::Sender<LocalMessage>,
    taken: oneshot::Sender<Result<(), LocalError>>,
) {
    let mut taken = Some(taken);
    loop {
        let packet = tokio::select! {
            packet = link.read() => packet,
            () = messages.closed() => return,
        };
        let answer = match packet {
            Ok(Packet::SubAck(suback)) => {
                let refused = suback.reasons.iter().find(|code| **code >= 0x80);
                let refused = refused.map(|code| ReasonCode::from_u8(*code));
                let outcome = match refused {
                    Some(reason) => {
                        Err(LocalError::Refused(reason.unwrap_or(ReasonCode::UnspecifiedError)))
                    }
                    None => Ok(()),
                };
                if let Some(taken) = taken.take() {
                    let _ = taken.send(outcome);
                }
                continue;
            }
            Ok(Packet::Publish(publish)) => {
                let message = LocalMessage {
                    topic: publish.topic.as_str().to_owned(),
                    payload: Bytes::copy_from_slice(publish.payload),
                    qos: publish.qos,
                    retain: publish.retain,
                };
                let acknowledged = publish.packet_id.map(|id| (publish.qos, id));
                if messages.send(message).await.is_err() {
                    return;
                }
                acknowledged
            }
            // The message was handed on when it came.
            Ok(Packet::PubRel(ack)) => {
                let ack = Ack::new(ack.packet_id, ReasonCode::Success);
                if link.write(&Packet::PubComp(ack)).await.is_err() {
                    return;
                }
                continue;
            }
            Ok(Packet::Disconnect(_)) | Err(_) => return,
            Ok(_) => continue,
        };
        let Some((qos, id)) = answer else { continue };
        let ack = Ack::new(id, ReasonCode::Success);
        let packet = match qos {
            QoS::ExactlyOnce => Packet::PubRec(ack),
            _ => Packet::PubAck(ack),
        };
        if link.write(&packet).await.is_err() {
            return;
        }
    }
}
