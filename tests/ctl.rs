//! `lepus ctl` and the names of RabbitMQ's tools: what they print, how they end, and how they reach the broker.

use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;

use lapin::options::{BasicConsumeOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lepus::Server;
use lepus::server::TlsOptions;
use serde_json::{Value as Json, json};

use crate::common::child::Lepus;
use crate::common::ctl::{Commands, Ctl, end};
use crate::common::papers::Papers;
use crate::common::place::Place;
use crate::common::{ChannelExt as _, builder, connect, eventually, table, within};

#[tokio::test]
async fn users_and_what_they_may_do() {
    let ctl = Ctl::start(builder()).await;
    assert_eq!(ctl.said(&["add_vhost", "my shop"]).await, "Adding vhost \"my shop\" ...\n");
    assert!(ctl.said(&["add_user", "ü x", "secret"]).await.starts_with("Adding user \"ü x\" ...\nDone. Don't forget"));
    assert_eq!(ctl.said(&["add_user", "q", "secret", "-q"]).await, "");
    assert_eq!(ctl.said(&["authenticate_user", "ü x", "secret"]).await, "Authenticating user \"ü x\" ...\nSuccess\n");
    ctl.said(&["set_user_tags", "ü x", "monitoring", "odd tag"]).await;
    assert_eq!(
        ctl.said(&["list_users"]).await,
        "Listing users ...\nuser\ttags\nguest\t[administrator]\nq\t[]\nü x\t[monitoring, odd tag]\n"
    );
    // Tags and passwords do not disturb each other.
    ctl.said(&["change_password", "ü x", "other"]).await;
    ctl.said(&["authenticate_user", "ü x", "other"]).await;
    ctl.said(&["set_user_tags", "ü x", "management"]).await;
    ctl.said(&["authenticate_user", "ü x", "other"]).await;
    ctl.said(&["clear_password", "ü x"]).await;
    assert_eq!(ctl.failed(&["authenticate_user", "ü x", "other"]).await.0, 65);

    ctl.said(&["set_permissions", "-p", "my shop", "ü x", "^a", ".*", "c d"]).await;
    assert_eq!(
        ctl.said(&["list_permissions", "-p", "my shop", "-q"]).await,
        "user\tconfigure\twrite\tread\nü x\t^a\t.*\tc d\n"
    );
    assert_eq!(
        ctl.json(&["list_user_permissions", "ü x"]).await,
        json!([{"vhost": "my shop", "configure": "^a", "write": ".*", "read": "c d"}])
    );
    ctl.said(&["set_permissions_globally", "q", "", "", ".*"]).await;
    assert_eq!(ctl.json(&["list_user_permissions", "q"]).await.as_array().map(Vec::len), Some(2));
    ctl.said(&["set_topic_permissions", "-p", "my shop", "ü x", "amq.topic", "^w", "^r"]).await;
    assert_eq!(ctl.said(&["list_topic_permissions", "-p", "my shop", "-s"]).await, "ü x\tamq.topic\t^w\t^r\n");
    ctl.said(&["clear_topic_permissions", "-p", "my shop", "ü x"]).await;
    ctl.said(&["clear_permissions", "-p", "my shop", "ü x"]).await;
    assert_eq!(ctl.said(&["list_permissions", "-p", "my shop", "-s"]).await, "q\t\t\t.*\n");

    ctl.said(&["set_user_limits", "ü x", r#"{"max-connections": 3}"#]).await;
    assert_eq!(ctl.said(&["list_user_limits", "--user", "ü x", "-q"]).await, "{\"max-connections\":3}\n");
    ctl.said(&["clear_user_limits", "ü x", "all"]).await;
    assert_eq!(ctl.said(&["list_user_limits", "--user", "ü x", "-q"]).await, "{}\n");
    ctl.said(&["delete_user", "ü x"]).await;
    // As in RabbitMQ 4.3.
    ctl.said(&["delete_user", "ü x"]).await;
}

#[tokio::test]
async fn vhosts() {
    let ctl = Ctl::start(builder()).await;
    ctl.said(&["add_vhost", "v", "--description", "a b", "--tags", "x,y", "--default-queue-type", "quorum"]).await;
    // Adding it again changes nothing.
    ctl.said(&["add_vhost", "v"]).await;
    assert_eq!(
        ctl.said(&["list_vhosts", "name", "description", "tags", "default_queue_type", "tracing", "-s"]).await,
        "/\t\t[]\tclassic\tfalse\nv\ta b\t[x, y]\tquorum\tfalse\n"
    );
    assert_eq!(
        ctl.said(&["trace_on", "-p", "v"]).await,
        "Starting tracing for vhost \"v\" ...\nTrace enabled for vhost v\n"
    );
    ctl.said(&["update_vhost_metadata", "v", "--description", "new"]).await;
    ctl.said(&["set_vhost_tags", "v", "p"]).await;
    assert_eq!(
        ctl.json(&["list_vhosts", "name,description,tags", "default_queue_type", "tracing"]).await[1],
        json!({"name": "v", "description": "new", "tags": ["p"], "default_queue_type": "quorum", "tracing": true})
    );
    ctl.said(&["set_vhost_limits", "-p", "v", r#"{"max-queues": 5}"#]).await;
    assert_eq!(
        ctl.said(&["list_vhost_limits", "--global"]).await,
        "Listing limits for all vhosts ...\nvhost\tlimits\nv\t{\"max-queues\":5}\n"
    );
    ctl.said(&["clear_vhost_limits", "-p", "v"]).await;
    assert_eq!(ctl.said(&["list_vhost_limits", "-p", "v", "-q"]).await, "\n");
    ctl.said(&["enable_vhost_deletion_protection", "v"]).await;
    let (code, why) = ctl.failed(&["delete_vhost", "v"]).await;
    assert!(code == 65 && why.contains("protected from deletion"), "{why}");
    ctl.said(&["disable_vhost_deletion_protection", "v"]).await;
    assert!(ctl.said(&["restart_vhost", "-p", "v"]).await.contains("is already running"));
    ctl.said(&["delete_vhost", "v"]).await;
    assert_eq!(ctl.failed(&["delete_vhost", "v"]).await, (65, "Virtual host 'v' does not exist".to_owned()));
    // Whoever runs the broker needs no permissions, and is given none.
    assert_eq!(ctl.said(&["list_permissions", "-s"]).await, "guest\t.*\t.*\t.*\n");
}

#[tokio::test]
async fn policies_and_parameters() {
    let ctl = Ctl::start(builder()).await;
    assert_eq!(
        ctl.said(&["set_policy", "a b", "^q", r#"{"max-length":10}"#, "--priority", "3", "--apply-to", "queues"]).await,
        "Setting policy \"a b\" for pattern \"^q\" to \"{\"max-length\":10}\" with priority \"3\" for vhost \"/\" ...\n"
    );
    assert_eq!(
        ctl.said(&["list_policies", "-q"]).await,
        "vhost\tname\tpattern\tapply-to\tdefinition\tpriority\n/\ta b\t^q\tqueues\t{\"max-length\":10}\t3\n"
    );
    ctl.said(&["set_operator_policy", "op", "^q", r#"{"max-length": 5}"#]).await;
    assert_eq!(ctl.json(&["list_operator_policies"]).await[0]["definition"], "{\"max-length\":5}");
    assert!(ctl.said(&["list_policies_that_match", "queue", "-s"]).await.starts_with("/\ta b\t"));
    let (code, why) = ctl.failed(&["set_policy", "bad", "^q", r#"{"nosuch": 1}"#]).await;
    assert_eq!(code, 69, "{why}");
    assert!(why.starts_with("Error:\nValidation failed\n\n"), "{why}");
    ctl.said(&["clear_policy", "a b"]).await;
    assert_eq!(ctl.failed(&["clear_policy", "a b"]).await, (69, "Error:\nParameter does not exist".to_owned()));
    ctl.said(&["clear_operator_policy", "op"]).await;

    ctl.said(&["set_global_parameter", "g", r#"{"a": [1, null]}"#]).await;
    assert!(ctl.said(&["list_global_parameters", "-s"]).await.contains("g\t{\"a\":[1,null]}\n"));
    ctl.said(&["clear_global_parameter", "g"]).await;
    ctl.said(&["set_parameter", "vhost-limits", "limits", r#"{"max-queues": 7}"#]).await;
    assert_eq!(ctl.said(&["list_parameters", "-s"]).await, "vhost-limits\tlimits\t{\"max-queues\":7}\n");
    ctl.said(&["clear_parameter", "vhost-limits", "limits"]).await;
    ctl.said(&["set_cluster_name", "hares"]).await;
    assert!(ctl.said(&["cluster_status"]).await.contains("Cluster name: hares\n"));
}

#[tokio::test]
async fn queues_and_who_uses_them() {
    let ctl = Ctl::start(builder()).await;
    let client = connect(&ctl.server).await;
    let channel = client.connection.create_channel().await.expect("a channel");
    for name in ["plain", "with space", "tab\there \"quoted\" \\", "ünïcode 兎"] {
        let declare = channel.queue_declare(name.into(), QueueDeclareOptions::default(), FieldTable::default());
        declare.await.expect("declared");
    }
    let publish = channel.basic_publish("".into(), "plain".into(), Default::default(), b"x", Default::default());
    publish.await.expect("published").await.expect("taken");
    let consume = BasicConsumeOptions { no_ack: false, ..Default::default() };
    // Dropped, it would be cancelled.
    let _consumer = channel
        .basic_consume("with space".into(), "tag 1".into(), consume, FieldTable::default())
        .await
        .expect("consumes");

    let queues = "plain\t1\ntab\there \"quoted\" \\\t0\nwith space\t0\nünïcode 兎\t0\n";
    eventually("the message is counted", || async { (ctl.said(&["list_queues", "-s"]).await == queues).then_some(()) })
        .await;
    assert_eq!(
        ctl.said(&["list_queues"]).await,
        format!("Timeout: 60.0 seconds ...\nListing queues for vhost / ...\nname\tmessages\n{queues}")
    );
    assert_eq!(
        ctl.said(&["list_queues", "name", "type", "arguments", "durable", "consumers", "-s"]).await.lines().next(),
        Some("plain\tclassic\t[{\"x-queue-type\",\"classic\"}]\tfalse\t0")
    );
    assert_eq!(ctl.said(&["list_queues", "--offline", "-q"]).await, "");
    assert_eq!(
        ctl.said(&["list_bindings", "source_name", "destination_name", "routing_key", "-s"]).await.lines().nth(2),
        Some("\twith space\twith space")
    );
    assert!(ctl.said(&["list_exchanges", "-s"]).await.starts_with("\tdirect\namq.direct\tdirect\n"));
    let consumers = ctl.json(&["list_consumers", "queue_name", "consumer_tag", "ack_required"]).await;
    assert_eq!(consumers, json!([{"queue_name": "with space", "consumer_tag": "tag 1", "ack_required": true}]));
    assert_eq!(ctl.said(&["list_connections", "user", "vhost", "state", "-s"]).await, "guest\t/\trunning\n");
    assert_eq!(ctl.said(&["list_channels", "number", "user", "consumer_count", "-s"]).await.lines().count(), 2);

    assert_eq!(ctl.said(&["purge_queue", "plain"]).await, "Purging queue 'plain' in vhost '/' ...\n");
    assert_eq!(ctl.failed(&["delete_queue", "with space", "--if-unused"]).await.0, 69);
    assert_eq!(
        ctl.said(&["delete_queue", "plain", "-e", "-u"]).await,
        "Deleting queue 'plain' on vhost '/' if queue is empty and if queue is unused ...\n\
         Queue was successfully deleted with 0 ready messages\n"
    );
    assert_eq!(ctl.failed(&["delete_queue", "plain"]).await, (64, "Error:\nNo such queue was found".to_owned()));
    let missing = "Object (queue, stream, exchange, etc) was not found";
    assert_eq!(ctl.failed(&["purge_queue", "plain"]).await, (65, missing.to_owned()));

    let name = ctl.said(&["list_connections", "pid", "-s"]).await;
    ctl.said(&["close_connection", name.trim_end(), "go away"]).await;
    eventually("the connection is gone", || async {
        ctl.said(&["list_connections", "-s"]).await.is_empty().then_some(())
    })
    .await;
    let _clients = [connect(&ctl.server).await, connect(&ctl.server).await];
    assert_eq!(
        ctl.said(&["close_all_connections", "--limit", "1", "why not"]).await,
        "Closing 1 connections in vhost /, reason: why not...\nClosed 1 connections\n"
    );
    ctl.said(&["close_all_user_connections", "guest", "why not"]).await;
}

/// A quorum queue can be looked into.
#[tokio::test]
async fn quorum_queues() {
    let ctl = Ctl::start(builder()).await;
    let definitions = json!({"queues": [
        {"vhost": "/", "name": "qq", "durable": true, "auto_delete": false, "arguments": {"x-queue-type": "quorum"}},
    ]});
    let imported = ctl.run_with(&["import_definitions"], &definitions.to_string()).await;
    assert_eq!(imported.code, Some(0), "{imported:?}");
    let client = connect(&ctl.server).await;
    let channel = client.connection.create_channel().await.expect("a channel");
    let publish = channel.basic_publish("".into(), "qq".into(), Default::default(), b"hello", Default::default());
    publish.await.expect("published").await.expect("taken");
    let peeked = eventually("the message is there", || async {
        let ended = ctl.run(&["peek", "qq", "1", "--formatter", "json"]).await;
        (ended.code == Some(0)).then_some(ended.stdout)
    })
    .await;
    assert!(peeked.contains("{\"keys\":\"payload (max 64 bytes)\",\"values\":\"hello\"}"), "{peeked}");
    assert_eq!(ctl.failed(&["peek", "qq", "9"]).await.0, 69);
    assert_eq!(ctl.failed(&["peek", "qq", "0"]).await.0, 65);
    let status = ctl.json(&["quorum_status", "qq"]).await;
    assert_eq!((&status[0]["Raft State"], &status[0]["Membership"]), (&json!("leader"), &json!("voter")));
    assert_eq!(ctl.json(&["rebalance", "quorum"]).await[0]["Number of quorum queues"], 1);
}

#[tokio::test]
async fn definitions_go_to_files_and_back() {
    let ctl = Ctl::start(builder()).await;
    ctl.said(&["add_vhost", "kept"]).await;
    let file = ctl.place.0.join("definitions.json");
    let file = file.to_str().expect("text");
    assert_eq!(
        ctl.said(&["export_definitions", file]).await,
        format!("Exporting definitions in JSON to a file at \"{file}\" ...\n")
    );
    ctl.said(&["delete_vhost", "kept"]).await;
    assert!(ctl.said(&["import_definitions", file]).await.contains("Successfully started definition import"));
    assert!(ctl.said(&["list_vhosts", "-s"]).await.contains("kept\n"));
    let exported: Json = serde_json::from_str(&ctl.said(&["export_definitions", "-"]).await).expect("JSON");
    assert!(exported["vhosts"].is_array());
    assert_eq!(ctl.failed(&["import_definitions", "/nowhere/at all.json"]).await.0, 65);
    assert_eq!(ctl.failed(&["export_definitions", "/nowhere/at all.json"]).await.0, 65);
    let bad = ctl.run_with(&["import_definitions"], "nojson").await;
    assert_eq!(bad.code, Some(65), "{bad:?}");
}

/// Each kind of failure has RabbitMQ's exit code and words.
#[tokio::test]
async fn failures_have_rabbitmqs_exit_codes() {
    let ctl = Ctl::start(builder()).await;
    let cases: &[(&[&str], i32, &str)] = &[
        (&["list_queue"], 64, "\nCommand 'list_queue' not found. \nDid you mean 'list_queues'?"),
        (&["list_queues", "nosuch"], 64, "Error (argument validation): Info key(s) nosuch are not supported"),
        (
            &["list_queues", "--nosuch"],
            64,
            "Error (argument validation): Invalid options for this command:\n--nosuch : ",
        ),
        (&["add_vhost"], 64, "Error (argument validation): not enough arguments.\nArguments given:\n\tadd_vhost"),
        (&["add_vhost", "a", "b"], 64, "Error (argument validation): too many arguments."),
        (&["list_users", "--formatter", "prolog"], 64, "Error (argument validation): formatter 'prolog'"),
        (&["log_tail"], 69, "Error:\nthe log goes to no file"),
        (&["stream_status", "q"], 69, "Error:\nstream_status has no meaning here: streams are not offered"),
        (&["add_user", "", "x"], 65, "Error (argument validation): Bad argument: user cannot be an empty string"),
        (&["list_policies", "-p", "nosuch"], 65, "Virtual host 'nosuch' does not exist"),
        (&["check_port_listener", "x"], 65, "Error (argument validation): Bad argument: Argument must be"),
        (&["change_password", "nosuch", "x"], 67, "Error:\nUser \"nosuch\" does not exist"),
        (&["set_permissions", "nosuch", "", "", ""], 67, "Error:\nUser nosuch does not exist"),
        (&["set_permissions", "-p", "nosuch", "guest", "", "", ""], 69, "Error:\nVirtual host nosuch does not exist"),
        (&["list_user_permissions", "nosuch"], 69, "Error:\n{:no_such_user, \"nosuch\"}"),
        (&["set_policy", "p", "^", "nojson"], 69, "Error:\nCould not parse JSON document"),
        (&["is_enabled", "rabbitmq_nosuch"], 69, "Error:\nPlugin rabbitmq_nosuch is not enabled"),
        (&["add_user", "guest", "x"], 70, "Error:\nUser \"guest\" already exists"),
        (&["wait", "/nowhere/lepus.pid", "-t", "1"], 75, "Error: operation wait timed out. Timeout value used: 1000"),
        // What has no meaning here says so.
        (&["join_cluster", "rabbit@other"], 69, "Error:\njoin_cluster has no meaning here: Lepus runs as one node"),
        (&["eval", "1 + 1."], 69, "Error:\neval has no meaning here: there is no Erlang"),
        (&["stop_app"], 69, "Error:\nstop_app has no meaning here"),
        (&["set_log_level", "loud"], 69, "Error:\nlevel loud is not supported. Try one of debug, info, warning,"),
        (&["set_log_level", "debug"], 69, "Error:\nthe log is not the broker's own"),
        (&["set_disk_free_limit", "1GB"], 69, "Error:\nnothing is kept on disk"),
        (
            &["set_vm_memory_high_watermark", "1.1"],
            65,
            "Error (argument validation): Bad argument: The threshold should be a fraction between 0.0 and 1.0\n\
             Arguments given:\n\tset_vm_memory_high_watermark 1.1\n\nUsage\n\n\
             lepus ctl [--node <node>] [--longnames] [--quiet] set_vm_memory_high_watermark <fraction> | absolute <value>",
        ),
    ];
    for (words, code, text) in cases {
        let ended = ctl.run(words).await;
        assert_eq!(ended.code, Some(*code), "{words:?}: {}", ended.stderr);
        assert!(ended.stderr.starts_with(text), "{words:?}: {}", ended.stderr);
    }
    // Nothing was done.
    assert_eq!(ctl.said(&["list_vhosts", "-s"]).await, "/\n");
}

/// FEATURES section 4.4: rows as RabbitMQ 4.3.6 prints them, line breaks of Erlang's aside.
#[tokio::test]
async fn every_format() {
    let ctl = Ctl::start(builder()).await;
    let client = connect(&ctl.server).await;
    let arguments = table([("x-overflow", AMQPValue::LongString("drop-head".into()))]);
    client.declare("a,\"b", QueueDeclareOptions::default(), arguments).await.expect("queue.declare-ok");
    client.queue("q").await;
    let list = async |format: &str| {
        ctl.said(&["list_queues", "name", "messages", "arguments", "policy", "-q", "--formatter", format]).await
    };
    let kind = "{<<\"x-queue-type\">>,longstr,<<\"classic\">>}";
    assert_eq!(
        list("erlang").await,
        format!(
            "[[{{name,<<\"a,\\\"b\">>}},{{messages,0}},{{arguments,[{{<<\"x-overflow\">>,longstr,<<\"drop-head\">>}},{kind}]}},\
             {{policy,''}}],\n [{{name,<<\"q\">>}},{{messages,0}},{{arguments,[{kind}]}},{{policy,''}}]]\n"
        )
    );
    let kind = "{\"x-queue-type\", :longstr, \"classic\"}";
    let rows = [
        format!(
            "[name: \"a,\\\"b\", messages: 0, arguments: [{{\"x-overflow\", :longstr, \"drop-head\"}}, {kind}], policy: :\"\"]"
        ),
        format!("[name: \"q\", messages: 0, arguments: [{kind}], policy: :\"\"]"),
    ];
    assert_eq!(list("string").await, format!("{}\n{}\n", rows[0], rows[1]));
    assert_eq!(list("inspect").await, format!("[\n{}\n,{}\n]\n", rows[0], rows[1]));
    assert_eq!(
        list("string_per_line").await.lines().last(),
        Some(&*format!("{{:name, \"q\"}}{{:messages, 0}}{{:arguments, [{kind}]}}{{:policy, :\"\"}}"))
    );
    let stream = list("json_stream").await;
    let objects: Vec<Json> = stream.lines().filter(|line| !line.is_empty()).map(parsed).collect();
    assert_eq!(Json::Array(objects), parsed(&list("json").await));
    assert!(list("csv").await.starts_with("\"name\",\"messages\",\"arguments\",\"policy\"\n\"a,\"\"b\",\"0\","));
    assert!(list("pretty_table").await.contains("drop-head"));
    assert_eq!(ctl.said(&["ping", "-q", "--formatter", "erlang"]).await, "<<\"Ping succeeded\">>\n");
    assert_eq!(
        ctl.said(&["list_users", "-q", "--formatter", "erlang"]).await,
        "[[{user,<<\"guest\">>},{tags,[administrator]}]]\n"
    );
    assert_eq!(ctl.said(&["list_policies", "--formatter", "erlang", "-q"]).await, "[]\n");
}

fn parsed(text: &str) -> Json {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// FEATURES section 4.4: `report` has what the other commands print, of each vhost, with all columns.
#[tokio::test]
async fn a_report_has_everything() {
    let ctl = Ctl::start(builder()).await;
    ctl.said(&["add_vhost", "shop"]).await;
    ctl.said(&["set_policy", "-p", "shop", "short", "^q", "{\"max-length\": 10}"]).await;
    let client = connect(&ctl.server).await;
    client.queue("carrots").await;
    let report = ctl.said(&["report"]).await;
    for part in [
        "Reporting server status of node rabbit@",
        "\nStatus of node rabbit@",
        "\nCluster status of node rabbit@",
        "\nApplication environment of node rabbit@",
        "\nListing connections ...\n",
        "\nListing channels ...\n",
        "\nListing queues for vhost / ...\nname\tdurable\tauto_delete\t",
        "\ncarrots\tfalse\t",
        "\nListing exchanges for vhost shop ...\n",
        "\nListing bindings for vhost shop...\n",
        "\nListing permissions for vhost \"shop\" ...\n",
        "\nshop\tshort\t^q\tall\t{\"max-length\":10}\t0\n",
        "\nListing runtime parameters for vhost \"/\" ...\n",
    ] {
        assert!(report.contains(part), "no {part:?} in {report}");
    }
}

/// FEATURES section 4.4: where the log goes, its last lines, and a new file.
#[tokio::test]
async fn the_log_is_found_and_begun_anew() {
    let place = Place::new();
    std::fs::create_dir(&place.0).expect("made");
    let (log, old) = (place.0.join("lepus.log"), place.0.join("old.log"));
    let path = log.to_str().expect("text");
    let socket = place.0.join("lepus.sock");
    let words = ["--in-memory", "--local-socket", socket.to_str().expect("text"), "--log-file", path];
    let mut command = crate::common::child::command(&["serve", "--amqp-listen", "127.0.0.1:0"]);
    let mut child = command.args(words).spawn().expect("it starts");
    let ctl = Commands::new(socket);
    assert_eq!(ctl.run(&["await_startup", "-t", "20"]).await.code, Some(0));
    assert_eq!(ctl.said(&["log_location", "-q"]).await, format!("{path}\n"));
    assert_eq!(ctl.json(&["status"]).await["log_files"], json!([path]));
    ctl.said(&["add_user", "mole", "secret"]).await;
    let tail = ctl.said(&["log_tail", "-N", "1"]).await;
    let lines: Vec<&str> = tail.lines().collect();
    assert!(lines[0].starts_with("Last 1 log lines on node rabbit@") && lines[1].contains("mole"), "{tail}");
    assert_eq!(lines.len(), 2);
    std::fs::rename(&log, &old).expect("moved");
    ctl.said(&["rotate_logs"]).await;
    eventually("there is a new file", async || log.exists().then_some(())).await;
    ctl.said(&["add_user", "shrew", "secret"]).await;
    let tail = ctl.said(&["log_tail", "-q"]).await;
    assert!(tail.contains("shrew") && !tail.contains("mole"), "{tail}");
    child.kill().and_then(|()| child.wait()).expect("it ends");
}

/// What Docker and Kubernetes ask, by the names of RabbitMQ's tools.
#[tokio::test]
async fn the_program_is_the_tool_it_is_called_by() {
    let ctl = Ctl::start(builder().http("127.0.0.1:0")).await;
    let tool = |name: &str| {
        let path = ctl.place.0.join(name);
        symlink(env!("CARGO_BIN_EXE_lepus"), &path).expect("a link can be made");
        path
    };
    let [rabbitmqctl, diagnostics, queues, plugins] =
        ["rabbitmqctl", "rabbitmq-diagnostics", "rabbitmq-queues", "rabbitmq-plugins"].map(tool);
    let [upgrade, streams] = ["rabbitmq-upgrade", "rabbitmq-streams"].map(tool);
    let said = async |tool: &Path, words: &[&str]| {
        let ended = ctl.tool(tool, words, "").await;
        assert_eq!(ended.code, Some(0), "{tool:?} {words:?} {}", ended.stderr);
        ended.stdout
    };
    assert_eq!(said(&diagnostics, &["-q", "ping"]).await, "Ping succeeded\n");
    assert!(said(&diagnostics, &["-q", "check_running"]).await.contains("is fully booted and running"));
    assert!(said(&diagnostics, &["-q", "check_local_alarms"]).await.contains("reported no local alarms"));
    assert!(said(&diagnostics, &["check_port_connectivity"]).await.contains("Successfully connected to ports"));
    let port = ctl.server.amqp_addr().port().to_string();
    assert!(said(&diagnostics, &["-q", "check_port_listener", &port]).await.contains("A listener for port"));
    assert!(said(&diagnostics, &["check_protocol_listener", "amqp"]).await.contains("for protocol amqp is running"));
    assert!(said(&diagnostics, &["-q", "listeners"]).await.contains("purpose: HTTP API"));
    assert!(said(&diagnostics, &["memory_breakdown", "--unit", "mb"]).await.contains(" mb ("));
    assert_eq!(said(&diagnostics, &["-q", "server_version"]).await, said(&rabbitmqctl, &["version"]).await);
    assert!(said(&queues, &["check_if_node_is_quorum_critical"]).await.contains("single node cluster"));
    assert!(said(&plugins, &["list", "-m"]).await.contains("rabbitmq_management\n"));
    said(&plugins, &["enable", "--offline", "rabbitmq_management"]).await;
    assert_eq!(said(&rabbitmqctl, &["-q", "list_users"]).await, "user\ttags\nguest\t[administrator]\n");
    assert_eq!(said(&rabbitmqctl, &["-n", "rabbit@elsewhere", "-l", "await_startup", "-t", "5"]).await, "");
    assert!(said(&rabbitmqctl, &["status"]).await.contains("RabbitMQ version: "));
    assert!(said(&rabbitmqctl, &["environment"]).await.starts_with("Application environment of node rabbit@"));
    assert!(said(&upgrade, &["await_online_quorum_plus_one", "-t", "5"]).await.contains("does not apply"));
    assert!(said(&upgrade, &["post_upgrade"]).await.starts_with("Executing post upgrade tasks...\n"));
    assert_eq!(ctl.tool(&upgrade, &["drain"], "").await.code, Some(69));
    assert_eq!(ctl.tool(&streams, &["add_replica", "q", "rabbit@other"], "").await.code, Some(69));
    // A tool has its own commands only.
    let ended = ctl.tool(&diagnostics, &["add_user", "x", "y"], "").await;
    assert_eq!(ended.code, Some(64));
    assert!(ended.stderr.starts_with("\nCommand 'add_user' not found."), "{}", ended.stderr);
    assert_eq!(ctl.tool(&rabbitmqctl, &[], "").await.code, Some(64));
}

#[tokio::test]
async fn alarms_fail_the_checks() {
    let ctl = Ctl::start(builder().memory_high_watermark(lepus::Watermark::Bytes(1))).await;
    eventually("the alarm is on", || async { (ctl.run(&["check_local_alarms"]).await.code == Some(69)).then_some(()) })
        .await;
    let (code, why) = ctl.failed(&["check_alarms"]).await;
    assert!(code == 69 && why.contains("Memory alarm on node"), "{why}");
    assert!(ctl.said(&["alarms"]).await.contains("Memory alarm on node"));
    assert_eq!(ctl.failed(&["check_port_listener", "1"]).await.0, 69);
    assert_eq!(ctl.failed(&["check_protocol_listener", "mqtt"]).await.0, 69);
}

/// A password that is not on the command line is read from the standard input.
#[tokio::test]
async fn passwords_come_from_the_standard_input() {
    let ctl = Ctl::start(builder()).await;
    let added = ctl.run_with(&["add_user", "u"], "s3cret word\n").await;
    assert_eq!(added.code, Some(0), "{added:?}");
    assert!(added.stdout.starts_with("Adding user \"u\" ...\nPassword: \nDone."), "{added:?}");
    ctl.said(&["authenticate_user", "u", "s3cret word"]).await;
    assert_eq!(ctl.run_with(&["authenticate_user", "u"], "other\n").await.code, Some(65));
    let none = ctl.run_with(&["change_password", "u"], "").await;
    assert_eq!(none.code, Some(70));
    assert!(none.stderr.contains("Password is not provided via argument or stdin"), "{none:?}");
    let hashed = ctl.run_with(&["hash_password"], "s3cret word\n").await;
    let hash = hashed.stdout.lines().last().expect("a hash").to_owned();
    assert!(!hashed.stdout.contains("s3cret"), "{hashed:?}");
    ctl.said(&["add_user", "h", &hash, "--pre-hashed-password"]).await;
    ctl.said(&["authenticate_user", "h", "s3cret word"]).await;
}

/// Over HTTP a login is needed, and its user may do what it may.
#[tokio::test]
async fn over_http_a_login_is_needed() {
    let ctl = Ctl::start(builder().http("127.0.0.1:0")).await;
    ctl.said(&["add_user", "u", "p:@ss"]).await;
    ctl.said(&["set_user_tags", "u", "management"]).await;
    let url = format!("http://{}", ctl.server.http_addr().expect("it listens"));
    let remote = async |words: &[&str], variables: &[(&str, &str)]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lepus"));
        command.arg("ctl").args(words).env_clear().env("LEPUS_URL", &url).envs(variables.iter().copied());
        end(command, "").await
    };
    assert_eq!(remote(&["list_users", "-s"], &[]).await.stdout, "guest\t[administrator]\nu\t[management]\n");
    let wrong = remote(&["list_users", "-s"], &[("LEPUS_PASSWORD", "wrong")]).await;
    assert_eq!((wrong.code, wrong.stderr.trim_end()), (Some(69), "Error:\nNot_Authorized"));
    let login = [("LEPUS_USERNAME", "u"), ("LEPUS_PASSWORD", "p:@ss")];
    let less = remote(&["list_users", "-s"], &login).await;
    assert_eq!((less.code, less.stderr.trim_end()), (Some(69), "Error:\nNot administrator user"));
    let url_login = format!("http://u:p%3A%40ss@{}", ctl.server.http_addr().expect("it listens"));
    assert_eq!(remote(&["list_vhosts", "-s", "--url", &url_login], &[]).await.stdout, "");
    let far = remote(&["stop"], &[]).await;
    assert_eq!(far.code, Some(69));
    assert!(far.stderr.contains("on its own machine only"), "{far:?}");
    assert_eq!(remote(&["list_users", "--url", "http://127.0.0.1:1"], &[]).await.code, Some(69));
}

/// FEATURES 5.9: in TLS the broker must show a certificate for its host, of an authority that the system or the command
/// line names, unless that is given up; it may ask for one itself.
#[tokio::test]
async fn over_https_certificates_are_checked() {
    let papers = Papers::new();
    let options = TlsOptions { verify_peer: true, ..papers.options.clone() };
    let ctl = Ctl::start(builder().https("127.0.0.1:0").tls(options)).await;
    let port = ctl.server.https_addrs()[0].port();
    let authority = papers.directory.join("authority.pem");
    let authority = authority.to_str().expect("text");
    let (certificate, key) = papers.issue("client", &["hare"]);
    let shown = ["--tls-cert-file", certificate.to_str().expect("text"), "--tls-key-file", key.to_str().expect("text")];
    let remote = async |host: &str, words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lepus"));
        command.args(["ctl", "list_vhosts", "-s", "--url", &format!("https://{host}:{port}")]).args(words).env_clear();
        end(command, "").await
    };
    for words in [
        &["--tls-ca-cert-file", authority][..],
        &["--insecure"],
        &["-k"],
        &[&["--tls-ca-cert-file", authority][..], &shown].concat(),
    ] {
        let ended = remote("localhost", words).await;
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), "/\n"), "{words:?}: {}", ended.stderr);
    }
    // Nobody here knows the authority; the certificate is for another host.
    for (host, words) in [("localhost", &[][..]), ("127.0.0.1", &["--tls-ca-cert-file", authority])] {
        let ended = remote(host, words).await;
        assert_eq!(ended.code, Some(69), "{ended:?}");
        assert!(ended.stderr.contains("invalid peer certificate"), "{ended:?}");
    }
    assert_eq!(remote("127.0.0.1", &["-k"]).await.code, Some(0));
    // A certificate of one's own that is of no use, half of one, an authority that there is not.
    let strangers = Papers::new();
    let (certificate, key) = strangers.issue("client", &["hare"]);
    let (certificate, key) = (certificate.to_str().expect("text"), key.to_str().expect("text"));
    let shown = ["-k", "--tls-cert-file", certificate, "--tls-key-file", key];
    assert_eq!(remote("localhost", &shown).await.code, Some(69));
    assert_eq!(remote("localhost", &shown[..3]).await.code, Some(65));
    let ended = remote("localhost", &["--tls-ca-cert-file", "/nowhere.pem"]).await;
    assert_eq!(ended.code, Some(65));
    assert!(ended.stderr.contains("cannot use /nowhere.pem"), "{ended:?}");
    // Without TLS at the other end.
    let plain = builder().http("127.0.0.1:0").start().await.expect("it starts");
    let url = format!("https://localhost:{}", plain.http_addr().expect("it listens").port());
    let mut command = Command::new(env!("CARGO_BIN_EXE_lepus"));
    command.args(["ctl", "ping", "-k", "--url", &url]).env_clear();
    assert_eq!(end(command, "").await.code, Some(69));
}

/// `management.path_prefix` stands in the URL; the socket has none.
#[tokio::test]
async fn below_a_prefix() {
    let mut options = lepus::server::Options::default();
    options.storage = Some(lepus::server::Storage::Memory);
    options.http = vec!["127.0.0.1:0".into()];
    options.http_path_prefix = "/rabbit".into();
    let ctl = Ctl::start(Server::with_options(options)).await;
    assert_eq!(ctl.said(&["list_vhosts", "-s"]).await, "/\n");
    let address = ctl.server.http_addr().expect("it listens");
    for (prefix, code) in [("/rabbit", 0), ("/rabbit/", 0), ("", 69), ("/hare", 69)] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lepus"));
        command.args(["ctl", "list_users", "--url", &format!("http://{address}{prefix}")]).env_clear();
        let ended = end(command, "").await;
        assert_eq!(ended.code, Some(code), "{prefix}: {ended:?}");
    }
}

/// The socket is the broker's user's own, and goes when the broker stops.
#[tokio::test]
async fn the_local_socket_is_for_one_user() {
    let ctl = Ctl::start(builder()).await;
    let socket = ctl.socket().to_owned();
    let mode = std::fs::metadata(&socket).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(ctl.json(&["list_users"]).await, json!([{"user": "guest", "tags": ["administrator"]}]));
    let Ctl { server, place, .. } = ctl;
    within(server.shutdown()).await;
    assert!(!socket.exists());
    let mut command = Command::new(env!("CARGO_BIN_EXE_lepus"));
    command.args(["ctl", "ping", "--data-dir"]).arg(&place.0).env_clear();
    let ended = end(command, "").await;
    assert_eq!(ended.code, Some(69));
    assert!(
        ended.stderr.starts_with(&format!("Error: unable to reach the broker at {}", socket.display())),
        "{ended:?}"
    );
}

/// What a killed broker leaves is replaced; what is no socket is left alone, and the broker does without.
#[tokio::test]
async fn a_stale_socket_is_replaced() {
    let place = Place::new();
    let socket = place.0.join("lepus.sock");
    let start = || Lepus::start(&["--data-dir", place.0.to_str().expect("text")]);
    let ping = async || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lepus"));
        command.args(["ctl", "ping", "--data-dir"]).arg(&place.0).env_clear();
        end(command, "").await.code
    };
    let lepus = start();
    assert_eq!(ping().await, Some(0));
    // Killed.
    drop(lepus);
    assert!(socket.exists());
    assert_eq!(ping().await, Some(69));
    let lepus = start();
    assert_eq!(ping().await, Some(0));
    // In order, from here.
    let mut command = Command::new(env!("CARGO_BIN_EXE_lepus"));
    command.args(["ctl", "shutdown", "--data-dir"]).arg(&place.0).env_clear();
    let ended = end(command, "").await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stdout.contains("successfully shut down"), "{ended:?}");
    let (status, _) = lepus.wait();
    assert_eq!(status.code(), Some(0));
    assert!(!socket.exists());

    std::fs::write(&socket, "mine").expect("written");
    let lepus = start();
    assert_eq!(ping().await, Some(69));
    drop(lepus);
    assert_eq!(std::fs::read_to_string(&socket).expect("it is there"), "mine");
}

#[tokio::test]
async fn shells_complete_its_commands() {
    for shell in ["bash", "zsh", "fish"] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lepus"));
        command.args(["completion", shell]).env_clear();
        let ended = end(command, "").await;
        assert_eq!(ended.code, Some(0));
        assert!(ended.stdout.contains("list_unresponsive_queues"), "{shell}");
    }
    let ctl = Ctl::start(builder()).await;
    assert_eq!(ctl.said(&["autocomplete", "list_q"]).await, "list_queues\n");
    assert!(ctl.said(&["help", "add_user"]).await.contains("add_user <username> [<password>]"));
    assert!(ctl.said(&["help"]).await.contains("Available commands:"));
}
