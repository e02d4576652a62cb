//! One thread, one epoll instance, thousands of clients.
//!
//! A turn takes what is ready, lets every client decide, and writes once for each client that has
//! something to say: one read and one write system call for a connection and a wakeup, whatever
//! the number of messages. Nothing is allocated for a message.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use socket2::SockRef;

use crate::client::{Client, OUT_SIZE_MAX, State};
use crate::count::Count;
use crate::desk::{Desk, Flow, Latencies, Pacing};
use crate::dialler::Dialler;
use crate::ending::Ending;
use crate::findings::Findings;
use crate::layers::tls::Tickets;
use crate::layers::{Layers, LayersError};
use crate::mailbox::{Command, Mailbox};
use crate::plan::Plan;
use crate::poll::{Events, Interest, Poll};
use crate::schedule::Schedule;

/// Events taken in one turn.
const EVENTS_PER_TURN: usize = 1024;

/// Free room for one read.
const READ_SIZE: usize = 256 * 1024;

/// The longest sleep: keep-alive and leave-taking are looked after in between.
const SLEEP_MAX: Duration = Duration::from_millis(500);

/// How long a broker may take to close a connection after DISCONNECT.
const LEAVE_WAIT_US: u64 = 5_000_000;

/// One worker.
#[derive(Debug)]
pub struct Worker {
    plan: Arc<Plan>,
    poll: Poll,
    mailboxes: Arc<[Arc<Mailbox>]>,
    mailbox: Arc<Mailbox>,
    clients: Vec<Client>,
    lines: Vec<Line>,
    desk: Desk,
    dialler: Dialler,
    schedule: Option<Schedule>,
    /// Slots of clients that publish.
    publishers: Vec<u32>,
    kicked: Vec<u32>,
    scratch: Vec<u8>,
    /// MQTT out of what lies around it; empty where nothing does.
    unwrapped: Vec<u8>,
    /// WebSocket frames on their way into TLS.
    frames: Vec<u8>,
    packet_size_max: usize,
    clock: Instant,
    looked_after_us: u64,
}

/// One client's socket.
#[derive(Debug, Default)]
struct Line {
    socket: Option<TcpStream>,
    /// What lies between MQTT and the socket, if anything.
    layers: Option<Box<Layers>>,
    /// The TLS sessions it can go on with.
    tickets: Option<Arc<Tickets>>,
    /// Bytes of the output, the client's or the layers', that are written.
    written: usize,
    /// It is watched for room to write.
    is_blocked: bool,
}

/// A worker's parts that exist before the workers do: all of them know all mailboxes.
#[derive(Debug)]
pub struct Seat {
    poll: Poll,
    /// The mailbox.
    pub mailbox: Arc<Mailbox>,
}

impl Line {
    /// Ends the connection; what is left of it is for the next one.
    fn close(&mut self) -> Option<TcpStream> {
        self.layers = None;
        self.socket.take()
    }
}

impl Seat {
    /// An empty seat.
    pub fn new() -> io::Result<Self> {
        let (poll, waker) = Poll::new()?;
        Ok(Self { poll, mailbox: Arc::new(Mailbox::new(waker)) })
    }
}

impl Worker {
    /// The worker with `number`; its clients may have up to `window` messages unacknowledged.
    #[must_use]
    pub fn new(
        plan: Arc<Plan>,
        number: u16,
        seat: Seat,
        mailboxes: Arc<[Arc<Mailbox>]>,
        flows: Arc<[Flow]>,
        window: usize,
        clock: Instant,
    ) -> Self {
        let clients: Vec<Client> = (0..)
            .zip(&plan.clients)
            .filter(|(_, client)| client.worker == number)
            .map(|(index, client)| Client::new(index, client, plan.qos, window))
            .collect();
        let publishers = (0..)
            .zip(&clients)
            .filter(|(_, client)| !plan.clients[client.index() as usize].publishes.is_empty())
            .map(|(slot, _)| slot)
            .collect();
        let packet_size_max = plan.packet_size_max();
        Self {
            desk: Desk::new(Arc::clone(&plan), number, clients.len(), flows),
            poll: seat.poll,
            mailbox: seat.mailbox,
            mailboxes,
            lines: clients.iter().map(|_| Line::default()).collect(),
            clients,
            dialler: Dialler::default(),
            schedule: None,
            publishers,
            kicked: Vec::new(),
            scratch: vec![0; READ_SIZE],
            unwrapped: Vec::new(),
            frames: Vec::new(),
            packet_size_max,
            clock,
            looked_after_us: 0,
            plan,
        }
    }

    /// Works until told to finish.
    pub fn run(mut self) -> io::Result<Findings> {
        let mut events = Events::new(EVENTS_PER_TURN);
        loop {
            self.poll.wait(self.sleep(), &mut events)?;
            self.desk.now_us = self.now_us();
            self.take_events(&events);
            if self.take_mail() {
                return Ok(self.findings());
            }
            self.dial();
            self.fall_due();
            self.look_after();
            self.proceed();
            self.flush();
            self.kick_others();
            self.mailbox.gauge.publish(&self.desk.tally);
        }
    }

    fn now_us(&self) -> u64 {
        self.clock.elapsed().as_micros() as u64
    }

    fn sleep(&self) -> Duration {
        if !self.desk.ready.is_empty() || !self.desk.dirty.is_empty() {
            return Duration::ZERO;
        }
        let due_us = self.schedule.as_ref().map(Schedule::next_us);
        let dial_us = self.dialler.next_us(self.desk.tally[Count::Arriving]);
        match due_us.into_iter().chain(dial_us).min() {
            None => SLEEP_MAX,
            Some(next_us) => {
                Duration::from_micros(next_us.saturating_sub(self.now_us())).min(SLEEP_MAX)
            }
        }
    }

    fn take_events(&mut self, events: &Events) {
        for event in events.iter() {
            let slot = event.key as u32;
            if event.writable {
                self.desk.dirty.mark(slot);
            }
            if event.readable {
                self.read(slot);
            }
        }
    }

    fn read(&mut self, slot: u32) {
        let client = &mut self.clients[slot as usize];
        let line = &self.lines[slot as usize];
        let Some(socket) = &line.socket else { return };
        if line.layers.is_some() {
            return self.read_through(slot);
        }
        let kept = client.partial.len();
        if self.scratch.len() < kept + READ_SIZE {
            self.scratch.resize(kept + READ_SIZE, 0);
        }
        let size = match (&mut &*socket).read(&mut self.scratch[kept..]) {
            Ok(0) => return self.lost(slot, None),
            Ok(size) => size,
            Err(error) if is_passing(&error) => return,
            Err(error) => return self.lost(slot, Some(&error)),
        };
        self.scratch[..kept].copy_from_slice(&client.partial);
        client.partial.clear();
        self.desk.now_us = self.clock.elapsed().as_micros() as u64;
        self.desk.tally[Count::Reads] += 1;
        let bytes = &self.scratch[..kept + size];
        match client.on_bytes(&self.plan, &mut self.desk, bytes, self.packet_size_max) {
            Ok(taken) => {
                client.partial.extend_from_slice(&bytes[taken..]);
                if !client.out.is_empty() {
                    self.desk.dirty.mark(slot);
                }
            }
            Err(ending) => self.end(slot, ending),
        }
    }

    /// The same where MQTT is wrapped.
    fn read_through(&mut self, slot: u32) {
        let client = &mut self.clients[slot as usize];
        let line = &mut self.lines[slot as usize];
        let (Some(socket), Some(layers)) = (&line.socket, &mut line.layers) else { return };
        let size = match (&mut &*socket).read(&mut self.scratch) {
            Ok(0) => return self.lost(slot, None),
            Ok(size) => size,
            Err(error) if is_passing(&error) => return,
            Err(error) => return self.lost(slot, Some(&error)),
        };
        self.unwrapped.clear();
        self.unwrapped.append(&mut client.partial);
        let was_open = layers.is_open();
        let received = layers.receive(&self.scratch[..size], &mut self.unwrapped);
        let (is_open, is_finished) = (layers.is_open(), layers.is_finished());
        let has_resumed = is_open && !was_open && layers.is_resumed();
        let has_own = layers.has_sealed();
        self.desk.now_us = self.clock.elapsed().as_micros() as u64;
        self.desk.tally[Count::Reads] += 1;
        self.desk.tally[Count::Resumed] += u64::from(has_resumed);
        let bytes = &self.unwrapped[..];
        match client.on_bytes(&self.plan, &mut self.desk, bytes, self.packet_size_max) {
            Ok(taken) => client.partial.extend_from_slice(&bytes[taken..]),
            Err(ending) => return self.end(slot, ending),
        }
        if has_own || !client.out.is_empty() {
            self.desk.dirty.mark(slot);
        }
        match received {
            Err(LayersError::Frame(rule)) => self.end(slot, Ending::Unframed(rule)),
            Err(error) => {
                // TLS may have an alert to send.
                let _ = self.write(slot);
                self.lost(slot, Some(&io::Error::other(error.to_string())));
            }
            Ok(()) if is_finished => {
                // The broker's Close is answered.
                let _ = self.write(slot);
                self.lost(slot, None);
            }
            Ok(()) => {}
        }
    }

    /// True when it is time to finish.
    fn take_mail(&mut self) -> bool {
        let commands = self.mailbox.take(&mut self.kicked);
        for slot in self.kicked.drain(..) {
            self.desk.ready.mark(slot);
        }
        commands.into_iter().any(|command| self.obey(command))
    }

    fn obey(&mut self, command: Command) -> bool {
        let now_us = self.desk.now_us;
        match command {
            Command::Connect { slots, per_second } => {
                self.dialler.request(slots, per_second, now_us);
            }
            Command::Leave { slots, is_abrupt } => {
                for slot in slots {
                    self.leave(slot, is_abrupt);
                }
            }
            Command::Redial(Some(delay)) => self.dialler.redial_after = Some(delay),
            Command::Redial(None) => self.dialler.forgive(),
            Command::Publish { pacing, limit } => {
                self.schedule = None;
                self.set_pacing(pacing, limit);
            }
            Command::PublishAt { per_second, start_us } => {
                self.schedule = Schedule::new(per_second, start_us, self.publishers.len());
                self.set_pacing(Pacing::Due, u64::MAX);
            }
            Command::Presence(is_on) => self.desk.has_presence = is_on,
            Command::Clean(is_on) => self.desk.is_cleaning = is_on,
            Command::Measure(is_on) => {
                if is_on {
                    self.desk.latencies = Latencies::default();
                }
                self.desk.is_measuring = is_on;
            }
            Command::Finish => return true,
        }
        false
    }

    fn set_pacing(&mut self, pacing: Pacing, limit: u64) {
        self.desk.pacing = pacing;
        self.desk.limit = limit;
        for &slot in &self.publishers {
            if pacing == Pacing::Idle
                && let Some(publisher) = self.clients[slot as usize].publisher_mut()
            {
                publisher.forgive();
            }
            self.desk.ready.mark(slot);
        }
    }

    fn dial(&mut self) {
        while let Some(slot) = self.dialler.next(self.desk.now_us, self.desk.tally[Count::Arriving])
        {
            if self.lines[slot as usize].socket.is_none() {
                self.dial_one(slot);
            } else if self.clients[slot as usize].is_leaving() {
                self.dialler.postpone(slot, self.desk.now_us);
            }
        }
    }

    fn dial_one(&mut self, slot: u32) {
        let line = &mut self.lines[slot as usize];
        let dialled = self.dialler.dial(&self.plan.door).and_then(|socket| {
            let wrapping = self.plan.door.wrapping.as_ref();
            let layers = wrapping.map(|wrapping| Layers::new(wrapping, &mut line.tickets));
            let layers = layers.transpose().map_err(|error| io::Error::other(error.to_string()))?;
            self.poll.add(&socket, u64::from(slot), Interest::ReadWrite)?;
            Ok((socket, layers.map(Box::new)))
        });
        match dialled {
            Ok((socket, layers)) => {
                let tickets = line.tickets.take();
                let socket = Some(socket);
                *line = Line { socket, layers, tickets, written: 0, is_blocked: true };
                self.clients[slot as usize].on_dialled(&mut self.desk);
            }
            Err(error) => {
                self.desk.tally[Count::Dialled] += 1;
                self.dial_failed(slot, &error);
            }
        }
    }

    fn dial_failed(&mut self, slot: u32, error: &io::Error) {
        if !self.dialler.failed(slot, self.desk.now_us) {
            self.desk.tally[Count::ConnectFailed] += 1;
            self.mailbox.remark(|| format!("connect: {error}"));
        }
    }

    fn fall_due(&mut self) {
        let Some(schedule) = &mut self.schedule else { return };
        while let Some((turn, due_us)) = schedule.pop(self.desk.now_us) {
            let slot = self.publishers[turn];
            let client = &mut self.clients[slot as usize];
            // Who is away has nothing to say.
            let is_online = client.state() == State::Online;
            if let Some(publisher) = client.publisher_mut().filter(|_| is_online) {
                publisher.owe(due_us as u32);
                self.desk.ready.mark(slot);
            }
        }
    }

    /// Once in a while: keep-alives, and clients whose leave the broker does not take.
    fn look_after(&mut self) {
        if self.desk.now_us < self.looked_after_us + 1_000_000 {
            return;
        }
        self.looked_after_us = self.desk.now_us;
        for slot in 0..self.clients.len() as u32 {
            let client = &mut self.clients[slot as usize];
            client.keep_alive(&mut self.desk);
            if !client.out.is_empty() {
                self.desk.dirty.mark(slot);
            }
            let waited_us = self.desk.now_us.saturating_sub(client.wrote_us);
            if client.state() == State::Leaving && waited_us > LEAVE_WAIT_US {
                self.mailbox.remark(|| "the broker did not close after DISCONNECT".to_string());
                self.lost(slot, None);
            }
        }
    }

    fn proceed(&mut self) {
        while let Some(slot) = self.desk.ready.pop() {
            let client = &mut self.clients[slot as usize];
            client.proceed(&mut self.desk);
            if client.is_breaking_off(&self.desk) {
                self.break_off(slot);
            } else if !client.out.is_empty() {
                self.desk.dirty.mark(slot);
            }
        }
    }

    fn flush(&mut self) {
        while let Some(slot) = self.desk.dirty.pop() {
            if let Err(error) = self.write(slot) {
                self.lost(slot, Some(&error));
            }
        }
    }

    fn write(&mut self, slot: u32) -> io::Result<()> {
        let line = &mut self.lines[slot as usize];
        let client = &mut self.clients[slot as usize];
        let Some(socket) = &line.socket else { return Ok(()) };
        let was_held_back = line.is_blocked || client.out.len() >= OUT_SIZE_MAX;
        let out = match &mut line.layers {
            None => &mut client.out,
            Some(layers) => layers.outgoing(&mut client.out, &mut self.frames),
        };
        let unwritten = out.len() - line.written;
        let size = match (&mut &*socket).write(&out[line.written..]) {
            Ok(size) => size,
            Err(error) if is_passing(&error) => 0,
            Err(error) => return Err(error),
        };
        if size > 0 {
            self.desk.tally[Count::Writes] += 1;
            client.wrote_us = self.desk.now_us;
        }
        let is_blocked = size < unwritten;
        if !is_blocked {
            line.written = 0;
            out.clear();
        } else if line.written + size > out.len() / 2 {
            out.drain(..line.written + size);
            line.written = 0;
        } else {
            line.written += size;
        }
        if is_blocked != line.is_blocked {
            let interest = if is_blocked { Interest::ReadWrite } else { Interest::Read };
            self.poll.modify(socket, u64::from(slot), interest)?;
            line.is_blocked = is_blocked;
        }
        if was_held_back && !is_blocked {
            self.desk.ready.mark(slot);
        }
        // What waited behind bytes that were sealed before.
        let is_open = line.layers.as_ref().is_some_and(|layers| layers.is_open());
        if is_open && !is_blocked && !client.out.is_empty() {
            self.desk.dirty.mark(slot);
        }
        Ok(())
    }

    fn kick_others(&mut self) {
        for (worker, slots) in self.desk.kicks.iter_mut().enumerate() {
            if !slots.is_empty() {
                self.mailboxes[worker].kick(slots);
            }
        }
    }

    fn leave(&mut self, slot: u32, is_abrupt: bool) {
        if !self.clients[slot as usize].leave(&mut self.desk, is_abrupt) {
            self.break_off(slot);
        }
    }

    /// Closes a connection by a reset, so that the port is free and the broker learns of it at
    /// once.
    fn break_off(&mut self, slot: u32) {
        let Some(socket) = self.lines[slot as usize].close() else { return };
        // Where the option is refused the connection ends by FIN, which is abrupt enough.
        let _ = SockRef::from(&socket).set_linger(Some(Duration::ZERO));
        let client = &mut self.clients[slot as usize];
        client.abandon(&mut self.desk);
        client.on_closed(&mut self.desk);
        self.desk.tally[Count::Left] += 1;
    }

    /// The broker, or the network, ended the connection.
    fn lost(&mut self, slot: u32, error: Option<&io::Error>) {
        self.lines[slot as usize].close();
        let client = &mut self.clients[slot as usize];
        let state = client.state();
        if state == State::Online {
            client.abandon(&mut self.desk);
        }
        client.on_closed(&mut self.desk);
        match state {
            State::Away => {}
            State::Leaving => self.desk.tally[Count::Left] += 1,
            State::Greeting => {
                let closed = || io::Error::other("the broker closed the connection");
                match error {
                    Some(error) => self.dial_failed(slot, error),
                    None => self.dial_failed(slot, &closed()),
                }
            }
            State::Subscribing | State::Online => {
                if !self.dialler.failed(slot, self.desk.now_us) {
                    self.desk.tally[Count::Dropped] += 1;
                    self.mailbox.remark(|| match error {
                        Some(error) => format!("lost a connection: {error}"),
                        None => "the broker closed a connection".to_string(),
                    });
                }
            }
        }
    }

    /// The client itself found a reason to end the connection.
    fn end(&mut self, slot: u32, ending: Ending) {
        self.lines[slot as usize].close();
        let client = &mut self.clients[slot as usize];
        client.on_closed(&mut self.desk);
        let is_redialled = matches!(ending, Ending::Goodbye(_) | Ending::Refused(_))
            && self.dialler.failed(slot, self.desk.now_us);
        if !is_redialled {
            self.desk.tally[ending.count()] += 1;
            self.mailbox.remark(|| ending.to_string());
        }
    }

    fn findings(self) -> Findings {
        Findings::gather(&self.plan, self.desk, &self.clients)
    }
}

fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}
