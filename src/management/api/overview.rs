//! `/api/overview`.

use serde_json::{Map, Value as Json, json};

use super::nodes;
use super::queues::{Totals, named};
use crate::broker::{BrokerTotals, RABBITMQ_VERSION};
use crate::management::Management;
use crate::management::call::Call;
use crate::management::rates::counts;
use crate::management::reply::{Outcome, Reply};

pub(in crate::management) async fn overview(call: &Call, management: &Management) -> Outcome {
    let broker = management.broker();
    let vhosts = call.known_vhosts(management);
    let totals = management.totals_of(&vhosts).await;
    let mut connections = broker.connections();
    connections.retain(|connection| call.is_monitor() || *connection.user == *call.user.name);
    let whole = broker.totals();
    let open_channels = whole.channel_created.saturating_sub(whole.channel_closed);
    let mut queue_totals = json!({});
    totals.put_counts(&mut queue_totals);
    let mut overview = json!({
        "management_version": RABBITMQ_VERSION,
        "rates_mode": management.rates_mode(),
        "sample_retention_policies": {"global": [600], "basic": [600], "detailed": [10]},
        "exchange_types": nodes::exchange_types(),
        "product_name": "RabbitMQ",
        "product_version": RABBITMQ_VERSION,
        "rabbitmq_version": RABBITMQ_VERSION,
        "cluster_name": nodes::cluster_name(management),
        "cluster_tags": {},
        "node_tags": {},
        "erlang_version": nodes::ERLANG_VERSION,
        "erlang_full_version": nodes::ERLANG_FULL_VERSION,
        "crypto_lib_version": nodes::CRYPTO_VERSION,
        "disable_stats": management.options().disable_stats,
        "default_queue_type": "classic",
        "is_op_policy_updating_enabled": true,
        "enable_queue_totals": false,
        "require_definition_json_extension": false,
        "message_stats": message_stats(management, &totals, &whole, call.is_monitor()),
        "churn_rates": churn(management, &whole),
        "queue_totals": queue_totals,
        "object_totals": {
            "connections": connections.len(),
            "channels": if call.is_monitor() { open_channels } else { 0 },
            "consumers": totals.consumers,
            "exchanges": vhosts.iter().map(|vhost| vhost.exchanges().len()).sum::<usize>(),
            "queues": vhosts.iter().map(|vhost| vhost.queue_count()).sum::<usize>(),
        },
        "statistics_db_event_queue": 0,
    });
    if call.is_monitor() {
        overview["lepus_sync"] = management.options().sync.as_str().into();
        overview["node"] = management.node().into();
        overview["listeners"] = nodes::listeners(management).into();
        overview["contexts"] = nodes::contexts(management).into();
    }
    Ok(Reply::Json(overview))
}

/// What clients published, and what happened in queues, those included that are gone.
fn message_stats(management: &Management, totals: &Totals, whole: &BrokerTotals, all: bool) -> Json {
    let mut counters = totals.counters;
    if all {
        counters.add(&whole.gone);
    }
    let rates = management.rates();
    let mut stats = Map::new();
    let mut put = |name: &str, count: u64| {
        stats.insert(name.to_owned(), count.into());
        stats.insert(format!("{name}_details"), json!({"rate": rates(name)}));
    };
    for (name, count) in named(&counters) {
        put(name, count);
    }
    if all {
        // A message counts once here, however many queues it went to.
        for (name, count) in counts(whole).into_iter().take(3) {
            put(name, count);
        }
    }
    for name in ["disk_reads", "disk_writes"] {
        put(name, 0);
    }
    Json::Object(stats)
}

fn churn(management: &Management, whole: &BrokerTotals) -> Json {
    let rates = management.rates();
    let mut churn = Map::new();
    for (name, count) in counts(whole).into_iter().skip(3) {
        churn.insert(name.to_owned(), count.into());
        churn.insert(format!("{name}_details"), json!({"rate": rates(name)}));
    }
    Json::Object(churn)
}
