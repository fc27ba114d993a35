//! Which segment to clean next.
//!
//! # The policies
//!
//! Cleaning a segment of size `s` with `live` bytes gains its empty part, `e = (s - live) / s`, and costs copying the rest. What
//! makes it hard is that to wait may be better: a segment whose bytes die quickly will soon be cheaper.
//!
//! * *Greedy*: the fewest live bytes. The optimum if all bytes die equally fast.
//! * *Cost-benefit*: the highest `e * age / (2 - e)`. Old segments are taken while they are still rather full, for they will hardly
//!   get emptier; young ones are left alone. (Rosenblum and Ousterhout, "The Design and Implementation of a Log-Structured File
//!   System", 1992.)
//! * *Minimum declining cost*: cleaning costs `2 / e` for each byte gained. That declines as bytes die, with a rate `r`, by
//!   `2 r / (s e^2)`; so the segment with the smallest `r / e^2` is the one that waiting improves least. (Lomet and Luo,
//!   "Efficiently Reclaiming Space in a Log Structured Store", ICDE 2021.)
//!
//! # How fast bytes die
//!
//! Those who supersede records note nothing for this: their live counters are enough. Each look at all segments compares what is
//! live with what was at an earlier look. So
//!
//! - **(A)** An estimate is made anew when an eighth of the segment has died since the last one ([`SHARE`]), so that the grain
//!   of single records does not matter; it is the mean of the old estimate and what was seen since.
//! - **(B)** If less has died for longer than the estimate would have it, the estimate is too high: then what was seen since
//!   counts alone.
//! - **(C)** The first estimate is over the segment's life so far, from its first byte. Time is the LSN of the newest record.
//! - **(D)** What was seen is about the bytes that died; those that are left may be others, for where some die quickly the rest has
//!   outlived them. As a rule they live on for about as long as they have lived. The rate is the mean of what was seen and of what
//!   follows from that. (Measured, each alone moves up to 4 % more than both.)
//!
//! # Many segments
//!
//! A look at all segments takes time in proportion to their number. So each look chooses several victims, the more the more segments
//! there are; each is looked at again when its turn comes.

use std::cmp::Ordering;
use std::collections::VecDeque;

use crate::config::VictimPolicy;
use crate::geometry::Geometry;
use crate::ids::{HeadLsns, Lsn, SegmentId, SlotId};
use crate::segments::accountant::{Candidate, SegmentAccountant};

/// Which share of a segment has to die for a new estimate.
const SHARE: u32 = 8;
/// One victim is chosen in one look for so many slots,
const SLOTS_FOR_ONE: usize = 256;
/// but no more than so many.
const MOST_AT_ONCE: usize = 64;

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
}

impl Chooser {
    pub(crate) fn new(policy: VictimPolicy, geometry: Geometry) -> Self {
        Self { policy, geometry, seen: Vec::new(), chosen: VecDeque::new() }
    }

    /// The segment that is best cleaned next, of those that are worth it.
    pub(crate) fn next(
        &mut self,
        accountant: &SegmentAccountant,
        stable: &HeadLsns,
        now: Lsn,
        is_worthwhile: impl Fn(&Candidate) -> bool,
    ) -> Option<Candidate> {
        for look in [false, true] {
            if look {
                self.look(accountant, stable, now, &is_worthwhile);
            }
            while let Some((slot, segment)) = self.chosen.pop_front() {
                // It may be empty by now, or another segment; but it can't be less worth it.
                let candidate = accountant.candidate(slot, stable);
                if let Some(candidate) = candidate.filter(|candidate| candidate.segment == segment) {
                    return Some(candidate);
                }
            }
        }
        None
    }

    fn look(
        &mut self,
        accountant: &SegmentAccountant,
        stable: &HeadLsns,
        now: Lsn,
        is_worthwhile: impl Fn(&Candidate) -> bool,
    ) {
        let slots = accountant.bound() as usize;
        let wanted = (slots / SLOTS_FOR_ONE).clamp(1, MOST_AT_ONCE);
        let mut scored = Vec::new();
        for candidate in accountant.candidates(stable) {
            // Also of those that are not worth it: what is seen of them now tells how fast they decline.
            let score = self.score(&candidate, now);
            if is_worthwhile(&candidate) {
                scored.push((score, candidate));
            }
        }
        self.chosen = best(scored, wanted).map(|candidate| (candidate.slot, candidate.segment)).collect();
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

/// The best of the candidates, best first; of equals the older.
fn best(mut scored: Vec<(f64, Candidate)>, wanted: usize) -> impl Iterator<Item = Candidate> {
    let best_first =
        |(score, candidate): &(f64, Candidate), (other_score, other): &(f64, Candidate)| -> Ordering {
            other_score.total_cmp(score).then(candidate.segment.cmp(&other.segment))
        };
    if wanted < scored.len() {
        scored.select_nth_unstable_by(wanted, best_first);
        scored.truncate(wanted);
    }
    scored.sort_unstable_by(best_first);
    scored.into_iter().map(|(_, candidate)| candidate)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::{Chooser, Seen};
    use crate::config::VictimPolicy;
    use crate::geometry::Geometry;
    use crate::ids::{HeadId, HeadLsns, Lsn, SegmentId, SlotId};
    use crate::segments::accountant::{Candidate, SegmentAccountant};

    const SIZE: u32 = 1000;
    const STABLE: HeadLsns = [Lsn(u64::MAX); HeadId::MAXIMUM];

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
}
