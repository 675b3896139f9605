//! Users of a directory (FEATURES US-9, section 5.8): who may log in, with which tags, and what its queries let do.

use lepus::{Server, ServerBuilder, config};

use crate::common::http::Http;
use crate::common::ldap::{Directory, Entry};
use crate::common::papers::Papers;
use crate::common::raw::{self, Args, Close, Raw, id};
use crate::common::{ChannelExt, Client, args, eventually, options_of, within};

const HARE: &str = "cn=hare,ou=people,dc=field";
const MOLE: &str = "cn=mole,ou=people,dc=field";
const READER: &str = "cn=reader,dc=field";

/// A field with two users, a group that the hare is in, one that this is in, and one that both are in.
async fn field() -> Directory {
    Directory::start(entries(), passwords()).await
}

fn entries() -> Vec<Entry> {
    vec![
        (HARE, vec![("uid", vec!["h1"]), ("description", vec!["^a", "^fast"]), ("mail", vec!["hare@field"])]),
        (MOLE, vec![("uid", vec!["m1"])]),
        ("cn=runners,ou=groups,dc=field", vec![("member", vec![HARE])]),
        ("cn=movers,ou=groups,dc=field", vec![("member", vec!["cn=runners,ou=groups,dc=field"])]),
        ("cn=animals,ou=groups,dc=field", vec![("uniqueMember", vec![HARE, MOLE])]),
        ("ou=vhosts,dc=field", vec![]),
        ("ou=/,ou=vhosts,dc=field", vec![]),
    ]
}

fn passwords() -> Vec<(&'static str, &'static str)> {
    vec![(HARE, "carrot"), (MOLE, "worm"), (READER, "spectacles"), ("hare@field", "carrot")]
}

/// A broker that asks this directory, with these lines of `rabbitmq.conf` more.
fn asks(directory: &Directory, more: &str) -> ServerBuilder {
    let port = directory.address.port();
    let text = format!(
        "auth_backends.1 = ldap\nauth_ldap.servers.1 = localhost\nauth_ldap.port = {port}\n\
         auth_ldap.user_dn_pattern = cn=${{username}},ou=people,dc=field\n{more}"
    );
    let mut options = options_of(&text);
    options.amqp = vec!["127.0.0.1:0".into()];
    options.http = vec!["127.0.0.1:0".into()];
    Server::with_options(options)
}

async fn start(directory: &Directory, more: &str) -> Server {
    asks(directory, more).start().await.expect("the broker starts")
}

async fn open(server: &Server, user: &str, password: &str) -> lapin::Result<Client> {
    within(Client::open(&format!("amqp://{user}:{password}@{}/%2f", server.amqp_addr()))).await
}

async fn tags(server: &Server, login: &str) -> Option<String> {
    let whoami = Http::new(server.http_addr().expect("it listens"), login).get("whoami").await;
    (whoami.status == 200).then(|| whoami.json["tags"].to_string())
}

/// A password is right if the directory says so; one that is empty is not, though directories take it for no login.
#[tokio::test]
async fn a_password_is_asked_of_the_directory() {
    let directory = field().await;
    let server = start(&directory, "").await;
    let client = open(&server, "hare", "carrot").await.expect("a login");
    client.queue("q").await;
    assert_eq!(directory.binds()[0], HARE);
    for (user, password) in [("hare", "worm"), ("nobody", "carrot"), ("hare", ""), ("", "carrot"), ("", "")] {
        let mut raw = Raw::connect(server.amqp_addr()).await;
        raw.send(b"AMQP\x00\x00\x09\x01").await;
        raw.expect(0, id::START).await;
        let capabilities = Args::new().field("authentication_failure_close", b't', &[1]);
        raw.start_ok(capabilities, b"PLAIN", format!("\0{user}\0{password}").as_bytes()).await;
        assert_eq!(raw.close_method(0, id::CLOSE).await.code, 403, "{user} {password}");
    }
    assert_eq!(directory.binds(), [format!("-{HARE}"), "-cn=nobody,ou=people,dc=field".to_owned()]);
    // No name is more than a name.
    assert!(open(&server, "hare%2Cou%3Dpeople%2Cdc%3Dfield%2Bx%3D", "carrot").await.is_err());
    assert_eq!(directory.binds(), ["-cn=hare\\,ou\\=people\\,dc\\=field\\+x\\=,ou=people,dc=field"]);
}

/// Tags are those whose query says yes; groups count directly, by another attribute, and as groups of groups.
#[tokio::test]
async fn groups_give_tags() {
    let directory = field().await;
    let more = r#"auth_ldap.group_lookup_base = ou=groups,dc=field
auth_ldap.queries.tags = [{administrator, {in_group, "cn=runners,ou=groups,dc=field"}}, {management, {in_group, "cn=animals,ou=groups,dc=field", "uniqueMember"}}, {swift, {in_group_nested, "cn=movers, ou=groups, dc=field"}}, {slow, {'not', {in_group_nested, "cn=movers,ou=groups,dc=field", "member", singlelevel}}}]
"#;
    let server = start(&directory, more).await;
    assert_eq!(tags(&server, "hare:carrot").await.as_deref(), Some(r#"["administrator","management","swift"]"#));
    assert_eq!(tags(&server, "mole:worm").await.as_deref(), Some(r#"["management","slow"]"#));
    assert_eq!(tags(&server, "mole:carrot").await, None);
}

/// What may be done is asked as somebody else, if that is set; each query has its names.
#[tokio::test]
async fn queries_say_what_may_be_done() {
    let directory = field().await;
    let more = r#"auth_ldap.other_bind.user_dn = cn=reader,dc=field
auth_ldap.other_bind.password = spectacles
auth_ldap.queries.vhost_access = {'and', [{exists, "ou=${vhost},ou=vhosts,dc=field"}, {'not', {equals, "${username}", "mole"}}]}
auth_ldap.queries.resource_access = {for, [{permission, configure, {in_group, "cn=runners,ou=groups,dc=field"}}, {permission, write, {match, {string, "${name}"}, {attribute, "${user_dn}", "description"}}}, {permission, read, {'or', [{constant, false}, {equals, {attribute, "${user_dn}", "uid"}, "h1"}]}}]}
auth_ldap.queries.topic_access = {match, "${routing_key}", "^${username}"}
"#;
    let server = start(&directory, more).await;
    assert!(open(&server, "mole", "worm").await.is_err());
    let client = open(&server, "hare", "carrot").await.expect("a login");
    client.queue("q").await;
    client.queue("another").await;
    let mut raw = Raw::connect(server.amqp_addr()).await;
    raw.login_as(b"\0hare\0carrot").await;
    raw.channel(1).await;
    let refused = |text: &str, method| Close {
        code: 403,
        text: format!("ACCESS_REFUSED - {text} refused for user 'hare'"),
        method,
    };
    raw.send(&raw::publish(1, "amq.topic", "hare.jumps", b"x")).await;
    raw.expect_alive(1).await;
    raw.send(&raw::publish(1, "amq.topic", "mole.digs", b"x")).await;
    let text = "write access to topic 'mole.digs' in exchange 'amq.topic' in vhost '/'";
    assert_eq!(raw.expect_channel_close(1).await, refused(text, id::PUBLISH));
    raw.channel(1).await;
    raw.method(1, id::EXCHANGE_DECLARE, args::exchange_declare("x", "fanout", 0)).await;
    raw.expect(1, id::EXCHANGE_DECLARE_OK).await;
    raw.send(&raw::publish(1, "x", "", b"x")).await;
    let text = "write access to exchange 'x' in vhost '/'";
    assert_eq!(raw.expect_channel_close(1).await, refused(text, id::PUBLISH));
    let binds = directory.binds();
    // Each of three logins looks for tags; all questions go over one more connection.
    assert_eq!(binds.iter().filter(|dn| *dn == READER).count(), 4, "{binds:?}");
    assert_eq!(binds.iter().filter(|dn| *dn == HARE).count(), 2, "{binds:?}");
    server.broker().add_vhost("hole");
    let elsewhere = Client::open(&format!("amqp://hare:carrot@{}/hole", server.amqp_addr())).await;
    assert!(elsewhere.is_err());
}

/// `idle_timeout`: a connection is kept for the next question, until it was idle for so long. One that the directory has
/// closed meanwhile is opened again.
#[tokio::test]
async fn questions_go_over_connections_that_are_kept() {
    let directory = field().await;
    let asking = "auth_ldap.queries.resource_access = {exists, \"ou=vhosts,dc=field\"}\n";
    let as_reader = "auth_ldap.other_bind.user_dn = cn=reader,dc=field\nauth_ldap.other_bind.password = spectacles\n";
    let server = start(&directory, &format!("{asking}{as_reader}")).await;
    let client = open(&server, "hare", "carrot").await.expect("a login");
    directory.binds();
    for queue in ["a", "b", "c"] {
        client.queue(queue).await;
    }
    assert_eq!((directory.binds(), directory.searches().len()), (vec![READER.to_owned()], 3));
    eventually("the login's is closed", async || (directory.connections() == 1).then_some(())).await;
    directory.hang_up();
    client.queue("d").await;
    assert_eq!(directory.binds(), [READER]);

    // As the user the directory is asked on them, too.
    let server = start(&directory, asking).await;
    let client = open(&server, "hare", "carrot").await.expect("a login");
    directory.binds();
    for queue in ["a", "b"] {
        client.queue(queue).await;
    }
    assert_eq!(directory.binds(), [HARE, HARE]);
    eventually("one of each broker is kept", async || (directory.connections() == 2).then_some(())).await;

    let server = start(&directory, &format!("{asking}{as_reader}auth_ldap.idle_timeout = 0\n")).await;
    let client = open(&server, "hare", "carrot").await.expect("a login");
    directory.binds();
    for queue in ["a", "b"] {
        client.queue(queue).await;
    }
    assert_eq!(directory.binds(), [READER, READER]);
    let server = start(&directory, &format!("{asking}{as_reader}auth_ldap.idle_timeout = 100\n")).await;
    let client = open(&server, "hare", "carrot").await.expect("a login");
    client.queue("a").await;
    eventually("it was idle for too long", async || (directory.connections() == 2).then_some(())).await;
}

/// The DN is looked up by an attribute, as somebody else before the login, or as the user after it.
#[tokio::test]
async fn a_dn_is_looked_up() {
    let directory = field().await;
    let lookup = "auth_ldap.dn_lookup_attribute = uid\nauth_ldap.dn_lookup_base = ou=people,dc=field\n";
    let as_reader =
        "auth_ldap.dn_lookup_bind.user_dn = cn=reader,dc=field\nauth_ldap.dn_lookup_bind.password = spectacles\n";
    let server = start(&directory, &format!("{lookup}{as_reader}")).await;
    open(&server, "h1", "carrot").await.expect("a login").close().await;
    assert_eq!(directory.binds()[..2], [READER, HARE]);
    assert!(open(&server, "h1", "worm").await.is_err());
    assert_eq!(directory.binds().last(), Some(&format!("-{HARE}")));

    let by_mail = "auth_ldap.user_bind_pattern = ${username}@field\nauth_ldap.dn_lookup_attribute = mail\n\
                   auth_ldap.dn_lookup_base = dc=field\nauth_ldap.queries.tags = [{management, {equals, \"${user_dn}\", \
                   \"cn=hare,ou=people,dc=field\"}}]\n";
    // The attribute has the whole address, the user is the part before it: nobody is found, and the pattern counts.
    let server = start(&directory, by_mail).await;
    assert_eq!(tags(&server, "hare:carrot").await.as_deref(), Some(r#"["management"]"#));
    assert_eq!(directory.binds(), ["hare@field"]);
}

/// `auth_cache.cached_backend = ldap`: a login and an answer are good for a while, and for nobody else.
#[tokio::test]
async fn answers_are_remembered() {
    let directory = field().await;
    let more = "auth_backends.1 = cache\nauth_cache.cached_backend = ldap\nauth_cache.cache_ttl = 60000\n\
                auth_ldap.queries.vhost_access = {exists, \"ou=vhosts,dc=field\"}\n";
    let server = start(&directory, more).await;
    open(&server, "hare", "carrot").await.expect("a login").close().await;
    assert!(!directory.binds().is_empty() && !directory.searches().is_empty());
    open(&server, "hare", "carrot").await.expect("a login").close().await;
    assert_eq!((directory.binds(), directory.searches()), (vec![], vec![]));
    assert!(open(&server, "hare", "worm").await.is_err());
    assert!(open(&server, "mole", "carrot").await.is_err());
    assert_eq!(directory.binds(), [format!("-{HARE}"), format!("-{MOLE}")]);
}

/// A directory that is not there, or does not speak LDAP, lets nobody in; another one is asked if there is one, and the next
/// backend.
#[tokio::test]
async fn a_directory_that_does_not_answer_lets_nobody_in() {
    let directory = field().await;
    let port = {
        let closed = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        closed.local_addr().expect("bound").port()
    };
    let elsewhere = format!("auth_ldap.port = {port}\n");
    let server = start(&directory, &elsewhere).await;
    assert!(open(&server, "hare", "carrot").await.is_err());
    let server = start(&directory, &format!("{elsewhere}auth_backends.2 = internal\n")).await;
    open(&server, "guest", "guest").await.expect("a login").close().await;
    // What answers is a broker.
    let other = crate::common::start().await;
    let server = start(&directory, &format!("auth_ldap.port = {}\n", other.amqp_addr().port())).await;
    assert!(open(&server, "hare", "carrot").await.is_err());
    let server = start(&directory, "auth_ldap.servers.1 = nowhere.invalid\nauth_ldap.servers.2 = localhost\n").await;
    open(&server, "hare", "carrot").await.expect("a login").close().await;
}

/// `use_ssl`, `use_starttls`: no password goes to a directory whose certificate is not known.
#[tokio::test]
async fn in_tls_certificates_are_checked() {
    let papers = Papers::new();
    let authorities = papers.directory.join("authority.pem");
    for (setting, is_ldaps) in [("use_ssl", true), ("use_starttls", false)] {
        let directory = Directory::start_with(entries(), passwords(), Some(&papers), is_ldaps).await;
        let trusting =
            format!("auth_ldap.{setting} = true\nauth_ldap.ssl_options.cacertfile = {}\n", authorities.display());
        let server = start(&directory, &trusting).await;
        open(&server, "hare", "carrot").await.expect("a login").close().await;
        assert_eq!(directory.binds()[0], HARE);
        let server = start(&directory, &format!("auth_ldap.{setting} = true\n")).await;
        assert!(open(&server, "hare", "carrot").await.is_err());
        assert_eq!(directory.binds(), [""; 0], "{setting}");
    }
}

/// Settings that would keep nobody out are errors.
#[tokio::test]
async fn settings_are_checked() {
    let directory = field().await;
    let half = asks(&directory, "auth_ldap.other_bind.user_dn = cn=reader,dc=field\n").start().await;
    assert!(half.unwrap_err().to_string().contains("auth_ldap.other_bind"));
    let apply = |text: &str| {
        let path = std::env::temp_dir().join(format!("lepus-{:x}.conf", rand::random::<u64>()));
        std::fs::write(&path, text).unwrap();
        let settings = config::conf::read(&path, |_| None).unwrap();
        std::fs::remove_file(path).unwrap();
        config::keys::apply(&mut lepus::server::Options::default(), &settings).map(drop)
    };
    for bad in [
        "auth_ldap.queries.vhost_access = {in_grup, \"cn=a\"}",
        "auth_ldap.queries.tags = {constant, true}",
        "auth_ldap.user_dn_patern = cn=a",
        "auth_ldap.port = many",
        "auth_ldap.connection_pool_size = 0",
        "auth_ldap.idle_timeout = long",
        "auth_ldap.other_bind = somebody",
    ] {
        assert!(apply(bad).is_err(), "{bad}");
    }
    assert!(apply("auth_ldap.log = true\nauth_ldap.timeout = infinity\nauth_ldap.idle_timeout = infinity\nauth_ldap.servers = none\n").is_ok());
    let none = Server::builder().in_memory().amqp("127.0.0.1:0");
    let mut options = lepus::server::Options::default();
    options.auth_backends.chain = vec![lepus::auth_backends::Entry::both(lepus::auth_backends::Kind::Ldap)];
    assert!(none.auth_backends(options.auth_backends).start().await.is_err());
}
