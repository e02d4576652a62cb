//! What clients send.

use super::{AckKind, Connect, FilterOptions, Property, Protocol, Publish, Value};

pub(in crate::sim) fn encode_connect(connect: &Connect) -> Vec<u8> {
    let mut body = Writer::default();
    let (name, level) = match connect.protocol {
        Protocol::V31 => ("MQIsdp", 3),
        Protocol::V311 => ("MQTT", 4),
        Protocol::V5 => ("MQTT", 5),
    };
    body.text(name);
    body.byte(level);
    let mut flags = u8::from(connect.clean_start) << 1;
    if let Some(will) = &connect.will {
        flags |= 4 | will.qos << 3 | u8::from(will.retain) << 5;
    }
    body.byte(flags);
    body.two(connect.keep_alive);
    body.properties(connect.protocol, &connect.properties);
    body.text(&connect.client_id);
    if let Some(will) = &connect.will {
        body.properties(connect.protocol, &will.properties);
        body.text(&will.topic);
        body.binary(&will.payload);
    }
    body.packet(0x10)
}

pub(in crate::sim) fn encode_publish(protocol: Protocol, publish: &Publish) -> Vec<u8> {
    let mut body = Writer::default();
    body.text(&publish.topic);
    if publish.qos > 0 {
        body.two(publish.packet_id);
    }
    body.properties(protocol, &publish.properties);
    body.0.extend_from_slice(&publish.payload);
    let flags = u8::from(publish.dup) << 3 | publish.qos << 1 | u8::from(publish.retain);
    body.packet(0x30 | flags)
}

pub(in crate::sim) fn encode_ack(kind: AckKind, packet_id: u16) -> Vec<u8> {
    let mut body = Writer::default();
    body.two(packet_id);
    let flags = if kind == AckKind::Rel { 2 } else { 0 };
    body.packet((kind as u8) << 4 | flags)
}

pub(in crate::sim) fn encode_subscribe(
    protocol: Protocol,
    packet_id: u16,
    properties: &[Property],
    filters: &[FilterOptions],
) -> Vec<u8> {
    let mut body = Writer::default();
    body.two(packet_id);
    body.properties(protocol, properties);
    for asked in filters {
        body.text(&asked.filter);
        body.byte(asked.options);
    }
    body.packet(0x82)
}

pub(in crate::sim) fn encode_unsubscribe(
    protocol: Protocol,
    packet_id: u16,
    filters: &[String],
) -> Vec<u8> {
    let mut body = Writer::default();
    body.two(packet_id);
    body.properties(protocol, &[]);
    for filter in filters {
        body.text(filter);
    }
    body.packet(0xA2)
}

pub(in crate::sim) fn encode_ping() -> Vec<u8> {
    vec![0xC0, 0]
}

pub(in crate::sim) fn encode_disconnect(
    protocol: Protocol,
    code: u8,
    properties: &[Property],
) -> Vec<u8> {
    let mut body = Writer::default();
    if protocol == Protocol::V5 && (code != 0 || !properties.is_empty()) {
        body.byte(code);
        body.properties(protocol, properties);
    }
    body.packet(0xE0)
}

#[derive(Default)]
struct Writer(Vec<u8>);

impl Writer {
    fn byte(&mut self, value: u8) {
        self.0.push(value);
    }

    fn two(&mut self, value: u16) {
        self.0.extend_from_slice(&value.to_be_bytes());
    }

    fn binary(&mut self, value: &[u8]) {
        self.two(value.len() as u16);
        self.0.extend_from_slice(value);
    }

    fn text(&mut self, value: &str) {
        self.binary(value.as_bytes());
    }

    fn variable(&mut self, mut value: u32) {
        loop {
            let low = (value % 128) as u8;
            value /= 128;
            self.byte(if value > 0 { low | 0x80 } else { low });
            if value == 0 {
                return;
            }
        }
    }

    fn properties(&mut self, protocol: Protocol, properties: &[Property]) {
        if protocol != Protocol::V5 {
            return;
        }
        let mut encoded = Writer::default();
        for property in properties {
            encoded.byte(property.id);
            match &property.value {
                Value::Byte(value) => encoded.byte(*value),
                Value::Two(value) => encoded.two(*value),
                Value::Four(value) => encoded.0.extend_from_slice(&value.to_be_bytes()),
                Value::Variable(value) => encoded.variable(*value),
                Value::Binary(value) => encoded.binary(value),
                Value::Text(value) => encoded.text(value),
                Value::Pair(name, value) => {
                    encoded.text(name);
                    encoded.text(value);
                }
            }
        }
        self.variable(encoded.0.len() as u32);
        self.0.extend_from_slice(&encoded.0);
    }

    fn packet(self, first: u8) -> Vec<u8> {
        let mut packet = Writer(vec![first]);
        packet.variable(self.0.len() as u32);
        packet.0.extend_from_slice(&self.0);
        packet.0
    }
}
