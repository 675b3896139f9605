//! `headers`: the binding's arguments are conditions on the message's headers; the routing key is ignored.
//!
//! `x-match` says how they combine: `all` (also when it is absent) or `any`. These two leave out arguments whose name
//! begins with `x-`; `all-with-x` and `any-with-x` use every argument but `x-match` itself. An argument with a void
//! value asks only whether there is such a header.
//!
//! A binding is a choice between terms, and it matches if one of them does: `all` is one term with all conditions,
//! `any` is one term per condition. Terms with conditions on the same names form a [`Shape`], a hash table from the
//! values of those headers to destinations. A message takes the shapes that its header names lead to and looks itself
//! up in each, so that the number of bindings of a shape does not matter.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, Hasher};

use crate::hashing::Hashing;
use hashbrown::HashTable;
use smallvec::{SmallVec, smallvec};

use super::slab::Slab;
use super::targets::Targets;
use super::value::{self, Comparand};
use super::{BindingError, BindingId, Routable, Router};
use crate::wire::{RawTable, RawValue, Table, Value};

/// Up to this many headers, finding one by name walks along them; beyond, they are sorted.
const WALK_MAX: usize = 16;

const X_MATCH: &[u8] = b"x-match";

#[derive(Debug)]
pub(super) struct Headers<D> {
    /// Of bindings with `all` and no condition: they match every message, even one without headers.
    always: Targets<D>,
    shapes: Slab<Shape<D>>,
    /// The shapes by their conditions.
    identities: HashTable<ShapeId>,
    /// The shapes by one name that a message must have as a header, for each shape the one with the fewest others.
    anchors: HashMap<Box<[u8]>, SmallVec<[ShapeId; 2]>, Hashing>,
    hasher: Hashing,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct ShapeId(u32);

/// The terms that look at the same headers.
#[derive(Debug)]
struct Shape<D> {
    conditions: Box<[Condition]>,
    /// The terms with the same values.
    rows: HashTable<Row<D>>,
    /// Which of the conditions has the name that this shape is found by, and the place in the list of that name.
    anchor: usize,
    place: usize,
}

#[derive(PartialEq, Eq, Hash, Debug)]
struct Condition {
    name: Box<[u8]>,
    /// Whether the value matters, or only that there is such a header.
    by_value: bool,
}

#[derive(Debug)]
struct Row<D> {
    /// Of `values`.
    hash: u64,
    /// One for each condition by value, in their order.
    values: Box<[Comparand<'static>]>,
    targets: Targets<D>,
}

/// `x-match`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Match {
    All,
    Any,
    AllWithX,
    AnyWithX,
}

impl Match {
    fn parse(word: &[u8]) -> Option<Self> {
        match word {
            b"all" => Some(Self::All),
            b"any" => Some(Self::Any),
            b"all-with-x" => Some(Self::AllWithX),
            b"any-with-x" => Some(Self::AnyWithX),
            _ => None,
        }
    }

    /// Of a binding. Definitions from elsewhere are not checked, so anything else means `all`, as in RabbitMQ.
    fn of(arguments: &Table) -> Self {
        match arguments.get(X_MATCH) {
            Some(Value::LongString(word)) => Self::parse(word).unwrap_or(Self::All),
            _ => Self::All,
        }
    }

    fn uses(self, name: &[u8]) -> bool {
        match self {
            Self::All | Self::Any => !name.starts_with(b"x-"),
            Self::AllWithX | Self::AnyWithX => name != X_MATCH,
        }
    }
}

impl<D> Default for Headers<D> {
    fn default() -> Self {
        Self {
            always: Targets::default(),
            shapes: Slab::new(),
            identities: HashTable::new(),
            anchors: HashMap::default(),
            hasher: Hashing::default(),
        }
    }
}

impl<D: Clone> Router<D> for Headers<D> {
    fn check(&self, _key: &str, arguments: &Table) -> Result<(), BindingError> {
        match arguments.get(X_MATCH) {
            None => Ok(()),
            Some(Value::LongString(word)) if Match::parse(word).is_some() => Ok(()),
            Some(value @ Value::LongString(_)) => Err(BindingError::MatchValue { value: value::erlang_term(value) }),
            Some(value) => Err(BindingError::MatchType { kind: value.type_name(), value: value::erlang_term(value) }),
        }
    }

    fn add(&mut self, id: BindingId, _key: &str, arguments: &Table, destination: D) {
        for term in terms(arguments) {
            if term.is_empty() {
                self.always.add(id, destination.clone());
            } else {
                self.add_term(id, &term, destination.clone());
            }
        }
    }

    fn remove(&mut self, id: BindingId, _key: &str, arguments: &Table) {
        for term in terms(arguments) {
            if term.is_empty() {
                self.always.remove(id);
            } else {
                self.remove_term(id, &term);
            }
        }
    }

    fn route(&self, message: &Routable<'_>, found: &mut impl FnMut(&D)) {
        self.always.each(found);
        let Some(headers) = message.properties.headers else { return };
        if self.anchors.is_empty() {
            return;
        }
        let message = Message::read(headers);
        for (name, _) in &message.headers {
            for id in self.anchors.get(*name).into_iter().flatten() {
                if let Some(shape) = self.shapes.get(id.0) {
                    shape.route(&message, &self.hasher, found);
                }
            }
        }
    }

    fn routes_by_key_alone(&self) -> bool {
        false
    }

    fn is_empty(&self) -> bool {
        self.always.is_empty() && self.shapes.len() == 0 && self.identities.is_empty() && self.anchors.is_empty()
    }
}

impl<D> Headers<D> {
    fn add_term(&mut self, id: BindingId, term: &Term<'_>, destination: D) {
        let shape = self.shape_or_new(term);
        let hash = term.hash_values(&self.hasher);
        let shape = self.shapes.get_mut(shape.0).expect("a shape is freed only after its last row");
        let entry = shape.rows.entry(hash, |row| row.hash == hash && term.has_values(&row.values), |row| row.hash);
        let row = entry.or_insert_with(|| Row {
            hash,
            values: term.values().map(Comparand::to_owned).collect(),
            targets: Targets::default(),
        });
        // `any` with the same condition twice is the same term twice.
        if row.get().targets.last() != Some(id) {
            row.into_mut().targets.add(id, destination);
        }
    }

    fn remove_term(&mut self, id: BindingId, term: &Term<'_>) {
        let hash = term.hash_values(&self.hasher);
        let Some(shape_id) = self.find_shape(term) else {
            return;
        };
        let Some(shape) = self.shapes.get_mut(shape_id.0) else {
            return;
        };
        let row = shape.rows.find_entry(hash, |row| row.hash == hash && term.has_values(&row.values));
        let Ok(mut row) = row else { return };
        row.get_mut().targets.remove(id);
        if row.get().targets.is_empty() {
            row.remove();
            if shape.rows.is_empty() {
                self.free_shape(shape_id);
            }
        }
    }

    fn find_shape(&self, term: &Term<'_>) -> Option<ShapeId> {
        let hash = term.hash_conditions(&self.hasher);
        let same = |id: &ShapeId| {
            let shape = self.shapes.get(id.0);
            shape.is_some_and(|shape| term.has_conditions(&shape.conditions))
        };
        self.identities.find(hash, same).copied()
    }

    fn shape_or_new(&mut self, term: &Term<'_>) -> ShapeId {
        if let Some(id) = self.find_shape(term) {
            return id;
        }
        let conditions = term.conditions();
        let crowd = |condition: &Condition| self.anchors.get(&condition.name).map_or(0, |l| l.len());
        let anchor = (0..conditions.len())
            .min_by_key(|&at| crowd(&conditions[at]))
            .expect("a term without conditions has no shape");
        let list = self.anchors.entry(conditions[anchor].name.clone()).or_default();
        let id = ShapeId(self.shapes.insert(Shape { conditions, rows: HashTable::new(), anchor, place: list.len() }));
        list.push(id);
        let (shapes, hasher) = (&self.shapes, &self.hasher);
        self.identities.insert_unique(term.hash_conditions(hasher), id, |id| {
            shapes.get(id.0).map_or(0, |shape| hash_conditions(&shape.conditions, hasher))
        });
        id
    }

    /// Frees a shape without rows.
    fn free_shape(&mut self, id: ShapeId) {
        let Some(shape) = self.shapes.remove(id.0) else {
            return;
        };
        let hash = hash_conditions(&shape.conditions, &self.hasher);
        if let Ok(entry) = self.identities.find_entry(hash, |other| *other == id) {
            entry.remove();
        }
        let name = &shape.conditions[shape.anchor].name;
        if let Some(list) = self.anchors.get_mut(name) {
            list.swap_remove(shape.place);
            if let Some(moved) = list.get(shape.place)
                && let Some(moved) = self.shapes.get_mut(moved.0)
            {
                moved.place = shape.place;
            }
            if list.is_empty() {
                self.anchors.remove(name);
            }
        }
    }
}

impl<D> Shape<D> {
    /// Reports the destinations of the row that has exactly the message's values, if it has all the headers.
    fn route(&self, message: &Message<'_>, hasher: &Hashing, found: &mut impl FnMut(&D)) {
        let mut values: SmallVec<[Comparand<'_>; 4]> = SmallVec::new();
        let mut hash = hasher.build_hasher();
        for condition in &self.conditions {
            let Some(value) = message.get(&condition.name) else {
                return;
            };
            if condition.by_value {
                let Some(value) = Comparand::of_raw(value) else {
                    return;
                };
                value.hash(&mut hash);
                values.push(value);
            }
        }
        let hash = hash.finish();
        let row = self.rows.find(hash, |row| row.hash == hash && *row.values == *values);
        if let Some(row) = row {
            row.targets.each(found);
        }
    }
}

/// Conditions that must all hold, each with the header's name and the wanted value, in order of their names.
#[derive(Debug)]
struct Term<'a>(SmallVec<[(&'a [u8], &'a Value); 4]>);

/// What a binding asks for: one of these terms. Arguments come sorted by name.
fn terms(arguments: &Table) -> SmallVec<[Term<'_>; 2]> {
    let mode = Match::of(arguments);
    let used = arguments.iter().filter(|(name, _)| mode.uses(name));
    match mode {
        Match::All | Match::AllWithX => smallvec![Term(used.collect())],
        Match::Any | Match::AnyWithX => used.map(|condition| Term(smallvec![condition])).collect(),
    }
}

impl<'a> Term<'a> {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn conditions(&self) -> Box<[Condition]> {
        let conditions =
            self.0.iter().map(|(name, value)| Condition { name: (*name).into(), by_value: by_value(value) });
        conditions.collect()
    }

    fn has_conditions(&self, conditions: &[Condition]) -> bool {
        self.0.len() == conditions.len()
            && self
                .0
                .iter()
                .zip(conditions)
                .all(|((name, value), condition)| **name == *condition.name && by_value(value) == condition.by_value)
    }

    fn values(&self) -> impl Iterator<Item = &'a Value> {
        let values = self.0.iter().map(|(_, value)| *value);
        values.filter(|value| by_value(value))
    }

    fn has_values(&self, values: &[Comparand<'_>]) -> bool {
        self.values().zip(values).all(|(mine, other)| Comparand::of(mine) == *other)
    }

    fn hash_conditions(&self, hasher: &Hashing) -> u64 {
        let mut hash = hasher.build_hasher();
        for (name, value) in &self.0 {
            name.hash(&mut hash);
            by_value(value).hash(&mut hash);
        }
        hash.finish()
    }

    fn hash_values(&self, hasher: &Hashing) -> u64 {
        let mut hash = hasher.build_hasher();
        for value in self.values() {
            Comparand::of(value).hash(&mut hash);
        }
        hash.finish()
    }
}

fn by_value(value: &Value) -> bool {
    !matches!(value, Value::Void)
}

fn hash_conditions(conditions: &[Condition], hasher: &Hashing) -> u64 {
    let mut hash = hasher.build_hasher();
    for condition in conditions {
        condition.hash(&mut hash);
    }
    hash.finish()
}

/// The headers of a message, each name about once.
struct Message<'a> {
    headers: SmallVec<[(&'a [u8], RawValue<'a>); WALK_MAX]>,
}

impl<'a> Message<'a> {
    fn read(table: RawTable<'a>) -> Self {
        let mut headers: SmallVec<[_; WALK_MAX]> = table.iter().collect();
        if headers.len() > WALK_MAX {
            // The sort is stable, so of headers with the same name the first one stays: the one that a lookup finds.
            headers.sort_by_key(|(name, _)| *name);
            headers.dedup_by_key(|(name, _)| *name);
        }
        Self { headers }
    }

    fn get(&self, name: &[u8]) -> Option<&RawValue<'a>> {
        if self.headers.len() > WALK_MAX {
            let at = self.headers.binary_search_by_key(&name, |(name, _)| *name);
            return Some(&self.headers.get(at.ok()?)?.1);
        }
        let mut headers = self.headers.iter();
        headers.find(|(other, _)| *other == name).map(|(_, value)| value)
    }
}
