//! Tokens: which are taken and which are not, what they grant, and what happens when they expire or are renewed.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use lapin::ExchangeKind;
use lepus::Server;
use lepus::auth::{Auth, Authority as _, Origin, Refused, User};
use lepus::auth_backends::{Chain, Entry, Kind, OAuth2Options, Options, ProviderOptions, ResourceServer};
use serde_json::{Value as Json, json};
use tracing_subscriber::fmt::MakeWriter;

use crate::common::http::Http;
use crate::common::raw::{Args, Close, Raw, Tune, id, open};
use crate::common::service::{Said, Service};
use crate::common::tokens::{Signer, claims, file, in_seconds, set};
use crate::common::{ChannelExt, args, builder, connect_as, eventually, within};

fn options(provider: ProviderOptions, resource_servers: Vec<ResourceServer>) -> Options {
    let oauth2 = OAuth2Options { resource_servers, provider, ..OAuth2Options::default() };
    Options { chain: vec![Entry::both(Kind::OAuth2), Entry::both(Kind::Internal)], oauth2, ..Options::default() }
}

/// Of the signers' keys in a file, for `rabbitmq`.
fn of_keys(signers: &[&Signer]) -> Options {
    of_keys_for(signers, ResourceServer::new("rabbitmq"))
}

fn of_keys_for(signers: &[&Signer], server: ResourceServer) -> Options {
    let signing_keys = BTreeMap::from([("k".to_owned(), file(&set(signers)))]);
    let provider = ProviderOptions { signing_keys, ..Default::default() };
    options(provider, vec![server])
}

/// Logs in with a token, whatever user name comes with it.
async fn log_in(chain: &Chain, token: &str) -> Result<Arc<User>, Refused> {
    let from = Origin { ip: [127, 0, 0, 1].into() };
    within(chain.log_in(&Auth::new(), "whoever", Some(token.as_bytes()), from).wait()).await
}

/// Why the token backend refuses.
async fn reason(options: &Options, token: &str) -> String {
    let chain = Chain::new(&Options { chain: vec![Entry::both(Kind::OAuth2)], ..options.clone() }).unwrap();
    let refused = log_in(&chain, token).await.expect_err("it is refused").to_string();
    let prefix = "user 'whoever' - Authentication using an OAuth 2/JWT token failed: ";
    refused.strip_prefix(prefix).unwrap_or_else(|| panic!("{refused}")).to_owned()
}

/// Each algorithm is taken with a key of its kind, and with no other.
#[tokio::test]
async fn signatures_of_all_algorithms_are_checked() {
    let algorithms =
        ["ES256", "ES384", "EdDSA", "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512"];
    let signers: Vec<Signer> = algorithms.iter().map(|algorithm| Signer::new(algorithm, algorithm)).collect();
    let options = of_keys(&signers.iter().collect::<Vec<_>>());
    let chain = Chain::new(&options).unwrap();
    for signer in &signers {
        let token = signer.token(&claims("rabbitmq.read:*/*"));
        assert_eq!(log_in(&chain, &token).await.expect(&signer.id).name, "joe");
        for algorithm in algorithms.into_iter().filter(|other| *other != signer.id) {
            let token = signer.token_with(&json!({"alg": algorithm, "kid": signer.id}), &claims(""));
            assert_eq!(reason(&options, &token).await, "signature_invalid", "{} as {algorithm}", signer.id);
            let token = signer.token_with(&json!({"alg": signer.id, "kid": algorithm}), &claims(""));
            // Those have one key.
            let of_rsa = |name: &str| name.starts_with(['R', 'P']);
            if !(of_rsa(&signer.id) && of_rsa(algorithm)) {
                assert_eq!(reason(&options, &token).await, "signature_invalid", "{} by {algorithm}", signer.id);
            }
        }
        let mut forged: Vec<&str> = token.split('.').collect();
        let payload = signer.token(&claims("rabbitmq.tag:administrator"));
        forged[1] = payload.split('.').nth(1).unwrap();
        assert_eq!(reason(&options, &forged.join(".")).await, "signature_invalid", "{}", signer.id);
    }
}

/// A public key is no secret: nothing is signed with it. `none` is no algorithm, under whatever name.
#[tokio::test]
async fn the_well_known_forgeries_are_refused() {
    let signer = Signer::new("k", "RS256");
    let options = of_keys(&[&signer]);
    let pem = include_str!("data/oauth2/rsa-for-tests.pub.pem");
    for secret in [pem.as_bytes(), pem.trim_end().as_bytes(), signer.jwk()["n"].as_str().unwrap().as_bytes()] {
        let message = |header: &Json| {
            let part = |json: &Json| URL_SAFE_NO_PAD.encode(json.to_string());
            format!("{}.{}", part(header), part(&claims("rabbitmq.tag:administrator")))
        };
        let signed = message(&json!({"alg": "HS256", "kid": "k"}));
        let signature = ring::hmac::sign(&ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret), signed.as_bytes());
        let signature = URL_SAFE_NO_PAD.encode(signature);
        assert_eq!(reason(&options, &format!("{signed}.{signature}")).await, "signature_invalid");
        for none in ["none", "None", "NONE", ""] {
            let unsigned = message(&json!({"alg": none, "kid": "k"}));
            assert_eq!(reason(&options, &format!("{unsigned}.")).await, "provided token is invalid");
            assert_eq!(reason(&options, &format!("{unsigned}.{signature}")).await, "provided token is invalid");
        }
    }
    // A key that comes with the token is nobody's.
    let stranger = Signer::new("k", "ES256");
    let header = json!({"alg": "ES256", "kid": "k", "jwk": stranger.jwk()});
    assert_eq!(reason(&options, &stranger.token_with(&header, &claims(""))).await, "signature_invalid");
    let header = json!({"alg": "RS256", "kid": "k", "crit": ["exp"]});
    assert_eq!(reason(&options, &signer.token_with(&header, &claims(""))).await, "provided token is invalid");
    let header = json!({"alg": "RS256", "kid": 7});
    assert_eq!(reason(&options, &signer.token_with(&header, &claims(""))).await, "provided token is invalid");
    let other = json!({"alg": "RS256", "kid": "../../k"});
    assert_eq!(reason(&options, &signer.token_with(&other, &claims(""))).await, "key_not_found");
}

#[tokio::test]
async fn what_is_no_token_is_refused() {
    let signer = Signer::new("k", "HS256");
    let options = of_keys(&[&signer]);
    let good = signer.token(&claims("rabbitmq.read:*/*"));
    let parts: Vec<&str> = good.split('.').collect();
    let (header, payload, signature) = (parts[0], parts[1], parts[2]);
    // eyJhIjo= is {"a": cut off; W10 is [].
    let bad = [
        String::new(),
        "password".to_owned(),
        "..".to_owned(),
        ".".repeat(100),
        format!("{header}.{payload}"),
        format!("{header}.{payload}.{signature}.{signature}"),
        format!("{header}=.{payload}.{signature}"),
        format!("{header}.{payload}.{signature}="),
        format!("{header}.{payload}.{signature} "),
        format!("{header}.W10.{signature}"),
        format!("W10.{payload}.{signature}"),
        format!("{header}.eyJhIjo.{signature}"),
        format!("{header}.bm8ganNvbg.{signature}"),
        "a".repeat(70_000),
    ];
    for token in bad {
        assert_eq!(reason(&options, &token).await, "provided token is invalid", "{:.60}", token);
    }
    // As long as may be, and a byte more.
    let padded = |size: usize| {
        let mut claims = claims("rabbitmq.read:*/*");
        let sized = |claims: &Json| signer.token(claims).len();
        let missing = (size - sized(&claims)) * 3 / 4;
        claims["pad"] = "x".repeat(missing - 12).into();
        while sized(&claims) < size {
            let longer = format!("{}x", claims["pad"].as_str().unwrap());
            claims["pad"] = longer.into();
        }
        signer.token(&claims)
    };
    let chain = Chain::new(&options).unwrap();
    let longest = (64 * 1024 - 2..=64 * 1024).map(padded).rfind(|token| token.len() <= 64 * 1024).unwrap();
    log_in(&chain, &longest).await.expect("it is short enough");
    let too_long = padded(64 * 1024 + 1);
    assert!(too_long.len() > 64 * 1024 && too_long.len() < 64 * 1024 + 4);
    assert_eq!(reason(&options, &too_long).await, "provided token is invalid");
    // Deep enough to end a careless reader.
    let deep = format!("{{\"aud\":\"rabbitmq\",\"x\":{}{}}}", "[".repeat(10_000), "]".repeat(10_000));
    let deep = URL_SAFE_NO_PAD.encode(deep);
    assert_eq!(reason(&options, &format!("{header}.{deep}.{signature}")).await, "provided token is invalid");
}

#[tokio::test]
async fn times_and_audiences_are_looked_at() {
    let signer = Signer::new("k", "ES256");
    let options = of_keys(&[&signer]);
    let with = |name: &str, value: Json| {
        let mut claims = claims("rabbitmq.read:*/*");
        match value {
            Json::Null => drop(claims.as_object_mut().unwrap().remove(name)),
            value => claims[name] = value,
        }
        signer.token(&claims)
    };
    let at = in_seconds(-1);
    assert!(
        reason(&options, &with("exp", json!(at)))
            .await
            .starts_with(&format!("Provided JWT token has expired at timestamp {at} (validated at "))
    );
    for (name, value, why) in [
        ("exp", Json::Null, "Provided JWT token has no exp claim"),
        ("exp", json!("soon"), "Provided JWT token has an invalid exp claim: value is not a number"),
        ("nbf", json!(in_seconds(600)), "Provided JWT token is not valid yet"),
        ("nbf", json!("now"), "Provided JWT token has an invalid nbf claim: value is not a number"),
        ("aud", Json::Null, "no_aud_found"),
        ("aud", json!("other"), "no_matching_aud_found"),
        ("aud", json!(["other", 5]), "no_matching_aud_found"),
        ("aud", json!("rabbitmq2"), "no_matching_aud_found"),
        ("aud", json!({"rabbitmq": 1}), "provided token is invalid"),
    ] {
        assert_eq!(reason(&options, &with(name, value.clone())).await, why, "{name} {value}");
    }
    let chain = Chain::new(&options).unwrap();
    for (name, value) in [
        ("exp", json!(in_seconds(100) as f64 + 0.5)),
        ("nbf", json!(in_seconds(30))),
        ("aud", json!("other rabbitmq")),
        ("aud", json!(["other", "rabbitmq"])),
    ] {
        log_in(&chain, &with(name, value.clone())).await.unwrap_or_else(|why| panic!("{name} {value}: {why}"));
    }
    let lax = ResourceServer { verify_aud: false, require_exp: false, ..ResourceServer::new("rabbitmq") };
    let lax = Chain::new(&of_keys_for(&[&signer], lax)).unwrap();
    for (name, value) in [("exp", Json::Null), ("aud", Json::Null), ("aud", json!("other"))] {
        log_in(&lax, &with(name, value.clone())).await.unwrap_or_else(|why| panic!("{name} {value}: {why}"));
    }
}

#[tokio::test]
async fn a_token_is_read_by_the_server_it_is_for() {
    let (one, two) = (Signer::new("one", "ES256"), Signer::new("two", "ES256"));
    let files = [file(&set(&[&one])), file(&set(&[&two]))];
    let provider = |file: &PathBuf| ProviderOptions {
        signing_keys: BTreeMap::from([("k".to_owned(), file.clone())]),
        algorithms: vec!["ES256".to_owned()],
        ..Default::default()
    };
    let shop = ResourceServer { provider: Some("two".to_owned()), ..ResourceServer::new("shop") };
    let mut options = options(provider(&files[0]), vec![ResourceServer::new("rabbitmq"), shop]);
    options.oauth2.providers.insert("two".to_owned(), provider(&files[1]));
    let chain = Chain::new(&options).unwrap();
    let claims_for = |aud: Json| json!({"sub": "joe", "aud": aud, "exp": in_seconds(60), "scope": "shop.tag:x"});
    log_in(&chain, &one.token(&claims_for(json!("rabbitmq")))).await.expect("its own");
    assert_eq!(log_in(&chain, &two.token(&claims_for(json!("shop")))).await.expect("its own").tags, ["x"]);
    assert_eq!(reason(&options, &one.token(&claims_for(json!("shop")))).await, "key_not_found");
    let both = one.token(&claims_for(json!(["shop", "rabbitmq"])));
    assert_eq!(reason(&options, &both).await, "aud_matched_many_resource_servers_only_one_allowed");

    options.oauth2.provider.algorithms = vec!["RS256".to_owned(), "EdDSA".to_owned()];
    assert_eq!(reason(&options, &one.token(&claims_for(json!("rabbitmq")))).await, "signature_invalid");
    options.oauth2.provider.algorithms = vec!["none".to_owned()];
    assert!(Chain::new(&options).is_err());
    options.oauth2.provider.algorithms.clear();
    options.oauth2.resource_servers[1].provider = Some("three".to_owned());
    assert!(Chain::new(&options).is_err());
    options.oauth2.resource_servers.clear();
    assert!(Chain::new(&options).is_err());
}

/// Keys in PEM, and the default key of tokens that name none.
#[tokio::test]
async fn keys_come_from_files() {
    let rsa = Signer::new("rsa", "RS256");
    let ec = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new([]).unwrap().self_signed(&ec).unwrap();
    let files = [
        ("rsa", file(include_str!("data/oauth2/rsa-for-tests.pub.pem"))),
        ("ec", file(&ec.public_key_pem())),
        ("certificate", file(&certificate.pem())),
        ("jwk", file(&rsa.jwk().to_string())),
    ];
    let signing_keys = files.iter().map(|(id, file)| ((*id).to_owned(), file.clone())).collect();
    let provider = ProviderOptions { signing_keys, default_key: Some("rsa".to_owned()), ..Default::default() };
    let mut options = options(provider, vec![ResourceServer::new("rabbitmq")]);
    let chain = Chain::new(&options).unwrap();
    for header in
        [json!({"alg": "RS256", "kid": "rsa"}), json!({"alg": "RS256"}), json!({"alg": "RS256", "kid": "jwk"})]
    {
        log_in(&chain, &rsa.token_with(&header, &claims(""))).await.unwrap_or_else(|why| panic!("{header}: {why}"));
    }
    let with_ec = rsa.token_with(&json!({"alg": "ES256", "kid": "ec"}), &claims(""));
    assert_eq!(reason(&options, &with_ec).await, "signature_invalid");
    for bad in ["", "nonsense", "{}", "{\"keys\":[]}", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"] {
        options.oauth2.provider.signing_keys.insert("bad".to_owned(), file(bad));
        assert!(Chain::new(&options).is_err(), "{bad}");
    }
}

/// A key that is not known is looked for, but not for every token.
#[tokio::test]
async fn keys_are_downloaded_when_they_are_named() {
    let (old, new) = (Signer::new("old", "ES256"), Signer::new("new", "ES256"));
    let of_old = set(&[&old]);
    let service = Service::start(move |_| Said::Text(of_old.clone())).await;
    let provider = ProviderOptions {
        jwks_uri: Some(service.url("/keys")),
        refresh_interval: Some(Duration::from_secs(3600)),
        ..Default::default()
    };
    let chain = Chain::new(&options(provider.clone(), vec![ResourceServer::new("rabbitmq")])).unwrap();
    let token = |signer: &Signer| signer.token(&claims(""));
    assert_eq!(service.asked_on("/keys"), 0, "nothing is asked before it is needed");
    for _ in 0..3 {
        log_in(&chain, &token(&old)).await.expect("its key is there");
    }
    assert_eq!(service.asked_on("/keys"), 1);
    for n in 0..20 {
        assert!(log_in(&chain, &token(&Signer::new(&format!("forged-{n}"), "ES256"))).await.is_err());
    }
    assert_eq!(service.asked_on("/keys"), 1, "forged tokens have nothing downloaded so soon");

    // The keys were changed; the old ones go.
    let of_new = set(&[&new]);
    service.say(move |_| Said::Text(of_new.clone()));
    let provider = ProviderOptions { refresh_interval: Some(Duration::from_millis(1)), ..provider };
    let chain = Chain::new(&options(provider, vec![ResourceServer::new("rabbitmq")])).unwrap();
    log_in(&chain, &token(&new)).await.expect("the key is downloaded");
    eventually("the old key is gone", || async { log_in(&chain, &token(&old)).await.is_err().then_some(()) }).await;

    // What cannot be downloaded leaves things as they are.
    for answer in ["", "{}", "{\"keys\":[]}", "{\"keys\":7}", "nonsense"] {
        service.say(move |_| answer.into());
        assert!(log_in(&chain, &token(&old)).await.is_err(), "{answer}");
        log_in(&chain, &token(&new)).await.unwrap_or_else(|why| panic!("{answer}: {why}"));
    }
    service.say(|_| Said::Status(500, String::new()));
    assert!(log_in(&chain, &token(&old)).await.is_err());
    log_in(&chain, &token(&new)).await.expect("it is still known");
}

/// Many logins wait for one download, and whoever has a key waits for none.
#[tokio::test]
async fn one_download_serves_all_who_wait() {
    let (known, slow) = (Signer::new("known", "ES256"), Signer::new("slow", "ES256"));
    let (release, released) = tokio::sync::watch::channel(false);
    let keys = set(&[&slow]);
    let service = Service::start(move |_| Said::Held(released.clone(), keys.clone())).await;
    let provider = ProviderOptions {
        signing_keys: BTreeMap::from([("k".to_owned(), file(&set(&[&known])))]),
        jwks_uri: Some(service.url("/keys")),
        ..Default::default()
    };
    let server = builder()
        .auth_backends(options(provider, vec![ResourceServer::new("rabbitmq")]))
        .start()
        .await
        .expect("the broker starts");
    let token = slow.token(&claims("rabbitmq.read:*/*"));
    let mut waiting = Vec::new();
    for _ in 0..10 {
        let mut raw = Raw::connect(server.amqp_addr()).await;
        raw.send(b"AMQP\x00\x00\x09\x01").await;
        raw.expect(0, id::START).await;
        raw.start_ok(Args::new(), b"PLAIN", format!("\0\0{token}").as_bytes()).await;
        waiting.push(raw);
    }
    let mine = known.token(&claims("rabbitmq.read:*/*"));
    connect_as(&server, "x", &mine, "%2f").await.expect("its key is known");
    eventually("it is asked", || async { (service.asked_on("/keys") == 1).then_some(()) }).await;
    // One of them goes away meanwhile.
    waiting.remove(0);
    release.send(true).unwrap();
    for mut raw in waiting {
        raw.expect(0, id::TUNE).await;
    }
    assert_eq!(service.asked_on("/keys"), 1);
}

/// The issuer tells where its keys are.
#[tokio::test]
async fn the_issuer_is_asked_where_its_keys_are() {
    let signer = Signer::new("k", "EdDSA");
    let service = Service::start_tls(|_| "".into()).await;
    let (keys, uri) = (set(&[&signer]), service.url("/the/keys"));
    service.say(move |asked| match asked.path.as_str() {
        "/realm/.well-known/openid-configuration" => json!({"jwks_uri": uri}).to_string().as_str().into(),
        "/the/keys" => Said::Text(keys.clone()),
        _ => Said::Status(404, String::new()),
    });
    let provider = ProviderOptions {
        issuer: Some(service.url("/realm/")),
        discovery_endpoint_params: BTreeMap::from([("appid".to_owned(), "7".to_owned())]),
        https: lepus::auth_backends::TlsClientOptions { authorities: service.authority.clone(), ..Default::default() },
        ..Default::default()
    };
    let mut options = options(provider, vec![ResourceServer::new("rabbitmq")]);
    let chain = Chain::new(&options).unwrap();
    log_in(&chain, &signer.token(&claims(""))).await.expect("the key is found");
    assert_eq!(service.take_asked()[0].get("appid"), "7");
    options.oauth2.provider.https.authorities = None;
    options.oauth2.provider.issuer = Some("nowhere".to_owned());
    assert!(Chain::new(&options).is_err());
}

async fn server(options: Options) -> Server {
    builder().auth_backends(options).vhost("/").vhost("shop").http("127.0.0.1:0").start().await.expect("it starts")
}

/// A raw connection with a token and channel 1 open, whose client takes basic.cancel.
async fn bearer(server: &Server, token: &str) -> Raw {
    let mut raw = Raw::connect(server.amqp_addr()).await;
    let capabilities = Args::new().field("consumer_cancel_notify", b't', &[1]);
    let tune = raw.login(capabilities, format!("\0ignored\0{token}").as_bytes()).await;
    raw.tune_ok(Tune { heartbeat: 0, ..tune }).await;
    raw.method(0, id::OPEN, open(b"/")).await;
    raw.expect(0, id::OPEN_OK).await;
    raw.channel(1).await;
    raw
}

fn refused(text: &str, method: (u16, u16)) -> Close {
    Close { code: 403, text: format!("ACCESS_REFUSED - {text} refused for user 'joe'"), method }
}

/// FEATURES US-9: scopes are what a token's bearer may do; topics need a third part.
#[tokio::test]
async fn scopes_are_permissions() {
    let signer = Signer::new("k", "ES256");
    let server = server(of_keys(&[&signer])).await;
    let scopes = "rabbitmq.configure:%2F/mine* rabbitmq.write:%2F/mine* rabbitmq.read:*/mine* other.write:*/* \
                  rabbitmq.write:*/t/a.* write:*/* rabbitmq.read:*/t/*";
    let token = signer.token(&claims(scopes));
    let mut raw = bearer(&server, &token).await;
    raw.call(1, id::QUEUE_DECLARE, args::queue_declare("mine", 0), id::QUEUE_DECLARE_OK).await;
    raw.call(1, id::GET, args::get("mine", true), id::GET_EMPTY).await;
    raw.method(1, id::QUEUE_DECLARE, args::queue_declare("yours", 0)).await;
    let expected = refused("configure access to queue 'yours' in vhost '/'", id::QUEUE_DECLARE);
    assert_eq!(raw.expect_channel_close(1).await, expected);
    raw.channel(1).await;
    raw.send(&crate::common::raw::publish(1, "", "mine", b"x")).await;
    let expected = refused("write access to exchange 'amq.default' in vhost '/'", id::PUBLISH);
    assert_eq!(raw.expect_channel_close(1).await, expected);

    let guest = connect_as(&server, "guest", "guest", "%2f").await.expect("the next backend knows it");
    guest.exchange("t", ExchangeKind::Topic).await;
    raw.channel(1).await;
    raw.call(1, id::QUEUE_BIND, args::queue_bind("mine", "t", "any"), id::QUEUE_BIND_OK).await;
    raw.send(&crate::common::raw::publish(1, "t", "a.b", b"x")).await;
    raw.expect_alive(1).await;
    raw.send(&crate::common::raw::publish(1, "t", "b.b", b"x")).await;
    let expected = refused("write access to topic 'b.b' in exchange 't' in vhost '/'", id::PUBLISH);
    assert_eq!(raw.expect_channel_close(1).await, expected);

    let only_shop = signer.token(&claims("rabbitmq.read:shop/*"));
    connect_as(&server, "x", &only_shop, "shop").await.expect("its vhost");
    let error = connect_as(&server, "x", &only_shop, "%2f").await.err().expect("not its vhost");
    let close = crate::common::Broken::of(&error);
    assert_eq!((close.code, &*close.text), (530, "NOT_ALLOWED - access to vhost '/' refused for user 'joe'"));
}

/// FEATURES US-9: where scopes stand in a token, and what they are called.
#[tokio::test]
async fn scopes_are_found_wherever_they_stand() {
    let signer = Signer::new("k", "ES256");
    let server = ResourceServer {
        additional_scopes_key: Some("roles realm.list.scopes".to_owned()),
        scope_aliases: BTreeMap::from([(
            "boss".to_owned(),
            vec!["rabbitmq.tag:administrator".to_owned(), "rabbitmq.tag:extra".to_owned()],
        )]),
        resource_server_type: Some("mq".to_owned()),
        preferred_username_claims: vec!["email".to_owned(), "sub".to_owned()],
        ..ResourceServer::new("rabbitmq")
    };
    let options = of_keys_for(&[&signer], server.clone());
    let chain = Chain::new(&options).unwrap();
    let user = async |more: Json| {
        let mut claims = claims("");
        claims.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        log_in(&chain, &signer.token(&claims)).await.expect("a good token")
    };
    let tags = async |more: Json| user(more).await.tags.clone();
    assert_eq!(tags(json!({"scope": "rabbitmq.tag:a  rabbitmq.tag:b tag:c rabbitmq2.tag:d"})).await, ["a", "b"]);
    assert_eq!(tags(json!({"scope": ["rabbitmq.tag:a", 7, "rabbitmq.tag:a"]})).await, ["a"]);
    assert_eq!(tags(json!({"scope": {"x": 1}})).await, [""; 0]);
    assert_eq!(tags(json!({"roles": "rabbitmq.tag:r"})).await, ["r"]);
    assert_eq!(tags(json!({"roles": {"rabbitmq": ["tag:r"], "other": ["tag:o"]}})).await, ["r"]);
    assert_eq!(tags(json!({"realm": {"list": [{"scopes": ["rabbitmq.tag:s"]}, {}, 5]}})).await, ["s"]);
    assert_eq!(tags(json!({"scope": "boss"})).await, ["administrator", "extra"]);
    let party = json!({"authorization": {"permissions": [{"rsid": "x", "scopes": ["rabbitmq.tag:p"]}]}});
    assert_eq!(tags(party).await, ["p"]);
    assert_eq!(user(json!({"email": "joe@example.com"})).await.name, "joe@example.com");
    assert_eq!(user(json!({"email": 5})).await.name, "joe");
    assert_eq!(user(json!({"email": null, "sub": 5})).await.name, "unknown");
    assert!(user(json!({"roles": "rabbitmq.tag:impersonator"})).await.is_impersonator());

    let details = |kind: &str, cluster: &str, actions: Json, more: &str| {
        json!({"authorization_details": [
            {"type": kind, "locations": [format!("cluster:{cluster}/{more}")], "actions": actions},
            {"type": "mq", "locations": 5, "actions": 5}, 5,
        ]})
    };
    assert_eq!(tags(details("mq", "rabbit*", json!(["management", "nonsense"]), "")).await, ["management"]);
    assert_eq!(tags(details("mq", "other", json!(["management"]), "")).await, [""; 0]);
    assert_eq!(tags(details("no", "rabbitmq", json!(["management"]), "")).await, [""; 0]);
    let may_read = async |more: Json| {
        let user = user(more).await;
        user.authorizer().unwrap().admit("shop", None).wait().await.is_ok()
    };
    assert!(may_read(details("mq", "*", json!("read"), "vhost:shop/queue:q")).await);
    assert!(!may_read(details("mq", "*", json!("read"), "vhost:other/queue:q")).await);
    assert!(!may_read(details("mq", "*", json!("read"), "vhost:shop/queue:q/exchange:x")).await);
    assert!(may_read(details("mq", "*", json!("read"), "queue:q/exchange:q")).await);

    for (prefix, scope) in [("", "tag:a"), ("mq:", "mq:tag:a")] {
        let server = ResourceServer { scope_prefix: Some(prefix.to_owned()), ..server.clone() };
        let chain = Chain::new(&of_keys_for(&[&signer], server)).unwrap();
        assert_eq!(log_in(&chain, &signer.token(&claims(scope))).await.unwrap().tags, ["a"], "{prefix}");
    }
    let many = |count: usize| {
        let scopes: Vec<String> = (0..count).map(|n| format!("rabbitmq.read:*/{n}")).collect();
        let mut claims = claims("");
        claims["scope"] = json!(scopes);
        signer.token(&claims)
    };
    log_in(&chain, &many(2048)).await.expect("as many as may be");
    assert_eq!(reason(&options, &many(2049)).await, "too_many_scopes");
}

/// FEATURES SA-8: the connection goes with its token.
#[tokio::test]
async fn a_connection_ends_when_its_token_expires() {
    let signer = Signer::new("k", "ES256");
    let server = server(of_keys(&[&signer])).await;
    let mut claims = claims("rabbitmq.configure:*/*");
    claims["exp"] = in_seconds(2).into();
    let token = signer.token(&claims);
    let mut raw = bearer(&server, &token).await;
    raw.call(1, id::QUEUE_DECLARE, args::queue_declare("q", 0), id::QUEUE_DECLARE_OK).await;
    let text = "CONNECTION_FORCED - credential expired".to_owned();
    assert_eq!(raw.expect_close().await, Close { code: 320, text, method: (0, 0) });
    assert!(in_seconds(0) >= claims["exp"].as_i64().unwrap(), "not a moment too soon");
    assert!(connect_as(&server, "x", &token, "%2f").await.is_err());
}

async fn update_secret(raw: &mut Raw, secret: &str) {
    raw.method(0, id::UPDATE_SECRET, Args::new().longstr(secret.as_bytes()).shortstr(b"time")).await;
}

/// FEATURES SA-7: a new token takes the place of the old one: its time, its scopes, and what the old one let begin.
#[tokio::test]
async fn a_token_is_renewed() {
    let signer = Signer::new("k", "ES256");
    let server = server(of_keys(&[&signer])).await;
    let scoped = |scopes: &str, seconds: i64| {
        let mut claims = claims(scopes);
        claims["exp"] = in_seconds(seconds).into();
        signer.token(&claims)
    };
    let all = "rabbitmq.configure:*/* rabbitmq.write:*/* rabbitmq.read:*/*";
    let mut raw = bearer(&server, &scoped(all, 2)).await;
    for queue in ["kept", "lost"] {
        raw.call(1, id::QUEUE_DECLARE, args::queue_declare(queue, 0), id::QUEUE_DECLARE_OK).await;
        raw.call(1, id::CONSUME, args::consume(queue, queue, 0), id::CONSUME_OK).await;
    }
    raw.send(&crate::common::raw::publish(1, "", "kept", b"x")).await;
    raw.expect(1, id::DELIVER).await;
    raw.content(1).await;

    update_secret(&mut raw, &scoped("rabbitmq.read:*/kept rabbitmq.write:*/none", 60)).await;
    let cancel = raw.expect(1, id::CANCEL).await;
    assert_eq!(cancel.args().shortstr(), "lost");
    raw.expect(0, id::UPDATE_SECRET_OK).await;
    // The old token let it publish there, and remembers the way.
    raw.send(&crate::common::raw::publish(1, "", "kept", b"x")).await;
    let expected = refused("write access to exchange 'amq.default' in vhost '/'", id::PUBLISH);
    assert_eq!(raw.expect_channel_close(1).await, expected);
    let guest = connect_as(&server, "guest", "guest", "%2f").await.unwrap();
    assert_eq!(guest.count("lost").await, (0, 0), "the broker knows that the consumer is gone");

    // Beyond the first token's time.
    let first_is_over = in_seconds(3);
    eventually("the first token has expired", || async { (in_seconds(0) >= first_is_over).then_some(()) }).await;
    raw.channel(1).await;
    raw.call(1, id::GET, args::get("kept", true), id::GET_OK).await;
}

/// FEATURES SA-7: a new secret that is none closes the connection.
#[tokio::test]
async fn a_new_secret_may_be_refused() {
    let signer = Signer::new("k", "ES256");
    let server = server(of_keys(&[&signer])).await;
    let good = "rabbitmq.read:*/*";
    let mut others = claims(good);
    others["sub"] = "ann".into();
    let mut expired = claims(good);
    let at = in_seconds(-5);
    expired["exp"] = at.into();
    let refused = "NOT_ALLOWED - New secret was refused by one of the backends";
    let failed = "NOT_ALLOWED - Secret update failed";
    let elsewhere = "NOT_ALLOWED - access to vhost '/' refused for user 'joe'";
    let cases = [
        (Signer::new("k", "ES256").token(&claims(good)), refused),
        (signer.token(&others), refused),
        (Signer::new("unknown", "ES256").token(&claims(good)), refused),
        ("nonsense".to_owned(), failed),
        (signer.token(&json!({"sub": "joe", "aud": "other", "exp": in_seconds(60)})), failed),
        (signer.token(&claims("rabbitmq.read:shop/*")), elsewhere),
    ];
    for (secret, text) in cases {
        let mut raw = bearer(&server, &signer.token(&claims(good))).await;
        update_secret(&mut raw, &secret).await;
        let close = raw.expect_close().await;
        assert_eq!((close.code, &*close.text, close.method), (530, text, id::UPDATE_SECRET));
    }
    let mut raw = bearer(&server, &signer.token(&claims(good))).await;
    update_secret(&mut raw, &signer.token(&expired)).await;
    let close = raw.expect_close().await;
    let text = format!(
        "{elsewhere}, backend rabbit_auth_backend_oauth2 returned an error: \"Provided JWT token has expired at \
         timestamp {at} (validated at "
    );
    assert!(close.code == 530 && close.text.starts_with(&text), "{close:?}");
}

/// FEATURES SA-7: whoever has no token that expires needs no new one.
#[tokio::test]
async fn a_new_secret_changes_nothing_for_whom_it_is_not() {
    let signer = Signer::new("k", "ES256");
    let lax = ResourceServer { require_exp: false, ..ResourceServer::new("rabbitmq") };
    let server = server(of_keys_for(&[&signer], lax)).await;
    let mut forever = claims("rabbitmq.read:*/*");
    forever.as_object_mut().unwrap().remove("exp");
    for password in ["guest".to_owned(), signer.token(&forever)] {
        let mut raw = Raw::connect(server.amqp_addr()).await;
        raw.login_as(format!("\0guest\0{password}").as_bytes()).await;
        update_secret(&mut raw, "nonsense").await;
        raw.expect(0, id::UPDATE_SECRET_OK).await;
    }
}

/// FEATURES US-4, US-9: the management API takes tokens, and tags from their scopes.
#[tokio::test]
async fn the_management_api_takes_tokens() {
    let signer = Signer::new("k", "ES256");
    let server = server(of_keys(&[&signer])).await;
    let address = server.http_addr().unwrap();
    let get = async |token: &str, path: &str| Http::bearer(address, token).get(path).await;
    let manager = signer.token(&claims("rabbitmq.tag:management rabbitmq.read:shop/* rabbitmq.configure:shop/a*"));
    let whoami = get(&manager, "whoami").await;
    assert_eq!(
        (whoami.status, &whoami.json["name"], &whoami.json["tags"]),
        (200, &json!("joe"), &json!(["management"]))
    );
    assert_eq!(whoami.json["is_internal_user"], json!(false));
    let vhosts = get(&manager, "vhosts").await;
    let names: Vec<_> = vhosts.items().iter().map(|vhost| vhost["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["shop"]);
    assert_eq!(get(&manager, "users").await.status, 401);
    let http = Http::bearer(address, &manager);
    assert_eq!(http.put("queues/shop/a1", &json!({})).await.status, 201);
    let refused = http.put("queues/shop/b1", &json!({})).await;
    assert_eq!((refused.status, &refused.json["reason"]), (401, &json!("Access refused.")));
    let admin = signer.token(&claims("rabbitmq.tag:administrator"));
    assert_eq!(get(&admin, "users").await.status, 200);
    // Basic authentication carries a token as well.
    assert_eq!(Http::new(address, &format!("x:{admin}")).get("users").await.status, 200);
    assert_eq!(get(&signer.token(&claims("rabbitmq.read:*/*")), "whoami").await.status, 401);
    let mut expired = claims("rabbitmq.tag:administrator");
    expired["exp"] = in_seconds(-1).into();
    for bad in
        ["nonsense", &signer.token(&expired), &Signer::new("k", "ES256").token(&claims("rabbitmq.tag:administrator"))]
    {
        let refused = get(bad, "whoami").await;
        assert_eq!((refused.status, &refused.json["error"]), (401, &json!("not_authorized")), "{}", refused.text);
    }
}

/// What is logged, as text.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// Whatever happens, no password, secret or token gets into the log, at no level.
#[tokio::test]
async fn the_log_holds_no_secret() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(log.clone()).finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let signer = Signer::new("k", "HS256");
    let service = Service::start(|asked| match asked.get("username") {
        "denied" => "deny because".into(),
        "broken" => Said::Status(500, "no".to_owned()),
        _ => "allow".into(),
    })
    .await;
    let mut options = of_keys(&[&signer]);
    options.chain.push(Entry::both(Kind::Http));
    options.http.user_path = service.url("/user");
    options.http.vhost_path = service.url("/vhost");
    options.http.resource_path = service.url("/resource");
    let server = server(options).await;
    let token = signer.token(&claims("rabbitmq.read:*/*"));
    let (forged, mut expired) = (Signer::new("k", "HS256").token(&claims("")), claims(""));
    expired["exp"] = in_seconds(-5).into();
    let secrets = [token.clone(), forged, signer.token(&expired), "hunter2-hunter2".to_owned()];
    for secret in &secrets {
        for user in ["guest", "denied", "broken", "allowed"] {
            let _ = connect_as(&server, user, secret, "%2f").await;
        }
        let _ = Http::bearer(server.http_addr().unwrap(), secret).get("whoami").await;
        let mut raw = bearer(&server, &token).await;
        update_secret(&mut raw, secret).await;
        raw.next().await;
    }
    server.shutdown().await;
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(log.contains("denied"), "something is logged: {log}");
    for secret in secrets.iter().flat_map(|secret| secret.split('.').skip(1).chain([secret.as_str()])) {
        assert!(!log.contains(secret), "{secret} is in the log");
    }
}
