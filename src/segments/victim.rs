//! Which segment to clean next.
//!
//! # The policies
//!
//! Cleaning a segment of size `s` with `live` bytes gains its empty part, `e = (s - live) / s`, and costs
//! copying the rest. What makes it hard is that to wait may be better: a segment whose bytes die quickly will
//! soon be cheaper.
//!
//! * *Greedy*: the fewest live bytes. The optimum if all bytes die equally fast.
//! * *Cost-benefit*: the highest `e * age / (2 - e)`. Old segments are taken while they are still rather
//!   full, for they will hardly get emptier; young ones are left alone. (Rosenblum and Ousterhout, "The
//!   Design and Implementation of a Log-Structured File System", 1992.)
//! * *Minimum declining cost*: cleaning costs `2 / e` for each byte gained. That declines as bytes die, with
//!   a rate `r`, by `2 r / (s e^2)`; so the segment with the smallest `r / e^2` is the one that waiting
//!   improves least. (Lomet and Luo, "Efficiently Reclaiming Space in a Log Structured Store", ICDE 2021.)
//!
//! # How fast bytes die
//!
//! Those who supersede records note nothing for this: their live counters are enough. Each look at all
//! segments compares what is live with what was at an earlier look. So
//!
//! - **(A)** An estimate is made anew when an eighth of the segment has died since the last one ([`SHARE`]),
//!   so that the grain of single records does not matter; it is the mean of the old estimate and what was
//!   seen since.
//! - **(B)** If less has died for longer than the estimate would have it, the estimate is too high: then what
//!   was seen since counts alone.
//! - **(C)** The first estimate is over the segment's life so far, from its first byte. Time is the LSN of
//!   the newest record.
//! - **(D)** What was seen is about the bytes that died; those that are left may be others, for where some
//!   die quickly the rest has outlived them. As a rule they live on for about as long as they have lived. The
//!   rate is the mean of what was seen and of what follows from that. (Measured, each alone moves up to 4 %
//!   more than both.)
//!
//! # Many segments
//!
//! A look at all segments takes time in proportion to their number. So
//!
//! - **(E)** each look chooses one victim in so many slots ([`SLOTS_FOR_ONE`]), however many there are: that
//!   makes a constant for each victim. Each is looked at again when its turn comes.
//! - **(F)** Where there are so many that a look would hold up whoever collects ([`SLOTS_AT_ONCE`]), the next
//!   one is taken a stretch at a time, with each victim of the last one that is handed out, and is over
//!   before these are. Only the first, after opening, is taken at once. What it finds is older by then, by as
//!   long as it takes to clean one segment in so many.

use std::cmp::Ordering;
use std::collections::VecDeque;

use crate::config::VictimPolicy;
use crate::geometry::Geometry;
use crate::ids::{HeadLsns, Lsn, SegmentId, SlotId};
use crate::segments::accountant::{Candidate, SegmentAccountant};

/// Which share of a segment has to die for a new estimate.
const SHARE: u32 = 8;
/// One victim is chosen in one look for so many slots (E).
const SLOTS_FOR_ONE: usize = 256;
/// A look at more slots than this is taken in stretches (F),
const SLOTS_AT_ONCE: u32 = 8192;
/// of so many: so it is over when half of the victims of the last one are left.
const STRETCH: u32 = 2 * SLOTS_FOR_ONE as u32;

/// What is known of how fast the bytes of a slot die.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    segment: SegmentId,
    at: Lsn,
    live: u32,
    /// Bytes that die while the log grows by one, as last estimated; 0 if it was not yet.
    rate: f32,
}

impl Seen {
    /// The rate at which bytes of the candidate die, having looked at it now.
    fn look(&mut self, candidate: &Candidate, geometry: Geometry, now: Lsn) -> f64 {
        if self.segment != candidate.segment {
            // A segment is below 2^26 bytes long (C).
            let (at, live) = (geometry.base(candidate.segment), candidate.filled as u32);
            *self = Self { segment: candidate.segment, at, live, rate: 0.0 };
        }
        let died = f64::from(self.live).max(candidate.live as f64) - candidate.live as f64;
        let elapsed = now.0.saturating_sub(self.at.0).max(1) as f64;
        let share = f64::from(geometry.segment_size() / SHARE);
        let (seen, before) = (died / elapsed, f64::from(self.rate));
        if died >= share {
            let rate = if before > 0.0 { (before + seen) / 2.0 } else { seen };
            *self = Self { at: now, live: candidate.live as u32, rate: rate as f32, ..*self };
            return rate;
        }
        // (B); half a share is what is about to die on average.
        let at_most = (died + share / 2.0) / elapsed;
        if before > 0.0 { before.min(at_most) } else { at_most }
    }
}

/// Chooses victims, one after the other. There is one for each instance, in the hands of whoever collects.
#[derive(Debug)]
pub(crate) struct Chooser {
    policy: VictimPolicy,
    geometry: Geometry,
    /// By slot.
    seen: Vec<Seen>,
    /// Chosen in the last look and not yet cleaned, the best first.
    chosen: VecDeque<(SlotId, SegmentId)>,
    /// By slot, whether it is one of them: the next look leaves these out.
    waiting: Vec<bool>,
    /// The next look, as far as it has come.
    look: Look,
}

/// A look at all segments.
#[derive(Debug, Default)]
struct Look {
    /// The slots below were looked at.
    next: u32,
    /// What is best of them, and some more, in no order.
    scored: Vec<(f64, Candidate)>,
}

impl Chooser {
    pub(crate) fn new(policy: VictimPolicy, geometry: Geometry) -> Self {
        let (seen, chosen, waiting) = (Vec::new(), VecDeque::new(), Vec::new());
        Self { policy, geometry, seen, chosen, waiting, look: Look::default() }
    }

    /// The segment that is best cleaned next, of those that are worth it.
    pub(crate) fn next(
        &mut self,
        accountant: &SegmentAccountant,
        stable: &HeadLsns,
        now: Lsn,
        is_worthwhile: impl Fn(&Candidate) -> bool,
    ) -> Option<Candidate> {
        let slots = accountant.bound();
        if let Some(candidate) = self.pop(accountant, stable) {
            if slots > SLOTS_AT_ONCE {
                self.look_on(STRETCH, accountant, stable, now, &is_worthwhile);
            }
            return Some(candidate);
        }
        loop {
            let is_new = self.look.next == 0;
            self.look_on(slots, accountant, stable, now, &is_worthwhile);
            self.choose(slots);
            let found = self.pop(accountant, stable);
            // All that an older look has found may be something else by now.
            if found.is_some() || is_new {
                return found;
            }
        }
    }

    /// The next one of those that were chosen.
    fn pop(&mut self, accountant: &SegmentAccountant, stable: &HeadLsns) -> Option<Candidate> {
        while let Some((slot, segment)) = self.chosen.pop_front() {
            self.set_waiting(slot, false);
            // It may be empty by now, or another segment; but it can't be less worth it.
            let candidate = accountant.candidate(slot, stable);
            if let Some(candidate) = candidate.filter(|candidate| candidate.segment == segment) {
                return Some(candidate);
            }
        }
        None
    }

    /// Looks at so many more slots, as far as there are.
    fn look_on(
        &mut self,
        more: u32,
        accountant: &SegmentAccountant,
        stable: &HeadLsns,
        now: Lsn,
        is_worthwhile: impl Fn(&Candidate) -> bool,
    ) {
        let slots = accountant.bound();
        let (from, to) = (self.look.next, self.look.next.saturating_add(more).min(slots));
        let wanted = wanted(slots);
        for candidate in accountant.candidates(from..to, stable) {
            // Also of those that are not worth it: what is seen of them now tells how fast they decline.
            let score = self.score(&candidate, now);
            if is_worthwhile(&candidate) && !self.is_waiting(candidate.slot) {
                self.look.scored.push((score, candidate));
                // Seldom, so that it costs little for each.
                if self.look.scored.len() >= 2 * wanted + STRETCH as usize {
                    keep_best(&mut self.look.scored, wanted);
                }
            }
        }
        self.look.next = to;
    }

    /// Ends a look: chooses what is best, and begins anew.
    fn choose(&mut self, slots: u32) {
        let mut look = std::mem::take(&mut self.look);
        keep_best(&mut look.scored, wanted(slots));
        look.scored.sort_unstable_by(best_first);
        for (_, candidate) in look.scored {
            self.chosen.push_back((candidate.slot, candidate.segment));
            self.set_waiting(candidate.slot, true);
        }
    }

    fn is_waiting(&self, slot: SlotId) -> bool {
        self.waiting.get(slot.0 as usize).is_some_and(|waiting| *waiting)
    }

    fn set_waiting(&mut self, slot: SlotId, waiting: bool) {
        let at = slot.0 as usize;
        if self.waiting.len() <= at {
            self.waiting.resize(at + 1, false);
        }
        if let Some(flag) = self.waiting.get_mut(at) {
            *flag = waiting;
        }
    }

    /// How long ago a segment was begun, by the growth of the log.
    fn age(&self, candidate: &Candidate, now: Lsn) -> f64 {
        now.0.saturating_sub(self.geometry.base(candidate.segment).0).max(1) as f64
    }

    /// The higher, the sooner.
    fn score(&mut self, candidate: &Candidate, now: Lsn) -> f64 {
        let size = f64::from(self.geometry.segment_size());
        let empty = 1.0 - (candidate.live as f64 / size).min(1.0);
        match self.policy {
            VictimPolicy::Greedy => empty,
            VictimPolicy::CostBenefit => empty * self.age(candidate, now) / (2.0 - empty),
            VictimPolicy::MinimumDecliningCost => {
                let at = candidate.slot.0 as usize;
                if self.seen.len() <= at {
                    self.seen.resize(at + 1, Seen::default());
                }
                let seen = self.seen.get_mut(at).map_or(0.0, |seen| seen.look(candidate, self.geometry, now));
                // (D)
                let by_age = candidate.live as f64 / self.age(candidate, now);
                -(seen + by_age) / 2.0 / (empty * empty)
            }
        }
    }
}

/// How many victims a look at so many slots chooses (E).
fn wanted(slots: u32) -> usize {
    (slots as usize / SLOTS_FOR_ONE).max(1)
}

/// Of equals the older one.
fn best_first((score, candidate): &(f64, Candidate), (other_score, other): &(f64, Candidate)) -> Ordering {
    other_score.total_cmp(score).then(candidate.segment.cmp(&other.segment))
}

/// Drops all but so many, the best.
fn keep_best(scored: &mut Vec<(f64, Candidate)>, wanted: usize) {
    if wanted < scored.len() {
        scored.select_nth_unstable_by(wanted, best_first);
        scored.truncate(wanted);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::{Chooser, SLOTS_AT_ONCE, Seen, wanted};
    use crate::config::VictimPolicy;
    use crate::geometry::Geometry;
    use crate::ids::{HeadId, HeadLsns, Lsn, SegmentId, SlotId};
    use crate::segments::accountant::{Candidate, SegmentAccountant};

    const SIZE: u32 = 1000;
    const STABLE: HeadLsns = [Lsn(u64::MAX); HeadId::COUNT];

    fn chooser(policy: VictimPolicy) -> Chooser {
        Chooser::new(policy, Geometry::new(SIZE))
    }

    /// Full segments, 1 in slot 1 and so on.
    fn accountant(segments: u32) -> SegmentAccountant {
        let accountant = SegmentAccountant::new();
        for slot in 1..=segments {
            accountant.open(SlotId(slot), SegmentId(slot.into()), HeadId::FRESH);
            accountant.credit(SlotId(slot), SIZE.into(), true, Lsn(0));
        }
        accountant
    }

    fn kill(accountant: &SegmentAccountant, slot: u32, bytes: u32) {
        accountant.kill(SlotId(slot), bytes, HeadId::FRESH, Lsn(0));
    }

    fn next(chooser: &mut Chooser, accountant: &SegmentAccountant, now: u64) -> Option<u64> {
        let found = chooser.next(accountant, &STABLE, Lsn(now), |victim| victim.live < victim.filled)?;
        Some(found.segment.0)
    }

    #[test]
    fn greedy_takes_the_emptiest_and_of_equals_the_oldest() {
        let (mut chooser, accountant) = (chooser(VictimPolicy::Greedy), accountant(5));
        for (slot, bytes) in [(1, 500), (2, 900), (3, 100), (4, 900)] {
            kill(&accountant, slot, bytes);
        }
        let mut order = Vec::new();
        while let Some(segment) = next(&mut chooser, &accountant, 9000) {
            order.push(segment);
            assert!(accountant.begin_cleaning(SlotId(segment as u32)));
        }
        // The fifth is not worth it.
        assert_eq!(order, [2, 4, 1, 3]);
    }

    #[test]
    fn cost_benefit_prefers_an_old_segment_to_a_young_one_that_is_a_little_emptier() {
        let (mut chooser, accountant) = (chooser(VictimPolicy::CostBenefit), accountant(8));
        kill(&accountant, 1, 400);
        kill(&accountant, 8, 500);
        assert_eq!(next(&mut chooser, &accountant, 9000), Some(1));
        kill(&accountant, 8, 490);
        assert_eq!(next(&mut chooser, &accountant, 100_000), Some(8));
    }

    #[test]
    fn minimum_declining_cost_leaves_alone_what_is_getting_emptier_by_itself() {
        let (mut chooser, accountant) = (chooser(VictimPolicy::MinimumDecliningCost), accountant(2));
        // Half of each is dead; the first died long ago, the second is dying.
        kill(&accountant, 1, 500);
        kill(&accountant, 2, 200);
        assert_eq!(next(&mut chooser, &accountant, 5000), Some(1));
        for now in 1..=3 {
            kill(&accountant, 2, 130);
            assert_eq!(next(&mut chooser, &accountant, 20_000 + 200 * now), Some(1));
        }
        // Nothing dies there any more, for as long again: now it is the emptier one.
        assert_eq!(next(&mut chooser, &accountant, 900_000), Some(2));
        // A new life of the slot is another segment, of which nothing is known.
        kill(&accountant, 2, 410);
        assert_eq!(accountant.take_empties().count(), 1);
        accountant.open(SlotId(2), SegmentId(900), HeadId::FRESH);
        accountant.credit(SlotId(2), 900, true, Lsn(0));
        kill(&accountant, 2, 550);
        assert_eq!(next(&mut chooser, &accountant, 901_000), Some(1));
    }

    #[test]
    fn an_estimate_follows_what_dies_and_sinks_when_nothing_does() {
        let geometry = Geometry::new(SIZE);
        let mut seen = Seen::default();
        let mut look_at = |segment: u64, live: u64, now: u64| {
            let (slot, segment, head) = (SlotId(0), SegmentId(segment), HeadId::FRESH);
            let candidate = Candidate { slot, segment, head, live, filled: 1000 };
            seen.look(&candidate, geometry, Lsn(now))
        };
        let mut look = |live: u64, now: u64| look_at(1, live, now);
        let near = |found: f64, expected: f64| assert!((found / expected - 1.0).abs() < 0.01, "{found}");
        near(look(800, 2000), 0.2);
        // Too little for a new estimate, and no reason to think that it was wrong.
        near(look(790, 2050), 0.2);
        // 0.4 since then, so the mean.
        near(look(600, 2500), 0.3);
        near(look(600, 12_500), 62.5 / 10_000.0);
        // Of a new life of the slot nothing is known yet.
        near(look_at(13, 500, 15_000), 500.0 / 2000.0);
    }

    #[test]
    fn several_are_chosen_at_a_time_and_looked_at_again_when_their_turn_comes() {
        let (mut chooser, accountant) = (chooser(VictimPolicy::Greedy), accountant(1030));
        (1..=6).for_each(|slot| kill(&accountant, slot, 500 + slot));
        assert_eq!(next(&mut chooser, &accountant, 0), Some(6));
        // Emptier than those that were chosen with it, but they come first.
        kill(&accountant, 1, 100);
        // One of them is empty by now.
        kill(&accountant, 5, 495);
        assert_eq!(next(&mut chooser, &accountant, 0), Some(4));
        // And one is another segment.
        kill(&accountant, 3, 497);
        assert_eq!(accountant.take_empties().count(), 2);
        accountant.open(SlotId(3), SegmentId(2000), HeadId::FRESH);
        accountant.credit(SlotId(3), 900, true, Lsn(0));
        assert_eq!(next(&mut chooser, &accountant, 0), Some(1));
    }

    /// Story: however many segments there were, a look chose 64 at most, and was taken at once. So each
    /// victim cost more the larger the store was, and with a tebibyte of segments a writer stood still for as
    /// long as a look at a million takes.
    #[test]
    #[cfg(not(jitter))]
    fn a_victim_takes_no_more_looks_in_a_large_store_than_in_a_small_one() {
        use super::SLOTS_FOR_ONE;
        use crate::sync::noted::recorded;

        let looks = |segments: u32| {
            let (mut chooser, accountant) = (chooser(VictimPolicy::Greedy), accountant(segments));
            (1..=segments).for_each(|slot| kill(&accountant, slot, 1 + slot % 997));
            let (mut all, mut most) = (0, 0);
            let victims = 3 * segments / SLOTS_FOR_ONE as u32;
            for victim in 0..victims {
                let mut found = None;
                let accesses = recorded(|| found = next(&mut chooser, &accountant, 0)).len();
                assert!(accountant.begin_cleaning(SlotId(found.unwrap() as u32)));
                all += accesses;
                // The very first one looks at all.
                if victim > 0 {
                    most = most.max(accesses);
                }
            }
            (all / victims as usize, most)
        };
        let ((few, _), (many, most)) = (looks(4096), looks(40_000));
        assert!(many < 2 * few, "{few} accesses for a victim of 4096 segments, {many} of 40000");
        assert!(most < 4 * few, "{few} accesses for a victim on average, {most} at most");
    }

    #[test]
    fn a_look_in_stretches_chooses_what_one_at_once_would() {
        let segments = SLOTS_AT_ONCE + 1000;
        let (mut chooser, accountant) = (chooser(VictimPolicy::Greedy), accountant(segments));
        // All differ, and the emptiest lie all over the file.
        let dead = |slot: u32| 1 + slot * 7919 % segments % 990;
        (1..=segments).for_each(|slot| kill(&accountant, slot, dead(slot)));
        let mut order = Vec::new();
        for _ in 0..2 * wanted(segments) {
            let segment = next(&mut chooser, &accountant, 0).unwrap();
            assert!(accountant.begin_cleaning(SlotId(segment as u32)));
            order.push(dead(segment as u32));
        }
        assert!(order.is_sorted_by(|one, other| one >= other), "{order:?}");
    }
}
