//! `hawker ctl`: the admin API from a terminal.

mod download;
mod server;
mod table;
mod trace;

use std::fmt::Write as _;
use std::io::{self, BufRead as _, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use self::server::{CtlError, Server, escaped};
use self::table::{Table, cell, plain, title};
use self::trace::{Follow, clock};

/// Largest payload read from standard input.
const PAYLOAD_BYTES_MAX: u64 = 4 << 20;

/// Where the broker is, and what to ask it.
#[derive(Args, Debug)]
pub(super) struct Ctl {
    /// The admin server.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:18083")]
    admin: String,
    /// A file whose first line is a token; only its owner and group may be able to read it.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Print what the server answered, as JSON.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// The broker as a whole.
    Status,
    /// Clients, connected or away.
    Clients {
        /// A part of the client id, of the user or of the address.
        #[arg(long, value_name = "TEXT", default_value = "")]
        search: String,
        /// Those that are `connected`, or those that are `away`.
        #[arg(long, value_name = "STATE", default_value = "")]
        state: String,
        /// How many at most.
        #[arg(long, value_name = "N", default_value_t = 50)]
        limit: usize,
    },
    /// One client and its subscriptions.
    Client {
        /// Its client id.
        client_id: String,
    },
    /// End a client's connection.
    Kick {
        /// Its client id.
        client_id: String,
        /// End its session, too: its subscriptions and what waits for it are gone.
        #[arg(long)]
        forget: bool,
    },
    /// Keep an address, a user or a client id out; its connections end.
    Ban {
        /// The address, of IPv6 with its network of 64 bits, or a network such as 10.0.0.0/8.
        name: String,
        /// For how many seconds.
        seconds: u64,
        /// Why.
        #[arg(long, value_name = "TEXT", default_value = "")]
        why: String,
        #[command(flatten)]
        kind: BanKind,
    },
    /// Let an address, a user or a client id in again.
    Unban {
        /// The address or network, as `bans` shows it.
        name: String,
        #[command(flatten)]
        kind: BanKind,
    },
    /// Who is kept out.
    Bans,
    /// Retained messages, or one of them with its payload.
    Retained {
        /// A topic filter; a topic with --show or --delete.
        #[arg(default_value = "#")]
        filter: String,
        /// How many at most.
        #[arg(long, value_name = "N", default_value_t = 50)]
        limit: usize,
        /// Print the payload of the message at this topic.
        #[arg(long)]
        show: bool,
        /// Delete the message at this topic.
        #[arg(long, conflicts_with = "show")]
        delete: bool,
    },
    /// Publish a message.
    Publish {
        /// Its topic.
        topic: String,
        /// Its payload; standard input if it is -.
        #[arg(default_value = "")]
        payload: String,
        /// 0, 1 or 2; 1 and 2 wait until it is acknowledged.
        #[arg(short, long, value_name = "QOS", default_value_t = 1)]
        qos: u8,
        /// Keep it as the topic's.
        #[arg(short, long)]
        retain: bool,
    },
    /// Print messages as they come.
    Subscribe {
        /// A topic filter.
        filter: String,
        /// 0, 1 or 2.
        #[arg(short, long, value_name = "QOS", default_value_t = 0)]
        qos: u8,
    },
    /// Say what would become of a message; nothing is published.
    Explain {
        /// Who would publish it.
        client_id: String,
        /// Its topic.
        topic: String,
        /// 0, 1 or 2.
        #[arg(short, long, value_name = "QOS", default_value_t = 0)]
        qos: u8,
        /// As one to be kept.
        #[arg(short, long)]
        retain: bool,
        /// Whose the client would be, if it is not connected.
        #[arg(long, value_name = "NAME")]
        user: Option<String>,
    },
    /// The last messages that were lost or refused, and why.
    ///
    /// QoS 0 messages for clients that are away are among them if anything narrows the list down:
    /// --why away shows them alone.
    Drops {
        /// Those that this client published or did not get.
        #[arg(long, value_name = "ID", default_value = "")]
        client: String,
        /// Those to topics that this filter matches.
        #[arg(long, value_name = "FILTER", default_value = "")]
        topic: String,
        /// Those of this reason, such as queue_full.
        #[arg(long, value_name = "REASON", default_value = "")]
        why: String,
        /// A part of a topic or client id.
        #[arg(long, value_name = "TEXT", default_value = "")]
        search: String,
        /// How many at most.
        #[arg(long, value_name = "N", default_value_t = 50)]
        limit: usize,
    },
    /// Follow a client, a topic filter or an address, and print what happens; Ctrl-C ends it.
    Trace(Follow),
    /// Write all that is kept, as it is now, to a file: a tar archive of a data directory.
    ///
    /// To restore it, unpack it into an empty directory that is the broker's alone and name that
    /// with --data-dir: mkdir -m 700 data && tar -xf FILE -C data
    Backup {
        /// The file; standard output if it is -.
        file: PathBuf,
        /// Overwrite the file if it is there.
        #[arg(long)]
        force: bool,
    },
    /// Read the configuration again, as SIGHUP does.
    Reload,
    /// The configuration in force, and where each value comes from.
    Config,
}

/// What a ban is by, if not by an address.
#[derive(Clone, Copy, Debug, Args)]
struct BanKind {
    /// The name is that of a user.
    #[arg(long, conflicts_with = "client_id")]
    user: bool,
    /// The name is a client id.
    #[arg(long)]
    client_id: bool,
}

impl BanKind {
    fn name(self) -> &'static str {
        match self {
            BanKind { user: true, .. } => "user",
            BanKind { client_id: true, .. } => "client_id",
            BanKind { .. } => "address",
        }
    }
}

impl Ctl {
    /// Asks, and prints what came back.
    pub(super) fn run(&self) -> Result<(), CtlError> {
        let server = Server::new(&self.admin, self.token_file.as_deref())?;
        if let Action::Subscribe { filter, qos } = &self.action {
            return self.follow(&server, filter, *qos);
        }
        if let Action::Trace(follow) = &self.action {
            return follow.run(&server, self.json);
        }
        if let Action::Backup { file, force } = &self.action {
            return self.back_up(&server, file, *force);
        }
        let answer = self.ask(&server)?;
        let text = match self.json {
            true => format!("{answer:#}\n"),
            false => self.shown(&answer),
        };
        io::stdout().write_all(text.as_bytes())?;
        match answer["applied"] == false {
            true => Err(CtlError::NotApplied),
            false => Ok(()),
        }
    }

    fn ask(&self, server: &Server) -> Result<Value, CtlError> {
        match &self.action {
            Action::Status => server.get("/overview"),
            Action::Clients { search, state, limit } => {
                let path = format!("/clients?search={}&state={}", escaped(search), escaped(state));
                server.pages(&path, "clients", *limit)
            }
            Action::Client { client_id } => server.get(&format!("/clients/{}", escaped(client_id))),
            Action::Kick { client_id, forget } => {
                let session = if *forget { "forget" } else { "keep" };
                server.delete(&format!("/clients/{}?session={session}", escaped(client_id)))
            }
            Action::Ban { name, seconds, why, kind } => {
                let order = json!({ kind.name(): name, "seconds": seconds, "why": why });
                server.post("/bans", &order)
            }
            Action::Unban { name, kind } => {
                server.delete(&format!("/bans/{}?kind={}", escaped(name), kind.name()))
            }
            Action::Bans => server.get("/bans"),
            Action::Retained { filter, delete: true, .. } => {
                server.delete(&format!("/retained/{}", escaped(filter)))
            }
            Action::Retained { filter, show: true, .. } => {
                server.get(&format!("/retained/{}", escaped(filter)))
            }
            Action::Retained { filter, limit, .. } => {
                server.pages(&format!("/retained?filter={}", escaped(filter)), "retained", *limit)
            }
            Action::Publish { topic, payload, qos, retain } => {
                let payload = STANDARD.encode(taken(payload)?);
                let message = json!({
                    "topic": topic, "payload_base64": payload, "qos": qos, "retain": retain,
                });
                server.post("/publish", &message)
            }
            Action::Explain { client_id, topic, qos, retain, user } => {
                let question = json!({
                    "client_id": client_id, "topic": topic, "qos": qos, "retain": retain,
                    "user": user,
                });
                server.post("/explain", &question)
            }
            Action::Drops { client, topic, why, search, limit } => {
                let parts = [("client_id", client), ("filter", topic), ("why", why)];
                let path = parts
                    .iter()
                    .fold(format!("/drops?search={}", escaped(search)), |path, (name, value)| {
                        format!("{path}&{name}={}", escaped(value))
                    });
                server.pages(&path, "drops", *limit)
            }
            Action::Reload => server.post("/reload", &json!({})),
            Action::Config => server.get("/config"),
            Action::Subscribe { .. } | Action::Backup { .. } | Action::Trace(_) => {
                unreachable!("it is a stream")
            }
        }
    }

    fn shown(&self, answer: &Value) -> String {
        match &self.action {
            Action::Clients { .. } => clients(answer),
            Action::Client { .. } => client(answer),
            Action::Bans => {
                let columns = ["kind", "name", "seconds_left", "until_ms", "by", "why"];
                Table::of(answer, &columns).to_string()
            }
            Action::Retained { show: true, .. } => message(answer),
            Action::Retained { delete: false, .. } => retained(answer),
            Action::Explain { .. } => explained(answer),
            Action::Drops { .. } => drops(answer),
            Action::Config => {
                Table::of(&answer["settings"], &["key", "value", "origin"]).to_string()
            }
            _ => fields(answer),
        }
    }

    fn back_up(&self, server: &Server, file: &Path, force: bool) -> Result<(), CtlError> {
        let since = Instant::now();
        if file == Path::new("-") {
            download::print(|| server.download("/backup"))?;
            return Ok(());
        }
        let bytes = download::save(file, force, || server.download("/backup"))?;
        let milliseconds = since.elapsed().as_millis() as u64;
        let answer = json!({ "file": file, "bytes": bytes, "milliseconds": milliseconds });
        let text = match self.json {
            true => format!("{answer:#}\n"),
            false => fields(&answer),
        };
        Ok(io::stdout().write_all(text.as_bytes())?)
    }

    fn follow(&self, server: &Server, filter: &str, qos: u8) -> Result<(), CtlError> {
        let events = server.events(&format!("/subscribe?filter={}&qos={qos}", escaped(filter)))?;
        for line in events.lines() {
            let line = line?;
            let Some(data) = line.strip_prefix("data: ") else { continue };
            let mut out = io::stdout().lock();
            match self.json {
                true => writeln!(out, "{data}")?,
                false => {
                    let value: Value = serde_json::from_str(data).unwrap_or_default();
                    out.write_all(message(&value).as_bytes())?;
                }
            }
            out.flush()?;
        }
        Err(CtlError::Ended)
    }
}

/// A payload as it stands, or from standard input.
fn taken(payload: &str) -> io::Result<Vec<u8>> {
    if payload != "-" {
        return Ok(payload.as_bytes().to_vec());
    }
    let mut bytes = Vec::new();
    io::stdin().take(PAYLOAD_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > PAYLOAD_BYTES_MAX {
        return Err(io::Error::other(format!("a payload has at most {PAYLOAD_BYTES_MAX} bytes")));
    }
    Ok(bytes)
}

fn clients(answer: &Value) -> String {
    let columns =
        ["client_id", "user", "connected", "address", "protocol", "subscriptions", "queued"];
    let table = Table::of(&answer["clients"], &columns);
    format!("{table}{}", counted(&answer["clients"], &answer["total"]))
}

fn retained(answer: &Value) -> String {
    let table = Table::of(&answer["retained"], &["topic", "bytes", "qos", "payload_preview"]);
    format!("{table}{}", counted(&answer["retained"], &answer["total"]))
}

fn counted(rows: &Value, total: &Value) -> String {
    let shown = rows.as_array().map_or(0, Vec::len) as u64;
    match total.as_u64() {
        Some(total) if total > shown => format!("{shown} of {total}; --limit shows more\n"),
        _ => String::new(),
    }
}

fn client(answer: &Value) -> String {
    let columns = ["filter", "group", "qos", "no_local", "retain_as_published"];
    format!("{}\n{}", fields(answer), Table::of(&answer["subscriptions_list"], &columns))
}

fn explained(answer: &Value) -> String {
    let mut text = String::new();
    let publish = &answer["publish"];
    let allowed = if publish["allowed"] == true { "allowed" } else { "refused" };
    let _ = writeln!(text, "{allowed}: {} ({})", plain(&publish["by"]), plain(&publish["judged"]));
    let _ = writeln!(text, "outcome: {}\n", plain(&answer["outcome"]));
    let columns = ["client_id", "filter", "group", "qos", "connected", "queued", "what"];
    let _ = write!(text, "{}", Table::of(&answer["matches"], &columns));
    if answer["happened"].as_array().is_some_and(|happened| !happened.is_empty()) {
        let _ = write!(text, "\nlost lately:\n{}", lost(&answer["happened"]));
    }
    text
}

fn drops(answer: &Value) -> String {
    format!("{}{}", lost(&answer["drops"]), counted(&answer["drops"], &answer["total"]))
}

/// Losses, one under the other, with the time of day.
fn lost(rows: &Value) -> Table {
    let timed = |row: &Value| {
        let mut row = row.clone();
        row["time"] = json!(clock(row["at_ms"].as_u64().unwrap_or(0) * 1000));
        row
    };
    let rows: Value = rows.as_array().into_iter().flatten().map(timed).collect();
    Table::of(&rows, &["time", "why", "publisher", "receiver", "topic", "qos", "bytes", "detail"])
}

/// A line for a message: its topic, and its payload, in hexadecimal if it is no text.
fn message(value: &Value) -> String {
    let payload = match value["payload"].as_str() {
        Some(text) => plain(&json!(text)),
        None => {
            let encoded = value["payload_base64"].as_str().unwrap_or_default();
            let bytes = STANDARD.decode(encoded).unwrap_or_default();
            bytes
                .iter()
                .fold(format!("({} bytes) ", bytes.len()), |text, byte| format!("{text}{byte:02x}"))
        }
    };
    format!("{} {payload}\n", plain(&value["topic"]))
}

/// What is neither a list nor a table, a line each.
fn fields(answer: &Value) -> String {
    let mut text = String::new();
    for (name, value) in answer.as_object().into_iter().flatten() {
        let is_list = value.as_array().is_some_and(|list| list.iter().any(Value::is_object));
        if !is_list && !value.is_object() {
            // Several errors are a line each.
            let lines: Vec<String> = match value.as_str() {
                Some(lines) => lines.lines().map(|line| plain(&json!(line))).collect(),
                None => vec![cell(name, value)],
            };
            let indented = lines.join(&format!("\n{:25}", ""));
            let _ = writeln!(text, "{:24} {indented}", title(name));
        }
    }
    if answer["listeners"].is_array() {
        let table = Table::of(&answer["listeners"], &["name", "address", "connections"]);
        let _ = write!(text, "\n{table}");
    }
    text
}
