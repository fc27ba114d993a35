//! One running disk: its state, its calls, its power, its capacity, its history.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::ops::RangeInclusive;
use std::sync::{Arc, Weak};

use super::calls::{CallKind, Calls, Fault, power_is_off, storage_full};
use super::choices::{Choices, Random};
use super::cut;
use super::disk::{BLOCK, Disk, InodeId, SECTOR};

#[derive(Debug)]
pub(super) struct State {
    pub(super) disk: Disk,
    pub(super) calls: Calls,
    pub(super) powered: bool,
    /// The operation during which the power goes.
    pub(super) cut_at: Option<u64>,
    pub(super) capacity: Option<u64>,
    pub(super) torn_block: Option<u64>,
    random: Random,
    history: Option<History>,
    open: BTreeMap<InodeId, Weak<OpenMark>>,
}

/// All handles of a file share one; when the last is dropped, the file is not open any more.
#[derive(Debug)]
pub(super) struct OpenMark;

/// The disk after each operation from some number on.
#[derive(Debug)]
struct History {
    first: u64,
    moments: VecDeque<Moment>,
}

#[derive(Debug)]
struct Moment {
    /// After the operation.
    disk: Disk,
    /// Whether the operation could make changes durable. A cut during any other one can be taken from the
    /// disk after it, because all that it did is still undecided there.
    barrier: bool,
}

impl State {
    pub(super) fn new(disk: Disk, seed: u64) -> Self {
        Self {
            disk,
            calls: Calls::default(),
            powered: true,
            cut_at: None,
            capacity: None,
            torn_block: None,
            random: Random::new(seed),
            history: None,
            open: BTreeMap::new(),
        }
    }

    /// A new machine on another state of the disk.
    pub(super) fn successor(&self, disk: Disk, seed: u64) -> Self {
        Self { capacity: self.capacity, torn_block: self.torn_block, ..Self::new(disk, seed) }
    }

    /// A new machine on what a power cut leaves of `disk`.
    pub(super) fn image(&self, disk: &Disk, choices: &mut Choices, seed: u64) -> Self {
        // It fails only for lengths that could never have been written.
        let image = cut::power_cut(disk, choices, self.torn_block).unwrap_or_default();
        self.successor(image, seed)
    }

    pub(super) fn fork(&self) -> Self {
        Self {
            disk: self.disk.clone(),
            calls: self.calls.clone(),
            random: self.random.clone(),
            history: None,
            open: BTreeMap::new(),
            ..*self
        }
    }

    pub(super) fn contents(&self) -> BTreeMap<String, Vec<u8>> {
        let file = |(name, id): (&Arc<str>, &InodeId)| {
            let live = &self.disk.inode(*id).ok()?.live;
            let mut bytes = vec![0; usize::try_from(live.len()).ok()?];
            live.read_padded(&mut bytes, 0);
            Some((name.to_string(), bytes))
        };
        self.disk.names.iter().filter_map(file).collect()
    }

    pub(super) fn damage(&mut self, file: &str, offset: u64, change: impl Fn(u8) -> u8) -> io::Result<()> {
        let inode = self.disk.find(file)?;
        self.disk.damage(inode, offset, change)?;
        if let Some(last) = self.history.as_mut().and_then(|history| history.moments.back_mut()) {
            last.disk = self.disk.clone();
        }
        Ok(())
    }

    /// Runs one call: counts it, lets it fail if that is planned, cuts the power if its time has come, and
    /// records the outcome. `act` gets the fault to suffer; one that is not about its kind has been dealt
    /// with here.
    pub(super) fn call<T>(
        &mut self,
        kind: CallKind,
        file: &str,
        (offset, length): (u64, u64),
        act: impl FnOnce(&mut Self, Option<Fault>) -> io::Result<T>,
    ) -> io::Result<T> {
        if !self.powered {
            return Err(power_is_off());
        }
        let fault = self.calls.enter(kind, file, offset, length);
        let result = if kind.is_operation() && self.cut_at == Some(self.calls.operations()) {
            self.powered = false;
            if !kind.is_barrier() {
                // It is under way: nothing that it changes is durable, so the cut decides what of it happens.
                let _ = act(self, None);
            }
            Err(power_is_off())
        } else {
            match (kind, fault) {
                (CallKind::Write | CallKind::Sync, _) => act(self, fault),
                (_, None | Some(Fault::Misdirected)) => act(self, None),
                (_, Some(fault)) => Err(fault.error()),
            }
        };
        if kind.is_operation()
            && let Some(history) = &mut self.history
        {
            history.moments.push_back(Moment { disk: self.disk.clone(), barrier: kind.is_barrier() });
        }
        result
    }

    pub(super) fn write(
        &mut self,
        inode: InodeId,
        bytes: &[u8],
        offset: u64,
        fault: Option<Fault>,
    ) -> io::Result<()> {
        match fault {
            None => self.write_within_capacity(inode, bytes, offset),
            Some(Fault::Misdirected) => self.write_elsewhere(inode, bytes, offset),
            Some(fault @ (Fault::NoSpace | Fault::ShortWrite)) => {
                let done = self.random.below(bytes.len() as u64) as usize;
                self.disk.write(inode, bytes.get(..done).unwrap_or_default(), offset)?;
                Err(fault.error())
            }
            Some(fault) => Err(fault.error()),
        }
    }

    fn write_within_capacity(&mut self, inode: InodeId, bytes: &[u8], offset: u64) -> io::Result<()> {
        let fits = self.fitting(inode, bytes.len(), offset)?;
        self.disk.write(inode, bytes.get(..fits).unwrap_or(bytes), offset)?;
        if fits < bytes.len() { Err(storage_full()) } else { Ok(()) }
    }

    /// How many of `length` bytes can be written before the disk is full.
    fn fitting(&self, inode: InodeId, length: usize, offset: u64) -> io::Result<usize> {
        let Some(capacity) = self.capacity else { return Ok(length) };
        let mut free = capacity.saturating_sub(self.disk.used());
        let live = &self.disk.inode(inode)?.live;
        let mut done = 0;
        while done < length {
            let position = offset.saturating_add(done as u64);
            if !live.is_allocated(position) {
                if free < BLOCK as u64 {
                    return Ok(done);
                }
                free -= BLOCK as u64;
            }
            done += BLOCK - (position % BLOCK as u64) as usize;
        }
        Ok(length)
    }

    fn write_elsewhere(&mut self, inode: InodeId, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.disk.write(inode, bytes, offset)?;
        let sectors = self.disk.inode(inode)?.live.len().div_ceil(SECTOR);
        let right = offset / SECTOR;
        let elsewhere = self.random.below(sectors.saturating_sub(1));
        let elsewhere = if elsewhere >= right { elsewhere + 1 } else { elsewhere };
        self.disk.misdirect_last_write(inode, elsewhere)
    }

    pub(super) fn sync(&mut self, inode: InodeId, fault: Option<Fault>) -> io::Result<()> {
        match fault {
            None | Some(Fault::Misdirected) => self.disk.sync(inode),
            Some(fault) => {
                if fault == Fault::SyncDropsPages {
                    self.disk.drop_pages(inode)?;
                }
                Err(fault.error())
            }
        }
    }

    pub(super) fn sync_directory(&mut self) {
        self.open.retain(|_, mark| mark.strong_count() > 0);
        let open = &self.open;
        self.disk.sync_directory(|inode| open.contains_key(&inode));
    }

    pub(super) fn open_mark(&mut self, inode: InodeId) -> Arc<OpenMark> {
        if let Some(mark) = self.open.get(&inode).and_then(Weak::upgrade) {
            return mark;
        }
        let mark = Arc::new(OpenMark);
        self.open.insert(inode, Arc::downgrade(&mark));
        mark
    }

    pub(super) fn start_history(&mut self) {
        let now = Moment { disk: self.disk.clone(), barrier: true };
        self.history = Some(History { first: self.calls.operations(), moments: VecDeque::from([now]) });
    }

    pub(super) fn forget_history(&mut self) {
        self.history = None;
    }

    pub(super) fn history(&self) -> Option<RangeInclusive<u64>> {
        let history = self.history.as_ref()?;
        Some(history.first..=history.first + history.moments.len() as u64 - 1)
    }

    fn moment(&self, operations: u64) -> Option<&Moment> {
        let history = self.history.as_ref()?;
        history.moments.get(usize::try_from(operations.checked_sub(history.first)?).ok()?)
    }

    /// The disk when so many operations had returned.
    pub(super) fn disk_after(&self, operations: u64) -> Option<&Disk> {
        self.moment(operations).map(|moment| &moment.disk)
    }

    /// The disk when so many operations had returned and the next one was under way: all that it does is
    /// undecided.
    pub(super) fn disk_during(&self, operations: u64) -> Option<&Disk> {
        let now = self.disk_after(operations)?;
        match self.moment(operations + 1) {
            Some(next) if !next.barrier => Some(&next.disk),
            _ => Some(now),
        }
    }
}
