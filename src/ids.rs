//! The numbers of the store, each with a type of its own, so that none is taken for another.

use std::fmt;

macro_rules! number {
    ($(#[$doc:meta])* $visibility:vis struct $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        $visibility struct $name(pub(crate) $inner);

        impl fmt::Debug for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(formatter, concat!(stringify!($name), "({})"), self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(formatter)
            }
        }
    };
}

macro_rules! public_number {
    ($(#[$doc:meta])* $name:ident) => {
        number!($(#[$doc])* pub struct $name(u64));

        impl $name {
            /// Wraps a plain number, for instance one that the caller stored inside a page.
            #[must_use]
            pub const fn new(number: u64) -> Self {
                Self(number)
            }

            /// The plain number.
            #[must_use]
            pub const fn get(self) -> u64 {
                self.0
            }
        }

        impl From<$name> for u64 {
            fn from(number: $name) -> u64 {
                number.0
            }
        }

        /// As the plain number. With the feature `bincode`.
        #[cfg(feature = "bincode")]
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_u64(self.0)
            }
        }

        /// From the plain number. With the feature `bincode`.
        #[cfg(feature = "bincode")]
        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                <u64 as serde::Deserialize>::deserialize(deserializer).map(Self)
            }
        }
    };
}

public_number!(
    /// The name of a page. Ids are handed out densely from 1; id 0 is the store's own (it holds the named
    /// roots).
    ///
    /// ```
    /// use pagelog::PageId;
    ///
    /// // A page that names another one holds its number.
    /// let child = PageId::new(7);
    /// let stored = child.get().to_le_bytes();
    /// assert_eq!(PageId::new(u64::from_le_bytes(stored)), child);
    /// assert_eq!(child.to_string(), "7");
    /// ```
    PageId
);

public_number!(
    /// The logical version of a page: the token of its compare-and-swap.
    ///
    /// Only a logical change (`link`, `replace`, `free`, `allocate`) advances it. It rises for ever for one
    /// page id, also over `free` and reuse of the id, so a version never means two states of one page.
    ///
    /// ```
    /// use pagelog::Version;
    ///
    /// // As an ETag: whoever sends it back changes what he has seen, or nothing.
    /// let sent = format!("\"{}\"", Version::new(3).get());
    /// assert_eq!(sent.trim_matches('"').parse().map(Version::new), Ok(Version::new(3)));
    /// ```
    Version
);

public_number!(
    /// A log sequence number: the logical byte position of a record in the log. Never used twice.
    ///
    /// ```
    /// use pagelog::Lsn;
    ///
    /// // A consumer keeps how far it has come, to go on from there.
    /// let stored = Lsn::new(4096).get();
    /// assert!(Lsn::new(stored) > Lsn::new(0));
    /// ```
    Lsn
);

number!(
    /// The place of a segment in the log file: slot `n` begins at byte `n * segment_size`. Reused.
    pub(crate) struct SlotId(u32)
);

number!(
    /// One life of a slot. Rises with every claim, over all openings, and is never used twice; the segment's
    /// base LSN is this number times the segment size.
    pub(crate) struct SegmentId(u64)
);

number!(
    /// A range of the page table: [`PAGES`](RangeId::PAGES) pages with consecutive ids, which are loaded, and
    /// written down, together.
    pub(crate) struct RangeId(u32)
);

impl RangeId {
    const BITS: u32 = if cfg!(loom) {
        1
    } else if cfg!(any(test, miri)) {
        3
    } else {
        8
    };
    /// How many pages there are in a range. Part of the format; unit tests have smaller ranges, so that small
    /// stores have many.
    pub(crate) const PAGES: u64 = 1 << Self::BITS;

    /// The range that a page is in.
    #[inline]
    pub(crate) const fn of(page_id: PageId) -> Self {
        // Ids are below 2³².
        Self((page_id.0 >> Self::BITS) as u32)
    }

    /// The first page.
    #[inline]
    pub(crate) const fn first(self) -> PageId {
        PageId((self.0 as u64) << Self::BITS)
    }

    /// The first page behind it.
    pub(crate) const fn end(self) -> PageId {
        PageId((self.0 as u64 + 1) << Self::BITS)
    }
}

number!(
    /// A write head: 0 writes fresh records, in the order of their LSNs; the others write relocated ones.
    pub(crate) struct HeadId(u8)
);

impl HeadId {
    /// The head of everything that users write.
    pub(crate) const FRESH: Self = Self(0);
    /// The first head of what garbage collection moves: of what lives longest, if there are others.
    pub(crate) const RELOCATED: Self = Self(1);
    /// How many heads new stores have, and the format has room for. Older stores have two.
    pub(crate) const COUNT: usize = 4;

    pub(crate) const fn index(self) -> usize {
        self.0 as usize
    }

    /// All heads that a store may have, by rising numbers.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        (0..Self::COUNT as u8).map(Self)
    }
}

/// One LSN for each head that a store may have. Unused heads hold zero.
pub(crate) type HeadLsns = [Lsn; HeadId::COUNT];

/// Raises each LSN that is lower than its head's in `to`.
pub(crate) fn raise(lsns: &mut HeadLsns, to: &HeadLsns) {
    for (lsn, to) in lsns.iter_mut().zip(to) {
        *lsn = (*lsn).max(*to);
    }
}

impl SegmentId {
    /// Ids stay below this: a word names a segment and its slot. With segments of 1 MiB that is an exbibyte
    /// of log.
    pub(crate) const LIMIT: u64 = 1 << 40;
}

impl PageId {
    /// The page of the named roots.
    pub(crate) const META: Self = Self(0);
    /// The first id that users get.
    pub(crate) const FIRST: Self = Self(1);
    /// Ids stay below this: the page table is two levels of 2¹⁶ entries.
    pub(crate) const LIMIT: u64 = 1 << 32;
}
