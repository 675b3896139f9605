//! `rabbitmq.conf` and the environment, seen from outside: what is refused, and what takes effect.

use std::fs;
use std::path::PathBuf;

use lepus::management::RatesMode;
use lepus::server::{DefaultLimits, DefaultPolicy, HashingAlgorithm, PasswordRule, SocketOptions};
use lepus::{Server, ServerBuilder};
use serde_json::{Value as Json, json};

use crate::common::args;
use crate::common::child::{Lepus, command};
use crate::common::http::{Http, fetch};
use crate::common::raw::{Args, Raw, id};
use crate::common::{ChannelExt, Client, builder, connect};

/// A file of configuration that goes with the test.
struct Conf(PathBuf);

impl Conf {
    fn new(text: &str) -> Self {
        let path = std::env::temp_dir().join(format!("lepus-{:x}.conf", rand::random::<u64>()));
        fs::write(&path, text).unwrap();
        Self(path)
    }

    /// Exit code, stdout, stderr.
    fn check(&self, arguments: &[&str]) -> (Option<i32>, String, String) {
        let mut check = command(&["config", "check", "--config"]);
        let output = check.arg(&self.0).args(arguments).output().expect("the binary starts");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
        (output.status.code(), text(output.stdout), text(output.stderr))
    }
}

impl Drop for Conf {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// FEATURES 4.6: what is in force, and no secret.
#[test]
fn a_check_prints_what_is_in_force() {
    let conf = Conf::new(
        "listeners.tcp.default = 5673\ndefault_user = app\ndefault_pass = sesame\nheartbeat = 20\nmqtt.vhost = /\n\
         log.console.formatter = json\n",
    );
    let (code, stdout, stderr) = conf.check(&["--heartbeat", "30"]);
    assert_eq!(code, Some(0), "{stderr}");
    for line in [
        "listeners.tcp.1 = 5673",
        "heartbeat = 30",
        "default_users.app.password = ********",
        "log.console.formatter = json",
        "auth_mechanisms.1 = PLAIN",
    ] {
        assert!(stdout.lines().any(|own| own == line), "no {line} in {stdout}");
    }
    assert!(!stdout.contains("sesame") && !stderr.contains("sesame"));
    assert_eq!(stderr, format!("warning: {}:5: mqtt.vhost has no effect here\n", conf.0.display()));
}

/// FEATURES 4.6: an error names file, line, key and what is allowed, or the nearest key.
#[test]
fn a_check_names_what_is_wrong() {
    for (text, error) in [
        ("\nhartbeat = 3\n", ":2: unknown key 'hartbeat', did you mean 'heartbeat'?"),
        ("heartbeat = soon\n", ":1: heartbeat is 'soon', but must be seconds, up to 65535"),
        (
            "default_pass = encrypted:x\n",
            ":1: default_pass: encrypted values are not read: give the value itself, or $(VARIABLE)",
        ),
        ("frame_max = 4095\n", "frame_max is 4095, but must be at least 4096"),
        ("listeners.ssl.1 = 5671\n", "nothing says which certificate to show"),
        ("load_definitions = /nowhere.json\n", "cannot read definitions from /nowhere.json"),
        ("default_limits.vhosts.1.pattern = (\n", "the pattern of vhosts '(' is not valid"),
    ] {
        let (code, _, stderr) = Conf::new(text).check(&[]);
        assert_eq!(code, Some(78), "{text}: {stderr}");
        assert!(stderr.starts_with("lepus config check: ") && stderr.contains(error), "{stderr}");
    }
}

/// FEATURES 4.6: files of a directory in the order of their names, with variables of the environment.
#[test]
fn files_of_a_directory_come_in_order() {
    let directory = std::env::temp_dir().join(format!("lepus-conf-{:x}", rand::random::<u64>()));
    fs::create_dir(&directory).unwrap();
    fs::write(directory.join("10-first.conf"), "heartbeat = 10\ncluster_name = $(HARE)\n").unwrap();
    fs::write(directory.join("20-second.conf"), "heartbeat = 20\n").unwrap();
    fs::write(directory.join("30-other.txt"), "heartbeat = 30\n").unwrap();
    let output = command(&["config", "check"])
        .env("RABBITMQ_CONFIG_FILES", &directory)
        .env("HARE", "brown")
        .output()
        .expect("the binary starts");
    fs::remove_dir_all(directory).unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert!(stdout.contains("heartbeat = 20\n"), "{stdout}");
}

/// The documented list is the table itself.
#[test]
fn keys_are_listed() {
    let output = command(&["config", "keys"]).output().expect("the binary starts");
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert!(stdout.contains("heartbeat = seconds, up to 65535\n    offered to clients, 0 for none\n"), "{stdout}");
}

/// FEATURES 4.7: what the container image refuses.
#[test]
fn variables_of_the_container_image() {
    let output = command(&["--in-memory"]).env("RABBITMQ_DEFAULT_PASS_FILE", "/run/secret").output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr.contains("RABBITMQ_DEFAULT_PASS_FILE is set, but is not supported"), "{stderr}");
    let mut serve = command(&["--in-memory", "--amqp-listen", "127.0.0.1:0"]);
    serve.env("RABBITMQ_ERLANG_COOKIE", "sesame");
    let lepus = Lepus::spawn(serve);
    lepus.signal(rustix::process::Signal::TERM);
    let (_, log) = lepus.wait();
    assert!(log.contains("RABBITMQ_ERLANG_COOKIE has no effect here") && !log.contains("sesame"), "{log}");
}

/// FEATURES 4.7: what RabbitMQ's plugins listen on, unless a file says otherwise.
#[test]
fn plugins_of_the_environment_listen() {
    let check = |text: &str| {
        let conf = Conf::new(text);
        let mut check = command(&["config", "check", "--config"]);
        check.arg(&conf.0).env("RABBITMQ_ENABLED_PLUGINS", "rabbitmq_management,rabbitmq_prometheus,rabbitmq_mqtt");
        let output = check.output().expect("the binary starts");
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    let (stdout, stderr) = check("heartbeat = 20\n");
    assert!(stdout.contains("management.tcp.1 = 15672\n") && stdout.contains("prometheus.tcp.1 = 15692\n"), "{stdout}");
    assert_eq!(stderr, "warning: RABBITMQ_ENABLED_PLUGINS: rabbitmq_mqtt is not built in\n");
    let (stdout, _) = check("management.tcp.port = 8080\nmanagement.tcp.ip = 127.0.0.1\nprometheus.tcp.ip = ::1\n");
    assert!(stdout.contains("management.tcp.1 = 127.0.0.1:8080\n"), "{stdout}");
    assert!(stdout.contains("prometheus.tcp.1 = [::1]:15692\n") && !stdout.contains("management.tcp.2"), "{stdout}");
}

/// FEATURES 4.6: `management.path_prefix`, `.hsts.policy`, `.csp.policy`, `.cors.max_age`.
#[tokio::test]
async fn the_management_api_below_a_prefix() {
    let server = with(|options| {
        options.http = vec!["127.0.0.1:0".into()];
        options.http_path_prefix = "/rabbit".into();
        options.http_hsts = Some("max-age=31536000".into());
        options.http_rates = RatesMode::None;
        options.http_disable_stats = true;
        options.http_csp = Some("default-src 'self'".into());
    });
    let server = server.start().await.unwrap();
    let address = server.http_addr().unwrap();
    let found = fetch(address, "GET", "/rabbit/api/overview").await;
    assert_eq!(found.status, 401);
    assert_eq!(found.header("strict-transport-security").as_deref(), Some("max-age=31536000"));
    assert_eq!(found.header("content-security-policy").as_deref(), Some("default-src 'self'"));
    assert_eq!(fetch(address, "GET", "/api/overview").await.status, 404);
    let overview = Http::new(address, "guest:guest").below("/rabbit").get("overview").await.json;
    assert_eq!((&overview["rates_mode"], &overview["disable_stats"]), (&"none".into(), &true.into()));
    // Whatever leads somewhere leads below it.
    for (from, to) in
        [("/rabbit", "/rabbit/"), ("/rabbit/api", "/rabbit/api/index.html"), ("/rabbit/api/", "/rabbit/api/index.html")]
    {
        let moved = fetch(address, "GET", from).await;
        assert_eq!((moved.status, moved.header("location").as_deref()), (301, Some(to)), "{from}");
        assert_eq!(fetch(address, "GET", to).await.status, 200, "{to}");
    }
    for page in ["/rabbit/", "/rabbit/api/index.html"] {
        let text = fetch(address, "GET", page).await.text;
        let links = text.split(['\'', '"']).skip(1).step_by(2);
        assert_eq!(links.filter(|link| link.starts_with('/')).collect::<Vec<_>>(), [""; 0], "{page}");
    }
    server.shutdown().await;
}

fn with(change: impl FnOnce(&mut lepus::server::Options)) -> ServerBuilder {
    let mut options = lepus::server::Options::default();
    options.storage = Some(lepus::server::Storage::Memory);
    options.amqp = vec!["127.0.0.1:0".into()];
    change(&mut options);
    Server::with_options(options)
}

/// FEATURES US-7: `default_limits`, `default_policies.operator`, `default_queue_type`.
#[tokio::test]
async fn new_vhosts_begin_with_what_the_operator_says() {
    let server = with(|options| {
        options.http = vec!["127.0.0.1:0".into()];
        options.default_queue_type = Some("quorum".into());
        let (vhosts, connections_max) = ("^dev".to_owned(), None);
        options.default_limits = vec![DefaultLimits { vhosts, connections_max, queues_max: Some(1) }];
        options.default_policies = vec![DefaultPolicy {
            name: "short".into(),
            vhosts: "^dev".into(),
            pattern: ".*".into(),
            apply_to: "queues".into(),
            definition: vec![("max-length", 2)],
        }];
    });
    let server = server.start().await.unwrap();
    let http = Http::new(server.http_addr().unwrap(), "guest:guest");
    for vhost in ["dev-1", "live"] {
        assert_eq!(http.put(&format!("vhosts/{vhost}"), &json!({})).await.status, 201);
    }
    let limits = http.get("vhost-limits").await;
    assert_eq!(limits.items(), [json!({"vhost": "dev-1", "value": {"max-queues": 1}})]);
    let policies = http.get("operator-policies").await;
    assert_eq!(policies.items().len(), 1, "{}", policies.text);
    assert_eq!((&policies.items()[0]["vhost"], &policies.items()[0]["name"]), (&"dev-1".into(), &"short".into()));
    let uri = format!("amqp://guest:guest@{}/dev-1", server.amqp_addr());
    let client = Client::open(&uri).await.unwrap();
    let durable = lapin::options::QueueDeclareOptions { durable: true, ..Default::default() };
    client.declare("first", durable, Default::default()).await.unwrap();
    assert!(client.declare("second", durable, Default::default()).await.is_err(), "one queue is the limit");
    assert_eq!(http.get("queues/dev-1/first").await.json["type"], "quorum");
    server.shutdown().await;
}

/// What an operator has taken away from a vhost does not come back with a restart.
#[tokio::test]
async fn defaults_are_for_new_vhosts_only() {
    let directory = std::env::temp_dir().join(format!("lepus-defaults-{:x}", rand::random::<u64>()));
    let start = async || {
        let server = with(|options| {
            options.storage = Some(lepus::server::Storage::Directory(directory.clone()));
            options.log_file_bytes = 1 << 20;
            options.http = vec!["127.0.0.1:0".into()];
            let vhosts = ".*".to_owned();
            options.default_limits =
                vec![DefaultLimits { vhosts: vhosts.clone(), connections_max: None, queues_max: Some(1) }];
            options.default_policies = vec![DefaultPolicy {
                name: "short".into(),
                vhosts,
                pattern: ".*".into(),
                apply_to: "queues".into(),
                definition: vec![("max-length", 2)],
            }];
        });
        let server = server.start().await.unwrap();
        let http = Http::new(server.http_addr().unwrap(), "guest:guest");
        (server, http)
    };
    let (server, http) = start().await;
    assert_eq!(http.get("operator-policies").await.items().len(), 1);
    assert_eq!(http.delete("operator-policies/%2F/short").await.status, 204);
    assert_eq!(http.delete("vhost-limits/%2F/max-queues").await.status, 204);
    server.shutdown().await;
    let (server, http) = start().await;
    assert_eq!(
        (http.get("operator-policies").await.text, http.get("vhost-limits").await.text),
        ("[]".into(), "[]".into())
    );
    server.shutdown().await;
    fs::remove_dir_all(directory).unwrap();
}

/// FEATURES 4.6: `credential_validator`, `password_hashing_module`.
#[tokio::test]
async fn passwords_that_may_be_set() {
    let server = with(|options| {
        options.http = vec!["127.0.0.1:0".into()];
        options.password_rule = PasswordRule::MinLength(5);
        options.password_hashing = HashingAlgorithm::Sha512;
    });
    let server = server.start().await.unwrap();
    let http = Http::new(server.http_addr().unwrap(), "guest:guest");
    let put = async |password: &str| http.put("users/hare", &json!({"password": password, "tags": ""})).await;
    let refused = put("1234").await;
    assert_eq!((refused.status, &refused.json["reason"]), (400, &"minimum required password length is 5".into()));
    assert_eq!(put("12345").await.status, 201);
    let user = http.get("users/hare").await.json;
    assert_eq!(user["hashing_algorithm"], "rabbit_password_hashing_sha512");
    server.shutdown().await;
    let error = with(|options| options.password_rule = PasswordRule::MinLength(6)).start().await.unwrap_err();
    assert_eq!(error.to_string(), "cannot create user 'guest': minimum required password length is 6");
}

/// FEATURES QU-9: with the switch a client that declares a classic queue may go on with a quorum queue of that name; what
/// both types know must still agree.
#[tokio::test]
async fn a_quorum_queue_may_be_declared_as_a_classic_one() {
    for relaxed in [false, true] {
        let server = with(|options| options.relaxed_redeclares = relaxed).start().await.unwrap();
        let mut raw = Raw::open_channel(server.amqp_addr()).await;
        let arguments = |kind: &str, length: u8| {
            let kind = [&(kind.len() as u32).to_be_bytes(), kind.as_bytes()].concat();
            Args::new().field("x-queue-type", b'S', &kind).field("x-max-length", b'b', &[length])
        };
        let quorum = args::queue_declare_with("q", 2, arguments("quorum", 10));
        raw.call(1, id::QUEUE_DECLARE, quorum, id::QUEUE_DECLARE_OK).await;
        let own = arguments("classic", 10).field("x-max-priority", b'b', &[5]);
        // Durable or not, exclusive, and auto-delete.
        for (flags, arguments) in [(2, arguments("classic", 10)), (0, arguments("classic", 10)), (4 | 8, own)] {
            raw.method(1, id::QUEUE_DECLARE, args::queue_declare_with("q", flags, arguments)).await;
            if relaxed {
                raw.expect(1, id::QUEUE_DECLARE_OK).await;
            } else {
                let code = if flags & 4 == 4 { 405 } else { 406 };
                assert_eq!(raw.expect_channel_close(1).await.code, code);
                raw.channel(1).await;
            }
        }
        for (flags, arguments) in [(2, arguments("classic", 11)), (0, arguments("quorum", 10))] {
            raw.method(1, id::QUEUE_DECLARE, args::queue_declare_with("q", flags, arguments)).await;
            assert_eq!(raw.expect_channel_close(1).await.code, 406);
            raw.channel(1).await;
        }
        server.shutdown().await;
    }
}

/// FEATURES EC-12, section 4.6: `channel_max_per_node`, just below and just above.
#[tokio::test]
async fn channels_of_the_node_are_counted() {
    let server = with(|options| options.channel_max_per_node = Some(2)).start().await.unwrap();
    let mut first = Raw::open_channel(server.amqp_addr()).await;
    let mut second = Raw::open_channel(server.amqp_addr()).await;
    second.method(2, id::CHANNEL_OPEN, Args::new().shortstr(b"")).await;
    let close = second.expect_close().await;
    assert!(close.code == 530 && close.text.ends_with("has reached the maximum allowed limit of 2"), "{close:?}");
    first.method(0, id::CLOSE, Args::new().short(200).shortstr(b"").short(0).short(0)).await;
    first.expect(0, id::CLOSE_OK).await;
    Raw::open_channel(server.amqp_addr()).await;
    server.shutdown().await;
}

/// FEATURES 4.6: `tcp_listen_options`.
#[tokio::test]
async fn sockets_as_they_are_set() {
    let server = with(|options| {
        options.socket = SocketOptions {
            backlog: 8,
            nodelay: false,
            keepalive: true,
            send_buffer_bytes: Some(65_536),
            receive_buffer_bytes: Some(65_536),
            ..SocketOptions::default()
        };
    });
    let server = server.start().await.unwrap();
    let client = connect(&server).await;
    let queue = client.queue("q").await;
    client.publish("", &queue, &[7; 1_000_000]).await;
    assert_eq!(client.get(&queue).await.unwrap().delivery.data.len(), 1_000_000);
    client.close().await;
    server.shutdown().await;
}

/// FEATURES 4.6: `load_definitions` of a directory, and `definitions.skip_if_unchanged`.
#[tokio::test]
async fn unchanged_definitions_are_not_imported_again() {
    let directory = std::env::temp_dir().join(format!("lepus-defs-{:x}", rand::random::<u64>()));
    let definitions = directory.join("definitions");
    fs::create_dir_all(&definitions).unwrap();
    let vhost = |name: &str| json!({"vhosts": [{"name": name}]}).to_string();
    fs::write(definitions.join("1.json"), vhost("one")).unwrap();
    fs::write(definitions.join("2.json"), vhost("two")).unwrap();
    let start = async || {
        let server = with(|options| {
            options.storage = Some(lepus::server::Storage::Directory(directory.join("data")));
            options.log_file_bytes = 1 << 20;
            options.definitions = vec![lepus::server::Definitions::File(definitions.clone())];
            options.skip_unchanged_definitions = true;
        });
        server.start().await.unwrap()
    };
    let server = start().await;
    assert!(server.broker().vhost("one").is_some());
    server.broker().delete_vhost("one").unwrap();
    server.broker().delete_vhost("two").unwrap();
    server.shutdown().await;
    fs::write(definitions.join("2.json"), vhost("three")).unwrap();
    let server = start().await;
    let has = |name: &str| server.broker().vhost(name).is_some();
    assert_eq!([has("one"), has("two"), has("three")], [false, false, true]);
    server.shutdown().await;
    fs::remove_dir_all(directory).unwrap();
}

/// FEATURES 4.6: where the allowed mechanisms are shown.
#[tokio::test]
async fn mechanisms_are_shown() {
    let server = builder().http("127.0.0.1:0").mechanisms(&[lepus::server::Mechanism::AmqPlain]).start().await.unwrap();
    let nodes = Http::new(server.http_addr().unwrap(), "guest:guest").get("nodes").await;
    let names: Vec<&Json> =
        nodes.items()[0]["auth_mechanisms"].as_array().unwrap().iter().map(|mechanism| &mechanism["name"]).collect();
    assert_eq!(names, ["AMQPLAIN"]);
    server.shutdown().await;
}
