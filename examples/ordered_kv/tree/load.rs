//! Loading many entries that are sorted: whole leaves are made of them, instead of one change for each.
//!
//! What falls in one leaf is merged with it, cut into leaves that are nearly full, and put in its place by a
//! split into many. So it is as safe as a split is, and can be done at any time, to any tree, beside other
//! writers. A load is not atomic; what was taken in before an error, or a crash, stays.

use super::block::Entry;
use super::error::Result;
use super::find::Target;
use super::forest::{Tree, count};
use super::split::cuts;
use super::write::{Chore, check_length, no_leaf};

/// How many leaves are made at once.
const AT_ONCE: usize = 16;
/// Fewer entries for a leaf than this are not worth writing it as a whole.
const FEW: usize = 4;

type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

impl Tree {
    /// Puts all entries; of equal keys the last one counts. Quick where keys ascend. Returns how many there
    /// were.
    pub fn load(&self, entries: impl IntoIterator<Item = (Vec<u8>, Vec<u8>)>) -> Result<u64> {
        let most = AT_ONCE * self.full();
        let (mut run, mut bytes, mut total) = (Pairs::new(), 0, 0);
        for (key, value) in entries {
            check_length(&key)?;
            if bytes > most || run.last().is_some_and(|(last, _)| *last >= key) {
                self.load_run(&run)?;
                run.clear();
                bytes = 0;
            }
            bytes += key.len() + value.len();
            total += 1;
            run.push((key, value));
        }
        self.load_run(&run)?;
        Ok(total)
    }

    /// The size of a leaf that is full enough, with some space left for what is put there later.
    fn full(&self) -> usize {
        self.shared.tuning.leaf_bytes / 10 * 9
    }

    /// Puts entries whose keys ascend.
    fn load_run(&self, mut run: &[(Vec<u8>, Vec<u8>)]) -> Result<()> {
        while let Some((first, _)) = run.first() {
            let taken = self.load_leaf(run, first)?;
            run = run.get(taken..).unwrap_or_default();
        }
        Ok(())
    }

    /// Puts as many of the entries as belong in the leaf of the first one. Returns how many.
    fn load_leaf(&self, run: &[(Vec<u8>, Vec<u8>)], first: &[u8]) -> Result<usize> {
        let (taken, chore) = self.attempt_load(run, first)?;
        self.do_chore(first, chore)?;
        Ok(taken)
    }

    fn attempt_load(&self, run: &[(Vec<u8>, Vec<u8>)], first: &[u8]) -> Result<(usize, Chore)> {
        let guard = self.shared.cache.pin();
        let seat = self.find(&guard, Target::At(first), 0)?.ok_or_else(no_leaf)?.seat;
        if seat.base.is_sealed() {
            return Ok((0, Chore::Finish(seat.link, seat.base.low().to_vec())));
        }
        let leaf = seat.merged();
        let taken = leaf.high().map_or(run.len(), |high| run.partition_point(|(key, _)| &**key < high));
        let run = run.get(..taken).unwrap_or_default();
        if taken < FEW {
            run.iter().try_for_each(|(key, value)| self.put(key, value))?;
            return Ok((taken, Chore::Nothing));
        }
        let entries = merge(leaf.entries(), run);
        let Some(posts) = self.divide(&seat, &entries, &cuts(&entries, self.full()))? else {
            return Ok((0, Chore::Nothing));
        };
        count(&self.shared.counters.loads);
        Ok((taken, Chore::Post(posts)))
    }
}

/// Both in order; of equal keys the one in `new`.
fn merge<'a>(old: impl Iterator<Item = Entry<'a>>, new: &'a [(Vec<u8>, Vec<u8>)]) -> Vec<Entry<'a>> {
    let mut entries = Vec::with_capacity(new.len());
    let mut new = new.iter().map(|(key, value)| (&**key, &**value)).peekable();
    for (key, value) in old {
        while let Some(entry) = new.next_if(|(other, _)| *other < key) {
            entries.push(entry);
        }
        entries.push(new.next_if(|(other, _)| *other == key).unwrap_or((key, value)));
    }
    entries.extend(new);
    entries
}
