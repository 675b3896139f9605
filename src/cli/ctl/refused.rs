//! Commands of RabbitMQ's tools that have no meaning here, each with the reason.

use super::table::{BOTH, CTL, Command, DIAGNOSTICS, Run, Tool};

const QUEUES: &[Tool] = &[Tool::Queues];

const STREAMS: &[Tool] = &[Tool::Streams];
const UPGRADE: &[Tool] = &[Tool::Upgrade];
const QUEUES_AND_STREAMS: &[Tool] = &[Tool::Queues, Tool::Streams];
const STREAM_WATCHERS: &[Tool] = &[Tool::Diagnostics, Tool::Queues, Tool::Streams];
const STREAM_COORDINATORS: &[Tool] = &[Tool::Diagnostics, Tool::Streams];

const ALONE: &str = "has no meaning here: Lepus runs as one node";
const NO_ERLANG: &str = "has no meaning here: there is no Erlang";
const NO_APPLICATION: &str = "has no meaning here: broker and process are one; use stop, and start the process again";

const NO_STREAMS: &str = "has no meaning here: streams are not offered";
const NO_SECRETS: &str = "has no meaning here: there is no advanced.config, and encrypted values are refused";
const LISTENERS: &str = "is not possible: listeners accept as long as the broker runs";

const fn refused(tools: &'static [Tool], name: &'static str, reason: &'static str) -> Command {
    // Whatever it is given.
    Command::new(tools, (name, "[<argument> ...]"), "Refused, with the reason", "", Run::Refuse(reason))
}

pub(super) const COMMANDS: &[Command] = &[
    refused(CTL, "start_app", NO_APPLICATION),
    refused(CTL, "stop_app", NO_APPLICATION),
    refused(CTL, "reset", "is not possible while the broker runs: stop it and remove its data directory"),
    refused(CTL, "force_reset", "is not possible while the broker runs: stop it and remove its data directory"),
    refused(CTL, "join_cluster", ALONE),
    refused(CTL, "forget_cluster_node", ALONE),
    refused(CTL, "rename_cluster_node", ALONE),
    refused(CTL, "update_cluster_nodes", ALONE),
    refused(CTL, "change_cluster_node_type", ALONE),
    refused(CTL, "force_boot", ALONE),
    refused(CTL, "force_standalone_khepri_boot", ALONE),
    refused(CTL, "reconcile_vhosts", ALONE),
    refused(CTL, "sync_queue", ALONE),
    refused(CTL, "cancel_sync_queue", ALONE),
    refused(QUEUES, "add_member", ALONE),
    refused(QUEUES, "delete_member", ALONE),
    refused(QUEUES_AND_STREAMS, "grow", ALONE),
    refused(QUEUES, "grow_to_count", ALONE),
    refused(QUEUES_AND_STREAMS, "shrink", ALONE),
    refused(QUEUES_AND_STREAMS, "transfer_leadership", ALONE),
    refused(QUEUES, "force_checkpoint", "has no meaning here: checkpoints are made as the log grows"),
    refused(STREAMS, "add_replica", NO_STREAMS),
    refused(STREAMS, "delete_replica", NO_STREAMS),
    refused(STREAMS, "restart_stream", NO_STREAMS),
    refused(STREAM_WATCHERS, "stream_status", NO_STREAMS),
    refused(UPGRADE, "drain", LISTENERS),
    refused(UPGRADE, "revive", LISTENERS),
    refused(CTL, "eval", NO_ERLANG),
    refused(CTL, "eval_file", NO_ERLANG),
    refused(CTL, "exec", NO_ERLANG),
    refused(CTL, "force_gc", "has no meaning here: there is no garbage collector"),
    refused(QUEUES, "reclaim_quorum_memory", "has no meaning here: there is no garbage collector"),
    refused(CTL, "encode", NO_SECRETS),
    refused(CTL, "decode", NO_SECRETS),
    refused(CTL, "encrypt_conf_value", NO_SECRETS),
    refused(CTL, "decrypt_conf_value", NO_SECRETS),
    refused(BOTH, "list_ciphers", NO_SECRETS),
    refused(BOTH, "list_hashes", NO_SECRETS),
    refused(CTL, "reset_stats_db", "has no meaning here: counts are taken when they are asked for, and none are kept"),
    refused(CTL, "suspend_listeners", LISTENERS),
    refused(CTL, "resume_listeners", LISTENERS),
    refused(BOTH, "activate_free_disk_space_monitoring", "has no meaning here: free disk space is always looked at"),
    refused(BOTH, "deactivate_free_disk_space_monitoring", "is not possible: free disk space is always looked at"),
    refused(BOTH, "list_channel_interceptors", "has no meaning here: there are no interceptors"),
    refused(CTL, "set_channel_interceptor_priorities", "has no meaning here: there are no interceptors"),
    refused(CTL, "remove_classic_queue_mirroring_from_policies", ALONE),
    refused(DIAGNOSTICS, "erlang_version", NO_ERLANG),
    refused(DIAGNOSTICS, "observer", NO_ERLANG),
    refused(DIAGNOSTICS, "remote_shell", NO_ERLANG),
    refused(DIAGNOSTICS, "maybe_stuck", NO_ERLANG),
    refused(DIAGNOSTICS, "runtime_thread_stats", NO_ERLANG),
    refused(DIAGNOSTICS, "metadata_store_status", ALONE),
    refused(STREAM_COORDINATORS, "coordinator_status", ALONE),
    refused(DIAGNOSTICS, "discover_peers", ALONE),
    refused(DIAGNOSTICS, "erlang_cookie_hash", NO_ERLANG),
    refused(DIAGNOSTICS, "erlang_cookie_sources", NO_ERLANG),
    refused(DIAGNOSTICS, "resolver_info", NO_ERLANG),
    refused(DIAGNOSTICS, "certificates", "is not possible: use check_certificate_expiration, or openssl s_client"),
    refused(DIAGNOSTICS, "command_line_arguments", "is a matter of the system: use ps"),
    refused(DIAGNOSTICS, "os_env", "is a matter of the system: use lepus config check, or ps"),
    refused(DIAGNOSTICS, "resolve_hostname", "is a matter of the system: use getent hosts"),
    refused(DIAGNOSTICS, "list_network_interfaces", "is a matter of the system: use ip address"),
    refused(DIAGNOSTICS, "log_tail_stream", "is not possible: bind a queue to the exchange amq.rabbitmq.log"),
    refused(DIAGNOSTICS, "consume_event_stream", "is not possible: bind a queue to the exchange amq.rabbitmq.event"),
    refused(DIAGNOSTICS, "message_size_stats", "is not possible: sizes of messages are not counted"),
];
