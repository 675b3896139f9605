//! The HTTP backend: what the service is asked, what its answers mean, and that one that takes its time holds up nobody
//! who does not wait for it.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lapin::ExchangeKind;
use lepus::auth::{Auth, Authority, Origin, Question, Refused, Resource, Right, Secret, User};
use lepus::auth_backends::{CacheOptions, Chain, Entry, HttpOptions, Kind, Method, Options};
use lepus::{Server, auth_backends};
use serde_json::json;
use tokio::sync::watch;

use crate::common::http::Http;
use crate::common::raw::{self, Args, Close, Raw, id};
use crate::common::service::{Asked, Said, Service};
use crate::common::{Broken, ChannelExt, args, builder, connect, connect_as, eventually, within};

/// Everybody may do everything.
fn yes(_: &Asked) -> Said {
    "allow".into()
}

fn http_options(service: &Service) -> HttpOptions {
    HttpOptions {
        user_path: service.url("/user"),
        vhost_path: service.url("/vhost"),
        resource_path: service.url("/resource"),
        topic_path: service.url("/topic"),
        ..HttpOptions::default()
    }
}

fn options(service: &Service) -> Options {
    let chain = vec![Entry::both(Kind::Internal), Entry::both(Kind::Http)];
    Options { chain, http: http_options(service), ..Options::default() }
}

async fn server(options: Options) -> Server {
    builder().auth_backends(options).http("127.0.0.1:0").start().await.expect("the broker starts")
}

/// A raw connection of `app` with channel 1 open.
async fn app(server: &Server) -> Raw {
    let mut raw = Raw::connect(server.amqp_addr()).await;
    raw.login_as(b"\0app\0secret").await;
    raw.channel(1).await;
    raw
}

/// A login that must fail: what the client is told.
async fn refused_login(server: &Server, password: &str) -> Close {
    let mut raw = Raw::connect(server.amqp_addr()).await;
    raw.send(b"AMQP\x00\x00\x09\x01").await;
    raw.expect(0, id::START).await;
    let capabilities = Args::new().field("authentication_failure_close", b't', &[1]);
    raw.start_ok(capabilities, b"PLAIN", format!("\0app\0{password}").as_bytes()).await;
    raw.close_method(0, id::CLOSE).await
}

fn login_close() -> Close {
    let text = "ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN. For details see the broker \
                logfile.";
    Close { code: 403, text: text.to_owned(), method: (0, 0) }
}

fn pairs(asked: &Asked) -> Vec<(&str, &str)> {
    asked.parameters.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

/// FEATURES US-9: parameters and their order are RabbitMQ's.
#[tokio::test]
async fn the_service_is_asked_as_rabbitmq_asks_it() {
    let service =
        Service::start(|asked| if asked.path == "/user" { "allow management".into() } else { yes(asked) }).await;
    let server = server(options(&service)).await;
    let app = connect_as(&server, "app", "s%20e%26c", "%2f").await.expect("it may");
    app.queue("q u").await;
    app.exchange("t", ExchangeKind::Topic).await;
    app.bind("q u", "t", "a.*").await;
    app.confirms().await;
    app.publish_confirmed("t", "a.b", b"x").await;
    let asked = service.take_asked();
    let asked: Vec<_> = asked.iter().map(|asked| (asked.method.as_str(), asked.path.as_str(), pairs(asked))).collect();
    let resource = |kind, name, permission| {
        let rest = [("vhost", "/"), ("resource", kind), ("name", name), ("permission", permission)];
        ("GET", "/resource", [&[("username", "app")][..], &rest, &[("tags", "management")]].concat())
    };
    let topic = |permission, key| {
        let rest = [("vhost", "/"), ("resource", "topic"), ("name", "t"), ("permission", permission)];
        let more = [("tags", "management"), ("routing_key", key)];
        let variables = [("variable_map.username", "app"), ("variable_map.vhost", "/")];
        ("GET", "/topic", [&[("username", "app")][..], &rest, &more, &variables].concat())
    };
    let expected = [
        ("GET", "/user", vec![("username", "app"), ("password", "s e&c")]),
        ("GET", "/vhost", vec![("username", "app"), ("vhost", "/"), ("ip", "127.0.0.1"), ("tags", "management")]),
        resource("queue", "q u", "configure"),
        resource("exchange", "t", "configure"),
        resource("queue", "q u", "write"),
        resource("exchange", "t", "read"),
        topic("read", "a.*"),
        resource("exchange", "t", "write"),
        topic("write", "a.b"),
    ];
    assert_eq!(asked, expected);
}

/// FEATURES US-9.
#[tokio::test]
async fn it_can_be_asked_with_forms() {
    let service = Service::start(yes).await;
    let http = HttpOptions { method: Method::Post, ..http_options(&service) };
    let server = server(Options { http, ..options(&service) }).await;
    let mut app = app(&server).await;
    app.call(1, id::QUEUE_DECLARE, args::queue_declare("q", 0), id::QUEUE_DECLARE_OK).await;
    let asked = service.take_asked();
    assert!(asked.iter().all(|asked| asked.method == "POST"), "{asked:?}");
    assert_eq!(asked[0].get("password"), "secret");
    assert_eq!(asked[2].get("name"), "q");
}

/// FEATURES US-9: whatever is no yes is a no, told like a wrong password.
#[tokio::test]
async fn what_is_no_yes_is_a_no() {
    let service = Service::start(yes).await;
    let server = server(options(&service)).await;
    let answers = [
        Said::from("deny"),
        "deny it is Sunday".into(),
        "Deny".into(),
        "".into(),
        "allowed".into(),
        "<html>allow</html>".into(),
        Said::Status(500, "allow".to_owned()),
        Said::Status(302, "allow".to_owned()),
        Said::Status(404, String::new()),
        Said::Text("allow ".repeat(20_000)),
    ];
    for answer in answers {
        let said = answer.clone();
        service.say(move |_| said.clone());
        assert_eq!(refused_login(&server, "secret").await, login_close(), "{answer:?}");
    }
    service.say(|_| Said::Status(201, "ALLOW\n".to_owned()));
    app(&server).await;
    let gone = service.url("/");
    drop(service);
    assert_eq!(refused_login(&server, "secret").await, login_close(), "{gone}");
}

/// FEATURES US-9, HS-11, EH-6, EH-7: refusals name what was refused, and close what RabbitMQ closes.
#[tokio::test]
async fn refusals_are_those_of_rabbitmq() {
    let service = Service::start(yes).await;
    let server = server(options(&service)).await;
    connect(&server).await.exchange("t", ExchangeKind::Topic).await;

    service.say(|asked| if asked.path == "/vhost" { "deny not yours".into() } else { "allow".into() });
    let error = connect_as(&server, "app", "secret", "%2f").await.err().expect("refused");
    let text = "NOT_ALLOWED - access to vhost '/' refused for user 'app'".to_owned();
    assert_eq!(Broken::of(&error), Broken { code: 530, text });
    service.say(|asked| if asked.path == "/vhost" { Said::Status(503, "?".into()) } else { "allow".into() });
    let error = connect_as(&server, "app", "secret", "%2f").await.err().expect("refused");
    let text = "NOT_ALLOWED - access to vhost '/' refused for user 'app', backend rabbit_auth_backend_http returned an \
                error: status 503";
    assert_eq!(Broken::of(&error), Broken { code: 530, text: text.to_owned() });
    service.take_asked();
    let error = connect_as(&server, "app", "secret", "nowhere").await.err().expect("refused");
    assert_eq!(Broken::of(&error).text, "NOT_ALLOWED - vhost nowhere not found");
    assert_eq!(service.asked_on("/vhost"), 0, "there is nothing to ask about");

    service.say(|asked| match (asked.path.as_str(), asked.get("name"), asked.get("routing_key")) {
        ("/topic", _, key) if key != "good" => "deny".into(),
        ("/resource", "q", _) => "deny so it is".into(),
        _ => "allow".into(),
    });
    let mut raw = app(&server).await;
    let refused = |text: &str, method| Close { code: 403, text: format!("ACCESS_REFUSED - {text}"), method };
    raw.method(1, id::QUEUE_DECLARE, args::queue_declare("q", 0)).await;
    let text = "configure access to queue 'q' in vhost '/' refused for user 'app'";
    assert_eq!(raw.expect_channel_close(1).await, refused(text, id::QUEUE_DECLARE));
    raw.channel(1).await;
    raw.send(&raw::publish(1, "t", "good", b"x")).await;
    raw.expect_alive(1).await;
    raw.send(&raw::publish(1, "t", "bad", b"x")).await;
    let text = "write access to topic 'bad' in exchange 't' in vhost '/' refused for user 'app'";
    assert_eq!(raw.expect_channel_close(1).await, refused(text, id::PUBLISH));

    // A no is not remembered.
    service.say(yes);
    raw.channel(1).await;
    raw.call(1, id::QUEUE_DECLARE, args::queue_declare("q", 0), id::QUEUE_DECLARE_OK).await;
}

/// FEATURES US-9: `authorization_failure_disclosure`.
#[tokio::test]
async fn reasons_are_told_if_they_may_be() {
    let service = Service::start(yes).await;
    let http = HttpOptions { discloses_reasons: true, ..http_options(&service) };
    let server = server(Options { http, ..options(&service) }).await;
    service.say(|asked| if asked.get("name") == "q" { "deny It is Sunday".into() } else { "allow".into() });
    let mut raw = app(&server).await;
    raw.method(1, id::QUEUE_PURGE, args::queue_purge("q")).await;
    let text = "ACCESS_REFUSED - read access to queue 'q' in vhost '/' refused for user 'app' by backend \
                rabbit_auth_backend_http: It is Sunday";
    assert_eq!(raw.expect_channel_close(1).await.text, text);
}

/// FEATURES US-9: a yes is asked for once by a connection, so a publisher does not wait for each message.
#[tokio::test]
async fn a_yes_is_remembered_by_the_connection() {
    let service = Service::start(yes).await;
    let server = server(options(&service)).await;
    let app = connect_as(&server, "app", "secret", "%2f").await.expect("it may");
    app.queue("q").await;
    app.confirms().await;
    for _ in 0..20 {
        app.publish_confirmed("", "q", b"x").await;
    }
    for _ in 0..20 {
        app.get("q").await.expect("a message");
    }
    assert_eq!(service.asked_on("/resource"), 3, "configure, write, read");
}

/// FEATURES US-9, CH-1: while one channel waits for an answer its frames wait in their order; other channels, and other
/// connections, go on.
#[tokio::test]
async fn a_channel_waits_in_order_and_alone() {
    let (release, released) = watch::channel(false);
    let service = Service::start(move |asked| match asked.get("name") {
        "slow" => Said::Held(released.clone(), "allow".to_owned()),
        _ => "allow".into(),
    })
    .await;
    let server = server(options(&service)).await;
    let guest = connect(&server).await;
    guest.queue("q").await;
    guest.exchange("slow", ExchangeKind::Fanout).await;
    guest.bind("q", "slow", "").await;

    let mut raw = app(&server).await;
    raw.channel(2).await;
    raw.call(1, id::CONFIRM_SELECT, Args::new().octet(0), id::CONFIRM_SELECT_OK).await;
    let large = vec![b'l'; 200_000];
    let (front, back) = large.split_at(100_000);
    raw.send(&raw::publish(1, "slow", "", b"1")).await;
    raw.send(&raw::publish(1, "", "q", b"2")).await;
    raw.method(1, id::PUBLISH, args::publish("slow", "", 0)).await;
    raw.send(&raw::header(1, large.len() as u64)).await;
    raw.send(&raw::frame(raw::BODY, 1, front)).await;
    raw.call(2, id::QUEUE_DECLARE, args::queue_declare("q", 1), id::QUEUE_DECLARE_OK).await;
    assert_eq!(guest.count("q").await.0, 0, "what waits has not overtaken");
    assert_eq!(service.asked_on("/resource"), 4, "the first publish, and the three rights of the passive declare");

    release.send(true).unwrap();
    raw.send(&raw::frame(raw::BODY, 1, back)).await;
    let mut confirmed = 0;
    while confirmed < 3 {
        let ack = raw.expect(1, id::ACK).await;
        confirmed = ack.args().longlong();
    }
    let mut bodies = Vec::new();
    for _ in 0..3 {
        bodies.push(guest.get("q").await.expect("a message").data.clone());
    }
    assert_eq!(bodies, [b"1".to_vec(), b"2".to_vec(), large]);
}

/// FEATURES US-9: a whole large publish is held at the head of the channel, too, and so is a transaction's.
#[tokio::test]
async fn large_publishes_wait_whole() {
    let (release, released) = watch::channel(false);
    let service = Service::start(move |asked| match asked.get("permission") {
        "write" => Said::Held(released.clone(), "allow".to_owned()),
        _ => "allow".into(),
    })
    .await;
    let server = server(options(&service)).await;
    let guest = connect(&server).await;
    guest.queue("q").await;
    let mut raw = app(&server).await;
    raw.channel(2).await;
    raw.call(2, id::TX_SELECT, Args::new(), id::TX_SELECT_OK).await;
    let large = vec![b'x'; 120_000];
    for channel in [1, 2] {
        raw.send(&raw::publish(channel, "", "q", &large)).await;
        raw.send(&raw::publish(channel, "", "q", b"small")).await;
    }
    raw.method(2, id::TX_COMMIT, Args::new()).await;
    eventually("both channels ask", || async { (service.asked_on("/resource") == 2).then_some(()) }).await;
    release.send(true).unwrap();
    raw.expect(2, id::TX_COMMIT_OK).await;
    raw.expect_alive(1).await;
    eventually("all are there", || async { (guest.count("q").await.0 == 4).then_some(()) }).await;
}

/// FEATURES US-9: a login that waits holds up no other, and ends with the handshake's time.
#[tokio::test]
async fn a_service_that_never_answers_holds_up_nobody_else() {
    let service = Service::start(|_| Said::Never).await;
    let options = options(&service);
    let server = builder()
        .auth_backends(options)
        .handshake_timeout(Duration::from_secs(1))
        .start()
        .await
        .expect("the broker starts");
    let mut waiting = Vec::new();
    for _ in 0..20 {
        let mut raw = Raw::connect(server.amqp_addr()).await;
        raw.send(b"AMQP\x00\x00\x09\x01").await;
        raw.expect(0, id::START).await;
        raw.start_ok(Args::new(), b"PLAIN", b"\0app\0secret").await;
        waiting.push(raw);
    }
    let started = Instant::now();
    connect(&server).await.queue("q").await;
    assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
    for mut raw in waiting {
        raw.expect_end().await;
    }
}

/// FEATURES US-9: `request_timeout` ends the wait for an answer.
#[tokio::test]
async fn an_answer_that_takes_too_long_is_a_no() {
    let service = Service::start(|asked| if asked.path == "/resource" { Said::Never } else { yes(asked) }).await;
    let http = HttpOptions { request_timeout: Duration::from_millis(200), ..http_options(&service) };
    let server = server(Options { http, ..options(&service) }).await;
    let mut raw = app(&server).await;
    raw.method(1, id::QUEUE_DECLARE, args::queue_declare("q", 0)).await;
    let text = "ACCESS_REFUSED - configure access to queue 'q' in vhost '/' refused for user 'app', backend \
                rabbit_auth_backend_http returned an error: timeout";
    assert_eq!(raw.expect_channel_close(1).await.text, text);
    raw.channel(1).await;
    service.say(|_| Said::Never);
    assert_eq!(refused_login(&server, "secret").await, login_close());
}

/// FEATURES QU-1, QU-10: requests that ask more than once, or about a name that the server makes.
#[tokio::test]
async fn requests_that_ask_several_times_are_answered() {
    let service = Service::start(|asked| match (asked.get("name"), asked.get("permission")) {
        ("p", "read" | "write") => "deny".into(),
        _ => "allow".into(),
    })
    .await;
    let server = server(options(&service)).await;
    let mut raw = app(&server).await;
    let declared = raw.call(1, id::QUEUE_DECLARE, args::queue_declare("", 0), id::QUEUE_DECLARE_OK).await;
    let name = declared.args().shortstr();
    let asked = service.take_asked();
    assert_eq!(asked.iter().filter(|asked| asked.path == "/resource").count(), 1);
    assert_eq!(asked.last().unwrap().get("name"), name, "it was asked for the name that was given");

    connect(&server).await.queue("p").await;
    raw.call(1, id::QUEUE_DECLARE, args::queue_declare("p", 1), id::QUEUE_DECLARE_OK).await;
    assert_eq!(service.take_asked().len(), 3, "read, write, configure");

    let longstr = |text: &[u8]| Args::new().longstr(text).0;
    let arguments = Args::new().field("x-dead-letter-exchange", b'S', &longstr(b"dlx"));
    raw.call(1, id::QUEUE_DECLARE, args::queue_declare_with("d", 0, arguments), id::QUEUE_DECLARE_OK).await;
    assert_eq!(service.take_asked().len(), 3, "configure, read, and write on the exchange");
}

/// FEATURES US-9, RO-3: all keys of a message are asked about at once, and all of them count.
#[tokio::test]
async fn every_key_of_a_message_is_asked_about() {
    let service = Service::start(yes).await;
    let server = server(options(&service)).await;
    connect(&server).await.exchange("t", ExchangeKind::Topic).await;
    let mut raw = app(&server).await;
    // headers {CC: [k0, k1, ...]}
    let keys: Args = (0..1500).fold(Args::new(), |keys, n| keys.octet(b'S').longstr(format!("k{n}").as_bytes()));
    let array = Args::new().longstr(&keys.0).0;
    let properties = Args::new().short(0x2000).table(Args::new().field("CC", b'A', &array)).0;
    raw.send(&raw::publish_with(1, args::publish("t", "first", 0), &properties, b"x")).await;
    raw.expect_alive(1).await;
    assert_eq!(service.asked_on("/topic"), 1501);
    service.say(|asked| if asked.get("routing_key") == "z777" { "deny".into() } else { "allow".into() });
    let keys: Args = (700..800).fold(Args::new(), |keys, n| keys.octet(b'S').longstr(format!("z{n}").as_bytes()));
    let array = Args::new().longstr(&keys.0).0;
    let properties = Args::new().short(0x2000).table(Args::new().field("CC", b'A', &array)).0;
    raw.send(&raw::publish_with(1, args::publish("t", "first", 0), &properties, b"x")).await;
    let text = "ACCESS_REFUSED - write access to topic 'z777' in exchange 't' in vhost '/' refused for user 'app'";
    assert_eq!(raw.expect_channel_close(1).await.text, text);
}

/// FEATURES US-9: over TLS the service's certificate counts.
#[tokio::test]
async fn https_is_asked_if_its_certificate_is_trusted() {
    let service = Service::start_tls(yes).await;
    let trusting = |authorities| auth_backends::TlsClientOptions { authorities, ..Default::default() };
    let http = HttpOptions { tls: trusting(service.authority.clone()), ..http_options(&service) };
    app(&server(Options { http, ..options(&service) }).await).await;
    service.take_asked();

    let stranger = Service::start_tls(yes).await;
    let http = HttpOptions { tls: trusting(stranger.authority.clone()), ..http_options(&service) };
    let server_of_strangers = server(Options { http, ..options(&service) }).await;
    assert_eq!(refused_login(&server_of_strangers, "secret").await, login_close());
    assert_eq!(service.take_asked().len(), 0, "nothing was told to whom is not trusted");

    let any = auth_backends::TlsClientOptions { verify_none: true, ..Default::default() };
    let http = HttpOptions { tls: any, ..http_options(&service) };
    app(&server(Options { http, ..options(&service) }).await).await;
}

/// FEATURES US-9: the cache backend.
#[tokio::test]
async fn the_cache_asks_once_in_its_time() {
    let service =
        Service::start(|asked| if asked.get("password") == "wrong" { "deny".into() } else { yes(asked) }).await;
    let cached = |ttl_ms, refusals| {
        let cache = CacheOptions { cached: Entry::both(Kind::Http), ttl: Duration::from_millis(ttl_ms), refusals };
        Options { chain: vec![Entry::both(Kind::Cache)], cache, ..options(&service) }
    };
    let server = server(cached(60_000, false)).await;
    for _ in 0..3 {
        let mut app = app(&server).await;
        app.call(1, id::QUEUE_DECLARE, args::queue_declare("q", 0), id::QUEUE_DECLARE_OK).await;
    }
    assert_eq!((service.asked_on("/user"), service.asked_on("/vhost"), service.asked_on("/resource")), (1, 1, 1));
    for asked_by_now in [2, 3] {
        assert_eq!(refused_login(&server, "wrong").await, login_close());
        assert_eq!(service.asked_on("/user"), asked_by_now, "refusals are not remembered");
    }

    service.take_asked();
    let refusing = builder().auth_backends(cached(60_000, true)).start().await.expect("the broker starts");
    for _ in 0..3 {
        assert_eq!(refused_login(&refusing, "wrong").await, login_close());
    }
    assert_eq!(service.asked_on("/user"), 1, "refusals are remembered");
    app(&refusing).await;

    service.take_asked();
    let brief = builder().auth_backends(cached(1, false)).start().await.expect("the broker starts");
    eventually("what is remembered is forgotten", || async {
        app(&brief).await;
        (service.asked_on("/vhost") >= 2).then_some(())
    })
    .await;
}

fn origin(ip: &str) -> Origin {
    Origin { ip: ip.parse::<IpAddr>().unwrap() }
}

async fn log_in(chain: &Chain, auth: &Auth, name: &str, password: &str) -> Result<Arc<User>, Refused> {
    within(chain.log_in(auth, name, Some(password.as_bytes()), origin("127.0.0.1")).wait()).await
}

/// FEATURES US-9: the next backend is asked if one refuses; authn and authz may be two.
#[tokio::test]
async fn backends_are_asked_in_their_order() {
    let service = Service::start(|asked| match (asked.get("username"), asked.get("password")) {
        ("both" | "web", "web") => "allow monitoring".into(),
        ("both" | "local", _) => "allow management".into(),
        _ => "deny".into(),
    })
    .await;
    let auth = Auth::new();
    for name in ["both", "local"] {
        auth.put_user(name, Secret::Password("local"), ["administrator"]).unwrap();
    }
    let chain = |entries: &[(Kind, Kind)]| {
        let chain = entries.iter().map(|(authn, authz)| Entry { authn: *authn, authz: *authz }).collect();
        Chain::new(&Options { chain, ..options(&service) }).unwrap()
    };
    let tags = |user: Result<Arc<User>, Refused>| user.map(|user| user.tags.clone()).ok();
    let some = |tags: &[&str]| Some(tags.iter().map(|tag| (*tag).to_owned()).collect::<Vec<_>>());
    use Kind::{Dummy, Http, Internal};

    let in_turn = chain(&[(Dummy, Dummy), (Internal, Internal), (Http, Http)]);
    assert_eq!(tags(log_in(&in_turn, &auth, "both", "local").await), some(&["administrator"]));
    assert_eq!(service.take_asked().len(), 0, "the first yes counts");
    assert_eq!(tags(log_in(&in_turn, &auth, "both", "web").await), some(&["monitoring"]));
    assert_eq!(tags(log_in(&in_turn, &auth, "both", "").await), some(&["management"]));
    let refused = log_in(&in_turn, &auth, "nobody", "web").await.unwrap_err();
    assert_eq!(refused.to_string(), "user 'nobody' - Denied by the backing HTTP service");

    // Who lets the user in gives the tags; so does the internal backend when it is asked what the user may do.
    let web_then_local = chain(&[(Http, Internal)]);
    let user = log_in(&web_then_local, &auth, "both", "web").await.unwrap();
    assert_eq!(user.tags, ["administrator", "monitoring"]);
    assert!(user.authorizer().is_none(), "its permissions are the internal ones");
    assert!(log_in(&web_then_local, &auth, "web", "web").await.is_err(), "a user whom the internal backend must know");

    let local_then_web = chain(&[(Internal, Http)]);
    let user = log_in(&local_then_web, &auth, "local", "local").await.unwrap();
    assert_eq!(user.tags, ["administrator"]);
    service.take_asked();
    within(user.authorizer().expect("its permissions are the service's").admit("/", None).wait()).await.unwrap();
    assert_eq!(service.take_asked()[0].get("tags"), "administrator");
    assert!(log_in(&local_then_web, &auth, "local", "web").await.is_err());

    // A name that a certificate has proved needs no password.
    let proved = async |chain: &Chain, name: &str| within(chain.log_in(&auth, name, None, origin("::1")).wait()).await;
    service.take_asked();
    assert_eq!(tags(proved(&in_turn, "local").await), some(&["administrator"]));
    service.say(|asked| if asked.get("username") == "cert" { "allow".into() } else { "deny".into() });
    assert_eq!(tags(proved(&in_turn, "cert").await), some(&[]));
    assert_eq!(pairs(&service.take_asked()[0]), [("username", "cert")]);

    let dummy = chain(&[(Dummy, Dummy)]);
    let refused = log_in(&dummy, &auth, "both", "local").await.unwrap_err();
    assert_eq!(refused.to_string(), "user 'both' - cannot log in conventionally as dummy user");
}

/// FEATURES SA-6: `loopback_users` holds whoever lets the user in.
#[tokio::test]
async fn loopback_users_come_from_this_machine_whoever_knows_them() {
    let service = Service::start(yes).await;
    let chain = Chain::new(&options(&service)).unwrap();
    let auth = Auth::new();
    for (name, ip, is_in) in
        [("guest", "127.0.0.1", true), ("guest", "10.0.0.1", false), ("app", "10.0.0.1", true), ("guest", "::1", true)]
    {
        let answer = within(chain.log_in(&auth, name, Some(b"x"), origin(ip)).wait()).await;
        assert_eq!(answer.is_ok(), is_in, "{name} {ip}");
        if let Err(refused) = answer {
            assert_eq!(refused, Refused::Loopback { user: "guest".to_owned() });
        }
    }
    let long = "n".repeat(256);
    assert!(within(chain.log_in(&auth, &long, Some(b"x"), origin("::1")).wait()).await.is_err());
    assert!(within(chain.log_in(&auth, &long[..255], Some(b"x"), origin("::1")).wait()).await.is_ok());
}

/// FEATURES US-4, US-9: the management API asks the same backends.
#[tokio::test]
async fn the_management_api_asks_the_service() {
    let service = Service::start(|asked| match (asked.path.as_str(), asked.get("vhost"), asked.get("name")) {
        ("/user", _, _) if asked.get("username") == "plain" => "allow".into(),
        ("/user", _, _) => "allow management".into(),
        ("/vhost", "secret", _) | (_, _, "theirs") => "deny".into(),
        _ => "allow".into(),
    })
    .await;
    let server = builder()
        .auth_backends(options(&service))
        .http("127.0.0.1:0")
        .vhost("/")
        .vhost("secret")
        .start()
        .await
        .expect("the broker starts");
    let http = Http::new(server.http_addr().unwrap(), "app:secret");
    let whoami = http.get("whoami").await;
    assert_eq!((whoami.status, &whoami.json["tags"]), (200, &json!(["management"])));
    let vhosts = http.get("vhosts").await;
    let names: Vec<_> = vhosts.items().iter().map(|vhost| vhost["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["/"]);
    assert_eq!(http.put("queues/%2F/mine", &json!({"durable": true})).await.status, 201);
    let refused = http.put("queues/%2F/theirs", &json!({"durable": true})).await;
    assert_eq!((refused.status, &refused.json["reason"]), (401, &json!("Access refused.")));
    let publish = json!({"properties": {}, "routing_key": "mine", "payload": "x", "payload_encoding": "string"});
    let published = http.send("POST", "exchanges/%2F/amq.default/publish", &publish.to_string()).await;
    assert_eq!(published.json, json!({"routed": true}), "{}", published.text);
    assert_eq!(http.put("queues/secret/mine", &json!({})).await.status, 404);
    assert_eq!(http.like("plain:x").get("whoami").await.status, 401);
    assert_eq!(http.delete("queues/%2F/mine").await.status, 204);
}

/// FEATURES US-9: a question names its vhost and user, so one answer is never another's.
#[tokio::test]
async fn answers_are_not_mixed_up() {
    let service = Service::start(|asked| match (asked.path.as_str(), asked.get("username")) {
        ("/resource", "ann") => "deny".into(),
        _ => "allow".into(),
    })
    .await;
    let cache = CacheOptions { cached: Entry::both(Kind::Http), ..CacheOptions::default() };
    let chain = Chain::new(&Options { chain: vec![Entry::both(Kind::Cache)], cache, ..options(&service) }).unwrap();
    let auth = Auth::new();
    let (joe, ann) =
        (log_in(&chain, &auth, "joe", "x").await.unwrap(), log_in(&chain, &auth, "ann", "x").await.unwrap());
    let question = Question { vhost: "/".into(), right: Right::Read, resource: Resource::Queue, name: "q".to_owned() };
    for _ in 0..2 {
        assert!(joe.authorizer().unwrap().ask(&question).wait().await.is_ok());
        assert!(ann.authorizer().unwrap().ask(&question).wait().await.is_err());
    }
}
