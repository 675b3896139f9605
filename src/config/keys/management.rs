//! Keys of what the management API keeps, and of its UI.

use super::{Settings, set, wrong};
use crate::config::error::Error;
use crate::management::{LogonType, OAuth, Policy, WebAddress};
use crate::server::Options;

pub(super) fn apply(options: &mut Options, settings: &Settings<'_>) -> Result<(), Error> {
    let retention = &mut options.http_retention;
    set(&mut retention.global, retained(settings, "global")?);
    set(&mut retention.basic, retained(settings, "basic")?);
    set(&mut retention.detailed, retained(settings, "detailed")?);
    let minutes = settings.number("management.login_session_timeout")?;
    options.http_login_session_minutes = minutes.or(options.http_login_session_minutes);
    set(&mut options.http_basic_auth_disabled, settings.flag("management.disable_basic_auth")?);
    options.http_oauth = oauth(options, settings)?.or(options.http_oauth.take());
    Ok(())
}

/// The provider that users of the UI log in at.
fn oauth(options: &Options, settings: &Settings<'_>) -> Result<Option<OAuth>, Error> {
    let enabled = "management.oauth_enabled";
    if settings.flag(enabled)? != Some(true) {
        return Ok(None);
    }
    let missing = |key: &str| {
        let place = settings.get(enabled).map(|setting| setting.place.clone()).unwrap_or_default();
        Error::Refused { place, key: enabled.to_owned(), reason: format!("{key} is missing") }
    };
    let logon_type = settings.read("management.oauth_initiated_logon_type", |value| match value {
        "sp_initiated" => Some(LogonType::Ui),
        "idp_initiated" => Some(LogonType::Provider),
        _ => None,
    })?;
    let logon_type = logon_type.unwrap_or_default();
    // As in RabbitMQ, who signs tokens gives them, too, if nothing else is said.
    let issuer = options.auth_backends.oauth2.provider.issuer.as_deref().and_then(WebAddress::new);
    let provider = settings.read("management.oauth_provider_url", WebAddress::new)?.or(issuer);
    let provider = provider.ok_or_else(|| missing("management.oauth_provider_url"))?;
    let client_id = settings.text("management.oauth_client_id");
    if client_id.is_none() && logon_type == LogonType::Ui {
        return Err(missing("management.oauth_client_id"));
    }
    Ok(Some(OAuth {
        provider,
        metadata: settings.read("management.oauth_metadata_url", WebAddress::new)?,
        client_id: client_id.unwrap_or_default(),
        scopes: settings.text("management.oauth_scopes"),
        logon_type,
        basic_disabled: settings.flag("management.oauth_disable_basic_auth")?.unwrap_or(true),
    }))
}

/// `management.sample_retention_policies.global.hour = 60`: a sample a minute for an hour.
fn retained(settings: &Settings<'_>, section: &str) -> Result<Option<Policy>, Error> {
    let (mut intervals, mut last) = (Vec::new(), None);
    for (name, setting) in settings.below(&format!("management.sample_retention_policies.{section}.")) {
        let span_s = match name {
            "minute" => Some(60),
            "hour" => Some(3600),
            "day" => Some(86_400),
            seconds => seconds.parse().ok(),
        };
        let interval = span_s.zip(setting.value.parse().ok());
        intervals.push(interval.ok_or_else(|| wrong(setting))?);
        last = Some(setting);
    }
    last.map(|last| Policy::new(intervals).ok_or_else(|| wrong(last))).transpose()
}
