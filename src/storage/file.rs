//! Real files in a real directory, by std alone.
//!
//! What durability rests on here, and why each is enough:
//!
//! A. `StorageFile::sync` is `File::sync_data`. `fdatasync` may leave out time stamps but not what is needed
//! to find
//!    the bytes again, so a grown or shrunk length is covered (on Apple systems std issues `F_FULLFSYNC`).
//! B. A file's name is in its directory, not in the file: `sync_directory` opens the directory and syncs it.
//! Windows
//!    can't do that and has journalled names, so there it does nothing.
//! C. A directory's own name is in *its* parent. `create_directory` syncs the parent of every directory that
//! it makes
//!    before it makes the next one below; and it also syncs above the deepest one that it found, because an
//!    earlier process may have been killed between making it and syncing its parent.
//! D. Locks are advisory locks on an open file (`flock` or its kin). They belong to the open file, not to the
//! process,
//!    so they also exclude within one process, and the system gives them back when a process dies.
//! E. A lock counts only if the file still has its name when the lock is ours: else the owner before us
//! removed it,
//!    and a third one may hold the lock on a new file of that name. (Unix only: see `still_named`.)

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::storage::locks::NoLock;
use crate::storage::{Access, Storage, StorageFile, StorageLock};
use crate::sync::Mutex;

/// A directory of the file system.
///
/// ```
/// use pagelog::{FileStorage, Storage};
///
/// # fn main() -> std::io::Result<()> {
/// # let temporary = tempfile::tempdir()?;
/// # let path = temporary.path().join("data");
/// let storage = FileStorage::new(path);
/// storage.create_directory()?;
/// let file = storage.create("greeting")?;
/// file.write_at(b"hello", 0)?;
/// file.sync()?;
/// storage.sync_directory()?; // the file's name
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct FileStorage {
    directory: PathBuf,
    /// The directories that the last `create_directory` has made, the deepest one last.
    made: Arc<Mutex<Vec<PathBuf>>>,
}

impl FileStorage {
    /// Names the directory; nothing is touched yet.
    ///
    /// ```
    /// use pagelog::{FileStorage, Storage};
    ///
    /// # fn main() -> std::io::Result<()> {
    /// # let temporary = tempfile::tempdir()?;
    /// # let path = temporary.path().join("data");
    /// let storage = FileStorage::new(&path);
    /// assert!(!path.exists());
    /// storage.create_directory()?;
    /// assert!(path.is_dir());
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self { directory: directory.into(), made: Arc::new(Mutex::new(Vec::new())) }
    }

    /// The directory.
    ///
    /// ```
    /// use std::path::Path;
    /// use pagelog::FileStorage;
    ///
    /// assert_eq!(FileStorage::new("some/where").directory(), Path::new("some/where"));
    /// ```
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Opens the lock file and locks it; `None` if it is locked elsewhere.
    fn try_lock(path: &Path, access: Access) -> io::Result<Option<File>> {
        let file = match access {
            Access::Read => File::open(path)?,
            Access::Write => {
                OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?
            }
        };
        let locked = match access {
            Access::Read => file.try_lock_shared(),
            Access::Write => file.try_lock(),
        };
        match locked {
            Ok(()) => Ok(Some(file)),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

impl Storage for FileStorage {
    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn StorageFile>> {
        let file = OpenOptions::new().read(true).write(access == Access::Write).open(self.path(name))?;
        Ok(Arc::new(RealFile(file)))
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(true).open(self.path(name))?;
        Ok(Arc::new(RealFile(file)))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path(from), self.path(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path(name))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        match fs::read_dir(&self.directory) {
            Ok(entries) => {
                entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    fn create_directory(&self) -> io::Result<()> {
        let mut made = self.made.lock();
        made.clear();
        let missing: Vec<&Path> =
            self.directory.ancestors().take_while(|path| !name_or_dot(path).is_dir()).collect();
        let deepest = self.directory.ancestors().nth(missing.len());
        if let Some(parent) = deepest.and_then(Path::parent) {
            // It was there before us, so not being allowed to look at what is above is no reason to fail.
            match sync_path(parent) {
                Err(error) if error.kind() != io::ErrorKind::PermissionDenied => return Err(error),
                _ => {}
            }
        }
        for path in missing.into_iter().rev() {
            match fs::create_dir(path) {
                // Somebody else may make it at the same time.
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists || !path.is_dir() => {
                    return Err(error);
                }
                Err(_) => {}
                Ok(()) => made.push(path.to_owned()),
            }
            if let Some(parent) = path.parent() {
                sync_path(parent)?;
            }
        }
        Ok(())
    }

    fn sync_directory(&self) -> io::Result<()> {
        sync_path(&self.directory)
    }

    fn lock(&self, name: &str, access: Access) -> io::Result<Option<Box<dyn StorageLock>>> {
        let path = self.path(name);
        loop {
            match Self::try_lock(&path, access) {
                Ok(Some(file)) if still_named(&file, &path)? => return Ok(Some(Box::new(FileLock(file)))),
                // The file lost its name while it was being locked (E): start over with what is there now.
                Ok(Some(_)) => {}
                Ok(None) => return Ok(None),
                Err(error) if access == Access::Read && error.kind() == io::ErrorKind::NotFound => {
                    return Ok(Some(Box::new(NoLock)));
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn remove_directory(&self) -> io::Result<()> {
        match fs::remove_dir_all(&self.directory) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn remove_new_directory(&self) -> io::Result<()> {
        let mut made = self.made.lock();
        while let Some(path) = made.pop() {
            match fs::remove_dir(&path) {
                // Somebody has put something there.
                Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => made.clear(),
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => path.parent().map_or(Ok(()), sync_path)?,
            }
        }
        Ok(())
    }

    fn describe(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }
}

/// The parent of a relative path of one part is the empty path, which no system call takes.
fn name_or_dot(path: &Path) -> &Path {
    if path.as_os_str().is_empty() { Path::new(".") } else { path }
}

#[cfg(not(windows))]
fn sync_path(directory: &Path) -> io::Result<()> {
    File::open(name_or_dot(directory))?.sync_all()
}

#[cfg(windows)]
fn sync_path(_directory: &Path) -> io::Result<()> {
    Ok(())
}

/// Whether `path` still names this very file.
#[cfg(unix)]
fn still_named(file: &File, path: &Path) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt;
    let ours = file.metadata()?;
    match fs::metadata(path) {
        Ok(named) => Ok((ours.dev(), ours.ino()) == (named.dev(), named.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Elsewhere std can't tell. Only a temporary store removes its lock file, at its end; so (E) is open for
/// stores that are opened there while one of the same directory goes.
#[cfg(not(unix))]
fn still_named(_file: &File, _path: &Path) -> io::Result<bool> {
    Ok(true)
}

#[derive(Debug)]
struct RealFile(File);

impl StorageFile for RealFile {
    #[cfg(unix)]
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        std::os::unix::fs::FileExt::read_exact_at(&self.0, buffer, offset)
    }

    #[cfg(unix)]
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        std::os::unix::fs::FileExt::write_all_at(&self.0, bytes, offset)
    }

    #[cfg(windows)]
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        use std::os::windows::fs::FileExt;
        let (mut rest, mut position) = (buffer, offset);
        while !rest.is_empty() {
            match self.0.seek_read(rest, position) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(read) => {
                    rest = rest.get_mut(read..).unwrap_or_default();
                    position += read as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    #[cfg(windows)]
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        use std::os::windows::fs::FileExt;
        let (mut rest, mut position) = (bytes, offset);
        while !rest.is_empty() {
            match self.0.seek_write(rest, position) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    rest = rest.get(written..).unwrap_or_default();
                    position += written as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.0.set_len(length)
    }
}

/// Holding the file open holds the lock.
#[derive(Debug)]
struct FileLock(#[expect(dead_code, reason = "held for its drop")] File);

impl StorageLock for FileLock {}
