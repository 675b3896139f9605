//! `/api/overview`.

use std::sync::Arc;

use serde_json::{Map, json};

use super::nodes;
use crate::broker::{BrokerTotals, RABBITMQ_VERSION, Vhost};
use crate::management::Management;
use crate::management::call::Call;
use crate::management::history::{BASIC, GLOBAL, Past, Policy};
use crate::management::machine::Machine;
use crate::management::ranges::put;
use crate::management::reply::{Outcome, Reply};
use crate::management::series::{CHURN, DELIVERED, DISK, PUBLISHED, VHOST_LENGTHS, VhostSample, node_sample};

/// How long each kind of sample is kept, in seconds.
fn spans(policy: Policy) -> Vec<u64> {
    policy.iter().map(|(span, _)| *span).collect()
}

pub(in crate::management) async fn overview(call: &Call, management: &Management) -> Outcome {
    let broker = management.broker();
    let vhosts = call.known_vhosts(management);
    let ranges = call.ranges()?;
    let mut connections = broker.connections();
    connections.retain(|connection| call.is_monitor() || *connection.user == *call.user.name);
    let whole = broker.totals();
    let open_channels = whole.channel_created.saturating_sub(whole.channel_closed);
    let seen = Seen::new(management, &vhosts, &whole, call.is_monitor()).await;
    let (mut queue_totals, mut message_stats) = (Map::new(), Map::new());
    seen.past(management, |past| {
        let now = &seen.now.values;
        put(&mut queue_totals, &VHOST_LENGTHS, now, past, ranges.lengths);
        for group in [&PUBLISHED[..], &DELIVERED, &DISK] {
            put(&mut message_stats, group, now, past, ranges.msg_rates);
        }
    });
    let mut churn_rates = Map::new();
    let node = node_sample(&Machine::default(), 0, &whole);
    management
        .rates()
        .of_node(|past| put(&mut churn_rates, &CHURN, &node, past, ranges.node_stats.or(ranges.data_rates)));
    let mut overview = json!({
        "management_version": RABBITMQ_VERSION,
        "rates_mode": management.rates_mode(),
        "sample_retention_policies": {
            "global": spans(GLOBAL),
            "basic": spans(BASIC),
            "detailed": [600],
        },
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
        "message_stats": message_stats,
        "churn_rates": churn_rates,
        "queue_totals": queue_totals,
        "object_totals": {
            "connections": connections.len(),
            "channels": if call.is_monitor() { open_channels } else { 0 },
            "consumers": seen.now.consumers,
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

/// What is known of the vhosts that the user sees; of a monitor's also what is gone.
struct Seen {
    names: Vec<Arc<str>>,
    now: VhostSample,
    is_all: bool,
}

impl Seen {
    async fn new(management: &Management, vhosts: &[Arc<Vhost>], whole: &BrokerTotals, is_all: bool) -> Self {
        let mut now = VhostSample::default();
        if is_all {
            management.samples_of_what_is(vhosts).await.iter().for_each(|sample| now.add(sample));
            now.add_totals(whole);
        } else {
            management.vhost_samples(vhosts).await.iter().for_each(|sample| now.add(sample));
        }
        Self { names: vhosts.iter().map(|vhost| vhost.name().clone()).collect(), now, is_all }
    }

    fn past<R>(&self, management: &Management, show: impl FnOnce(Option<&dyn Past>) -> R) -> R {
        let rates = management.rates();
        if self.is_all { rates.of_all(show) } else { rates.of_vhosts(&self.names, show) }
    }
}
