//! Ids are freed while others are taken. Spurious emptiness is allowed while calls are under way, loss is
//! not.

use std::sync::Arc;

use loom::thread;

use super::explore;
use crate::ids::PageId;
use crate::pages::free_list::FreeList;

#[test]
fn what_is_pushed_while_the_last_id_is_popped_is_found_later() {
    explore("free list: push, pop, pop", Some(3), || {
        let list = Arc::new(FreeList::new());
        list.push(PageId(0));
        let other = Arc::clone(&list);
        let pusher = thread::spawn(move || other.push(PageId(1)));
        let other = Arc::clone(&list);
        let popper = thread::spawn(move || other.pop());
        let mut popped: Vec<PageId> = list.pop().into_iter().collect();
        pusher.join().unwrap();
        popped.extend(popper.join().unwrap());
        popped.extend(std::iter::from_fn(|| list.pop()));
        popped.sort_unstable();
        assert_eq!(popped, [PageId(0), PageId(1)]);
    });
}
