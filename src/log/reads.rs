//! Reading many records at once: of a page whose links lie all over the log.
//!
//! What one read costs hardly depends on its length, as long as that is short: with the file in the operating
//! system's cache it is a system call, otherwise a visit to the disk. So the wanted stretches are sorted by
//! where they lie, and neighbours are read with one call, with what lies between them, if that is little
//! ([`GAP`]).
//!
//! What is left are *runs*. They are read one after another, for as long as that is quicker: from the
//! system's cache a run takes a microsecond, and from a quick disk some ten, while threads take a millisecond
//! or two until they are started and joined when the processors are busy. But disks that are slow, or far
//! away, serve many reads in hardly more than the time of one, if they know of them. So after each run it is
//! reckoned how long the rest will take at this rate; if that is long ([`WORTH_THREADS`]), the rest is read
//! by a few threads, each taking the next run that nobody has taken. The threads end before the call returns.
//!
//! (Measured with two processors, both busy, 129 records far apart: 0.14 ms from the system's cache; from a
//! disk of 20 µs a read 1.4 ms alone and 1.1 to 2.4 ms with seven helpers, for 9 records 0.2 ms alone and 2
//! ms with helpers; from a storage of 1 ms a read 140 ms alone and 20 ms with helpers.
//! `cargo bench --bench miss` has them all.)
//!
//! Why it is safe: the caller is pinned, and stays so until all threads have ended; so no slot in which it
//! found a wanted record begins another life meanwhile, and the file is not cut in front of it, though the
//! threads that read are not pinned themselves. Bytes between wanted records may be written at the same time.
//! Nobody looks at them.

use std::time::{Duration, Instant};

use super::core::LogCore;
use crate::error::Result;
use crate::geometry::Geometry;
use crate::location::Place;
use crate::stats::Counter;
use crate::sync::{Mutex, threads};

/// What may lie between two records that are read by one call: to copy so much takes as long as another call,
/// or less.
const GAP: u64 = 8192;
/// What reading on alone must take at least for threads to be worth it: twice what they take themselves.
const WORTH_THREADS: Duration = Duration::from_millis(4);
/// How many threads read, with the caller. More bring little on a disk in the machine.
const THREADS: usize = 8;

/// A stretch of the log file that is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) place: Place,
    pub(crate) length: u32,
}

/// One call's worth: wanted stretches and what lies between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    place: Place,
    /// Where it begins in the file.
    offset: u64,
    length: usize,
}

/// Where everything that is wanted will be.
#[derive(Debug, Default, PartialEq, Eq)]
struct Plan {
    /// In the order of the file, and in the buffer one after another.
    runs: Vec<Run>,
    /// Where each wanted stretch begins in the buffer, in the order in which they were given.
    starts: Vec<usize>,
    /// The buffer's length.
    length: usize,
}

impl Plan {
    fn new(geometry: Geometry, wanted: &[Wanted]) -> Self {
        let offset = |wanted: &Wanted| geometry.file_offset(wanted.place.slot, wanted.place.offset);
        let mut in_order: Vec<(usize, &Wanted)> = wanted.iter().enumerate().collect();
        in_order.sort_unstable_by_key(|(_, wanted)| offset(wanted));
        let mut plan = Self { runs: Vec::new(), starts: vec![0; wanted.len()], length: 0 };
        for (index, wanted) in in_order {
            let start = plan.take_in(wanted, offset(wanted));
            if let Some(home) = plan.starts.get_mut(index) {
                *home = start;
            }
        }
        plan
    }

    /// Adds a stretch that begins behind all before. Returns its start in the buffer.
    fn take_in(&mut self, wanted: &Wanted, offset: u64) -> usize {
        let length = wanted.length as usize;
        if let Some(run) = self.runs.last_mut()
            && let Some(gap) = offset.checked_sub(run.offset + run.length as u64)
            && gap <= GAP
        {
            let start = self.length + gap as usize;
            run.length += gap as usize + length;
            self.length = start + length;
            return start;
        }
        let start = self.length;
        self.runs.push(Run { place: wanted.place, offset, length });
        self.length += length;
        start
    }
}

impl LogCore {
    /// Reads stretches of the file into a buffer, which is made as long as that takes. Returns where each
    /// begins. For threads that are pinned since before they looked up the places.
    pub(crate) fn read_many(&self, wanted: &[Wanted], buffer: &mut Vec<u8>) -> Result<Vec<usize>> {
        let plan = Plan::new(self.geometry(), wanted);
        buffer.resize(plan.length, 0);
        self.counters().add(Counter::Read, plan.runs.len() as u64);
        self.counters().add(Counter::ReadBytes, plan.length as u64);
        let mut rest = buffer.as_mut_slice();
        let runs = plan.runs.iter().filter_map(|run| {
            let (bytes, behind) = std::mem::take(&mut rest).split_at_mut_checked(run.length)?;
            rest = behind;
            Some((run.place, bytes))
        });
        self.read_runs(runs.collect())?;
        Ok(plan.starts)
    }

    fn read_runs(&self, runs: Vec<(Place, &mut [u8])>) -> Result<()> {
        let (mut runs, began) = (runs.into_iter(), Instant::now());
        let mut done = 0;
        while let Some((place, bytes)) = runs.next() {
            self.read_slot(place, bytes)?;
            done += 1;
            let left = u32::try_from(runs.len()).unwrap_or(u32::MAX);
            if left > 1 && began.elapsed().saturating_mul(left) / done >= WORTH_THREADS {
                return self.read_side_by_side(runs);
            }
        }
        Ok(())
    }

    #[cold]
    fn read_side_by_side<'b>(
        &self,
        runs: impl ExactSizeIterator<Item = (Place, &'b mut [u8])> + Send,
    ) -> Result<()> {
        let helpers = runs.len().min(THREADS) - 1;
        let runs = Mutex::new(runs);
        let work = || {
            loop {
                // Not in the condition of the loop: the lock would be held while the run is read.
                let run = runs.lock().next();
                let Some((place, bytes)) = run else { return Ok(()) };
                self.read_slot(place, bytes)?;
            }
        };
        threads::with_helpers(helpers, work).into_iter().collect()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::{GAP, Plan, Run, Wanted};
    use crate::geometry::Geometry;
    use crate::ids::SlotId;
    use crate::location::Place;

    const GEOMETRY: Geometry = Geometry::new(1 << 20);

    fn wanted(slot: u32, offset: u32, length: u32) -> Wanted {
        Wanted { place: Place::new(SlotId(slot), offset), length }
    }

    fn run(wanted: Wanted, length: usize) -> Run {
        Run {
            place: wanted.place,
            offset: GEOMETRY.file_offset(wanted.place.slot, wanted.place.offset),
            length,
        }
    }

    #[test]
    fn records_far_apart_are_read_in_the_order_of_the_file() {
        let [last, first, middle] = [wanted(2, 5000, 10), wanted(0, 100, 30), wanted(0, 900_000, 20)];
        let plan = Plan::new(GEOMETRY, &[last, first, middle]);
        assert_eq!(plan.runs, [run(first, 30), run(middle, 20), run(last, 10)]);
        assert_eq!((plan.starts, plan.length), (vec![50, 0, 30], 60));
    }

    #[test]
    fn neighbours_are_read_with_what_lies_between_them_up_to_a_bound() {
        let first = wanted(3, 100, 50);
        let near = wanted(3, 150 + GAP as u32, 20);
        let plan = Plan::new(GEOMETRY, &[near, first]);
        let whole = 50 + GAP as usize + 20;
        assert_eq!(plan.runs, [run(first, whole)]);
        assert_eq!((plan.starts, plan.length), (vec![50 + GAP as usize, 0], whole));
        let beyond = wanted(3, 151 + GAP as u32, 20);
        assert_eq!(Plan::new(GEOMETRY, &[beyond, first]).runs, [run(first, 50), run(beyond, 20)]);
    }

    #[test]
    fn a_run_goes_on_in_the_next_slot_of_the_file() {
        let last = wanted(4, (1 << 20) - 30, 30);
        let next = wanted(5, 200, 40);
        assert_eq!(Plan::new(GEOMETRY, &[next, last]).runs, [run(last, 30 + 200 + 40)]);
    }

    #[test]
    fn nothing_wanted_is_nothing_read() {
        assert_eq!(Plan::new(GEOMETRY, &[]), Plan::default());
    }
}
