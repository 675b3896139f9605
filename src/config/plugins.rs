//! The plugins of RabbitMQ whose work is done here. They are always on; what `RABBITMQ_ENABLED_PLUGINS` asks for is what
//! comes with some of them in RabbitMQ: a listener on the plugin's own port where no file says another.

use super::conf::Setting;

/// Their names.
pub const BUILT_IN: [&str; 11] = [
    "rabbitmq_auth_mechanism_ssl",
    "rabbitmq_consistent_hash_exchange",
    "rabbitmq_delayed_message_exchange",
    "rabbitmq_event_exchange",
    "rabbitmq_management",
    "rabbitmq_management_agent",
    "rabbitmq_message_deduplication",
    "rabbitmq_prometheus",
    "rabbitmq_random_exchange",
    "rabbitmq_recent_history_exchange",
    "rabbitmq_sharding",
];

const VARIABLE: &str = "RABBITMQ_ENABLED_PLUGINS";

/// A plugin that listens, the first word of its keys, and its ports without TLS and with it.
const LISTENING: [(&str, &str, u16, u16); 2] =
    [("rabbitmq_management", "management", 15672, 15671), ("rabbitmq_prometheus", "prometheus", 15692, 15691)];

/// The plugins that `RABBITMQ_ENABLED_PLUGINS` names: with commas between them, or `ALL`.
fn enabled(variable: impl Fn(&str) -> Option<String>) -> Vec<String> {
    match variable(VARIABLE).as_deref() {
        None => Vec::new(),
        Some("ALL") => BUILT_IN.map(str::to_owned).to_vec(),
        Some(names) => names.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect(),
    }
}

/// A warning for each plugin that the environment wants and that is not built in.
pub fn warnings(variable: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let missing = enabled(variable).into_iter().filter(|name| !BUILT_IN.contains(&name.as_str()));
    missing.map(|name| format!("{VARIABLE}: {name} is not built in")).collect()
}

/// The ports of plugins that the environment wants, as settings to be read before `settings`, which win. As in RabbitMQ,
/// what has keys for TLS alone listens in TLS alone.
pub fn ports(settings: &[Setting], variable: impl Fn(&str) -> Option<String>) -> Vec<Setting> {
    let enabled = enabled(variable);
    let mut ports = Vec::new();
    for (plugin, section, plain, tls) in LISTENING {
        if !enabled.iter().any(|name| name == plugin) {
            continue;
        }
        let has = |listener: &str| {
            let keys = format!("{section}.{listener}.");
            settings.iter().any(|setting| setting.key.starts_with(&keys))
        };
        let mut listen = |listener: &str, port: u16| {
            let key = format!("{section}.{listener}.port");
            ports.push(Setting { key, value: port.to_string(), place: VARIABLE.to_owned() });
        };
        if has("tcp") || !has("ssl") && !has("listener") {
            listen("tcp", plain);
        }
        if has("ssl") {
            listen("ssl", tls);
        }
    }
    ports
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::conf;

    fn ports_of(plugins: &str, file: &str) -> Vec<String> {
        let settings = conf::parse(file, "f", |_| None).unwrap();
        let variable = |name: &str| (name == VARIABLE).then(|| plugins.to_owned());
        ports(&settings, variable).into_iter().map(|setting| format!("{} {}", setting.key, setting.value)).collect()
    }

    /// FEATURES 4.7.
    #[test]
    fn a_plugin_listens_on_its_port_where_no_file_says_another() {
        let management = "rabbitmq_management";
        assert!(ports_of("", "").is_empty() && ports_of("rabbitmq_sharding", "management.tcp.ip = ::1").is_empty());
        assert_eq!(ports_of(management, "heartbeat = 3"), ["management.tcp.port 15672"]);
        assert_eq!(ports_of(management, "management.tcp.ip = ::1"), ["management.tcp.port 15672"]);
        assert_eq!(ports_of(management, "management.ssl.certfile = /c"), ["management.ssl.port 15671"]);
        assert!(ports_of(management, "management.listener.port = 8080").is_empty());
        let both =
            ports_of("rabbitmq_prometheus, rabbitmq_management", "prometheus.ssl.port = 1\nprometheus.tcp.port = 2");
        assert_eq!(both, ["management.tcp.port 15672", "prometheus.tcp.port 15692", "prometheus.ssl.port 15691"]);
        assert_eq!(ports_of("ALL", ""), ["management.tcp.port 15672", "prometheus.tcp.port 15692"]);
    }

    #[test]
    fn what_is_not_built_in_is_told() {
        let variable = |_: &str| Some("rabbitmq_management,rabbitmq_mqtt".to_owned());
        assert_eq!(warnings(variable), ["RABBITMQ_ENABLED_PLUGINS: rabbitmq_mqtt is not built in"]);
    }
}
