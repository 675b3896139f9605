//! Users of a directory (`auth_ldap.*`): it is asked over LDAP whether a password is right, and by queries
//! ([`Query`]) what the user may do.
//!
//! Each login has a connection of its own; questions about access go over connections that are kept ([`Pool`]). Both end
//! after `timeout`. A name that a client gives is escaped where it becomes part of a DN, and never part of a filter's text.
//! An empty password is refused here: a directory takes it for no login at all, and says yes.

mod pool;
mod query;
mod terms;
mod wire;

use std::collections::HashSet;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio_rustls::TlsConnector;
use tracing::{info, warn};

use self::pool::Pool;
use self::query::{Scope, Text, Value};
use self::wire::{Connection, Filter};
use super::cache::{Cache, Fingerprints};
use super::chain::{Known, Reason};
use super::{CacheOptions, Error};
use crate::auth::{Asked, Authorizer, Denied, Later, Origin, Pattern, Question, Resource, Verdict};
use crate::tls_client::{self, TlsClientOptions};

pub use self::query::Query;

/// Groups of groups that are looked at for one question.
const GROUPS_MAX: usize = 1000;

/// `auth_ldap.*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LdapOptions {
    /// `servers.N`: the first that answers is asked.
    pub servers: Vec<String>,
    /// `port`. Default 389.
    pub port: u16,
    /// `timeout` of a login, or of a question. Default 15 s.
    pub timeout: Duration,
    /// `connection_pool_size`: logins and questions at once, and connections that are kept. Default 64.
    pub connection_pool_size: usize,
    /// `idle_timeout` of a connection that is kept for the next question; `None`: it is not closed for that, zero: none is
    /// kept. Default 5 min.
    pub idle_timeout: Option<Duration>,
    /// `user_dn_pattern`: a user's DN, with `${username}`. Default `${username}`.
    pub user_dn_pattern: String,
    /// `user_bind_pattern`: what the user logs in as, if not as its DN.
    pub user_bind_pattern: Option<String>,
    /// `dn_lookup_attribute`: the DN is that of the entry with the user's name there.
    pub dn_lookup_attribute: Option<String>,
    /// `dn_lookup_base`: below this.
    pub dn_lookup_base: Option<String>,
    /// `dn_lookup_bind`: as who it is looked up. Default as the user, after the login.
    pub dn_lookup_bind: Bind,
    /// `other_bind`: as who queries are asked. Default as the user.
    pub other_bind: Bind,
    /// `group_lookup_base`: where groups of groups are. Default `dn_lookup_base`.
    pub group_lookup_base: Option<String>,
    /// `use_ssl`: in TLS.
    pub use_ssl: bool,
    /// `use_starttls`: in TLS after the first word.
    pub use_starttls: bool,
    /// `ssl_options.*`.
    pub tls: TlsClientOptions,
    /// `queries.vhost_access`. Default yes.
    pub vhost_access: Query,
    /// `queries.resource_access`. Default yes.
    pub resource_access: Query,
    /// `queries.topic_access`. Default yes.
    pub topic_access: Query,
    /// `queries.tags`. Default none.
    pub tags: Vec<(String, Query)>,
}

impl LdapOptions {
    /// Reads one of `queries.*`; `None`: it is none.
    pub fn query(text: &str) -> Option<Query> {
        Query::read(text)
    }

    /// Reads `queries.tags`.
    pub fn tag_queries(text: &str) -> Option<Vec<(String, Query)>> {
        Query::read_tags(text)
    }
}

impl Default for LdapOptions {
    fn default() -> Self {
        Self {
            servers: Vec::new(),
            port: 389,
            timeout: Duration::from_secs(15),
            connection_pool_size: 64,
            idle_timeout: Some(Duration::from_secs(300)),
            user_dn_pattern: "${username}".to_owned(),
            user_bind_pattern: None,
            dn_lookup_attribute: None,
            dn_lookup_base: None,
            dn_lookup_bind: Bind::User,
            other_bind: Bind::User,
            group_lookup_base: None,
            use_ssl: false,
            use_starttls: false,
            tls: TlsClientOptions::default(),
            vhost_access: Query::Constant(true),
            resource_access: Query::Constant(true),
            topic_access: Query::Constant(true),
            tags: Vec::new(),
        }
    }
}

/// As who the directory is asked.
#[derive(Clone, Default, PartialEq, Eq)]
pub enum Bind {
    /// `as_user`: the user that it is about.
    #[default]
    User,
    /// `anon`: nobody.
    Anonymous,
    /// Somebody else, with a password.
    As(String, String),
}

// Written out because a derived one would print the password into logs.
impl fmt::Debug for Bind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User => f.write_str("User"),
            Self::Anonymous => f.write_str("Anonymous"),
            Self::As(dn, _) => f.debug_tuple("As").field(dn).finish_non_exhaustive(),
        }
    }
}

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Ldap {
    options: LdapOptions,
    tls: Option<Arc<ClientConfig>>,
    permits: Semaphore,
    /// Bound for queries, unless those are the user's.
    pool: Pool<Directory>,
    answers: Option<Answers>,
}

/// What is remembered, without passwords.
#[derive(Debug)]
struct Answers {
    keeps_refusals: bool,
    fingerprints: Fingerprints,
    /// DN and tags of who may log in.
    logins: Cache<[u8; 32], Option<(String, Vec<String>)>>,
    verdicts: Cache<[u8; 32], bool>,
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send + fmt::Debug {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + fmt::Debug> Stream for S {}

type Directory = Connection<Box<dyn Stream>>;

/// Values of the names in a query, and of the user's DN, which is one already.
type Names<'a> = [(&'static str, &'a str)];

const USER_DN: &str = "user_dn";

impl Ldap {
    pub(super) const NAME: &'static str = "rabbit_auth_backend_ldap";

    pub(super) fn new(options: &LdapOptions, cache: Option<CacheOptions>) -> Result<Self, Error> {
        if options.servers.is_empty() {
            return Err(Error::NoLdapServer);
        }
        for (setting, bind) in
            [("auth_ldap.dn_lookup_bind", &options.dn_lookup_bind), ("auth_ldap.other_bind", &options.other_bind)]
        {
            if matches!(bind, Bind::As(dn, password) if dn.is_empty() || password.is_empty()) {
                return Err(Error::HalfBind(setting));
            }
        }
        let tls = options.use_ssl || options.use_starttls;
        let tls = tls.then(|| tls_client::config(&options.tls).map(Arc::new)).transpose()?;
        let answers = cache.map(|CacheOptions { ttl, refusals, .. }| Answers {
            keeps_refusals: refusals,
            fingerprints: Fingerprints::default(),
            logins: Cache::new(ttl),
            verdicts: Cache::new(ttl),
        });
        let permits = Semaphore::new(options.connection_pool_size);
        let pool = Pool::new(options.idle_timeout);
        Ok(Self { options: options.clone(), tls, permits, pool, answers })
    }

    /// Without a password the name is proved already.
    pub(super) async fn log_in(self: &Arc<Self>, name: &str, password: Option<&[u8]>) -> Result<Known, Reason> {
        if name.is_empty() || password.is_some_and(<[u8]>::is_empty) {
            return Err("an empty name or password logs nobody in".to_owned());
        }
        let key = self.answers.as_ref().map(|answers| {
            let is_proved: &[u8] = if password.is_some() { b"password" } else { b"proved" };
            answers.fingerprints.of(&[name.as_bytes(), is_proved, password.unwrap_or_default()])
        });
        let known = self.answers.as_ref().zip(key).and_then(|(answers, key)| answers.logins.get(&key, Instant::now()));
        let found = match known {
            Some(found) => found,
            None => {
                let asked = self.within(self.user(name, password)).await;
                let found = asked.map_err(|error| {
                    warn!(user = ?name, %error, "the directory could not be asked about a login");
                    format!("{} failed authenticating: {error}", Self::NAME)
                })?;
                if let (Some(answers), Some(key)) = (&self.answers, key)
                    && (found.is_some() || answers.keeps_refusals)
                {
                    answers.logins.put(key, found.clone(), Instant::now());
                }
                found
            }
        };
        let (dn, tags) = found.ok_or_else(|| "the directory does not know this user by this password".to_owned())?;
        let password = if self.options.other_bind == Bind::User { password.map(<[u8]>::to_vec) } else { None };
        let user = LdapUser { ldap: self.clone(), name: name.to_owned(), dn, password };
        Ok(Known { name: name.to_owned(), tags, authorizer: Some(Arc::new(user)) })
    }

    /// DN and tags; `None`: the password is wrong.
    async fn user(&self, name: &str, password: Option<&[u8]>) -> io::Result<Option<(String, Vec<String>)>> {
        let LdapOptions { user_dn_pattern, user_bind_pattern, dn_lookup_bind, other_bind, .. } = &self.options;
        let mut directory = self.connect().await?;
        let names = names_of(name);
        let mut dn = fill(user_dn_pattern, &names, escaped);
        if self.looks_up() && *dn_lookup_bind != Bind::User {
            self.bind(&mut directory, dn_lookup_bind, None).await?;
            dn = self.look_up(&mut directory, name).await?.unwrap_or(dn);
        }
        match password {
            Some(password) => {
                let login = user_bind_pattern.as_deref().map(|pattern| fill(pattern, &names, str::to_owned));
                let login = login.as_deref().unwrap_or(&dn);
                // Nobody's name is nobody's login, whatever the directory says to it.
                if login.is_empty() || !directory.bind(login, password).await? {
                    return Ok(None);
                }
                if self.looks_up() && *dn_lookup_bind == Bind::User {
                    dn = self.look_up(&mut directory, name).await?.unwrap_or(dn);
                }
                if *other_bind != Bind::User {
                    self.bind(&mut directory, other_bind, None).await?;
                }
            }
            None => self.bind(&mut directory, other_bind, None).await?,
        }
        let mut tags = Vec::new();
        let names = [&names[..], &[(USER_DN, &*dn)]].concat();
        for (tag, query) in &self.options.tags {
            if self.holds(&mut directory, query, &names).await? {
                tags.push(tag.clone());
            }
        }
        directory.unbind().await;
        Ok(Some((dn, tags)))
    }

    fn looks_up(&self) -> bool {
        self.options.dn_lookup_attribute.is_some() && self.options.dn_lookup_base.is_some()
    }

    /// `None`: there is no such entry, or there are several.
    async fn look_up(&self, directory: &mut Directory, name: &str) -> io::Result<Option<String>> {
        let (Some(attribute), Some(base)) = (&self.options.dn_lookup_attribute, &self.options.dn_lookup_base) else {
            return Ok(None);
        };
        let filter = Filter::Equal(attribute, name);
        let found = directory.search(base, wire::Scope::Subtree, filter, &["distinguishedName"]).await?;
        match <[_; 1]>::try_from(found) {
            Ok([entry]) => Ok(Some(entry.dn)),
            Err(found) => {
                warn!(user = ?name, found = found.len(), "looking a user up did not find one entry");
                Ok(None)
            }
        }
    }

    /// Makes later questions those of somebody.
    async fn bind(&self, directory: &mut Directory, bind: &Bind, user: Option<(&str, &[u8])>) -> io::Result<()> {
        let is_bound = match (bind, user) {
            (Bind::Anonymous, _) => directory.bind("", b"").await?,
            (Bind::As(dn, password), _) => directory.bind(dn, password.as_bytes()).await?,
            (Bind::User, Some((dn, password))) => directory.bind(dn, password).await?,
            _ => return Err(io::Error::other("the directory is asked as the user, whose password is not known")),
        };
        if is_bound { Ok(()) } else { Err(io::Error::other("the directory does not take the login for queries")) }
    }

    /// The first server that answers.
    async fn connect(&self) -> io::Result<Directory> {
        let mut last = io::Error::other("no server");
        for server in &self.options.servers {
            match self.connect_to(server).await {
                Ok(directory) => return Ok(directory),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    async fn connect_to(&self, server: &str) -> io::Result<Directory> {
        let each = self.options.timeout / u32::try_from(self.options.servers.len()).unwrap_or(1);
        let connecting = async {
            let stream = TcpStream::connect((server, self.options.port)).await?;
            stream.set_nodelay(true)?;
            let Some(tls) = &self.tls else { return Ok(Connection::new(Box::new(stream) as Box<dyn Stream>)) };
            let stream = if self.options.use_ssl { stream } else { Connection::new(stream).start_tls().await? };
            let name = ServerName::try_from(server.to_owned()).map_err(io::Error::other)?;
            let stream = TlsConnector::from(tls.clone()).connect(name, stream).await?;
            Ok(Connection::new(Box::new(stream) as Box<dyn Stream>))
        };
        tokio::time::timeout(each, connecting).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    /// Waits for a free connection, and not for ever.
    async fn within<T>(&self, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
        let bounded = async {
            let _permit = self.permits.acquire().await.map_err(io::Error::other)?;
            work.await
        };
        let bounded = tokio::time::timeout(self.options.timeout, bounded);
        bounded.await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    /// The answer to a query. Boxed: queries have queries in them.
    fn holds<'a>(
        &'a self,
        directory: &'a mut Directory,
        query: &'a Query,
        names: &'a Names<'a>,
    ) -> std::pin::Pin<Box<dyn Future<Output = io::Result<bool>> + Send + 'a>> {
        Box::pin(async move {
            let dn = |text: &Text| fill(&text.0, names, escaped);
            let user = || value_of(names, USER_DN).unwrap_or_default();
            let base = wire::Scope::Base;
            Ok(match query {
                Query::Constant(answer) => *answer,
                Query::Exists(entry) => {
                    !directory.search(&dn(entry), base, Filter::Any, &["objectClass"]).await?.is_empty()
                }
                Query::InGroup(group, attribute) => {
                    let filter = Filter::Equal(attribute, user());
                    !directory.search(&dn(group), base, filter, &["objectClass"]).await?.is_empty()
                }
                Query::InGroupNested(group, attribute, scope) => {
                    self.is_member(directory, &dn(group), attribute, *scope, user()).await?
                }
                Query::Not(query) => !self.holds(directory, query, names).await?,
                Query::All(queries) => {
                    for query in queries {
                        if !self.holds(directory, query, names).await? {
                            return Ok(false);
                        }
                    }
                    true
                }
                Query::Any(queries) => {
                    for query in queries {
                        if self.holds(directory, query, names).await? {
                            return Ok(true);
                        }
                    }
                    false
                }
                Query::For(cases) => {
                    let meant = cases.iter().find(|(kind, wanted, _)| value_of(names, kind) == Some(wanted));
                    let (.., query) = meant.ok_or_else(|| io::Error::other("for_query_incomplete"))?;
                    self.holds(directory, query, names).await?
                }
                Query::Equals(one, other) => {
                    let (one, other) = (values(directory, one, names).await?, values(directory, other, names).await?);
                    one.iter().any(|value| other.contains(value))
                }
                Query::Match(subject, pattern) => {
                    let subjects = values(directory, subject, names).await?;
                    let patterns = values(directory, pattern, names).await?;
                    let patterns: Vec<Pattern> = patterns
                        .iter()
                        .map(|text| Pattern::new(text))
                        .collect::<Result<_, _>>()
                        .map_err(io::Error::other)?;
                    subjects.iter().any(|subject| patterns.iter().any(|pattern| pattern.matches(subject)))
                }
            })
        })
    }

    /// Is the user in the group, or in one that is in it, however far?
    async fn is_member(
        &self,
        directory: &mut Directory,
        group: &str,
        attribute: &str,
        scope: Scope,
        user: &str,
    ) -> io::Result<bool> {
        let base = self.options.group_lookup_base.as_ref().or(self.options.dn_lookup_base.as_ref());
        let base = base.ok_or_else(|| io::Error::other("group_lookup_base is needed to look for groups of groups"))?;
        let scope = match scope {
            Scope::Subtree => wire::Scope::Subtree,
            Scope::SingleLevel => wire::Scope::SingleLevel,
        };
        let (mut members, mut seen) = (vec![user.to_owned()], HashSet::new());
        while let Some(member) = members.pop() {
            for found in directory.search(base, scope, Filter::Equal(attribute, &member), &["objectClass"]).await? {
                if comparable(&found.dn) == comparable(group) {
                    return Ok(true);
                }
                // Groups may be members of each other.
                if seen.insert(comparable(&found.dn)) {
                    members.push(found.dn);
                }
                if seen.len() > GROUPS_MAX {
                    return Err(io::Error::other("too many groups of groups"));
                }
            }
        }
        Ok(false)
    }

    async fn verdict(&self, user: &LdapUser, query: &Query, names: &Names<'_>) -> Verdict {
        if let Query::Constant(answer) = query {
            return if *answer { Ok(()) } else { Err(Denied::default()) };
        }
        let key = self.answers.as_ref().map(|answers| {
            let mut parts: Vec<&[u8]> = vec![user.password.as_deref().unwrap_or_default()];
            parts.extend(names.iter().flat_map(|(name, value)| [name.as_bytes(), value.as_bytes()]));
            answers.fingerprints.of(&parts)
        });
        let known =
            self.answers.as_ref().zip(key).and_then(|(answers, key)| answers.verdicts.get(&key, Instant::now()));
        let holds = match known {
            Some(holds) => holds,
            None => {
                let holds = self.within(self.ask(user, query, names)).await.map_err(|error| {
                    warn!(user = ?user.name, %error, "the directory could not be asked about access");
                    Denied::failed(Self::NAME, &error.to_string())
                })?;
                if let (Some(answers), Some(key)) = (&self.answers, key)
                    && (holds || answers.keeps_refusals)
                {
                    answers.verdicts.put(key, holds, Instant::now());
                }
                holds
            }
        };
        if holds {
            return Ok(());
        }
        info!(user = ?user.name, "the directory refused access");
        Err(Denied::default())
    }

    /// Asks on a connection that is kept, or on a new one if the directory has closed that.
    async fn ask(&self, user: &LdapUser, query: &Query, names: &Names<'_>) -> io::Result<bool> {
        if let Some(directory) = self.pool.take() {
            match self.ask_on(directory, user, query, names).await {
                // It is no good any more. What the directory itself says has the other kind.
                Err(error) if error.kind() != io::ErrorKind::Other => {}
                answer => return answer,
            }
        }
        let mut directory = self.connect().await?;
        if self.options.other_bind != Bind::User {
            self.bind(&mut directory, &self.options.other_bind, None).await?;
        }
        self.ask_on(directory, user, query, names).await
    }

    async fn ask_on(
        &self,
        mut directory: Directory,
        user: &LdapUser,
        query: &Query,
        names: &Names<'_>,
    ) -> io::Result<bool> {
        if self.options.other_bind == Bind::User {
            let login = self.login_of(user);
            let login = user.password.as_deref().map(|password| (&*login, password));
            self.bind(&mut directory, &Bind::User, login).await?;
        }
        let holds = self.holds(&mut directory, query, names).await?;
        self.pool.put(directory);
        Ok(holds)
    }

    /// What the user logged in as.
    fn login_of(&self, user: &LdapUser) -> String {
        let pattern = self.options.user_bind_pattern.as_deref();
        pattern.map_or_else(|| user.dn.clone(), |pattern| fill(pattern, &names_of(&user.name), str::to_owned))
    }
}

async fn values(directory: &mut Directory, value: &Value, names: &Names<'_>) -> io::Result<Vec<String>> {
    match value {
        Value::Text(Text(text)) => Ok(vec![fill(text, names, str::to_owned)]),
        Value::Attribute(Text(dn), attribute) => {
            let found =
                directory.search(&fill(dn, names, escaped), wire::Scope::Base, Filter::Any, &[attribute]).await?;
            let attributes = found.into_iter().flat_map(|entry| entry.attributes);
            let own = attributes.filter(|(name, _)| name.eq_ignore_ascii_case(attribute));
            Ok(own.flat_map(|(_, values)| values).collect())
        }
    }
}

/// `DOMAIN\user` has two more names, as in RabbitMQ.
fn names_of(name: &str) -> Vec<(&'static str, &str)> {
    let mut names = vec![("username", name)];
    if let Some((domain, user)) = name.split_once('\\') {
        names.extend([("ad_domain", domain), ("ad_user", user)]);
    }
    names
}

fn value_of<'a>(names: &Names<'a>, wanted: &str) -> Option<&'a str> {
    names.iter().find(|(name, _)| *name == wanted).map(|(_, value)| *value)
}

/// `${name}` replaced by what `escape` makes of its value, once; a DN stays what it is.
fn fill(text: &str, names: &Names<'_>, escape: impl Fn(&str) -> String) -> String {
    let (mut filled, mut rest) = (String::new(), text);
    while let Some((before, after)) = rest.split_once("${") {
        filled.push_str(before);
        let known = after.split_once('}').and_then(|(name, after)| Some((name, value_of(names, name)?, after)));
        match known {
            Some((USER_DN, dn, after)) => {
                filled.push_str(dn);
                rest = after;
            }
            Some((_, value, after)) => {
                filled.push_str(&escape(value));
                rest = after;
            }
            None => {
                filled.push_str("${");
                rest = after;
            }
        }
    }
    filled + rest
}

/// RFC 4514: a value that is to be one value of a DN, whatever is in it.
fn escaped(value: &str) -> String {
    let last = value.chars().count().saturating_sub(1);
    let mut out = String::new();
    for (at, c) in value.chars().enumerate() {
        let is_special = "\"+,;<=>\\".contains(c) || (at == 0 && c == '#') || ((at == 0 || at == last) && c == ' ');
        match c {
            '\0' => out.push_str("\\00"),
            c if is_special => out.extend(['\\', c]),
            c => out.push(c),
        }
    }
    out
}

/// DNs that are the same look the same.
fn comparable(dn: &str) -> String {
    dn.split(',').map(|part| part.trim().to_lowercase()).collect::<Vec<_>>().join(",")
}

/// What a user of the directory may do: it is asked.
struct LdapUser {
    ldap: Arc<Ldap>,
    name: String,
    dn: String,
    /// Where the directory is asked as the user.
    password: Option<Vec<u8>>,
}

impl fmt::Debug for LdapUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LdapUser").field("name", &self.name).field("dn", &self.dn).finish_non_exhaustive()
    }
}

impl LdapUser {
    fn again(&self) -> Self {
        Self { ldap: self.ldap.clone(), name: self.name.clone(), dn: self.dn.clone(), password: self.password.clone() }
    }

    fn names(&self) -> Vec<(&'static str, &str)> {
        let mut names = names_of(&self.name);
        names.push((USER_DN, &self.dn));
        names
    }
}

impl Authorizer for LdapUser {
    fn admit(&self, vhost: &str, _: Option<Origin>) -> Asked<Verdict> {
        let (user, vhost) = (self.again(), vhost.to_owned());
        Asked::Later(Later::new(async move {
            let mut names = user.names();
            names.push(("vhost", &vhost));
            user.ldap.verdict(&user, &user.ldap.options.vhost_access, &names).await
        }))
    }

    fn ask(&self, question: &Question) -> Asked<Verdict> {
        let (user, question) = (self.again(), question.clone());
        Asked::Later(Later::new(async move {
            let options = &user.ldap.options;
            let (query, kind, key) = match &question.resource {
                Resource::Queue => (&options.resource_access, "queue", None),
                Resource::Exchange => (&options.resource_access, "exchange", None),
                Resource::Topic(key) => (&options.topic_access, "topic", Some(key)),
            };
            let mut names = user.names();
            names.extend([
                ("vhost", &*question.vhost),
                ("resource", kind),
                ("name", &*question.name),
                ("permission", question.right.as_str()),
            ]);
            names.extend(key.map(|key| ("routing_key", &**key)));
            user.ldap.verdict(&user, query, &names).await
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nobody becomes somebody else by the name that it gives.
    #[test]
    fn names_stay_one_value_of_a_dn() {
        let names = names_of("a,dc=b+c\\d ");
        assert_eq!(fill("cn=${username},ou=p", &names, escaped), "cn=a\\,dc\\=b\\+c\\\\d\\ ,ou=p");
        assert_eq!(escaped("#a \0 "), "\\#a \\00\\ ");
        let names = names_of("FIELD\\hare");
        assert_eq!(fill("${ad_user}@${ad_domain} ${nosuch} ${", &names, str::to_owned), "hare@FIELD ${nosuch} ${");
        // What came in for a name is not looked at again.
        assert_eq!(fill("${username}", &[("username", "${vhost}"), ("vhost", "/")], str::to_owned), "${vhost}");
        assert_eq!(fill("${user_dn}", &[(USER_DN, "cn=a,dc=b")], escaped), "cn=a,dc=b");
        assert_eq!(comparable("CN=A, dc=B"), comparable("cn=a,DC=b"));
    }
}
