//! The environment variables of RabbitMQ and its container image that Lepus honours.
//!
//! | variable | setting |
//! |---|---|
//! | `RABBITMQ_DEFAULT_USER`, `RABBITMQ_DEFAULT_PASS` | the user made at start instead of `guest`/`guest` |
//! | `RABBITMQ_DEFAULT_VHOST` | the vhost made at start instead of `/` |
//! | `RABBITMQ_NODE_PORT`, `RABBITMQ_NODE_IP_ADDRESS` | where to listen for AMQP |
//! | `RABBITMQ_NODENAME` | the name that stands for the node |
//! | `RABBITMQ_MNESIA_BASE` | the directory in which the data directory `lepus-data` is made |
//! | `RABBITMQ_MNESIA_DIR` | the data directory itself |
//! | `LEPUS_SOCKET` | the local socket, where `lepus ctl` looks for it, too |
//! | `RABBITMQ_CONFIG_FILE`, `RABBITMQ_CONFIG_FILES` | a file, and a directory of files, in place of the usual ones |
//! | `RABBITMQ_PID_FILE` | the file that says which process the broker is: `cli/pid_file.rs` |
//! | `RABBITMQ_ENABLED_PLUGINS` | whose ports are listened on where no file says others: [`super::plugins`] |
//! | `RABBITMQ_LOGS`, `RABBITMQ_LOG_BASE` | the file that the log goes to instead of standard error, which is `-` |
//! | `RABBITMQ_LOG` | levels: `debug`, `connection.error`, with commas between them |
//!
//! Others of RabbitMQ are passed over with a warning, and those that its container image refuses are refused.

use std::net::IpAddr;
use std::path::PathBuf;

use super::error::Error;
use super::logging::{LogFile, Logging, Output, level};
use crate::server::{NewUser, Options, Storage, UserPermissions};

/// The port of AMQP 0-9-1.
const AMQP_PORT: u16 = 5672;

/// Variables that RabbitMQ's container image refuses, and what it says to do instead.
const REFUSED: [(&str, &str); 15] = [
    ("RABBITMQ_DEFAULT_PASS_FILE", "use default_pass in a configuration file"),
    ("RABBITMQ_DEFAULT_USER_FILE", "use default_user in a configuration file"),
    ("RABBITMQ_SSL_CACERTFILE", "use ssl_options.cacertfile in a configuration file"),
    ("RABBITMQ_SSL_CERTFILE", "use ssl_options.certfile in a configuration file"),
    ("RABBITMQ_SSL_DEPTH", "use ssl_options.depth in a configuration file"),
    ("RABBITMQ_SSL_FAIL_IF_NO_PEER_CERT", "use ssl_options.fail_if_no_peer_cert in a configuration file"),
    ("RABBITMQ_SSL_KEYFILE", "use ssl_options.keyfile in a configuration file"),
    ("RABBITMQ_SSL_VERIFY", "use ssl_options.verify in a configuration file"),
    ("RABBITMQ_MANAGEMENT_SSL_CACERTFILE", "use management.ssl.cacertfile in a configuration file"),
    ("RABBITMQ_MANAGEMENT_SSL_CERTFILE", "use management.ssl.certfile in a configuration file"),
    ("RABBITMQ_MANAGEMENT_SSL_DEPTH", "use management.ssl.depth in a configuration file"),
    ("RABBITMQ_MANAGEMENT_SSL_FAIL_IF_NO_PEER_CERT", "use management.ssl.fail_if_no_peer_cert in a configuration file"),
    ("RABBITMQ_MANAGEMENT_SSL_KEYFILE", "use management.ssl.keyfile in a configuration file"),
    ("RABBITMQ_MANAGEMENT_SSL_VERIFY", "use management.ssl.verify in a configuration file"),
    ("RABBITMQ_VM_MEMORY_HIGH_WATERMARK", "use vm_memory_high_watermark in a configuration file"),
];

/// Variables of RabbitMQ that do nothing here.
const IGNORED: [&str; 17] = [
    "RABBITMQ_ADVANCED_CONFIG_FILE",
    "RABBITMQ_CONF_ENV_FILE",
    "RABBITMQ_CTL_ERL_ARGS",
    "RABBITMQ_DIST_PORT",
    "RABBITMQ_ENABLED_PLUGINS_FILE",
    "RABBITMQ_ERLANG_COOKIE",
    "RABBITMQ_FEATURE_FLAGS",
    "RABBITMQ_MOTD_FILE",
    "RABBITMQ_PLUGINS_DIR",
    "RABBITMQ_PRODUCT_NAME",
    "RABBITMQ_PRODUCT_VERSION",
    "RABBITMQ_QUORUM_DIR",
    "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS",
    "RABBITMQ_SERVER_ERL_ARGS",
    "RABBITMQ_SERVER_START_ARGS",
    "RABBITMQ_STREAM_DIR",
    "RABBITMQ_USE_LONGNAME",
];

/// Sets in `options` what `variable` has a value for; an empty value counts as none, as it does in RabbitMQ's scripts.
/// Gives a warning for each that has no effect.
pub fn apply(options: &mut Options, variable: impl Fn(&str) -> Option<String>) -> Result<Vec<String>, Error> {
    let value = |name: &str| variable(name).filter(|value| !value.is_empty());
    if let Some((name, instead)) = REFUSED.iter().find(|(name, _)| value(name).is_some()) {
        return Err(Error::Variable { name, instead });
    }
    options.node_name = value("RABBITMQ_NODENAME").or(options.node_name.take());

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

    options.local_socket = value("LEPUS_SOCKET").map(PathBuf::from).or(options.local_socket.take());

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
    let is_set = IGNORED.iter().filter(|name| value(name).is_some());
    Ok(is_set.map(|name| format!("{name} has no effect here")).collect())
}

/// The same for the log. What a file says of it comes after that.
pub fn apply_logging(logging: &mut Logging, variable: impl Fn(&str) -> Option<String>) -> Result<(), Error> {
    let value = |name: &str| variable(name).filter(|value| !value.is_empty());
    if let Some(path) = value("RABBITMQ_LOGS").filter(|path| path != "-") {
        let path =
            value("RABBITMQ_LOG_BASE").map_or_else(|| PathBuf::from(&path), |base| PathBuf::from(base).join(&path));
        logging.file = Some(LogFile { path, output: Output::default(), rotation_bytes: None, kept: 0 });
        logging.console = None;
    }
    for part in value("RABBITMQ_LOG").unwrap_or_default().split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let wrong = || Error::Value {
            setting: "RABBITMQ_LOG".into(),
            value: part.to_owned(),
            expected: "levels such as debug or connection.error, with commas between them",
        };
        match part.split_once('.') {
            // Colours are the terminal's business.
            None if part.starts_with(['+', '-']) => {}
            None => logging.level = Some(level(part).ok_or_else(wrong)?),
            Some((category, name)) => logging.categories.push((category.to_owned(), level(name).ok_or_else(wrong)?)),
        }
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
        apply(&mut options, variable).map(|_| options)
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

    /// FEATURES 4.7.
    #[test]
    fn what_the_container_image_refuses_is_refused_and_the_rest_is_told() {
        let error = options(&[("RABBITMQ_DEFAULT_PASS_FILE", "/run/secret")]).unwrap_err().to_string();
        assert_eq!(
            error,
            "RABBITMQ_DEFAULT_PASS_FILE is set, but is not supported: use default_pass in a configuration file"
        );
        assert!(options(&[("RABBITMQ_MANAGEMENT_SSL_KEYFILE", "/k")]).is_err());
        let variable = |name: &str| (name == "RABBITMQ_ERLANG_COOKIE").then(|| "x".to_owned());
        let warnings = apply(&mut Options::default(), variable).unwrap();
        assert_eq!(warnings, ["RABBITMQ_ERLANG_COOKIE has no effect here"]);
        assert_eq!(options(&[("RABBITMQ_NODENAME", "hare@burrow")]).unwrap().node_name.as_deref(), Some("hare@burrow"));
    }

    /// FEATURES 4.7.
    #[test]
    fn the_log_of_the_environment() {
        let logging = |variables: &'static [(&str, &str)]| {
            let mut logging = Logging::default();
            let variable =
                |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
            apply_logging(&mut logging, variable).map(|()| logging)
        };
        assert_eq!(logging(&[("RABBITMQ_LOGS", "-")]).unwrap(), Logging::default());
        let to_file = logging(&[("RABBITMQ_LOGS", "r.log"), ("RABBITMQ_LOG_BASE", "/var/log")]).unwrap();
        assert_eq!((to_file.file.unwrap().path, to_file.console), (PathBuf::from("/var/log/r.log"), None));
        let levels = logging(&[("RABBITMQ_LOG", "debug,connection.error")]).unwrap();
        assert_eq!((levels.level, levels.categories), (Some("debug"), vec![("connection".to_owned(), "error")]));
        assert!(logging(&[("RABBITMQ_LOG", "loud")]).is_err());
    }
}
