//! MQTT.js, in 3.1, 3.1.1 and 5.0. The scenarios are in `mqttjs/`.

use crate::script::{Script, scenarios};

const MQTT_JS: Script =
    Script { interpreter: "node", script: "mqttjs/main.mjs", installed: "node_modules/.fulfilled" };

/// What every version can do.
macro_rules! of_every_version {
    () => {
        scenarios! {
            every_pair_of_qos order_of_each_qos qos_2_is_exactly_once large_and_binary_payloads
            retained will messages_wait_in_order reconnect
            qos_2_is_exactly_once_over_lost_connections takeover shared_subscription unsubscribe
        }
    };
}

/// What 5.0 brought.
macro_rules! of_version_5 {
    () => {
        scenarios! {
            properties subscription_options topic_aliases request_and_response
        }
    };
}

/// A module of scenarios with one version and number of shards.
macro_rules! with {
    ($module:ident, $version:literal, $shards:literal, $scenarios:ident) => {
        with!($module, "tcp", $version, $shards, $scenarios);
    };
    ($module:ident, $scheme:literal, $version:literal, $shards:literal, $scenarios:ident) => {
        mod $module {
            use super::*;

            fn run(scenario: &str) {
                MQTT_JS.run_over($scheme, scenario, $version, $shards);
            }

            $scenarios!();
        }
    };
}

with!(v31_shards_2, "31", 2, of_every_version);
with!(v311_shards_1, "311", 1, of_every_version);
with!(v311_shards_2, "311", 2, of_every_version);
with!(v5_shards_1, "5", 1, of_every_version);
with!(v5_shards_2, "5", 2, of_every_version);
with!(v5_shards_3, "5", 3, of_every_version);
with!(v5_own_shards_1, "5", 1, of_version_5);
with!(v5_own_shards_2, "5", 2, of_version_5);
with!(tls_shards_2, "tls", "5", 2, of_every_version);
with!(ws_shards_2, "ws", "311", 2, of_every_version);
with!(wss_shards_2, "wss", "5", 2, of_every_version);

#[test]
fn every_scenario_is_a_test() {
    MQTT_JS.check_named(&[v5_shards_1::NAMES, v5_own_shards_1::NAMES].concat());
}
