//! What a client makes of what it is sent.

use super::{Client, Request, State, Verdict, packet_of};
use crate::sim::oracle::Oracle;
use crate::sim::wire::{self, AckKind, Packet, Property, Protocol, Publish, Value, property};

impl Client {
    /// Bytes arrived, which the broker wrote at `written_at`. What has to be sent at once is
    /// added to `out`.
    pub(in crate::sim) fn receive(
        &mut self,
        bytes: &[u8],
        written_at: u64,
        oracle: &mut Oracle,
        out: &mut Vec<u8>,
    ) -> Verdict {
        self.input.extend_from_slice(bytes);
        let mut verdict = Verdict::Stay;
        while verdict == Verdict::Stay {
            let packet = match wire::cut(&self.input) {
                Ok(None) => break,
                Ok(Some((end, start))) => {
                    let packet: Vec<u8> = self.input.drain(..end).collect();
                    wire::decode(self.protocol, &packet, start)
                }
                Err(error) => Err(error),
            };
            match packet {
                Ok(packet) => verdict = self.handle(packet, written_at, oracle, out),
                Err(error) => {
                    oracle.violate(format!("{} was sent a malformed packet: {error}", self.name));
                    break;
                }
            }
        }
        verdict
    }

    fn handle(
        &mut self,
        packet: Packet,
        written_at: u64,
        oracle: &mut Oracle,
        out: &mut Vec<u8>,
    ) -> Verdict {
        let expected = matches!(
            (self.state, &packet),
            (State::Connecting, Packet::ConnAck { .. } | Packet::Disconnect { .. })
                | (State::Connected, _)
        );
        if !expected {
            oracle.violate(format!("{} got {packet:?} while {:?}", self.name, self.state));
            return Verdict::Stay;
        }
        match packet {
            Packet::ConnAck { session_present, code, properties } => {
                return self.handle_connack(session_present, code, &properties, oracle, out);
            }
            Packet::Publish(publish) => self.handle_publish(publish, written_at, oracle),
            Packet::Ack { kind: AckKind::Rel, packet_id, .. } => {
                oracle.released(self.link(), packet_id);
                self.unreleased.remove(&packet_id);
                self.answers.push_back((AckKind::Comp, packet_id));
            }
            Packet::Ack { kind, packet_id, code } => {
                self.handle_ack(kind, packet_id, code, oracle);
            }
            Packet::SubAck { packet_id, codes } => match self.requests.remove(&packet_id) {
                Some(Request::Subscribe(asked)) => oracle.suback(self.link(), &asked, &codes),
                _ => oracle.violate(format!("{} got SUBACK {packet_id} unasked", self.name)),
            },
            Packet::UnsubAck { packet_id, codes } => match self.requests.remove(&packet_id) {
                Some(Request::Unsubscribe(tick, keys)) => {
                    oracle.unsuback(self.link(), tick, &keys, &codes);
                }
                _ => oracle.violate(format!("{} got UNSUBACK {packet_id} unasked", self.name)),
            },
            Packet::PingResp if self.pings > 0 => self.pings -= 1,
            Packet::PingResp => oracle.violate(format!("{} got PINGRESP unasked", self.name)),
            Packet::Disconnect { code } => return Verdict::Leave(code),
        }
        Verdict::Stay
    }

    fn link(&self) -> usize {
        self.link.expect("a packet came by a link")
    }

    fn handle_connack(
        &mut self,
        session_present: bool,
        code: u8,
        properties: &[Property],
        oracle: &mut Oracle,
        out: &mut Vec<u8>,
    ) -> Verdict {
        if self.state == State::Connected {
            oracle.violate(format!("{} got a second CONNACK", self.name));
        }
        if code != 0 {
            return Verdict::Leave(code);
        }
        self.state = State::Connected;
        self.answered = true;
        self.must_clean = false;
        let resumed = match self.protocol {
            // 3.1 does not say; the client believes what it may expect.
            Protocol::V31 => !self.how.clean_start && oracle.session_expected(self.index),
            _ => session_present,
        };
        self.take_limits(properties);
        let expiry = properties.iter().find_map(|p| match (p.id, &p.value) {
            (property::SESSION_EXPIRY, Value::Four(seconds)) => Some(*seconds),
            _ => None,
        });
        oracle.connack(self.link(), resumed, expiry);
        if resumed {
            self.resend(oracle, out);
        } else {
            self.forget(oracle);
        }
        Verdict::Stay
    }

    fn take_limits(&mut self, properties: &[Property]) {
        let two = |id: u8| {
            properties.iter().find_map(|p| match p.value {
                Value::Two(value) if p.id == id => Some(value),
                _ => None,
            })
        };
        // Before 5.0 a client limits itself; the broker has no say.
        self.limits.receive_maximum = match self.protocol {
            Protocol::V5 => two(property::RECEIVE_MAXIMUM).unwrap_or(u16::MAX),
            _ => 20,
        };
        self.limits.alias_maximum = two(property::ALIAS_MAXIMUM).unwrap_or(0);
        self.limits.keep_alive = two(property::SERVER_KEEP_ALIVE).unwrap_or(self.how.keep_alive);
    }

    /// The session was resumed: everything not completed is sent again in the order in which it
    /// was sent before. [MQTT-4.4.0-1]
    fn resend(&mut self, oracle: &mut Oracle, out: &mut Vec<u8>) {
        let mut outgoing = std::mem::take(&mut self.outgoing);
        for entry in &mut outgoing {
            if entry.released {
                entry.repeated = true;
                out.extend(wire::encode_ack(AckKind::Rel, entry.packet_id));
            } else {
                let mut publish = packet_of(entry.message, entry.packet_id, oracle);
                publish.dup = true;
                out.extend(self.send_publish(entry.message, &publish, oracle));
            }
        }
        self.outgoing = outgoing;
    }

    /// The broker has no session: what was not completed never will be.
    fn forget(&mut self, oracle: &mut Oracle) {
        for outgoing in std::mem::take(&mut self.outgoing) {
            oracle.publish_abandoned(outgoing.message);
        }
        self.unreleased.clear();
    }

    fn handle_publish(&mut self, mut publish: Publish, written_at: u64, oracle: &mut Oracle) {
        if let Err(sentence) = self.resolve_alias(&mut publish) {
            oracle.violate(format!("{} {sentence}", self.name));
            return;
        }
        oracle.received(self.link(), &publish, written_at);
        match publish.qos {
            0 => {}
            1 => self.answers.push_back((AckKind::Ack, publish.packet_id)),
            _ => {
                self.unreleased.insert(publish.packet_id);
                self.answers.push_back((AckKind::Rec, publish.packet_id));
            }
        }
    }

    /// [MQTT-3.3.2-8, -9, -10, 3.1.2-26, -27]
    fn resolve_alias(&mut self, publish: &mut Publish) -> Result<(), String> {
        let alias = publish.properties.iter().find_map(|p| match p.value {
            Value::Two(alias) if p.id == property::TOPIC_ALIAS => Some(alias),
            _ => None,
        });
        match alias {
            None if publish.topic.is_empty() => Err("got a PUBLISH without a topic".to_owned()),
            None => Ok(()),
            Some(alias) if alias == 0 || alias > self.how.alias_maximum.unwrap_or(0) => {
                Err(format!("got topic alias {alias}, which it does not take"))
            }
            Some(alias) if publish.topic.is_empty() => match self.aliases_in.get(&alias) {
                Some(topic) => {
                    publish.topic = topic.clone();
                    Ok(())
                }
                None => Err(format!("got topic alias {alias} before its topic")),
            },
            Some(alias) => {
                self.aliases_in.insert(alias, publish.topic.clone());
                Ok(())
            }
        }
    }

    fn handle_ack(&mut self, kind: AckKind, packet_id: u16, code: u8, oracle: &mut Oracle) {
        let at = self.outgoing.iter().position(|entry| entry.packet_id == packet_id);
        let entry = at.map(|at| self.outgoing[at].clone());
        match (kind, entry, at) {
            (AckKind::Ack, Some(entry), Some(at)) if entry.qos == 1 => {
                self.outgoing.remove(at);
                oracle.publish_answered(entry.message, code);
            }
            (AckKind::Rec, Some(entry), Some(at)) if entry.qos == 2 && !entry.released => {
                oracle.publish_answered(entry.message, code);
                if code < 0x80 {
                    self.outgoing[at].released = true;
                    self.answers.push_back((AckKind::Rel, packet_id));
                } else {
                    self.outgoing.remove(at);
                }
            }
            (AckKind::Comp, Some(entry), Some(at)) if entry.released => {
                self.outgoing.remove(at);
                if code != 0 && !(code == 0x92 && entry.repeated) {
                    oracle.violate(format!("{} got PUBCOMP {packet_id} with {code:#x}", self.name));
                }
            }
            _ => oracle.violate(format!("{} got {kind:?} {packet_id} unasked", self.name)),
        }
    }
}
