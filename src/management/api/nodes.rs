//! `/api/nodes`, `/api/cluster-name`, `/api/extensions`.

use serde_json::{Map, Value as Json, json};

use crate::auth::Mechanism;
use crate::broker::exchange::ExchangeType;
use crate::broker::{RABBITMQ_VERSION, Watermark};
use crate::management::Management;
use crate::management::access::Level;
use crate::management::call::{Call, Fields};
use crate::management::list;
use crate::management::ranges::{Ranges, put, put_details};
use crate::management::record::{Columns, Record};
use crate::management::reply::{Outcome, Refused, Reply};
use crate::management::series::{CHURN, MACHINE, Series, ZERO_COUNTERS, ZERO_TIMES, node_sample};

/// There is no Erlang; tools show these texts, and some cannot do without.
pub(in crate::management) const ERLANG_VERSION: &str = "27.0";
pub(in crate::management) const ERLANG_FULL_VERSION: &str = concat!("Lepus ", env!("CARGO_PKG_VERSION"), " [64-bit]");
pub(in crate::management) const CRYPTO_VERSION: &str = "ring";

const CLUSTER_NAME: &str = "cluster_name";

pub(in crate::management) async fn serve(call: &Call, management: &Management, path: &[&str]) -> Outcome {
    match (call.method.as_str(), path) {
        ("GET", ["cluster-name"]) => Ok(Reply::Json(json!({"name": cluster_name(management)}))),
        (_, ["cluster-name"]) => {
            Level::Administrator.require(&call.user)?;
            let fields = call.object_with(&["name"])?;
            management.broker().set_global_parameter(CLUSTER_NAME, fields.required("name")?.into());
            Ok(Reply::NoContent)
        }
        (_, ["config", _]) => {
            Level::Administrator.require(&call.user)?;
            Ok(Reply::Text("text/plain", effective_config(management)))
        }
        (_, ["extensions"]) => Ok(Reply::List(vec![json!({"javascript": "dispatcher.js"})])),
        ("PUT", ["nodes", name, setting]) => {
            Level::Administrator.require(&call.user)?;
            if *name != management.node() {
                return Err(Refused::no_object());
            }
            set(call, management, setting)?;
            Ok(Reply::NoContent)
        }
        _ => {
            Level::Monitoring.require(&call.user)?;
            match path {
                ["nodes"] => {
                    let ranges = call.ranges()?;
                    let write = |_: &(), out: &mut Vec<u8>, columns: Columns<'_>| {
                        Record::write(out, columns, |record| put_node(record, management, ranges));
                    };
                    list::shape_items(vec![()], &call.query, |()| management.node().to_owned().into(), write).await
                }
                ["nodes", name, rest @ ..] if *name == management.node() => of_node(call, management, rest),
                _ => Err(Refused::no_object()),
            }
        }
    }
}

/// Changes a setting of the running broker, in the words of `rabbitmq.conf`.
fn set(call: &Call, management: &Management, setting: &str) -> Result<(), Refused> {
    let (fields, settings) = (call.object()?, management.settings());
    let set = match setting {
        "vm_memory_high_watermark" => settings.set_memory_high_watermark(watermark(&fields, 1.0)?),
        "disk_free_limit" => settings.set_disk_free_limit(watermark(&fields, f64::MAX)?),
        "track_auth_attempt_source" => {
            let is_on = fields.get("enabled").and_then(Json::as_bool);
            let is_on = is_on.ok_or_else(|| Refused::bad_request("enabled must be true or false"))?;
            management.broker().track_login_sources(is_on);
            Ok(())
        }
        _ => settings.set_log_level(fields.required("level")?),
    };
    set.map_err(|error| Refused::bad_request(error.to_string()))
}

/// `{"relative": 0.4}`, of memory, or `{"absolute": 1073741824}`, in bytes.
fn watermark(fields: &Fields, relative_max: f64) -> Result<Watermark, Refused> {
    match (fields.get("relative"), fields.get("absolute")) {
        (Some(relative), None) => {
            let fraction = relative.as_f64().filter(|fraction| (0.0..=relative_max).contains(fraction));
            fraction.map(Watermark::Fraction).ok_or_else(|| Refused::bad_value("not_a_fraction", relative.clone()))
        }
        (None, Some(absolute)) => {
            let bytes = absolute.as_u64().map(Watermark::Bytes);
            bytes.ok_or_else(|| Refused::bad_value("not_a_number_of_bytes", absolute.clone()))
        }
        _ => Err(Refused::bad_request("either relative or absolute must be given")),
    }
}

fn of_node(call: &Call, management: &Management, rest: &[&str]) -> Outcome {
    let shown = match rest {
        ["memory", "relative"] => json!({"memory": relative(&parts(management))}),
        // RabbitMQ's word where there is no table of that name; here there is none at all.
        ["memory", "ets"] => json!({"ets_tables_memory": "no_tables"}),
        ["memory"] => json!({"memory": memory(management)}),
        _ => {
            let ranges = call.ranges()?;
            return Ok(Reply::Written(Record::written(&call.query, |record| {
                put_node(record, management, ranges);
                if call.query.is_true("memory") {
                    record.json("memory", || memory(management));
                }
                if call.query.is_true("binary") {
                    record
                        .object("binary", |binary| PARTS.iter().chain(&["other"]).for_each(|name| binary.put(name, 0)));
                }
            })));
        }
    };
    Ok(Reply::Json(shown))
}

/// What is in force, in the words of `rabbitmq.conf`.
fn effective_config(management: &Management) -> String {
    let options = management.options();
    let mut lines = Vec::new();
    for listener in &options.listeners {
        lines.push(match listener.protocol {
            "amqp" => format!("listeners.tcp.{} = {}", lines.len() + 1, listener.address),
            "amqp/ssl" => format!("listeners.ssl.{} = {}", lines.len() + 1, listener.address),
            "http" => format!("management.tcp.port = {}", listener.address.port()),
            _ => format!("prometheus.tcp.port = {}", listener.address.port()),
        });
    }
    lines.extend([
        format!("cluster_name = {}", cluster_name(management)),
        format!("vm_memory_high_watermark.absolute = {}", management.memory_limit()),
        format!("disk_free_limit.absolute = {}", management.disk_free_limit()),
        format!("management.http.max_body_size = {}", options.body_size_max),
        format!("collect_statistics_interval = {}", options.statistics_interval.as_millis()),
    ]);
    let origins = options.cors_origins.iter().zip(1..);
    lines.extend(origins.map(|(origin, index)| format!("management.cors.allow_origins.{index} = {origin}")));
    lines.push(String::new());
    lines.join("\n")
}

pub(in crate::management) fn cluster_name(management: &Management) -> String {
    let named = management.broker().global_parameters().into_iter().find(|parameter| parameter.name == CLUSTER_NAME);
    let named = named.and_then(|parameter| parameter.value.as_str().map(str::to_owned));
    named.unwrap_or_else(|| management.options().cluster_name.clone())
}

pub(in crate::management) fn exchange_types() -> Vec<Json> {
    let record = |kind: &ExchangeType| {
        let name = kind.as_str();
        let description = match name {
            "direct" | "fanout" | "headers" | "topic" => {
                format!("AMQP {name} exchange, as per the AMQP specification")
            }
            other => format!("Exchange of type {other}"),
        };
        json!({"name": name, "description": description, "enabled": true})
    };
    ExchangeType::ALL.iter().map(record).collect()
}

pub(in crate::management) fn listeners(management: &Management) -> Vec<Json> {
    let record = |listener: &crate::management::Listener| {
        json!({
            "node": management.node(),
            "protocol": listener.protocol,
            "ip_address": listener.address.ip().to_string(),
            "port": listener.address.port(),
            "socket_opts": {"backlog": 4096, "nodelay": true},
            "tls": matches!(listener.protocol, "amqp/ssl" | "https" | "https/prometheus"),
        })
    };
    management.options().listeners.iter().map(record).collect()
}

pub(in crate::management) fn contexts(management: &Management) -> Vec<Json> {
    let http = management.options().listeners.iter().filter(|listener| listener.protocol.starts_with("http"));
    let record = |listener: &crate::management::Listener| {
        let tells_metrics = listener.protocol.ends_with("/prometheus");
        let mut context = json!({
            "node": management.node(),
            "description": if tells_metrics { "RabbitMQ Prometheus" } else { "RabbitMQ Management" },
            "path": "/",
            "ip": listener.address.ip().to_string(),
            "port": listener.address.port().to_string(),
            "cowboy_opts": "[]",
            "ssl_opts": [],
        });
        // As RabbitMQ prints an atom, and for these only.
        if tells_metrics {
            context["protocol"] = format!("'{}'", listener.protocol).into();
        }
        context
    };
    http.map(record).collect()
}

fn put_node(record: &mut Record<'_>, management: &Management, ranges: Ranges) {
    let (broker, options) = (management.broker(), management.options());
    let (machine, alarms) = (management.machine(), broker.alarms());
    record.put("name", management.node());
    record.put("type", "disc");
    record.put("running", true);
    record.put("being_drained", false);
    record.put("partitions", [(); 0]);
    record.put("os_pid", std::process::id().to_string());
    record.put("uptime", management.uptime_ms());
    record.put("run_queue", 0);
    record.put("processors", std::thread::available_parallelism().map_or(1, usize::from));
    record.put("rates_mode", management.rates_mode());
    record.put("net_ticktime", 60);
    record.json("exchange_types", || exchange_types().into());
    record.json("auth_mechanisms", || auth_mechanisms(management).into());
    record.json("applications", || json!([{"name": "rabbit", "description": "RabbitMQ", "version": RABBITMQ_VERSION}]));
    record.json("contexts", || contexts(management).into());
    record.put("enabled_plugins", ["rabbitmq_management"]);
    record.put("log_files", &options.log_files);
    record.put("config_files", &options.config_files);
    record.put("db_dir", options.data_dir.as_deref().map(|path| path.display().to_string()).unwrap_or_default());
    record.put("lepus_sync", &options.sync);
    record.put("mem_calculation_strategy", "rss");
    record.put("mem_limit", management.memory_limit());
    record.put("mem_alarm", alarms.memory());
    record.put("disk_free_limit", management.disk_free_limit());
    record.put("disk_free_alarm", alarms.disk());
    record.put("fd_total", machine.descriptors_max);
    record.put("sockets_total", 0);
    record.put("proc_total", 1_048_576);
    record.object("ra_open_file_metrics", |files| {
        files.put("ra_log_wal", 0);
        files.put("ra_log_segment_writer", 0);
    });
    record.put("rabbitmq_version", RABBITMQ_VERSION);
    record.put("erlang_version", ERLANG_VERSION);
    record.put("erlang_full_version", ERLANG_FULL_VERSION);
    record.put("crypto_lib_version", CRYPTO_VERSION);
    record.put("cluster_links", [(); 0]);
    record.object("metrics_gc_queue_length", |lengths| METRICS_GC_QUEUES.iter().for_each(|name| lengths.put(name, 0)));
    let (now, range) = (node_sample(&machine, broker.connection_count() as u64, &broker.totals()), ranges.node_stats);
    management.rates().of_node(|past| {
        put(record, &MACHINE, &now, past, range);
        put(record, &CHURN, &now, past, range);
        put(record, &ZERO_COUNTERS, &now, past, range);
        for Series { name, details, read } in ZERO_TIMES {
            record.put(name, 0.0);
            put_details(record, details, past, read, range);
        }
    });
}

/// Where RabbitMQ's collector has work to do.
const METRICS_GC_QUEUES: [&str; 8] = [
    "connection_closed",
    "channel_closed",
    "consumer_deleted",
    "exchange_deleted",
    "queue_deleted",
    "vhost_deleted",
    "node_node_deleted",
    "channel_consumer_deleted",
];

fn auth_mechanisms(management: &Management) -> Vec<Json> {
    let record = |mechanism: &Mechanism| {
        let description = format!("SASL {mechanism} authentication mechanism");
        json!({"name": mechanism.as_str(), "description": description, "enabled": true})
    };
    management.options().mechanisms.iter().map(record).collect()
}

/// RabbitMQ's parts of a node's memory. What is not told apart here is `other_system`.
const PARTS: [&str; 26] = [
    "connection_readers",
    "connection_writers",
    "connection_channels",
    "connection_other",
    "queue_procs",
    "stream_queue_procs",
    "stream_queue_replica_reader_procs",
    "stream_queue_coordinator_procs",
    "quorum_queue_procs",
    "quorum_queue_dlx_procs",
    "plugins",
    "metadata_store",
    "other_proc",
    "metrics",
    "mgmt_db",
    "quorum_ets",
    "mnesia",
    "metadata_store_ets",
    "other_ets",
    "binary",
    "msg_index",
    "code",
    "atom",
    "other_system",
    "allocated_unused",
    "reserved_unallocated",
];
/// The part that all is in: the process knows the sum only.
const REST: &str = "other_system";

fn parts(management: &Management) -> Map<String, Json> {
    let resident = management.machine().resident_bytes;
    PARTS.iter().map(|name| ((*name).to_owned(), if *name == REST { resident.into() } else { 0.into() })).collect()
}

fn memory(management: &Management) -> Json {
    let mut memory = parts(management);
    let resident = memory[REST].clone();
    memory.insert("strategy".to_owned(), "rss".into());
    memory.insert("total".to_owned(), json!({"rss": resident, "allocated": resident, "erlang": 0}));
    Json::Object(memory)
}

/// Of a hundred.
fn relative(parts: &Map<String, Json>) -> Json {
    let of = |(name, bytes): (&String, &Json)| (name.clone(), if *bytes == 0 { 0 } else { 100 }.into());
    let mut relative: Map<String, Json> = parts.iter().map(of).collect();
    relative.insert("total".to_owned(), 100.into());
    Json::Object(relative)
}
