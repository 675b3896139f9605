//! Feature flags: what they stand for is always on.

use hyper::Method;
use serde_json::Value as Json;

use super::broker::{Broker, path};
use super::failure::{Failure, USAGE};
use super::line::Line;
use super::listing::List;
use super::output::{Format, Outcome};
use super::table::{BOTH, CTL, Command, DIAGNOSTICS, Run};

const FLAGS: List = List {
    path: "feature-flags",
    shown: &["name", "state"],
    missing: None,
    plain: "name state stability provided_by desc doc_url",
    columns: &[],
};

const DEPRECATED: List = List {
    path: "deprecated-features",
    shown: &["name", "deprecation_phase", "state"],
    missing: None,
    plain: "name deprecation_phase state provided_by desc doc_url",
    columns: &[],
};

fn enable(line: &Line, broker: &Broker) -> Result<Outcome, Failure> {
    let name = line.text("feature_flag");
    if name == "all" {
        line.announce("Enabling all feature flags ...");
        return Ok(Outcome::Done);
    }
    line.announce(&format!("Enabling feature flag \"{name}\" ..."));
    let response = broker.send(Method::PUT, &path(["feature-flags", name, "enable"]), &Json::Null)?;
    match response.is_success() {
        true => Ok(Outcome::Done),
        false => {
            let text = format!("This feature flag is not supported by node {}", broker.node());
            Err(Failure::error(USAGE, text))
        }
    }
}

fn list_deprecated(line: &Line, broker: &Broker) -> Result<Outcome, Failure> {
    let used = line.has("used");
    line.announce(if used { "Listing deprecated features in use ..." } else { "Listing deprecated features ..." });
    let path = if used { "deprecated-features/used" } else { DEPRECATED.path };
    Ok(DEPRECATED.rows(line, &broker.get(path)?))
}

fn check_deprecated_columns(line: &Line) -> Result<(), Failure> {
    DEPRECATED.check(line)
}

fn check_none_used(_: &Line, broker: &Broker) -> Result<Outcome, Failure> {
    let used = broker.get("deprecated-features/used")?;
    let names: Vec<&str> = used.as_array().into_iter().flatten().filter_map(|one| one["name"].as_str()).collect();
    if names.is_empty() {
        return Ok(Outcome::passed("Cluster reported no deprecated features in use"));
    }
    Err(Failure::plain(super::failure::UNAVAILABLE, names.join("\n")))
}

pub(super) const COMMANDS: &[Command] = &[
    Command::new(
        CTL,
        ("enable_feature_flag", "[--opt-in] <feature_flag>"),
        "Enables a feature flag or all supported feature flags on the target node",
        "",
        Run::Do(enable),
    ),
    Command::new(
        BOTH,
        ("list_deprecated_features", "[--used] [<column> ...]"),
        "Lists deprecated features",
        "",
        Run::Do(list_deprecated),
    )
    .checked(check_deprecated_columns)
    .shown_as(Format::PrettyTable),
    Command::new(
        BOTH,
        ("list_feature_flags", "[<column> ...]"),
        "Lists feature flags",
        "Listing feature flags ...",
        Run::List(&FLAGS),
    ),
    Command::new(
        DIAGNOSTICS,
        ("check_if_any_deprecated_features_are_used", ""),
        "Health check that exits with a non-zero code if deprecated features are in use",
        "Checking if any deprecated features are used ...",
        Run::Do(check_none_used),
    ),
];
