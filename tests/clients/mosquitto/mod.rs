//! mosquitto_pub, mosquitto_sub and mosquitto_rr of Debian's mosquitto-clients.

mod command;
mod messages;
mod properties;

use crate::support::{Broker, is_present};
use command::{Site, is_installed};

/// Makes each scenario a test with one version and number of shards.
macro_rules! with {
    ($module:ident, $version:literal, $shards:literal, $file:ident: $($scenario:ident)*) => {
        mod $module {
            $(
                #[test]
                fn $scenario() {
                    super::run($version, $shards, super::$file::$scenario);
                }
            )*
        }
    };
}

/// What every version can do, as a test each.
macro_rules! of_every_version {
    ($module:ident, $version:literal, $shards:literal) => {
        with! { $module, $version, $shards, messages:
            every_pair_of_qos lines_of_stdin_arrive_in_order payloads_of_a_file
            retained_messages_wait_and_go a_killed_client_leaves_its_will a_session_keeps_messages
            shared_subscription_shares filters_select_and_exclude repeated_messages
        }
    };
}

/// What 5.0 brought, as a test each.
macro_rules! of_version_5 {
    ($module:ident, $shards:literal) => {
        with! { $module, "mqttv5", $shards, properties:
            properties_are_handed_on topic_alias_stands_for_a_topic
            subscription_identifier_comes_back session_expiry_is_kept a_request_is_answered
            a_will_with_properties
        }
    };
}

of_every_version!(v31_shards_1, "mqttv31", 1);
of_every_version!(v31_shards_2, "mqttv31", 2);
of_every_version!(v311_shards_1, "mqttv311", 1);
of_every_version!(v311_shards_2, "mqttv311", 2);
of_every_version!(v5_shards_1, "mqttv5", 1);
of_every_version!(v5_shards_2, "mqttv5", 2);
of_every_version!(v5_shards_3, "mqttv5", 3);
of_version_5!(v5_own_shards_1, 1);
of_version_5!(v5_own_shards_2, 2);

fn run(version: &'static str, shards: usize, scenario: fn(&Site)) {
    if is_present(is_installed(), "mosquitto-clients") {
        let broker = Broker::start(shards);
        scenario(&Site::new(&broker, version));
    }
}
