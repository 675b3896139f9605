//! Tokens of OAuth 2 (`auth_oauth2.*`): the password is a signed token, whose scopes say what its bearer may do until it
//! expires. What a token grants is worked out once, when it comes; to ask it takes no waiting.

mod grants;
mod keys;
mod provider;
mod scopes;
mod token;

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value as Json;
use tracing::debug;

use self::grants::Grants;
use self::provider::Provider;
use self::token::{Claims, Unverified};
use super::Error;
use super::chain::{Known, Reason};
use super::http::check_url;
use crate::auth::{Asked, Authorizer, Denied, Later, Origin, Question, RenewError, Renewed, Verdict};
use crate::tls_client::TlsClientOptions;

/// A clock elsewhere may be so far ahead: a token counts as valid so long before its `nbf`.
const LEEWAY_S: u64 = 60;

/// `auth_oauth2.*`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OAuth2Options {
    /// What tokens may be for: `auth_oauth2.resource_server_id` and those of `auth_oauth2.resource_servers`.
    pub resource_servers: Vec<ResourceServer>,
    /// Whose tokens they are where a resource server names no other: `auth_oauth2.jwks_uri` and so on.
    pub provider: ProviderOptions,
    /// `auth_oauth2.oauth_providers`, by id.
    pub providers: BTreeMap<String, ProviderOptions>,
}

/// What a token may be for, and how it is read then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResourceServer {
    /// `resource_server_id`: what a token's `aud` must name.
    pub id: String,
    /// `resource_server_type`: of rich authorization requests.
    pub resource_server_type: Option<String>,
    /// `verify_aud`. Default true; false takes tokens for nobody in particular, if it is the only one to do so.
    pub verify_aud: bool,
    /// `require_exp`: a token must expire. Default true.
    pub require_exp: bool,
    /// `scope_prefix`: what scopes begin with. Default the id and a dot.
    pub scope_prefix: Option<String>,
    /// `additional_scopes_key`: paths to more scopes, with spaces between them.
    pub additional_scopes_key: Option<String>,
    /// `preferred_username_claims`: the first that is there names the user. Default `sub`, `client_id`.
    pub preferred_username_claims: Vec<String>,
    /// `scope_aliases`: scopes that stand for others.
    pub scope_aliases: BTreeMap<String, Vec<String>>,
    /// `oauth_provider_id`: whose tokens it takes.
    pub provider: Option<String>,
}

impl ResourceServer {
    /// With defaults for the rest.
    pub fn new(id: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            resource_server_type: None,
            verify_aud: true,
            require_exp: true,
            scope_prefix: None,
            additional_scopes_key: None,
            preferred_username_claims: vec!["sub".to_owned(), "client_id".to_owned()],
            scope_aliases: BTreeMap::new(),
            provider: None,
        }
    }

    fn scope_prefix(&self) -> Cow<'_, str> {
        match &self.scope_prefix {
            Some(prefix) => prefix.into(),
            None => format!("{}.", self.id).into(),
        }
    }
}

/// Whose signatures are taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProviderOptions {
    /// `signing_keys`: id and file. A file holds a public key or certificate in PEM, or a key or a set of keys in JSON.
    pub signing_keys: BTreeMap<String, PathBuf>,
    /// `default_key`: of tokens that name none.
    pub default_key: Option<String>,
    /// `algorithms`. Default all that fit the key.
    pub algorithms: Vec<String>,
    /// `jwks_uri`: where keys are found.
    pub jwks_uri: Option<String>,
    /// `issuer`: who can be asked where keys are found.
    pub issuer: Option<String>,
    /// `discovery_endpoint_path`: where the issuer is asked. Default `.well-known/openid-configuration`.
    pub discovery_endpoint_path: Option<String>,
    /// `discovery_endpoint_params`: with what.
    pub discovery_endpoint_params: BTreeMap<String, String>,
    /// `https.*`.
    pub https: TlsClientOptions,
    /// Keys are not downloaded again before so long. Default 10 s.
    pub refresh_interval: Option<Duration>,
}

/// Where keys are found.
#[derive(Debug)]
enum Source {
    Keys(String),
    Discovery(String),
}

impl ProviderOptions {
    fn source(&self) -> Result<Option<Source>, Error> {
        if let Some(uri) = &self.jwks_uri {
            check_url("auth_oauth2.jwks_uri", uri)?;
            return Ok(Some(Source::Keys(uri.clone())));
        }
        let Some(issuer) = &self.issuer else { return Ok(None) };
        check_url("auth_oauth2.issuer", issuer)?;
        let path = self.discovery_endpoint_path.as_deref().unwrap_or(".well-known/openid-configuration");
        let mut uri = format!("{}/{}", issuer.trim_end_matches('/'), path.trim_start_matches('/'));
        for (index, (name, value)) in self.discovery_endpoint_params.iter().enumerate() {
            uri += &format!("{}{name}={value}", if index == 0 { '?' } else { '&' });
        }
        check_url("auth_oauth2.discovery_endpoint_path", &uri)?;
        Ok(Some(Source::Discovery(uri)))
    }
}

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct OAuth2 {
    servers: Vec<ResourceServer>,
    provider: Provider,
    providers: HashMap<String, Provider>,
}

/// Why a token is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
enum BadToken {
    #[error("provided token is invalid")]
    Malformed,
    #[error("no_aud_found")]
    NoAudience,
    #[error("no_matching_aud_found")]
    OtherAudience,
    #[error("aud_matched_many_resource_servers_only_one_allowed")]
    ManyAudiences,
    #[error("key_not_found")]
    UnknownKey,
    #[error("signature_invalid")]
    Signature,
    #[error("too_many_scopes")]
    TooManyScopes,
    #[error("Provided JWT token has no exp claim")]
    NoExpiry,
    #[error("Provided JWT token has an invalid exp claim: value is not a number")]
    BadExpiry,
    #[error("Provided JWT token has expired at timestamp {at} (validated at {now})")]
    Expired { at: u64, now: u64 },
    #[error("Provided JWT token has an invalid nbf claim: value is not a number")]
    BadBeginning,
    #[error("Provided JWT token is not valid yet")]
    TooEarly,
}

impl OAuth2 {
    pub(super) const NAME: &'static str = "rabbit_auth_backend_oauth2";

    pub(super) fn new(options: &OAuth2Options) -> Result<Self, Error> {
        if options.resource_servers.is_empty() {
            return Err(Error::NoResourceServer);
        }
        let providers = options.providers.iter().map(|(id, options)| Ok((id.clone(), Provider::new(options)?)));
        let providers: HashMap<_, _> = providers.collect::<Result<_, Error>>()?;
        for id in options.resource_servers.iter().filter_map(|server| server.provider.as_ref()) {
            if !providers.contains_key(id) {
                return Err(Error::NoProvider(id.clone()));
            }
        }
        let provider = Provider::new(&options.provider)?;
        Ok(Self { servers: options.resource_servers.clone(), provider, providers })
    }

    /// Who bears this token, and what it grants.
    pub(super) async fn log_in(self: &Arc<Self>, token: &[u8]) -> Result<Known, Reason> {
        let failed = |error: BadToken| format!("Authentication using an OAuth 2/JWT token failed: {error}");
        let token = self.read(token, unix_s()).await.map_err(failed)?;
        token.check_expiry(unix_s()).map_err(failed)?;
        let (name, tags) = (token.user.clone(), token.tags.clone());
        Ok(Known { name, tags, authorizer: Some(Arc::new(Bearer { oauth2: self.clone(), token })) })
    }

    async fn read(&self, token: &[u8], now: u64) -> Result<Token, BadToken> {
        let unverified = Unverified::parse(token).ok_or(BadToken::Malformed)?;
        let server = self.resource_server(unverified.audience())?;
        let provider = match &server.provider {
            Some(id) => self.providers.get(id).ok_or(BadToken::UnknownKey)?,
            None => &self.provider,
        };
        let key = provider.key(unverified.key_id.as_deref()).await.ok_or(BadToken::UnknownKey)?;
        let claims = unverified.verify(&key, provider.algorithms.as_deref()).ok_or(BadToken::Signature)?;
        Token::new(server, claims, now)
    }

    /// The one that the token is for: named in it, or the only one that does not ask for that.
    fn resource_server(&self, audience: Option<&Json>) -> Result<&ResourceServer, BadToken> {
        let names: Vec<&str> = match audience {
            None => Vec::new(),
            Some(Json::String(names)) => names.split(' ').collect(),
            Some(Json::Array(names)) => names.iter().filter_map(Json::as_str).collect(),
            Some(_) => return Err(BadToken::Malformed),
        };
        let mut named = self.servers.iter().filter(|server| names.contains(&server.id.as_str()));
        match (named.next(), named.next()) {
            (Some(one), None) => return Ok(one),
            (Some(_), Some(_)) => return Err(BadToken::ManyAudiences),
            (None, _) => {}
        }
        let mut indifferent = self.servers.iter().filter(|server| !server.verify_aud);
        match (indifferent.next(), indifferent.next()) {
            (Some(one), None) => Ok(one),
            (Some(_), Some(_)) => Err(BadToken::ManyAudiences),
            (None, _) if audience.is_none() => Err(BadToken::NoAudience),
            (None, _) => Err(BadToken::OtherAudience),
        }
    }
}

/// A token that was verified.
#[derive(Clone)]
struct Token {
    user: String,
    tags: Vec<String>,
    grants: Grants,
    /// For the variables in scopes.
    claims: Claims,
    /// Seconds since 1970.
    expires: Option<u64>,
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Token").field("user", &self.user).finish_non_exhaustive()
    }
}

impl Token {
    fn new(server: &ResourceServer, claims: Claims, now: u64) -> Result<Self, BadToken> {
        let seconds = |claim: &Json| claim.as_f64().filter(|seconds| seconds.is_finite()).map(|seconds| seconds as u64);
        let expires = match claims.get("exp") {
            Some(claim) => Some(seconds(claim).ok_or(BadToken::BadExpiry)?),
            None if server.require_exp => return Err(BadToken::NoExpiry),
            None => None,
        };
        if let Some(claim) = claims.get("nbf")
            && seconds(claim).ok_or(BadToken::BadBeginning)? > now + LEEWAY_S
        {
            return Err(BadToken::TooEarly);
        }
        let scopes = scopes::scopes(server, &claims).ok_or(BadToken::TooManyScopes)?;
        let mut names = server.preferred_username_claims.iter();
        let user = names.find_map(|name| claims.get(name)?.as_str()).unwrap_or("unknown").to_owned();
        Ok(Self { user, tags: scopes::tags(&scopes), grants: Grants::new(&scopes, &claims), claims, expires })
    }

    fn check_expiry(&self, now: u64) -> Result<(), BadToken> {
        match self.expires {
            Some(at) if at <= now => Err(BadToken::Expired { at, now }),
            _ => Ok(()),
        }
    }
}

fn unix_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// Whoever has logged in with a token.
#[derive(Debug)]
struct Bearer {
    oauth2: Arc<OAuth2>,
    token: Token,
}

impl Bearer {
    fn verdict(&self, is_granted: impl FnOnce(&Token) -> bool) -> Asked<Verdict> {
        Asked::Now(match self.token.check_expiry(unix_s()) {
            Err(expired) => Err(Denied::failed(OAuth2::NAME, &format!("\"{expired}\""))),
            Ok(()) if is_granted(&self.token) => Ok(()),
            Ok(()) => Err(Denied::default()),
        })
    }
}

impl Authorizer for Bearer {
    fn admit(&self, vhost: &str, _from: Option<Origin>) -> Asked<Verdict> {
        self.verdict(|token| token.grants.admit(vhost, &token.claims))
    }

    fn ask(&self, question: &Question) -> Asked<Verdict> {
        self.verdict(|token| token.grants.allow(question, &token.claims))
    }

    fn expires_in(&self) -> Option<Duration> {
        let expires = Duration::from_secs(self.token.expires?);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Some(expires.saturating_sub(now))
    }

    fn renew(&self, secret: &[u8]) -> Option<Later<Result<Renewed, RenewError>>> {
        self.token.expires?;
        let (oauth2, secret, user) = (self.oauth2.clone(), secret.to_vec(), self.token.user.clone());
        Some(Later::new(async move {
            // Whether it has expired is looked at when the vhost is asked for.
            let token = oauth2.read(&secret, unix_s()).await.map_err(|error| {
                debug!(?user, %error, "a new token was refused");
                match error {
                    // What cannot be said to be for anybody in particular, as RabbitMQ has it.
                    BadToken::Malformed | BadToken::NoAudience | BadToken::OtherAudience | BadToken::ManyAudiences => {
                        RenewError::Failed
                    }
                    _ => RenewError::Refused,
                }
            })?;
            if token.user != user {
                return Err(RenewError::Refused);
            }
            let tags = token.tags.clone();
            Ok(Renewed { tags, authorizer: Arc::new(Self { oauth2, token }) })
        }))
    }
}
