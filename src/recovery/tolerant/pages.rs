//! What the records that can be read say of pages, and which pages that is enough for. The letters are those
//! of the module.

use std::collections::BTreeMap;

use super::damage::Findings;
use crate::format::{RangeEncoder, RecordKind, SnapshotBase, SnapshotRecord, Voided};
use crate::ids::{Lsn, PageId, RangeId, Version};

/// Why a page is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Loss {
    /// Links are there, and no base below them.
    Baseless,
    /// Between its base and its newest link, a version is missing.
    Gap,
    /// A snapshot knows a newer version than the newest that is there.
    Outdated,
    /// A snapshot knows it, and no record of it is there.
    Vanished,
    /// Two records of one version are no copies of each other.
    Contradiction,
    /// No store writes such a record, or such records one after the other.
    Impossible,
    /// The log has no room for so high an id.
    OutOfReach,
    /// The file of a large value that it needs is missing or damaged.
    LargeValue,
}

impl Loss {
    pub(super) const fn reason(self) -> &'static str {
        match self {
            Self::Baseless => "there are changes to it, and nothing that they change",
            Self::Gap => "changes to it are missing, and later ones are there",
            Self::Outdated => "a snapshot knows a newer version than can be read",
            Self::Vanished => "a snapshot knows it, and nothing of it can be read",
            Self::Contradiction => "two records of one version say different things",
            Self::Impossible => "a record says what can't be",
            Self::OutOfReach => "its id is higher than the log has room for",
            Self::LargeValue => "the file of a large value is missing or damaged",
        }
    }
}

/// A record of a page that can be read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Readable {
    pub(super) spot: SnapshotRecord,
    /// Of what it says: copies have the same.
    pub(super) digest: u32,
    /// No record of the page below this, in the fresh head, has a higher version (C).
    pub(super) evidence: Lsn,
}

#[derive(Clone, Copy, Debug)]
struct Base {
    version: Version,
    age: u64,
    freed: bool,
    record: Readable,
}

#[derive(Debug, Default)]
struct Page {
    base: Option<Base>,
    /// By rising versions, all above the base.
    links: Vec<(Version, Readable)>,
    newest: Version,
    /// That of a record of the newest version.
    evidence: Lsn,
    loss: Option<Loss>,
}

/// A page as a snapshot has it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Witnessed {
    pub(super) page_id: PageId,
    pub(super) newest: Version,
    pub(super) freed: bool,
}

/// What a snapshot says, whose blocks are all sound.
#[derive(Debug, Default)]
pub(super) struct Witness {
    /// It knows all that was in the fresh head below this. 0 without a snapshot.
    pub(super) begin: Lsn,
    pub(super) pages: Vec<Witnessed>,
}

/// What is known of all pages.
#[derive(Debug)]
pub(super) struct Pages {
    pages: BTreeMap<PageId, Page>,
    voided: Voided,
    /// Above all ids that there can be.
    limit: u64,
}

impl Pages {
    pub(super) fn new(voided: Voided, limit: u64) -> Self {
        Self { pages: BTreeMap::new(), voided, limit }
    }

    /// Takes a record, in any order. Of two copies the one that comes last counts.
    pub(super) fn apply(&mut self, kind: &RecordKind, record: Readable) {
        let (page_id, version, age, freed) = match *kind {
            RecordKind::Replace { page_id, version, age } => (page_id, version, Some(age), false),
            RecordKind::Free { page_id, version, age } => (page_id, version, Some(age), true),
            RecordKind::Link { page_id, version } => (page_id, version, None, false),
            _ => return,
        };
        if self.voided.covers(page_id, version) {
            return;
        }
        let limit = self.limit;
        let page = self.pages.entry(page_id).or_default();
        page.note(version, record.evidence);
        if page_id.0 >= limit {
            page.loss = Some(Loss::OutOfReach);
        } else if age.is_some_and(|age| age > version.0) {
            page.loss = Some(Loss::Impossible);
        } else if let Some(age) = age {
            page.rebase(Base { version, age, freed, record });
        } else {
            page.link(version, record);
        }
    }

    /// Declares a page lost.
    pub(super) fn lose(&mut self, page_id: PageId, loss: Loss) {
        self.pages.entry(page_id).or_default().loss.get_or_insert(loss);
    }

    /// The highest version of any page.
    pub(super) fn highest_version(&self) -> Version {
        self.pages.values().map(|page| page.newest).max().unwrap_or_default()
    }

    /// Whether a record of that version is needed for the page as it is.
    pub(super) fn needs(&self, page_id: PageId, version: Version) -> bool {
        let base = self.pages.get(&page_id).and_then(|page| page.base);
        base.is_some_and(|base| version >= base.version)
    }

    /// Judges every page, with the help of a snapshot, and writes down those that can be put together. Pages
    /// whose evidence is below the threshold are in doubt; they are left out unless they are to be served.
    pub(super) fn settle(
        mut self,
        witness: &Witness,
        threshold: Lsn,
        serves_doubtful: bool,
        findings: &mut Findings,
    ) -> Vec<(RangeId, Vec<u8>)> {
        for seen in &witness.pages {
            self.testify(witness.begin, seen);
        }
        findings.others_in_doubt = threshold > witness.begin;
        let mut ranges: Vec<(RangeId, Vec<u8>)> = Vec::new();
        let mut encoder = None;
        for (page_id, page) in self.pages {
            let base = match page.judge() {
                Ok(base) => base,
                Err(loss) => {
                    findings.lost.insert(page_id, loss);
                    continue;
                }
            };
            if page.evidence.max(witness.begin) >= threshold {
                findings.certain.push(page_id);
            } else {
                findings.in_doubt.push(page_id);
                if !serves_doubtful {
                    continue;
                }
            }
            // A free id whose record is gone is as good as one that was never used.
            let Some(base) = base else { continue };
            let range = RangeId::of(page_id);
            if ranges.last().is_none_or(|(last, _)| *last != range) {
                ranges.push((range, Vec::new()));
                encoder = Some(RangeEncoder::new(range));
            }
            if let (Some((_, bytes)), Some(encoder)) = (ranges.last_mut(), &mut encoder) {
                let Base { version, age, freed: free, record } = base;
                let base = SnapshotBase { page_id, free, version, age, record: record.spot };
                encoder.page(bytes, &base, page.links.iter().map(|(_, link)| link.spot));
            }
        }
        ranges
    }

    /// Takes a snapshot's word for what a page has been.
    fn testify(&mut self, begin: Lsn, seen: &Witnessed) {
        if self.voided.covers(seen.page_id, seen.newest) {
            return;
        }
        let page = self.pages.entry(seen.page_id).or_default();
        if page.newest >= seen.newest {
            return;
        }
        // Then what there is of it is older, or of no use without what is missing.
        let loss = if page.newest == Version(0) { Loss::Vanished } else { Loss::Outdated };
        if seen.freed {
            *page = Page { newest: seen.newest, evidence: begin, ..Page::default() };
        } else {
            page.loss.get_or_insert(loss);
        }
    }
}

impl Page {
    fn note(&mut self, version: Version, evidence: Lsn) {
        if version > self.newest {
            (self.newest, self.evidence) = (version, evidence);
        } else if version == self.newest {
            self.evidence = self.evidence.max(evidence);
        }
    }

    /// Copies are equal; what is not is of two histories, of which one is void (E).
    fn compare(&mut self, one: &Readable, other: &Readable) {
        if one.digest != other.digest {
            self.loss = Some(Loss::Contradiction);
        }
    }

    fn rebase(&mut self, new: Base) {
        if let Some(old) = self.base {
            if old.version == new.version {
                self.compare(&old.record, &new.record);
            }
            if old.version > new.version {
                return;
            }
        }
        if let Ok(at) = self.links.binary_search_by_key(&new.version, |(version, _)| *version)
            && let Some((_, link)) = self.links.get(at).copied()
        {
            self.compare(&link, &new.record);
        }
        self.base = Some(new);
        self.links.retain(|(version, _)| *version > new.version);
    }

    fn link(&mut self, version: Version, record: Readable) {
        if let Some(base) = self.base
            && base.version >= version
        {
            if base.version == version {
                self.compare(&base.record, &record);
            }
            return;
        }
        match self.links.binary_search_by_key(&version, |(version, _)| *version) {
            Err(at) => self.links.insert(at, (version, record)),
            Ok(at) => {
                if let Some((_, old)) = self.links.get_mut(at) {
                    let before = std::mem::replace(old, record);
                    self.compare(&before, &record);
                }
            }
        }
    }

    /// What the page begins with, if it can be put together (B). `None` if the id is known to be free.
    fn judge(&self) -> Result<Option<Base>, Loss> {
        if let Some(loss) = self.loss {
            return Err(loss);
        }
        let Some(base) = self.base else {
            return if self.links.is_empty() { Ok(None) } else { Err(Loss::Baseless) };
        };
        let mut before = base.version;
        let follows = self.links.iter().all(|(link, _)| {
            let expected = before.0.checked_add(1);
            before = *link;
            expected == Some(link.0)
        });
        match (follows, base.freed && !self.links.is_empty()) {
            (true, false) => Ok(Some(base)),
            (true, true) => Err(Loss::Impossible),
            (false, _) => Err(Loss::Gap),
        }
    }
}
