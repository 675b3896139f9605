//! The chain: backends are asked one after the other until one lets the user in, and then the one that goes with it says
//! what the user may do.

use std::sync::Arc;

use tracing::debug;

use super::http::Http;
use super::ldap::Ldap;
use super::oauth2::OAuth2;
use super::{Entry, Error, Kind, Options};
use crate::auth::{Asked, Auth, Authority, Authorizer, Later, Origin, Refused, USER_NAME_SIZE_MAX, User};

/// See the module's documentation.
#[derive(Debug)]
pub struct Chain(Arc<Links>);

#[derive(Debug)]
struct Links(Vec<Link>);

#[derive(Debug)]
struct Link {
    authn: Backend,
    /// `None`: whoever lets the user in knows the rest.
    authz: Option<Backend>,
}

#[derive(Clone, Debug)]
enum Backend {
    Internal,
    OAuth2(Arc<OAuth2>),
    Http(Arc<Http>),
    Ldap(Arc<Ldap>),
    Dummy,
}

/// Somebody who wants to log in.
pub(super) struct Applicant {
    auth: Auth,
    pub(super) name: String,
    /// `None`: the name is proved already.
    pub(super) password: Option<Vec<u8>>,
    from: Origin,
}

/// What a backend knows of a user.
pub(super) struct Known {
    pub(super) name: String,
    pub(super) tags: Vec<String>,
    /// `None`: the internal backend.
    pub(super) authorizer: Option<Arc<dyn Authorizer>>,
}

/// Why a backend does not let a user in; for the log, so without secrets.
pub(super) type Reason = String;

impl Chain {
    /// Reads what files there are. Nothing is asked yet.
    pub fn new(options: &Options) -> Result<Self, Error> {
        let mut build = Build { options, oauth2: None, http: None, ldap: None, cached_http: None, cached_ldap: None };
        let links = options.chain.iter().map(|entry| build.link(*entry)).collect::<Result<_, _>>()?;
        Ok(Self(Arc::new(Links(links))))
    }
}

impl Authority for Chain {
    fn log_in(
        &self,
        auth: &Auth,
        name: &str,
        password: Option<&[u8]>,
        from: Origin,
    ) -> Asked<Result<Arc<User>, Refused>> {
        let (links, password) = (self.0.clone(), password.map(<[u8]>::to_vec));
        let applicant = Applicant { auth: auth.clone(), name: name.to_owned(), password, from };
        Asked::Later(Later::new(async move { links.log_in(&applicant).await }))
    }
}

/// Makes each backend once.
struct Build<'a> {
    options: &'a Options,
    oauth2: Option<Arc<OAuth2>>,
    http: Option<Arc<Http>>,
    ldap: Option<Arc<Ldap>>,
    cached_http: Option<Arc<Http>>,
    cached_ldap: Option<Arc<Ldap>>,
}

impl Build<'_> {
    fn link(&mut self, Entry { authn, authz }: Entry) -> Result<Link, Error> {
        // As RabbitMQ: behind the cache there may be two, so both are asked.
        let is_one = authn == authz && authn != Kind::Cache;
        let authn_backend = self.backend(authn, |cached| cached.authn)?;
        let authz = if is_one { None } else { Some(self.backend(authz, |cached| cached.authz)?) };
        Ok(Link { authn: authn_backend, authz })
    }

    fn backend(&mut self, kind: Kind, cached: impl Fn(Entry) -> Kind) -> Result<Backend, Error> {
        Ok(match kind {
            Kind::Internal => Backend::Internal,
            Kind::Dummy => Backend::Dummy,
            Kind::OAuth2 => Backend::OAuth2(once(&mut self.oauth2, || OAuth2::new(&self.options.oauth2))?),
            Kind::Http => Backend::Http(once(&mut self.http, || Http::new(&self.options.http, None))?),
            Kind::Ldap => Backend::Ldap(once(&mut self.ldap, || Ldap::new(&self.options.ldap, None))?),
            Kind::Cache => match cached(self.options.cache.cached) {
                Kind::Internal => Backend::Internal,
                Kind::Dummy => Backend::Dummy,
                Kind::Http => {
                    let cache = Some(self.options.cache);
                    Backend::Http(once(&mut self.cached_http, || Http::new(&self.options.http, cache))?)
                }
                Kind::Ldap => {
                    let cache = Some(self.options.cache);
                    Backend::Ldap(once(&mut self.cached_ldap, || Ldap::new(&self.options.ldap, cache))?)
                }
                Kind::OAuth2 | Kind::Cache => return Err(Error::NotCacheable),
            },
        })
    }
}

fn once<T>(made: &mut Option<Arc<T>>, make: impl FnOnce() -> Result<T, Error>) -> Result<Arc<T>, Error> {
    match made {
        Some(made) => Ok(made.clone()),
        None => Ok(made.insert(Arc::new(make()?)).clone()),
    }
}

impl Links {
    async fn log_in(&self, applicant: &Applicant) -> Result<Arc<User>, Refused> {
        let mut reason = "no backend is configured".to_owned();
        for link in &self.0 {
            match link.log_in(applicant).await {
                Ok(known) => return applicant.user(known),
                Err(refused) => {
                    debug!(user = ?applicant.name, backend = link.authn.name(), reason = refused, "a backend refused");
                    reason = refused;
                }
            }
        }
        Err(Refused::by_backend(&applicant.name, &reason))
    }
}

impl Link {
    async fn log_in(&self, applicant: &Applicant) -> Result<Known, Reason> {
        let mut known = self.authn.authenticate(applicant).await?;
        if let Some(authz) = &self.authz {
            (known.tags, known.authorizer) = authz.authorize(&known, applicant).await?;
        }
        Ok(known)
    }
}

impl Backend {
    fn name(&self) -> &'static str {
        match self {
            Self::Internal => "rabbit_auth_backend_internal",
            Self::OAuth2(_) => OAuth2::NAME,
            Self::Http(_) => Http::NAME,
            Self::Ldap(_) => Ldap::NAME,
            Self::Dummy => "rabbit_auth_backend_dummy",
        }
    }

    async fn authenticate(&self, applicant: &Applicant) -> Result<Known, Reason> {
        match self {
            Self::Internal => {
                let Applicant { auth, name, password, .. } = applicant;
                let user = match password {
                    // Whether it may come from there is asked of whoever any backend lets in.
                    Some(password) => auth.authenticate_password(name, password, true).ok(),
                    None => auth.user(name),
                };
                let user = user.ok_or_else(|| "invalid credentials".to_owned())?;
                Ok(Known { name: user.name.clone(), tags: user.tags.clone(), authorizer: None })
            }
            Self::OAuth2(oauth2) => oauth2.log_in(applicant.password()).await,
            Self::Http(http) => http.log_in(&applicant.name, applicant.password.as_deref()).await,
            Self::Ldap(ldap) => ldap.log_in(&applicant.name, applicant.password.as_deref()).await,
            Self::Dummy => Err("cannot log in conventionally as dummy user".to_owned()),
        }
    }

    /// What a user may do whom another backend has let in, perhaps by another name than it came with; and all its tags.
    async fn authorize(
        &self,
        known: &Known,
        applicant: &Applicant,
    ) -> Result<(Vec<String>, Option<Arc<dyn Authorizer>>), Reason> {
        let mut tags = known.tags.clone();
        let authorizer = match self {
            Self::Internal => {
                let user = applicant.auth.user(&known.name).ok_or_else(|| "invalid credentials".to_owned())?;
                tags.extend(user.tags.iter().cloned());
                None
            }
            Self::OAuth2(oauth2) => oauth2.log_in(applicant.password()).await?.authorizer,
            Self::Http(http) => {
                http.log_in(&known.name, applicant.password.as_deref()).await?;
                Some(http.authorizer(known.name.clone(), tags.clone()))
            }
            Self::Ldap(ldap) => {
                let own = ldap.log_in(&known.name, applicant.password.as_deref()).await?;
                tags.extend(own.tags);
                own.authorizer
            }
            Self::Dummy => self.authenticate(applicant).await?.authorizer,
        };
        Ok((tags, authorizer))
    }
}

impl Applicant {
    fn password(&self) -> &[u8] {
        self.password.as_deref().unwrap_or_default()
    }

    /// SA-6: whoever let it in, `loopback_users` holds. So do the limits of a user of the same name (US-6).
    fn user(&self, known: Known) -> Result<Arc<User>, Refused> {
        let Known { name, mut tags, authorizer } = known;
        if name.is_empty() || name.len() > USER_NAME_SIZE_MAX {
            return Err(Refused::by_backend(&self.name, "the user's name must have 1 to 255 bytes"));
        }
        self.auth.check_loopback(&name, self.from)?;
        tags.sort();
        tags.dedup();
        let limits = self.auth.user(&name).map(|user| user.limits).unwrap_or_default();
        Ok(Arc::new(User::of_backend(name, tags, limits, authorizer)))
    }
}
