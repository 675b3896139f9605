//! Users: their passwords, tags and limits.

use hyper::Method;
use serde_json::{Value as Json, json};

use super::broker::{Broker, path};
use super::failure::{DATA, Failure, NO_USER, SOFTWARE, UNAVAILABLE};
use super::line::Line;
use super::listing::{Column, Holds, List};
use super::output::{Item, Outcome, Rows};
use super::request::{self, Missing, Send, document, done};
use super::table::{BOTH, CTL, Command, Run};
use super::{help, password};

const USERS: List = List {
    path: "users",
    shown: &["user", "tags"],
    missing: None,
    plain: "tags",
    columns: &[Column("user", "name", Holds::Value)],
};

/// RabbitMQ shows what Erlang says here.
pub(super) fn no_such_user(line: &Line) -> Failure {
    Failure::error(UNAVAILABLE, format!("{{:no_such_user, \"{}\"}}", line.text("username")))
}

fn does_not_exist(name: &str) -> Failure {
    Failure::error(NO_USER, format!("User \"{name}\" does not exist"))
}

fn user(line: &Line, broker: &Broker) -> Result<Option<Json>, Failure> {
    broker.find(&request::path(line, "users/{username}"))
}

/// Changes a user, whose other fields stay: the API replaces all of them.
fn change(line: &Line, broker: &Broker, user: &Json, fields: &[(&str, Json)]) -> Result<Outcome, Failure> {
    let mut body = json!({
        "password_hash": user["password_hash"],
        "hashing_algorithm": user["hashing_algorithm"],
        "tags": user["tags"],
    });
    for (name, value) in fields {
        if *name == "password"
            && let Some(body) = body.as_object_mut()
        {
            body.remove("password_hash");
        }
        body[*name] = value.clone();
    }
    let response = broker.send(Method::PUT, &request::path(line, "users/{username}"), &body)?;
    done(&response, || Err(does_not_exist(line.text("username"))))
}

fn check_name(line: &Line) -> Result<(), Failure> {
    match line.text("username") {
        "" => Err(Failure::bad_argument("Bad argument: user cannot be an empty string")),
        _ => Ok(()),
    }
}

fn add(line: &Line, broker: &Broker) -> Result<Outcome, Failure> {
    let secret = password::of(line, "password")?;
    let name = line.text("username");
    if user(line, broker)?.is_some() {
        return Err(Failure::error(SOFTWARE, format!("User \"{name}\" already exists")));
    }
    let field = if line.has("pre-hashed-password") { "password_hash" } else { "password" };
    let response = broker.send(Method::PUT, &path(["users", name]), &json!({field: secret, "tags": []}))?;
    done(&response, || Err(does_not_exist(name)))?;
    if line.is_quiet() {
        return Ok(Outcome::Done);
    }
    Ok(Outcome::said(format!(
        "Done. Don't forget to grant the user permissions to some virtual hosts! See '{} help set_permissions' to learn \
         more.",
        line.tool.name()
    )))
}

fn change_password(line: &Line, broker: &Broker) -> Result<Outcome, Failure> {
    let secret = password::of(line, "password")?;
    let user = user(line, broker)?.ok_or_else(|| does_not_exist(line.text("username")))?;
    change(line, broker, &user, &[("password", secret.into())])
}

fn clear_password(line: &Line, broker: &Broker) -> Result<Outcome, Failure> {
    let user = user(line, broker)?.ok_or_else(|| no_such_user(line))?;
    change(line, broker, &user, &[("password_hash", "".into())])
}

fn set_tags(line: &Line, broker: &Broker) -> Result<Outcome, Failure> {
    let user = user(line, broker)?.ok_or_else(|| does_not_exist(line.text("username")))?;
    change(line, broker, &user, &[("tags", line.rest().into())])
}

/// Asks the API in the user's name. Whoever may not use the API has logged in all the same.
fn authenticate(line: &Line, broker: &Broker) -> Result<Outcome, Failure> {
    let name = line.text("username");
    let secret = password::of(line, "password")?;
    let response = broker.get_as(name, &secret, "whoami")?;
    let refused = response.json["reason"].as_str().unwrap_or_default();
    if response.is_success() || refused.starts_with("Not management user") {
        return Ok(Outcome::said("Success"));
    }
    let text = format!("Error: failed to authenticate user \"{name}\"\nuser '{name}' - invalid credentials");
    Err(Failure::error(DATA, text))
}

const LIMITS: [&str; 2] = ["max-connections", "max-channels"];

fn set_limits(line: &Line, broker: &Broker) -> Result<Outcome, Failure> {
    let limits = document(line, "definition")?;
    let unknown = |text: &str| Failure::error(UNAVAILABLE, text);
    let limits =
        limits.as_object().ok_or_else(|| unknown("user limits are an object, such as {\"max-channels\": 10}"))?;
    user(line, broker)?.ok_or_else(|| no_such_user(line))?;
    if let Some((name, value)) = limits.iter().find(|(name, _)| !LIMITS.contains(&name.as_str())) {
        return Err(unknown(&format!("Unrecognised terms [{{<<\"{name}\">>,{value}}}] in user-limits")));
    }
    for (name, value) in limits {
        let path = path(["user-limits", line.text("username"), name]);
        let response = broker.send(Method::PUT, &path, &json!({"value": value}))?;
        done(&response, || Err(no_such_user(line)))?;
    }
    Ok(Outcome::Done)
}

fn clear_limits(line: &Line, broker: &Broker) -> Result<Outcome, Failure> {
    let (limit, name) = (line.text("limit"), line.text("username"));
    let what = if limit == "all" { "all limits".to_owned() } else { format!("\"{limit}\" limit") };
    line.announce(&format!("Clearing {what} for user \"{name}\" ..."));
    user(line, broker)?.ok_or_else(|| no_such_user(line))?;
    for own in LIMITS.iter().filter(|own| limit == "all" || **own == limit) {
        let response = broker.send(Method::DELETE, &path(["user-limits", name, own]), &Json::Null)?;
        done(&response, || Ok(Outcome::Done))?;
    }
    Ok(Outcome::Done)
}

fn list_limits(line: &Line, broker: &Broker) -> Result<Outcome, Failure> {
    limits(line, broker, ("user-limits", "user"), "user", |broker, name| {
        let found = broker.find(&path(["users", name]))?;
        let missing = || Failure::error(UNAVAILABLE, format!("{{:no_such_user, \"{name}\"}}"));
        found.map(|_| "{}").ok_or_else(missing)
    })
}

/// Limits of all, or of one that is named; `empty` says what one without limits shows, and whether it is there.
pub(super) fn limits(
    line: &Line,
    broker: &Broker,
    (kind, option): (&str, &str),
    column: &str,
    empty: impl Fn(&Broker, &str) -> Result<&'static str, Failure>,
) -> Result<Outcome, Failure> {
    let all = broker.get(kind)?;
    let all = all.as_array().map(Vec::as_slice).unwrap_or_default();
    if line.has("global") {
        line.announce(&format!("Listing limits for all {column}s ..."));
        let row = |record: &Json| vec![Item::of(&record[column]), Item::text(record["value"].to_string())];
        let columns = vec![column.to_owned(), "limits".to_owned()];
        return Ok(Outcome::Rows(Rows { columns, values: all.iter().map(row).collect() }));
    }
    let name = line.get(option).unwrap_or(if column == "user" { "guest" } else { "/" });
    line.announce(&format!("Listing limits for {column} \"{name}\" ..."));
    let nothing = empty(broker, name)?;
    let own = all.iter().find(|record| record[column] == name);
    Ok(Outcome::said(own.map_or_else(|| nothing.to_owned(), |record| record["value"].to_string())))
}

/// Which tool tells more.
fn hash_password(line: &Line) -> Result<Outcome, Failure> {
    let secret = password::of(line, "cleartext_password")?;
    let hash = crate::auth::PasswordHash::new(&secret, crate::auth::HashingAlgorithm::default());
    Ok(Outcome::said(hash.to_base64()))
}

fn autocomplete(line: &Line) -> Result<Outcome, Failure> {
    Ok(Outcome::said(help::beginning(line.tool, line.text("prefix")).join("\n")))
}

pub(super) const COMMANDS: &[Command] = &[
    Command::new(
        CTL,
        ("add_user", "<username> [<password>] [--pre-hashed-password]"),
        "Creates a new user, without permissions; the password is read from the standard input if it is not given",
        "Adding user \"{username}\" ...",
        Run::Do(add),
    )
    .checked(check_name),
    Command::new(
        CTL,
        ("authenticate_user", "<username> [<password>]"),
        "Attempts to authenticate a user. Exits with a non-zero code if authentication fails",
        "Authenticating user \"{username}\" ...",
        Run::Do(authenticate),
    ),
    Command::new(
        CTL,
        ("change_password", "<username> [<password>]"),
        "Changes the user password",
        "Changing password for user \"{username}\" ...",
        Run::Do(change_password),
    ),
    Command::new(
        CTL,
        ("clear_password", "<username>"),
        "Clears the password and disables login by password for a user",
        "Clearing password for user \"{username}\" ...",
        Run::Do(clear_password),
    ),
    Command::new(
        CTL,
        ("clear_user_limits", "<username> <limit>"),
        "Clears a limit of a user: max-connections, max-channels, or all",
        "",
        Run::Do(clear_limits),
    ),
    Command::new(
        CTL,
        ("delete_user", "<username>"),
        "Removes a user",
        "Deleting user \"{username}\" ...",
        Run::Send(Send::delete("users/{username}", Missing::Nothing)),
    ),
    Command::new(
        CTL,
        ("hash_password", "[<cleartext_password>]"),
        "Hashes a plaintext password",
        "Will hash provided password",
        Run::Alone(hash_password),
    ),
    Command::new(
        BOTH,
        ("list_user_limits", "[--user <username>] [--global]"),
        "Displays configured user limits",
        "",
        Run::Do(list_limits),
    ),
    Command::new(
        BOTH,
        ("list_users", "[--no-table-headers]"),
        "List user names and tags",
        "Listing users ...",
        Run::List(&USERS),
    ),
    Command::new(
        CTL,
        ("set_user_limits", "<username> <definition>"),
        "Sets user limits",
        "Setting user limits to \"{definition}\" for user \"{username}\" ...",
        Run::Do(set_limits),
    ),
    Command::new(
        CTL,
        ("set_user_tags", "<username> [<tag> ...]"),
        "Sets user tags",
        "Setting tags for user \"{username}\" to [{tag}] ...",
        Run::Do(set_tags),
    ),
    Command::new(
        super::table::EVERY,
        ("autocomplete", "<prefix>"),
        "Names the commands that begin so",
        "",
        Run::Alone(autocomplete),
    ),
];
