//! What a store must hold after a crash: the state after some prefix of what was done, in the order of LSNs.
//!
//! A [`Journal`] keeps what was done on one disk, in order, and from which operation of the disk on how much
//! of it must survive. A test that finds a [`View`] of a recovered store asks [`Journal::candidates`] for the
//! states that explain it.

use std::collections::{BTreeMap, BTreeSet};

use pagelog::{Lsn, PageCache, PageId};

use super::{Bytes, joined_fragments};

/// A page id that was used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Life {
    pub version: u64,
    pub birth: u64,
    /// `None` if it is free.
    pub contents: Option<Vec<u8>>,
}

/// All that a store holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    pub pages: BTreeMap<u64, Life>,
    pub roots: BTreeMap<Vec<u8>, u64>,
    /// The roots were ever changed, so that there is a record of them.
    pub roots_version: u64,
}

/// What can be seen of a store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    pub pages: BTreeMap<u64, (u64, Vec<u8>)>,
    pub roots: BTreeMap<Vec<u8>, u64>,
}

#[derive(Clone, Debug)]
pub enum Change {
    Page(u64, Life),
    Roots(BTreeMap<Vec<u8>, u64>),
    BatchBegin,
    BatchEnd,
}

#[derive(Clone, Debug)]
struct Step {
    /// `None` for the begin of a batch.
    lsn: Option<Lsn>,
    /// The disk's operations when it began.
    began: u64,
    change: Change,
}

/// A varint's length.
fn varint(value: u64) -> u64 {
    u64::from((64 - value.leading_zeros()).div_ceil(7).max(1))
}

/// The length of a record whose fields behind the length take so many bytes.
fn record(rest: u64) -> u64 {
    5 + varint(rest) + rest
}

impl State {
    pub fn apply(&mut self, change: &Change) {
        match change {
            Change::Page(page_id, life) => {
                self.pages.insert(*page_id, life.clone());
            }
            Change::Roots(roots) => {
                self.roots.clone_from(roots);
                self.roots_version += 1;
            }
            Change::BatchBegin | Change::BatchEnd => {}
        }
    }

    pub fn live(&self) -> impl Iterator<Item = (u64, &Life)> {
        self.pages.iter().filter(|(_, life)| life.contents.is_some()).map(|(page_id, life)| (*page_id, life))
    }

    pub fn view(&self) -> View {
        let page = |(page_id, life): (u64, &Life)| (page_id, (life.version, life.contents.clone().unwrap()));
        View { pages: self.live().map(page).collect(), roots: self.roots.clone() }
    }

    /// The page and the version that the next allocation gets.
    pub fn next_allocation(&self) -> (u64, u64) {
        let page_id = (1..).find(|id| self.pages.get(id).is_none_or(|life| life.contents.is_none())).unwrap();
        (page_id, self.pages.get(&page_id).map_or(1, |life| life.version + 1))
    }

    /// The live bytes that are not in pages: records of freed ids, and the roots.
    pub fn bytes_beside_pages(&self) -> u64 {
        let freed = self.pages.iter().filter(|(_, life)| life.contents.is_none());
        let freed = freed.map(|(page_id, life)| {
            record(varint(*page_id) + varint(life.version) + varint(life.version - life.birth))
        });
        freed.sum::<u64>() + self.bytes_of_roots()
    }

    fn bytes_of_roots(&self) -> u64 {
        if self.roots_version == 0 {
            return 0;
        }
        let root = |(name, page_id): (&Vec<u8>, &u64)| {
            varint(name.len() as u64) + name.len() as u64 + varint(*page_id)
        };
        let payload = varint(self.roots.len() as u64) + self.roots.iter().map(root).sum::<u64>();
        record(1 + varint(self.roots_version) + varint(self.roots_version - 1) + payload)
    }
}

/// Looks at everything in a store: every page up to `bound`, both merged and in fragments. Also says how many
/// bytes of log the pages take.
pub fn observe(cache: &PageCache<Bytes>, bound: u64) -> Result<(View, u64), String> {
    let mut view = View::default();
    let mut bytes = 0;
    for page_id in 1..=bound {
        let guard = cache.pin();
        let page = guard.get(PageId::new(page_id)).map_err(|error| format!("get {page_id}: {error}"))?;
        let Some(page) = page else { continue };
        let fragments = joined_fragments(&page);
        if page.merged().0 != fragments {
            return Err(format!("page {page_id}: the fragments are not the page"));
        }
        bytes += page.size_on_disk();
        view.pages.insert(page_id, (page.version().get(), fragments));
    }
    let roots = cache.meta().map_err(|error| format!("meta: {error}"))?;
    view.roots = roots.iter().map(|(name, page_id)| (name.clone(), page_id.get())).collect();
    Ok((view, bytes))
}

/// What was done on one disk.
#[derive(Clone, Debug)]
pub struct Journal {
    /// What the disk held at first.
    pub base: State,
    /// What it holds now, if nothing gets lost.
    pub now: State,
    steps: Vec<Step>,
    /// From so many operations on, so many steps must survive.
    acknowledged: Vec<(u64, usize)>,
    /// Ids that were generated, and when.
    ids: Vec<(u64, u64)>,
    /// Ids that were generated on disks before.
    pub id_floor: Option<u64>,
    /// Above all page ids that were ever seen.
    pub page_bound: u64,
    /// The base is one of several states that look alike, so versions of new pages are not certain.
    pub uncertain: bool,
}

/// A state that explains what was found.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// How many steps survived.
    pub steps: usize,
    pub state: State,
}

impl Journal {
    pub fn new(base: State, id_floor: Option<u64>) -> Self {
        let page_bound = base.pages.keys().max().map_or(1, |page_id| page_id + 1);
        let now = base.clone();
        Self {
            base,
            now,
            steps: Vec::new(),
            acknowledged: Vec::new(),
            ids: Vec::new(),
            id_floor,
            page_bound,
            uncertain: false,
        }
    }

    pub fn record(&mut self, began: u64, lsn: Option<Lsn>, change: Change) {
        if let Change::Page(page_id, _) = change {
            self.page_bound = self.page_bound.max(page_id + 1);
        }
        self.now.apply(&change);
        self.steps.push(Step { lsn, began, change });
    }

    /// What the store holds below an LSN.
    pub fn view_below(&self, end: Lsn) -> View {
        let mut state = self.base.clone();
        for step in self.steps.iter().filter(|step| step.lsn.is_some_and(|lsn| lsn < end)) {
            state.apply(&step.change);
        }
        state.view()
    }

    /// How many steps were acknowledged before the disk's last operation that something was acknowledged
    /// after. What one sync has made durable may be acknowledged bit by bit: first what was asked for, then
    /// the rest.
    pub fn acknowledged_before_the_last_time(&self) -> usize {
        let last = self.acknowledged.last().map_or(0, |(when, _)| *when);
        self.acknowledged.iter().rfind(|(when, _)| *when < last).map_or(0, |(_, steps)| *steps)
    }

    /// The longest prefix of what was done, without a torn batch, after which the state is as wanted. How
    /// many steps it has is the answer.
    pub fn longest_prefix(&self, is_wanted: impl Fn(&State) -> bool) -> Option<usize> {
        let (mut state, mut in_batch, mut longest) = (self.base.clone(), false, None);
        for count in 0..=self.steps.len() {
            if let Some(step) = count.checked_sub(1).map(|index| &self.steps[index]) {
                state.apply(&step.change);
                match step.change {
                    Change::BatchBegin => in_batch = true,
                    Change::BatchEnd => in_batch = false,
                    _ => {}
                }
            }
            if !in_batch && is_wanted(&state) {
                longest = Some(count);
            }
        }
        longest
    }

    pub fn len(&self) -> usize {
        self.steps.len()
    }

    /// From `operations` on, everything that was done survives.
    pub fn acknowledge_all(&mut self, operations: u64) {
        self.acknowledge(operations, self.steps.len());
    }

    /// From `operations` on, everything survives whose LSN is below `stable`.
    pub fn acknowledge_below(&mut self, operations: u64, stable: Lsn) {
        let below = |step: &Step| step.lsn.is_some_and(|lsn| lsn < stable);
        self.acknowledge(operations, self.steps.iter().rposition(below).map_or(0, |last| last + 1));
    }

    fn acknowledge(&mut self, operations: u64, steps: usize) {
        if self.acknowledged.last().is_none_or(|last| last.1 < steps) {
            self.acknowledged.push((operations, steps));
        }
    }

    pub fn generated(&mut self, operations: u64, id: u64) {
        assert!(self.highest_id(u64::MAX).is_none_or(|highest| id > highest), "id {id} was there before");
        self.ids.push((operations, id));
    }

    /// The highest id that was handed out when the disk had done `operations`.
    pub fn highest_id(&self, operations: u64) -> Option<u64> {
        let handed_out = self.ids.iter().filter(|(when, _)| *when <= operations).map(|(_, id)| *id);
        handed_out.max().or(self.id_floor)
    }

    /// How many steps survive a crash after `operations` at least, and at most.
    pub fn bounds(&self, operations: u64) -> (usize, usize) {
        let least =
            self.acknowledged.iter().rfind(|(when, _)| *when <= operations).map_or(0, |(_, steps)| *steps);
        let most = self.steps.iter().take_while(|step| step.began <= operations).count();
        (least, most.max(least))
    }

    /// The states that a crash after `operations` can leave and that look like `view`: prefixes that tear no
    /// batch.
    pub fn candidates(&self, operations: u64, view: &View) -> Vec<Candidate> {
        let (least, most) = self.bounds(operations);
        let mut state = self.base.clone();
        let mut found: Vec<Candidate> = Vec::new();
        // The contents of pages that differ from the view, so that a look at each prefix is cheap.
        let mut differing: BTreeSet<u64> = BTreeSet::new();
        let differs = |state: &State, page_id: u64| {
            let life = state.pages.get(&page_id);
            let live = life.and_then(|life| Some((life.version, life.contents.as_deref()?)));
            live != view.pages.get(&page_id).map(|(version, bytes)| (*version, bytes.as_slice()))
        };
        for page_id in state.pages.keys().chain(view.pages.keys()) {
            if differs(&state, *page_id) {
                differing.insert(*page_id);
            }
        }
        let mut in_batch = false;
        for count in 0..=most {
            if count > 0 {
                let change = &self.steps[count - 1].change;
                state.apply(change);
                match change {
                    Change::Page(page_id, _) if differs(&state, *page_id) => {
                        differing.insert(*page_id);
                    }
                    Change::Page(page_id, _) => {
                        differing.remove(page_id);
                    }
                    Change::Roots(_) => {}
                    Change::BatchBegin => in_batch = true,
                    Change::BatchEnd => in_batch = false,
                }
            }
            let whole = !in_batch
                || matches!(
                    self.steps.get(count.wrapping_sub(1)),
                    Some(Step { change: Change::BatchBegin, .. })
                );
            if count >= least && whole && differing.is_empty() && state.roots == view.roots {
                found.push(Candidate { steps: count, state: state.clone() });
            }
        }
        found
    }

    /// Whether so many steps end right before a batch that had logged something when the disk had done
    /// `operations`.
    pub fn cuts_batch(&self, steps: usize, operations: u64) -> bool {
        let (_, most) = self.bounds(operations);
        let begin =
            |at: usize| self.steps.get(at).is_some_and(|step| matches!(step.change, Change::BatchBegin));
        (begin(steps) && steps + 1 < most) || (steps > 0 && begin(steps - 1) && steps < most)
    }

    /// For a person who looks for the fault.
    pub fn describe(&self, operations: u64, view: &View) -> String {
        let (least, most) = self.bounds(operations);
        let mut text = format!("at least {least} and at most {most} of {} steps survive\n", self.steps.len());
        let mut state = self.base.clone();
        for (count, step) in self.steps.iter().enumerate() {
            let short = match &step.change {
                Change::Page(page_id, life) => {
                    format!("page {page_id} v{} {}", life.version, summary(life.contents.as_deref()))
                }
                other => format!("{other:?}"),
            };
            let mark = if count < least {
                "*"
            } else if count < most {
                " "
            } else {
                "-"
            };
            text +=
                &format!("  {mark}{count} began {} lsn {:?}: {short}\n", step.began, step.lsn.map(Lsn::get));
            if count < most {
                state.apply(&step.change);
            }
        }
        text += "found, and expected if all survives:\n";
        let last = state.view();
        let ids: BTreeSet<u64> = view.pages.keys().chain(last.pages.keys()).copied().collect();
        for page_id in ids {
            let side = |view: &View| {
                view.pages.get(&page_id).map_or("none".into(), |(v, b)| format!("v{v} {}", summary(Some(b))))
            };
            let (found, wanted) = (side(view), side(&last));
            let mark = if found == wanted { ' ' } else { '!' };
            text += &format!(" {mark}page {page_id}: {found} / {wanted}\n");
        }
        text + &format!("roots: {:?} / {:?}", view.roots, last.roots)
    }
}

fn summary(contents: Option<&[u8]>) -> String {
    let Some(contents) = contents else { return "freed".into() };
    let sum = contents.iter().fold(0u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(u32::from(*byte)));
    format!("{} bytes #{sum:08x}", contents.len())
}

impl Journal {
    /// The LSN of the step that is so many steps back.
    pub fn lsn_back(&self, back: usize) -> Option<Lsn> {
        self.steps.iter().rev().filter_map(|step| step.lsn).nth(back)
    }

    /// Starts anew from a state that was found, on another disk.
    pub fn successor(&self, operations: u64, state: State) -> Self {
        let page_bound = self.page_bound;
        Self { page_bound, ..Self::new(state, self.highest_id(operations)) }
    }
}
