//! What the keys of `rabbitmq.conf` mean here. A key that RabbitMQ knows and Lepus has no use for is passed over with
//! a warning, so that the file of a running RabbitMQ can be taken as it is; a key that nobody knows is an error, and so is
//! one that would protect something and does not. Which keys there are stands in [`super::known`].

mod broker;
mod listeners;
mod logging;
mod management;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use super::auth_keys;
use super::conf::Setting;
use super::error::Error;
use super::known::{self, Known};
use super::logging::Logging;
use super::quantity;
use crate::server::Options;

/// What stands before a value that RabbitMQ decrypts with a passphrase.
const ENCRYPTED: &str = "encrypted:";

/// What the settings of files come to, beside options of the server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// One line for each key without an effect here.
    pub warnings: Vec<String>,
    /// Where the log goes, and what of it.
    pub logging: Logging,
}

/// Sets in `options` what the settings say. Of several of one key the last counts.
///
/// # Errors
/// A key that is not RabbitMQ's, or a value that is not the key's.
pub fn apply(options: &mut Options, settings: &[Setting]) -> Result<Applied, Error> {
    let (mut warnings, mut of_auth) = (Vec::new(), Vec::new());
    let mut latest: BTreeMap<&str, &Setting> = BTreeMap::new();
    for setting in settings {
        let Setting { key, value, place } = setting;
        let refused = |reason: &str| Error::Refused { place: place.clone(), key: key.clone(), reason: reason.into() };
        if value.starts_with(ENCRYPTED) {
            return Err(refused("encrypted values are not read: give the value itself, or $(VARIABLE)"));
        }
        if auth_keys::is_one(key) {
            of_auth.push(setting);
            continue;
        }
        match known::find(key) {
            Some(Known::Used(_)) => drop(latest.insert(key, setting)),
            // Switched off, it is no protection that is missed.
            Some(Known::Refused(_)) if value == "false" => {}
            Some(Known::Refused(instead)) => return Err(refused(&format!("not supported: {instead}"))),
            Some(Known::Ignored) => warnings.push(format!("{place}: {key} has no effect here")),
            None => {
                let nearest = known::nearest(key);
                return Err(Error::UnknownKey { nearest, place: place.clone(), key: key.clone() });
            }
        }
    }
    warnings.extend(auth_keys::apply(options, &of_auth)?);
    let settings = Settings(latest);
    listeners::apply(options, &settings, &mut warnings)?;
    broker::apply(options, &settings)?;
    management::apply(options, &settings)?;
    Ok(Applied { warnings, logging: logging::read(&settings)? })
}

/// The last setting of each key.
struct Settings<'a>(BTreeMap<&'a str, &'a Setting>);

impl<'a> Settings<'a> {
    fn get(&self, key: &str) -> Option<&'a Setting> {
        self.0.get(key).copied()
    }

    fn text(&self, key: &str) -> Option<String> {
        self.get(key).map(|setting| setting.value.clone())
    }

    /// The settings whose keys begin so, with the rest of the key.
    fn below(&self, prefix: &str) -> impl Iterator<Item = (&'a str, &'a Setting)> {
        self.0.iter().filter_map(move |(key, setting)| Some((key.strip_prefix(prefix)?, *setting)))
    }

    /// The same in the order of the numbers that the rest is; what is no number comes last.
    fn numbered(&self, prefix: &str) -> Vec<&'a Setting> {
        let mut found: Vec<_> = self.below(prefix).collect();
        found.sort_by_key(|(rest, _)| (rest.parse().unwrap_or(u64::MAX), *rest));
        found.into_iter().map(|(_, setting)| setting).collect()
    }

    fn flag(&self, key: &str) -> Result<Option<bool>, Error> {
        self.get(key).map(flag).transpose()
    }

    fn read<T>(&self, key: &str, read: impl FnOnce(&str) -> Option<T>) -> Result<Option<T>, Error> {
        self.get(key).map(|setting| read(&setting.value).ok_or_else(|| wrong(setting))).transpose()
    }

    fn number<T: TryFrom<u64>>(&self, key: &str) -> Result<Option<T>, Error> {
        self.read(key, |value| value.parse().ok().and_then(|n: u64| T::try_from(n).ok()))
    }

    /// A number, or `infinity`, which is `None`.
    fn count<T: TryFrom<u64>>(&self, key: &str) -> Result<Option<Option<T>>, Error> {
        let is_infinite = self.get(key).is_some_and(|setting| setting.value == "infinity");
        if is_infinite { Ok(Some(None)) } else { Ok(self.number(key)?.map(Some)) }
    }

    fn bytes<T: TryFrom<u64>>(&self, key: &str) -> Result<Option<T>, Error> {
        self.read(key, |value| quantity::bytes(value).and_then(|n| T::try_from(n).ok()))
    }
}

/// A value that the key may not have; what it may be stands in the table of keys.
fn wrong(setting: &Setting) -> Error {
    let expected = match known::find(&setting.key) {
        Some(Known::Used(key)) => key.allowed,
        _ => "something else",
    };
    let name = format!("{}: {}", setting.place, setting.key);
    Error::Value { setting: name, value: setting.value.clone(), expected }
}

fn flag(setting: &Setting) -> Result<bool, Error> {
    super::switch(&setting.value).ok_or_else(|| wrong(setting))
}

fn set<T>(option: &mut T, given: Option<T>) {
    if let Some(value) = given {
        *option = value;
    }
}
