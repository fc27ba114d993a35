//! Which head a record goes to that survives cleaning.
//!
//! What dies at about the same time should lie together: then segments empty by themselves, and cleaning has
//! less to move. All records of a page die when it is replaced, so what counts is how soon that will be. Two
//! things tell something of it, and both are there without remembering anything:
//!
//! * *How many versions the page's life has had* (`version - birth`): what was written often will be written
//!   again.
//! * *How long its chain is*: users cut chains back when they have grown, so the longer it is, the sooner.
//!
//! A record's *score* is the first, times the square of the second. `benches/heads` simulates what it is
//! worth beside other rules, among them that of how fast the victim's bytes died, and beside one head for
//! all.
//!
//! The heads for survivors share what is moved in equal numbers of records, by score: the first gets the
//! lowest, which is what lives longest.
//!
//! - **(A)** The bounds follow what was moved lately: scores are counted on a logarithmic scale, and all
//!   counts are halved when there are many. So a load that changes is followed, and one whose records all
//!   score alike has one head.
//! - **(B)** Each head has a segment that is being filled, so sorting is for stores of many segments, or for
//!   those who ask for it. A store whose disk is full, or nearly so, has one head for all. So has an old one,
//!   which was created with two heads: its marks have no room for more.

use crate::ids::HeadId;
use crate::log::{RESERVE, SupplyFigures};

/// A store with fewer segments does not sort (B).
const SORTED_FROM: u32 = 64;

/// Counts for each doubling of the score, as a power of two.
const FINE_BITS: u32 = 3;
const BUCKETS: usize = (u64::BITS << FINE_BITS) as usize;
/// When so many were counted, all counts are halved (A).
const REMEMBERED: u32 = 1 << 14;

/// The heads that a store of so many heads writes now, what users write included (B). `wanted` are those for
/// survivors.
pub(super) fn heads_in_use(figures: &SupplyFigures, heads: u8, wanted: Option<u8>) -> u8 {
    let survivors = match wanted {
        _ if figures.full => 1,
        Some(wanted) => wanted,
        None if figures.slots < SORTED_FROM => 1,
        None => heads.saturating_sub(1),
    };
    heads.min(1 + survivors)
}

/// The heads that the next stretch may go to, of those in use. When free segments are few, each that is begun
/// may be missed: then one for all survivors.
pub(super) fn heads_for_copies(figures: &SupplyFigures, in_use: u8) -> u8 {
    if figures.free > RESERVE as u32 { in_use } else { in_use.min(2) }
}

/// What a record of a page scores that has had so many versions in its life, and has so many links.
pub(super) fn score(versions: u64, links: u32) -> u64 {
    let length = u64::from(links) + 1;
    versions.saturating_add(1).saturating_mul(length.saturating_mul(length))
}

/// Sorts what survives. In the hands of whoever cleans.
#[derive(Debug)]
pub(super) struct Survivors {
    /// How many records scored so much.
    counts: Box<[u32]>,
    all: u32,
    /// The first bucket of each head but the first.
    bounds: [usize; HeadId::COUNT - 2],
}

impl Survivors {
    pub(super) fn new() -> Self {
        let counts = vec![0; BUCKETS].into_boxed_slice();
        Self { counts, all: 0, bounds: [BUCKETS; HeadId::COUNT - 2] }
    }

    /// Begins a stretch of cleaning, for a store that writes so many heads.
    pub(super) fn begin(&mut self, heads: u8) {
        let survivors = u32::from(heads.saturating_sub(1)).max(1);
        if self.all >= REMEMBERED {
            self.counts.iter_mut().for_each(|count| *count /= 2);
            self.all = self.counts.iter().sum();
        }
        self.bounds = [BUCKETS; HeadId::COUNT - 2];
        let mut ranks = (1..survivors).zip(&mut self.bounds).peekable();
        let mut below = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            below += count;
            // What most score belongs to the head that it begins in.
            while let Some((_, bound)) =
                ranks.next_if(|(rank, _)| below > 0 && below * survivors >= self.all * rank)
            {
                *bound = bucket + 1;
            }
        }
    }

    /// The head for a record that scores so much.
    pub(super) fn head_of(&mut self, score: u64) -> HeadId {
        let bucket = bucket_of(score);
        if let Some(count) = self.counts.get_mut(bucket) {
            *count += 1;
            self.all += 1;
        }
        let above = self.bounds.iter().filter(|bound| **bound <= bucket).count();
        // There are at most two bounds.
        HeadId(HeadId::RELOCATED.0 + above as u8)
    }
}

/// The place of a score on a logarithmic scale.
fn bucket_of(score: u64) -> usize {
    let score = score.max(1);
    let doublings = score.ilog2();
    // The bits behind the first one.
    let rest = score ^ (1 << doublings);
    let fine =
        if doublings < FINE_BITS { rest << (FINE_BITS - doublings) } else { rest >> (doublings - FINE_BITS) };
    (u64::from(doublings) << FINE_BITS | fine) as usize
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::{
        BUCKETS, REMEMBERED, SORTED_FROM, Survivors, bucket_of, heads_for_copies, heads_in_use, score,
    };
    use crate::ids::HeadId;
    use crate::log::SupplyFigures;

    /// How many of these scores each head gets, after as many were seen before.
    fn shares(survivors: &mut Survivors, heads: u8, scores: impl Fn() -> Vec<u64>) -> [usize; HeadId::COUNT] {
        for score in scores() {
            survivors.head_of(score);
        }
        survivors.begin(heads);
        let mut shares = [0; HeadId::COUNT];
        for score in scores() {
            shares[survivors.head_of(score).index()] += 1;
        }
        shares
    }

    #[test]
    fn a_scale_rises_with_the_score_and_has_room_for_all() {
        let mut last = 0;
        for score in (0..1000).chain((10..64).map(|bits| 1 << bits)).chain([u64::MAX]) {
            let bucket = bucket_of(score);
            assert!(bucket >= last && bucket < BUCKETS, "{score} is in {bucket}");
            last = bucket;
        }
        assert_eq!(last, BUCKETS - 1);
        assert_eq!([1, 2, 4, 8, 16].map(bucket_of), [0, 8, 16, 24, 32]);
        assert!(bucket_of(100) < bucket_of(113), "scores that differ by an eighth differ");
    }

    #[test]
    fn what_is_written_often_or_will_be_cut_back_soon_scores_more() {
        assert!(score(7, 0) < score(8, 0));
        assert!(score(7, 3) < score(7, 4));
        assert_eq!(score(u64::MAX, u32::MAX), u64::MAX);
    }

    #[test]
    fn each_head_gets_an_equal_share_the_first_one_the_lowest() {
        let spread = || (0..3000).map(|n| 1 << (n % 30)).collect();
        let mut survivors = Survivors::new();
        assert_eq!(shares(&mut survivors, 4, spread), [0, 1000, 1000, 1000]);
        assert_eq!(survivors.head_of(1), HeadId::RELOCATED);
        assert_eq!(survivors.head_of(1 << 29), HeadId(3));
        assert_eq!(shares(&mut survivors, 3, spread), [0, 1500, 1500, 0]);
        assert_eq!(shares(&mut survivors, 2, spread), [0, 3000, 0, 0]);
    }

    #[test]
    fn what_scores_alike_stays_together() {
        assert_eq!(shares(&mut Survivors::new(), 4, || vec![5; 100]), [0, 100, 0, 0]);
        let most_alike = || (0..100).map(|n| if n < 90 { 5 } else { 1 << 20 }).collect();
        assert_eq!(shares(&mut Survivors::new(), 4, most_alike), [0, 90, 0, 10]);
        // Nothing is known yet.
        assert_eq!(Survivors::new().head_of(1 << 40), HeadId::RELOCATED);
    }

    #[test]
    fn a_load_that_changes_is_followed() {
        let mut survivors = Survivors::new();
        let before = || (0..REMEMBERED).map(|n| 1 << (n % 8)).collect();
        let after = || (0..REMEMBERED).map(|n| 1 << (20 + n % 9)).collect();
        shares(&mut survivors, 4, before);
        // All of it is more than what was moved before.
        assert_eq!(shares(&mut survivors, 4, after)[1], 0);
        for _ in 0..10 {
            shares(&mut survivors, 4, after);
        }
        let third = REMEMBERED as usize / 3;
        for share in &shares(&mut survivors, 4, after)[1..] {
            assert!(share.abs_diff(third) < third / 8, "{share} of {third}");
        }
    }

    #[test]
    fn a_small_store_and_a_full_disk_and_an_old_store_have_one_head_for_all() {
        let figures = SupplyFigures { slots: SORTED_FROM, ..SupplyFigures::default() };
        let (small, full) =
            (SupplyFigures { slots: SORTED_FROM - 1, ..figures }, SupplyFigures { full: true, ..figures });
        assert_eq!(heads_in_use(&figures, 4, None), 4);
        assert_eq!(heads_in_use(&small, 4, None), 2);
        assert_eq!(heads_in_use(&small, 4, Some(3)), 4);
        assert_eq!(heads_in_use(&figures, 4, Some(2)), 3);
        assert_eq!(heads_in_use(&full, 4, Some(3)), 2);
        assert_eq!(heads_in_use(&figures, 2, Some(3)), 2);
        assert_eq!(heads_for_copies(&SupplyFigures { free: 4, ..figures }, 4), 4);
        assert_eq!(heads_for_copies(&SupplyFigures { free: 3, ..figures }, 4), 2);
    }
}
