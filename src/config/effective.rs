//! The configuration that is in force, key by key, with where each value comes from.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;

use super::Config;
use super::auth::AuthConfig;
use super::error::Origin;
use super::kind::{self, Kind as _};
use super::listener::ListenerConfig;
use super::log::LogConfig;
use super::mqtt::Mqtt;
use super::process::{ListenerTable, Process};
use super::storage::Storage;
use super::table::{Reload, Table};
use super::tls::TlsConfig;

/// Where values were given, by key.
pub type Origins = BTreeMap<String, Origin>;

/// A key and the value in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Its full name.
    pub key: String,
    /// As TOML; absent: it has none, or it is not shown.
    pub value: Option<String>,
    /// Whether it has a value that is not shown: a secret, or a table.
    pub is_hidden: bool,
    /// Where it was given.
    pub origin: Origin,
    /// Whether a change waits for a restart.
    pub needs_restart: bool,
}

/// Keys whose values are secrets, or help those who guess.
const SECRETS: &[&str] = &["auth.scram_users", "admin_tokens"];

impl Config {
    /// Every key in the order of the documentation.
    pub fn settings(&self, origins: &Origins) -> Vec<Setting> {
        let mut settings = Vec::new();
        table(&self.process(), origins, &mut settings);
        for (index, listener) in self.listeners.iter().enumerate() {
            settings.extend(listener_settings(index, listener, origins));
        }
        table::<LogConfig>(&self.log, origins, &mut settings);
        table::<Mqtt>(&self.mqtt, origins, &mut settings);
        table::<Storage>(&self.storage, origins, &mut settings);
        table::<TlsConfig>(&self.tls, origins, &mut settings);
        table::<AuthConfig>(&self.auth, origins, &mut settings);
        let given = |key: &str| match key {
            "auth.rules" => !self.auth.rules.is_empty(),
            "auth.groups" => !self.auth.groups.is_empty(),
            "auth.scram_users" => !self.auth.scram_users.is_empty(),
            "admin_tokens" => !self.admin_tokens.is_empty(),
            _ => false,
        };
        for setting in &mut settings {
            setting.is_hidden |= given(&setting.key);
        }
        settings
    }

    /// What is wrong with a file, after the place of the key that names it.
    pub fn blame(&self, origins: &Origins, file: Option<&Path>, error: &dyn Error) -> String {
        let shown = file.map(|file| kind::file().show(&file.to_path_buf()));
        let names_it = |setting: &Setting| Some(&setting.value) == shown.as_ref();
        let named = self.settings(origins).into_iter().find(names_it);
        let named = named.map(|setting| (setting.key, setting.origin));
        match named.or_else(|| self.within_list(origins, file?)) {
            Some((key, origin)) => format!("{origin}: {key}: {error}"),
            None => error.to_string(),
        }
    }

    /// The key of a further certificate that names a file, and where it stands.
    fn within_list(&self, origins: &Origins, file: &Path) -> Option<(String, Origin)> {
        let for_all = ("tls".to_owned(), &self.tls.certificates);
        let listeners = self.listeners.iter().enumerate();
        let own = listeners
            .map(|(index, listener)| (format!("listeners[{index}]"), &listener.terms.certificates));
        let mut files = std::iter::once(for_all).chain(own).flat_map(|(table, pairs)| {
            pairs.iter().enumerate().flat_map(move |(index, pair)| {
                let place = format!("{table}.certificates[{index}]");
                pair.files().map(|(name, file)| (format!("{place}.{name}"), file))
            })
        });
        let (key, _) = files.find(|(_, named)| *named == file)?;
        let origin = origins.get(&key).cloned().unwrap_or(Origin::Default);
        Some((key, origin))
    }

    /// Keys with values in the file that nobody else should read: verifiers of passwords, which
    /// can be guessed with them, and URLs with a password. Hashes of admin tokens are none: of 256
    /// bits nothing is guessed.
    pub(super) fn secrets_in_file(&self, origins: &Origins) -> Vec<String> {
        let is_in_file = |setting: &Setting| matches!(setting.origin, Origin::File { .. });
        let has_password = |setting: &Setting| {
            setting.value.as_ref().is_some_and(|value| value.contains("://...@"))
        };
        let is_secret = |setting: &Setting| {
            (setting.is_hidden && setting.key == "auth.scram_users") || has_password(setting)
        };
        let settings = self.settings(origins).into_iter();
        settings.filter(|s| is_in_file(s) && is_secret(s)).map(|setting| setting.key).collect()
    }

    fn process(&self) -> Process {
        Process {
            shards: self.shards.and_then(|shards| u8::try_from(shards).ok()),
            cpus: self.cpus.clone(),
            data_dir: self.data_dir.clone(),
            durability: self.durability,
            admin: self.admin,
            admin_tokens: self.admin_tokens.clone(),
            admin_hosts: self.admin_hosts.clone(),
            admin_trace_folder: self.admin_trace_folder.clone(),
        }
    }
}

fn table<T: Table>(values: &T, origins: &Origins, settings: &mut Vec<Setting>) {
    for key in T::KEYS {
        let name = match T::NAME {
            "" => key.name.to_owned(),
            table => format!("{table}.{}", key.name),
        };
        let value = (key.show)(values);
        let is_secret = SECRETS.contains(&name.as_str());
        let is_hidden = is_secret && value.is_some();
        let value = value.filter(|_| !is_secret).map(|value| without_password(&value));
        let origin = origins.get(&name).cloned().unwrap_or(Origin::Default);
        let needs_restart = key.reload == Reload::Restart;
        settings.push(Setting { key: name, value, is_hidden, origin, needs_restart });
    }
}

fn listener_settings(
    index: usize,
    listener: &ListenerConfig,
    origins: &Origins,
) -> impl Iterator<Item = Setting> {
    ListenerTable::KEYS.iter().map(move |key| {
        let name = format!("listeners[{index}].{}", key.name);
        let origin = origins.get(&name).or_else(|| origins.get("listeners"));
        Setting {
            origin: origin.cloned().unwrap_or(Origin::Default),
            key: name,
            value: (key.show)(&listener.terms),
            is_hidden: false,
            needs_restart: true,
        }
    })
}

/// A URL without the user and password that may stand in it, for those who read logs.
pub fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let host = &rest[..rest.find('/').unwrap_or(rest.len())];
    match host.rsplit_once('@') {
        Some((user, _)) => format!("{scheme}://...{}", &rest[user.len()..]),
        None => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Source;

    #[test]
    fn every_key_has_its_value_and_its_origin() {
        let source = Source::new()
            .environment([("HAWKER_MQTT__RECEIVE_MAXIMUM".into(), "7".into())])
            .flag("--shards", "shards", vec!["2".into()]);
        let (config, origins) = source.load_with_origins().expect("it is right");
        let settings = config.settings(&origins);
        let found = |key: &str| {
            let setting = settings.iter().find(|setting| setting.key == key);
            setting.unwrap_or_else(|| panic!("no {key}"))
        };
        assert_eq!(found("shards").value.as_deref(), Some("2"));
        assert_eq!(found("shards").origin.to_string(), "--shards");
        let receive_maximum = found("mqtt.receive_maximum");
        assert_eq!(receive_maximum.value.as_deref(), Some("7"));
        assert_eq!(receive_maximum.origin.to_string(), "HAWKER_MQTT__RECEIVE_MAXIMUM");
        assert_eq!(found("mqtt.queue_qos0").origin, Origin::Default);
        assert!(found("listeners[0].address").needs_restart);
    }

    #[test]
    fn secrets_are_left_out() {
        let mut config = Config::default();
        config.auth.http_url = Some("https://me:hunter2@example.org/login".into());
        config.admin_tokens =
            vec![format!("ops:admin:{}", "0a".repeat(32)).parse().expect("a token")];
        let settings = config.settings(&Origins::new());
        let all = format!("{settings:?}");
        assert!(!all.contains("hunter2") && !all.contains("0a0a"), "{all}");
        let hidden: Vec<_> = settings.iter().filter(|setting| setting.is_hidden).collect();
        assert_eq!(hidden.len(), 1, "{hidden:?}");
    }
}
