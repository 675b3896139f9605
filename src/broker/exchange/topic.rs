//! `topic`: words between dots; `*` in a binding key stands for exactly one word, `#` for any number of them.
//!
//! A word may be empty (`a..b` has three words), but the empty key has no words at all.
//!
//! The binding keys form a trie. A routing key is matched by walking it word by word with the set of trie nodes
//! reached so far, as an automaton does, and no node enters a set twice. So the work is at most
//! (words of the routing key) x (nodes), for any number of `#`. RabbitMQ 4.3 refuses more than two `#` in a binding key
//! because its matcher backtracks; 3.10 takes any number, and so do we.

use std::collections::{HashMap, HashSet};

use crate::hashing::Hashing;
use smallvec::SmallVec;

use super::slab::Slab;
use super::targets::Targets;
use super::{BindingId, Routable, Router};
use crate::wire::Table;

/// A place in the trie: all binding keys that begin with the same words.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct NodeId(u32);

/// A word that occurs in some binding key, by number: the words of a routing key are looked up once each, and from
/// then on a step down the trie hashes two integers.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct WordId(u32);

#[derive(Debug)]
pub(super) struct Topic<D> {
    /// No root while there is no binding.
    root: Option<NodeId>,
    nodes: Slab<Node<D>>,
    /// The children of all nodes that are reached by a word (not by `*` or `#`).
    children: HashMap<(NodeId, WordId), NodeId, Hashing>,
    words: Words,
}

#[derive(Debug)]
struct Node<D> {
    /// Of the bindings whose key ends here.
    targets: Targets<D>,
    star: Option<NodeId>,
    hash: Option<NodeId>,
    /// How many entries `children` has for this node.
    children: u32,
}

/// How a node is reached from its parent.
#[derive(Clone, Copy, Debug)]
enum Step<'k> {
    Word(&'k str),
    Star,
    Hash,
}

impl<'k> Step<'k> {
    fn of(word: &'k str) -> Self {
        match word {
            "*" => Self::Star,
            "#" => Self::Hash,
            _ => Self::Word(word),
        }
    }
}

fn words(key: &str) -> impl Iterator<Item = &str> {
    let mut rest = (!key.is_empty()).then_some(key);
    std::iter::from_fn(move || {
        let (word, others) = match rest?.split_once('.') {
            Some((word, others)) => (word, Some(others)),
            None => (rest?, None),
        };
        rest = others;
        Some(word)
    })
}

impl<D> Default for Topic<D> {
    fn default() -> Self {
        Self { root: None, nodes: Slab::new(), children: HashMap::default(), words: Words::default() }
    }
}

impl<D> Router<D> for Topic<D> {
    fn add(&mut self, id: BindingId, key: &str, _arguments: &Table, destination: D) {
        let mut at = match self.root {
            Some(root) => root,
            None => {
                let root = NodeId(self.nodes.insert(Node::default()));
                *self.root.insert(root)
            }
        };
        for word in words(key) {
            at = self.child_or_new(at, Step::of(word));
        }
        self.node_mut(at).targets.add(id, destination);
    }

    fn remove(&mut self, id: BindingId, key: &str, _arguments: &Table) {
        let Some(root) = self.root else { return };
        let mut at = root;
        let mut path: SmallVec<[(NodeId, Step<'_>); 16]> = SmallVec::new();
        for word in words(key) {
            let step = Step::of(word);
            path.push((at, step));
            match self.child(at, step) {
                Some(child) => at = child,
                None => return,
            }
        }
        self.node_mut(at).targets.remove(id);
        while self.node(at).is_unused() {
            self.nodes.remove(at.0);
            match path.pop() {
                Some((parent, step)) => {
                    self.detach(parent, step);
                    at = parent;
                }
                None => {
                    self.root = None;
                    return;
                }
            }
        }
    }

    fn route(&self, message: &Routable<'_>, found: &mut impl FnMut(&D)) {
        for key in message.keys {
            self.route_key(key, found);
        }
    }

    fn is_empty(&self) -> bool {
        self.root.is_none() && self.nodes.len() == 0 && self.children.is_empty() && self.words.is_empty()
    }
}

impl<D> Topic<D> {
    fn route_key(&self, routing_key: &str, found: &mut impl FnMut(&D)) {
        let Some(root) = self.root else { return };
        let mut words = words(routing_key).peekable();
        let mut open = OpenHashes::default();
        self.open(self.node(root).hash, &mut open, found);
        if words.peek().is_none() {
            self.node(root).targets.each(found);
            return;
        }
        // Nodes reached with the words read so far. A node has one parent, so it cannot come up twice at one word,
        // except one below `#`, which stays reached: those are kept apart in `open`.
        let mut reached: SmallVec<[NodeId; 16]> = SmallVec::new();
        let mut next: SmallVec<[NodeId; 16]> = SmallVec::new();
        reached.push(root);
        while let Some(word) = words.next() {
            let last = words.peek().is_none();
            let word = self.words.find(word);
            // A `#` opened by this word must not use the word up again.
            reached.extend_from_slice(&open.branching);
            for &at in &reached {
                let node = self.node(at);
                let by_word = match word {
                    Some(word) if node.children > 0 => self.children.get(&(at, word)).copied(),
                    _ => None,
                };
                for child in [by_word, node.star].into_iter().flatten() {
                    let node = self.node(child);
                    if last {
                        node.targets.each(found);
                    } else if node.branches() {
                        next.push(child);
                    }
                    self.open(node.hash, &mut open, found);
                }
            }
            std::mem::swap(&mut reached, &mut next);
            next.clear();
            if reached.is_empty() && open.branching.is_empty() {
                return;
            }
        }
    }

    fn node(&self, id: NodeId) -> &Node<D> {
        self.nodes.get(id.0).expect("a node is freed only after its parent let go of it")
    }

    fn node_mut(&mut self, id: NodeId) -> &mut Node<D> {
        self.nodes.get_mut(id.0).expect("a node is freed only after its parent let go of it")
    }

    fn child(&self, parent: NodeId, step: Step<'_>) -> Option<NodeId> {
        match step {
            Step::Star => self.node(parent).star,
            Step::Hash => self.node(parent).hash,
            Step::Word(word) => {
                let word = self.words.find(word)?;
                self.children.get(&(parent, word)).copied()
            }
        }
    }

    fn child_or_new(&mut self, parent: NodeId, step: Step<'_>) -> NodeId {
        if let Some(child) = self.child(parent, step) {
            return child;
        }
        let child = NodeId(self.nodes.insert(Node::default()));
        match step {
            Step::Star => self.node_mut(parent).star = Some(child),
            Step::Hash => self.node_mut(parent).hash = Some(child),
            Step::Word(word) => {
                let word = self.words.take(word);
                self.children.insert((parent, word), child);
                self.node_mut(parent).children += 1;
            }
        }
        child
    }

    /// Forgets a child that was freed.
    fn detach(&mut self, parent: NodeId, step: Step<'_>) {
        match step {
            Step::Star => self.node_mut(parent).star = None,
            Step::Hash => self.node_mut(parent).hash = None,
            Step::Word(word) => {
                if let Some(word) = self.words.release(word) {
                    self.children.remove(&(parent, word));
                    self.node_mut(parent).children -= 1;
                }
            }
        }
    }

    /// Reports what ends at a `#`, once: whatever words follow, it matches them all.
    fn open(&self, mut hash: Option<NodeId>, open: &mut OpenHashes, found: &mut impl FnMut(&D)) {
        while let Some(id) = hash {
            if !open.insert(id) {
                return;
            }
            let node = self.node(id);
            node.targets.each(found);
            if node.branches() {
                open.branching.push(id);
            }
            // `#.#`: the second also matches no words.
            hash = node.hash;
        }
    }
}

impl<D> Default for Node<D> {
    fn default() -> Self {
        Self { targets: Targets::default(), star: None, hash: None, children: 0 }
    }
}

impl<D> Node<D> {
    /// Whether another word can lead on from here.
    fn branches(&self) -> bool {
        self.children > 0 || self.star.is_some()
    }

    fn is_unused(&self) -> bool {
        self.targets.is_empty() && !self.branches() && self.hash.is_none()
    }
}

/// The `#` nodes met during one walk. Once met they stay met, since `#` takes any further word.
#[derive(Default)]
struct OpenHashes {
    /// Those that further words lead on from.
    branching: SmallVec<[NodeId; 8]>,
    met: SmallVec<[NodeId; 8]>,
    /// Takes over from `met` when a walk along that would be long.
    met_many: HashSet<NodeId, Hashing>,
}

impl OpenHashes {
    /// Whether this `#` is met for the first time.
    fn insert(&mut self, id: NodeId) -> bool {
        if self.met_many.is_empty() {
            if self.met.contains(&id) {
                return false;
            }
            if self.met.len() < self.met.inline_size() {
                self.met.push(id);
                return true;
            }
            self.met_many.extend(self.met.drain(..));
        }
        self.met_many.insert(id)
    }
}

/// The words of the binding keys, each with a number as long as some node is reached by it.
#[derive(Debug, Default)]
struct Words {
    ids: HashMap<Box<str>, Word, Hashing>,
    free: Vec<WordId>,
}

#[derive(Debug)]
struct Word {
    id: WordId,
    nodes: u32,
}

impl Words {
    fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    fn find(&self, word: &str) -> Option<WordId> {
        self.ids.get(word).map(|word| word.id)
    }

    /// The number of a word that one more node is reached by.
    fn take(&mut self, word: &str) -> WordId {
        if let Some(word) = self.ids.get_mut(word) {
            word.nodes += 1;
            return word.id;
        }
        // Without a free number the numbers in use are exactly those below the count of words.
        let id = self.free.pop().unwrap_or_else(|| {
            WordId(u32::try_from(self.ids.len()).expect("a word belongs to a node, and those are u32"))
        });
        self.ids.insert(word.into(), Word { id, nodes: 1 });
        id
    }

    /// One node less is reached by this word. The number it had, which is free now if that was the last.
    fn release(&mut self, word: &str) -> Option<WordId> {
        let known = self.ids.get_mut(word)?;
        let id = known.id;
        known.nodes -= 1;
        if known.nodes == 0 {
            self.ids.remove(word);
            self.free.push(id);
        }
        Some(id)
    }
}
