//! The table of everything the API does.

use std::future::Future;
use std::pin::Pin;

use axum::http::Method;

use super::call::Call;
use super::{
    Answer, Refusal, backup, bans, clients, config, drops, explain, openapi, overview, publish,
    retained, subscribe, subscriptions, traces,
};
use crate::config::Role;

/// A method and a path, and what they do.
pub(super) struct Route {
    pub(super) verb: Verb,
    /// Below `/api/v1`.
    pub(super) path: &'static str,
    /// The least that may.
    pub(super) role: Role,
    /// What it does, for people.
    pub(super) about: &'static str,
    /// What the query may say.
    pub(super) query: &'static [(&'static str, &'static str)],
    /// What the body is, if there is one.
    pub(super) body: Option<&'static str>,
    /// What the answer is a stream of; a document otherwise.
    pub(super) streams: Option<&'static str>,
    pub(super) handler: Handler,
}

impl Route {
    /// Whether the query says nothing that the route does not hear.
    pub(super) fn judge_query(&self, query: &[(String, String)]) -> Result<(), Refusal> {
        let is_known = |name: &str| self.query.iter().any(|(known, _)| *known == name);
        let unknown: Vec<&str> =
            query.iter().map(|(name, _)| &**name).filter(|name| !is_known(name)).collect();
        if unknown.is_empty() {
            return Ok(());
        }
        let known: Vec<&str> = self.query.iter().map(|(name, _)| *name).collect();
        let known = if known.is_empty() { "nothing".to_owned() } else { known.join(", ") };
        let message = format!("{}: unknown in this query, which takes {known}", unknown.join(", "));
        Err(Refusal::wrong(message))
    }
}

/// What a route does with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    Get,
    Post,
    Delete,
}

type Handler = fn(Call) -> Pin<Box<dyn Future<Output = Answer> + Send>>;

impl From<Verb> for Method {
    fn from(verb: Verb) -> Method {
        match verb {
            Verb::Get => Method::GET,
            Verb::Post => Method::POST,
            Verb::Delete => Method::DELETE,
        }
    }
}

const PAGE: [(&str, &str); 3] = [
    ("search", "a part of the name, whatever its case"),
    ("limit", "rows of a page, 1 to 1000; 50 unless said"),
    ("cursor", "next_cursor of the page before"),
];

/// See the module.
pub(super) const ROUTES: &[Route] = &[
    Route {
        verb: Verb::Get,
        path: "/overview",
        role: Role::Viewer,
        about: "The broker as a whole: sums over all shards.",
        query: &[],
        body: None,
        streams: None,
        handler: |call| Box::pin(overview::overview(call)),
    },
    Route {
        verb: Verb::Get,
        path: "/shards",
        role: Role::Viewer,
        about: "Each shard with its log and its counters.",
        query: &[],
        body: None,
        streams: None,
        handler: |call| Box::pin(overview::shards(call)),
    },
    Route {
        verb: Verb::Get,
        path: "/listeners",
        role: Role::Viewer,
        about: "Where clients connect, and how many are.",
        query: &[],
        body: None,
        streams: None,
        handler: |call| Box::pin(overview::listeners(call)),
    },
    Route {
        verb: Verb::Get,
        path: "/log",
        role: Role::Viewer,
        about: "How large the log of each shard is.",
        query: &[],
        body: None,
        streams: None,
        handler: |call| Box::pin(overview::log(call)),
    },
    Route {
        verb: Verb::Get,
        path: "/clients",
        role: Role::Viewer,
        about: "Clients, connected or away, in the order of client ids.",
        query: &[("state", "connected or away"), PAGE[0], PAGE[1], PAGE[2]],
        body: None,
        streams: None,
        handler: |call| Box::pin(clients::list(call)),
    },
    Route {
        verb: Verb::Get,
        path: "/clients/{client_id}",
        role: Role::Viewer,
        about: "One client, its session and its subscriptions.",
        query: &[],
        body: None,
        streams: None,
        handler: |call| Box::pin(clients::one(call)),
    },
    Route {
        verb: Verb::Delete,
        path: "/clients/{client_id}",
        role: Role::Operator,
        about: "Ends the connection of a client (0x98, administrative action).",
        query: &[("session", "keep, or forget to end its session, too")],
        body: None,
        streams: None,
        handler: |call| Box::pin(clients::kick(call)),
    },
    Route {
        verb: Verb::Get,
        path: "/subscriptions",
        role: Role::Viewer,
        about: "All subscriptions, or those that match a topic.",
        query: &[
            ("topic", "a topic name: who gets what is published there"),
            PAGE[0],
            PAGE[1],
            PAGE[2],
        ],
        body: None,
        streams: None,
        handler: |call| Box::pin(subscriptions::list(call)),
    },
    Route {
        verb: Verb::Get,
        path: "/retained",
        role: Role::Viewer,
        about: "Retained messages, in the order of topics.",
        query: &[("filter", "a topic filter that matches them"), PAGE[0], PAGE[1], PAGE[2]],
        body: None,
        streams: None,
        handler: |call| Box::pin(retained::list(call)),
    },
    Route {
        verb: Verb::Get,
        path: "/retained/{*topic}",
        role: Role::Viewer,
        about: "One retained message with its payload.",
        query: &[],
        body: None,
        streams: None,
        handler: |call| Box::pin(retained::one(call)),
    },
    Route {
        verb: Verb::Delete,
        path: "/retained/{*topic}",
        role: Role::Operator,
        about: "Deletes a retained message, on every shard.",
        query: &[],
        body: None,
        streams: None,
        handler: |call| Box::pin(retained::delete(call)),
    },
    Route {
        verb: Verb::Post,
        path: "/publish",
        role: Role::Operator,
        about: "Publishes a message; QoS 1 and 2 wait until it is acknowledged.",
        query: &[],
        body: Some("{topic, payload or payload_base64, qos, retain}"),
        streams: None,
        handler: |call| Box::pin(publish::one(call)),
    },
    Route {
        verb: Verb::Post,
        path: "/publish/batch",
        role: Role::Operator,
        about: "Publishes up to 1000 messages in their order.",
        query: &[],
        body: Some("[{topic, payload or payload_base64, qos, retain}]"),
        streams: None,
        handler: |call| Box::pin(publish::batch(call)),
    },
    Route {
        verb: Verb::Get,
        path: "/subscribe",
        role: Role::Viewer,
        about: "Messages as they come, as a stream of events.",
        query: &[
            ("filter", "a topic filter, $share/GROUP/FILTER included"),
            ("qos", "0, 1 or 2; 0 unless said"),
        ],
        body: None,
        streams: Some("text/event-stream"),
        handler: |call| Box::pin(subscribe::stream(call)),
    },
    Route {
        verb: Verb::Get,
        path: "/bans",
        role: Role::Viewer,
        about: "Addresses, users and client ids that are kept out, and why.",
        query: &[],
        body: None,
        streams: None,
        handler: |call| Box::pin(bans::list(call)),
    },
    Route {
        verb: Verb::Post,
        path: "/bans",
        role: Role::Operator,
        about: "Keeps an address, network, user or client id out for a while and ends its connections.",
        query: &[],
        body: Some("{address or user or client_id, seconds, why}"),
        streams: None,
        handler: |call| Box::pin(bans::ban(call)),
    },
    Route {
        verb: Verb::Delete,
        path: "/bans/{name}",
        role: Role::Operator,
        about: "Lets an address, network, user or client id in again.",
        query: &[("kind", "address, user or client_id; address unless said")],
        body: None,
        streams: None,
        handler: |call| Box::pin(bans::unban(call)),
    },
    Route {
        verb: Verb::Post,
        path: "/explain",
        role: Role::Viewer,
        about: "What would become of a message: whether a client may publish it, and who would get it.",
        query: &[],
        body: Some("{client_id, topic, qos, retain, user}"),
        streams: None,
        handler: |call| Box::pin(explain::explain(call)),
    },
    Route {
        verb: Verb::Get,
        path: "/drops",
        role: Role::Viewer,
        about: "The last messages that were lost or refused, and why; the newest first. QoS 0 messages \
                for clients that are away are among them if why, client_id, filter or search ask.",
        query: &[
            ("client_id", "those that this client published or did not get"),
            ("filter", "those to topics that this filter matches"),
            ("why", "those of this reason, such as queue_full"),
            PAGE[0],
            PAGE[1],
            PAGE[2],
        ],
        body: None,
        streams: None,
        handler: |call| Box::pin(drops::list(call)),
    },
    Route {
        verb: Verb::Post,
        path: "/traces",
        role: Role::Operator,
        about: "Follows one client, topic filter or address for a while.",
        query: &[],
        body: Some("{client_id or filter or address, minutes, payload_bytes}"),
        streams: None,
        handler: |call| Box::pin(traces::start(call)),
    },
    Route {
        verb: Verb::Get,
        path: "/traces",
        role: Role::Viewer,
        about: "Traces that run and those that are over, the newest first.",
        query: &[],
        body: None,
        streams: None,
        handler: |call| Box::pin(traces::list(call)),
    },
    Route {
        verb: Verb::Get,
        path: "/traces/{id}",
        role: Role::Viewer,
        about: "One trace: what it follows, how far it is, where its file is.",
        query: &[],
        body: None,
        streams: None,
        handler: |call| Box::pin(traces::one(call)),
    },
    Route {
        verb: Verb::Delete,
        path: "/traces/{id}",
        role: Role::Operator,
        about: "Stops a trace; forgets one that is over, with its file.",
        query: &[],
        body: None,
        streams: None,
        handler: |call| Box::pin(traces::end(call)),
    },
    Route {
        verb: Verb::Get,
        path: "/traces/{id}/events",
        role: Role::Viewer,
        about: "What happens, as a stream of events; it begins with the last 2000.",
        query: &[("after", "the number of the last event that is known")],
        body: None,
        streams: Some("text/event-stream"),
        handler: |call| Box::pin(traces::events(call)),
    },
    Route {
        verb: Verb::Get,
        path: "/traces/{id}/log",
        role: Role::Viewer,
        about: "The file of a trace, as far as it is: lines of JSON.",
        query: &[],
        body: None,
        streams: Some("application/jsonl"),
        handler: |call| Box::pin(traces::log(call)),
    },
    Route {
        verb: Verb::Get,
        path: "/config",
        role: Role::Admin,
        about: "Every key with its value and where that comes from; secrets are left out.",
        query: &[],
        body: None,
        streams: None,
        handler: |call| Box::pin(config::settings(call)),
    },
    Route {
        verb: Verb::Post,
        path: "/reload",
        role: Role::Admin,
        about: "Reads the configuration again, as SIGHUP does, and says what came of it.",
        query: &[],
        body: None,
        streams: None,
        handler: |call| Box::pin(config::reload(call)),
    },
    Route {
        verb: Verb::Get,
        path: "/backup",
        role: Role::Admin,
        about: "All that is kept, as it is now: a tar archive of a data directory.",
        query: &[],
        body: None,
        streams: Some("application/x-tar"),
        handler: |call| Box::pin(backup::take(call)),
    },
    Route {
        verb: Verb::Get,
        path: "/backups",
        role: Role::Viewer,
        about: "The backup that is being taken, how far it is, and the last one that was.",
        query: &[],
        body: None,
        streams: None,
        handler: |call| Box::pin(backup::state(call)),
    },
    Route {
        verb: Verb::Post,
        path: "/backups",
        role: Role::Admin,
        about: "Takes a backup that a browser fetches, and makes the ticket it fetches it with.",
        query: &[],
        body: None,
        streams: None,
        handler: |call| Box::pin(backup::prepare(call)),
    },
    Route {
        verb: Verb::Get,
        path: "/backups/{ticket}",
        role: Role::Admin,
        about: "That backup, once: its ticket stands for a token.",
        query: &[],
        body: None,
        streams: Some("application/x-tar"),
        handler: |call| Box::pin(backup::fetch(call)),
    },
    Route {
        verb: Verb::Get,
        path: "/openapi.json",
        role: Role::Viewer,
        about: "This document.",
        query: &[],
        body: None,
        streams: None,
        handler: |call| Box::pin(openapi::document(call)),
    },
];
