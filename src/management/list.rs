//! What a query makes of a list: `name` and `use_regex` filter, `sort` and `sort_reverse` order, `page` and `page_size`
//! cut, `columns` reduce.

use std::borrow::Cow;
use std::cmp::Ordering;

use serde_json::Value as Json;

use super::call::Query;
use super::record::{Columns, Record, paths_of};
use super::reply::{Outcome, Refused, Reply};
use crate::auth::Pattern;

/// RabbitMQ's most, and what it takes without being told.
const PAGE_SIZE_MAX: usize = 500;
const PAGE_SIZE: usize = 100;

/// Items that are written at one go; then others on this thread have their turn.
const ITEMS_A_TURN: usize = 128;

/// What stands around a page.
#[derive(Clone, Copy, Debug)]
pub(super) struct Around {
    page: usize,
    size: usize,
    total: usize,
    filtered: usize,
}

/// Shapes a list as the query says, and writes it.
pub(super) async fn shape(values: Vec<Json>, query: &Query) -> Outcome {
    shape_items(values, query, name_of, |value, out, columns| columns.write(out, value)).await
}

fn name_of(value: &Json) -> Cow<'_, str> {
    value.get("name").and_then(Json::as_str).unwrap_or_default().into()
}

/// The same of items that are not JSON yet. `write` does that, with the columns that it is told.
pub(super) async fn shape_items<T>(
    items: Vec<T>,
    query: &Query,
    name: impl Fn(&T) -> Cow<'_, str>,
    write: impl Fn(&T, &mut Vec<u8>, Columns<'_>),
) -> Outcome {
    let mut chosen = Chosen::new(items, query, name)?;
    if let Some(column) = query.get("sort") {
        chosen.items = sorted(chosen.items, column, &write).await;
    }
    let (items, around) = chosen.page(query)?;
    let mut list = List::new(items.len(), around, query);
    for (index, item) in items.iter().enumerate() {
        if index % ITEMS_A_TURN == ITEMS_A_TURN - 1 {
            tokio::task::yield_now().await;
        }
        list.add(|out, columns| write(item, out, columns));
    }
    Ok(list.written())
}

/// What a query leaves of a list.
pub(super) struct Chosen<T> {
    pub(super) items: Vec<T>,
    page: Option<(usize, usize)>,
    total: usize,
}

impl<T> Chosen<T> {
    /// Filters them.
    pub(super) fn new(mut items: Vec<T>, query: &Query, name: impl Fn(&T) -> Cow<'_, str>) -> Result<Self, Refused> {
        let (page, total) = (page(query)?, items.len());
        if page.is_some() {
            filter(&mut items, query, name);
        }
        Ok(Self { items, page, total })
    }

    /// The page that is wanted, if any, of what is sorted by now.
    pub(super) fn page(self, query: &Query) -> Result<(Vec<T>, Option<Around>), Refused> {
        let Self { mut items, page, total } = self;
        if query.is_true("sort_reverse") {
            items.reverse();
        }
        let Some((page, size)) = page else { return Ok((items, None)) };
        let around = Around { page, size, total, filtered: items.len() };
        if page > around.pages().max(1) {
            let reason = format!("Page out of range, page: {page} page size: {size}, len: {}", around.filtered);
            return Err(Refused::bad_page("page_out_of_range", reason));
        }
        Ok((items.into_iter().skip((page - 1) * size).take(size).collect(), Some(around)))
    }
}

/// By a column.
async fn sorted<T>(items: Vec<T>, column: &str, write: &impl Fn(&T, &mut Vec<u8>, Columns<'_>)) -> Vec<T> {
    let mut keyed = Vec::with_capacity(items.len());
    for (index, item) in items.into_iter().enumerate() {
        if index % ITEMS_A_TURN == ITEMS_A_TURN - 1 {
            tokio::task::yield_now().await;
        }
        keyed.push((Key::of(&item, column, write), item));
    }
    keyed.sort_by(|(a, _), (b, _)| a.compare(b));
    keyed.into_iter().map(|(_, item)| item).collect()
}

impl Around {
    fn pages(self) -> usize {
        self.filtered.div_ceil(self.size)
    }
}

/// What a query has left, written item by item with the columns that are wanted.
pub(super) struct List<'a> {
    out: Vec<u8>,
    columns: Vec<&'a str>,
    around: Option<Around>,
    count: usize,
    /// How many there will be, more or less.
    expected: usize,
}

impl<'a> List<'a> {
    pub(super) fn new(expected: usize, around: Option<Around>, query: &'a Query) -> Self {
        let mut out = Vec::new();
        if around.is_some() {
            out.extend_from_slice(b"{\"items\":");
        }
        out.push(b'[');
        Self { out, columns: paths_of(query), around, count: 0, expected }
    }

    pub(super) fn add(&mut self, write: impl FnOnce(&mut Vec<u8>, Columns<'_>)) {
        if self.count == ITEMS_A_TURN {
            // They are of much the same length: what comes is an eighth longer at most, or the vector grows once more.
            let rest = self.expected.saturating_sub(ITEMS_A_TURN);
            self.out.reserve(self.out.len() / ITEMS_A_TURN * rest / 8 * 9);
        }
        if self.count > 0 {
            self.out.push(b',');
        }
        self.count += 1;
        write(&mut self.out, Columns::of(&self.columns));
    }

    /// The answer. A page says which one it is.
    pub(super) fn written(mut self) -> Reply {
        self.out.push(b']');
        if let Some(around) = self.around {
            let mut rest = Vec::new();
            Record::write(&mut rest, Columns::All, |record| {
                record.put("total_count", around.total);
                record.put("item_count", self.count);
                record.put("filtered_count", around.filtered);
                record.put("page", around.page);
                record.put("page_size", around.size);
                record.put("page_count", around.pages());
            });
            // They stand behind the items in the same object.
            rest[0] = b',';
            self.out.extend_from_slice(&rest);
        }
        Reply::Written(self.out.into())
    }
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

fn filter<T>(items: &mut Vec<T>, query: &Query, name: impl Fn(&T) -> Cow<'_, str>) {
    let Some(wanted) = query.get("name").filter(|wanted| !wanted.is_empty()) else { return };
    if query.is_true("use_regex") {
        // As RabbitMQ: without regard to case; one that cannot be read finds nothing.
        match Pattern::new(&format!("(?i){wanted}")) {
            Ok(pattern) => items.retain(|item| pattern.matches(&name(item))),
            Err(_) => items.clear(),
        }
        return;
    }
    let wanted = wanted.to_lowercase();
    items.retain(|item| name(item).to_lowercase().contains(&wanted));
}

/// `a.b` is the `b` of `a`; a name may have points of its own.
fn find<'a>(value: &'a Json, path: &str) -> Option<&'a Json> {
    if let Some(found) = value.get(path) {
        return Some(found);
    }
    let (head, rest) = path.split_once('.')?;
    find(value.get(head)?, rest)
}

/// What an item is sorted by: its field in a column.
struct Key(Option<Json>);

impl Key {
    fn of<T>(item: &T, column: &str, write: impl Fn(&T, &mut Vec<u8>, Columns<'_>)) -> Self {
        let mut out = Vec::new();
        write(item, &mut out, Columns::Paths(&[column]));
        let written = serde_json::from_slice(&out).unwrap_or(Json::Null);
        Self(find(&written, column).cloned())
    }

    /// Numbers before texts, as Erlang orders its terms; what is not there comes first.
    fn compare(&self, other: &Self) -> Ordering {
        let rank = |value: &Option<Json>| match value {
            None => 0,
            Some(Json::Number(_)) => 1,
            Some(Json::Bool(_) | Json::Null) => 2,
            Some(Json::Object(_)) => 3,
            Some(Json::Array(_)) => 4,
            Some(Json::String(_)) => 5,
        };
        match (&self.0, &other.0) {
            (Some(Json::Number(a)), Some(Json::Number(b))) => {
                a.as_f64().unwrap_or_default().total_cmp(&b.as_f64().unwrap_or_default())
            }
            (Some(Json::String(a)), Some(Json::String(b))) => a.cmp(b),
            (Some(Json::Bool(a)), Some(Json::Bool(b))) => a.cmp(b),
            (a, b) => rank(a).cmp(&rank(b)),
        }
    }
}
