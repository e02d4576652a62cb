//! What is possible alone and not together.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::Durability;
use super::draft::{Draft, DraftListener};
use super::error::{Fault, Origin, Problem};
use super::listener::{CertificateUser, ListenAddress, ListenerConfig, Scheme};
use super::process::{ListenerTable, SHARDS_MAX};

/// Bytes of a CONNECT around its client id: fixed header, protocol name, level, flags,
/// keep-alive, property length, length of the id. [MQTT 5.0, section 3.1]
const CONNECT_BYTES_BESIDE_ID: u32 = 5 + 6 + 1 + 1 + 2 + 1 + 2;

/// Every conflict of the draft.
pub(super) fn conflicts(draft: &Draft) -> Vec<Problem> {
    let alone = [
        connect_too_large(draft),
        packets_too_large(draft),
        idle_cpus(draft),
        too_many_cpus(draft),
    ];
    let mut conflicts: Vec<Problem> = alone.into_iter().flatten().collect();
    listeners_twice(draft, &mut conflicts);
    missing_certificates(draft, &mut conflicts);
    web_keys_elsewhere(draft, &mut conflicts);
    interface_of_a_path(draft, &mut conflicts);
    admin_on_listener(draft, &mut conflicts);
    rules_of_no_listener(draft, &mut conflicts);
    conflicts
}

fn connect_too_large(draft: &Draft) -> Option<Problem> {
    let needed = u32::from(draft.mqtt.client_id_bytes_max) + CONNECT_BYTES_BESIDE_ID;
    let reason = format!(
        "{} bytes cannot hold the CONNECT of a client whose id has mqtt.client_id_bytes_max = {} \
         bytes; allow {needed} or lower that",
        draft.mqtt.packet_bytes_max, draft.mqtt.client_id_bytes_max
    );
    let keys = ["mqtt.packet_bytes_max", "mqtt.client_id_bytes_max"];
    (draft.mqtt.packet_bytes_max < needed).then(|| conflict(draft, keys, reason))
}

/// The largest packets that the log can keep: half a segment. The other half is for what a record
/// says beside the message, which is those it is owed to.
pub(super) fn packet_bytes_that_fit(draft: &Draft) -> u32 {
    match draft.process.durability {
        Durability::Memory => u32::MAX,
        Durability::Fsync | Durability::Os => draft.storage.segment_bytes / 2,
    }
}

fn packets_too_large(draft: &Draft) -> Option<Problem> {
    let (allowed, segment_bytes) = (draft.mqtt.packet_bytes_max, draft.storage.segment_bytes);
    let fits = packet_bytes_that_fit(draft);
    let reason = format!(
        "packets of {allowed} bytes are more than half of storage.segment_bytes = {segment_bytes}, \
         so that the log could not keep their messages; allow {fits} or raise that to {}",
        2 * u64::from(allowed)
    );
    let keys = ["mqtt.packet_bytes_max", "storage.segment_bytes"];
    (allowed > fits).then(|| conflict(draft, keys, reason))
}

fn idle_cpus(draft: &Draft) -> Option<Problem> {
    let (shards, cpus) = (usize::from(draft.process.shards?), draft.process.cpus.as_ref()?.len());
    let reason = format!(
        "{cpus} CPUs for {shards} shards leaves {} without work; name {shards} or ask for \
         {cpus} shards",
        cpus.saturating_sub(shards)
    );
    (cpus > shards).then(|| conflict(draft, ["cpus", "shards"], reason))
}

fn too_many_cpus(draft: &Draft) -> Option<Problem> {
    let cpus = draft.process.cpus.as_ref()?.len();
    let reason = format!("{cpus} CPUs are more than the {SHARDS_MAX} shards there can be");
    let alone = draft.process.shards.is_none();
    (alone && cpus > SHARDS_MAX).then(|| conflict(draft, ["cpus", "shards"], reason))
}

fn listeners_twice(draft: &Draft, conflicts: &mut Vec<Problem>) {
    let mut names: BTreeMap<&str, &Origin> = BTreeMap::new();
    let mut addresses: BTreeMap<(&str, u16, Option<&str>), &Origin> = BTreeMap::new();
    for listener in draft.listeners.iter().flatten() {
        let mut report =
            |key: &str, reason| conflicts.push(of_listener(draft, listener, key, reason));
        if let Some(name) = &listener.table.name
            && let Some(first) = names.insert(name, &listener.origin)
        {
            report("name", format!("\"{name}\" is the name of the listener at {first}"));
        }
        if let Some(address) = listener
            .table
            .address
            .as_ref()
            .filter(|address| address.port != 0 || address.path().is_some())
            && let Some(first) = addresses.insert(place(&listener.table, address), &listener.origin)
        {
            report("address", format!("{address} is the address of the listener at {first}"));
        }
    }
}

/// A rule for a listener that is not there denies nothing. Where other listeners than the file's
/// were asked for, its rules may be for those.
fn rules_of_no_listener(draft: &Draft, conflicts: &mut Vec<Problem>) {
    let Some(listeners) = &draft.listeners else { return };
    if listeners.iter().any(|listener| !matches!(listener.origin, Origin::File { .. })) {
        return;
    }
    let name = |listener: &DraftListener| {
        let address = listener.table.address.as_ref().map(ToString::to_string);
        listener.table.name.clone().or(address)
    };
    let names: Vec<String> = listeners.iter().filter_map(name).collect();
    // Without names of their own, several at one address are numbered.
    let is_known = |name: &str| {
        names.iter().any(|known| {
            name.strip_prefix(&**known).is_some_and(|rest| rest.is_empty() || rest.starts_with('#'))
        })
    };
    for (index, rule) in draft.auth.rules.iter().enumerate() {
        let key = format!("auth.rules[{index}].listeners");
        let origin = draft.origins.get(&key).cloned().unwrap_or(Origin::Default);
        let unknown = |(_, name): &(usize, &String)| !is_known(name);
        for (place, unknown) in rule.listeners.iter().enumerate().filter(unknown) {
            let reason = format!(
                "no listener is called {unknown:?}; there are \"{}\"",
                names.join("\", \"")
            );
            conflicts.push(Problem {
                origin: origin.clone(),
                key: format!("{key}[{place}]"),
                fault: Fault::Conflict { reason },
            });
        }
    }
}

/// Networks of their own may have the same address.
fn place<'t>(
    table: &'t ListenerTable,
    address: &'t ListenAddress,
) -> (&'t str, u16, Option<&'t str>) {
    (&address.host, address.port, table.bind_interface.as_deref())
}

fn interface_of_a_path(draft: &Draft, conflicts: &mut Vec<Problem>) {
    for listener in draft.listeners.iter().flatten() {
        let is_path = listener.table.address.as_ref().is_some_and(|it| it.path().is_some());
        if is_path && listener.table.bind_interface.is_some() {
            let reason = "a socket in the file system is of no network; remove it".to_owned();
            conflicts.push(of_listener(draft, listener, "bind_interface", reason));
        }
    }
}

/// What is about WebSocket alone says nothing to a listener that does not speak it.
fn web_keys_elsewhere(draft: &Draft, conflicts: &mut Vec<Problem>) {
    for listener in draft.listeners.iter().flatten() {
        let scheme = listener.table.address.as_ref().map(|address| address.scheme);
        let Some(scheme) = scheme.filter(|scheme| !scheme.has_web_socket()) else { continue };
        for key in ["path", "request_bytes_max", "origins", "forwarded_from"] {
            if draft.origins.contains_key(&format!("{}.{key}", listener.key)) {
                let reason = format!(
                    "it is about WebSocket, which a listener with {} does not speak; remove it, or \
                     listen with ws://, wss:// or mux://",
                    scheme.prefix()
                );
                conflicts.push(of_listener(draft, listener, key, reason));
            }
        }
    }
}

/// A listener with TLS has a certificate and its key, of its own or of all.
fn missing_certificates(draft: &Draft, conflicts: &mut Vec<Problem>) {
    let for_all = draft.tls.certificate.is_some() && draft.tls.key.is_some();
    if draft.tls.certificate.is_some() != draft.tls.key.is_some() {
        let reason = "a certificate and its key belong together; give both".to_owned();
        conflicts.push(conflict(draft, ["tls.certificate", "tls.key"], reason));
    }
    let without_first = "these are further ones; give certificate and key, which those see who ask \
                         for no name";
    if !for_all && !draft.tls.certificates.is_empty() {
        let reason = without_first.to_owned();
        conflicts.push(conflict(draft, ["tls.certificates", "tls.certificate"], reason));
    }
    for listener in draft.listeners.iter().flatten() {
        let mut report = |key: &str, reason: &str| {
            conflicts.push(of_listener(draft, listener, key, reason.to_owned()));
        };
        let table = &listener.table;
        let scheme = table.address.as_ref().map(|address| address.scheme);
        let own = table.certificate.is_some() && table.key.is_some();
        if table.certificate.is_some() != table.key.is_some() {
            let reason = "a certificate and its key belong together; give both";
            report("certificate", reason);
        } else if scheme.is_some_and(Scheme::has_tls) && !own && !for_all {
            let reason = "TLS needs a certificate; give certificate and key here or in [tls]";
            report("address", reason);
        } else if !scheme.is_some_and(Scheme::may_have_tls) && own {
            let reason = "a certificate is of use with tls://, wss:// and mux:// alone";
            report("certificate", reason);
        } else if !own && !table.certificates.is_empty() {
            report("certificates", without_first);
        }
        let with_tls = own || for_all;
        if table.client_ca.is_some() && !(scheme.is_some_and(Scheme::may_have_tls) && with_tls) {
            let reason = "clients show certificates within TLS alone: tls://, wss:// or mux:// with a \
                          certificate";
            report("client_ca", reason);
        }
        let has_proxy = !table.proxy_from.is_empty();
        let asked = table.client_certificate_optional
            || table.client_crl.is_some()
            || (table.client_user != Default::default() && !has_proxy);
        if table.client_ca.is_none()
            && !asked
            && table.client_user == CertificateUser::AlternativeName
        {
            let reason = "a proxy tells the common name of a certificate alone; ask for \
                          \"common-name\" or \"none\"";
            report("client_user", reason);
        }
        if table.client_ca.is_none() && asked {
            let reason = "no certificate is asked for; give client_ca, the issuers of those taken";
            report("client_ca", reason);
        }
    }
}

fn admin_on_listener(draft: &Draft, conflicts: &mut Vec<Problem>) {
    let Some(admin) = draft.process.admin.filter(|admin| admin.port() != 0) else { return };
    let defaults = ListenerConfig::defaults();
    let given = draft.listeners.iter().flatten().filter_map(|draft| draft.table.address.as_ref());
    let built_in = defaults.iter().map(|listener| &listener.address);
    let built_in = built_in.filter(|_| draft.listeners.is_none());
    for address in given.chain(built_in) {
        if address.port == admin.port() && overlap(&address.host, admin.ip()) {
            let reason = format!("{admin} is taken by the listener {address}; change one port");
            conflicts.push(conflict(draft, ["admin", "listeners"], reason));
        }
    }
}

/// Whether both cannot be bound at once; names are not looked up here.
fn overlap(host: &str, admin: IpAddr) -> bool {
    let Ok(host) = host.parse::<IpAddr>() else { return false };
    let any = host.is_unspecified() || admin.is_unspecified();
    host == admin || (any && host.is_ipv4() == admin.is_ipv4())
}

/// A conflict of a listener's key, reported where that stands, or its listener if it does not.
fn of_listener(draft: &Draft, listener: &DraftListener, key: &str, reason: String) -> Problem {
    let key = format!("{}.{key}", listener.key);
    let origin = draft.origins.get(&key).unwrap_or(&listener.origin).clone();
    Problem { origin, key, fault: Fault::Conflict { reason } }
}

/// A conflict of two keys, reported where the last word on either was spoken.
fn conflict(draft: &Draft, keys: [&str; 2], reason: String) -> Problem {
    let origin = |key: &str| draft.origins.get(key).cloned().unwrap_or(Origin::Default);
    let [first, second] = keys;
    let (key, origin) = if origin(second) > origin(first) {
        (second, origin(second))
    } else {
        (first, origin(first))
    };
    Problem { origin, key: key.to_owned(), fault: Fault::Conflict { reason } }
}
