//! Snapshots that write down only what has changed: two of them, one after the other, while a writer changes
//! the page. What was logged below the second one's begin must be in one of the two; else the record would be
//! in neither, and lost by the next opening.

use std::sync::Arc;

use loom::thread;

use super::ring::{HOST, append, ring};
use super::{Number, explore};
use crate::ids::{Lsn, PageId, RangeId, SlotId, Version};
use crate::location::Place;
use crate::log::ring::Ring;
use crate::pages::budget::Budget;
use crate::pages::content::Content;
use crate::pages::publish::PreparedBase;
use crate::pages::table::{Entry, PageTable};
use crate::sync::epoch;

const PAGE: PageId = PageId(1);
const LENGTH: u32 = 10;

fn place(number: u32) -> Place {
    Place::new(SlotId(0), 80 + number)
}

fn base(version: u64) -> PreparedBase<Number> {
    PreparedBase::page(Version(version), Version(1), Content::new(Number::new(version), 0))
}

/// A table with a page that the last snapshot has.
fn table() -> PageTable<Number> {
    let table = PageTable::new(Arc::new(Budget::new(0)), None);
    let guard = epoch::pin();
    let entry = table.entry(PAGE, &guard).unwrap();
    assert!(base(1).publish(&entry, place(1), LENGTH).is_ok());
    drop(guard);
    let (_, changed) = table.take_changes(|| Ok::<_, ()>(())).unwrap();
    assert_eq!(changed, [RangeId::of(PAGE)]);
    table
}

fn head(table: &PageTable<Number>) -> (Version, Option<Place>) {
    let guard = epoch::pin();
    let head = table.head(PAGE, &guard).unwrap();
    (head.version(), head.newest().place())
}

/// The begin of a snapshot, and what it writes down of the page, if it does.
type Taken = (Lsn, Option<(Version, Option<Place>)>);

fn snapshot(ring: &Ring, table: &PageTable<Number>) -> Taken {
    let (begin, changed) = table.take_changes(|| ring.settle(&HOST)).unwrap();
    (begin, (!changed.is_empty()).then(|| head(table)))
}

#[test]
fn a_change_is_in_one_of_two_snapshots_or_behind_the_begin_of_the_second() {
    explore("changes: replace, snapshot; snapshot", Some(3), || replace_and_snapshots(false));
    explore("changes: replace of what is marked, snapshot; snapshot", Some(3), || {
        replace_and_snapshots(true)
    });
}

fn replace_and_snapshots(is_marked: bool) {
    let (ring, table) = (Arc::new(ring()), Arc::new(table()));
    if is_marked {
        table.mark_changed(RangeId::of(PAGE));
    }
    let first = {
        let (ring, table) = (Arc::clone(&ring), Arc::clone(&table));
        thread::spawn(move || snapshot(&ring, &table))
    };
    let logged = append(&ring, |_| {
        let guard = epoch::pin();
        let head = table.head(PAGE, &guard).unwrap();
        assert!(base(2).publish(&Entry::Occupied(head), place(2), LENGTH).is_ok());
    });
    let (begin, walked) = first.join().unwrap();
    let is_in =
        |walked: Option<(Version, Option<Place>)>| walked.is_some_and(|(version, _)| version == Version(2));
    assert!(logged >= begin || is_in(walked), "logged at {logged}, begin {begin}, walked {walked:?}");
    let (begin, again) = snapshot(&ring, &table);
    let known = again.or(walked);
    assert!(logged >= begin || is_in(known), "logged at {logged}, begin {begin}, {walked:?}, {again:?}");
}

/// The exchange of a move is weaker than that of a head.
#[test]
fn a_move_is_in_one_of_two_snapshots() {
    explore("changes: move, snapshot; snapshot", None, || {
        let table = Arc::new(table());
        let first = {
            let table = Arc::clone(&table);
            thread::spawn(move || {
                let (_, changed) = table.take_changes(|| Ok::<_, ()>(())).unwrap();
                (!changed.is_empty()).then(|| head(&table))
            })
        };
        // The mark is there already, and is just being taken.
        table.mark_changed(RangeId::of(PAGE));
        {
            let guard = epoch::pin();
            assert!(table.head(PAGE, &guard).unwrap().newest().relocate(place(1), place(2)));
        }
        let walked = first.join().unwrap();
        let (_, changed) = table.take_changes(|| Ok::<_, ()>(())).unwrap();
        let again = (!changed.is_empty()).then(|| head(&table));
        let (_, known) = again.or(walked).unwrap();
        assert_eq!(known, Some(place(2)), "{walked:?}, {again:?}");
    });
}
