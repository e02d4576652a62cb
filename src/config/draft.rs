//! What the operator has said so far: the raw side of [`Config`].
//!
//! Every value in a draft is possible alone; a [`Config`] is one whose values are also possible
//! together. File, environment and flags are taken in this order, later ones overrule, and every
//! problem is kept, so that one look at the errors mends them all.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::Path;

use toml::de::DeTable;

use super::auth::AuthConfig;
use super::check;
use super::error::{ConfigError, Fault, Origin, Problem};
use super::found::{Found, Lines};
use super::kind::{Kind as _, listen_address};
use super::listener::{ClientCertificates, ListenAddress, ListenerConfig};
use super::log::LogConfig;
use super::mqtt::Mqtt;
use super::process::{ListenerTable, Process};
use super::storage::Storage;
use super::table::Table;
use super::tls::{CertificatePair, TlsConfig};
use super::{Config, reference};

/// How often a file is taken apart again after lines were blanked; what is left then is told
/// when these are mended.
const SYNTAX_ROUNDS_MAX: usize = 20;

/// See the module.
#[derive(Default)]
pub(super) struct Draft {
    pub(super) process: Process,
    pub(super) listeners: Option<Vec<DraftListener>>,
    pub(super) tls: TlsConfig,
    pub(super) log: LogConfig,
    pub(super) mqtt: Mqtt,
    pub(super) storage: Storage,
    pub(super) auth: AuthConfig,
    /// Who had the last word on a key.
    pub(super) origins: BTreeMap<String, Origin>,
    problems: Vec<Problem>,
}

/// A listener whose address is not yet certain.
pub(super) struct DraftListener {
    pub(super) key: String,
    pub(super) origin: Origin,
    pub(super) table: ListenerTable,
}

impl Draft {
    /// Takes a file.
    pub(super) fn take_file(&mut self, file: &Path, bytes: &[u8]) {
        let lines = Lines::new(file, bytes);
        let text = match str::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => {
                let message = "a byte that is not UTF-8".to_owned();
                let origin = lines.origin(error.valid_up_to());
                return self.problems.push(syntax(origin, message));
            }
        };
        let (text, torn) = self.mend_syntax(text.to_owned(), &lines);
        let (table, _) = DeTable::parse_recoverable(&text);
        let before = self.problems.len();
        for (name, found) in Found::entries_of(table.get_ref(), &lines, "") {
            self.take_entry(name, &found);
        }
        // What the parser made up to go on is not worth a second complaint.
        let told = self.problems.split_off(before);
        self.problems.extend(told.into_iter().filter(|problem| !torn.contains(&problem.origin)));
    }

    /// Reports the lines that are not TOML and blanks those that stand for themselves, so that
    /// what the parser could not reach behind them is looked at, too.
    fn mend_syntax(&mut self, mut text: String, lines: &Lines) -> (String, BTreeSet<Origin>) {
        let mut torn = BTreeSet::new();
        for _ in 0..SYNTAX_ROUNDS_MAX {
            let (_, errors) = DeTable::parse_recoverable(&text);
            let mut blank = Vec::new();
            for error in errors {
                let span = error.span().unwrap_or(text.len()..text.len());
                let offset = span.start;
                let origin = lines.origin(offset);
                if torn.insert(origin.clone()) {
                    let message = match error.message() {
                        "duplicate key" => twice(text.get(span).unwrap_or_default()),
                        other => other.trim_end_matches(", expected nothing").to_owned(),
                    };
                    self.problems.push(syntax(origin, message));
                    blank.push(lines.around(offset));
                }
            }
            let opens = |line: &Range<usize>| {
                ["[", "{", "\"\"\"", "'''"].iter().any(|open| text[line.clone()].contains(open))
            };
            if blank.is_empty() || blank.iter().any(opens) {
                break;
            }
            for line in blank {
                text.replace_range(line.clone(), &" ".repeat(line.len()));
            }
        }
        (text, torn)
    }

    /// Takes what the environment or a flag says of one key.
    pub(super) fn take_text(&mut self, key: &str, origin: Origin, text: &str) {
        let found = Found::text(key, origin, text);
        match key.split_once('.') {
            Some((table, name)) => {
                self.origins.insert(found.key.clone(), found.origin.clone());
                match table {
                    "log" => self.log.read(name, &found, &mut self.problems),
                    "mqtt" => self.mqtt.read(name, &found, &mut self.problems),
                    "storage" => self.storage.read(name, &found, &mut self.problems),
                    "tls" => self.tls.read(name, &found, &mut self.problems),
                    _ => self.refuse_unknown(&found),
                }
            }
            None => self.take_entry(key, &found),
        }
    }

    /// Replaces the listeners by those at the addresses.
    pub(super) fn take_addresses(&mut self, origin: Origin, addresses: &[&str]) {
        self.origins.retain(|key, _| !key.starts_with("listeners["));
        self.origins.insert("listeners".to_owned(), origin.clone());
        let mut listeners = Vec::new();
        for address in addresses {
            let key = "listeners".to_owned();
            let found = Found::text(&key, origin.clone(), address);
            let address = listen_address().read(&found, &mut self.problems);
            let table = ListenerTable { address, ..ListenerTable::default() };
            listeners.push(DraftListener { key, origin: origin.clone(), table });
        }
        self.listeners = Some(listeners);
    }

    /// Keeps a problem that was found elsewhere.
    pub(super) fn report(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    /// The configuration, if there is nothing to mend.
    pub(super) fn finish(mut self) -> Result<Config, ConfigError> {
        if !self.origins.contains_key("mqtt.packet_bytes_max") {
            let fits = check::packet_bytes_that_fit(&self);
            self.mqtt.packet_bytes_max = self.mqtt.packet_bytes_max.min(fits);
        }
        // Values that were not understood are still the defaults here; what these would collide
        // with may be innocent.
        if self.problems.is_empty() {
            self.problems = check::conflicts(&self);
        }
        if !self.problems.is_empty() {
            self.problems.sort();
            return Err(ConfigError::Invalid { problems: self.problems });
        }
        Ok(Config {
            listeners: self.listeners.map_or_else(ListenerConfig::defaults, named),
            shards: self.process.shards.map(usize::from),
            cpus: self.process.cpus,
            data_dir: self.process.data_dir,
            durability: self.process.durability,
            admin: self.process.admin,
            admin_tokens: self.process.admin_tokens,
            admin_hosts: self.process.admin_hosts,
            admin_trace_folder: self.process.admin_trace_folder,
            log: self.log,
            mqtt: self.mqtt,
            storage: self.storage,
            auth: self.auth,
            tls: self.tls,
        })
    }

    fn take_entry(&mut self, name: &str, found: &Found<'_>) {
        match name {
            "listeners" => self.take_listeners(found),
            "log" => self.log.read_all(found, &mut self.problems),
            "mqtt" => self.mqtt.read_all(found, &mut self.problems),
            "storage" => self.storage.read_all(found, &mut self.problems),
            "auth" => self.auth.read_all(found, &mut self.problems),
            "tls" => self.tls.read_all(found, &mut self.problems),
            _ if reference::is_process_key(name) => {
                self.process.read(name, found, &mut self.problems);
            }
            _ => self.refuse_unknown(found),
        }
        self.remember_entries(found);
        let tables = found.items().unwrap_or_default();
        tables.iter().for_each(|table| self.remember_entries(table));
        self.origins.insert(found.key.clone(), found.origin.clone());
    }

    fn remember_entries(&mut self, table: &Found<'_>) {
        for (_, found) in table.entries().unwrap_or_default() {
            let is_list = found.key == "auth.rules" || found.key.ends_with(".certificates");
            let items = found.items().filter(|_| is_list);
            items.iter().flatten().for_each(|item| self.remember_entries(item));
            self.origins.insert(found.key, found.origin);
        }
    }

    fn take_listeners(&mut self, found: &Found<'_>) {
        let Some(items) = found.items().filter(|items| !items.is_empty()) else {
            let expected = "one [[listeners]] table or more".to_owned();
            return self.problems.push(found.unsuitable(expected, None));
        };
        let listeners = items.into_iter().filter_map(|item| self.draft_listener(item)).collect();
        self.listeners = Some(listeners);
    }

    fn draft_listener(&mut self, found: Found<'_>) -> Option<DraftListener> {
        let mut table = ListenerTable::default();
        let before = self.problems.len();
        if found.entries().is_none() {
            let mend = format!("[[listeners]] with address = {}", found.describe());
            let expected = "a table".to_owned();
            self.problems.push(found.unsuitable(expected, Some(format!("write {mend}"))));
            return None;
        }
        table.read_all(&found, &mut self.problems);
        if table.address.is_none() && self.problems.len() == before {
            let expected = format!("address = {}", "\"tcp://HOST:PORT\"");
            let key = format!("{}.address", found.key);
            let origin = found.origin.clone();
            self.problems.push(Problem { origin, key, fault: Fault::Missing { expected } });
        }
        Some(DraftListener { key: found.key, origin: found.origin, table })
    }

    fn refuse_unknown(&mut self, found: &Found<'_>) {
        let nearest = reference::nearest_key(&found.key);
        self.problems.push(found.problem(Fault::UnknownKey { nearest }));
    }
}

/// What is wrong with a key, or the name of a table, that stands there for the second time.
fn twice(name: &str) -> String {
    format!("{name} is there already, further up: write it once, with all that belongs to it")
}

fn syntax(origin: Origin, message: String) -> Problem {
    Problem { origin, key: String::new(), fault: Fault::Syntax { message } }
}

/// Gives each listener its name; those without one are called by their address, and a number
/// where that is taken, as several can ask for port 0.
fn named(drafts: Vec<DraftListener>) -> Vec<ListenerConfig> {
    let mut taken: BTreeSet<String> =
        drafts.iter().filter_map(|draft| draft.table.name.clone()).collect();
    let mut name = |address: &ListenAddress| {
        let numbered = (2..).map(|number| format!("{address}#{number}"));
        let mut free = std::iter::once(address.to_string()).chain(numbered);
        let free = free.find(|name| taken.insert(name.clone()));
        free.expect("there are more numbers than listeners")
    };
    let with_name = |draft: DraftListener| {
        let mut terms = draft.table;
        let address = terms.address.clone()?;
        let name = terms.name.get_or_insert_with(|| name(&address)).clone();
        let clients = terms.client_ca.clone().map(|issuers| ClientCertificates {
            issuers,
            revoked: terms.client_crl.clone(),
            optional: terms.client_certificate_optional,
        });
        let (certificate, key) = (terms.certificate.as_ref(), terms.key.as_ref());
        let certificates = CertificatePair::all(certificate, key, &terms.certificates);
        Some(ListenerConfig { name, address, certificates, clients, terms })
    };
    drafts.into_iter().filter_map(with_name).collect()
}
