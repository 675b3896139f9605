//! The syntax of `rabbitmq.conf`: a `key = value` a line, `#` comments, values in single quotes if they must hold a
//! `#`, and `$(VARIABLE)` for what the environment knows. What keys mean is the business of [`super::keys`].

use std::fs;
use std::path::{Path, PathBuf};

use super::error::Error;

/// One line of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Words with dots between them.
    pub key: String,
    /// Without quotes, with variables replaced.
    pub value: String,
    /// Where it stands: `file:line`.
    pub place: String,
}

/// Reads a file, and if it is a directory all of its `*.conf` in the order of their names.
///
/// # Errors
/// It cannot be read, or a line is neither a setting nor a comment.
pub fn read(path: &Path, variable: impl Fn(&str) -> Option<String>) -> Result<Vec<Setting>, Error> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source: std::io::Error| Error::Read { path, reason: source.to_string() }
    };
    let mut files = vec![path.to_owned()];
    if path.is_dir() {
        let entries = fs::read_dir(path).map_err(failed(path))?.collect::<Result<Vec<_>, _>>().map_err(failed(path))?;
        let is_conf = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "conf");
        files = entries.into_iter().map(|entry| entry.path()).filter(is_conf).collect();
        files.sort();
    }
    let mut settings = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).map_err(failed(&file))?;
        settings.extend(parse(&text, &file.display().to_string(), &variable)?);
    }
    Ok(settings)
}

/// Reads the text of a file of this name.
///
/// # Errors
/// A line is neither a setting nor a comment; a variable is not set.
pub fn parse(text: &str, file: &str, variable: impl Fn(&str) -> Option<String>) -> Result<Vec<Setting>, Error> {
    let mut settings = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let place = format!("{file}:{}", index + 1);
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let syntax = |reason: &str| Error::Syntax { place: place.clone(), reason: reason.into() };
        let (key, rest) = line.split_once('=').ok_or_else(|| syntax("expected `key = value`"))?;
        let key = key.trim();
        let is_word = |word: &str| !word.is_empty() && word.chars().all(|c| !c.is_whitespace() && c != '\'');
        if !key.split('.').all(is_word) {
            return Err(syntax("a key is words with dots between them"));
        }
        let value = value(rest.trim_start()).ok_or_else(|| syntax("the closing ' is missing"))?;
        if value.is_empty() {
            return Err(syntax("there is no value"));
        }
        let value = interpolate(value, &variable).map_err(|reason| syntax(&reason))?;
        settings.push(Setting { key: key.to_owned(), value, place });
    }
    Ok(settings)
}

/// The value without quotes and without the comment behind it; `None`: a quote is not closed.
fn value(rest: &str) -> Option<&str> {
    match rest.strip_prefix('\'') {
        Some(quoted) => Some(&quoted[..quoted.find('\'')?]),
        None => Some(rest.split('#').next().unwrap_or(rest).trim_end()),
    }
}

fn interpolate(value: &str, variable: impl Fn(&str) -> Option<String>) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = value;
    while let Some((before, after)) = rest.split_once("$(") {
        let (name, behind) = after.split_once(')').ok_or("the closing ) is missing")?;
        out.push_str(before);
        out.push_str(&variable(name).ok_or_else(|| format!("the environment has no {name}"))?);
        rest = behind;
    }
    out.push_str(rest);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Vec<(String, String)>, String> {
        let variable = |name: &str| (name == "HARE").then(|| "brown".to_owned());
        let settings = parse(text, "f", variable).map_err(|error| error.to_string())?;
        Ok(settings.into_iter().map(|setting| (setting.key, setting.value)).collect())
    }

    #[test]
    fn settings_and_comments() {
        let text = "# a comment\n\n  heartbeat=30  # seconds\nlisteners.tcp.1 = ::1:5672\ndefault_pass = 'a # b'\n\
                    cluster_name = the $(HARE) one\n## more";
        let expected = [
            ("heartbeat", "30"),
            ("listeners.tcp.1", "::1:5672"),
            ("default_pass", "a # b"),
            ("cluster_name", "the brown one"),
        ];
        assert_eq!(parsed(text).unwrap(), expected.map(|(key, value)| (key.to_owned(), value.to_owned())));
    }

    #[test]
    fn mistakes_are_told_with_their_line() {
        let errors = [
            ("heartbeat 30", "f:1: expected `key = value`"),
            ("\nheart beat = 30", "f:2: a key is words with dots between them"),
            ("listeners..tcp = 1", "f:1: a key is words with dots between them"),
            ("heartbeat =", "f:1: there is no value"),
            ("default_pass = 'abc", "f:1: the closing ' is missing"),
            ("default_pass = $(FOX)", "f:1: the environment has no FOX"),
            ("default_pass = $(HARE", "f:1: the closing ) is missing"),
        ];
        for (text, error) in errors {
            assert_eq!(parsed(text).unwrap_err(), error);
        }
    }
}
