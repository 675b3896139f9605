//! `/api/overview`.

use std::sync::Arc;

use super::nodes;
use crate::broker::{BrokerTotals, RABBITMQ_VERSION, Vhost};
use crate::management::Management;
use crate::management::call::Call;
use crate::management::history::Past;
use crate::management::machine::Machine;
use crate::management::ranges::put;
use crate::management::record::Record;
use crate::management::reply::{Outcome, Reply};
use crate::management::series::{CHURN, DELIVERED, DISK, PUBLISHED, VHOST_LENGTHS, VhostSample, node_sample};

pub(in crate::management) async fn overview(call: &Call, management: &Management) -> Outcome {
    let broker = management.broker();
    let vhosts = call.known_vhosts(management);
    let ranges = call.ranges()?;
    let mut connections = broker.connections();
    connections.retain(|connection| call.is_monitor() || *connection.user == *call.user.name);
    let whole = broker.totals();
    let open_channels = whole.channel_created.saturating_sub(whole.channel_closed);
    let seen = Seen::new(management, &vhosts, &whole, call.is_monitor()).await;
    let now = &seen.now.values;
    Ok(Reply::Written(Record::written(&call.query, |record| {
        record.put("management_version", RABBITMQ_VERSION);
        record.put("rates_mode", management.rates_mode());
        record.object("sample_retention_policies", |policies| {
            let retention = &management.options().retention;
            policies.put("global", retention.global.spans());
            policies.put("basic", retention.basic.spans());
            policies.put("detailed", retention.detailed.spans());
        });
        record.json("exchange_types", || nodes::exchange_types().into());
        record.put("product_name", "RabbitMQ");
        record.put("product_version", RABBITMQ_VERSION);
        record.put("rabbitmq_version", RABBITMQ_VERSION);
        record.put("cluster_name", nodes::cluster_name(management));
        record.object("cluster_tags", |_| {});
        record.object("node_tags", |_| {});
        record.put("erlang_version", nodes::ERLANG_VERSION);
        record.put("erlang_full_version", nodes::ERLANG_FULL_VERSION);
        record.put("crypto_lib_version", nodes::CRYPTO_VERSION);
        record.put("disable_stats", management.options().disable_stats);
        record.put("default_queue_type", "classic");
        record.put("is_op_policy_updating_enabled", true);
        record.put("enable_queue_totals", false);
        record.put("require_definition_json_extension", false);
        seen.past(management, |past| {
            record.object("message_stats", |stats| {
                for group in [&PUBLISHED[..], &DELIVERED, &DISK] {
                    put(stats, group, now, past, ranges.msg_rates);
                }
            });
            record.object("queue_totals", |totals| put(totals, &VHOST_LENGTHS, now, past, ranges.lengths));
        });
        let node = node_sample(&Machine::default(), 0, &whole);
        management.rates().of_node(|past| {
            let range = ranges.node_stats.or(ranges.data_rates);
            record.object("churn_rates", |rates| put(rates, &CHURN, &node, past, range));
        });
        record.object("object_totals", |totals| {
            totals.put("connections", connections.len());
            totals.put("channels", if call.is_monitor() { open_channels } else { 0 });
            totals.put("consumers", seen.now.consumers);
            totals.put("exchanges", vhosts.iter().map(|vhost| vhost.exchanges().len()).sum::<usize>());
            totals.put("queues", vhosts.iter().map(|vhost| vhost.queue_count()).sum::<usize>());
        });
        record.put("statistics_db_event_queue", 0);
        if call.is_monitor() {
            record.put("lepus_sync", &management.options().sync);
            record.put("node", management.node());
            record.json("listeners", || nodes::listeners(management).into());
            record.json("contexts", || nodes::contexts(management).into());
        }
    })))
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
