//! Which files there are, whose they are, and which of them can go. Plain data, under a lock; the rules are
//! in the module above.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use super::{LargeFigures, OwnedFile};
use crate::format::LargeName;
use crate::ids::{Lsn, PageId, Version};
use crate::sync::atomic::{AtomicBool, Ordering};

/// Files may wait for a sync until they are so many bytes,
const DEAD_BYTES: u64 = 64 << 20;
/// or this share of what is live.
const DEAD_SHARE: u64 = 4;

/// What is known of a record that has a file.
#[derive(Clone, Copy, Debug)]
enum Owner {
    /// It is live, and its file has this number.
    Live(u64),
    /// It was killed before its publisher came to say which file is its.
    Killed(Lsn),
}

#[derive(Debug, Default)]
pub(super) struct Registry {
    /// By number: being written, live, or waiting.
    files: BTreeMap<u64, OwnedFile>,
    owners: HashMap<(PageId, Version), Owner>,
    /// Files whose killers may not be stable, with where these end.
    dead: Vec<(Lsn, u64)>,
    /// Files that wait for readers.
    quarantine: VecDeque<(Arc<AtomicBool>, Vec<u64>)>,
    /// Files that can be removed if nobody holds them.
    ready: Vec<u64>,
    /// Files that are being removed now.
    removing: BTreeSet<u64>,
    holders: u32,
    figures: LargeFigures,
}

impl Registry {
    pub(super) fn new(owned: Vec<OwnedFile>) -> Self {
        let mut registry = Self::default();
        for file in owned {
            registry.begin(file.name, file.bytes);
            registry.publish(file.name);
        }
        registry
    }

    /// A file is about to be written.
    pub(super) fn begin(&mut self, name: LargeName, bytes: u64) {
        self.files.insert(name.number, OwnedFile { name, bytes });
    }

    fn bytes(&self, number: u64) -> u64 {
        self.files.get(&number).map_or(0, |file| file.bytes)
    }

    /// Its record is in force.
    pub(super) fn publish(&mut self, name: LargeName) {
        let (key, number) = ((name.page_id, name.version), name.number);
        self.figures.live += 1;
        self.figures.live_bytes += self.bytes(number);
        match self.owners.remove(&key) {
            Some(Owner::Killed(killer)) => self.bury(number, killer),
            _ => drop(self.owners.insert(key, Owner::Live(number))),
        }
    }

    pub(super) fn kill(&mut self, page_id: PageId, version: Version, killer: Lsn) {
        match self.owners.remove(&(page_id, version)) {
            Some(Owner::Live(number)) => self.bury(number, killer),
            _ => drop(self.owners.insert((page_id, version), Owner::Killed(killer))),
        }
    }

    fn bury(&mut self, number: u64, killer: Lsn) {
        let bytes = self.bytes(number);
        self.figures.live -= 1;
        self.figures.live_bytes -= bytes;
        self.figures.dead += 1;
        self.figures.dead_bytes += bytes;
        self.dead.push((killer, number));
    }

    /// A file whose record never came into force: nobody knows of it.
    pub(super) fn discard(&mut self, number: u64) {
        self.figures.dead += 1;
        self.figures.dead_bytes += self.bytes(number);
        self.ready.push(number);
    }

    /// Puts the files aside whose killers are stable, until readers have moved on.
    pub(super) fn quarantine(&mut self, stable: Lsn, flag: impl FnOnce() -> Arc<AtomicBool>) {
        let (matured, waiting): (Vec<_>, Vec<_>) =
            self.dead.drain(..).partition(|(killer, _)| *killer <= stable);
        self.dead = waiting;
        if !matured.is_empty() {
            self.quarantine.push_back((flag(), matured.into_iter().map(|(_, number)| number).collect()));
        }
    }

    pub(super) fn has_quarantine(&self) -> bool {
        !self.quarantine.is_empty()
    }

    pub(super) fn take_ripe(&mut self) {
        while self.quarantine.front().is_some_and(|(ripe, _)| ripe.load(Ordering::Acquire)) {
            self.ready.extend(self.quarantine.pop_front().into_iter().flat_map(|(_, numbers)| numbers));
        }
    }

    /// A file to be removed now, if there is one and nobody holds it.
    pub(super) fn next_to_remove(&mut self) -> Option<(LargeName, u64)> {
        if self.holders > 0 {
            return None;
        }
        let number = self.ready.pop()?;
        let file = self.files.remove(&number)?;
        self.removing.insert(number);
        self.figures.dead -= 1;
        self.figures.dead_bytes -= file.bytes;
        Some((file.name, file.bytes))
    }

    pub(super) fn removed(&mut self, number: u64) {
        self.removing.remove(&number);
    }

    /// It could not be removed.
    pub(super) fn put_back(&mut self, name: LargeName, bytes: u64) {
        self.removing.remove(&name.number);
        self.begin(name, bytes);
        self.discard(name.number);
    }

    pub(super) fn waiting(&self) -> u64 {
        self.figures.dead
    }

    pub(super) fn presses(&self) -> bool {
        !self.dead.is_empty()
            && self.figures.dead_bytes > DEAD_BYTES.max(self.figures.live_bytes / DEAD_SHARE)
    }

    pub(super) fn hold(&mut self) {
        self.holders += 1;
    }

    pub(super) fn let_go(&mut self) {
        self.holders -= 1;
    }

    pub(super) fn files(&self) -> Vec<OwnedFile> {
        self.files.values().copied().collect()
    }

    pub(super) fn knows(&self, number: u64) -> bool {
        self.files.contains_key(&number) || self.removing.contains(&number)
    }

    pub(super) fn bytes_of(&self, page_id: PageId, version: Version) -> Option<u64> {
        match self.owners.get(&(page_id, version))? {
            Owner::Live(number) => Some(self.bytes(*number)),
            Owner::Killed(_) => None,
        }
    }

    pub(super) fn figures(&self) -> LargeFigures {
        self.figures
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::sync::Arc;

    use super::Registry;
    use crate::format::LargeName;
    use crate::ids::{Lsn, PageId, Version};
    use crate::sync::atomic::{AtomicBool, Ordering};

    const PAGE: PageId = PageId(4);

    fn name(number: u64, version: u64) -> LargeName {
        LargeName { number, page_id: PAGE, version: Version(version) }
    }

    #[test]
    fn killer_and_publisher_come_in_any_order() {
        for killer_first in [false, true] {
            let mut registry = Registry::default();
            registry.begin(name(1, 7), 100);
            if killer_first {
                registry.kill(PAGE, Version(7), Lsn(50));
                assert_eq!(registry.waiting(), 0);
                registry.publish(name(1, 7));
            } else {
                registry.publish(name(1, 7));
                assert_eq!(registry.bytes_of(PAGE, Version(7)), Some(100));
                registry.kill(PAGE, Version(7), Lsn(50));
            }
            assert_eq!((registry.waiting(), registry.figures().live, registry.owners.len()), (1, 0, 0));
        }
    }

    #[test]
    fn two_writers_of_one_version_have_a_file_each() {
        let mut registry = Registry::default();
        registry.begin(name(1, 7), 100);
        registry.begin(name(2, 7), 200);
        registry.publish(name(2, 7));
        registry.discard(1);
        assert_eq!(registry.next_to_remove(), Some((name(1, 7), 100)));
        assert_eq!(registry.bytes_of(PAGE, Version(7)), Some(200));
        assert!(registry.knows(1) && registry.knows(2));
        registry.removed(1);
        assert!(!registry.knows(1));
        assert_eq!(registry.next_to_remove(), None);
    }

    #[test]
    fn a_file_goes_when_its_killer_is_stable_readers_have_moved_on_and_nobody_holds_it() {
        let mut registry = Registry::default();
        registry.begin(name(1, 7), 100);
        registry.publish(name(1, 7));
        registry.kill(PAGE, Version(7), Lsn(50));
        let flag = Arc::new(AtomicBool::new(false));
        registry.quarantine(Lsn(49), || unreachable!("nothing is stable"));
        registry.quarantine(Lsn(50), || Arc::clone(&flag));
        registry.take_ripe();
        assert_eq!(registry.next_to_remove(), None);
        flag.store(true, Ordering::Release);
        registry.take_ripe();
        registry.hold();
        assert_eq!(registry.next_to_remove(), None);
        registry.let_go();
        assert_eq!(registry.next_to_remove(), Some((name(1, 7), 100)));
        registry.put_back(name(1, 7), 100);
        assert_eq!((registry.waiting(), registry.next_to_remove()), (1, Some((name(1, 7), 100))));
        registry.removed(1);
        assert_eq!((registry.waiting(), registry.figures().dead_bytes, registry.files().len()), (0, 0, 0));
    }
}
