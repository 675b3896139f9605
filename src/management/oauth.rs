//! What the UI must know to have a provider of OAuth 2 log its users in: RabbitMQ's `management.oauth_*`. The browser does the rest, in `ui/core/oauth.js`; the broker sees tokens only, as in any other request.

use hyper::body::Bytes;

use super::call::Query;
use super::record::Record;

/// RabbitMQ's scopes where none are said.
const SCOPES: &str = "openid profile";

/// How users of the UI log in at a provider.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OAuth {
    /// Whose page logs users in, or that of whoever sends them here.
    pub provider: WebAddress,
    /// Where its endpoints are told of, if not at the provider's `/.well-known/openid-configuration`.
    pub metadata: Option<WebAddress>,
    /// What the UI is called there; nothing for [`LogonType::Provider`].
    pub client_id: String,
    /// What is asked for, with spaces between.
    pub scopes: Option<String>,
    /// Where a login begins.
    pub logon_type: LogonType,
    /// The UI does not ask for names with passwords. The API takes them all the same.
    pub basic_disabled: bool,
}

/// `management.oauth_initiated_logon_type`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum LogonType {
    /// The UI asks the provider for a token: `sp_initiated`.
    #[default]
    Ui,
    /// The provider sends the user with a token: `idp_initiated`.
    Provider,
}

/// An address of the web that can stand in a policy of what a page may reach.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WebAddress(String);

impl WebAddress {
    /// `None`: it is none.
    pub fn new(text: &str) -> Option<Self> {
        let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"))?;
        let host = rest.split('/').next().unwrap_or_default();
        let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte);
        let is_sound =
            !host.is_empty() && host.bytes().all(is_host) && rest.bytes().all(|byte| byte.is_ascii_graphic());
        is_sound.then(|| Self(text.to_owned()))
    }

    /// The whole of it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// `https://host:port`.
    fn origin(&self) -> &str {
        let host_at = self.0.find("://").map_or(0, |at| at + 3);
        let end = self.0[host_at..].find('/').map_or(self.0.len(), |at| host_at + at);
        &self.0[..end]
    }
}

impl OAuth {
    /// Origins that the UI speaks to, with spaces between.
    pub(super) fn origins(&self) -> String {
        let metadata = self.metadata.as_ref().map(WebAddress::origin);
        let provider = self.provider.origin();
        match metadata.filter(|origin| *origin != provider) {
            Some(metadata) => format!("{provider} {metadata}"),
            None => provider.to_owned(),
        }
    }
}

/// `/oauth.json`, in RabbitMQ's names.
pub(super) fn told(oauth: Option<&OAuth>) -> Bytes {
    Record::written(&Query::default(), |record| {
        record.put("oauth_enabled", oauth.is_some());
        let Some(oauth) = oauth else { return };
        record.put("oauth_disable_basic_auth", oauth.basic_disabled);
        record.put("oauth_client_id", &oauth.client_id);
        record.put("oauth_provider_url", oauth.provider.as_str());
        record.put("oauth_scopes", oauth.scopes.as_deref().unwrap_or(SCOPES));
        record.put_some("oauth_metadata_url", oauth.metadata.as_ref().map(WebAddress::as_str));
        let logon_type = match oauth.logon_type {
            LogonType::Ui => "sp_initiated",
            LogonType::Provider => "idp_initiated",
        };
        record.put("oauth_initiated_logon_type", logon_type);
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_the_web_get_into_the_policy() {
        let origin = |text: &str| WebAddress::new(text).map(|address| address.origin().to_owned());
        assert_eq!(origin("https://id.example:8443/realms/a?b"), Some("https://id.example:8443".to_owned()));
        assert_eq!(origin("http://[::1]:8080"), Some("http://[::1]:8080".to_owned()));
        for bad in ["", "id.example", "https://", "ftp://a", "https://a; script-src *", "https://a'b/", "https://a/b c"]
        {
            assert_eq!(origin(bad), None, "{bad}");
        }
    }
}
