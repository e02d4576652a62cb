//! The reference of all keys: `docs/config.md` and `packaging/hawker.toml`, both written from
//! the tables' doc comments, ranges and defaults.

use std::fmt::Write as _;

use super::auth::AuthConfig;
use super::kind::nearest;
use super::log::LogConfig;
use super::mqtt::Mqtt;
use super::process::{ListenerTable, Process};
use super::source::variable_of;
use super::storage::Storage;
use super::table::{Reload, Table};
use super::tls::TlsConfig;

/// A table, its type left behind.
struct Section {
    name: &'static str,
    doc: &'static [&'static str],
    entries: Vec<Entry>,
}

struct Entry {
    name: &'static str,
    doc: &'static [&'static str],
    reload: Reload,
    expected: String,
    default: Option<String>,
    gloss: Option<String>,
    sample: Option<String>,
}

/// All tables, in the order of the documentation.
fn sections() -> [Section; 7] {
    [
        section::<Process>(),
        section::<ListenerTable>(),
        section::<LogConfig>(),
        section::<Mqtt>(),
        section::<Storage>(),
        section::<TlsConfig>(),
        section::<AuthConfig>(),
    ]
}

fn section<T: Table + Default>() -> Section {
    let defaults = T::default();
    let entry = |key: &super::table::Key<T>| Entry {
        name: key.name,
        doc: key.doc,
        reload: key.reload,
        expected: (key.expected)(),
        default: (key.show)(&defaults),
        gloss: (key.gloss)(&defaults),
        sample: (key.sample)(),
    };
    Section { name: T::NAME, doc: T::DOC, entries: T::KEYS.iter().map(entry).collect() }
}

impl Section {
    fn full_name(&self, entry: &Entry) -> String {
        match self.name {
            "" => entry.name.to_owned(),
            table => format!("{table}.{}", entry.name),
        }
    }

    /// Whether one variable or flag can hold a key of it: no list of tables can be.
    fn is_settable(&self, entry: &Entry) -> bool {
        !matches!(self.name, "listeners" | "auth") && entry.name != "certificates"
    }
}

/// The keys an environment variable of their own can set.
pub(super) fn settable_keys() -> Vec<String> {
    let names = |section: Section| {
        let entries = section.entries.iter().filter(|entry| section.is_settable(entry));
        entries.map(|entry| section.full_name(entry)).collect::<Vec<_>>()
    };
    sections().into_iter().flat_map(names).collect()
}

/// Whether the key stands outside of any table.
pub(super) fn is_process_key(name: &str) -> bool {
    Process::KEYS.iter().any(|key| key.name == name)
}

/// The full names of the keys with a name, in any table.
pub(super) fn keys_named(name: &str) -> impl Iterator<Item = String> {
    let matching = move |section: Section| {
        let entries = section.entries.iter().filter(move |entry| entry.name == name);
        entries.map(|entry| section.full_name(entry)).collect::<Vec<_>>()
    };
    sections().into_iter().flat_map(matching)
}

/// The key or table that was probably meant by one outside of any table.
pub(super) fn nearest_key(key: &str) -> Option<String> {
    if let Some(elsewhere) = keys_named(key).next() {
        return Some(elsewhere);
    }
    let sections = sections();
    let tables = sections.iter().map(|section| section.name).filter(|name| !name.is_empty());
    let here = Process::KEYS.iter().map(|key| key.name);
    nearest(key, here.chain(tables)).map(str::to_owned)
}

/// The text of `docs/config.md`.
pub fn markdown() -> String {
    let mut text = String::from(include_str!("reference.md"));
    for section in sections() {
        let _ = match section.name {
            "" => write!(text, "\n## Outside of any table\n\n"),
            "listeners" => write!(text, "\n## `[[listeners]]`\n\n"),
            name => write!(text, "\n## `[{name}]`\n\n"),
        };
        text.push_str(&paragraphs(section.doc, ""));
        for entry in &section.entries {
            let _ = write!(text, "\n### `{}`\n\n", section.full_name(entry));
            text.push_str(&paragraphs(entry.doc, ""));
            text.push_str(&facts(&section, entry));
        }
    }
    text
}

fn facts(section: &Section, entry: &Entry) -> String {
    let mut facts = String::from("\n");
    let default = match (&entry.default, &entry.gloss) {
        (Some(default), Some(gloss)) => format!("`{default}` ({gloss})"),
        (Some(default), None) => format!("`{default}`"),
        (None, _) => "unset".to_owned(),
    };
    let _ = writeln!(facts, "- Value: {}", entry.expected);
    let _ = writeln!(facts, "- Default: {default}");
    let _ = writeln!(facts, "- Reload: {}", when(entry.reload));
    if section.is_settable(entry) {
        let _ = writeln!(facts, "- Environment: `{}`", variable_of(&section.full_name(entry)));
    }
    facts
}

fn when(reload: Reload) -> &'static str {
    match reload {
        Reload::Live => "at once",
        Reload::Connect => "for clients that connect afterwards",
        Reload::Restart => "no, needs a restart",
    }
}

/// The text of `packaging/hawker.toml`: every key with its default, commented out.
pub fn example() -> String {
    let mut text = String::from(EXAMPLE_HEAD);
    for section in sections() {
        text.push('\n');
        text.push_str(&paragraphs(section.doc, "# "));
        let _ = match section.name {
            "" => Ok(()),
            "listeners" => writeln!(text, "\n#[[listeners]]"),
            name => writeln!(text, "\n[{name}]"),
        };
        for entry in &section.entries {
            text.push('\n');
            text.push_str(&paragraphs(entry.doc, "# "));
            let _ = match entry.default.as_ref().or(entry.sample.as_ref()) {
                Some(value) => writeln!(text, "#{} = {value}", entry.name),
                // A table within the table, and what is written below the last key is not for it.
                None => {
                    let sample = match entry.name {
                        "groups" => "staff = [\"alice\"]",
                        _ => "alice = \"SCRAM-SHA-256$...\"",
                    };
                    writeln!(text, "#[{}.{}]\n#{sample}", section.name, entry.name)
                }
            };
        }
    }
    text
}

const EXAMPLE_HEAD: &str = "\
# Hawker's configuration. Every key is here, with its default where it has one; remove the # in
# front of a key to set it. `hawker check-config FILE` checks a file, docs/config.md tells more.
";

/// The lines of a doc comment, each behind `mark`.
fn paragraphs(doc: &[&str], mark: &str) -> String {
    let line = |line: &&str| {
        let line = line.strip_prefix(' ').unwrap_or(line);
        format!("{}\n", format!("{mark}{line}").trim_end())
    };
    doc.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Source};

    /// Compares a file of the repository with what the code says; with `HAWKER_BLESS=1`, writes it.
    fn in_step(file: &str, text: &str) {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
        if std::env::var_os("HAWKER_BLESS").is_some() {
            std::fs::write(&path, text).expect("the repository is writable");
        }
        let found = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            found == text,
            "{file} is out of step with the code; write it anew: \
             HAWKER_BLESS=1 cargo test --lib config::reference"
        );
    }

    #[test]
    fn the_documentation_says_what_the_code_does() {
        in_step("docs/config.md", &markdown());
    }

    #[test]
    fn the_example_shows_what_the_code_does() {
        in_step("packaging/hawker.toml", &example());
    }

    fn load(name: &str, text: &str) -> Config {
        let file = std::env::temp_dir().join(format!("hawker-{}-{name}", std::process::id()));
        std::fs::write(&file, text).expect("the temporary folder is writable");
        let owner = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(&file, owner).expect("it is ours");
        let config = Source::new().file(&file).load();
        std::fs::remove_file(&file).expect("it was just written");
        config.unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn the_example_as_it_stands_is_the_default() {
        assert_eq!(load("example", &example()), Config::default());
    }

    #[test]
    fn the_example_without_its_comment_marks_is_the_default_too() {
        let listener = [
            "#name",
            "#address",
            "#optional",
            "#certificate",
            "#key",
            "#client",
            "#path",
            "#connections",
            "#handshakes",
            "#bind_interface",
            "#protocol_versions",
            "#request_bytes_max",
        ];
        let listener = [&listener[..], &["#password_file", "#acl_file"]].concat();
        let samples = [
            "#shards",
            "#cpus",
            "#admin_trace_folder",
            "#origins",
            "#proxy_from",
            "#forwarded_from",
            "#[[",
            "#alice",
            "#staff",
        ];
        let samples = [&samples[..], &listener].concat();
        let samples =
            [&samples[..], &["#response_topic_prefix", "#anonymous_allowed", "#wide_"]].concat();
        let logins = [
            "#jwt_keys",
            "#jwt_issuer",
            "#jwt_audience",
            "#http_url",
            "#ban_file",
            "#http_rules_url",
            "#http_token",
        ];
        let samples = [&samples[..], &logins].concat();
        let uncomment = |line: &str| match line.strip_prefix('#') {
            Some(rest) if !rest.starts_with(' ') => {
                let sample = samples.iter().any(|sample| line.starts_with(sample));
                if sample { String::new() } else { rest.to_owned() }
            }
            _ => line.to_owned(),
        };
        let text: Vec<String> = example().lines().map(uncomment).collect();
        assert!(text.iter().any(|line| line == "receive_maximum = 1024"));
        assert_eq!(load("uncommented", &text.join("\n")), Config::default());
    }

    #[test]
    fn what_is_appended_to_the_example_is_understood() {
        let listener = "[[listeners]]\naddress = \"tcp://[::1]:7\"\n";
        let config = load("appended", &(example() + listener));
        assert_eq!(config.listeners[0].address.port, 7);
        let mut draft = crate::config::draft::Draft::default();
        draft.take_file("f".as_ref(), (example() + "data_dir = \"x\"").as_bytes());
        let error = draft.finish().expect_err("it is below [auth]").to_string();
        assert!(error.ends_with("did you mean data_dir?"), "{error}");
    }

    #[test]
    fn the_samples_of_the_example_can_be_taken() {
        let uncomment = |line: &str| match line.strip_prefix('#') {
            Some(rest) if !rest.starts_with([' ', 'a']) || rest.starts_with("address") => {
                rest.to_owned()
            }
            _ => line.to_owned(),
        };
        let text: Vec<String> = example().lines().map(uncomment).collect();
        // The samples of a listener with TLS stand beside one without.
        let text = text.join("\n").replace("\"tcp://", "\"wss://");
        let config = load("samples", &text);
        assert_eq!(config.shards, Some(4));
        assert_eq!(config.listeners[0].name, "lan");
    }

    #[test]
    fn a_reload_names_every_key_that_waits_for_a_restart() {
        let new = Config {
            listeners: Vec::new(),
            shards: Some(1),
            cpus: Some(vec![0]),
            data_dir: "elsewhere".into(),
            durability: crate::config::Durability::Os,
            admin: None,
            admin_trace_folder: Some("traces".into()),
            log: LogConfig { level: "off".into(), format: crate::config::LogFormat::Json },
            storage: Storage {
                segment_bytes: 1,
                log_bytes_max: 1,
                sync_interval_ms: 1,
                on_damage: crate::config::OnDamage::Quarantine,
            },
            auth: AuthConfig {
                http_connections: 1,
                ban_file: Some("elsewhere".into()),
                ..AuthConfig::default()
            },
            ..Config::default()
        };
        let named = Config::default().waiting_for_restart(&new);
        assert_eq!(new.waiting_for_restart(&new), [""; 0]);
        for section in sections() {
            for entry in &section.entries {
                let key = if section.name == "listeners" {
                    "listeners"
                } else {
                    &section.full_name(entry)
                };
                assert_eq!(named.contains(&key), entry.reload == Reload::Restart, "{key}");
            }
        }
    }

    #[test]
    fn every_key_says_what_it_does() {
        for section in sections() {
            for entry in &section.entries {
                assert!(!entry.doc.is_empty(), "{}", section.full_name(entry));
            }
        }
    }
}
