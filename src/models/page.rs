//! Two threads link to one page while a third reads it.

use std::sync::Arc;

use loom::thread;

use super::{Number, explore};
use crate::ids::{PageId, SlotId, Version};
use crate::location::Place;
use crate::pages::budget::Budget;
use crate::pages::chain::Head;
use crate::pages::content::Content;
use crate::pages::publish::PreparedBase;
use crate::pages::table::{Entry, PageTable};
use crate::sync::epoch;

const PAGE: PageId = PageId(1);

fn place(number: u64) -> Place {
    Place::new(SlotId(0), number as u32)
}

fn table() -> Arc<PageTable<Number>> {
    let table = PageTable::new(Arc::new(Budget::new(0)), None);
    let guard = epoch::pin();
    let entry = table.entry(PAGE, &guard).unwrap();
    let base = PreparedBase::page(Version(1), Version(1), Content::new(Number::new(1), 0));
    assert!(base.publish(&entry, place(1), 1).is_ok_and(|retired| retired.is_none()));
    drop(entry);
    Arc::new(table)
}

fn link(table: &PageTable<Number>, number: u64) -> bool {
    let guard = epoch::pin();
    let head = table.head(PAGE, &guard).unwrap();
    match head.prepare_link(Number::new(number), 1, u32::MAX).publish(place(number), 1) {
        Ok(version) => {
            assert_eq!(version.0, head.version().0 + 1);
            true
        }
        Err(fragment) => {
            assert_eq!(fragment.get(), number);
            false
        }
    }
}

/// The page's numbers as digits, oldest first, from what hangs in the nodes; each node's place names its
/// number.
fn digits(head: Head<'_, Number>) -> u64 {
    let mut digits = 0;
    for (position, node) in head.nodes().enumerate() {
        let number = node.fragment().unwrap().get();
        assert_eq!(node.place(), Some(place(number)));
        digits += number * 10u64.pow(position as u32);
    }
    digits
}

fn read(table: &PageTable<Number>) -> u64 {
    let guard = epoch::pin();
    let head = table.head(PAGE, &guard).unwrap();
    let digits = digits(head);
    let merged = match head.hit() {
        Some(page) => page,
        None => head.newest().install(head.read().merge(Vec::new(), None).unwrap()),
    };
    assert_eq!(merged.get(), digits);
    digits
}

#[test]
fn a_reader_sees_whole_links_in_their_order() {
    explore("page: link, link, get", None, || {
        let table = table();
        assert!(link(&table, 2));
        let linker = |number| {
            let table = Arc::clone(&table);
            thread::spawn(move || link(&table, number))
        };
        let linkers = [linker(3), linker(4)];
        assert!([12, 123, 124, 1234, 1243].contains(&read(&table)));
        let [three, four] = linkers.map(|linker| linker.join().unwrap());
        let last = read(&table);
        match (three, four) {
            (true, true) => assert!([1234, 1243].contains(&last)),
            (true, false) => assert_eq!(last, 123),
            (false, true) => assert_eq!(last, 124),
            (false, false) => panic!("both lost"),
        }
    });
}

#[test]
fn of_a_link_and_a_replacement_of_one_version_one_wins() {
    explore("page: link, replace, get", None, || {
        let table = table();
        let other = Arc::clone(&table);
        let linker = thread::spawn(move || link(&other, 2));
        let other = Arc::clone(&table);
        let replacer = thread::spawn(move || {
            let guard = epoch::pin();
            let head = other.head(PAGE, &guard).unwrap();
            let base = PreparedBase::page(
                Version(head.version().0 + 1),
                Version(1),
                Content::new(Number::new(5), 0),
            );
            match base.publish(&Entry::Occupied(head), place(5), 1) {
                Ok(retired) => {
                    let mut killed = 0;
                    retired.unwrap().retire(|_, _, _| killed += 1);
                    killed
                }
                Err(lost) => {
                    assert_eq!(lost.0.unwrap().get(), 5);
                    0
                }
            }
        });
        let guard = epoch::pin();
        let head = table.head(PAGE, &guard).unwrap();
        let page = head.newest().merged().map(Number::get);
        assert!(matches!((head.version().0, page), (1, Some(1)) | (2 | 3, None | Some(5))));
        let outcome = (linker.join().unwrap(), replacer.join().unwrap());
        let last = table.head(PAGE, &guard).unwrap();
        match outcome {
            (true, 0) => assert_eq!(digits(last), 12),
            (false, 1) => assert_eq!(digits(last), 5),
            (true, 1) => assert_eq!(digits(last), 52),
            (true, 2) => assert_eq!(digits(last), 5),
            other => panic!("{other:?}"),
        }
    });
}
