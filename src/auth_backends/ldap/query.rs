//! Questions to a directory: who may do what, in RabbitMQ's language of queries.

use super::terms::Term;
use crate::auth::Pattern;

/// A question that is answered with yes or no.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Query {
    /// `{constant, true}`.
    Constant(bool),
    /// `{exists, "dn"}`: there is such an entry.
    Exists(Text),
    /// `{in_group, "dn"}`, `{in_group, "dn", "attribute"}`: the group's attribute, `member` by default, names the user.
    InGroup(Text, String),
    /// `{in_group_nested, "dn", "attribute", scope}`: or that of a group which is a member of it, and so on.
    InGroupNested(Text, String, Scope),
    /// `{'not', query}`.
    Not(Box<Self>),
    /// `{'and', [query, ...]}`.
    All(Vec<Self>),
    /// `{'or', [query, ...]}`.
    Any(Vec<Self>),
    /// `{for, [{permission, configure, query}, {resource, queue, query}, ...]}`: the first that is meant is asked.
    For(Vec<(String, String, Self)>),
    /// `{equals, text, text}`.
    Equals(Value, Value),
    /// `{match, text, pattern}`.
    Match(Value, Value),
}

/// Where groups are looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Anywhere below the base.
    Subtree,
    /// Right below it.
    SingleLevel,
}

/// Text with `${names}` in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text(pub String);

/// A text, or what an entry has to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// `{string, "text"}`, or the text alone.
    Text(Text),
    /// `{attribute, "dn", "attribute"}`: its values.
    Attribute(Text, String),
}

/// RabbitMQ's attribute of a group that has its members.
const MEMBER: &str = "member";

impl Query {
    /// `None`: it is no query.
    pub fn read(text: &str) -> Option<Self> {
        Self::of(&Term::read(text)?)
    }

    /// `[{administrator, query}, ...]`: the tags of whom the answer is yes for.
    pub fn read_tags(text: &str) -> Option<Vec<(String, Self)>> {
        let Term::List(entries) = Term::read(text)? else { return None };
        let tag = |entry: &Term| match tuple(entry)? {
            [tag, query] => Some((atom(tag)?.to_owned(), Self::of(query)?)),
            _ => None,
        };
        entries.iter().map(tag).collect()
    }

    fn of(term: &Term) -> Option<Self> {
        let parts = tuple(term)?;
        let (name, arguments) = parts.split_first()?;
        Some(match (atom(name)?, arguments) {
            ("constant", [value]) => match atom(value)? {
                "true" => Self::Constant(true),
                "false" => Self::Constant(false),
                _ => return None,
            },
            ("exists", [dn]) => Self::Exists(text(dn)?),
            ("in_group", [dn]) => Self::InGroup(text(dn)?, MEMBER.to_owned()),
            ("in_group", [dn, attribute]) => Self::InGroup(text(dn)?, text(attribute)?.0),
            ("in_group_nested", [dn]) => Self::InGroupNested(text(dn)?, MEMBER.to_owned(), Scope::Subtree),
            ("in_group_nested", [dn, attribute]) => Self::InGroupNested(text(dn)?, text(attribute)?.0, Scope::Subtree),
            ("in_group_nested", [dn, attribute, scope]) => {
                let scope = match atom(scope)? {
                    "subtree" => Scope::Subtree,
                    "singlelevel" | "single_level" => Scope::SingleLevel,
                    _ => return None,
                };
                Self::InGroupNested(text(dn)?, text(attribute)?.0, scope)
            }
            ("not", [query]) => Self::Not(Box::new(Self::of(query)?)),
            ("and", [queries]) => Self::All(list(queries)?.iter().map(Self::of).collect::<Option<_>>()?),
            ("or", [queries]) => Self::Any(list(queries)?.iter().map(Self::of).collect::<Option<_>>()?),
            ("for", [cases]) => Self::For(list(cases)?.iter().map(case).collect::<Option<_>>()?),
            ("equals", [one, other]) => Self::Equals(value(one)?, value(other)?),
            ("match", [subject, pattern]) => {
                // One that can be known now must be one.
                if let Some(Value::Text(Text(pattern))) = value(pattern)
                    && !pattern.contains("${")
                {
                    Pattern::new(&pattern).ok()?;
                }
                Self::Match(value(subject)?, value(pattern)?)
            }
            _ => return None,
        })
    }
}

fn case(term: &Term) -> Option<(String, String, Query)> {
    match tuple(term)? {
        [kind, wanted, query] => Some((atom(kind)?.to_owned(), atom(wanted)?.to_owned(), Query::of(query)?)),
        _ => None,
    }
}

fn value(term: &Term) -> Option<Value> {
    match term {
        Term::Text(own) => Some(Value::Text(Text(own.clone()))),
        other => match tuple(other)? {
            [kind, own] if atom(kind)? == "string" => Some(Value::Text(text(own)?)),
            [kind, dn, name] if atom(kind)? == "attribute" => Some(Value::Attribute(text(dn)?, text(name)?.0)),
            _ => None,
        },
    }
}

fn tuple(term: &Term) -> Option<&[Term]> {
    if let Term::Tuple(parts) = term { Some(parts) } else { None }
}

fn list(term: &Term) -> Option<&[Term]> {
    if let Term::List(parts) = term { Some(parts) } else { None }
}

fn atom(term: &Term) -> Option<&str> {
    if let Term::Atom(name) = term { Some(name) } else { None }
}

fn text(term: &Term) -> Option<Text> {
    if let Term::Text(text) = term { Some(Text(text.clone())) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_read() {
        let dn = |dn: &str| Text(dn.to_owned());
        assert_eq!(Query::read("{constant, true}"), Some(Query::Constant(true)));
        assert_eq!(
            Query::read(r#"{in_group, "cn=a,dc=b"}"#),
            Some(Query::InGroup(dn("cn=a,dc=b"), "member".to_owned()))
        );
        let nested = Query::InGroupNested(dn("cn=a"), "uniqueMember".to_owned(), Scope::SingleLevel);
        assert_eq!(Query::read(r#"{in_group_nested, "cn=a", "uniqueMember", singlelevel}"#), Some(nested));
        assert_eq!(
            Query::read(
                r#"{for, [{permission, configure, {'not', {exists, "cn=x"}}},
                          {resource, exchange, {'and', [{equals, "${username}", {attribute, "${user_dn}", "uid"}},
                                                        {match, {string, "${name}"}, "^a"}]}},
                          {resource, queue, {'or', []}}]}."#
            ),
            Some(Query::For(vec![
                ("permission".into(), "configure".into(), Query::Not(Box::new(Query::Exists(dn("cn=x"))))),
                (
                    "resource".into(),
                    "exchange".into(),
                    Query::All(vec![
                        Query::Equals(
                            Value::Text(dn("${username}")),
                            Value::Attribute(dn("${user_dn}"), "uid".to_owned())
                        ),
                        Query::Match(Value::Text(dn("${name}")), Value::Text(dn("^a"))),
                    ])
                ),
                ("resource".into(), "queue".into(), Query::Any(vec![])),
            ]))
        );
        let tags = Query::read_tags("[{administrator, {constant, false}}, {management, {constant, true}}]");
        let constant = |tag: &str, value| (tag.to_owned(), Query::Constant(value));
        assert_eq!(tags, Some(vec![constant("administrator", false), constant("management", true)]));
        for bad in [
            "constant",
            "{constant, perhaps}",
            "{constant}",
            "{in_group}",
            "{in_group, cn}",
            "{'xor', []}",
            "{'and', {constant, true}}",
            r#"{match, "a", "("}"#,
            "[{constant, true}]",
        ] {
            assert_eq!(Query::read(bad), None, "{bad}");
        }
    }
}
