//! The simulated disk as a [`Storage`].

use std::io;
use std::sync::Arc;

use super::calls::CallKind;
use super::disk::InodeId;
use super::state::OpenMark;
use super::{SimStorage, State};
use crate::storage::locks::NoLock;
use crate::storage::memory::read_only;
use crate::storage::{Access, Storage, StorageFile, StorageLock};
use crate::sync::Mutex;

impl SimStorage {
    fn handle(&self, state: &mut State, name: &str, inode: InodeId, access: Access) -> Arc<dyn StorageFile> {
        Arc::new(SimFile {
            state: self.state.clone(),
            name: name.into(),
            inode,
            access,
            _open: state.open_mark(inode),
        })
    }
}

impl Storage for SimStorage {
    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn StorageFile>> {
        self.lock_state().call(CallKind::Open, name, (0, 0), |state, _| {
            let inode = state.disk.find(name)?;
            Ok(self.handle(state, name, inode, access))
        })
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
        self.lock_state().call(CallKind::Create, name, (0, 0), |state, _| {
            let inode = state.disk.create(name)?;
            Ok(self.handle(state, name, inode, Access::Write))
        })
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.lock_state().call(CallKind::Rename, from, (0, 0), |state, _| state.disk.rename(from, to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.lock_state().call(CallKind::Remove, name, (0, 0), |state, _| state.disk.remove(name))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.lock_state().call(CallKind::List, "", (0, 0), |state, _| {
            Ok(state.disk.names.keys().map(ToString::to_string).collect())
        })
    }

    fn create_directory(&self) -> io::Result<()> {
        self.lock_state().call(CallKind::CreateDirectory, "", (0, 0), |_, _| Ok(()))
    }

    fn sync_directory(&self) -> io::Result<()> {
        self.lock_state().call(CallKind::SyncDirectory, "", (0, 0), |state, _| {
            state.sync_directory();
            Ok(())
        })
    }

    fn lock(&self, name: &str, access: Access) -> io::Result<Option<Box<dyn StorageLock>>> {
        let kind = match access {
            Access::Read => CallKind::ReadLock,
            Access::Write => CallKind::WriteLock,
        };
        self.lock_state().call(kind, name, (0, 0), |state, _| {
            if state.disk.find(name).is_err() {
                if access == Access::Read {
                    return Ok(Some(Box::new(NoLock) as Box<dyn StorageLock>));
                }
                state.disk.create(name)?;
            }
            Ok(self.locks.take(name, access))
        })
    }

    fn remove_directory(&self) -> io::Result<()> {
        self.lock_state().call(CallKind::RemoveDirectory, "", (0, 0), |state, _| {
            let names: Vec<Arc<str>> = state.disk.names.keys().cloned().collect();
            names.iter().try_for_each(|name| state.disk.remove(name))
        })
    }

    fn describe(&self, name: &str) -> String {
        format!("sim:{name}")
    }
}

#[derive(Debug)]
struct SimFile {
    state: Arc<Mutex<State>>,
    name: Arc<str>,
    inode: InodeId,
    access: Access,
    _open: Arc<OpenMark>,
}

impl SimFile {
    fn check_writable(&self) -> io::Result<()> {
        match self.access {
            Access::Write => Ok(()),
            Access::Read => Err(read_only()),
        }
    }
}

impl StorageFile for SimFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let range = (offset, buffer.len() as u64);
        self.state.lock().call(CallKind::Read, &self.name, range, |state, _| {
            state.disk.inode(self.inode)?.live.read(buffer, offset)
        })
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.check_writable()?;
        let range = (offset, bytes.len() as u64);
        self.state.lock().call(CallKind::Write, &self.name, range, |state, fault| {
            state.write(self.inode, bytes, offset, fault)
        })
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.state.lock();
        state.call(CallKind::Sync, &self.name, (0, 0), |state, fault| state.sync(self.inode, fault))
    }

    fn len(&self) -> io::Result<u64> {
        self.state.lock().call(CallKind::Length, &self.name, (0, 0), |state, _| {
            Ok(state.disk.inode(self.inode)?.live.len())
        })
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.check_writable()?;
        self.state.lock().call(CallKind::SetLength, &self.name, (0, length), |state, _| {
            state.disk.set_len(self.inode, length)
        })
    }
}
