//! A trie whose edges are topic levels: what both filters and retained topics stand in.

use std::collections::HashMap;
use std::ops::Range;

/// Values by topic filter or topic name, level by level.
///
/// `+` and `#` have edges of their own, so that a walk finds them without a look-up. Nodes that
/// lead nowhere are removed at once.
///
/// Invariant: every node but the root has a value or a child.
#[derive(Debug)]
pub(super) struct Trie<V> {
    nodes: Vec<Node<V>>,
    free: Vec<u32>,
    len: usize,
    hasher: ahash::RandomState,
}

#[derive(Debug)]
struct Node<V> {
    value: Option<V>,
    /// The edge `+`; [`NONE`] if there is none.
    plus: u32,
    /// The edge `#`; [`NONE`] if there is none.
    hash: u32,
    children: Children,
}

/// The edges of a node that are not wildcards.
#[derive(Debug)]
enum Children {
    /// Searched one by one.
    Few(Vec<(Box<str>, u32)>),
    #[expect(clippy::box_collection, reason = "most nodes have few edges and stay small")]
    Many(Box<HashMap<Box<str>, u32, ahash::RandomState>>),
}

const ROOT: u32 = 0;
const NONE: u32 = u32::MAX;

/// Edges beyond which a map is faster than a search.
const FEW: usize = 8;

impl<V> Trie<V> {
    pub(super) fn new(hasher: ahash::RandomState) -> Trie<V> {
        Trie { nodes: vec![Node::new()], free: Vec::new(), len: 0, hasher }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn get(&self, path: &str) -> Option<&V> {
        self.nodes[self.find(path)? as usize].value.as_ref()
    }

    pub(super) fn get_mut(&mut self, path: &str) -> Option<&mut V> {
        let node = self.find(path)?;
        self.nodes[node as usize].value.as_mut()
    }

    /// The value at a path, made by `make` if there is none.
    pub(super) fn get_or_insert_with(&mut self, path: &str, make: impl FnOnce() -> V) -> &mut V {
        let node = self.reach(path);
        let value = &mut self.nodes[node as usize].value;
        self.len += usize::from(value.is_none());
        value.get_or_insert_with(make)
    }

    pub(super) fn insert(&mut self, path: &str, value: V) -> Option<V> {
        let node = self.reach(path);
        let earlier = self.nodes[node as usize].value.replace(value);
        self.len += usize::from(earlier.is_none());
        earlier
    }

    pub(super) fn remove(&mut self, path: &str) -> Option<V> {
        let mut trail = vec![ROOT];
        for level in path.split('/') {
            let last = *trail.last().expect("the trail begins with the root");
            trail.push(self.edge(last, level)?);
        }
        let node = *trail.last().expect("the trail begins with the root");
        let value = self.nodes[node as usize].value.take()?;
        self.len -= 1;
        self.prune(&trail, path);
        Some(value)
    }

    pub(super) fn nodes(&self) -> usize {
        self.nodes.len()
    }

    /// The values of some of its nodes.
    pub(super) fn values_within(&self, nodes: Range<usize>) -> impl Iterator<Item = &V> {
        let nodes = nodes.start.min(self.nodes.len())..nodes.end.min(self.nodes.len());
        self.nodes[nodes].iter().filter_map(|node| node.value.as_ref())
    }

    /// As [`Trie::for_each_filter`], and says which filter each is.
    pub(super) fn for_each_named_filter<'a>(
        &'a self,
        topic: &str,
        f: &mut impl FnMut(&str, &'a V),
    ) {
        let mut path = Vec::new();
        self.named_filters_below(ROOT, Some(topic), topic.starts_with('$'), &mut path, f);
    }

    /// The values of all filters in the trie that match a topic name.
    pub(super) fn for_each_filter<'a>(&'a self, topic: &str, f: &mut impl FnMut(&'a V)) {
        // Wildcards do not match a first level that begins with $. [MQTT-4.7.2-1]
        self.filters_below(ROOT, Some(topic), topic.starts_with('$'), f);
    }

    /// The values of all topics in the trie that a filter matches.
    pub(super) fn for_each_topic<'a>(&'a self, filter: &str, f: &mut impl FnMut(&'a V)) {
        self.topics_below(ROOT, Some(filter), f);
    }

    fn filters_below<'a>(
        &'a self,
        node: u32,
        rest: Option<&str>,
        is_reserved: bool,
        f: &mut impl FnMut(&'a V),
    ) {
        let node = &self.nodes[node as usize];
        // `#` matches its parent level too. [MQTT 4.7.1.2]
        if node.hash != NONE && !is_reserved {
            self.nodes[node.hash as usize].value.iter().for_each(&mut *f);
        }
        let Some(rest) = rest else {
            node.value.iter().for_each(f);
            return;
        };
        let (level, rest) = split(rest);
        if node.plus != NONE && !is_reserved {
            self.filters_below(node.plus, rest, false, f);
        }
        if let Some(child) = node.children.get(level) {
            self.filters_below(child, rest, false, f);
        }
    }

    fn named_filters_below<'a, 't>(
        &'a self,
        node: u32,
        rest: Option<&'t str>,
        is_reserved: bool,
        path: &mut Vec<&'t str>,
        f: &mut impl FnMut(&str, &'a V),
    ) {
        let node = &self.nodes[node as usize];
        let mut tell = |value: &'a Option<V>, path: &[&str]| {
            if let Some(value) = value {
                f(&path.join("/"), value);
            }
        };
        if node.hash != NONE && !is_reserved {
            path.push("#");
            tell(&self.nodes[node.hash as usize].value, path);
            path.pop();
        }
        let Some(rest) = rest else { return tell(&node.value, path) };
        let (level, rest) = split(rest);
        let plus = (node.plus != NONE && !is_reserved).then_some((node.plus, "+"));
        let child = node.children.get(level).map(|child| (child, level));
        for (child, level) in plus.into_iter().chain(child) {
            path.push(level);
            self.named_filters_below(child, rest, false, path, f);
            path.pop();
        }
    }

    fn topics_below<'a>(&'a self, at: u32, rest: Option<&str>, f: &mut impl FnMut(&'a V)) {
        let node = &self.nodes[at as usize];
        let Some(rest) = rest else {
            node.value.iter().for_each(f);
            return;
        };
        let is_visible = |level: &str| at != ROOT || !level.starts_with('$');
        match split(rest) {
            ("#", _) => {
                node.value.iter().for_each(&mut *f);
                node.children.for_each(&mut |level, child| {
                    if is_visible(level) {
                        self.topics_below(child, Some("#"), f);
                    }
                });
            }
            ("+", rest) => node.children.for_each(&mut |level, child| {
                if is_visible(level) {
                    self.topics_below(child, rest, f);
                }
            }),
            (level, rest) => {
                if let Some(child) = node.children.get(level) {
                    self.topics_below(child, rest, f);
                }
            }
        }
    }

    fn find(&self, path: &str) -> Option<u32> {
        path.split('/').try_fold(ROOT, |node, level| self.edge(node, level))
    }

    fn edge(&self, node: u32, level: &str) -> Option<u32> {
        let node = &self.nodes[node as usize];
        match level {
            "+" => (node.plus != NONE).then_some(node.plus),
            "#" => (node.hash != NONE).then_some(node.hash),
            _ => node.children.get(level),
        }
    }

    /// The node at a path, made with all that lead to it if need be.
    fn reach(&mut self, path: &str) -> u32 {
        path.split('/').fold(ROOT, |node, level| match self.edge(node, level) {
            Some(child) => child,
            None => self.grow(node, level),
        })
    }

    fn grow(&mut self, parent: u32, level: &str) -> u32 {
        let child = match self.free.pop() {
            Some(child) => child,
            None => {
                self.nodes.push(Node::new());
                u32::try_from(self.nodes.len() - 1).expect("fewer than 2^32 nodes fit in memory")
            }
        };
        let parent = &mut self.nodes[parent as usize];
        match level {
            "+" => parent.plus = child,
            "#" => parent.hash = child,
            _ => parent.children.insert(level, child, &self.hasher),
        }
        child
    }

    /// Removes the nodes at the end of a trail that lead nowhere.
    fn prune(&mut self, trail: &[u32], path: &str) {
        for (pair, level) in trail.windows(2).zip(path.split('/')).collect::<Vec<_>>().iter().rev()
        {
            let [parent, child] = [pair[0], pair[1]];
            if !self.nodes[child as usize].leads_nowhere() {
                return;
            }
            self.nodes[child as usize] = Node::new();
            self.free.push(child);
            let parent = &mut self.nodes[parent as usize];
            match *level {
                "+" => parent.plus = NONE,
                "#" => parent.hash = NONE,
                level => parent.children.remove(level),
            }
        }
    }

    #[cfg(test)]
    pub(super) fn invariants(&self) {
        let values = self.nodes.iter().filter(|node| node.value.is_some()).count();
        assert_eq!(values, self.len, "len counts the values");
        let empty = self.nodes.iter().skip(1).filter(|node| node.leads_nowhere()).count();
        assert_eq!(empty, self.free.len(), "a node that leads nowhere is free");
    }
}

impl<V> Node<V> {
    fn new() -> Node<V> {
        Node { value: None, plus: NONE, hash: NONE, children: Children::Few(Vec::new()) }
    }

    fn leads_nowhere(&self) -> bool {
        self.value.is_none() && self.plus == NONE && self.hash == NONE && self.children.is_empty()
    }
}

impl Children {
    fn get(&self, level: &str) -> Option<u32> {
        match self {
            Children::Few(edges) => {
                edges.iter().find(|(name, _)| **name == *level).map(|(_, child)| *child)
            }
            Children::Many(edges) => edges.get(level).copied(),
        }
    }

    fn insert(&mut self, level: &str, child: u32, hasher: &ahash::RandomState) {
        match self {
            Children::Few(edges) if edges.len() < FEW => edges.push((level.into(), child)),
            Children::Few(edges) => {
                let mut many = HashMap::with_hasher(hasher.clone());
                many.extend(edges.drain(..));
                many.insert(level.into(), child);
                *self = Children::Many(Box::new(many));
            }
            Children::Many(edges) => {
                edges.insert(level.into(), child);
            }
        }
    }

    fn remove(&mut self, level: &str) {
        match self {
            Children::Few(edges) => edges.retain(|(name, _)| **name != *level),
            Children::Many(edges) => {
                edges.remove(level);
                if edges.is_empty() {
                    *self = Children::Few(Vec::new());
                }
            }
        }
    }

    fn is_empty(&self) -> bool {
        match self {
            Children::Few(edges) => edges.is_empty(),
            Children::Many(edges) => edges.is_empty(),
        }
    }

    fn for_each(&self, f: &mut impl FnMut(&str, u32)) {
        match self {
            Children::Few(edges) => edges.iter().for_each(|(level, child)| f(level, *child)),
            Children::Many(edges) => edges.iter().for_each(|(level, child)| f(level, *child)),
        }
    }
}

fn split(path: &str) -> (&str, Option<&str>) {
    match path.split_once('/') {
        Some((level, rest)) => (level, Some(rest)),
        None => (path, None),
    }
}
