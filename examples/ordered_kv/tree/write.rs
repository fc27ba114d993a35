//! Reading and writing single keys.

use pagelog::Cas;

use super::block::{LONGEST_KEY, Link};
use super::error::{Error, Result};
use super::find::{Found, Post, Seat, Target};
use super::forest::{Tree, count};
use super::node::Node;

/// The outcome of [`Tree::compare_and_swap`].
#[must_use = "a compare-and-swap may not have happened"]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Swap {
    /// It happened.
    Done,
    /// The key has this value, or none. Nothing was changed.
    Differs(Option<Vec<u8>>),
}

/// What is to be done when the guard of an attempt is gone.
pub(super) enum Chore {
    Nothing,
    /// The leaf is sealed: finish that.
    Finish(Link, Vec<u8>),
    /// These nodes were made just now.
    Post(Vec<Post>),
    /// This one had no entry in its parent, as it seems.
    PostLate(Post),
    /// The leaf may have become small.
    Shrink,
}

impl Tree {
    /// The value of a key.
    pub fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.get_with(key, <[u8]>::to_vec)
    }

    /// Lends the value of a key. It is borrowed from the cache for as long as this takes; nothing is copied.
    #[inline]
    pub fn get_with<R>(&self, key: &[u8], use_it: impl FnOnce(&[u8]) -> R) -> Result<Option<R>> {
        let guard = self.shared.cache.pin();
        let found = self.find(&guard, Target::At(key), 0)?.ok_or_else(no_leaf)?;
        Ok(found.seat.value(key).map(use_it))
    }

    /// Gives a key a value.
    pub fn put(&self, key: &[u8], value: &[u8]) -> Result<()> {
        self.change(key, |_| (Some(Node::put(key, value)), ()))
    }

    /// Removes a key. Whether it was there.
    pub fn delete(&self, key: &[u8]) -> Result<bool> {
        self.change(key, |seat| match seat.value(key) {
            Some(_) => (Some(Node::delete(key)), true),
            None => (None, false),
        })
    }

    /// Gives a key the value `new` (`None`: removes it) if it has the value `old` (`None`: is not there).
    pub fn compare_and_swap(&self, key: &[u8], old: Option<&[u8]>, new: Option<&[u8]>) -> Result<Swap> {
        self.change(key, |seat| {
            let current = seat.value(key);
            if current != old {
                return (None, Swap::Differs(current.map(<[u8]>::to_vec)));
            }
            let change = match new {
                Some(value) => Some(Node::put(key, value)),
                None => current.map(|_| Node::delete(key)),
            };
            (change, Swap::Done)
        })
    }

    /// Links what `decide` wants to the key's leaf, on top of the version that it was shown. `decide` is
    /// asked again if the leaf was changed meanwhile.
    fn change<R>(&self, key: &[u8], mut decide: impl FnMut(&Seat<'_>) -> (Option<Node>, R)) -> Result<R> {
        check_length(key)?;
        loop {
            let (outcome, chore) = self.attempt(key, &mut decide)?;
            let done = self.do_chore(key, chore);
            match outcome {
                // Others will find what was left undone; and if it is serious, the next call will say so.
                Some(outcome) => return Ok(outcome),
                None => done?,
            }
        }
    }

    fn attempt<R>(
        &self,
        key: &[u8],
        decide: &mut impl FnMut(&Seat<'_>) -> (Option<Node>, R),
    ) -> Result<(Option<R>, Chore)> {
        let guard = self.shared.cache.pin();
        let found = self.find(&guard, Target::At(key), 0)?.ok_or_else(no_leaf)?;
        let seat = &found.seat;
        if seat.base.is_sealed() {
            return Ok((None, Chore::Finish(seat.link, seat.base.low().to_vec())));
        }
        if seat.base.size() > self.shared.tuning.leaf_bytes
            && let Some(posts) = self.split(seat, key)?
        {
            return Ok((None, Chore::Post(posts)));
        }
        let (change, outcome) = decide(seat);
        let Some(change) = change else { return Ok((Some(outcome), Chore::Nothing)) };
        let deletes = change.changed_value().is_none();
        match self.shared.cache.link(seat.page_id(), seat.version, change)? {
            Cas::Done { .. } => Ok((Some(outcome), self.afterwards(&found, deletes))),
            Cas::Changed { .. } | Cas::Gone { .. } => {
                count(&self.shared.counters.lost_races);
                Ok((None, Chore::Nothing))
            }
        }
    }

    fn afterwards(&self, found: &Found<'_>, deletes: bool) -> Chore {
        let base = found.seat.base;
        if found.by_right {
            return Chore::PostLate(Post { level: 0, low: base.low().to_vec(), link: found.seat.link });
        }
        // Not after each deletion: only when the leaf has just been merged, or may well be empty.
        let is_time = found.seat.unmerged == 0 || base.count() <= found.seat.unmerged + 1;
        let is_small = base.size() < self.shared.tuning.few_bytes(0) || base.count() < 4;
        if deletes && is_time && is_small { Chore::Shrink } else { Chore::Nothing }
    }

    pub(super) fn do_chore(&self, key: &[u8], chore: Chore) -> Result<()> {
        match chore {
            Chore::Nothing => Ok(()),
            Chore::Finish(link, low) => self.finish_sealed(link, &low, 0),
            Chore::Post(posts) => self.post(posts),
            Chore::PostLate(post) => self.post_late(post),
            Chore::Shrink => self.shrink(key),
        }
    }
}

pub(super) fn check_length(key: &[u8]) -> Result<()> {
    if key.len() > LONGEST_KEY { Err(Error::KeyTooLong(key.len())) } else { Ok(()) }
}

pub(super) fn no_leaf() -> Error {
    Error::Damaged("the root is above no leaf".into())
}
