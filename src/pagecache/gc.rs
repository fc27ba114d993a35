//! Garbage collection: moving the live records out of a segment, so that it becomes empty.
//!
//! When to clean, and which segment. How one is cleaned is in `clean`.
//!
//! # Pace
//!
//! Writers do the work. Whenever some log has been written, the next writer to come by sees whether the file
//! would have to grow beyond what the live bytes justify. If so it cleans a stretch of a victim: twice as
//! many bytes as were written since the last time, and up to twelve times as many if free segments are nearly
//! used up. So nobody is held up for the length of a segment. A file that may become longer does so in the
//! same steps. What takes a sync is looked after once for each segment that is begun.
//!
//! While one writer is at it the others go on, unless they would use up the stock, or the file is far too
//! long already. Then they wait for it, or for the sync that makes free what is empty, for [`MOMENT`] at
//! most: one that is stopped stops nobody.

use std::ops::ControlFlow;
use std::time::Duration;

use super::clean::{STRETCH, Stretch, Work};
use super::shared::{Inner, PageCache};
use super::shrink::Haste;
use super::survivors::{self, Survivors};
use crate::config::Config;
use crate::error::Result;
use crate::geometry::Geometry;
use crate::ids::{HeadId, SlotId};
use crate::log::{Due, RESERVE, SupplyFigures, claimed_at_once};
use crate::pages::Fragment;
use crate::progress::{Progress, Reporter};
use crate::segments::{Candidate, Chooser};
use crate::sync::{Mutex, MutexGuard, epoch};

/// How many bytes of victims are cleaned for each byte that was written, at leisure and in need.
const LEISURE: usize = 2;
const NEED: usize = 12;
/// How many bytes of a file that may grow are prepared for each byte that was written.
const GROWTH: usize = 2;
/// So many segments behind the stable LSN are left alone when there are others to clean.
const UNSTABLE_SEGMENTS: u64 = 2;
/// A segment is worth cleaning if so large a share of it is dead.
const DEAD_SHARE: f64 = 0.03;
/// A segment is also worth cleaning if so little of it was ever used: its records can share a segment with
/// others, whatever their size.
const LITTLE_SHARE: f64 = 0.25;
/// A file of so many segments has its stock beside what the live bytes justify. Of a longer one, an eighth of
/// what it has more is taken off that.
const SMALL_FILE: u32 = 64;
/// The most steps towards a shorter file that one writer takes when it begins a segment.
const STEPS_OF_SHRINKING: u32 = 4;

/// How long a writer that finds the stock used up waits for the one who cleans, or for a sync. If that takes
/// longer the file grows.
pub(super) const MOMENT: Duration = Duration::from_millis(20);

/// How long whoever compacts waits for readers, if it is for them alone.
const PATIENCE: Duration = Duration::from_secs(1);

/// What the thread works with whose turn it is to clean.
#[derive(Debug)]
pub(super) struct Turn {
    /// The victim that is being cleaned, if there is one.
    pub(super) work: Option<Work>,
    /// The stretch of it that is cleaned.
    pub(super) stretch: Stretch,
    pub(super) survivors: Survivors,
    /// How many stretches were cleaned.
    pub(super) stretches: u64,
    chooser: Chooser,
}

/// Whose turn it is to clean.
#[derive(Debug)]
pub(crate) struct Collector {
    turn: Mutex<Turn>,
    pub(super) space_target: f64,
    pub(super) paced: bool,
    relocation_heads: Option<u8>,
}

impl Collector {
    pub(super) fn new(config: &Config, geometry: Geometry) -> Self {
        let chooser = Chooser::new(config.victim_policy, geometry);
        let (stretch, survivors) = (Stretch::default(), Survivors::new());
        let turn = Turn { work: None, stretch, survivors, stretches: 0, chooser };
        let (space_target, paced) = (config.space_target, config.garbage_collection);
        let relocation_heads = config.relocation_heads;
        Self { turn: Mutex::new(turn), space_target, paced, relocation_heads }
    }

    /// As [`hold`](Self::hold), unless that means waiting.
    pub(super) fn try_hold(&self) -> Option<MutexGuard<'_, Turn>> {
        self.turn.try_lock()
    }

    /// Keeps relocation from happening as long as the returned guard lives.
    pub(super) fn hold(&self) -> MutexGuard<'_, Turn> {
        self.turn.lock()
    }

    /// How many stretches were cleaned. If the number is the same later, nothing was moved in between.
    pub(super) fn stretches(&self) -> u64 {
        self.turn.lock().stretches
    }
}

impl<F: Fragment> PageCache<F> {
    /// One step of garbage collection: cleans at most one segment, or makes the log file shorter if it has
    /// more free segments than the store will soon need. Returns whether there was anything to do. The space
    /// of a segment that was cleaned can be used again, or cut off, after the next flush: so
    /// `while cache.attempt_gc()? { cache.flush()? }` leaves a store that has nothing left to be cleaned, in
    /// a file as long as [`Config::space_target`](crate::Config::space_target) lets it be, or shorter;
    /// [`compact`](Self::compact) leaves nothing beside it. While readers with older guards keep what was
    /// emptied from being used again, no further segment is cleaned: its copies would make the file longer.
    ///
    /// ```
    #[doc = include_str!("../docs/text_pages.txt")]
    #[doc = include_str!("../docs/mostly_dead.txt")]
    /// # let cache = mostly_dead()?;
    /// // Every fourth of 400 pages is left.
    /// let before = cache.size_on_disk();
    /// while cache.attempt_gc()? {
    ///     cache.flush()?;
    /// }
    /// assert!(cache.size_on_disk() < before / 2);
    /// # Ok::<(), pagelog::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Corruption`](crate::Error::Corruption) if a live record is damaged; it stays where it is. I/O
    /// errors; one in writing poisons the instance.
    pub fn attempt_gc(&self) -> Result<bool> {
        self.inner.collect_a_step(Haste::Asked)
    }
}

impl<F: Fragment> PageCache<F> {
    /// Makes the log file about as short as it can be, by steps of [`attempt_gc`](Self::attempt_gc) and
    /// syncs, until these bring nothing more; and then by moving what lies at its end to where there is room,
    /// so that no free segments remain but three, which are kept for making space on a full disk. What the
    /// next writers need has to be added again. Others go on meanwhile. Readers are given a second to drop
    /// their guards; what one that stays keeps from being used again is left as it is. Returns by how many
    /// bytes the file is shorter.
    ///
    /// `progress` is told after each step how many of the dead bytes that were there are gone; `Break` ends
    /// it, and what was done until then stays.
    ///
    /// ```
    #[doc = include_str!("../docs/text_pages.txt")]
    #[doc = include_str!("../docs/mostly_dead.txt")]
    /// # let cache = mostly_dead()?;
    /// use std::ops::ControlFlow;
    ///
    /// // Every fourth of 400 pages is left.
    /// let before = cache.size_on_disk();
    /// let shorter_by = cache.compact(|_| ControlFlow::Continue(()))?;
    /// assert!(shorter_by > before / 2);
    /// assert_eq!(cache.size_on_disk(), before - shorter_by);
    /// # Ok::<(), pagelog::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`attempt_gc`](Self::attempt_gc) and [`flush`](Self::flush), and
    /// [`Cancelled`](crate::Error::Cancelled).
    pub fn compact(&self, mut progress: impl FnMut(Progress) -> ControlFlow<()>) -> Result<u64> {
        let mut reporter = Reporter::new(&mut progress);
        let live = self.inner.core.accountant().live_bytes();
        let (before, slots) = (self.size_on_disk(), self.inner.core.supply().figures().slots);
        reporter.begin(before.saturating_sub(live))?;
        // Each step cleans a segment, or cuts some off. Others may make more to clean all the time, so it has
        // a bound.
        for _ in 0..2 * u64::from(slots) + 8 {
            self.flush()?;
            if !self.inner.collect_a_step(Haste::Compacting)? && !self.inner.has_outlasted_readers() {
                break;
            }
            reporter.advance_to(before.saturating_sub(self.size_on_disk()))?;
        }
        self.flush()?;
        reporter.finish()?;
        Ok(before.saturating_sub(self.size_on_disk()))
    }
}

impl<F: Fragment> Inner<F> {
    /// Takes a step for somebody who asks for it. Returns whether there was one to take.
    fn collect_a_step(&self, haste: Haste) -> Result<bool> {
        self.core.gate().admit_flush()?;
        let mut turn = self.collector.hold();
        self.core.supply().harvest(&self.core);
        self.core.large().reap(&self.core);
        let done = self.shrink_by_a_step(&mut turn, Haste::Asked)?
            || self.clean_best(&mut turn)?
            || (haste == Haste::Compacting && self.shrink_by_a_step(&mut turn, haste)?);
        self.core.supply().harvest(&self.core);
        Ok(done)
    }

    /// Whether segments waited for readers that have gone now.
    fn has_outlasted_readers(&self) -> bool {
        let figures = self.core.supply().figures();
        figures.emptied > figures.kept && epoch::outlasted(PATIENCE)
    }

    /// A writer's share of the work.
    pub(super) fn pace_collection(&self, due: Due) -> Result<()> {
        self.pace_growth()?;
        if !self.collector.paced {
            return Ok(());
        }
        let Some(mut turn) = self.turn_of_a_writer() else {
            self.core.put_off(due);
            return Ok(());
        };
        let full = self.core.supply().figures().full;
        if due == Due::Segment && self.is_short_of_space() && (full || self.much_is_not_stable()) {
            // Only what is stable can be cleaned, and users may flush seldom or never.
            self.core.sync_in_passing()?;
            self.core.supply().harvest(&self.core);
        }
        self.clean_in_passing(&mut turn)?;
        if due == Due::Segment {
            self.look_after_the_file(&mut turn)?;
        }
        // Writers claim until the next step.
        self.spare_the_reserve()
    }

    /// A writer leaves the work to whoever is at it, unless that is not enough: then it waits, and does its
    /// share afterwards.
    fn turn_of_a_writer(&self) -> Option<MutexGuard<'_, Turn>> {
        let hold = self.collector.try_hold();
        let is_too_much = || self.is_out_of_stock() || self.is_far_too_long();
        hold.or_else(|| is_too_much().then(|| self.collector.turn.try_lock_for(MOMENT)).flatten())
    }

    fn clean_in_passing(&self, turn: &mut Turn) -> Result<()> {
        let share = self.core.step_bytes();
        let mut left = self.urgency() * share;
        while left > 0 {
            self.spare_the_reserve()?;
            if turn.work.is_none() {
                if !self.is_short_of_space() {
                    break;
                }
                if !self.take_best(turn) {
                    break;
                }
            }
            self.clean_stretch(turn, left.min(share))?;
            left -= left.min(share);
        }
        Ok(())
    }

    /// How many bytes are to be cleaned for each byte that was written.
    fn urgency(&self) -> usize {
        let figures = self.core.supply().figures();
        let (low, stock) = (Self::low_water(&figures) as usize, (figures.free + figures.emptied) as usize);
        LEISURE + (NEED - LEISURE) * low.saturating_sub(stock) / low.max(1)
    }

    fn look_after_the_file(&self, turn: &mut Turn) -> Result<()> {
        let figures = self.core.supply().figures();
        if figures.emptied > figures.kept && (figures.full || figures.free <= Self::low_water(&figures)) {
            // What was emptied becomes free when its killers are stable: rather a sync than a larger file.
            self.core.sync_in_passing()?;
            self.core.supply().harvest(&self.core);
        }
        for _ in 0..STEPS_OF_SHRINKING {
            if !self.shrink_by_a_step(turn, Haste::Paced)? {
                break;
            }
        }
        Ok(())
    }

    /// Copies take free segments before those that they come from are free. When few are left, rather a sync,
    /// that makes those free which are empty by now, than a larger file.
    fn spare_the_reserve(&self) -> Result<()> {
        if self.has_few_left() && self.core.supply().harvest(&self.core) > 0 && self.has_few_left() {
            self.core.sync_within(MOMENT)?;
            self.core.supply().harvest(&self.core);
        }
        Ok(())
    }

    /// Whether the next claims will find no free segment, though some are empty.
    fn has_few_left(&self) -> bool {
        let figures = self.core.supply().figures();
        figures.emptied > figures.kept && figures.free <= RESERVE as u32 + 1
    }

    /// Whether the file will become longer than its live bytes justify unless something is done at once.
    fn is_out_of_stock(&self) -> bool {
        self.core.supply().figures().free <= RESERVE as u32 + 1 && self.is_as_long_as_justified()
    }

    /// Whether so much of the log is not stable that the segments best cleaned may be there.
    fn much_is_not_stable(&self) -> bool {
        let stable = self.core.durability().stable(HeadId::FRESH);
        let lag = self.core.tail().0.saturating_sub(stable.0);
        lag > UNSTABLE_SEGMENTS * u64::from(self.core.geometry().segment_size())
    }

    /// A share of making the file longer, if it may become so.
    fn pace_growth(&self) -> Result<()> {
        if self.collector.paced && self.is_as_long_as_justified() {
            return Ok(());
        }
        // More than is written meanwhile, so that a segment's worth is there in time.
        let bytes = u32::try_from(GROWTH * self.core.step_bytes()).unwrap_or(u32::MAX);
        self.core.supply().prepare(&self.core, bytes)
    }

    /// Whether another segment would be more than the live bytes justify.
    fn is_as_long_as_justified(&self) -> bool {
        let figures = self.core.supply().figures();
        let justified = self.justified_by(self.core.accountant().live_bytes());
        f64::from(figures.slots) + 1.0 > justified + f64::from(self.beside(&figures))
    }

    /// Whether the next segments would make the file larger than its live bytes justify.
    fn is_short_of_space(&self) -> bool {
        let figures = self.core.supply().figures();
        let low = Self::low_water(&figures);
        if figures.free + figures.emptied > low {
            return false;
        }
        figures.full || self.is_as_long_as_justified()
    }

    /// So many segments are justified by so many live bytes.
    pub(super) fn justified_by(&self, live: u64) -> f64 {
        self.collector.space_target * live as f64 / f64::from(self.core.geometry().segment_size())
    }

    /// The heads that are written now.
    pub(super) fn heads_in_use(&self, figures: &SupplyFigures) -> u8 {
        survivors::heads_in_use(figures, self.core.geometry().heads(), self.collector.relocation_heads)
    }

    /// Free segments, or such that will be, that cleaning keeps in stock: the reserve, the next claim, and
    /// one that a victim's copies take before it is free itself. What they take beyond that a sync brings
    /// back in time.
    pub(super) fn low_water(figures: &SupplyFigures) -> u32 {
        RESERVE as u32 + claimed_at_once(figures.slots) + 1
    }

    /// Segments that the file may have beside those that its live bytes justify: one for each head, for these
    /// are filled in part, and one to round up. A small file has its stock, too. A longer one has it out of
    /// what the target leaves to dead records. Whoever can't wait for the stock makes the file longer all the
    /// same, but seldom by more than one segment.
    pub(super) fn beside(&self, figures: &SupplyFigures) -> u32 {
        let stock = Self::low_water(figures).saturating_sub(figures.slots.saturating_sub(SMALL_FILE) / 8);
        u32::from(self.heads_in_use(figures)) + 1 + stock
    }

    /// Takes the best victim, if there is one worth it.
    pub(super) fn take_best(&self, turn: &mut Turn) -> bool {
        let guard = epoch::pin();
        let (core, stable) = (&self.core, self.core.durability().all_stable());
        let is_worthwhile = |victim: &Candidate| self.is_worthwhile(victim);
        let victim = turn.chooser.next(core.accountant(), &stable, core.tail(), is_worthwhile);
        victim.is_some_and(|victim| self.begin_cleaning(&victim, &guard, turn))
    }

    /// Cleans what is being cleaned to its end, or else the best victim, if there is one worth it. Not if its
    /// copies would make the file longer while there are segments that are empty, and only wait for readers:
    /// as long as these stay, each victim would.
    pub(super) fn clean_best(&self, turn: &mut Turn) -> Result<bool> {
        if turn.work.is_none() {
            self.spare_the_reserve()?;
            let figures = self.core.supply().figures();
            let waits = figures.emptied > figures.kept && figures.free <= RESERVE as u32 + 1;
            if waits || !self.take_best(turn) {
                return Ok(false);
            }
        }
        self.finish_cleaning(turn).map(|()| true)
    }

    /// Cleans the segment in a slot, whether it is worth it or not. False if that can't be done now.
    pub(super) fn clean_slot(&self, slot: SlotId, turn: &mut Turn) -> Result<bool> {
        self.finish_cleaning(turn)?;
        let guard = epoch::pin();
        let stable = self.core.durability().all_stable();
        let Some(victim) = self.core.accountant().candidate(slot, &stable) else { return Ok(false) };
        let is_taken = self.begin_cleaning(&victim, &guard, turn);
        self.finish_cleaning(turn)?;
        Ok(is_taken)
    }

    fn finish_cleaning(&self, turn: &mut Turn) -> Result<()> {
        while turn.work.is_some() {
            self.spare_the_reserve()?;
            self.clean_stretch(turn, STRETCH)?;
        }
        Ok(())
    }

    fn is_worthwhile(&self, victim: &Candidate) -> bool {
        let segment = f64::from(self.core.geometry().segment_size());
        let dead = victim.filled.saturating_sub(victim.live);
        dead as f64 > DEAD_SHARE * segment || (victim.live as f64) < LITTLE_SHARE * segment
    }
}
