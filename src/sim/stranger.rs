//! Clients without an account: they fight over client ids, talk over each other and send bytes
//! that are not MQTT. Nothing is promised to them; they must cost the others nothing.

use super::network::Owner;
use super::plan::Plan;
use super::random::{Purpose, Random};
use super::wire::{
    self, AckKind, Connect, FilterOptions, Property, Protocol, Publish, Will, property,
};
use super::world::{Event, Phase, World};

/// See the module.
pub(super) struct Stranger {
    random: Random,
    damage_permille: u64,
}

impl Stranger {
    pub(super) fn new(plan: &Plan, index: usize) -> Stranger {
        Stranger {
            random: Random::new(plan.seed, Purpose::Hostile, index as u64),
            damage_permille: plan.damage_permille,
        }
    }

    /// All it ever says on one connection.
    fn speech(&mut self) -> Vec<u8> {
        let random = &mut self.random;
        let protocol = *random.pick(&[Protocol::V5, Protocol::V311, Protocol::V31]);
        let mut bytes = wire::encode_connect(&connect(protocol, random));
        for _ in 0..random.below(6) {
            bytes.extend(packet(protocol, random));
        }
        if random.chance(self.damage_permille) {
            damage(&mut bytes, random);
        }
        bytes
    }
}

fn connect(protocol: Protocol, random: &mut Random) -> Connect {
    Connect {
        protocol,
        clean_start: random.chance(500),
        keep_alive: *random.pick(&[0, 1, 60]),
        client_id: format!("stranger{}", random.below(3)),
        will: random.chance(300).then(|| Will {
            topic: TOPIC.to_owned(),
            payload: b"will of a stranger".to_vec(),
            qos: random.below(3) as u8,
            retain: random.chance(300),
            properties: Vec::new(),
        }),
        properties: match random.below(2) {
            0 => Vec::new(),
            _ => vec![
                Property::four(property::SESSION_EXPIRY, random.below(3) as u32),
                Property::two(property::RECEIVE_MAXIMUM, random.between(1, 3) as u16),
            ],
        },
    }
}

fn packet(protocol: Protocol, random: &mut Random) -> Vec<u8> {
    let packet_id = random.between(1, 4) as u16;
    match random.below(5) {
        0 => {
            let filter = *random.pick(&["#", "a/#", "strange/+", "$share/strange/#"]);
            let options = random.below(3) as u8;
            let filters = [FilterOptions { filter: filter.to_owned(), options }];
            wire::encode_subscribe(protocol, packet_id, &[], &filters)
        }
        1 => {
            let kinds = [AckKind::Ack, AckKind::Rec, AckKind::Rel, AckKind::Comp];
            wire::encode_ack(*random.pick(&kinds), packet_id)
        }
        2 => wire::encode_disconnect(protocol, 0, &[]),
        _ => {
            let publish = Publish {
                dup: false,
                qos: random.below(3) as u8,
                retain: random.chance(300),
                topic: TOPIC.to_owned(),
                packet_id,
                properties: Vec::new(),
                payload: b"something strange".to_vec(),
            };
            wire::encode_publish(protocol, &publish)
        }
    }
}

/// Turns bits over, cuts, repeats.
fn damage(bytes: &mut Vec<u8>, random: &mut Random) {
    for _ in 0..random.between(1, 4) {
        let at = random.below(bytes.len() as u64) as usize;
        match random.below(4) {
            0 => bytes.truncate(at + 1),
            1 => bytes.insert(at, random.next() as u8),
            2 => bytes.extend_from_within(at..),
            _ => bytes[at] ^= 1 << random.below(8),
        }
    }
}

impl World {
    /// A stranger comes, speaks and may or may not leave.
    pub(super) fn stranger_acts(&mut self, index: usize) {
        if self.phase != Phase::Chaos {
            return;
        }
        let link = self.open(Owner::Stranger(index));
        let stranger = &mut self.strangers[index];
        let bytes = stranger.speech();
        let leaves = stranger.random.below(3);
        let again = 1 + stranger.random.below(20 * self.delays.act + 1);
        self.links[link].excused = true;
        self.send_up(link, bytes);
        match leaves {
            0 => self.finish(link),
            1 => self.break_off(link, true),
            _ => {}
        }
        self.plan_event(self.now + again, Event::Stranger(index));
    }
}

const TOPIC: &str = "strange/topic";
