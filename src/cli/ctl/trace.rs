//! `hawker ctl trace`: what happens to a client, a topic or an address, line by line.

use std::fmt::Write as _;
use std::io::{self, Write as _};

use clap::Args;
use serde_json::{Value, json};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::server::{CtlError, Server};
use super::table::plain;

/// What to follow, and how closely.
#[derive(Args, Debug)]
pub(super) struct Follow {
    #[command(flatten)]
    subject: Subject,
    /// For how many minutes at most.
    #[arg(long, value_name = "N", default_value_t = 10)]
    minutes: u64,
    /// Show so many bytes of each payload.
    #[arg(long, value_name = "N", default_value_t = 0)]
    payload_bytes: u64,
}

/// One of them.
#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
struct Subject {
    /// The client with this client id.
    #[arg(long, value_name = "ID")]
    client: Option<String>,
    /// Messages to topics that this filter matches.
    #[arg(long, value_name = "FILTER")]
    topic: Option<String>,
    /// Everybody from this address, or from a network such as 10.0.0.0/8.
    #[arg(long, value_name = "IP")]
    address: Option<String>,
}

impl Follow {
    /// Prints until the trace is over, or until Ctrl-C ends it.
    pub(super) fn run(&self, server: &Server, as_json: bool) -> Result<(), CtlError> {
        let mut signals = Signals::new([SIGINT, SIGTERM])?;
        let mut order = json!({ "minutes": self.minutes, "payload_bytes": self.payload_bytes });
        let Subject { client, topic, address } = &self.subject;
        for (name, value) in [("client_id", client), ("filter", topic), ("address", address)] {
            if let Some(value) = value {
                order[name] = json!(value);
            }
        }
        let trace = server.post("/traces", &order)?;
        let path = format!("/traces/{}", trace["id"]);
        let events = server.events(&format!("{path}/events"))?;
        let file = plain(&trace["file"]);
        eprintln!("following for {} min; Ctrl-C ends it; also in {file}", self.minutes);
        std::thread::scope(|scope| {
            let closer = signals.handle();
            let stop = scope.spawn(|| match signals.forever().next() {
                // The stream ends with the trace.
                Some(_) => server.delete(&path).map(drop),
                None => Ok(()),
            });
            let printed = print(events, as_json);
            if printed.is_err() && !stop.is_finished() {
                // Whoever reads has gone: nothing is left to follow for.
                let _ = server.delete(&path);
            }
            closer.close();
            let stopped = stop.join().unwrap_or(Ok(()));
            printed.and(stopped)
        })
    }
}

fn print(events: impl io::BufRead, as_json: bool) -> Result<(), CtlError> {
    for line in events.lines() {
        let line = line?;
        let Some(data) = line.strip_prefix("data: ") else { continue };
        let mut out = io::stdout().lock();
        match as_json {
            true => writeln!(out, "{data}")?,
            false => {
                let event = serde_json::from_str(data).unwrap_or_default();
                writeln!(out, "{}", readable(&event))?;
            }
        }
        out.flush()?;
    }
    Ok(())
}

/// An event as a line for people.
fn readable(event: &Value) -> String {
    let arrow = match event["direction"].as_str() {
        Some("in") => "->",
        Some("out") => "<-",
        _ => " *",
    };
    let name = plain(&event["event"]);
    let mut line = format!("{} {arrow} {name:14}", clock(event["at_us"].as_u64().unwrap_or(0)));
    if let Some(client_id) = event["client_id"].as_str() {
        let _ = write!(line, " {}", plain(&json!(client_id)));
    }
    if let Some(topic) = event["topic"].as_str() {
        let _ = write!(line, " {} qos {}", plain(&json!(topic)), event["qos"]);
        for flag in ["retain", "dup"] {
            if event[flag] == true {
                let _ = write!(line, " {flag}");
            }
        }
        let _ = write!(line, " {} bytes", event["bytes"]);
    }
    if let Some(packet_id) = event["packet_id"].as_u64() {
        let _ = write!(line, " id {packet_id}");
    }
    if let Some(code) = event["reason_code"].as_u64() {
        let _ = write!(line, " 0x{code:02x} {}", plain(&event["reason"]));
    }
    if event["detail"].is_string() {
        let _ = write!(line, " ({})", plain(&event["detail"]));
    }
    if let Some(encoded) = event["payload_base64"].as_str() {
        let _ = write!(line, " {}", payload(encoded));
    }
    line
}

/// A payload as text, with what is none replaced.
fn payload(encoded: &str) -> String {
    use base64::Engine as _;
    let bytes = base64::engine::general_purpose::STANDARD.decode(encoded).unwrap_or_default();
    plain(&json!(String::from_utf8_lossy(&bytes)))
}

/// The time of day in UTC of microseconds since 1970.
pub(super) fn clock(micros: u64) -> String {
    let (seconds, micros) = (micros / 1_000_000, micros % 1_000_000);
    let (hours, minutes, seconds) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{hours:02}:{minutes:02}:{seconds:02}.{micros:06}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_a_line_that_does_nothing_to_a_terminal() {
        let event = json!({
            "at_us": 86_400_000_000_u64 + 3_661_000_042, "direction": "in", "event": "publish",
            "client_id": "dev\u{1b}[2J", "topic": "a/b", "qos": 1, "retain": true, "dup": false,
            "bytes": 12, "packet_id": 7, "payload_base64": "b24K",
        });
        assert_eq!(
            readable(&event),
            "01:01:01.000042 -> publish        dev\u{fffd}[2J a/b qos 1 retain 12 bytes id 7 on\u{fffd}"
        );
        let event = json!({
            "at_us": 0, "direction": "out", "event": "disconnect", "client_id": "dev",
            "reason_code": 0x8e, "reason": "session taken over",
        });
        assert_eq!(
            readable(&event),
            "00:00:00.000000 <- disconnect     dev 0x8e session taken over"
        );
    }
}
