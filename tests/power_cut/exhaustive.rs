//! All workloads of up to four operations, each cut everywhere: [`COUNT`] of them, the empty one included,
//! which makes a store.
//!
//! An operation is one of the [`ALPHABET`]. Workloads that would show nothing new are left out:
//!
//! - what is done to a page while there is none, for it does nothing; so the workload is a shorter one
//! - a flush when nothing was done since the last one, or ever, for the same reason
//! - the moments before the last operation, for they are those of the workload without it
//!
//! Workloads of up to two operations are followed by *all* disks that a cut at a moment can leave, if these
//! are not more than [`MOST_IMAGES`]; longer ones by one, which a seed chooses.

use pagelog::sim::SimStorage;

use super::examine::{Examiner, Operations, Origin};
use super::support::oracle::{Journal, State};
use super::support::random::Random;
use super::support::session::{Op, Session, Setting, Trouble};
use super::tally::Tally;

const LONGEST: u32 = 4;
const COUNT: usize = 3887;
const MOST_IMAGES: usize = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Letter {
    Allocate,
    Link,
    Replace,
    Free,
    Flush,
    Batch,
    Root,
    Collect,
    Snapshot,
    Reopen,
}

const ALPHABET: [Letter; 10] = [
    Letter::Allocate,
    Letter::Link,
    Letter::Replace,
    Letter::Free,
    Letter::Flush,
    Letter::Batch,
    Letter::Root,
    Letter::Collect,
    Letter::Snapshot,
    Letter::Reopen,
];

impl Letter {
    fn op(self) -> Op {
        match self {
            Self::Allocate => Op::Allocate { length: 30 },
            Self::Link => Op::Link { page: 0, length: 40 },
            // Large enough for a file of its own.
            Self::Replace => Op::Replace { page: 0, length: 200 },
            Self::Free => Op::Free { page: 0 },
            Self::Flush => Op::Flush,
            Self::Batch => Op::Batch(vec![Op::Allocate { length: 10 }, Op::Link { page: 0, length: 10 }]),
            Self::Root => Op::Root { name: 0, page: 1 },
            Self::Collect => Op::Collect,
            Self::Snapshot => Op::Snapshot,
            Self::Reopen => Op::Reopen,
        }
    }
}

fn setting() -> Setting {
    Setting {
        segment_size: 512,
        cache_capacity: 256,
        space_target: 1.05,
        collects: true,
        snapshots: true,
        chain: 2,
        compression: None,
        inline_limit: Some(100),
    }
}

/// Whether each operation of a workload does something.
fn is_new(word: &[Letter]) -> bool {
    let (mut pages, mut unflushed) = (0_u32, false);
    word.iter().all(|letter| {
        let does_something = match letter {
            Letter::Link | Letter::Replace | Letter::Free => pages > 0,
            Letter::Flush => unflushed,
            _ => true,
        };
        match letter {
            Letter::Allocate | Letter::Batch => pages += 1,
            Letter::Free => pages = pages.saturating_sub(1),
            _ => {}
        }
        unflushed =
            !matches!(letter, Letter::Flush | Letter::Reopen) && (unflushed || *letter != Letter::Collect);
        does_something
    })
}

/// All workloads, the short ones first.
fn all_words() -> Vec<Vec<Letter>> {
    let mut words = vec![Vec::new()];
    let mut longest: Vec<Vec<Letter>> = vec![Vec::new()];
    for _ in 0..LONGEST {
        let longer =
            longest.iter().flat_map(|word| ALPHABET.map(|letter| [word.as_slice(), &[letter]].concat()));
        longest = longer.filter(|word| is_new(word)).collect();
        words.extend(longest.iter().cloned());
    }
    words
}

fn examine_last(word: &[Letter], seed: u64, tally: &mut Tally) -> Result<(), String> {
    let setting = setting();
    let disk = SimStorage::new(seed);
    let said = |trouble: Trouble| format!("{word:?}: {}", trouble.text());
    // An empty workload is the making of the store.
    if word.is_empty() {
        disk.log_calls();
        disk.record_history();
    }
    let mut session =
        Session::open(&setting, &disk, Journal::new(State::default(), None), 0).map_err(said)?;
    if let Some((last, others)) = word.split_last() {
        others.iter().try_for_each(|letter| session.run(&letter.op())).map_err(said)?;
        disk.log_calls();
        disk.record_history();
        session.run(&last.op()).map_err(said)?;
    }
    tally.session(&session);
    tally.one("workloads of up to four operations");
    let moments = disk.history().ok_or("no history")?;
    let operations = Operations::new(*moments.start(), &disk.take_calls());
    let mut random = Random::new(seed);
    let mut examiner = Examiner { setting: &setting, tally, random: random.clone() };
    for moment in moments {
        examiner.tally.one("moments");
        let seed = random.next();
        let images: Vec<SimStorage> = match disk.all_images_at(moment) {
            Some(all) if word.len() <= 2 => all.take(MOST_IMAGES).collect(),
            _ => disk.image_at(moment, seed).into_iter().collect(),
        };
        for (index, image) in images.iter().enumerate() {
            operations.tally_cut(moment, examiner.tally);
            let examined = examiner.examine(&session.journal, moment, image, 1, Origin::default());
            examined.map_err(|text| {
                format!("{word:?}, cut during operation {}, image {index} of seed {seed}: {text}", moment + 1)
            })?;
        }
    }
    session.crash();
    Ok(())
}

/// One of `of` equal parts of all workloads.
pub fn part(number: u64, of: u64, tally: &mut Tally) -> Result<(), String> {
    let words = all_words();
    assert_eq!(words.len(), COUNT);
    for (index, word) in (0..).zip(&words).filter(|(index, _)| index % of == number) {
        examine_last(word, index, tally)?;
    }
    Ok(())
}
