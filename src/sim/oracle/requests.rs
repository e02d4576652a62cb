//! SUBSCRIBE and UNSUBSCRIBE and their answers.

use super::message::Tick;
use super::session::{FilterKey, Holding, Options};
use super::{Link, Oracle};
use crate::sim::wire::Protocol;

impl Oracle {
    /// A SUBSCRIBE goes out; it is noted in what is asked when it was.
    pub(in crate::sim) fn subscribe_sent(
        &mut self,
        link: usize,
        asked: &mut [(FilterKey, Options)],
    ) {
        let tick = self.step();
        let Some(session) = self.links[link].session else { return };
        let session = &mut self.sessions[session];
        for (key, options) in asked {
            options.asked = tick;
            let options = *options;
            match session.holding(key) {
                Some(holding) => holding.versions.push(options),
                None => session.holdings.push(Holding {
                    key: key.clone(),
                    asked: tick,
                    sure: None,
                    leaving: None,
                    gone: None,
                    versions: vec![options],
                }),
            }
        }
    }

    /// Its SUBACK came.
    pub(in crate::sim) fn suback(
        &mut self,
        link: usize,
        asked: &[(FilterKey, Options)],
        codes: &[u8],
    ) {
        let tick = self.step();
        self.require(codes.len() == asked.len(), || "SUBACK has not a code a filter".to_owned());
        let Some(session) = self.links[link].session else { return };
        for ((key, options), &code) in asked.iter().zip(codes) {
            if self.rules.disk_fills && matches!(code, 0x80 | 0x97) {
                continue;
            }
            self.require(code == options.qos, || {
                format!("{} asked for QoS {} and was granted {code}", key.text(), options.qos)
            });
            self.sessions[session].grant(key, options.asked, tick);
        }
    }

    /// An UNSUBSCRIBE goes out; the answer is to be given back with its UNSUBACK.
    pub(in crate::sim) fn unsubscribe_sent(&mut self, link: usize, keys: &[FilterKey]) -> Tick {
        let tick = self.step();
        let Some(session) = self.links[link].session else { return tick };
        for holding in &mut self.sessions[session].holdings {
            if keys.contains(&holding.key) {
                holding.leaving.get_or_insert(tick);
            }
        }
        tick
    }

    /// Its UNSUBACK came.
    pub(in crate::sim) fn unsuback(
        &mut self,
        link: usize,
        asked: Tick,
        keys: &[FilterKey],
        codes: &[u8],
    ) {
        let tick = self.step();
        let Link { client, session, connack, .. } = self.links[link];
        if self.clients[client].protocol == Protocol::V5 {
            self.require(codes.len() == keys.len(), || {
                "UNSUBACK has not a code a filter".to_owned()
            });
        }
        let Some(session) = session else { return };
        for (at, key) in keys.iter().enumerate() {
            let mut existed = false;
            for holding in &mut self.sessions[session].holdings {
                // A SUBSCRIBE sent behind the UNSUBSCRIBE began another holding.
                let left = holding.leaving.is_some_and(|leaving| leaving <= asked);
                if holding.key == *key && left && holding.gone.is_none() {
                    // An UNSUBSCRIBE of an earlier connection may have been heard.
                    let asked_here = holding.leaving > connack.map(|(tick, _)| tick);
                    existed |= holding.sure.is_some() && asked_here;
                    holding.gone = Some(tick);
                }
            }
            let code = codes.get(at).copied().unwrap_or(0);
            self.require(code == 0 || (code == 0x11 && !existed), || {
                format!("{} was held and unsubscribing answered {code:#x}", key.text())
            });
        }
    }
}
