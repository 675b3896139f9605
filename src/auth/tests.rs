//! The backend as the rest of the broker uses it.

use super::*;

/// Whether the peer is on this machine.
const HERE: bool = true;
const ELSEWHERE: bool = false;
const NO_TAGS: [&str; 0] = [];

fn auth_with(user: &str, password: &str) -> Auth {
    let auth = Auth::new();
    auth.put_user(user, Secret::Password(password), NO_TAGS).expect("a valid user");
    auth
}

fn login(auth: &Auth, user: &str, password: &str, from_loopback: bool) -> Result<String, Refused> {
    let response = format!("\0{user}\0{password}");
    auth.authenticate(Mechanism::Plain, response.as_bytes(), from_loopback).map(|user| user.name.clone())
}

fn bad_credentials(user: &str) -> Result<String, Refused> {
    Err(Refused::BadCredentials { user: user.to_owned() })
}

fn access(auth: &Auth, user: &str, vhost: &str) -> Access {
    auth.access(user, vhost).expect("permissions are set")
}

fn user_record(json: &str) -> UserRecord {
    serde_json::from_str(json).expect("a valid record")
}

#[test]
fn the_right_password_logs_in() {
    let auth = auth_with("joe", "pw");
    assert_eq!(login(&auth, "joe", "pw", ELSEWHERE), Ok("joe".to_owned()));
    let table = b"\x05LOGINS\0\0\0\x03joe\x08PASSWORDS\0\0\0\x02pw";
    let user = auth.authenticate(Mechanism::AmqPlain, table, ELSEWHERE).expect("accepted");
    assert_eq!(user.name, "joe");
}

#[test]
fn every_other_login_is_refused() {
    let auth = auth_with("joe", "pw");
    auth.put_user("nobody", Secret::None, NO_TAGS).expect("valid");
    auth.put_user("blank", Secret::Password(""), NO_TAGS).expect("valid");
    auth.put_user("\u{fffd}", Secret::Password("pw"), NO_TAGS).expect("valid");
    for (user, password) in [
        ("joe", "PW"),
        ("joe", ""),
        ("Joe", "pw"),
        ("ann", "pw"),
        ("", ""),
        ("nobody", "x"),
        ("nobody", ""),
        ("blank", ""),
    ] {
        assert_eq!(login(&auth, user, password, HERE), bad_credentials(user), "{user} {password}");
    }
    // A name that is not UTF-8 is not the user whose name it is shown as.
    let refused = auth.authenticate(Mechanism::Plain, b"\0\xff\0pw", HERE).expect_err("refused");
    assert_eq!(refused, Refused::BadCredentials { user: "\u{fffd}".to_owned() });
    let refused = auth.authenticate(Mechanism::Plain, b"joe\0joe\0pw", HERE).expect_err("refused");
    assert_eq!(refused, Refused::Malformed);
    auth.delete_user("joe");
    assert_eq!(login(&auth, "joe", "pw", HERE), bad_credentials("joe"));
}

#[test]
fn guest_logs_in_over_loopback_only_unless_told_otherwise() {
    let auth = auth_with("guest", "guest");
    auth.put_user("joe", Secret::Password("pw"), NO_TAGS).expect("valid");
    assert_eq!(login(&auth, "guest", "guest", HERE), Ok("guest".to_owned()));
    assert_eq!(login(&auth, "guest", "guest", ELSEWHERE), Err(Refused::Loopback { user: "guest".to_owned() }));
    // A stranger with the wrong password does not learn that the name is restricted.
    assert_eq!(login(&auth, "guest", "wrong", ELSEWHERE), bad_credentials("guest"));

    auth.set_loopback_users(["joe"]);
    assert_eq!(login(&auth, "guest", "guest", ELSEWHERE), Ok("guest".to_owned()));
    assert_eq!(login(&auth, "joe", "pw", ELSEWHERE), Err(Refused::Loopback { user: "joe".to_owned() }));
    auth.set_loopback_users(NO_TAGS);
    assert_eq!(login(&auth, "joe", "pw", ELSEWHERE), Ok("joe".to_owned()));
}

#[test]
fn replacing_a_user_keeps_its_limits_and_permissions() {
    let auth = auth_with("joe", "old");
    let limits = UserLimits { max_connections: Some(3), max_channels: None };
    auth.set_user_limits("joe", limits).expect("joe exists");
    auth.set_permissions("/", "joe", "", "", "").expect("joe exists");
    auth.put_user("joe", Secret::Password("new"), ["administrator", "x"]).expect("valid");
    let user = auth.user("joe").expect("joe exists");
    assert_eq!(user.limits, limits);
    assert!(user.is_administrator() && user.has_tag("x") && !user.is_impersonator());
    assert!(auth.access("joe", "/").is_some());
    assert_eq!(login(&auth, "joe", "old", HERE), bad_credentials("joe"));
    assert_eq!(login(&auth, "joe", "new", HERE), Ok("joe".to_owned()));

    // RabbitMQ: a user put without a password has none afterwards.
    auth.put_user("joe", Secret::None, NO_TAGS).expect("valid");
    assert!(!auth.user("joe").expect("joe exists").has_password());
    assert_eq!(login(&auth, "joe", "new", HERE), bad_credentials("joe"));
}

#[test]
fn password_and_tags_change_apart() {
    let auth = auth_with("joe", "old");
    auth.set_user_tags("joe", ["impersonator"]).expect("joe exists");
    auth.set_password("joe", Secret::Password("new")).expect("joe exists");
    assert_eq!(login(&auth, "joe", "new", HERE), Ok("joe".to_owned()));
    assert!(auth.user("joe").expect("joe exists").is_impersonator());
}

#[test]
fn limits_below_zero_are_none() {
    let limits: UserLimits = serde_json::from_str(r#"{"max-connections": -1, "max-channels": 0}"#).expect("valid");
    assert_eq!((limits.connections(), limits.channels()), (None, Some(0)));
    assert_eq!((UserLimits::default().connections(), UserLimits::default().channels()), (None, None));
    assert!(serde_json::from_str::<UserLimits>(r#"{"max-queues": 1}"#).is_err());
}

#[test]
fn permissions_are_per_right_user_and_vhost() {
    let auth = auth_with("joe", "pw");
    auth.put_user("ann", Secret::None, NO_TAGS).expect("valid");
    auth.set_permissions("/", "joe", "^joe\\.", "^(joe\\.|amq\\.default$)", ".*").expect("valid");
    let joe = access(&auth, "joe", "/");
    assert!(joe.allows(Right::Configure, "joe.q") && !joe.allows(Right::Configure, "ann.q"));
    assert!(joe.allows(Right::Write, "amq.default") && !joe.allows(Right::Write, "ann.q"));
    assert!(joe.allows(Right::Read, "ann.q"));
    assert!(auth.access("joe", "other").is_none());
    assert!(auth.access("ann", "/").is_none());
    assert!(auth.access("nobody", "/").is_none());
    assert!(!Access::default().allows(Right::Read, "") && !Access::default().allows(Right::Read, "joe.q"));

    // Nothing usable is still access to the virtual host.
    auth.set_permissions("/", "joe", "", "", "").expect("valid");
    let nothing = access(&auth, "joe", "/");
    for right in [Right::Configure, Right::Write, Right::Read] {
        assert!(!nothing.allows(right, "joe.q"), "{right}");
        assert!(nothing.allows(right, ""), "{right}");
    }
    // The older snapshot has not changed.
    assert!(joe.allows(Right::Read, "ann.q"));

    assert!(auth.clear_permissions("/", "joe"));
    assert!(!auth.clear_permissions("/", "joe"));
    assert!(auth.access("joe", "/").is_none());
}

#[test]
fn bad_permissions_name_their_place() {
    let auth = auth_with("joe", "pw");
    let error = auth.set_permissions("v", "joe", ".*", "(", ".*").expect_err("not a pattern");
    let text = error.to_string();
    assert!(text.starts_with("write permission of user 'joe' in vhost 'v' is not a valid pattern: '(': "), "{text}");
    let error = auth.set_topic_permissions("v", "joe", "e", ".*", "[").expect_err("not a pattern");
    assert!(error.to_string().starts_with("read permission of user 'joe' in vhost 'v'"), "{error}");
    let ann = AuthError::NoSuchUser("ann".to_owned());
    assert_eq!(ann.to_string(), "user 'ann' does not exist");
    let unknown = Err(ann);
    assert_eq!(auth.set_permissions("v", "ann", "", "", ""), unknown);
    assert_eq!(auth.set_topic_permissions("v", "ann", "e", "", ""), unknown);
    assert_eq!(auth.set_user_limits("ann", UserLimits::default()), unknown);
    assert_eq!(auth.set_user_tags("ann", NO_TAGS), unknown);
    assert_eq!(auth.set_password("ann", Secret::None), unknown);
    assert!(auth.put_user("", Secret::None, NO_TAGS).is_err());
    assert!(auth.put_user(&"x".repeat(256), Secret::None, NO_TAGS).is_err());
    assert_eq!(auth.version(), 1, "nothing changed since joe was made");
}

#[test]
fn topic_permissions_restrict_only_their_exchange() {
    let auth = auth_with("joe", "pw");
    auth.set_permissions("/", "joe", ".*", ".*", ".*").expect("valid");
    assert!(access(&auth, "joe", "/").allows_topic(Right::Write, "amq.topic", "any"));
    auth.set_topic_permissions("/", "joe", "amq.topic", "^a\\.", "").expect("valid");
    let joe = access(&auth, "joe", "/");
    assert!(joe.allows_topic(Right::Write, "amq.topic", "a.b") && !joe.allows_topic(Right::Write, "amq.topic", "b.a"));
    assert!(!joe.allows_topic(Right::Read, "amq.topic", "a.b") && joe.allows_topic(Right::Read, "amq.topic", ""));
    assert!(joe.allows_topic(Right::Configure, "amq.topic", "b"));
    assert!(joe.allows_topic(Right::Write, "other", "b"));

    auth.set_topic_permissions("/", "joe", "other", "", "").expect("valid");
    assert!(auth.clear_topic_permissions("/", "joe", Some("amq.topic")));
    assert!(!auth.clear_topic_permissions("/", "joe", Some("amq.topic")));
    let cleared = access(&auth, "joe", "/");
    assert!(cleared.allows_topic(Right::Write, "amq.topic", "b"));
    assert!(!cleared.allows_topic(Right::Write, "other", "b"));
    assert!(auth.clear_topic_permissions("/", "joe", None));
    assert!(access(&auth, "joe", "/").allows_topic(Right::Write, "other", "b"));
    assert!(!joe.allows_topic(Right::Write, "amq.topic", "b"), "a snapshot does not change");
}

/// RabbitMQ 4.3: topic permissions are not access, and outlive the permissions of the virtual host.
#[test]
fn topic_permissions_alone_are_not_access() {
    let auth = auth_with("joe", "pw");
    auth.set_topic_permissions("/", "joe", "amq.topic", "a", "a").expect("valid");
    assert!(auth.access("joe", "/").is_none());
    auth.set_permissions("/", "joe", "", "", "").expect("valid");
    auth.clear_permissions("/", "joe");
    assert_eq!(auth.export_topic_permissions().len(), 1);
    assert!(auth.access("joe", "/").is_none());
}

/// As RabbitMQ 4.3 answers: values are taken literally. 3.10 took them as part of the pattern.
#[test]
fn topic_variables_stand_for_their_literal_values() {
    let auth = Auth::new();
    let allows = |user: &str, pattern: &str, key: &str| {
        auth.put_user(user, Secret::None, NO_TAGS).expect("valid");
        auth.set_permissions("v.1", user, "", "", "").expect("valid");
        auth.set_topic_permissions("v.1", user, "t", pattern, pattern).expect("valid");
        access(&auth, user, "v.1").allows_topic(Right::Write, "t", key)
    };
    assert!(allows("joe", "^{username}\\.{vhost}$", "joe.v.1"));
    assert!(!allows("joe", "^{username}\\.{vhost}$", "joe.vx1"));
    assert!(!allows("joe", "^{username}$", "{username}"));
    assert!(allows(".*", "^{username}$", ".*"));
    assert!(!allows(".*", "^{username}$", "joe"));
    assert!(allows("(", "^{username}$", "("));
    assert!(allows("{vhost}", "^{username}$", "{vhost}"));
    assert!(!allows("{vhost}", "^{username}$", "v.1"));
    assert!(allows("{client_id}", "^{username}$", "{client_id}"));
    assert!(allows("joe", "^{client_id}$", "{client_id}"));
    assert!(allows("joe", "{username", "{username"));
    assert!(allows("joe", "^{user}{2}$", "{user}}"));
}

#[test]
fn the_client_id_is_filled_in_by_who_knows_it() {
    let auth = auth_with("{client_id}", "pw");
    auth.set_permissions("/", "{client_id}", "", "", "").expect("valid");
    auth.set_topic_permissions("/", "{client_id}", "t", "^{client_id}$", "^{username}$").expect("valid");
    auth.set_topic_permissions("/", "{client_id}", "g", "(?<a{client_id}>x)", "").expect_err("a group of that name");
    let access = access(&auth, "{client_id}", "/");
    assert!(access.allows_topic(Right::Write, "t", "{client_id}"));
    let access = access.with_client_id("c.1");
    assert!(access.allows_topic(Right::Write, "t", "c.1"));
    assert!(!access.allows_topic(Right::Write, "t", "cx1") && !access.allows_topic(Right::Write, "t", "{client_id}"));
    assert!(access.allows_topic(Right::Read, "t", "{client_id}"), "a user's name is not a variable");
    assert_eq!(access.version(), auth.version());
}

#[test]
fn a_deleted_vhost_or_user_leaves_nothing_behind() {
    let auth = auth_with("joe", "pw");
    for vhost in ["a", "b"] {
        auth.set_permissions(vhost, "joe", ".*", ".*", ".*").expect("valid");
        auth.set_topic_permissions(vhost, "joe", "t", "", "").expect("valid");
    }
    auth.delete_vhost("a");
    assert!(auth.access("joe", "a").is_none());
    auth.set_permissions("a", "joe", ".*", ".*", ".*").expect("valid");
    assert!(access(&auth, "joe", "a").allows_topic(Right::Write, "t", "key"));

    assert!(auth.delete_user("joe"));
    assert!(!auth.delete_user("joe"));
    auth.put_user("joe", Secret::None, NO_TAGS).expect("valid");
    assert!(auth.access("joe", "b").is_none());
    assert!(auth.export_permissions().is_empty() && auth.export_topic_permissions().is_empty());
}

#[test]
fn the_version_moves_with_every_change_and_only_then() {
    let auth = Auth::new();
    let other_handle = auth.clone();
    let mut last = auth.version();
    let mut moved = |what: &str, expected: bool| {
        let now = other_handle.version();
        assert_eq!(now > last, expected, "{what}");
        last = now;
    };
    auth.put_user("joe", Secret::Password("pw"), NO_TAGS).expect("valid");
    moved("put_user", true);
    auth.set_password("joe", Secret::None).expect("valid");
    moved("set_password", true);
    auth.set_user_tags("joe", ["x"]).expect("valid");
    moved("set_user_tags", true);
    auth.set_user_limits("joe", UserLimits::default()).expect("valid");
    moved("set_user_limits", true);
    auth.set_permissions("/", "joe", "", "", "").expect("valid");
    moved("set_permissions", true);
    auth.set_topic_permissions("/", "joe", "t", "", "").expect("valid");
    moved("set_topic_permissions", true);
    let _ = (auth.access("joe", "/"), auth.users(), auth.export_permissions(), login(&auth, "joe", "pw", HERE));
    moved("reading", false);
    auth.clear_topic_permissions("/", "joe", Some("u"));
    auth.clear_permissions("other", "joe");
    auth.delete_vhost("other");
    auth.delete_user("ann");
    let _ = auth.set_permissions("/", "ann", "", "", "");
    moved("changes of what is not there", false);
    auth.clear_topic_permissions("/", "joe", None);
    moved("clear_topic_permissions", true);
    assert_eq!(access(&auth, "joe", "/").version(), auth.version());
    auth.clear_permissions("/", "joe");
    moved("clear_permissions", true);
    auth.set_permissions("/", "joe", "", "", "").expect("valid");
    auth.delete_vhost("/");
    moved("delete_vhost", true);
    auth.set_loopback_users(["joe"]);
    moved("set_loopback_users", true);
    auth.delete_user("joe");
    moved("delete_user", true);
}

#[test]
fn definitions_survive_export_and_import() {
    let auth = auth_with("joe", "pw");
    auth.set_user_tags("joe", ["administrator"]).expect("joe exists");
    auth.set_user_limits("joe", UserLimits { max_connections: None, max_channels: Some(7) }).expect("joe exists");
    auth.put_user("ann", Secret::None, NO_TAGS).expect("valid");
    auth.set_permissions("/", "joe", "", ".*", "^a[[b]").expect("valid");
    auth.set_topic_permissions("/", "joe", "t", "^{username}", "{client_id}").expect("valid");

    let copy = Auth::new();
    copy.import_users(&auth.export_users()).expect("valid");
    copy.import_permissions(&auth.export_permissions()).expect("valid");
    copy.import_topic_permissions(&auth.export_topic_permissions()).expect("valid");
    assert_eq!(copy.export_users(), auth.export_users());
    assert_eq!(copy.export_permissions(), auth.export_permissions());
    assert_eq!(copy.export_topic_permissions(), auth.export_topic_permissions());
    assert_eq!(login(&copy, "joe", "pw", HERE), Ok("joe".to_owned()));
    assert_eq!(copy.version(), 3);
}

/// The JSON of RabbitMQ 4.3.6, keys in its order.
#[test]
fn records_have_the_shape_of_rabbitmq() {
    let json = r#"{"name":"ax1","password_hash":"LNaJoKvopRj7nbJdFt6F5/aKQ9iRJvdLWpzMNDW/csTr/MXS","hashing_algorithm":"rabbit_password_hashing_sha256","tags":["administrator","foo"],"limits":{"max-connections":-1,"max-channels":5}}"#;
    let auth = Auth::new();
    auth.import_users(&[user_record(json)]).expect("valid");
    assert_eq!(login(&auth, "ax1", "s3cret", HERE), Ok("ax1".to_owned()));
    assert_eq!(serde_json::to_string(&auth.export_users()).expect("serializable"), format!("[{json}]"));

    auth.put_user("ax1", Secret::None, NO_TAGS).expect("valid");
    auth.set_permissions("/", "ax1", "", ".*", "a").expect("valid");
    auth.set_topic_permissions("/", "ax1", "t", "{vhost}", "a").expect("valid");
    let json =
        serde_json::to_string(&(auth.export_permissions(), auth.export_topic_permissions())).expect("serializable");
    let permission = r#"{"user":"ax1","vhost":"/","configure":"","write":".*","read":"a"}"#;
    let topic = r#"{"user":"ax1","vhost":"/","exchange":"t","write":"{vhost}","read":"a"}"#;
    assert_eq!(json, format!("[[{permission}],[{topic}]]"));
}

#[test]
fn tags_are_read_in_both_forms() {
    let tags = |json: &str| user_record(&format!(r#"{{"name": "u", "tags": {json}}}"#)).tags.expect("tags are given");
    assert_eq!(tags(r#""administrator, foo ,,bar""#), ["administrator", "foo", "bar"]);
    assert_eq!(tags(r#""""#), NO_TAGS);
    assert_eq!(tags(r#"["a,b", "", " x "]"#), ["a,b", "", "x"]);
    assert!(serde_json::from_str::<UserRecord>(r#"{"name": "u", "tags": 5}"#).is_err());
    assert!(serde_json::from_str::<UserRecord>(r#"{"name": "u", "tags": null}"#).is_err());
}

#[test]
fn imported_limits_are_merged() {
    let auth = Auth::new();
    for (limits, connections, channels) in [
        (r#"{"max-connections": 1, "max-channels": 2}"#, Some(1), Some(2)),
        (r#"{"max-channels": 3}"#, Some(1), Some(3)),
        (r"{}", Some(1), Some(3)),
    ] {
        let record = user_record(&format!(r#"{{"name": "u", "tags": "", "limits": {limits}}}"#));
        auth.import_users(&[record]).expect("valid");
        let limits = auth.user("u").expect("imported").limits;
        assert_eq!((limits.connections(), limits.channels()), (connections, channels));
    }
}

#[test]
fn an_import_of_users_is_all_or_nothing() {
    let auth = Auth::new();
    let good = user_record(r#"{"name": "good", "password": "pw", "tags": "management"}"#);
    for (json, text) in [
        (r#"{"name": "bad"}"#, "tags of user 'bad' are not present"),
        (
            r#"{"name": "bad", "tags": "", "password": "a", "password_hash": ""}"#,
            "both password and password_hash are provided for user 'bad'",
        ),
        (r#"{"name": "bad", "tags": "", "password_hash": "?"}"#, "password_hash of user 'bad' is not base64"),
        (
            r#"{"name": "bad", "tags": "", "password_hash": "", "hashing_algorithm": "rot13"}"#,
            "hashing_algorithm 'rot13' of user 'bad' is not supported",
        ),
        (r#"{"name": "", "tags": ""}"#, "user name '' must have 1 to 255 bytes"),
    ] {
        let error = auth.import_users(&[good.clone(), user_record(json)]).expect_err(json);
        assert_eq!(error.to_string(), text);
        assert!(auth.users().is_empty());
    }
    assert_eq!(auth.version(), 0);
    auth.import_users(&[good]).expect("valid");
    assert_eq!(login(&auth, "good", "pw", HERE), Ok("good".to_owned()));
}

#[test]
fn an_import_of_permissions_is_all_or_nothing() {
    let auth = auth_with("joe", "pw");
    let record = |user: &str, configure: &str| PermissionRecord {
        user: user.to_owned(),
        vhost: "/".to_owned(),
        configure: configure.to_owned(),
        write: String::new(),
        read: String::new(),
    };
    let error = auth.import_permissions(&[record("joe", ""), record("ann", "")]).expect_err("no ann");
    assert_eq!(error, AuthError::NoSuchUser("ann".to_owned()));
    let error = auth.import_permissions(&[record("joe", ""), record("joe", "(")]).expect_err("bad pattern");
    assert!(error.to_string().starts_with("configure permission of user 'joe' in vhost '/'"), "{error}");
    assert!(auth.export_permissions().is_empty());

    let topic = |user: &str, write: &str| TopicPermissionRecord {
        user: user.to_owned(),
        vhost: "/".to_owned(),
        exchange: "t".to_owned(),
        write: write.to_owned(),
        read: String::new(),
    };
    assert!(auth.import_topic_permissions(&[topic("joe", ""), topic("ann", "")]).is_err());
    assert!(auth.import_topic_permissions(&[topic("joe", ""), topic("joe", "(")]).is_err());
    assert!(auth.export_topic_permissions().is_empty());
    auth.import_permissions(&[]).expect("nothing to do");
    assert_eq!(auth.version(), 1);
}

#[test]
fn no_debug_output_holds_a_secret() {
    let auth = auth_with("joe", "hunter2");
    let user = auth.user("joe").expect("joe exists");
    let record = UserRecord { password: Some("hunter2".to_owned()), ..UserRecord::from(&*user) };
    let hash = record.password_hash.clone().expect("exported");
    let shown = format!("{auth:?} {user:?} {record:?}");
    assert!(!shown.contains("hunter2") && !shown.contains(&hash), "{shown}");
    assert!(!serde_json::to_string(&record).expect("serializable").contains("hunter2"));
}
