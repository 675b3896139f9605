//! The environment variables of RabbitMQ and its container image that Lepus honours.
//!
//! | variable | setting |
//! |---|---|
//! | `RABBITMQ_DEFAULT_USER`, `RABBITMQ_DEFAULT_PASS` | the user made at start instead of `guest`/`guest` |
//! | `RABBITMQ_DEFAULT_VHOST` | the vhost made at start instead of `/` |
//! | `RABBITMQ_NODE_PORT`, `RABBITMQ_NODE_IP_ADDRESS` | where to listen for AMQP |
//! | `RABBITMQ_MNESIA_BASE` | the directory in which the data directory `lepus-data` is made |
//! | `RABBITMQ_MNESIA_DIR` | the data directory itself |
//! | `RABBITMQ_CONFIG_FILE`, `RABBITMQ_CONFIG_FILES` | a file, and a directory of files, in place of the usual ones |

use std::net::IpAddr;
use std::path::PathBuf;

use super::error::Error;
use crate::server::{NewUser, Options, Storage, UserPermissions};

/// The port of AMQP 0-9-1.
const AMQP_PORT: u16 = 5672;

/// Sets in `options` what `variable` has a value for; an empty value counts as none, as it does in RabbitMQ's scripts.
pub fn apply(options: &mut Options, variable: impl Fn(&str) -> Option<String>) -> Result<(), Error> {
    let value = |name: &str| variable(name).filter(|value| !value.is_empty());

    let (user, password) = (value("RABBITMQ_DEFAULT_USER"), value("RABBITMQ_DEFAULT_PASS"));
    if user.is_some() || password.is_some() {
        let guest = || "guest".to_owned();
        options.users = vec![NewUser {
            name: user.unwrap_or_else(guest),
            password: password.unwrap_or_else(guest),
            tags: vec!["administrator".to_owned()],
            permissions: UserPermissions::default(),
        }];
    }
    if let Some(vhost) = value("RABBITMQ_DEFAULT_VHOST") {
        options.vhosts = vec![vhost];
    }

    let base = value("RABBITMQ_MNESIA_BASE").map(|base| PathBuf::from(base).join("lepus-data"));
    if let Some(path) = value("RABBITMQ_MNESIA_DIR").map(PathBuf::from).or(base) {
        options.storage = Some(Storage::Directory(path));
    }

    let (port, ip) = (value("RABBITMQ_NODE_PORT"), value("RABBITMQ_NODE_IP_ADDRESS"));
    if port.is_some() || ip.is_some() {
        let port = match port {
            None => AMQP_PORT,
            Some(text) => text.parse().map_err(|_| Error::Value {
                setting: "RABBITMQ_NODE_PORT".into(),
                value: text,
                expected: "a port number",
            })?,
        };
        options.amqp = vec![match ip {
            None => port.to_string(),
            Some(text) => match text.parse::<IpAddr>() {
                Ok(IpAddr::V4(ip)) => format!("{ip}:{port}"),
                Ok(IpAddr::V6(ip)) => format!("[{ip}]:{port}"),
                Err(_) => {
                    return Err(Error::Value {
                        setting: "RABBITMQ_NODE_IP_ADDRESS".into(),
                        value: text,
                        expected: "an IP address",
                    });
                }
            },
        }];
    }
    Ok(())
}

/// Where RabbitMQ's scripts and packages put the configuration.
const CONFIG_FILE: &str = "/etc/rabbitmq/rabbitmq.conf";
const CONFIG_DIRECTORY: &str = "/etc/rabbitmq/conf.d";

/// The files to read: those that `variable` names, which must be there, else those in the usual places that are.
pub fn files(variable: impl Fn(&str) -> Option<String>) -> Vec<PathBuf> {
    let named = |name: &str| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let usual = |path: &str| Some(PathBuf::from(path)).filter(|path| path.exists());
    // RabbitMQ adds the extension if it is missing.
    let file = named("RABBITMQ_CONFIG_FILE").map(|path| if path.exists() { path } else { path.with_extension("conf") });
    let directory = named("RABBITMQ_CONFIG_FILES");
    file.or_else(|| usual(CONFIG_FILE)).into_iter().chain(directory.or_else(|| usual(CONFIG_DIRECTORY))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(variables: &[(&str, &str)]) -> Result<Options, Error> {
        let mut options = Options::default();
        let variable =
            |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        apply(&mut options, variable).map(|()| options)
    }

    #[test]
    fn nothing_set_changes_nothing() {
        let options = options(&[("RABBITMQ_DEFAULT_USER", ""), ("RABBITMQ_NODE_PORT", "")]).unwrap();
        assert!(options.users.is_empty() && options.vhosts.is_empty() && options.amqp.is_empty());
    }

    #[test]
    fn default_user_and_vhost() {
        let options = options(&[("RABBITMQ_DEFAULT_USER", "app"), ("RABBITMQ_DEFAULT_VHOST", "shop")]).unwrap();
        assert_eq!((options.users[0].name.as_str(), options.users[0].password.as_str()), ("app", "guest"));
        assert_eq!(options.users[0].tags, ["administrator"]);
        assert_eq!(options.vhosts, ["shop"]);
    }

    #[test]
    fn listen_address() {
        assert_eq!(options(&[("RABBITMQ_NODE_PORT", "5673")]).unwrap().amqp, ["5673"]);
        assert_eq!(options(&[("RABBITMQ_NODE_IP_ADDRESS", "::1")]).unwrap().amqp, ["[::1]:5672"]);
        let both = options(&[("RABBITMQ_NODE_PORT", "1"), ("RABBITMQ_NODE_IP_ADDRESS", "10.0.0.1")]).unwrap();
        assert_eq!(both.amqp, ["10.0.0.1:1"]);
        let error = options(&[("RABBITMQ_NODE_PORT", "http")]).unwrap_err();
        assert_eq!(error.to_string(), "RABBITMQ_NODE_PORT is 'http', but must be a port number");
        assert!(options(&[("RABBITMQ_NODE_IP_ADDRESS", "localhost")]).is_err());
    }
}
