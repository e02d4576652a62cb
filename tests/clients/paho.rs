//! paho-mqtt for Python, in 3.1, 3.1.1 and 5.0. The scenarios are in `paho/`.

use crate::script::{Script, scenarios};

const PAHO: Script =
    Script { interpreter: ".venv/bin/python", script: "paho", installed: ".venv/fulfilled" };

/// What every version can do.
macro_rules! of_every_version {
    () => {
        scenarios! {
            every_pair_of_qos order_of_each_qos any_payload_and_topic one_to_many many_to_one
            published_before_suback_or_after payload_of_1_mib payload_of_10_mib
            qos_2_is_exactly_once qos_2_is_exactly_once_over_lost_connections
            qos_1_is_at_least_once_over_lost_connections a_busy_receive_window

            the_last_value_waits an_empty_payload_clears wildcards_find_them_all
            their_qos_is_the_lower_one subscribing_again_repeats_them
            a_live_message_and_a_retained_one_race

            a_lost_connection_publishes_it a_goodbye_discards_it a_retained_will_waits
            a_silent_client_is_given_up

            messages_wait_in_order qos_0_does_not_wait a_clean_start_forgets
            unacknowledged_messages_come_again subscriptions_survive takeover takeover_under_load
            an_empty_client_id

            each_message_goes_to_one_member two_groups_get_a_copy_each
            a_member_that_unsubscribes_gets_no_more no_retained_message
            what_a_lost_member_had_goes_to_another

            wildcards dollar_topics_are_apart unsubscribe subscribing_again_replaces overlapping
            many_filters
        }
    };
}

/// What 5.0 brought.
macro_rules! of_version_5 {
    () => {
        scenarios! {
            retain_handling retain_as_published
            disconnect_with_will its_properties_arrive a_delayed_will_waits
            the_end_of_the_session_ends_the_delay
            session_expiry messages_expire retained_messages_expire
            no_local subscription_identifiers
            handed_on retained_messages_keep_theirs request_and_response
            topic_aliases_from_the_client topic_aliases_from_the_broker maximum_packet_size
            what_the_broker_grants
        }
    };
}

/// What crosses shards.
macro_rules! of_many_shards {
    () => {
        scenarios! {
            order_of_each_qos one_to_many many_to_one published_before_suback_or_after
            qos_2_is_exactly_once_over_lost_connections payload_of_1_mib
            wildcards_find_them_all a_live_message_and_a_retained_one_race
            messages_wait_in_order takeover takeover_under_load
            each_message_goes_to_one_member what_a_lost_member_had_goes_to_another
            subscription_identifiers a_delayed_will_waits request_and_response
        }
    };
}

/// What layers between the network and MQTT could break. 10 MiB at once are more than paho's own
/// WebSocket sends, to any broker.
macro_rules! of_layers {
    () => {
        scenarios! {
            every_pair_of_qos order_of_each_qos payload_of_1_mib a_busy_receive_window
            qos_2_is_exactly_once_over_lost_connections a_lost_connection_publishes_it
            a_goodbye_discards_it a_silent_client_is_given_up messages_wait_in_order takeover
            takeover_under_load each_message_goes_to_one_member
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
                PAHO.run_over($scheme, scenario, $version, $shards);
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
with!(v5_shards_3, "5", 3, of_many_shards);
with!(v5_shards_8, "5", 8, of_many_shards);
with!(v5_own_shards_1, "5", 1, of_version_5);
with!(v5_own_shards_2, "5", 2, of_version_5);
with!(tls_shards_2, "tls", "5", 2, of_layers);
with!(ws_shards_2, "ws", "311", 2, of_layers);
with!(wss_shards_2, "wss", "5", 2, of_layers);

#[test]
fn every_scenario_is_a_test() {
    PAHO.check_named(&[v5_shards_1::NAMES, v5_own_shards_1::NAMES].concat());
}
