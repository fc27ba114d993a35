//! A power cut in the middle, and what has to be there after it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pagelog::sim::SimStorage;
use pagelog::{Lsn, PageCache, PageId};

use crate::checker::State;
use crate::history::{Event, Operation, Outcome, Serial};
use crate::order::Operation as _;
use crate::worker::Serials;

/// Takes what is on the disk at some moment.
pub struct Cutter<'a> {
    disk: &'a Arc<SimStorage>,
    /// The highest that was acknowledged. Nobody decides here who goes on, so this is no part of what is
    /// explored.
    acknowledged: AtomicU64,
    image: Mutex<Option<(SimStorage, u64)>>,
}

impl<'a> Cutter<'a> {
    pub fn new(disk: &'a Arc<SimStorage>) -> Self {
        Self { disk, acknowledged: AtomicU64::new(0), image: Mutex::new(None) }
    }

    pub fn acknowledged(&self, lsn: Lsn) {
        self.acknowledged.fetch_max(lsn.get(), Ordering::SeqCst);
    }

    /// Waits for so many points, and cuts.
    pub fn cut_after(&self, points: u64, seed: u64) {
        (0..points).for_each(|_| shuttle::thread::sleep(Duration::ZERO));
        let promised = self.acknowledged.load(Ordering::SeqCst);
        let image = self.disk.after_power_cut(seed);
        *self.image.lock().unwrap() = Some((image, promised));
    }

    /// The disk after the cut, and what had been acknowledged before it.
    pub fn image(self) -> (Arc<SimStorage>, Lsn) {
        let (image, promised) = self.image.into_inner().unwrap().expect("the power was cut");
        (Arc::new(image), Lsn::new(promised))
    }
}

type Page = Option<(u64, Vec<Serial>)>;

/// The changes in the order of the log, each with what the page was then.
pub struct Logged(Vec<(Lsn, u64, Page)>);

impl Logged {
    pub fn new(logged: &[(u64, u64, Lsn)], events: &[(u64, Event)]) -> Self {
        let changes: BTreeMap<(u64, u64), &Operation> = events
            .iter()
            .filter_map(|(page_id, event)| match &event.operation {
                operation @ (Operation::Allocate(_, version)
                | Operation::Change { outcome: Outcome::Done(version), .. }) => {
                    Some(((*page_id, *version), operation))
                }
                _ => None,
            })
            .collect();
        let mut logged = logged.to_vec();
        logged.sort_by_key(|(.., lsn)| *lsn);
        let mut pages: BTreeMap<u64, State> = BTreeMap::new();
        let state = |(page_id, version, lsn): (u64, u64, Lsn)| {
            let state = pages.entry(page_id).or_default();
            let operation = changes[&(page_id, version)];
            *state = operation.after(state).unwrap_or_else(|why| panic!("page {page_id} at {lsn:?}: {why}"));
            (lsn, page_id, state.page())
        };
        Self(logged.into_iter().map(state).collect())
    }

    /// Whether the store has what was logged up to some point, and less than all. It must not have less than
    /// was promised.
    pub fn is_cut_behind(&self, cache: &PageCache<Serials>, promised: Lsn) -> bool {
        let ids: BTreeMap<u64, Page> = self.0.iter().map(|(_, page_id, _)| (*page_id, None)).collect();
        let find = |page_id: &u64| {
            let guard = cache.pin();
            let page = guard.get(PageId::new(*page_id)).unwrap();
            (*page_id, page.map(|page| (page.version().get(), page.merged().0.clone())))
        };
        let found: BTreeMap<u64, Page> = ids.keys().map(find).collect();
        let (mut pages, mut fits) = (ids, false);
        let mut rest = self.0.iter().peekable();
        loop {
            let covers = rest.peek().is_none_or(|(next, ..)| *next > promised);
            fits |= covers && pages == found;
            let Some((_, page_id, page)) = rest.next() else { break };
            pages.insert(*page_id, page.clone());
        }
        assert!(fits, "found {found:?}, promised {promised:?} of {:?}", self.0);
        pages != found
    }
}
