//! What was done to a page, by whom, and between which moments.

/// The number of a fragment. No two are alike, so contents say which changes they are made of.
pub type Serial = u32;

/// A verb and what came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// The version and the contents, oldest first, if there was a page.
    Get(Option<(u64, Vec<Serial>)>),
    /// The version, if there was a page.
    Version(Option<u64>),
    /// The page began with this fragment, at that version.
    Allocate(Serial, u64),
    /// A compare-and-swap of the version `seen`.
    Change { verb: Verb, seen: u64, outcome: Outcome },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    Link(Serial),
    Replace(Serial),
    Free,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Done, and this is the version now.
    Done(u64),
    /// Not done: the page has this version.
    Changed(u64),
    /// Not done: no page, or the version is of an earlier life.
    Gone,
}

/// An operation on a page and its interval.
pub type Event = crate::order::Event<Operation>;
