//! The state of a simulated disk: what the process sees, what the platter holds, and what lies between the
//! two.
//!
//! Files are inodes; a directory maps names to them. Both exist twice, *live* (what a running process sees)
//! and *durable* (what a power cut leaves for certain), and the changes that lead from durable to live wait
//! in order:
//!
//! A. A write is kept as whole sectors, as a page cache writes them back. A sector is old or new, never a
//! mixture. B. A change of length waits like a write. Syncing the file makes its writes and its length
//! durable, and nothing
//!    else: not its name.
//! C. Creations, renames and removals wait in the directory. Syncing the directory makes them durable, and
//! nothing
//!    else: not the bytes.
//! D. Until then each change may be lost or not, independently (see [`cut`](super::cut)).
//!
//! Every part is shared until it is changed, so a copy of a disk costs a few reference counts.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use crate::storage::bytes::SparseBytes;
use crate::storage::memory::not_found;

/// What a disk writes as one unit.
pub(super) const SECTOR: u64 = 512;
/// What a file system allocates as one unit.
pub(super) const BLOCK: usize = 4096;

pub(super) type Contents = SparseBytes<BLOCK>;
pub(super) type Names = BTreeMap<Arc<str>, InodeId>;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct InodeId(u64);

#[derive(Clone, Debug, Default)]
pub(super) struct Disk {
    pub(super) inodes: BTreeMap<InodeId, Arc<Inode>>,
    pub(super) names: Arc<Names>,
    pub(super) durable_names: Arc<Names>,
    pub(super) name_changes: Vec<NameChange>,
    next_inode: u64,
    /// Rises with every change; changes made by one call share it.
    pub(super) time: u64,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Inode {
    pub(super) live: Contents,
    pub(super) durable: Contents,
    pub(super) pending: Vec<Pending>,
    /// The waiting changes no longer lead from durable to live: a fault has come between.
    pub(super) diverged: bool,
}

/// A change to a file that is not durable.
#[derive(Clone, Debug)]
pub(super) struct Pending {
    pub(super) time: u64,
    pub(super) change: Change,
}

#[derive(Clone, Debug)]
pub(super) enum Change {
    /// Whole sectors, from sector number `sector`.
    Write { sector: u64, bytes: Arc<[u8]> },
    /// A new length, and whether it cuts bytes off.
    Length { length: u64, cuts: bool },
}

/// A change to the directory that is not durable.
#[derive(Clone, Debug)]
pub(super) struct NameChange {
    pub(super) time: u64,
    pub(super) change: Renaming,
}

#[derive(Clone, Debug)]
pub(super) enum Renaming {
    Create { name: Arc<str>, inode: InodeId },
    Rename { from: Arc<str>, to: Arc<str>, inode: InodeId },
    Remove { name: Arc<str>, inode: InodeId },
}

impl Inode {
    /// A file all of which is durable.
    pub(super) fn settled(contents: Contents) -> Self {
        Self { live: contents.clone(), durable: contents, pending: Vec::new(), diverged: false }
    }

    fn write(&mut self, bytes: &[u8], offset: u64, time: u64) -> io::Result<()> {
        let before = self.live.len();
        self.live.write(bytes, offset)?;
        if bytes.is_empty() {
            return Ok(());
        }
        let first = offset / SECTOR;
        let end = (offset + bytes.len() as u64).div_ceil(SECTOR);
        let mut sectors = vec![0; ((end - first) * SECTOR) as usize];
        self.live.read_padded(&mut sectors, first * SECTOR);
        let change = Change::Write { sector: first, bytes: sectors.into() };
        self.pending.push(Pending { time, change });
        if self.live.len() > before {
            let change = Change::Length { length: self.live.len(), cuts: false };
            self.pending.push(Pending { time, change });
        }
        Ok(())
    }

    fn set_len(&mut self, length: u64, time: u64) -> io::Result<()> {
        let before = self.live.len();
        self.live.set_len(length)?;
        if length != before {
            let change = Change::Length { length, cuts: length < before };
            self.pending.push(Pending { time, change });
        }
        Ok(())
    }
}

impl Disk {
    pub(super) fn inode(&self, id: InodeId) -> io::Result<&Inode> {
        self.inodes.get(&id).map(|inode| &**inode).ok_or_else(|| not_found("of this handle"))
    }

    fn inode_mut(&mut self, id: InodeId) -> io::Result<&mut Inode> {
        self.inodes.get_mut(&id).map(Arc::make_mut).ok_or_else(|| not_found("of this handle"))
    }

    pub(super) fn find(&self, name: &str) -> io::Result<InodeId> {
        self.names.get(name).copied().ok_or_else(|| not_found(name))
    }

    /// Adds a settled file, for the disk that a power cut leaves.
    pub(super) fn settled(names: Names, inodes: BTreeMap<InodeId, Arc<Inode>>, before: &Self) -> Self {
        let names = Arc::new(names);
        Self {
            inodes,
            durable_names: names.clone(),
            names,
            name_changes: Vec::new(),
            next_inode: before.next_inode,
            time: before.time,
        }
    }

    /// An empty file of that name. A file that exists is emptied and stays the same file.
    pub(super) fn create(&mut self, name: &str) -> io::Result<InodeId> {
        if let Ok(inode) = self.find(name) {
            self.set_len(inode, 0)?;
            return Ok(inode);
        }
        let inode = InodeId(self.next_inode);
        self.next_inode += 1;
        self.inodes.insert(inode, Arc::default());
        let name: Arc<str> = name.into();
        Arc::make_mut(&mut self.names).insert(name.clone(), inode);
        self.change_names(Renaming::Create { name, inode });
        Ok(inode)
    }

    pub(super) fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        let inode = self.find(from)?;
        if from != to {
            let names = Arc::make_mut(&mut self.names);
            names.remove(from);
            names.insert(to.into(), inode);
            self.change_names(Renaming::Rename { from: from.into(), to: to.into(), inode });
        }
        Ok(())
    }

    pub(super) fn remove(&mut self, name: &str) -> io::Result<()> {
        let inode = self.find(name)?;
        Arc::make_mut(&mut self.names).remove(name);
        self.change_names(Renaming::Remove { name: name.into(), inode });
        Ok(())
    }

    fn change_names(&mut self, change: Renaming) {
        self.time += 1;
        self.name_changes.push(NameChange { time: self.time, change });
    }

    /// Makes the directory durable and forgets files that have neither a name nor a handle.
    pub(super) fn sync_directory(&mut self, is_open: impl Fn(InodeId) -> bool) {
        self.durable_names = self.names.clone();
        self.name_changes.clear();
        if self.inodes.len() > self.names.len() {
            let named: std::collections::BTreeSet<InodeId> = self.names.values().copied().collect();
            self.inodes.retain(|id, _| named.contains(id) || is_open(*id));
        }
    }

    pub(super) fn write(&mut self, inode: InodeId, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.time += 1;
        let time = self.time;
        self.inode_mut(inode)?.write(bytes, offset, time)
    }

    pub(super) fn set_len(&mut self, inode: InodeId, length: u64) -> io::Result<()> {
        self.time += 1;
        let time = self.time;
        self.inode_mut(inode)?.set_len(length, time)
    }

    /// Makes a file's bytes and length durable.
    pub(super) fn sync(&mut self, inode: InodeId) -> io::Result<()> {
        let inode = self.inode_mut(inode)?;
        let pending = std::mem::take(&mut inode.pending);
        inode.durable = if inode.diverged {
            super::cut::apply_all(&inode.durable, &pending)?
        } else {
            inode.live.clone()
        };
        Ok(())
    }

    /// What a kernel does that marks pages clean after it failed to write them: readers go on seeing the
    /// bytes, the disk never gets them, and later syncs succeed. The length is no page, so it still waits.
    pub(super) fn drop_pages(&mut self, inode: InodeId) -> io::Result<()> {
        let inode = self.inode_mut(inode)?;
        inode.pending.retain(|pending| matches!(pending.change, Change::Length { .. }));
        inode.diverged = true;
        Ok(())
    }

    /// Sends the last write of a file to another place of it. The page cache does not notice.
    pub(super) fn misdirect_last_write(&mut self, inode: InodeId, to_sector: u64) -> io::Result<()> {
        let inode = self.inode_mut(inode)?;
        inode.diverged = true;
        for pending in inode.pending.iter_mut().rev() {
            if let Change::Write { sector, .. } = &mut pending.change {
                *sector = to_sector;
                break;
            }
        }
        Ok(())
    }

    /// Changes bytes at rest, in both images, without any trace.
    pub(super) fn damage(
        &mut self,
        inode: InodeId,
        offset: u64,
        change: impl Fn(u8) -> u8,
    ) -> io::Result<()> {
        let inode = self.inode_mut(inode)?;
        let mut byte = [0];
        inode.live.read(&mut byte, offset)?;
        inode.live.write(&byte.map(&change), offset)?;
        if inode.durable.read(&mut byte, offset).is_ok() {
            inode.durable.write(&byte.map(&change), offset)?;
        }
        inode.diverged = true;
        Ok(())
    }

    /// The bytes that blocks of files take, holes left out. Files without a name count while they are kept.
    pub(super) fn used(&self) -> u64 {
        self.inodes.values().map(|inode| inode.live.allocated()).sum()
    }

    /// How many changes are not durable.
    pub(super) fn undecided(&self) -> u64 {
        let files: usize =
            self.names.values().filter_map(|id| self.inodes.get(id)).map(|i| i.pending.len()).sum();
        (files + self.name_changes.len()) as u64
    }
}
