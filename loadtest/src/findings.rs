//! What is known in the end: by each worker, and by all together.

use crate::client::Client;
use crate::count::{Count, Tally};
use crate::desk::{Desk, Latencies};
use crate::mqtt::Qos;
use crate::plan::Plan;
use crate::report::{Faults, Moment};
use crate::track::Track;

/// What a worker knows in the end.
#[derive(Debug, Default)]
pub struct Findings {
    /// Its counts.
    pub tally: Tally,
    /// Its latencies.
    pub latencies: Latencies,
    /// Messages sent, by stream, for the streams of its publishers.
    pub sent: Vec<(u32, u32)>,
    /// What its receivers and groups saw, by stream.
    pub tracks: Vec<(u32, Track)>,
}

impl Findings {
    /// What the clients and the desk of a worker know.
    #[must_use]
    pub fn gather(plan: &Plan, desk: Desk, clients: &[Client]) -> Self {
        let mut findings =
            Findings { tally: desk.tally, latencies: desk.latencies, ..Findings::default() };
        for client in clients {
            let client_plan = &plan.clients[client.index() as usize];
            if let Some(publisher) = client.publisher() {
                findings.sent.extend(publisher.sent_by_stream());
            }
            if let Some(stream) = client_plan.presence {
                findings.sent.push((stream, client.presence_sequence()));
            }
            let tracks = client.inbox().tracks.iter().enumerate();
            findings
                .tracks
                .extend(tracks.map(|(at, track)| (client_plan.expects.stream(at), track.clone())));
        }
        // The members of a group all live on one worker, and that one has its tracks.
        let is_here = |group: usize| {
            let member = plan.clients.iter().find(|client| client.group == Some(group as u32));
            member.is_some_and(|client| client.worker == desk.worker)
        };
        for (group, tracks) in desk.groups.into_iter().enumerate() {
            if is_here(group) {
                let streams = &plan.groups[group];
                let tracks = tracks.into_iter().enumerate();
                findings.tracks.extend(tracks.map(|(at, track)| (streams.stream(at), track)));
            }
        }
        findings
    }
}

/// What a finished run knows.
#[derive(Debug)]
pub struct Outcome {
    /// All counts.
    pub tally: Tally,
    /// All latencies.
    pub latencies: Latencies,
    /// What went wrong.
    pub faults: Faults,
    /// The course of the run.
    pub timeline: Vec<Moment>,
    /// What connections said.
    pub remarks: Vec<String>,
}

impl Outcome {
    /// Adds up what the workers found. Both sides of a stream may have lived on different
    /// workers, so only here can the sent be held against the arrived.
    #[must_use]
    pub fn add_up(
        plan: &Plan,
        all: &[Findings],
        timeline: Vec<Moment>,
        remarks: Vec<String>,
    ) -> Self {
        let mut tally = Tally::default();
        let mut latencies = Latencies::default();
        let mut sent = vec![0u32; plan.streams.len()];
        for findings in all {
            tally.add(&findings.tally);
            latencies.add(&findings.latencies);
            for &(stream, count) in &findings.sent {
                sent[stream as usize] = count;
            }
        }
        let tracks = all.iter().flat_map(|findings| &findings.tracks);
        let lost = tracks.map(|(stream, track)| track.lost(sent[*stream as usize])).sum();
        let has_acknowledgements = plan.qos != Qos::AtMostOnce;
        let unacknowledged = tally[Count::Sent].saturating_sub(tally[Count::Acknowledged]);
        let faults = Faults {
            lost,
            duplicated: tally[Count::Duplicated],
            out_of_order: tally[Count::OutOfOrder],
            corrupt: tally[Count::Corrupt],
            misrouted: tally[Count::Misrouted],
            protocol_errors: tally[Count::ProtocolErrors],
            refused: tally[Count::Refused],
            connect_failed: tally[Count::ConnectFailed],
            dropped: tally[Count::Dropped],
            unacknowledged: if has_acknowledgements { unacknowledged } else { 0 },
        };
        Self { tally, latencies, faults, timeline, remarks }
    }
}
