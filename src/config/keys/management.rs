//! Keys of what the management API keeps, and of its UI.

use super::{Settings, set, wrong};
use crate::config::error::Error;
use crate::management::Policy;
use crate::server::Options;

pub(super) fn apply(options: &mut Options, settings: &Settings<'_>) -> Result<(), Error> {
    let retention = &mut options.http_retention;
    set(&mut retention.global, retained(settings, "global")?);
    set(&mut retention.basic, retained(settings, "basic")?);
    set(&mut retention.detailed, retained(settings, "detailed")?);
    Ok(())
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
