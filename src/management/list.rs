//! What a query makes of a list: `name` and `use_regex` filter, `sort` and `sort_reverse` order, `page` and `page_size`
//! cut, `columns` reduce.

use std::cmp::Ordering;

use serde_json::{Value as Json, json};

use super::call::Query;
use super::reply::{Outcome, Refused, Reply};
use crate::auth::Pattern;

/// RabbitMQ's most, and what it takes without being told.
const PAGE_SIZE_MAX: usize = 500;
const PAGE_SIZE: usize = 100;

/// What stands around a page.
#[derive(Clone, Copy, Debug)]
pub(super) struct Around {
    page: usize,
    size: usize,
    total: usize,
    filtered: usize,
}

/// Shapes a list as the query says.
pub(super) fn shape(values: Vec<Json>, query: &Query) -> Outcome {
    let name = |value: &Json| value.get("name").and_then(Json::as_str).unwrap_or_default().to_owned();
    let (values, around) = cut(values, query, name, |a, b, column| compare(find(a, column), find(b, column)))?;
    Ok(Reply::Shaped(wrap(values, around, query)))
}

/// Filters, sorts, and takes the page that is wanted, if any. `order` compares in a column.
pub(super) fn cut<T>(
    mut values: Vec<T>,
    query: &Query,
    name: impl Fn(&T) -> String,
    order: impl Fn(&T, &T, &str) -> Ordering,
) -> Result<(Vec<T>, Option<Around>), Refused> {
    let page = page(query)?;
    let total = values.len();
    if page.is_some() {
        filter(&mut values, query, name);
    }
    if let Some(column) = query.get("sort") {
        values.sort_by(|a, b| order(a, b, column));
    }
    if query.is_true("sort_reverse") {
        values.reverse();
    }
    let Some((page, size)) = page else { return Ok((values, None)) };
    let around = Around { page, size, total, filtered: values.len() };
    if page > around.pages().max(1) {
        let reason = format!("Page out of range, page: {page} page size: {size}, len: {}", around.filtered);
        return Err(Refused::bad_page("page_out_of_range", reason));
    }
    Ok((values.into_iter().skip((page - 1) * size).take(size).collect(), Some(around)))
}

impl Around {
    fn pages(self) -> usize {
        self.filtered.div_ceil(self.size)
    }
}

/// Reduces what [`cut`] has left to the columns wanted, and says which page it is.
pub(super) fn wrap(items: Vec<Json>, around: Option<Around>, query: &Query) -> Json {
    let items: Vec<Json> = items.into_iter().map(|value| columns(value, query)).collect();
    let Some(around) = around else { return items.into() };
    json!({
        "total_count": around.total,
        "item_count": items.len(),
        "filtered_count": around.filtered,
        "page": around.page,
        "page_size": around.size,
        "page_count": around.pages(),
        "items": items,
    })
}

/// Which page, and how long it is; `None`: the whole list is wanted.
fn page(query: &Query) -> Result<Option<(usize, usize)>, Refused> {
    let number = |name: &str| match query.get(name) {
        None => Ok(None),
        Some(text) => {
            text.parse::<i64>().map(Some).map_err(|_| Refused::bad_request("Pagination parameters are invalid"))
        }
    };
    let (Some(page), size) = (number("page")?, number("page_size")?) else { return Ok(None) };
    let in_range = |value: i64, max: usize| usize::try_from(value).ok().filter(|value| (1..=max).contains(value));
    // Beyond this many there is no page of any list.
    let (wanted, wanted_size) =
        (in_range(page, usize::MAX >> 16), in_range(size.unwrap_or(PAGE_SIZE as i64), PAGE_SIZE_MAX));
    match (wanted, wanted_size) {
        (Some(page), Some(size)) => Ok(Some((page, size))),
        _ => {
            let size = size.map_or("undefined".to_owned(), |size| size.to_string());
            let reason = format!("Invalid pagination parameters: page number {page}, page size {size}");
            Err(Refused::bad_page("invalid_pagination_parameters", reason))
        }
    }
}

fn filter<T>(values: &mut Vec<T>, query: &Query, name_of: impl Fn(&T) -> String) {
    let Some(name) = query.get("name").filter(|name| !name.is_empty()) else { return };
    if query.is_true("use_regex") {
        // As RabbitMQ: without regard to case; one that cannot be read finds nothing.
        match Pattern::new(&format!("(?i){name}")) {
            Ok(pattern) => values.retain(|value| pattern.matches(&name_of(value))),
            Err(_) => values.clear(),
        }
        return;
    }
    let name = name.to_lowercase();
    values.retain(|value| name_of(value).to_lowercase().contains(&name));
}

/// `a.b` is the `b` of `a`; a name may have points of its own.
fn find<'a>(value: &'a Json, path: &str) -> Option<&'a Json> {
    if let Some(found) = value.get(path) {
        return Some(found);
    }
    let (head, rest) = path.split_once('.')?;
    find(value.get(head)?, rest)
}

/// Numbers before texts, as Erlang orders its terms; what is not there comes first.
fn compare(a: Option<&Json>, b: Option<&Json>) -> Ordering {
    let rank = |value: Option<&Json>| match value {
        None => 0,
        Some(Json::Number(_)) => 1,
        Some(Json::Bool(_) | Json::Null) => 2,
        Some(Json::Object(_)) => 3,
        Some(Json::Array(_)) => 4,
        Some(Json::String(_)) => 5,
    };
    match (a, b) {
        (Some(Json::Number(a)), Some(Json::Number(b))) => {
            a.as_f64().unwrap_or_default().total_cmp(&b.as_f64().unwrap_or_default())
        }
        (Some(Json::String(a)), Some(Json::String(b))) => a.cmp(b),
        (Some(Json::Bool(a)), Some(Json::Bool(b))) => a.cmp(b),
        _ => rank(a).cmp(&rank(b)),
    }
}

/// The columns that the query names, in objects and in lists of objects, `a.b` being the `b` of each `a`; all of them if it
/// names none.
pub(super) fn columns(value: Json, query: &Query) -> Json {
    let Some(names) = query.get("columns").filter(|names| !names.is_empty()) else { return value };
    let paths: Vec<&str> = names.split(',').filter(|path| !path.is_empty()).collect();
    reduced(value, &paths)
}

fn reduced(value: Json, paths: &[&str]) -> Json {
    match value {
        Json::Object(fields) => {
            let kept = fields.into_iter().filter_map(|(name, inner)| {
                let kept = reduced_field(&name, inner, paths)?;
                Some((name, kept))
            });
            Json::Object(kept.collect())
        }
        Json::Array(values) => values.into_iter().map(|value| reduced(value, paths)).collect(),
        other => other,
    }
}

fn reduced_field(name: &str, value: Json, paths: &[&str]) -> Option<Json> {
    if paths.contains(&name) {
        return Some(value);
    }
    let inner: Vec<&str> = paths.iter().filter_map(|path| path.strip_prefix(name)?.strip_prefix('.')).collect();
    (!inner.is_empty() && (value.is_object() || value.is_array())).then(|| reduced(value, &inner))
}
