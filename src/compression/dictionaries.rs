//! The dictionaries of a store: loaded when it is opened, added to when one is trained.

use std::sync::{Arc, OnceLock};

use zstd::zstd_safe::{CDict, DDict};

use crate::error::{Corruption, Error, Result};
use crate::format::{
    LONGEST_DICTIONARY_FILE, MAX_DICTIONARIES, StoreId, decode_dictionary, dictionary_name,
    dictionary_number, encode_dictionary,
};
use crate::storage::{Access, Storage};
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicU32, Ordering};

/// What the name of a dictionary ends with until it is complete.
const TEMPORARY: &str = ".new";
/// Where in a zstd dictionary its own id stands.
const ID_AT: std::ops::Range<usize> = 4..8;

/// A dictionary, ready for use in both directions.
pub(super) struct Dictionary {
    pub(super) pack: CDict<'static>,
    pub(super) unpack: DDict<'static>,
}

/// All dictionaries of a store.
pub(super) struct Dictionaries {
    storage: Arc<dyn Storage>,
    store_id: StoreId,
    level: i32,
    /// By number, less one. Set once each.
    all: Box<[OnceLock<Dictionary>]>,
    /// The number of the one that is used for new records; 0 is none.
    current: AtomicU32,
    /// The highest number that any file has, also one that can't be read.
    newest: Mutex<u32>,
}

impl Dictionaries {
    /// Loads what there is. A file that can't be read is passed over here; reading a record that needs it is
    /// an error.
    pub(super) fn load(storage: &Arc<dyn Storage>, store_id: StoreId, level: i32) -> Result<Self> {
        let names = storage.list().map_err(|error| Error::io("list", storage.describe(""), error))?;
        let mut numbers: Vec<u32> = names.iter().filter_map(|name| dictionary_number(name)).collect();
        numbers.sort_unstable();
        let dictionaries = Self {
            storage: Arc::clone(storage),
            store_id,
            level,
            all: (0..MAX_DICTIONARIES).map(|_| OnceLock::new()).collect(),
            current: AtomicU32::new(0),
            newest: Mutex::new(numbers.last().copied().unwrap_or(0)),
        };
        for number in numbers {
            if let Err(error) = dictionaries.load_one(number) {
                ::log::warn!("a dictionary can't be used: {error}");
            }
        }
        Ok(dictionaries)
    }

    fn load_one(&self, number: u32) -> Result<()> {
        let name = dictionary_name(number);
        let path = self.storage.describe(&name);
        let failed = |operation, error| Error::io(operation, path.clone(), error);
        let file = self.storage.open(&name, Access::Read).map_err(|error| failed("open", error))?;
        let length = file.len().map_err(|error| failed("read", error))?;
        let possible = usize::try_from(length).ok().filter(|length| *length <= LONGEST_DICTIONARY_FILE);
        let length =
            possible.ok_or_else(|| Corruption::new(&path, "the file is too long for a dictionary"))?;
        let mut bytes = vec![0; length];
        file.read_at(&mut bytes, 0).map_err(|error| failed("read", error))?;
        if !self.put_in_use(number, decode_dictionary(&bytes, &path, self.store_id, number)?) {
            return Err(Corruption::new(&path, "the file holds no dictionary").into());
        }
        Ok(())
    }

    /// False if the bytes are no dictionary.
    fn put_in_use(&self, number: u32, bytes: &[u8]) -> bool {
        let (pack, unpack) = (CDict::try_create(bytes, self.level), DDict::try_create(bytes));
        let (Some(pack), Some(unpack)) = (pack, unpack) else { return false };
        let is_set = self.place(number).is_some_and(|place| place.set(Dictionary { pack, unpack }).is_ok());
        if is_set {
            self.current.store(number, Ordering::Release);
        }
        is_set
    }

    fn place(&self, number: u32) -> Option<&OnceLock<Dictionary>> {
        self.all.get((number as usize).checked_sub(1)?)
    }

    pub(super) fn get(&self, number: u32) -> Option<&Dictionary> {
        self.place(number)?.get()
    }

    /// The one for new records.
    #[inline]
    pub(super) fn current(&self) -> Option<&Dictionary> {
        self.get(self.number())
    }

    /// The number of the one for new records; 0 if there is none.
    #[inline]
    pub(super) fn number(&self) -> u32 {
        self.current.load(Ordering::Acquire)
    }

    /// Makes a dictionary durable, then uses it for new records.
    pub(super) fn add(&self, mut dictionary: Vec<u8>) -> Result<()> {
        let mut newest = self.newest.lock();
        let number = *newest + 1;
        if number > MAX_DICTIONARIES {
            return Err(Error::TooManyDictionaries);
        }
        if let Some(id) = dictionary.get_mut(ID_AT) {
            id.copy_from_slice(&number.to_le_bytes());
        }
        // Whatever comes of it, the number is spent.
        *newest = number;
        self.write(number, &encode_dictionary(self.store_id, number, &dictionary))?;
        self.put_in_use(number, &dictionary);
        Ok(())
    }

    fn write(&self, number: u32, bytes: &[u8]) -> Result<()> {
        let (storage, name) = (&self.storage, dictionary_name(number));
        let temporary = format!("{name}{TEMPORARY}");
        let failed = |operation, error| Error::io(operation, storage.describe(&temporary), error);
        let file = storage.create(&temporary).map_err(|error| failed("create", error))?;
        file.write_at(bytes, 0).map_err(|error| failed("write", error))?;
        file.sync().map_err(|error| failed("sync", error))?;
        drop(file);
        storage.rename(&temporary, &name).map_err(|error| failed("rename", error))?;
        storage.sync_directory().map_err(|error| Error::io("sync", storage.describe(""), error))
    }
}
