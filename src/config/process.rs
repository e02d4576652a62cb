//! The keys outside of any table: the process, its threads and where things are.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use super::Durability;
use super::admin::{AdminToken, Hosts, Tokens};
use super::kind::{self, Choice, Cpus, Kind as _, Optional, Origins, Sampled, bytes, count};
use super::listener::{CertificateUser, ListenAddress, ListenerConfig};
use super::rules::{Network, Networks};
use super::table::table;
use super::tls::{CertificatePair, Pairs};
use crate::proto::Version;

/// The most shards a broker can have: one bit each in a set of 64.
pub(super) const SHARDS_MAX: usize = 64;

table! {
    /// The process: its threads, its data and its admin server.
    pub(super) struct Process in "" {
        /// How many shards the broker has: threads that own their clients and share nothing.
        /// Unset: as many as `cpus` names, or one for each CPU this process may use, 64 at the
        /// most. More shards than CPUs is slow and never wrong.
        pub(super) shards: Option<u8> = None, Optional(Sampled(count(1..=SHARDS_MAX as u8), "4")), Restart;

        /// The CPUs that shards are pinned to, the first shard to the first one. Unset: those
        /// this process may use. Leave one out for the kernel's network work where the machine
        /// has many.
        pub(super) cpus: Option<Vec<usize>> = None, Optional(Cpus), Restart;

        /// Where the broker keeps what must outlive it; made if missing. A relative path counts
        /// from the working directory. Two brokers never share one.
        pub(super) data_dir: PathBuf = PathBuf::from("./data"), kind::folder(), Restart;

        /// What an acknowledgement to a publisher promises for a QoS 1 or 2 message that someone
        /// is owed: `fsync` that it is on stable storage and outlives a power failure; `os` that
        /// it is with the operating system and outlives the broker's end, not the machine's;
        /// `memory` that it is in memory and ends with the broker.
        pub(super) durability: Durability = Durability::DEFAULT, Choice(Durability::WORDS), Restart;

        /// Where the admin server listens (health, metrics, the admin API); `off` turns it off.
        /// Health, version and metrics are there for everybody who reaches it; the API asks for a
        /// token, see `admin_tokens`. It speaks HTTP without TLS: beyond this machine, put a proxy
        /// with TLS before it.
        pub(super) admin: Option<SocketAddr> = Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 18083))),
            kind::admin_address(), Restart;

        /// Who may use the admin API: `NAME:ROLE:HASH` for each token. `hawker token add NAME ROLE`
        /// makes one, prints it once, and the text for here. A `viewer` reads, message payloads
        /// included; an `operator` also ends connections, publishes, bans, deletes retained
        /// messages and starts traces; an `admin` also sees and reloads the configuration. Without any token
        /// the API answers programs of this machine alone, all of them as `admin`, and only while
        /// `admin` is an address of the machine itself, such as 127.0.0.1.
        pub(super) admin_tokens: Vec<AdminToken> = Vec::new(), Tokens, Live;

        /// Names by which web browsers and proxies may call the admin API, beside `localhost` and
        /// addresses. Requests to other names are refused: a page elsewhere could have made its own
        /// name mean this machine.
        pub(super) admin_hosts: Vec<String> = Vec::new(), Hosts, Live;

        /// Where the files of traces go; made if missing, for the broker's user alone. Unset: the
        /// folder `traces` of `data_dir`. A trace writes 64 MiB at most, and its file is removed a
        /// day after its end.
        pub(super) admin_trace_folder: Option<PathBuf> = None,
            Optional(Sampled(kind::folder(), "\"/var/lib/hawker/traces\"")), Restart;
    }
}

table! {
    /// Where clients connect, one `[[listeners]]` table for each place. Without any, the broker
    /// listens on port 1883 of this machine's own addresses, 127.0.0.1 and, where it has IPv6,
    /// ::1. `--listen` and `HAWKER_LISTEN` replace those of the file.
    pub struct ListenerTable in "listeners" {
        /// What logs and metrics call it; different for each. Unset: its address.
        pub name: Option<String> = None, Optional(Sampled(kind::name(), "\"lan\"")), Restart;

        /// Where it listens: `tcp://HOST:PORT`; `tls://` with TLS; `ws://` for WebSocket, which
        /// web pages can use; `wss://` for both; `mux://` takes all of them on one port and tells
        /// them apart by their first bytes, for where only 443 is open; `unix:PATH` is a socket in
        /// the file system, whose clients count as 127.0.0.1. The host is a name, looked up once at the start,
        /// or an address: `0.0.0.0` is every IPv4 address and `[::]` every IPv6 address of the
        /// machine. On port 0 the kernel chooses and the broker logs what it chose. There is no
        /// default; usual ports are 1883, 8883 with TLS, 8083 for WebSocket and 8084 for both.
        pub address: Option<ListenAddress> = None,
            Optional(Sampled(kind::listen_address(), "\"tcp://0.0.0.0:1883\"")), Restart;

        /// Whether the broker starts without it where the machine lacks the address or the
        /// interface.
        pub optional: bool = false, kind::Switch, Restart;

        /// The network interface whose packets alone it takes, whatever address they are for.
        /// Unset: all. For machines whose addresses change, or where one address is reached by
        /// several networks. Connections of the machine itself come by `lo`.
        pub bind_interface: Option<String> = None,
            Optional(Sampled(kind::interface(), "\"eth1\"")), Restart;

        /// Whether a client may connect here without a user name. Unset: as
        /// `mqtt.anonymous_allowed` says, and its default. With `true` and a listener on the
        /// network, anyone can read and write everything.
        pub anonymous_allowed: Option<bool> = None, Optional(kind::Switch), Restart;

        /// The versions of MQTT that clients may speak here: `3.1`, `3.1.1` and `5.0`. Others are
        /// told so: 0x84, or return code 1.
        pub protocol_versions: Vec<Version> = Version::ALL.to_vec(),
            kind::Versions, Restart;

        /// The certificate of this listener alone, in PEM, with those that lead to its issuer.
        /// Unset: that of `[tls]`.
        pub certificate: Option<PathBuf> = None,
            Optional(Sampled(kind::file(), "\"/etc/hawker/fullchain.pem\"")), Restart;

        /// The private key to it; see `key` of `[tls]`.
        pub key: Option<PathBuf> = None,
            Optional(Sampled(kind::file(), "\"/etc/hawker/privkey.pem\"")), Restart;

        /// Further certificates of this listener, one `[[listeners.certificates]]` table with
        /// `certificate` and `key` for each, as `certificates` of `[tls]` has them: clients are
        /// shown the one for the name they ask for.
        pub certificates: Vec<CertificatePair> = Vec::new(),
            Pairs("listeners.certificates"), Restart;

        /// The certificates of those who issue certificates to clients, in PEM. Given, clients have
        /// to show one that leads there, at `tls://`, `wss://` and, within TLS, at `mux://`. Read
        /// again on SIGHUP.
        pub client_ca: Option<PathBuf> = None,
            Optional(Sampled(kind::file(), "\"/etc/hawker/clients.pem\"")), Restart;

        /// Lists of certificates that these issuers have revoked (CRL), in PEM, several one behind
        /// the other. Clients that show one of them are not let in. Each certificate from the
        /// client's up to `client_ca` needs a list of its issuer here that has not expired: without
        /// one nobody knows, and the client is not let in. Read again on SIGHUP: who is
        /// connected and on a list by then is let go (0x98).
        pub client_crl: Option<PathBuf> = None,
            Optional(Sampled(kind::file(), "\"/etc/hawker/revoked.pem\"")), Restart;

        /// Whether clients without a certificate are let in, too, and prove themselves otherwise.
        pub client_certificate_optional: bool = false, kind::Switch, Restart;

        /// Which name in the certificate of a client is its user: `common-name`,
        /// `alternative-name` (the first DNS name, mail address or URI) or `none`, with which a user
        /// is proved by password or not at all. Where the certificate has the name, user name and
        /// password of CONNECT are not looked at. A proxy of `proxy_from` that has ended the TLS of
        /// a client and verified its certificate tells its common name, which counts like one that
        /// was shown here.
        pub client_user: CertificateUser = CertificateUser::CommonName,
            Choice(CertificateUser::WORDS), Restart;

        /// Connections this listener holds; more are closed as they come. 0: as many as the
        /// process has descriptors for.
        pub connections_max: u32 = 0, count(0..=u32::MAX), Restart;

        /// Of these, connections from one address, or from one IPv6 network of 64 bits. 0: any
        /// number. Many clients can share an address: those behind a router, or a proxy that does
        /// not say whose connection it is.
        pub connections_per_address_max: u32 = 0, count(0..=u32::MAX), Restart;

        /// Connections this listener accepts in a second, as many at once after silence. Those
        /// beyond wait in the backlog of the kernel, up to 4,096 for each shard, and then are not
        /// answered until they ask again; none is refused. For machines that a fleet which comes
        /// back all at once must not keep from their other work. 0: any number.
        pub connections_per_s_max: u32 = 0, count(0..=1_000_000), Restart;

        /// Connections of this listener that have not come to their first whole packet: that are
        /// within TLS, the request for a WebSocket or a CONNECT. Shards have equal parts of it.
        /// When all are taken, the one that has waited longest for its client is let go for the
        /// next, if the client has had a quarter of `mqtt.connect_timeout_ms` since it last came a
        /// step further; else accepting pauses, and who comes waits in the backlog of the kernel. So
        /// who says too little keeps nobody out, and a fleet that comes back is served as fast as
        /// the machine can. Each costs some 9 KiB of memory within TLS, and what has come of a packet or
        /// record that is not whole. 0: any number.
        pub handshakes_max: u32 = ListenerConfig::HANDSHAKES_MAX,
            count(0..=u32::MAX), Restart;

        /// The path of a WebSocket, of `ws://`, `wss://` and `mux://` alone; any other is answered with 404.
        /// `"*"` is any, as Mosquitto has it.
        pub path: String = "/mqtt".to_owned(), kind::web_path(), Restart;

        /// Bytes of a request for a WebSocket, its line and all of its headers, of which there may
        /// be 64; a longer one is answered with 400. To be raised where web pages send large
        /// cookies or proxies add much. Each of `handshakes_max` connections may hold as much.
        pub request_bytes_max: u32 = ListenerConfig::REQUEST_BYTES_MAX,
            bytes(1024..=65_536), Restart;

        /// The origins of the web pages that may connect by WebSocket, such as
        /// `https://example.org`. Unset: all. Clients that are no web pages name none and are not
        /// kept out by it.
        pub origins: Vec<String> = Vec::new(), Origins, Restart;

        /// Networks of proxies that say first whose connection it is, by the PROXY protocol,
        /// version 1 or 2 (`send-proxy` of haproxy, `proxy_protocol on` of nginx). Connections
        /// from there have to begin with its header; from elsewhere it is refused. With version 2
        /// they also tell whose certificate they have verified (`send-proxy-v2-ssl-cn` of haproxy),
        /// see `client_user`: name none but your own proxies.
        pub proxy_from: Vec<Network> = Vec::new(), Networks, Restart;

        /// Networks of proxies whose `X-Forwarded-For` is believed in a request for a WebSocket: the
        /// last address of it, which the proxy adds, is the client's.
        pub forwarded_from: Vec<Network> = Vec::new(), Networks, Restart;
    }
}
