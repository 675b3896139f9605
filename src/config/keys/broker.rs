//! Limits, users, and what there is from the start.

use std::collections::BTreeMap;

use super::listeners::milliseconds;
use super::{Settings, flag, set, wrong};
use crate::config::error::Error;
use crate::config::quantity;
use crate::server::{
    DefaultLimits, DefaultPolicy, Definitions, HashingAlgorithm, NewUser, Options, PasswordRule, UserPermissions,
    Watermark,
};

pub(super) fn apply(options: &mut Options, settings: &Settings<'_>) -> Result<(), Error> {
    limits(options, settings)?;
    memory_and_disk(options, settings)?;
    users(options, settings)?;
    passwords(options, settings)?;
    definitions(options, settings)?;
    vhosts(options, settings)
}

fn limits(options: &mut Options, settings: &Settings<'_>) -> Result<(), Error> {
    set(&mut options.heartbeat_s, settings.number("heartbeat")?);
    set(&mut options.frame_size_max, settings.bytes("frame_max")?);
    set(&mut options.initial_frame_size_max, settings.bytes("initial_frame_max")?);
    for key in ["max_channels", "max_channels_per_connection", "channel_max"] {
        set(&mut options.channel_max, settings.number(key)?);
    }
    set(&mut options.channel_max_per_node, settings.count("channel_max_per_node")?);
    set(&mut options.consumer_max_per_channel, settings.count("consumer_max_per_channel")?);
    for key in ["connection_max", "max_connections"] {
        set(&mut options.connection_max, settings.count(key)?);
    }
    set(&mut options.message_size_max, settings.bytes("max_message_size")?);
    set(&mut options.consumer_timeout, milliseconds(settings, "consumer_timeout")?);
    let relaxed = "quorum_queue.property_equivalence.relaxed_checks_on_redeclaration";
    set(&mut options.relaxed_redeclares, settings.flag(relaxed)?);
    options.cluster_name = settings.text("cluster_name").or(options.cluster_name.take());
    Ok(())
}

fn memory_and_disk(options: &mut Options, settings: &Settings<'_>) -> Result<(), Error> {
    for key in ["vm_memory_high_watermark.relative", "vm_memory_high_watermark.absolute"] {
        set(&mut options.memory_high_watermark, settings.read(key, quantity::watermark)?);
    }
    let total = settings.bytes("total_memory_available_override_value")?;
    options.memory_total_bytes = total.or(options.memory_total_bytes);
    let fraction = settings.read("disk_free_limit.relative", quantity::fraction)?;
    set(&mut options.disk_free_limit, fraction.map(Watermark::Fraction));
    set(&mut options.disk_free_limit, settings.bytes("disk_free_limit.absolute")?.map(Watermark::Bytes));
    Ok(())
}

fn users(options: &mut Options, settings: &Settings<'_>) -> Result<(), Error> {
    let text = |key: &str| settings.text(key);
    if let Some(vhost) = text("default_vhost") {
        options.vhosts = vec![vhost];
    }
    let mut tags = Vec::new();
    for (tag, setting) in settings.below("default_user_tags.") {
        if flag(setting)? {
            tags.push(tag.to_owned());
        }
    }
    let default_keys = ["default_user", "default_pass", "default_user_tags.", "default_permissions."];
    let is_default =
        |key: &&str| default_keys.iter().any(|own| key.starts_with(own) && !key.starts_with("default_users."));
    if settings.0.keys().any(is_default) {
        // What the environment said counts where the file says nothing.
        let before = options.users.first().cloned();
        let default = UserPermissions::default();
        let right = |key, default| text(key).unwrap_or(default);
        let guest = || "guest".to_owned();
        let (name, password) = before.map_or_else(|| (guest(), guest()), |user| (user.name, user.password));
        options.users = vec![NewUser {
            name: text("default_user").unwrap_or(name),
            password: text("default_pass").unwrap_or(password),
            tags: if tags.is_empty() { vec!["administrator".into()] } else { tags },
            permissions: UserPermissions {
                vhosts: default.vhosts,
                configure: right("default_permissions.configure", default.configure),
                write: right("default_permissions.write", default.write),
                read: right("default_permissions.read", default.read),
            },
        }];
    }
    more_users(options, settings);
    set(&mut options.track_login_sources, settings.flag("track_auth_attempt_source")?);
    for (user, setting) in settings.below("loopback_users.") {
        options.loopback_users.retain(|known| known != user);
        if flag(setting)? {
            options.loopback_users.push(user.to_owned());
        }
    }
    match settings.get("loopback_users") {
        Some(setting) if setting.value == "none" => options.loopback_users.clear(),
        Some(setting) => return Err(wrong(setting)),
        None => {}
    }
    Ok(())
}

/// `default_users.NAME.password` and what belongs to it.
fn more_users(options: &mut Options, settings: &Settings<'_>) {
    let mut users: BTreeMap<&str, NewUser> = BTreeMap::new();
    for (rest, setting) in settings.below("default_users.") {
        let Some((name, field)) = rest.split_once('.') else { continue };
        let user = users.entry(name).or_insert_with(|| NewUser {
            name: name.to_owned(),
            password: String::new(),
            tags: Vec::new(),
            permissions: UserPermissions::default(),
        });
        let value = setting.value.clone();
        match field {
            "password" => user.password = value,
            "tags" => user.tags = value.split([',', ' ']).filter(|tag| !tag.is_empty()).map(str::to_owned).collect(),
            "vhost_pattern" => user.permissions.vhosts = value,
            "configure" => user.permissions.configure = value,
            "read" => user.permissions.read = value,
            _ => user.permissions.write = value,
        }
    }
    options.users.extend(users.into_values());
}

fn passwords(options: &mut Options, settings: &Settings<'_>) -> Result<(), Error> {
    set(&mut options.password_hashing, settings.read("password_hashing_module", HashingAlgorithm::parse)?);
    let min_length = settings.number("credential_validator.min_length")?;
    let regexp = settings.get("credential_validator.regexp");
    let Some(backend) = settings.get("credential_validator.validation_backend") else { return Ok(()) };
    options.password_rule = match backend.value.strip_prefix("rabbit_credential_validator_") {
        Some("accept_everything") => PasswordRule::Any,
        // RabbitMQ's own default.
        Some("min_password_length") => PasswordRule::MinLength(min_length.unwrap_or(1)),
        Some("password_regexp") => {
            let regexp = regexp.ok_or_else(|| Error::Refused {
                place: backend.place.clone(),
                key: backend.key.clone(),
                reason: "it needs credential_validator.regexp, too".into(),
            })?;
            PasswordRule::matching(&regexp.value).map_err(|_| wrong(regexp))?
        }
        _ => return Err(wrong(backend)),
    };
    Ok(())
}

fn definitions(options: &mut Options, settings: &Settings<'_>) -> Result<(), Error> {
    let loaded = settings.get("load_definitions").or(settings.get("management.load_definitions"));
    for path in loaded.into_iter().chain(settings.get("definitions.local.path")) {
        options.definitions.push(Definitions::File(path.value.as_str().into()));
    }
    settings.read("definitions.import_backend", |value| (value == "local_filesystem").then_some(()))?;
    set(&mut options.skip_unchanged_definitions, settings.flag("definitions.skip_if_unchanged")?);
    Ok(())
}

/// What new vhosts begin with.
fn vhosts(options: &mut Options, settings: &Settings<'_>) -> Result<(), Error> {
    let kind = settings
        .read("default_queue_type", |value| ["classic", "quorum"].contains(&value).then(|| value.to_owned()))?;
    options.default_queue_type = kind.or(options.default_queue_type.take());
    let prefix = "default_limits.vhosts.";
    for id in ids(settings, prefix) {
        let key = |field: &str| format!("{prefix}{id}.{field}");
        let vhosts = settings.text(&key("pattern")).unwrap_or_else(|| ".*".into());
        let limit = |field: &str| {
            settings.read(&key(field), |value| value.parse::<i64>().ok().map(|limit| u64::try_from(limit).ok()))
        };
        options.default_limits.push(DefaultLimits {
            vhosts,
            connections_max: limit("max_connections")?.flatten(),
            queues_max: limit("max_queues")?.flatten(),
        });
    }
    let prefix = "default_policies.operator.";
    for id in ids(settings, prefix) {
        let key = |field: &str| format!("{prefix}{id}.{field}");
        let text = |field: &str, default: &str| settings.text(&key(field)).unwrap_or_else(|| default.into());
        let mut definition = Vec::new();
        for (field, name) in POLICY_FIELDS {
            if let Some(value) = settings.bytes::<u64>(&key(field))? {
                definition.push((name, value));
            }
        }
        options.default_policies.push(DefaultPolicy {
            name: id.to_owned(),
            vhosts: text("vhost_pattern", ".*"),
            pattern: text("queue_pattern", ".*"),
            apply_to: text("apply_to", "queues"),
            definition,
        });
    }
    Ok(())
}

/// Names in the file and in policies.
const POLICY_FIELDS: [(&str, &str); 5] = [
    ("expires", "expires"),
    ("message_ttl", "message-ttl"),
    ("max_length", "max-length"),
    ("max_length_bytes", "max-length-bytes"),
    ("delivery_limit", "delivery-limit"),
];

/// The words behind a prefix, each once.
fn ids<'a>(settings: &Settings<'a>, prefix: &str) -> Vec<&'a str> {
    let mut ids: Vec<&str> = settings.below(prefix).filter_map(|(rest, _)| rest.split('.').next()).collect();
    ids.dedup();
    ids
}
