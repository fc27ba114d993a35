//! Compression by zstd.
//!
//! A compressed payload is one zstd frame without its first four bytes, the magic number, which are always
//! the same. The frame says how long its content is, and names its dictionary by the dictionary's number.

use std::cell::RefCell;
use std::fmt;

use zstd::zstd_safe::{self, CCtx, DCtx, MAGICNUMBER, get_error_name};

use super::UnpackFault;
use super::dictionaries::Dictionaries;
use crate::config::Config;
use crate::error::Result;
use crate::format::{Payload, StoreId};
use crate::sync::thread_local;

/// Shorter payloads are left alone: a frame has some bytes of its own.
const SMALLEST: usize = 32;
/// What compression must save, as a share of the payload.
const WORTHWHILE: usize = 8;
/// So many payloads in a row that did not pay, and only every [`SELDOM`]th is tried.
const PATIENCE: u32 = 32;
const SELDOM: u32 = 16;
/// The level at which dictionaries are prepared as long as compression is off.
const DEFAULT_LEVEL: i32 = 3;
const MAGIC: [u8; 4] = MAGICNUMBER.to_le_bytes();
/// The largest buffers that a thread keeps.
const KEPT: usize = 1 << 20;

/// The compression of one store.
pub(crate) struct Compression {
    /// `None`: new records are not compressed.
    level: Option<i32>,
    dictionaries: Dictionaries,
}

impl fmt::Debug for Compression {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Compression").field("level", &self.level).finish_non_exhaustive()
    }
}

/// A thread's contexts, which are large, and buffers.
struct Worker {
    packer: CCtx<'static>,
    unpacker: DCtx<'static>,
    frame: Vec<u8>,
    plain: Vec<u8>,
    /// Payloads in a row that did not pay, and the dictionary with which.
    misses: u32,
    missed_with: u32,
}

thread_local! {
    static WORKER: RefCell<Option<Box<Worker>>> = const { RefCell::new(None) };
}

impl Worker {
    fn new() -> Self {
        let (packer, unpacker) = (CCtx::create(), DCtx::create());
        Self { packer, unpacker, frame: Vec::new(), plain: Vec::new(), misses: 0, missed_with: 0 }
    }

    /// Lends the thread's worker. User code that runs meanwhile and gets here again finds a new one.
    fn lend<R>(work: impl FnOnce(&mut Self) -> R) -> R {
        let kept = WORKER.try_with(RefCell::take).unwrap_or_default();
        let mut worker = kept.unwrap_or_else(|| Box::new(Self::new()));
        let result = work(&mut worker);
        if worker.frame.capacity().max(worker.plain.capacity()) > KEPT {
            (worker.frame, worker.plain) = (Vec::new(), Vec::new());
        }
        let _ = WORKER.try_with(|kept| kept.replace(Some(worker)));
        result
    }

    /// Compresses, if that pays. The frame then is in `frame`.
    fn pack(&mut self, plain: &[u8], level: i32, dictionaries: &Dictionaries) -> bool {
        if self.gives_up(dictionaries.number()) {
            return false;
        }
        self.frame.clear();
        self.frame.reserve(zstd_safe::compress_bound(plain.len()));
        let packed = match dictionaries.current() {
            Some(dictionary) => self.packer.compress_using_cdict(&mut self.frame, plain, &dictionary.pack),
            None => self.packer.compress(&mut self.frame, plain, level),
        };
        let pays = packed.is_ok_and(|length| length <= plain.len() - plain.len() / WORTHWHILE)
            && self.frame.starts_with(&MAGIC);
        self.misses = if pays { 0 } else { self.misses.saturating_add(1) };
        pays
    }

    /// Whether this payload is not tried, for what came before did not pay. A new dictionary is a new chance.
    fn gives_up(&mut self, dictionary: u32) -> bool {
        if self.missed_with != dictionary {
            (self.missed_with, self.misses) = (dictionary, 0);
        }
        if self.misses < PATIENCE {
            return false;
        }
        self.misses = self.misses.wrapping_add(1).max(PATIENCE);
        !self.misses.is_multiple_of(SELDOM)
    }

    /// Expands a payload into `plain`.
    fn unpack(
        &mut self,
        payload: &[u8],
        limit: usize,
        dictionaries: &Dictionaries,
    ) -> std::result::Result<(), String> {
        self.frame.clear();
        self.frame.extend_from_slice(&MAGIC);
        self.frame.extend_from_slice(payload);
        let length = zstd_safe::get_frame_content_size(&self.frame).ok().flatten();
        let length = length.and_then(|length| usize::try_from(length).ok()).filter(|length| *length <= limit);
        let length = length.ok_or("has a compressed payload of no possible length")?;
        self.plain.clear();
        self.plain.reserve(length);
        let unpacked = match zstd_safe::get_dict_id_from_frame(&self.frame) {
            None => self.unpacker.decompress(&mut self.plain, &self.frame),
            Some(number) => {
                let dictionary = dictionaries.get(number.get());
                let dictionary =
                    dictionary.ok_or_else(|| format!("needs dictionary {number}, which is missing"))?;
                self.unpacker.decompress_using_ddict(&mut self.plain, &self.frame, &dictionary.unpack)
            }
        };
        match unpacked {
            Ok(found) if found == length => Ok(()),
            Ok(_) => Err("has a compressed payload of another length than it says".into()),
            Err(code) => Err(format!("has a compressed payload that is invalid: {}", get_error_name(code))),
        }
    }
}

impl Compression {
    /// The compression of a store, with its dictionaries.
    pub(crate) fn open(config: &Config, store_id: StoreId) -> Result<Self> {
        let level = config.compression;
        let dictionaries = Dictionaries::load(&config.storage, store_id, level.unwrap_or(DEFAULT_LEVEL))?;
        Ok(Self { level, dictionaries })
    }

    /// Hands on a payload in the form in which it is to be logged. `limit` is the longest that can be logged:
    /// what is longer stays as it is, and is refused.
    #[inline]
    pub(crate) fn pack<R>(&self, plain: &[u8], limit: usize, then: impl FnOnce(Payload<'_>) -> R) -> R {
        match self.level {
            Some(level) if (SMALLEST..=limit).contains(&plain.len()) => Worker::lend(|worker| {
                if !worker.pack(plain, level, &self.dictionaries) {
                    return then(Payload::plain(plain));
                }
                then(Payload::compressed(worker.frame.get(MAGIC.len()..).unwrap_or_default()))
            }),
            _ => then(Payload::plain(plain)),
        }
    }

    /// Hands on the payload of a verified record as it was before [`pack`](Self::pack).
    #[inline]
    pub(crate) fn unpack<R>(
        &self,
        payload: Payload<'_>,
        limit: usize,
        then: impl FnOnce(&[u8]) -> R,
    ) -> std::result::Result<R, UnpackFault> {
        if !payload.compressed {
            return Ok(then(payload.bytes));
        }
        Worker::lend(|worker| {
            worker.unpack(payload.bytes, limit, &self.dictionaries).map_err(UnpackFault::Damaged)?;
            Ok(then(&worker.plain))
        })
    }

    /// Learns from samples and compresses with what was learned from now on. False if they were too few to
    /// learn from.
    pub(crate) fn train(&self, samples: &[Vec<u8>], size: usize) -> Result<bool> {
        match zstd::dict::from_samples(samples, size) {
            Ok(dictionary) => self.dictionaries.add(dictionary).map(|()| true),
            Err(error) => {
                ::log::info!("no dictionary could be trained: {error}");
                Ok(false)
            }
        }
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use std::sync::Arc;

    use super::Compression;
    use crate::compression::UnpackFault;
    use crate::config::Config;
    use crate::format::StoreId;
    use crate::storage::MemoryStorage;

    #[test]
    fn a_payload_that_says_it_is_longer_than_the_longest_value_is_damage() {
        let config = Config::with_storage(Arc::new(MemoryStorage::new())).compression(3);
        let compression = Compression::open(&config, StoreId([1; 16])).unwrap();
        compression.pack(&[7; 1000], 1000, |payload| {
            assert!(payload.compressed);
            assert!(matches!(compression.unpack(payload, 1000, <[u8]>::len), Ok(1000)));
            // Nothing is expanded then, however much memory there is.
            assert!(matches!(compression.unpack(payload, 999, <[u8]>::len), Err(UnpackFault::Damaged(_))));
        });
    }
}
