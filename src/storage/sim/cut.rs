//! What a power cut leaves behind.
//!
//! Every change that was not durable is decided by itself; only this much order is kept:
//!
//! A. Writes to one sector reach the disk in their order: what is left of a sector's history is a prefix of
//! it. B. Lengths of one file change in their order, and a cut-off that happened is not undone by bytes from
//! before it. C. A rename happens as a whole or not at all, and only if the name that it starts from is
//! there.
//!
//! Nothing else: sectors of one write are torn apart, a later write survives an earlier one, a file's bytes
//! survive without its name and the name without the bytes.
//!
//! Deciding each sector by a fair coin would be a poor tester: with twenty sectors the plain cases (all,
//! none, all but the last write) would never come. So a seed first picks a *policy* for the whole disk or for
//! each file, and coins decide within it. The exhaustive list has no policies, only decisions.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use super::choices::Choices;
use super::disk::{Change, Contents, Disk, Inode, Names, Pending, Renaming, SECTOR};

/// How the changes of one file, or of the directory, are decided.
#[derive(Clone, Copy, Debug)]
enum Policy {
    Nothing,
    Everything,
    /// In order up to a time; the write at that very time is torn.
    Until {
        time: u64,
        tear: Tear,
    },
    /// Each by itself.
    Each,
    /// Each by itself, but nearly all.
    Most,
}

/// Which sectors of a torn write are there.
#[derive(Clone, Copy, Debug)]
enum Tear {
    Any,
    Below(u64),
    From(u64),
}

/// The disk after a power cut. `torn_block` is the size of the blocks that a cut may turn into garbage, if
/// any.
pub(super) fn power_cut(disk: &Disk, choices: &mut Choices, torn_block: Option<u64>) -> io::Result<Disk> {
    let whole = policy_of_disk(disk, choices);
    let names = surviving_names(disk, choices, whole);
    let mut inodes = BTreeMap::new();
    for id in names.values() {
        let inode = disk.inode(*id)?;
        if inode.pending.is_empty() {
            inodes.insert(*id, Arc::new(Inode::settled(inode.durable.clone())));
            continue;
        }
        let policy = whole.unwrap_or_else(|| policy_of_file(inode, choices));
        let policy = aim_tear(policy, inode, choices);
        let mut contents = surviving_contents(inode, choices, policy)?;
        if let Some(size) = torn_block {
            tear_blocks(&mut contents, inode, choices, size)?;
        }
        inodes.insert(*id, Arc::new(Inode::settled(contents)));
    }
    Ok(Disk::settled(names, inodes, disk))
}

/// All waiting changes, in order.
pub(super) fn apply_all(durable: &Contents, pending: &[Pending]) -> io::Result<Contents> {
    // No decision is asked for.
    survive(durable, pending, &mut Choices::seeded(0), Policy::Everything)
}

/// One cut in four is the plain one: everything in order up to one moment, over all files.
fn policy_of_disk(disk: &Disk, choices: &mut Choices) -> Option<Policy> {
    if !choices.is_seeded() || choices.below(4) != 0 {
        return None;
    }
    let times = || {
        let names = disk.name_changes.iter().map(|change| change.time);
        names.chain(disk.inodes.values().flat_map(|inode| inode.pending.iter().map(|pending| pending.time)))
    };
    let chosen = choices.below(times().count() as u64);
    Some(times().nth(chosen as usize).map_or(Policy::Nothing, |time| Policy::Until { time, tear: Tear::Any }))
}

fn policy_of_file(inode: &Inode, choices: &mut Choices) -> Policy {
    if !choices.is_seeded() {
        return Policy::Each;
    }
    let chosen = choices.below(inode.pending.len() as u64);
    let time = inode.pending.get(chosen as usize).map_or(0, |pending| pending.time);
    random_policy(time, choices)
}

fn random_policy(time: u64, choices: &mut Choices) -> Policy {
    match choices.below(16) {
        0..=2 => Policy::Nothing,
        3..=5 => Policy::Everything,
        6..=9 => Policy::Until { time, tear: Tear::Any },
        10..=12 => Policy::Each,
        _ => Policy::Most,
    }
}

/// Chooses where the write at the policy's time is torn.
fn aim_tear(policy: Policy, inode: &Inode, choices: &mut Choices) -> Policy {
    let Policy::Until { time, .. } = policy else { return policy };
    let torn = inode.pending.iter().find_map(|pending| match &pending.change {
        Change::Write { sector, bytes } if pending.time == time => {
            Some((*sector, bytes.len() as u64 / SECTOR))
        }
        _ => None,
    });
    let Some((sector, count)) = torn else { return policy };
    let border = sector + choices.below(count + 1);
    let tear = match choices.below(3) {
        0 => Tear::Any,
        1 => Tear::Below(border),
        _ => Tear::From(border),
    };
    Policy::Until { time, tear }
}

impl Policy {
    /// How many changes of a history survive. `sector` is the sector that they are about, if they are.
    fn prefix(
        self,
        times: impl ExactSizeIterator<Item = u64>,
        sector: Option<u64>,
        choices: &mut Choices,
    ) -> usize {
        let count = times.len();
        match self {
            Self::Nothing => 0,
            Self::Everything => count,
            Self::Each => choices.below(count as u64 + 1) as usize,
            Self::Most if choices.below(8) != 0 => count,
            Self::Most => choices.below(count as u64 + 1) as usize,
            Self::Until { time, tear } => {
                times.take_while(|at| *at < time || (*at == time && tear.keeps(sector, choices))).count()
            }
        }
    }
}

impl Tear {
    fn keeps(self, sector: Option<u64>, choices: &mut Choices) -> bool {
        match (self, sector) {
            (Self::Below(border), Some(sector)) => sector < border,
            (Self::From(border), Some(sector)) => sector >= border,
            _ => choices.coin(),
        }
    }
}

fn surviving_names(disk: &Disk, choices: &mut Choices, whole: Option<Policy>) -> Names {
    let mut names = Names::clone(&disk.durable_names);
    if disk.name_changes.is_empty() {
        return names;
    }
    let policy = whole.unwrap_or_else(|| {
        if !choices.is_seeded() {
            return Policy::Each;
        }
        let chosen = choices.below(disk.name_changes.len() as u64);
        let time = disk.name_changes.get(chosen as usize).map_or(0, |change| change.time);
        random_policy(time, choices)
    });
    for change in &disk.name_changes {
        if policy.prefix(std::iter::once(change.time), None, choices) == 1 {
            apply_renaming(&mut names, &change.change);
        }
    }
    names
}

fn apply_renaming(names: &mut Names, change: &Renaming) {
    match change {
        Renaming::Create { name, inode } => {
            names.insert(name.clone(), *inode);
        }
        Renaming::Rename { from, to, inode } if names.get(from) == Some(inode) => {
            names.remove(from);
            names.insert(to.clone(), *inode);
        }
        Renaming::Remove { name, inode } if names.get(name) == Some(inode) => {
            names.remove(name);
        }
        // What it starts from was lost.
        Renaming::Rename { .. } | Renaming::Remove { .. } => {}
    }
}

fn surviving_contents(inode: &Inode, choices: &mut Choices, policy: Policy) -> io::Result<Contents> {
    match policy {
        Policy::Nothing => Ok(inode.durable.clone()),
        Policy::Everything if !inode.diverged => Ok(inode.live.clone()),
        _ => survive(&inode.durable, &inode.pending, choices, policy),
    }
}

/// One state of one sector.
#[derive(Clone, Copy)]
struct Piece<'a> {
    sector: u64,
    time: u64,
    bytes: &'a [u8],
}

fn survive(
    durable: &Contents,
    pending: &[Pending],
    choices: &mut Choices,
    policy: Policy,
) -> io::Result<Contents> {
    let lengths = decide_lengths(durable, pending, choices, policy);
    let mut contents = durable.clone();
    let mut pieces = Vec::new();
    for pending in pending.get(..lengths.writes_until).unwrap_or_default() {
        match &pending.change {
            Change::Write { sector, bytes } => {
                for (index, bytes) in bytes.chunks_exact(SECTOR as usize).enumerate() {
                    pieces.push(Piece { sector: sector + index as u64, time: pending.time, bytes });
                }
            }
            Change::Length { length, cuts: true } => {
                // The sector on the border is decided now, because what is cut off of it must not come back.
                let border = length / SECTOR;
                let mut on_border: Vec<Piece<'_>> =
                    pieces.iter().copied().filter(|piece| piece.sector == border).collect();
                pieces.retain(|piece| piece.sector < border);
                write_pieces(&mut contents, &mut on_border, choices, policy)?;
                contents.set_len(*length)?;
            }
            Change::Length { .. } => {}
        }
    }
    write_pieces(&mut contents, &mut pieces, choices, policy)?;
    contents.set_len(lengths.length)?;
    Ok(contents)
}

struct Lengths {
    /// The length that is left.
    length: u64,
    /// Changes from here on are void: they came after a cut-off that did not happen.
    writes_until: usize,
}

fn decide_lengths(durable: &Contents, pending: &[Pending], choices: &mut Choices, policy: Policy) -> Lengths {
    let changes: Vec<(usize, u64, u64, bool)> = pending
        .iter()
        .enumerate()
        .filter_map(|(index, pending)| match pending.change {
            Change::Length { length, cuts } => Some((index, pending.time, length, cuts)),
            Change::Write { .. } => None,
        })
        .collect();
    if changes.is_empty() {
        return Lengths { length: durable.len(), writes_until: pending.len() };
    }
    let kept = policy.prefix(changes.iter().map(|change| change.1), None, choices);
    let (done, undone) = changes.split_at(kept);
    Lengths {
        length: done.last().map_or(durable.len(), |change| change.2),
        writes_until: undone.iter().find(|change| change.3).map_or(pending.len(), |change| change.0),
    }
}

/// Decides each sector's history and writes what is left of it.
fn write_pieces(
    contents: &mut Contents,
    pieces: &mut [Piece<'_>],
    choices: &mut Choices,
    policy: Policy,
) -> io::Result<()> {
    // Stable: pieces of one sector stay in their order.
    pieces.sort_by_key(|piece| piece.sector);
    for history in pieces.chunk_by(|one, other| one.sector == other.sector) {
        let Some(first) = history.first() else { continue };
        let kept = policy.prefix(history.iter().map(|piece| piece.time), Some(first.sector), choices);
        if let Some(last) = kept.checked_sub(1).and_then(|last| history.get(last)) {
            contents.write(last.bytes, last.sector * SECTOR)?;
        }
    }
    Ok(())
}

/// Turns some blocks that were being written into garbage, with all that was in them before.
fn tear_blocks(contents: &mut Contents, inode: &Inode, choices: &mut Choices, size: u64) -> io::Result<()> {
    for block in blocks_in_flight(inode, size) {
        let start = block * size;
        let length = size.min(contents.len().saturating_sub(start));
        if length > 0 && choices.below(4) == 0 {
            let mut garbage = vec![0; length as usize];
            // One kind of garbage is enough for a list of all images.
            let seed = if choices.is_seeded() { choices.below(1 << 32) } else { 0 };
            let mut random = super::choices::Random::new(seed);
            garbage.fill_with(|| random.next() as u8);
            contents.write(&garbage, start)?;
        }
    }
    Ok(())
}

fn blocks_in_flight(inode: &Inode, size: u64) -> std::collections::BTreeSet<u64> {
    let range = |pending: &Pending| -> Range<u64> {
        match &pending.change {
            Change::Write { sector, bytes } => {
                let start = sector * SECTOR;
                start / size..(start + bytes.len() as u64).div_ceil(size)
            }
            Change::Length { .. } => 0..0,
        }
    };
    inode.pending.iter().flat_map(range).collect()
}
