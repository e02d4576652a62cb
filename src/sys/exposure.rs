//! What the network can reach.

use std::net::IpAddr;

use super::Finding;
use crate::config::{Config, ListenerConfig};

const SUBJECT: &str = "exposure";

pub(super) fn findings(config: &Config) -> Vec<Finding> {
    let clients = config.listeners.iter().filter_map(|one| judge(config, one));
    let admin = config.admin.filter(|admin| !admin.ip().is_loopback()).map(|admin| {
        let what = format!("whoever reaches {admin} reads the broker's metrics without a password");
        Finding::warning(SUBJECT, what, "--admin 127.0.0.1:18083".to_owned())
    });
    clients.chain(admin).collect()
}

/// Whether this machine alone can reach it, as far as that can be told without a resolver.
fn is_local(listener: &ListenerConfig) -> bool {
    if listener.address.path().is_some() {
        return true;
    }
    let host = listener.address.host.as_str();
    host == "localhost" || host.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

fn judge(config: &Config, listener: &ListenerConfig) -> Option<Finding> {
    let users = !config.auth.scram_users.is_empty() || config.auth.password_file.is_some();
    let (address, key) = (
        &listener.address,
        match listener.terms.anonymous_allowed {
            Some(_) => format!("anonymous_allowed of the listener {}", listener.name),
            None => "mqtt.anonymous_allowed".to_owned(),
        },
    );
    let add = "add users: hawker passwd add FILE USER, and set auth.password_file";
    match config.anonymous_allowed(listener) {
        Some(true) if !is_local(listener) => Some(Finding::warning(
            SUBJECT,
            format!("whoever reaches {address} can read and write everything"),
            format!("set {key} = false and {add}"),
        )),
        Some(false) if !users => Some(Finding::warning(
            SUBJECT,
            format!("nobody can enter at {address}: there are no users, and they are asked for"),
            add.to_owned(),
        )),
        None if !is_local(listener) && !users => Some(Finding::warning(
            SUBJECT,
            format!("nobody can enter at {address}: there are no users"),
            format!("{add}; or let anyone in: HAWKER_MQTT__ANONYMOUS_ALLOWED=true"),
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
        let what = |host: &str, own, of_all, users: bool| {
            let address = format!("tcp://{host}:1883").parse().expect("an address");
            let mut listener = ListenerConfig::plain(address, false);
            listener.terms.anonymous_allowed = own;
            let mut config = Config::default();
            config.mqtt.anonymous_allowed = of_all;
            config.auth.password_file = users.then(|| "passwords".into());
            judge(&config, &listener).map(|finding| finding.what)
        };
        let (open, near) = ("0.0.0.0", "127.0.0.1");
        assert_eq!(what(open, None, None, true), None);
        assert_eq!(what(open, None, Some(false), true), None);
        assert_eq!(what(near, None, Some(true), false), None);
        for (own, of_all) in [(None, Some(true)), (Some(true), None), (Some(true), Some(false))] {
            let everyone = what(open, own, of_all, true).expect("a warning");
            assert!(everyone.starts_with("whoever reaches tcp://0.0.0.0:1883"), "{everyone}");
        }
        assert_eq!(what(open, Some(false), Some(true), true), None);
        let nobody = what(open, None, None, false).expect("a warning");
        assert!(nobody.starts_with("nobody can enter at"), "{nobody}");
        assert!(what(near, None, Some(false), false).is_some());
        assert!(what(near, Some(false), None, false).is_some());
    }

    #[test]
    fn an_admin_server_on_the_network_is_named() {
        let admin = Some("0.0.0.0:18083".parse().expect("an address"));
        let config = Config { admin, ..Config::default() };
        assert_eq!(findings(&config).len(), 1);
    }
}
