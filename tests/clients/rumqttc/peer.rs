//! One face for rumqttc's two clients, which differ in types more than in what they do.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rumqttc::v5::mqttbytes::v5::PublishProperties;

use crate::support::Broker;

/// When what has not come counts as never.
const PATIENCE: Duration = Duration::from_secs(30);
/// Requests and inflight messages a client holds; below any broker's receive maximum.
const WINDOW: u16 = 50;
/// Largest packet these tests send.
const PACKET_BYTES_MAX: usize = 16 << 20;

/// A broker and names of one test alone.
pub(super) struct Site {
    port: u16,
    prefix: String,
}

/// How a client connects.
#[derive(Clone, Debug)]
pub(super) struct Options {
    pub(super) client: String,
    pub(super) port: u16,
    /// Whether the session outlives the connection.
    pub(super) persistent: bool,
    /// Topic and payload of a will with QoS 1.
    pub(super) will: Option<(String, String)>,
}

/// An arrived PUBLISH.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) topic: String,
    pub(super) payload: Vec<u8>,
    pub(super) qos: u8,
    pub(super) retain: bool,
    /// Of 5.0.
    pub(super) properties: Option<PublishProperties>,
}

/// What a client's thread reports.
#[derive(Debug)]
pub(super) enum Report {
    Connected {
        session_present: bool,
    },
    Subscribed,
    Unsubscribed,
    /// A PUBACK or PUBCOMP.
    Acknowledged,
    Arrived(Message),
    Ended(String),
}

/// A connected client of one version.
pub(super) trait Peer: Sized {
    fn connect_with(options: Options) -> (Self, bool);
    fn request_subscribe(&self, filter: &str, qos: u8);
    fn request_unsubscribe(&self, filter: &str);
    fn send(&self, topic: &str, payload: &[u8], qos: u8, retain: bool);
    fn link(&mut self) -> &mut Link;
    fn goodbye(self);

    /// Subscribes and waits for SUBACK.
    fn subscribe(&mut self, filter: &str, qos: u8) {
        self.request_subscribe(filter, qos);
        self.link().wait(|report| matches!(report, Report::Subscribed));
    }

    /// Unsubscribes and waits for UNSUBACK.
    fn unsubscribe(&mut self, filter: &str) {
        self.request_unsubscribe(filter);
        self.link().wait(|report| matches!(report, Report::Unsubscribed));
    }

    /// Publishes and waits for the acknowledgement.
    fn publish(&mut self, topic: &str, payload: &[u8], qos: u8, retain: bool) {
        self.send(topic, payload, qos, retain);
        if qos > 0 {
            self.link().wait(|report| matches!(report, Report::Acknowledged));
        }
    }

    /// The next message.
    fn next(&mut self) -> Message {
        if let Some(message) = self.link().passed.pop_front() {
            return message;
        }
        match self.link().wait(|report| matches!(report, Report::Arrived(_))) {
            Report::Arrived(message) => message,
            _ => unreachable!("only an arrival was waited for"),
        }
    }

    /// Checks that the next message is this one, and hands it back.
    fn expect(&mut self, topic: &str, payload: &str) -> Message {
        let message = self.next();
        let found = (message.topic.as_str(), String::from_utf8_lossy(&message.payload));
        assert_eq!(found, (topic, payload.into()));
        message
    }

    /// Loses the connection without a DISCONNECT.
    fn lose(mut self) {
        self.link().stop.store(true, Ordering::Relaxed);
        // Any event wakes the thread, which then lets go of the socket.
        self.send("$nothing", b"", 0, false);
        let thread = self.link().thread.take().expect("it is lost once");
        thread.join().expect("the client's thread does not panic");
    }

    /// Waits for the broker to end the connection.
    fn await_end(&mut self) -> String {
        match self.link().wait(|report| matches!(report, Report::Ended(_))) {
            Report::Ended(why) => why,
            _ => unreachable!("only the end was waited for"),
        }
    }
}

/// The thread that runs a client's connection.
pub(super) struct Link {
    reports: Receiver<Report>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    /// Messages that came while something else was waited for.
    passed: VecDeque<Message>,
}

/// The next message of whichever client gets one, and which it is.
pub(super) fn next_of_any<P: Peer>(peers: &mut [P]) -> (usize, Message) {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        for (index, peer) in peers.iter_mut().enumerate() {
            if let Some(message) = peer.link().try_next() {
                return (index, message);
            }
        }
        thread::sleep(Duration::from_millis(1));
    }
    panic!("no client got a message");
}

impl Site {
    pub(super) fn new(broker: &Broker) -> Site {
        Site { port: broker.port(), prefix: broker.unique() }
    }

    /// A topic of this test alone.
    pub(super) fn topic(&self, name: &str) -> String {
        format!("{}/{name}", self.prefix)
    }

    /// How a client of this test connects.
    pub(super) fn options(&self, client: &str) -> Options {
        let client = format!("{}-{client}", self.prefix);
        Options { client, port: self.port, persistent: false, will: None }
    }

    /// A connected client.
    pub(super) fn connect<P: Peer>(&self, client: &str) -> P {
        P::connect_with(self.options(client)).0
    }

    /// A connected client whose session outlives its connection, and whether there was one.
    pub(super) fn persistent<P: Peer>(&self, client: &str) -> (P, bool) {
        P::connect_with(Options { persistent: true, ..self.options(client) })
    }
}

impl Link {
    /// Starts a thread that takes `next` report after report until there is none.
    fn start(mut next: impl FnMut() -> Option<Option<Report>> + Send + 'static) -> Link {
        let (sender, reports) = channel();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            while let Some(event) = next() {
                let ended = matches!(event, Some(Report::Ended(_)));
                if let Some(report) = event {
                    let _ = sender.send(report);
                }
                if ended || stopped.load(Ordering::Relaxed) {
                    break;
                }
            }
        });
        Link { reports, stop, thread: Some(thread), passed: VecDeque::new() }
    }

    /// A message that is there already.
    fn try_next(&mut self) -> Option<Message> {
        while let Ok(report) = self.reports.try_recv() {
            match report {
                Report::Arrived(message) => self.passed.push_back(message),
                Report::Ended(why) => panic!("the connection ended: {why}"),
                _ => {}
            }
        }
        self.passed.pop_front()
    }

    /// The next report that `wanted` takes; messages on the way are kept.
    fn wait(&mut self, wanted: impl Fn(&Report) -> bool) -> Report {
        loop {
            match self.reports.recv_timeout(PATIENCE) {
                Ok(report) if wanted(&report) => return report,
                Ok(Report::Arrived(message)) => self.passed.push_back(message),
                Ok(Report::Ended(why)) => panic!("the connection ended: {why}"),
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout) => panic!("what was waited for never came"),
                Err(RecvTimeoutError::Disconnected) => panic!("the client's thread ended"),
            }
        }
    }
}

/// A client of 3.1.1.
pub(super) struct V4 {
    client: rumqttc::Client,
    link: Link,
}

/// A client of 5.0.
pub(super) struct V5 {
    pub(super) client: rumqttc::v5::Client,
    link: Link,
}

fn options_of_v4(options: &Options) -> rumqttc::MqttOptions {
    let mut found = rumqttc::MqttOptions::new(&options.client, "127.0.0.1", options.port);
    found.set_keep_alive(Duration::from_secs(60));
    found.set_clean_session(!options.persistent);
    found.set_max_packet_size(PACKET_BYTES_MAX, PACKET_BYTES_MAX);
    found.set_inflight(WINDOW);
    if let Some((topic, payload)) = &options.will {
        let will = rumqttc::LastWill::new(topic, payload.clone(), qos_of_v4(1), false);
        found.set_last_will(will);
    }
    found
}

fn options_of_v5(options: &Options) -> rumqttc::v5::MqttOptions {
    let mut found = rumqttc::v5::MqttOptions::new(&options.client, "127.0.0.1", options.port);
    found.set_keep_alive(Duration::from_secs(60));
    found.set_clean_start(!options.persistent);
    found.set_session_expiry_interval(options.persistent.then_some(3600));
    found.set_max_packet_size(Some(PACKET_BYTES_MAX as u32));
    found.set_outgoing_inflight_upper_limit(WINDOW);
    if let Some((topic, payload)) = &options.will {
        let qos = qos_of_v5(1);
        let will =
            rumqttc::v5::mqttbytes::v5::LastWill::new(topic, payload.clone(), qos, false, None);
        found.set_last_will(will);
    }
    found
}

fn qos_of_v4(qos: u8) -> rumqttc::QoS {
    rumqttc::qos(qos).expect("tests use QoS 0 to 2")
}

fn qos_of_v5(qos: u8) -> rumqttc::v5::mqttbytes::QoS {
    rumqttc::v5::mqttbytes::qos(qos).expect("tests use QoS 0 to 2")
}

fn report_of_v4(event: rumqttc::Event) -> Option<Report> {
    use rumqttc::{Event, Packet};

    let Event::Incoming(packet) = event else { return None };
    match packet {
        Packet::ConnAck(ack) => Some(Report::Connected { session_present: ack.session_present }),
        Packet::SubAck(_) => Some(Report::Subscribed),
        Packet::UnsubAck(_) => Some(Report::Unsubscribed),
        Packet::PubAck(_) | Packet::PubComp(_) => Some(Report::Acknowledged),
        Packet::Publish(publish) => Some(Report::Arrived(Message {
            topic: publish.topic,
            payload: publish.payload.to_vec(),
            qos: publish.qos as u8,
            retain: publish.retain,
            properties: None,
        })),
        _ => None,
    }
}

fn report_of_v5(event: rumqttc::v5::Event) -> Option<Report> {
    use rumqttc::v5::Event;
    use rumqttc::v5::mqttbytes::v5::Packet;

    let Event::Incoming(packet) = event else { return None };
    match packet {
        Packet::ConnAck(ack) => Some(Report::Connected { session_present: ack.session_present }),
        Packet::SubAck(_) => Some(Report::Subscribed),
        Packet::UnsubAck(_) => Some(Report::Unsubscribed),
        Packet::PubAck(_) | Packet::PubComp(_) => Some(Report::Acknowledged),
        Packet::Publish(publish) => Some(Report::Arrived(Message {
            topic: String::from_utf8_lossy(&publish.topic).into_owned(),
            payload: publish.payload.to_vec(),
            qos: publish.qos as u8,
            retain: publish.retain,
            properties: publish.properties,
        })),
        Packet::Disconnect(disconnect) => {
            Some(Report::Ended(format!("{:?}", disconnect.reason_code)))
        }
        _ => None,
    }
}

/// The same words for both versions.
macro_rules! peer {
    ($peer:ident, $client:ty, $options:ident, $qos:ident, $report:ident) => {
        impl Peer for $peer {
            fn connect_with(options: Options) -> (Self, bool) {
                let (client, mut connection) =
                    <$client>::new($options(&options), usize::from(WINDOW));
                let link = Link::start(move || match connection.recv() {
                    Ok(Ok(event)) => Some($report(event)),
                    Ok(Err(error)) => Some(Some(Report::Ended(format!("{error:?}")))),
                    Err(_) => None,
                });
                let mut peer = $peer { client, link };
                let connected = |report: &Report| matches!(report, Report::Connected { .. });
                match peer.link.wait(connected) {
                    Report::Connected { session_present } => (peer, session_present),
                    _ => unreachable!("only the CONNACK was waited for"),
                }
            }

            fn request_subscribe(&self, filter: &str, qos: u8) {
                self.client.subscribe(filter, $qos(qos)).expect("the client's thread takes it");
            }

            fn request_unsubscribe(&self, filter: &str) {
                self.client.unsubscribe(filter).expect("the client's thread takes it");
            }

            fn send(&self, topic: &str, payload: &[u8], qos: u8, retain: bool) {
                self.client
                    .publish(topic, $qos(qos), retain, payload.to_vec())
                    .expect("the client's thread takes it");
            }

            fn link(&mut self) -> &mut Link {
                &mut self.link
            }

            fn goodbye(mut self) {
                self.client.disconnect().expect("the client's thread takes it");
                self.await_end();
            }
        }
    };
}

peer!(V4, rumqttc::Client, options_of_v4, qos_of_v4, report_of_v4);
peer!(V5, rumqttc::v5::Client, options_of_v5, qos_of_v5, report_of_v5);
