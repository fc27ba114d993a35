//! The fragment: a whole node, or a change to one. One buffer either way, which is its own encoded form.
//!
//! ```text
//!   whole   see `block`
//!   put     2, 0, length of the key (u16), key, value
//!   delete  3, 0, length of the key (u16), key
//!   seal    4, 0, 0 (u16)
//! ```

use pagelog::{Codec, CodecError, Fragment};

use super::block::{Block, Entry, Splice, Title, WHOLE, build, rebuild, u16_at};

const PUT: u8 = 2;
const DELETE: u8 = 3;
const SEAL: u8 = 4;
const CHANGE_HEADER: usize = 4;

/// A node of a tree, or a change to one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Node(Box<[u8]>);

impl Node {
    pub fn whole(title: &Title<'_>, entries: &[Entry<'_>]) -> Self {
        Self(build(title, entries).into())
    }

    pub fn put(key: &[u8], value: &[u8]) -> Self {
        Self::change(PUT, key, value)
    }

    pub fn delete(key: &[u8]) -> Self {
        Self::change(DELETE, key, &[])
    }

    pub fn seal() -> Self {
        Self::change(SEAL, &[], &[])
    }

    fn change(kind: u8, key: &[u8], value: &[u8]) -> Self {
        let mut bytes = Vec::with_capacity(CHANGE_HEADER + key.len() + value.len());
        bytes.extend_from_slice(&[kind, 0]);
        // Keys are no longer than that.
        bytes.extend_from_slice(&u16::try_from(key.len()).unwrap_or(u16::MAX).to_le_bytes());
        bytes.extend_from_slice(key);
        bytes.extend_from_slice(value);
        Self(bytes.into())
    }

    #[inline]
    fn kind(&self) -> u8 {
        self.0.first().copied().unwrap_or(0)
    }

    #[inline]
    pub fn is_whole(&self) -> bool {
        self.kind() == WHOLE
    }

    pub fn is_seal(&self) -> bool {
        self.kind() == SEAL
    }

    /// The whole node; an empty one, with a serial number that no link has, if this is a change.
    #[inline]
    pub fn block(&self) -> Block<'_> {
        Block::new(if self.is_whole() { &self.0 } else { &[] })
    }

    /// The key that is put or deleted.
    #[inline]
    pub fn changed_key(&self) -> &[u8] {
        let length = u16_at(&self.0, 2);
        self.0.get(CHANGE_HEADER..CHANGE_HEADER + length).unwrap_or_default()
    }

    /// The value that is put, or `None` if it is a deletion.
    #[inline]
    pub fn changed_value(&self) -> Option<&[u8]> {
        let at = CHANGE_HEADER + u16_at(&self.0, 2);
        if self.kind() == PUT { self.0.get(at..) } else { None }
    }

    fn is_change_of_key(&self) -> bool {
        matches!(self.kind(), PUT | DELETE)
    }
}

impl Fragment for Node {
    type Codec = Raw;

    fn merge(oldest_to_newest: &[&Self]) -> Self {
        let at = oldest_to_newest.iter().rposition(|node| node.is_whole());
        let base = at.and_then(|at| oldest_to_newest.get(at)).map_or(Block::new(&[]), |node| node.block());
        let newer = oldest_to_newest.get(at.map_or(0, |at| at + 1)..).unwrap_or_default();
        let mut title = base.title();
        title.sealed |= newer.iter().any(|node| node.is_seal());

        let mut changes: Vec<&Self> = newer.iter().filter(|node| node.is_change_of_key()).copied().collect();
        // Stable, so of two changes to one key the newer comes later.
        changes.sort_by(|one, other| one.changed_key().cmp(other.changed_key()));
        let mut splices = Vec::with_capacity(changes.len());
        let mut changes = changes.into_iter().peekable();
        while let Some(change) = changes.next() {
            let key = change.changed_key();
            if changes.peek().is_some_and(|newer| newer.changed_key() == key) {
                continue;
            }
            let replaced = match base.search(key) {
                Ok(at) => at..at + 1,
                Err(at) => at..at,
            };
            let entry = change.changed_value().map(|value| (key, value));
            if entry.is_some() || !replaced.is_empty() {
                splices.push(Splice { replaced, entry });
            }
        }
        Self(rebuild(&title, base, &splices).into())
    }

    fn heap_size(&self) -> Option<usize> {
        Some(self.0.len())
    }
}

/// The codec: the buffer itself. Its layout is checked when it is read.
pub struct Raw;

impl Codec<Node> for Raw {
    fn encode(node: &Node, into: &mut Vec<u8>) -> Result<(), CodecError> {
        into.extend_from_slice(&node.0);
        Ok(())
    }

    fn decode(bytes: &[u8]) -> Result<Node, CodecError> {
        match bytes.first() {
            Some(&WHOLE) => Block::validate(bytes)?,
            Some(&(PUT | DELETE | SEAL)) if CHANGE_HEADER + u16_at(bytes, 2) <= bytes.len() => {}
            _ => return Err("neither a node nor a change".into()),
        }
        Ok(Node(bytes.into()))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use pagelog::{Codec, Fragment};

    use super::super::block::{Link, Title};
    use super::{Node, Raw};

    fn title() -> Title<'static> {
        Title { level: 0, sealed: false, serial: 7, right: Link::NONE, low: b"a", high: Some(b"x") }
    }

    #[test]
    fn changes_merge_in_their_order() {
        let whole = Node::whole(&title(), &[(b"b", b"1"), (b"d", b"2"), (b"f", b"3")]);
        let changes = [
            Node::put(b"c", b"4"),
            Node::delete(b"d"),
            Node::put(b"c", b"5"),
            Node::put(b"z", b"6"),
            Node::delete(b"z"),
            Node::put(b"f", b""),
            Node::delete(b"nothing"),
        ];
        let all: Vec<&Node> = std::iter::once(&whole).chain(&changes).collect();
        let merged = Node::merge(&all);
        assert_eq!(merged, Node::whole(&title(), &[(b"b", b"1"), (b"c", b"5"), (b"f", b"")]));
        for middle in 1..all.len() {
            let first = Node::merge(&all[..middle]);
            let rest: Vec<&Node> = std::iter::once(&first).chain(all[middle..].iter().copied()).collect();
            assert_eq!(Node::merge(&rest), merged, "any oldest part may be merged first");
        }
        assert!(Node::merge(&[&whole, &Node::seal()]).block().is_sealed());
    }

    /// Whatever is copied from the older node, the result is the one that is built from all entries.
    #[test]
    fn a_merger_is_what_would_be_built_anew() {
        let mut state = 1u64;
        let mut below = |bound: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % bound
        };
        for round in 0..3000 {
            let width = below(3) as usize;
            let mut key = || format!("{}{:0width$}", ["k", "key", ""][round % 3], below(30)).into_bytes();
            let keys: Vec<_> = (0..round % 20).map(|_| key()).collect();
            let mut map: BTreeMap<Vec<u8>, Vec<u8>> = keys.into_iter().map(|key| (key, vec![1; 3])).collect();
            let whole = |map: &BTreeMap<Vec<u8>, Vec<u8>>| {
                let entries: Vec<_> = map.iter().map(|(key, value)| (&key[..], &value[..])).collect();
                Node::whole(&title(), &entries)
            };
            let mut nodes = vec![whole(&map)];
            for number in 0..round % 7 {
                let key = key();
                if (number + round) % 3 == 0 {
                    nodes.push(Node::delete(&key));
                    map.remove(&key);
                } else {
                    nodes.push(Node::put(&key, &vec![2; number]));
                    map.insert(key, vec![2; number]);
                }
            }
            assert_eq!(Node::merge(&nodes.iter().collect::<Vec<_>>()), whole(&map));
        }
    }

    #[test]
    fn a_search_finds_what_is_there_and_where_it_would_be() {
        let sets: [&[&[u8]]; 4] = [
            &[b""],
            &[b"", b"\0", b"\0\0", b"a", b"ab", b"ab\0", b"abcdefg", b"abcdefh", b"b"],
            &[b"user000001", b"user000002", b"user0001", b"user00010000", b"user00010001"],
            &[b"same", b"same\0", b"same\0\0\0\0", b"same\0\0\0\0\0", b"same\x01"],
        ];
        let probes: Vec<&[u8]> = sets.concat();
        for keys in sets {
            let entries: Vec<_> = keys.iter().map(|key| (*key, *key)).collect();
            let node = Node::whole(&title(), &entries);
            for probe in probes.iter().chain(&[&b"user"[..], b"zz", b"sam", b"user0000011", b"ac"]) {
                assert_eq!(node.block().search(probe), keys.binary_search(probe), "{probe:?} in {keys:?}");
            }
        }
    }

    #[test]
    fn no_bytes_make_the_decoder_or_a_reader_panic() {
        let node = Node::whole(&title(), &[(b"bee", b"1"), (b"beetle", b"22"), (b"beta", b"")]);
        let mut good = Vec::new();
        Raw::encode(&node, &mut good).unwrap();
        assert_eq!(Raw::decode(&good).unwrap(), node);
        for length in 0..good.len() {
            // An entry's value reaches to the end, so the last one may come out shorter.
            let _ = Raw::decode(&good[..length]).map(|node| Node::merge(&[&node]));
        }
        for at in 0..good.len() {
            for value in [0, 1, 2, 0x7F, 0x80, 0xFF] {
                let mut bad = good.clone();
                bad[at] = value;
                if let Ok(node) = Raw::decode(&bad) {
                    let _ = (node.block().search(b"beet"), Node::merge(&[&node, &Node::put(b"bf", b"x")]));
                }
            }
        }
    }
}
