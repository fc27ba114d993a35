//! Joins that stop between two steps, while others read and write.

use super::super::block::Link;
use super::super::find::{Post, Target};
use super::super::forest::Structure;
use super::super::join::{Pair, Step};
use super::super::node::Node;
use super::super::{Direction, Forest, Range, Tree};
use super::{contents, in_memory, key};

/// A tree of some leaves below one root. Returns a leaf that is not the first one: its link, and its low
/// bound.
fn with_a_joinable_leaf(forest: &Forest) -> (Tree, Link, Vec<u8>) {
    let tree = forest.tree("t").unwrap();
    (0..12u8).for_each(|number| tree.put(&[b'a' + number], &[number; 50]).unwrap());
    let guard = forest.shared.cache.pin();
    let root = forest.shared.read(&guard, tree.root).unwrap().unwrap();
    assert!(root.base.level() == 1 && root.base.count() > 1, "{root:?}");
    let (link, low) = (root.base.child(1), root.base.key(1).to_vec());
    drop(guard);
    (tree, link, low)
}

/// Makes both leaves small without joining them, and seals the right one.
fn sealed(forest: &Forest, tree: &Tree, low: &[u8]) -> Link {
    let guard = forest.shared.cache.pin();
    let shared = &forest.shared;
    for (key, _) in contents(tree) {
        let seat = tree.find(&guard, Target::At(&key), 0).unwrap().unwrap().seat;
        assert!(shared.cache.link(seat.page_id(), seat.version, Node::put(&key, b"old")).unwrap().is_done());
    }
    match tree.seal_for_join(low, 0, 0).unwrap() {
        Pair::Sealed(link, ..) => link,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_reader_that_was_overtaken_by_a_join_begins_again() {
    let forest = in_memory();
    let (tree, link, low) = with_a_joinable_leaf(&forest);
    let shared = &forest.shared;
    assert_eq!(sealed(&forest, &tree, &low), link);
    assert_eq!(tree.get(&low).unwrap().unwrap(), b"old", "what is sealed can be read");
    // Some reader is at the root, at the leaf before, and at the leaf.
    let guard = shared.cache.pin();
    let at_root = || shared.read(&guard, tree.root).unwrap().unwrap();
    let reader = at_root();
    assert!(tree.descend(&guard, at_root(), Target::At(&low), 0).unwrap().is_some());

    // A scan has taken in what is before the leaf.
    let mut scan = tree.scan(Range::new(..), Direction::Up).map(Result::unwrap).peekable();
    assert!(scan.peek().unwrap().0 < low);

    // The join goes on, up to the last step.
    let mut structure = Structure::default();
    while structure.to_free.is_empty() {
        assert!(matches!(tree.finish_once(&mut structure, link, &low, 0).unwrap(), Step::Again));
    }
    tree.put(&low, b"new").unwrap();
    assert_eq!(tree.get(&low).unwrap().unwrap(), b"new");
    assert!(shared.read(&guard, link).unwrap().unwrap().base.is_sealed(), "it is there, with the old value");
    assert_eq!(scan.find(|(key, _)| *key >= low).unwrap(), (low.clone(), b"new".to_vec()));
    assert!(tree.descend(&guard, reader, Target::At(&low), 0).unwrap().is_none());

    // Who has its link finds nothing when the page is freed, nor when it is another's.
    shared.free_pending(&mut structure).unwrap();
    assert!(shared.read(&guard, link).unwrap().is_none());
    assert_eq!(forest.tree("other").unwrap().root.page, link.page);
    assert!(shared.read(&guard, link).unwrap().is_none());
}

#[test]
fn a_node_that_was_joined_is_not_posted_by_who_comes_late() {
    let forest = in_memory();
    let (tree, link, low) = with_a_joinable_leaf(&forest);
    let post = || Post { level: 0, low: low.clone(), link };
    sealed(&forest, &tree, &low);
    let mut structure = Structure::default();
    assert!(matches!(tree.finish_once(&mut structure, link, &low, 0).unwrap(), Step::Again));
    tree.post(vec![post()]).unwrap();
    assert_eq!(forest.check().unwrap().unposted, 1, "it is sealed");
    tree.finish_sealed(link, &low, 0).unwrap();
    tree.post(vec![post()]).unwrap();
    tree.post_late(post()).unwrap();
    let report = forest.check().unwrap();
    assert_eq!((report.faults, report.unposted, report.unused), (Vec::new(), 0, 0));
}

#[test]
fn a_sealed_node_that_its_parent_needs_is_unsealed_by_a_write() {
    let forest = in_memory();
    let (tree, _, _) = with_a_joinable_leaf(&forest);
    let guard = forest.shared.cache.pin();
    let first = tree.find(&guard, Target::At(b""), 0).unwrap().unwrap().seat;
    assert!(forest.shared.cache.link(first.page_id(), first.version, Node::seal()).unwrap().is_done());
    drop((first, tree.get(b"a").unwrap().expect("it can be read")));
    assert_eq!(forest.check().unwrap().sealed, 1);
    tree.put(b"a", b"b").unwrap();
    let report = forest.check().unwrap();
    assert_eq!((report.sealed, report.faults, forest.figures().unsealed), (0, Vec::new(), 1));
}

/// Nobody writes to an inner node but who splits or joins below it.
#[test]
fn what_was_interrupted_above_the_leaves_is_mended_by_joins_beside_it() {
    for is_sealed in [true, false] {
        let forest = in_memory();
        let (tree, shared) = (forest.tree("t").unwrap(), &forest.shared);
        // Again and again, until no leaf is left that the next write would split: that would mend it, too.
        (0..1000).for_each(|number| tree.put(&key(number % 200), b"value").unwrap());
        let guard = shared.cache.pin();
        let root = shared.read(&guard, tree.root).unwrap().unwrap();
        assert!(root.base.level() == 2 && root.base.count() > 2, "{root:?}");
        let last = root.base.child(root.base.count() - 1);
        let inner = shared.read(&guard, last).unwrap().unwrap();
        let (at, change) =
            if is_sealed { (&inner, Node::seal()) } else { (&root, Node::delete(inner.base.low())) };
        assert!(shared.cache.link(at.page_id(), at.version, change).unwrap().is_done());
        drop(guard);
        let report = forest.check().unwrap();
        assert_eq!((report.inner_sealed, report.inner_unposted), (is_sealed.into(), (!is_sealed).into()));

        (0..200).for_each(|number| assert!(tree.delete(&key(number)).unwrap()));
        let report = forest.check().unwrap();
        assert_eq!((report.faults, report.sealed, report.unposted, report.unused), (Vec::new(), 0, 0, 0));
        assert!(report.leaves < 15, "{} leaves", report.leaves);
    }
}
