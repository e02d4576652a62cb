//! rumqttc, in 3.1.1 and 5.0.

mod peer;
mod properties;
mod scenarios;

use crate::support::Broker;
use peer::{Peer, Site};

/// Makes each scenario a test with one version and number of shards.
macro_rules! with {
    ($module:ident, $version:ty, $shards:literal) => {
        mod $module {
            use super::scenarios;

            with! { @tests $version, $shards,
                every_pair_of_qos qos_2_is_exactly_once retained_messages_wait_and_go
                a_session_keeps_messages a_lost_client_leaves_its_will a_large_payload
                shared_subscription_shares unsubscribed_is_unsubscribed takeover
                many_clients_in_a_ring
            }
        }
    };
    (@tests $version:ty, $shards:literal, $($scenario:ident)*) => {
        $(
            #[test]
            fn $scenario() {
                super::run($shards, scenarios::$scenario::<$version>);
            }
        )*
    };
}

with!(v311_shards_1, super::peer::V4, 1);
with!(v311_shards_2, super::peer::V4, 2);
with!(v311_shards_8, super::peer::V4, 8);
with!(v5_shards_1, super::peer::V5, 1);
with!(v5_shards_2, super::peer::V5, 2);
with!(v5_shards_3, super::peer::V5, 3);

#[test]
fn v5_properties_are_handed_on() {
    run(2, properties::properties_are_handed_on);
}

fn run(shards: usize, scenario: fn(&Site)) {
    let broker = Broker::start(shards);
    scenario(&Site::new(&broker));
}

/// `count` numbers as text, the payloads of most scenarios.
fn numbers(count: usize) -> Vec<String> {
    (0..count).map(|index| index.to_string()).collect()
}

/// The payloads of the next `count` messages.
fn payloads<P: Peer>(peer: &mut P, count: usize) -> Vec<String> {
    (0..count).map(|_| String::from_utf8_lossy(&peer.next().payload).into_owned()).collect()
}
