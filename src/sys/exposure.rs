//! What the network can reach.

use std::net::IpAddr;

use super::Finding;
use crate::config::{Config, ListenerConfig};

const SUBJECT: &str = "exposure";

pub(super) fn findings(config: &Config) -> Vec<Finding> {
    let open: Vec<String> =
        config.listeners.iter().filter(|one| !is_local(one)).map(name).collect();
    let users = !config.auth.scram_users.is_empty() || config.auth.password_file.is_some();
    let clients = judge_clients(&open, config.mqtt.anonymous_allowed, users);
    let admin = config.admin.filter(|admin| !admin.ip().is_loopback()).map(|admin| {
        let what = format!("whoever reaches {admin} reads the broker's metrics without a password");
        Finding::warning(SUBJECT, what, "--admin 127.0.0.1:18083".to_owned())
    });
    clients.into_iter().chain(admin).collect()
}

fn name(listener: &ListenerConfig) -> String {
    listener.address.to_string()
}

/// Whether this machine alone can reach it, as far as that can be told without a resolver.
fn is_local(listener: &ListenerConfig) -> bool {
    if listener.address.path().is_some() {
        return true;
    }
    let host = listener.address.host.as_str();
    host == "localhost" || host.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

fn judge_clients(open: &[String], anonymous: Option<bool>, users: bool) -> Option<Finding> {
    let listeners = open.join(", ");
    match anonymous {
        Some(true) if !open.is_empty() => Some(Finding::warning(
            SUBJECT,
            format!("whoever reaches {listeners} can read and write everything"),
            "set mqtt.anonymous_allowed = false and add users: hawker passwd add FILE USER, and set auth.password_file".to_owned(),
        )),
        None if !open.is_empty() && !users => Some(Finding::warning(
            SUBJECT,
            format!("nobody can enter at {listeners}: there are no users"),
            "add users: hawker passwd add FILE USER, and set auth.password_file; or let anyone in: HAWKER_MQTT__ANONYMOUS_ALLOWED=true"
                .to_owned(),
        )),
        Some(false) if !users => Some(Finding::warning(
            SUBJECT,
            "nobody can enter: there are no users, and they are asked for".to_owned(),
            "add users: hawker passwd add FILE USER, and set auth.password_file".to_owned(),
        )),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_reached_by_nobody_else() {
        assert_eq!(findings(&Config::default()), []);
    }

    #[test]
    fn open_doors_and_doors_nobody_can_open_are_named() {
        let open = ["tcp://0.0.0.0:1883".to_owned()];
        let what = |open: &[String], anonymous, users| {
            judge_clients(open, anonymous, users).map(|finding| finding.what)
        };
        assert_eq!(what(&open, None, true), None);
        assert_eq!(what(&open, Some(false), true), None);
        assert_eq!(what(&[], Some(true), false), None);
        let everyone = what(&open, Some(true), true).expect("a warning");
        assert!(everyone.starts_with("whoever reaches tcp://0.0.0.0:1883"), "{everyone}");
        let nobody = what(&open, None, false).expect("a warning");
        assert!(nobody.starts_with("nobody can enter at"), "{nobody}");
        assert!(what(&[], Some(false), false).is_some());
    }

    #[test]
    fn an_admin_server_on_the_network_is_named() {
        let admin = Some("0.0.0.0:18083".parse().expect("an address"));
        let config = Config { admin, ..Config::default() };
        assert_eq!(findings(&config).len(), 1);
    }
}
