//! Compression of payloads: each record by itself, and only where it pays.
//!
//! A record is the unit, so that a read of one page expands one page, and garbage collection moves records
//! without knowing what is in them. What a record gains from its neighbours in other systems it gains here
//! from a *dictionary*, trained on the store's own pages.
//!
//! - **(A) A flag, not a mode.** Each record says whether its payload is compressed, so compression can be
//!   turned on, off or up on a store that exists. Expanding needs no setting, only the feature.
//! - **(B) Where it pays.** What does not become shorter by an eighth is logged as it is. If a thread meets
//!   many such payloads in a row it tries only now and then, for a try costs more than the rest of a link.
//! - **(C) Old dictionaries stay.** A record names its dictionary by a number, 1 to 255, and a dictionary is
//!   durable before the first record that names it is written. Numbers are never used twice, and no
//!   dictionary is ever removed: which records still need it, only reading them would tell.
//! - **(D) No lock.** Dictionaries are set once, each in its place; contexts and buffers are the thread's
//!   own.
//! - **(E) Bounded.** A payload expands to at most the longest value that any setting takes, 1 GiB.

#[cfg(not(feature = "compression"))]
mod absent;
#[cfg(feature = "compression")]
mod dictionaries;
#[cfg(feature = "compression")]
mod zstd;

#[cfg(not(feature = "compression"))]
pub(crate) use self::absent::Compression;
#[cfg(feature = "compression")]
pub(crate) use self::zstd::Compression;

/// Why a payload can't be expanded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum UnpackFault {
    /// This build can't.
    #[cfg_attr(feature = "compression", expect(dead_code, reason = "this build can"))]
    Unsupported,
    /// What is written can't be, or its dictionary is missing.
    #[cfg_attr(not(feature = "compression"), expect(dead_code, reason = "this build does not look"))]
    Damaged(String),
}
