//! Which segment to clean next. A policy gives each candidate a score; the rest of the store knows no more of it.

use std::cmp::Ordering;

use crate::ids::{HeadId, SegmentId, SlotId};

/// A segment that may be cleaned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) slot: SlotId,
    pub(crate) segment: SegmentId,
    pub(crate) head: HeadId,
    /// Live bytes: what cleaning has to move.
    pub(crate) live: u64,
    /// The bytes of all records, dead ones included.
    pub(crate) filled: u64,
    /// How many segments were claimed since this one: the store's clock.
    pub(crate) age: u64,
}

/// Says which candidates are best cleaned.
pub(crate) trait VictimPolicy {
    /// The higher, the sooner.
    fn score(&self, candidate: &Candidate) -> f64;
}

/// The segment with the fewest live bytes first: the least work for the most space. The optimum if all pages are written
/// equally often.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Greedy;

impl VictimPolicy for Greedy {
    fn score(&self, candidate: &Candidate) -> f64 {
        -(candidate.live as f64)
    }
}

/// The best of the candidates, best first; of equals the older.
pub(super) fn choose(
    candidates: impl Iterator<Item = Candidate>,
    policy: &dyn VictimPolicy,
    wanted: usize,
) -> Vec<Candidate> {
    let mut scored: Vec<(f64, Candidate)> =
        candidates.map(|candidate| (policy.score(&candidate), candidate)).collect();
    let best_first =
        |(score, candidate): &(f64, Candidate), (other_score, other): &(f64, Candidate)| -> Ordering {
            other_score.total_cmp(score).then(candidate.segment.cmp(&other.segment))
        };
    if wanted < scored.len() {
        scored.select_nth_unstable_by(wanted, best_first);
        scored.truncate(wanted);
    }
    scored.sort_unstable_by(best_first);
    scored.into_iter().map(|(_, candidate)| candidate).collect()
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::{Candidate, Greedy, VictimPolicy, choose};
    use crate::ids::{HeadId, SegmentId, SlotId};

    fn candidate(segment: u64, live: u64) -> Candidate {
        let slot = SlotId(segment as u32);
        Candidate {
            slot,
            segment: SegmentId(segment),
            head: HeadId::FRESH,
            live,
            filled: 100,
            age: 100 - segment,
        }
    }

    fn segments(policy: &dyn VictimPolicy, wanted: usize) -> Vec<u64> {
        let candidates = [candidate(1, 50), candidate(2, 10), candidate(3, 90), candidate(4, 10)];
        choose(candidates.into_iter(), policy, wanted).iter().map(|chosen| chosen.segment.0).collect()
    }

    #[test]
    fn greedy_takes_the_emptiest_and_of_equals_the_oldest() {
        assert_eq!(segments(&Greedy, 9), [2, 4, 1, 3]);
        assert_eq!(segments(&Greedy, 3), [2, 4, 1]);
        assert_eq!(segments(&Greedy, 0), [0; 0]);
    }

    #[test]
    fn another_policy_takes_its_place_without_further_ado() {
        struct Oldest;
        impl VictimPolicy for Oldest {
            fn score(&self, candidate: &Candidate) -> f64 {
                candidate.age as f64
            }
        }
        assert_eq!(segments(&Oldest, 2), [1, 2]);
    }
}
