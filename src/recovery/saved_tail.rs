//! The end of the log, kept elsewhere while it is written again.
//!
//! An opening writes what is not proven to be on disk once more (`open`). On a disk that damages whole blocks
//! when the power fails ([`Config::torn_block_size`](crate::Config::torn_block_size)) that could damage what
//! a flush has promised. So first the blocks are saved in a file of their own:
//!
//! - **(A)** It is durable, name and all, before the first of these blocks is written in the log; and
//!   removed, durably, when the new manifest is in force, before the store serves anybody.
//! - **(B)** An opening that finds it writes what it says over the log, and syncs that, before it reads the
//!   log. Nothing was written to the log since it was saved, but the same bytes. So that changes nothing but
//!   what was damaged, and can be done again.
//! - **(C)** One that is not whole was never relied upon: the log was not touched yet. It does not count, and
//!   is removed.
//! - **(D)** A read-only opening looks at the log through it.
//!
//! ```text
//!  0      4        8                24      28
//!  +------+--------+----------------+-------+---------------------------------------+-- ... --+
//!  | crc  | "PLTL" | store id       | count | for each piece: offset u64 | length u32 | pieces  |
//!  | u32  |        | 16 bytes       | u32   |                                       |         |
//!  +------+--------+----------------+-------+---------------------------------------+-- ... --+
//! ```
//!
//! The checksum, without a seed, covers all behind it.

use std::io;
use std::sync::Arc;

use super::identify::read_file;
use crate::error::{Error, Result};
use crate::format::{StoreId, checksum};
use crate::log::LOG_FILE;
use crate::storage::{Storage, StorageFile, is_full};

/// The name of the file.
pub(crate) const TAIL_FILE: &str = "TAIL";

const MAGIC: [u8; 4] = *b"PLTL";
const CRC: usize = 4;
const FIXED: usize = MAGIC.len() + StoreId::LENGTH + 4;
const PIECE: usize = 12;

/// Bytes of the log file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) offset: u64,
    pub(super) bytes: Vec<u8>,
}

/// A stretch of the log file, within a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stretch {
    pub(super) offset: u64,
    pub(super) length: u32,
}

impl Stretch {
    /// The bytes that are there.
    pub(super) fn read(self, log: &dyn StorageFile, log_path: &str) -> Result<Vec<u8>> {
        // At most a segment.
        let mut bytes = vec![0; self.length as usize];
        log.read_at(&mut bytes, self.offset).map_err(|error| Error::io("read", log_path, error))?;
        Ok(bytes)
    }
}

/// Saves stretches of the log. They are safe when this returns.
pub(super) fn save(
    storage: &dyn Storage,
    store_id: StoreId,
    log: &dyn StorageFile,
    stretches: &[Stretch],
) -> Result<()> {
    let (path, log_path) = (storage.describe(TAIL_FILE), storage.describe(LOG_FILE));
    let failed = |operation, error| {
        if is_full(&error) {
            Error::DiskFull { path: path.clone() }
        } else {
            Error::io(operation, path.as_str(), error)
        }
    };
    let file = storage.create(TAIL_FILE).map_err(|error| failed("create", error))?;
    let (mut crc, mut offset) = (0, CRC as u64);
    let mut append = |bytes: &[u8]| {
        crc = checksum(crc, bytes);
        let written = file.write_at(bytes, offset);
        offset += bytes.len() as u64;
        written.map_err(|error| failed("write", error))
    };
    append(&table(store_id, stretches))?;
    for stretch in stretches {
        append(&stretch.read(log, &log_path)?)?;
    }
    file.write_at(&crc.to_le_bytes(), 0).map_err(|error| failed("write", error))?;
    file.sync().map_err(|error| failed("sync", error))?;
    storage.sync_directory().map_err(|error| failed("sync the directory of", error))
}

/// What was saved, if anything was, and is whole.
pub(super) fn load(storage: &dyn Storage, store_id: StoreId) -> Result<Vec<Piece>> {
    if !is_there(storage)? {
        return Ok(Vec::new());
    }
    Ok(decode(&read_file(storage, TAIL_FILE)?, store_id).unwrap_or_default())
}

/// Removes what was saved, whole or not. It is gone for good when this returns.
pub(super) fn remove(storage: &dyn Storage) -> Result<()> {
    let failed = |operation, error| Error::io(operation, storage.describe(TAIL_FILE), error);
    if is_there(storage)? {
        storage.remove(TAIL_FILE).map_err(|error| failed("remove", error))?;
        storage.sync_directory().map_err(|error| failed("sync the directory of", error))?;
    }
    Ok(())
}

fn is_there(storage: &dyn Storage) -> Result<bool> {
    let names = storage.list().map_err(|error| Error::io("list", storage.describe(""), error))?;
    Ok(names.iter().any(|name| name == TAIL_FILE))
}

/// Writes the pieces into the log, and makes them durable.
pub(super) fn put_back(log: &dyn StorageFile, log_path: &str, pieces: &[Piece]) -> Result<()> {
    for piece in pieces {
        let written = log.write_at(&piece.bytes, piece.offset);
        written.map_err(|error| Error::io("write", log_path, error))?;
    }
    log.sync().map_err(|error| Error::io("sync", log_path, error))
}

/// What lies between checksum and pieces.
fn table(store_id: StoreId, stretches: &[Stretch]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(FIXED + PIECE * stretches.len());
    bytes.extend(MAGIC);
    bytes.extend(store_id.0);
    // A stretch or two for each segment, and there are fewer than 2^32 of these.
    bytes.extend((stretches.len() as u32).to_le_bytes());
    for Stretch { offset, length } in stretches {
        bytes.extend(offset.to_le_bytes());
        bytes.extend(length.to_le_bytes());
    }
    bytes
}

fn decode(bytes: &[u8], store_id: StoreId) -> Option<Vec<Piece>> {
    let (crc, covered) = bytes.split_first_chunk::<CRC>()?;
    if checksum(0, covered) != u32::from_le_bytes(*crc) {
        return None;
    }
    let rest = covered.strip_prefix(&MAGIC)?.strip_prefix(&store_id.0)?;
    let (count, rest) = rest.split_first_chunk::<4>()?;
    let count = usize::try_from(u32::from_le_bytes(*count)).ok()?;
    let (table, mut rest) = rest.split_at_checked(count.checked_mul(PIECE)?)?;
    let mut pieces = Vec::with_capacity(count);
    for entry in table.chunks_exact(PIECE) {
        let (offset, length) = entry.split_first_chunk::<8>()?;
        let length = usize::try_from(u32::from_le_bytes(length.try_into().ok()?)).ok()?;
        let (bytes, behind) = rest.split_at_checked(length)?;
        pieces.push(Piece { offset: u64::from_le_bytes(*offset), bytes: bytes.to_vec() });
        rest = behind;
    }
    rest.is_empty().then_some(pieces)
}

/// The log as it is with the pieces in it, for who may not write them there (D).
#[derive(Debug)]
pub(super) struct Overlaid {
    pub(super) log: Arc<dyn StorageFile>,
    pub(super) pieces: Vec<Piece>,
}

impl StorageFile for Overlaid {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.log.read_at(buffer, offset)?;
        let end = offset + buffer.len() as u64;
        for piece in &self.pieces {
            let (from, to) = (offset.max(piece.offset), end.min(piece.offset + piece.bytes.len() as u64));
            if from >= to {
                continue;
            }
            // Both ranges lie in memory.
            let length = (to - from) as usize;
            let (at, of) = ((from - offset) as usize, (from - piece.offset) as usize);
            if let (Some(into), Some(bytes)) =
                (buffer.get_mut(at..at + length), piece.bytes.get(of..of + length))
            {
                into.copy_from_slice(bytes);
            }
        }
        Ok(())
    }

    fn write_at(&self, _: &[u8], _: u64) -> io::Result<()> {
        Err(io::ErrorKind::PermissionDenied.into())
    }

    fn sync(&self) -> io::Result<()> {
        Err(io::ErrorKind::PermissionDenied.into())
    }

    fn len(&self) -> io::Result<u64> {
        self.log.len()
    }

    fn set_len(&self, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::PermissionDenied.into())
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::sync::Arc;

    use super::{Overlaid, Piece, Stretch, TAIL_FILE, decode, load, put_back, remove, save};
    use crate::format::StoreId;
    use crate::storage::{Access, MemoryStorage, Storage, StorageFile};

    const STORE: StoreId = StoreId([7; 16]);
    const STRETCHES: [Stretch; 3] = [
        Stretch { offset: 1, length: 3 },
        Stretch { offset: 100, length: 0 },
        Stretch { offset: 5000, length: 700 },
    ];

    /// A storage where the pieces of a log were saved, and they.
    fn saved() -> (MemoryStorage, Vec<Piece>) {
        let storage = MemoryStorage::new();
        let log = storage.create("log").unwrap();
        log.write_at(&(0..9000_u32).map(|byte| (byte % 251) as u8).collect::<Vec<_>>(), 0).unwrap();
        save(&storage, STORE, log.as_ref(), &STRETCHES).unwrap();
        let piece = |stretch: Stretch| {
            let bytes = stretch.read(log.as_ref(), "log").unwrap();
            Piece { offset: stretch.offset, bytes }
        };
        let pieces = STRETCHES.map(piece).to_vec();
        (storage, pieces)
    }

    #[test]
    fn what_was_saved_is_found_until_it_is_removed() {
        let (storage, pieces) = saved();
        assert_eq!(load(&storage, STORE).unwrap(), pieces);
        assert_eq!(load(&storage, StoreId([8; 16])).unwrap(), [], "another store's");
        remove(&storage).unwrap();
        assert_eq!(load(&storage, STORE).unwrap(), []);
        assert!(!storage.list().unwrap().contains(&TAIL_FILE.to_owned()));
        remove(&storage).unwrap();
    }

    #[test]
    fn what_is_not_whole_does_not_count() {
        let (storage, pieces) = saved();
        let file = storage.open(TAIL_FILE, Access::Read).unwrap();
        let mut bytes = vec![0; file.len().unwrap() as usize];
        file.read_at(&mut bytes, 0).unwrap();
        assert_eq!(decode(&bytes, STORE), Some(pieces));
        for length in 0..bytes.len() {
            assert_eq!(decode(&bytes[..length], STORE), None);
        }
        for bit in 0..8 * bytes.len() {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode(&bytes, STORE), None);
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        assert_eq!(decode(&[&bytes[..], &[0]].concat(), STORE), None);
    }

    #[test]
    fn the_log_is_seen_as_it_will_be() {
        let storage = MemoryStorage::new();
        let log: Arc<dyn StorageFile> = storage.create("log").unwrap();
        log.write_at(&(0..100).collect::<Vec<u8>>(), 0).unwrap();
        let pieces = vec![
            Piece { offset: 10, bytes: vec![200; 5] },
            Piece { offset: 90, bytes: vec![201; 10] },
            Piece { offset: 15, bytes: vec![202; 1] },
        ];
        let overlaid = Overlaid { log: Arc::clone(&log), pieces: pieces.clone() };
        let read = |file: &dyn StorageFile, from: usize, length: usize| {
            let mut bytes = vec![0; length];
            file.read_at(&mut bytes, from as u64).unwrap();
            bytes
        };
        assert!(overlaid.write_at(&[1], 0).is_err() && overlaid.set_len(0).is_err());
        let ranges = || (0..100).flat_map(|from| (0..=100 - from).map(move |length| (from, length)));
        let seen: Vec<_> = ranges().map(|(from, length)| read(&overlaid, from, length)).collect();
        put_back(log.as_ref(), "log", &pieces).unwrap();
        for ((from, length), seen) in ranges().zip(seen) {
            assert_eq!(read(log.as_ref(), from, length), seen);
        }
    }
}
