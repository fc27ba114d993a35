//! What a store might do wrong, done to its answers: so it is known what the histories and the checker find.

use std::collections::BTreeMap;

use crate::common::Dice;
use crate::history::{Operation, Outcome, Verb};

/// A way to be wrong, now and then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A get returns the page before the last change of it that this thread saw.
    OldPage,
    /// A get returns the contents of one version with the number of the next.
    TornPage,
    /// A version is one that was seen earlier.
    OldVersion,
    /// A link says that it was done, and was not.
    LostLink,
    /// A link on a version that is no more says that it was done.
    StaleLink,
    /// A link says that it was not done, and was.
    SecretLink,
    /// A replacement says that it was done, and was not.
    LostReplace,
    /// A free says that it was done, and was not.
    FreeUndone,
    /// A page that is there is called gone.
    FalselyGone,
}

impl Fault {
    pub const ALL: [Self; 9] = [
        Self::OldPage,
        Self::TornPage,
        Self::OldVersion,
        Self::LostLink,
        Self::StaleLink,
        Self::SecretLink,
        Self::LostReplace,
        Self::FreeUndone,
        Self::FalselyGone,
    ];
}

/// Stands between a thread and the store, and is wrong once in a while.
pub struct Liar {
    fault: Fault,
    dice: Dice,
    /// What this thread was told of each page before.
    told: BTreeMap<u64, Vec<(u64, Vec<u32>)>>,
}

impl Liar {
    pub fn new(fault: Fault, seed: u64) -> Self {
        Self { fault, dice: Dice::new(seed), told: BTreeMap::new() }
    }

    fn now(&mut self) -> bool {
        self.dice.below(40) == 0
    }

    /// Whether this change is not to be passed on.
    pub fn drops(&mut self, verb: Verb) -> bool {
        let concerns = match verb {
            Verb::Link(_) => self.fault == Fault::LostLink,
            Verb::Replace(_) => self.fault == Fault::LostReplace,
            Verb::Free => self.fault == Fault::FreeUndone,
        };
        concerns && self.now()
    }

    /// Changes an answer.
    pub fn distort(&mut self, page_id: u64, operation: &mut Operation) {
        let is_time = self.now();
        let told = self.told.entry(page_id).or_default();
        match operation {
            Operation::Get(Some((version, contents))) => {
                let old = told.iter().rev().find(|(before, _)| before < version).cloned();
                told.push((*version, contents.clone()));
                match (self.fault, old) {
                    (Fault::OldPage, Some(old)) if is_time => *operation = Operation::Get(Some(old)),
                    (Fault::TornPage, Some((_, old))) if is_time => *contents = old,
                    _ => {}
                }
            }
            Operation::Version(Some(version)) if self.fault == Fault::OldVersion && is_time => {
                if let Some((old, _)) = told.iter().rev().find(|(before, _)| *before < *version) {
                    *version = *old;
                }
            }
            Operation::Change { verb: Verb::Link(_), seen, outcome } if is_time => {
                *outcome = match (self.fault, *outcome) {
                    (Fault::StaleLink, Outcome::Changed(_)) => Outcome::Done(*seen + 1),
                    (Fault::SecretLink, Outcome::Done(version)) => Outcome::Changed(version),
                    (Fault::FalselyGone, Outcome::Changed(_)) => Outcome::Gone,
                    (_, as_it_is) => as_it_is,
                };
            }
            _ => {}
        }
    }
}
