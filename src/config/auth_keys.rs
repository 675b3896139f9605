//! RabbitMQ's keys of backends of logins and permissions: `auth_backends`, `auth_oauth2`, `auth_http`, `auth_ldap`,
//! `auth_cache`. Unlike others, a key of these that is not known is an error even if it looks like one of RabbitMQ's: what is meant to keep
//! people out must not go unnoticed.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::conf::Setting;
use super::error::Error;
use crate::auth_backends::{
    Bind, CacheOptions, Entry, HttpOptions, Kind, LdapOptions, Method, OAuth2Options, ProviderOptions, ResourceServer,
    TlsClientOptions,
};
use crate::server::Options;

/// Of RabbitMQ, without an effect here: `*` stands for one word. Certificates are always checked against the name of whom
/// is asked; what browsers need to log in stands elsewhere.
const IGNORED: &[&str] = &[
    "auth_cache.cache_module",
    "auth_http.ssl_options.*",
    "auth_http.ssl_options.*.*",
    "auth_ldap.log",
    "auth_ldap.ssl_options.*",
    "auth_ldap.ssl_options.*.*",
    "auth_oauth2.authorization_endpoint",
    "auth_oauth2.end_session_endpoint",
    "auth_oauth2.https.crl_check",
    "auth_oauth2.https.depth",
    "auth_oauth2.https.fail_if_no_peer_cert",
    "auth_oauth2.https.hostname_verification",
    "auth_oauth2.oauth_providers.*.authorization_endpoint",
    "auth_oauth2.oauth_providers.*.end_session_endpoint",
    "auth_oauth2.oauth_providers.*.https.crl_check",
    "auth_oauth2.oauth_providers.*.https.depth",
    "auth_oauth2.oauth_providers.*.https.hostname_verification",
    "auth_oauth2.oauth_providers.*.token_endpoint",
    "auth_oauth2.token_endpoint",
];

/// More are no pool.
const CONNECTIONS_MAX: usize = 65_536;

/// Whether a key is read here.
pub(super) fn is_one(key: &str) -> bool {
    ["auth_backends.", "auth_oauth2.", "auth_http.", "auth_ldap.", "auth_cache."]
        .iter()
        .any(|prefix| key.starts_with(prefix))
}

/// Sets in `options` what the settings of these keys say; of several of one key the last counts. Gives a line for each
/// without an effect here.
pub(super) fn apply(options: &mut Options, settings: &[&Setting]) -> Result<Vec<String>, Error> {
    let latest: BTreeMap<&str, &Setting> = settings.iter().map(|setting| (&*setting.key, *setting)).collect();
    let mut warnings = Vec::new();
    let mut chain = Chain::default();
    let mut cached = Place::default();
    let mut oauth2 = OAuth2::default();
    let mut ldap_servers = BTreeMap::new();
    for setting in latest.values() {
        let words: Vec<&str> = setting.key.split('.').collect();
        let backends = &mut options.auth_backends;
        let is_known = match words[0] {
            "auth_backends" => chain.take(setting, &words[1..])?,
            "auth_cache" => cached.take(setting, &words[1..])? || cache(&mut backends.cache, setting, &words[1..])?,
            "auth_ldap" if words.len() == 3 && words[1] == "servers" => {
                let number: u32 = words[2].parse().map_err(|_| wrong(setting, "auth_ldap.servers.N, N a number"))?;
                ldap_servers.insert(number, setting.value.clone());
                true
            }
            "auth_ldap" => ldap(&mut backends.ldap, setting, &words[1..])?,
            "auth_http" => http(&mut backends.http, setting, &words[1..])?,
            _ => oauth2.take(setting, &words[1..])?,
        };
        if is_known {
            continue;
        }
        if !IGNORED.iter().any(|pattern| is_match(pattern, &words)) {
            return Err(Error::UnknownKey { place: setting.place.clone(), key: setting.key.clone(), nearest: None });
        }
        warnings.push(format!("{}: {} has no effect here", setting.place, setting.key));
    }
    if let Some(entries) = chain.entries()? {
        options.auth_backends.chain = entries;
    }
    if let Some(entry) = cached.entry()? {
        options.auth_backends.cache.cached = entry;
    }
    options.auth_backends.oauth2 = oauth2.options();
    options.auth_backends.ldap.servers = ldap_servers.into_values().collect();
    Ok(warnings)
}

fn is_match(pattern: &str, words: &[&str]) -> bool {
    let parts: Vec<&str> = pattern.split('.').collect();
    parts.len() == words.len() && parts.iter().zip(words).all(|(part, word)| *part == "*" || part == word)
}

fn wrong(setting: &Setting, expected: &'static str) -> Error {
    let name = format!("{}: {}", setting.place, setting.key);
    Error::Value { setting: name, value: setting.value.clone(), expected }
}

fn flag(setting: &Setting) -> Result<bool, Error> {
    super::switch(&setting.value).ok_or_else(|| wrong(setting, "true or false"))
}

fn milliseconds(setting: &Setting) -> Result<Duration, Error> {
    setting.value.parse().map(Duration::from_millis).map_err(|_| wrong(setting, "a number of milliseconds"))
}

fn text(setting: &Setting) -> Option<String> {
    Some(setting.value.clone())
}

/// As RabbitMQ: keys must not come from somebody in between.
fn https(setting: &Setting) -> Result<Option<String>, Error> {
    if setting.value.starts_with("https://") { Ok(text(setting)) } else { Err(wrong(setting, "an https URL")) }
}

/// By its short name, or that of RabbitMQ's module.
fn kind(setting: &Setting) -> Result<Kind, Error> {
    match setting.value.strip_prefix("rabbit_auth_backend_").unwrap_or(&setting.value) {
        "internal" => Ok(Kind::Internal),
        "oauth" | "oauth2" => Ok(Kind::OAuth2),
        "http" => Ok(Kind::Http),
        "ldap" => Ok(Kind::Ldap),
        "cache" => Ok(Kind::Cache),
        "dummy" => Ok(Kind::Dummy),
        _ => Err(wrong(setting, "internal, oauth2, http, ldap, cache or dummy")),
    }
}

/// `authn` and `authz` of one place, or both at once.
#[derive(Default)]
struct Place<'a> {
    both: Option<&'a Setting>,
    authn: Option<&'a Setting>,
    authz: Option<&'a Setting>,
}

impl<'a> Place<'a> {
    fn set(&mut self, setting: &'a Setting, part: Option<&str>) -> bool {
        match part {
            None => self.both = Some(setting),
            Some("authn") => self.authn = Some(setting),
            Some("authz") => self.authz = Some(setting),
            Some(_) => return false,
        }
        true
    }

    /// `auth_cache.cached_backend`.
    fn take(&mut self, setting: &'a Setting, words: &[&str]) -> Result<bool, Error> {
        Ok(match words {
            ["cached_backend"] => self.set(setting, None),
            ["cached_backend", part] => self.set(setting, Some(part)),
            _ => false,
        })
    }

    /// What one of the two does not say, the other does.
    fn entry(&self) -> Result<Option<Entry>, Error> {
        if let (Some(both), Some(_), _) | (Some(both), _, Some(_)) = (self.both, self.authn, self.authz) {
            return Err(wrong(both, "either one backend, or .authn and .authz"));
        }
        let authn = self.both.or(self.authn).or(self.authz);
        let authz = self.both.or(self.authz).or(self.authn);
        let (Some(authn), Some(authz)) = (authn, authz) else { return Ok(None) };
        Ok(Some(Entry { authn: kind(authn)?, authz: kind(authz)? }))
    }
}

#[derive(Default)]
struct Chain<'a>(BTreeMap<u32, Place<'a>>);

impl<'a> Chain<'a> {
    fn take(&mut self, setting: &'a Setting, words: &[&str]) -> Result<bool, Error> {
        let (number, part) = match words {
            [number] => (number, None),
            [number, part] => (number, Some(*part)),
            _ => return Ok(false),
        };
        let number = number.parse().map_err(|_| wrong(setting, "auth_backends.N, N a number"))?;
        Ok(self.0.entry(number).or_default().set(setting, part))
    }

    fn entries(&self) -> Result<Option<Vec<Entry>>, Error> {
        let entries: Vec<Entry> =
            self.0.values().map(Place::entry).flat_map(Result::transpose).collect::<Result<_, _>>()?;
        Ok((!entries.is_empty()).then_some(entries))
    }
}

fn cache(options: &mut CacheOptions, setting: &Setting, words: &[&str]) -> Result<bool, Error> {
    match words {
        ["cache_ttl"] => options.ttl = milliseconds(setting)?,
        ["cache_refusals"] => options.refusals = flag(setting)?,
        _ => return Ok(false),
    }
    Ok(true)
}

fn http(options: &mut HttpOptions, setting: &Setting, words: &[&str]) -> Result<bool, Error> {
    let value = || setting.value.clone();
    match words {
        ["http_method"] => {
            options.method = match setting.value.as_str() {
                "get" => Method::Get,
                "post" => Method::Post,
                _ => return Err(wrong(setting, "get or post")),
            }
        }
        ["user_path"] => options.user_path = value(),
        ["vhost_path"] => options.vhost_path = value(),
        ["resource_path"] => options.resource_path = value(),
        ["topic_path"] => options.topic_path = value(),
        ["connection_timeout"] => options.connection_timeout = milliseconds(setting)?,
        ["request_timeout"] => options.request_timeout = milliseconds(setting)?,
        ["authorization_failure_disclosure"] => options.discloses_reasons = flag(setting)?,
        ["ssl_options", key] => return tls(&mut options.tls, setting, key),
        _ => return Ok(false),
    }
    Ok(true)
}

fn ldap(options: &mut LdapOptions, setting: &Setting, words: &[&str]) -> Result<bool, Error> {
    let value = || setting.value.clone();
    let unless_none = || Some(value()).filter(|value| value != "none");
    let query = || LdapOptions::query(&setting.value).ok_or_else(|| wrong(setting, "a query such as {constant, true}"));
    match words {
        ["servers"] if setting.value == "none" => {}
        ["port"] => options.port = setting.value.parse().map_err(|_| wrong(setting, "a port"))?,
        // Whoever waits does so for a bounded time.
        ["timeout"] if setting.value == "infinity" => {}
        ["timeout"] => options.timeout = milliseconds(setting)?,
        ["connection_pool_size"] => {
            let size = setting.value.parse().ok().filter(|size| (1..=CONNECTIONS_MAX).contains(size));
            options.connection_pool_size = size.ok_or_else(|| wrong(setting, "a number from 1 to 65536"))?;
        }
        ["idle_timeout"] if setting.value == "infinity" => options.idle_timeout = None,
        ["idle_timeout"] => options.idle_timeout = Some(milliseconds(setting)?),
        ["user_dn_pattern"] => options.user_dn_pattern = value(),
        ["user_bind_pattern"] => options.user_bind_pattern = Some(value()),
        ["dn_lookup_attribute"] => options.dn_lookup_attribute = unless_none(),
        ["dn_lookup_base"] => options.dn_lookup_base = unless_none(),
        ["group_lookup_base"] => options.group_lookup_base = unless_none(),
        ["dn_lookup_bind", rest @ ..] => return bind(&mut options.dn_lookup_bind, setting, rest),
        ["other_bind", rest @ ..] => return bind(&mut options.other_bind, setting, rest),
        ["use_ssl"] => options.use_ssl = flag(setting)?,
        ["use_starttls"] => options.use_starttls = flag(setting)?,
        ["ssl_options", key] => return tls(&mut options.tls, setting, key),
        ["queries", "vhost_access"] => options.vhost_access = query()?,
        ["queries", "resource_access"] => options.resource_access = query()?,
        ["queries", "topic_access"] => options.topic_access = query()?,
        ["queries", "tags"] => {
            let tags = LdapOptions::tag_queries(&setting.value);
            options.tags = tags.ok_or_else(|| wrong(setting, "a list such as [{administrator, {constant, false}}]"))?;
        }
        _ => return Ok(false),
    }
    Ok(true)
}

/// `as_user`, `anon`, or name and password in two keys.
fn bind(bind: &mut Bind, setting: &Setting, rest: &[&str]) -> Result<bool, Error> {
    let (mut dn, mut password) = match bind {
        Bind::As(dn, password) => (std::mem::take(dn), std::mem::take(password)),
        _ => (String::new(), String::new()),
    };
    *bind = match rest {
        [] => match setting.value.as_str() {
            "as_user" => Bind::User,
            "anon" => Bind::Anonymous,
            _ => return Err(wrong(setting, "as_user or anon")),
        },
        ["user_dn"] => {
            dn.clone_from(&setting.value);
            Bind::As(dn, password)
        }
        ["password"] => {
            password.clone_from(&setting.value);
            Bind::As(dn, password)
        }
        _ => return Ok(false),
    };
    Ok(true)
}

fn tls(options: &mut TlsClientOptions, setting: &Setting, key: &str) -> Result<bool, Error> {
    let path = || Some(PathBuf::from(&setting.value));
    match key {
        "cacertfile" => options.authorities = path(),
        "certfile" => options.certificates = path(),
        "keyfile" => options.key = path(),
        "verify" | "peer_verification" => {
            options.verify_none = match setting.value.as_str() {
                "verify_peer" => false,
                "verify_none" => true,
                _ => return Err(wrong(setting, "verify_peer or verify_none")),
            }
        }
        _ => return Ok(false),
    }
    Ok(true)
}

/// What resource servers are told one by one; what they are not told is as at the root.
#[derive(Clone, Default)]
struct Server {
    id: Option<String>,
    kind: Option<String>,
    verify_aud: Option<bool>,
    require_exp: Option<bool>,
    scope_prefix: Option<String>,
    additional_scopes_key: Option<String>,
    /// By number or name, in that order.
    username_claims: BTreeMap<String, String>,
    aliases: BTreeMap<String, Vec<String>>,
    /// Alias and scopes that stand under a number.
    numbered_aliases: BTreeMap<String, (Option<String>, Vec<String>)>,
    provider: Option<String>,
}

#[derive(Default)]
struct OAuth2 {
    root: Server,
    servers: BTreeMap<String, Server>,
    provider: ProviderOptions,
    providers: BTreeMap<String, ProviderOptions>,
}

impl OAuth2 {
    fn take(&mut self, setting: &Setting, words: &[&str]) -> Result<bool, Error> {
        match words {
            ["resource_servers", name, rest @ ..] => {
                self.servers.entry((*name).to_owned()).or_default().take(setting, rest)
            }
            ["oauth_providers", name, rest @ ..] => {
                provider(self.providers.entry((*name).to_owned()).or_default(), setting, rest)
            }
            ["resource_server_id"] => self.root.take(setting, &["id"]),
            ["default_oauth_provider"] => self.root.take(setting, &["oauth_provider_id"]),
            // Those that a server of its own has under these names are at the root called otherwise.
            ["id" | "oauth_provider_id"] => Ok(false),
            words => Ok(self.root.take(setting, words)? || provider(&mut self.provider, setting, words)?),
        }
    }

    fn options(self) -> OAuth2Options {
        let mut resource_servers = Vec::new();
        for (name, server) in self.servers {
            let id = server.id.clone().unwrap_or(name);
            resource_servers.push(server.resource_server(id, &self.root));
        }
        if let Some(id) = self.root.id.clone() {
            resource_servers.push(self.root.clone().resource_server(id, &self.root));
        }
        OAuth2Options { resource_servers, provider: self.provider, providers: self.providers }
    }
}

impl Server {
    fn take(&mut self, setting: &Setting, words: &[&str]) -> Result<bool, Error> {
        let scopes = || setting.value.split_whitespace().map(str::to_owned).collect();
        match words {
            ["id"] => self.id = text(setting),
            ["resource_server_type"] => self.kind = text(setting),
            ["verify_aud"] => self.verify_aud = Some(flag(setting)?),
            ["require_exp"] => self.require_exp = Some(flag(setting)?),
            ["scope_prefix"] => self.scope_prefix = text(setting),
            ["additional_scopes_key"] => self.additional_scopes_key = text(setting),
            ["oauth_provider_id"] => self.provider = text(setting),
            ["preferred_username_claims", number] => {
                self.username_claims.insert((*number).to_owned(), setting.value.clone());
            }
            ["scope_aliases", number, "alias"] => {
                self.numbered_aliases.entry((*number).to_owned()).or_default().0 = text(setting);
            }
            ["scope_aliases", number, "scope"] => {
                self.numbered_aliases.entry((*number).to_owned()).or_default().1 = scopes();
            }
            ["scope_aliases", alias] => {
                self.aliases.insert((*alias).to_owned(), scopes());
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn scope_aliases(&self) -> BTreeMap<String, Vec<String>> {
        let numbered =
            self.numbered_aliases.values().filter_map(|(alias, scopes)| Some((alias.clone()?, scopes.clone())));
        self.aliases.clone().into_iter().chain(numbered).collect()
    }

    fn claims(&self) -> Vec<String> {
        let mut claims: Vec<_> = self.username_claims.iter().collect();
        claims.sort_by_key(|(number, _)| number.parse::<u32>().unwrap_or(u32::MAX));
        claims.into_iter().map(|(_, claim)| claim.clone()).collect()
    }

    fn resource_server(self, id: String, root: &Self) -> ResourceServer {
        let defaults = ResourceServer::new(id);
        let either = |own: &Option<String>, root: &Option<String>| own.clone().or_else(|| root.clone());
        let claims = [self.claims(), root.claims(), defaults.preferred_username_claims];
        let aliases = [self.scope_aliases(), root.scope_aliases()];
        ResourceServer {
            id: defaults.id,
            resource_server_type: either(&self.kind, &root.kind),
            verify_aud: self.verify_aud.or(root.verify_aud).unwrap_or(defaults.verify_aud),
            require_exp: self.require_exp.or(root.require_exp).unwrap_or(defaults.require_exp),
            scope_prefix: either(&self.scope_prefix, &root.scope_prefix),
            additional_scopes_key: either(&self.additional_scopes_key, &root.additional_scopes_key),
            preferred_username_claims: claims.into_iter().find(|claims| !claims.is_empty()).unwrap_or_default(),
            scope_aliases: aliases.into_iter().find(|aliases| !aliases.is_empty()).unwrap_or_default(),
            provider: either(&self.provider, &root.provider),
        }
    }
}

fn provider(options: &mut ProviderOptions, setting: &Setting, words: &[&str]) -> Result<bool, Error> {
    match words {
        ["signing_keys", id] => {
            options.signing_keys.insert((*id).to_owned(), PathBuf::from(&setting.value));
        }
        ["default_key"] => options.default_key = text(setting),
        ["algorithms", _] => options.algorithms.push(setting.value.clone()),
        ["jwks_uri" | "jwks_url"] => options.jwks_uri = https(setting)?,
        ["issuer"] => options.issuer = https(setting)?,
        ["discovery_endpoint_path"] => options.discovery_endpoint_path = text(setting),
        ["discovery_endpoint_params", name] => {
            options.discovery_endpoint_params.insert((*name).to_owned(), setting.value.clone());
        }
        ["https", key] => return tls(&mut options.https, setting, key),
        _ => return Ok(false),
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{conf, keys};

    fn applied(text: &str) -> Result<(Options, Vec<String>), String> {
        let settings = conf::parse(text, "f", |_| None).map_err(|error| error.to_string())?;
        let mut options = Options::default();
        let applied = keys::apply(&mut options, &settings).map_err(|error| error.to_string())?;
        Ok((options, applied.warnings))
    }

    /// FEATURES US-9.
    #[test]
    fn the_chain_is_in_the_order_of_its_numbers() {
        let text = "auth_backends.10 = rabbit_auth_backend_internal\nauth_backends.2.authn = http\n\
                    auth_backends.2.authz = internal\nauth_backends.1 = oauth2\nauth_backends.3.authz = cache";
        let chain = applied(text).unwrap().0.auth_backends.chain;
        let entry = |authn, authz| Entry { authn, authz };
        let expected = [
            Entry::both(Kind::OAuth2),
            entry(Kind::Http, Kind::Internal),
            Entry::both(Kind::Cache),
            Entry::both(Kind::Internal),
        ];
        assert_eq!(chain, expected);
        assert!(applied("heartbeat = 5").unwrap().0.auth_backends.is_internal_only());
        for bad in [
            "auth_backends.1 = kerberos",
            "auth_backends.x = internal",
            "auth_backends.1 = internal\nauth_backends.1.authn = http",
            "auth_backends.1.auth = internal",
            "auth_oauth2.verify_audience = true",
            "auth_oauth2.verify_aud = maybe",
            "auth_oauth2.jwks_url = http://a/keys",
            "auth_oauth2.issuer = a",
            "auth_oauth2.resource_servers.a.verify = true",
            "auth_oauth2.id = a",
            "auth_http.method = get",
            "auth_http.http_method = put",
            "auth_http.request_timeout = long",
            "auth_cache.ttl = 5",
            "auth_cache.cached_backend = http\nauth_cache.cached_backend.authn = http",
        ] {
            assert!(applied(bad).is_err(), "{bad}");
        }
    }

    /// FEATURES US-9.
    #[test]
    fn http_and_cache_are_set() {
        let text = "auth_http.http_method = post\nauth_http.user_path = http://a/u\nauth_http.vhost_path = http://a/v\n\
                    auth_http.resource_path = http://a/r\nauth_http.topic_path = http://a/t\n\
                    auth_http.connection_timeout = 20\nauth_http.request_timeout = 30\n\
                    auth_http.authorization_failure_disclosure = true\nauth_http.ssl_options.verify = verify_none\n\
                    auth_http.ssl_options.cacertfile = /ca\nauth_http.ssl_options.depth = 2\n\
                    auth_cache.cached_backend = http\nauth_cache.cache_ttl = 5000\nauth_cache.cache_refusals = true";
        let (options, warnings) = applied(text).unwrap();
        let tls =
            TlsClientOptions { verify_none: true, authorities: Some("/ca".into()), ..TlsClientOptions::default() };
        let expected = HttpOptions {
            method: Method::Post,
            user_path: "http://a/u".to_owned(),
            vhost_path: "http://a/v".to_owned(),
            resource_path: "http://a/r".to_owned(),
            topic_path: "http://a/t".to_owned(),
            connection_timeout: Duration::from_millis(20),
            request_timeout: Duration::from_millis(30),
            discloses_reasons: true,
            tls,
        };
        assert_eq!(options.auth_backends.http, expected);
        let cache = CacheOptions { cached: Entry::both(Kind::Http), ttl: Duration::from_secs(5), refusals: true };
        assert_eq!(options.auth_backends.cache, cache);
        assert_eq!(warnings, ["f:11: auth_http.ssl_options.depth has no effect here"]);
    }

    /// FEATURES US-9: what a resource server is not told is as at the root.
    #[test]
    fn resource_servers_have_what_the_root_has() {
        let text = "auth_oauth2.resource_server_id = rabbitmq\nauth_oauth2.scope_prefix = mq.\n\
                    auth_oauth2.preferred_username_claims.2 = sub\nauth_oauth2.preferred_username_claims.10 = email\n\
                    auth_oauth2.scope_aliases.boss = mq.tag:administrator mq.read:*/*\n\
                    auth_oauth2.scope_aliases.1.alias = dev\nauth_oauth2.scope_aliases.1.scope = mq.read:dev/*\n\
                    auth_oauth2.verify_aud = false\nauth_oauth2.additional_scopes_key = roles\n\
                    auth_oauth2.resource_servers.a.id = shop\nauth_oauth2.resource_servers.a.verify_aud = true\n\
                    auth_oauth2.resource_servers.a.scope_prefix = shop.\n\
                    auth_oauth2.resource_servers.a.oauth_provider_id = kc\nauth_oauth2.resource_servers.b.require_exp = false\n\
                    auth_oauth2.signing_keys.k1 = /k1.pem\nauth_oauth2.default_key = k1\n\
                    auth_oauth2.algorithms.1 = RS256\nauth_oauth2.algorithms.2 = ES256\n\
                    auth_oauth2.oauth_providers.kc.issuer = https://kc/realm\n\
                    auth_oauth2.oauth_providers.kc.discovery_endpoint_params.appid = 7\n\
                    auth_oauth2.oauth_providers.kc.https.cacertfile = /ca.pem\nauth_oauth2.token_endpoint = https://a";
        let (options, warnings) = applied(text).unwrap();
        let OAuth2Options { resource_servers, provider, providers } = options.auth_backends.oauth2;
        let [shop, b, root] = &resource_servers[..] else { panic!("{resource_servers:?}") };
        assert_eq!((&*shop.id, &*b.id, &*root.id), ("shop", "b", "rabbitmq"));
        assert_eq!((shop.verify_aud, b.verify_aud, b.require_exp, root.require_exp), (true, false, false, true));
        assert_eq!(shop.scope_prefix.as_deref(), Some("shop."));
        assert_eq!(b.scope_prefix.as_deref(), Some("mq."));
        assert_eq!(shop.preferred_username_claims, ["sub", "email"]);
        assert_eq!(b.additional_scopes_key.as_deref(), Some("roles"));
        assert_eq!(shop.scope_aliases["boss"], ["mq.tag:administrator", "mq.read:*/*"]);
        assert_eq!(shop.scope_aliases["dev"], ["mq.read:dev/*"]);
        assert_eq!((shop.provider.as_deref(), b.provider.as_deref()), (Some("kc"), None));
        assert_eq!(provider.signing_keys["k1"], PathBuf::from("/k1.pem"));
        assert_eq!((provider.default_key.as_deref(), provider.algorithms.len()), (Some("k1"), 2));
        let kc = &providers["kc"];
        assert_eq!((kc.issuer.as_deref(), &*kc.discovery_endpoint_params["appid"]), (Some("https://kc/realm"), "7"));
        assert_eq!(kc.https.authorities, Some("/ca.pem".into()));
        assert_eq!(warnings.len(), 1, "{warnings:?}");
    }
}
