//! The login of the management UI at a provider: what the broker tells of it, and what it takes.

use std::collections::BTreeMap;

use lepus::auth_backends::{Entry, Kind, OAuth2Options, ProviderOptions, ResourceServer};
use lepus::management::{LogonType, OAuth, WebAddress};
use lepus::server::{Options, Storage};
use lepus::{Server, auth_backends};
use serde_json::json;

use crate::common::http::{Http, fetch, send_form};
use crate::common::tokens::{Signer, claims, file, set};

fn provider() -> OAuth {
    OAuth {
        provider: WebAddress::new("https://id.example/realms/shop").expect("an address"),
        metadata: None,
        client_id: "ui".to_owned(),
        scopes: None,
        logon_type: LogonType::Ui,
        basic_disabled: true,
    }
}

async fn start(oauth: Option<OAuth>, signer: &Signer) -> Server {
    let set = |options: &mut Options| {
        options.http_login_session_minutes = oauth.as_ref().map(|_| 480);
        options.http_oauth = oauth;
    };
    start_with(set, signer).await
}

async fn start_with(set_options: impl FnOnce(&mut Options), signer: &Signer) -> Server {
    let signing_keys = BTreeMap::from([("k".to_owned(), file(&set(&[signer])))]);
    let provider = ProviderOptions { signing_keys, ..Default::default() };
    let oauth2 =
        OAuth2Options { resource_servers: vec![ResourceServer::new("rabbitmq")], provider, ..OAuth2Options::default() };
    let chain = vec![Entry::both(Kind::OAuth2), Entry::both(Kind::Internal)];
    let mut options = Options::default();
    options.storage = Some(Storage::Memory);
    options.http = vec!["127.0.0.1:0".to_owned()];
    options.amqp = vec!["127.0.0.1:0".to_owned()];
    set_options(&mut options);
    options.auth_backends = auth_backends::Options { chain, oauth2, ..Default::default() };
    Server::with_options(options).start().await.expect("the broker starts")
}

/// FEATURES section 4.2.
#[tokio::test]
async fn the_page_is_told_of_the_provider_and_may_speak_to_it() {
    let signer = Signer::new("k", "ES256");
    let with = start(Some(provider()), &signer).await;
    let address = with.http_addr().expect("it has the API");
    let expected = json!({
        "oauth_enabled": true,
        "oauth_disable_basic_auth": true,
        "oauth_client_id": "ui",
        "oauth_provider_url": "https://id.example/realms/shop",
        "oauth_scopes": "openid profile",
        "oauth_initiated_logon_type": "sp_initiated",
    });
    assert_eq!(fetch(address, "GET", "/oauth.json").await.json, expected);
    let policy = fetch(address, "GET", "/").await.header("content-security-policy").expect("a policy");
    assert!(policy.ends_with("; connect-src 'self' https://id.example"), "{policy}");
    assert_eq!(fetch(address, "GET", "/js/oidc-oauth/login-callback.html").await.status, 200);
    assert_eq!(send_form(address, "/login", "access_token=x").await.status, 404, "the page asks for tokens itself");

    let whoami = Http::bearer(address, &signer.token(&claims("rabbitmq.tag:management"))).get("whoami").await;
    assert_eq!(whoami.json["login_session_timeout"], 480);

    let without = start(None, &signer).await;
    let address = without.http_addr().expect("it has the API");
    assert_eq!(fetch(address, "GET", "/oauth.json").await.json, json!({"oauth_enabled": false}));
    assert_eq!(Http::new(address, "guest:guest").get("whoami").await.status, 200);
}

/// As recorded from RabbitMQ 4.3.6: what the UI asks for has nothing to do with what the API takes. Only `/api/login` is
/// refused, too, where RabbitMQ gives a token that it would not take.
#[tokio::test]
async fn passwords_are_taken_unless_the_configuration_says_otherwise() {
    let signer = Signer::new("k", "ES256");
    let token = signer.token(&claims("rabbitmq.tag:administrator"));
    for basic_disabled in [true, false] {
        let server =
            start_with(|options| options.http_oauth = Some(OAuth { basic_disabled, ..provider() }), &signer).await;
        let address = server.http_addr().expect("it has the API");
        assert_eq!(fetch(address, "GET", "/oauth.json").await.json["oauth_disable_basic_auth"], basic_disabled);
        assert_eq!(Http::new(address, "guest:guest").get("whoami").await.status, 200);
        assert_eq!(send_form(address, "/api/login", "username=guest&password=guest").await.status, 200);
        assert_eq!(Http::bearer(address, &token).get("whoami").await.status, 200);
    }
    let server = start_with(|options| options.http_basic_auth_disabled = true, &signer).await;
    let address = server.http_addr().expect("it has the API");
    let disabled = json!({"error": "not_authorised", "reason": "HTTP access denied: basic auth disabled"});
    for user in ["guest:guest", "guest:wrong"] {
        let refused = Http::new(address, user).get("whoami").await;
        assert_eq!((refused.status, &refused.json, refused.header("www-authenticate")), (401, &disabled, None));
    }
    let refused = send_form(address, "/api/login", "username=guest&password=guest").await;
    assert_eq!((refused.status, &refused.json), (401, &disabled));
    let bare = fetch(address, "GET", "/api/whoami").await;
    let missing = json!({"error": "not_authorised", "reason": "HTTP access denied: no credentials"});
    assert_eq!((bare.status, &bare.json, bare.header("www-authenticate")), (401, &missing, None));
    assert_eq!(Http::bearer(address, &token).get("whoami").await.status, 200);
}

#[tokio::test]
async fn a_provider_may_send_users_with_their_tokens() {
    let signer = Signer::new("k", "ES256");
    let server = start(Some(OAuth { logon_type: LogonType::Provider, ..provider() }), &signer).await;
    let address = server.http_addr().expect("it has the API");
    let token = signer.token(&claims("rabbitmq.tag:management"));
    let sent = send_form(address, "/login", &format!("access_token={token}")).await;
    assert_eq!((sent.status, sent.header("location")), (303, Some(format!("/#access_token={token}"))));
    for form in ["", "access_token=", "access_token=nonsense"] {
        let refused = send_form(address, "/login", form).await;
        assert_eq!(
            (refused.status, refused.header("location").as_deref()),
            (303, Some("/#error=Not_Authorized")),
            "{form}"
        );
    }
    let nobody = signer.token(&claims("rabbitmq.read:*/*"));
    let refused = send_form(address, "/login", &format!("access_token={nobody}")).await;
    assert_eq!(refused.header("location").as_deref(), Some("/#error=Not%20management%20user"));
}
