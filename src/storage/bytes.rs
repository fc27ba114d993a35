//! The contents of a file in memory: sparse, and cheap to copy.
//!
//! A file is a length and a map from block numbers to blocks. A block that was never written takes no memory
//! and reads as zeros, so a write far behind the end, or a length from a damaged number, costs nothing.
//!
//! Copies share everything (map and blocks are reference counted) until one side writes; then it copies the
//! map once and each block that it touches. The simulated disk takes a copy per operation and thousands of
//! copies per second.
//!
//! A. A block's bytes at and behind the file's length are zero, so that growing never shows what shrinking
//! cut off. B. A block is in the map if and only if a byte of it was written since the file last ended before
//! it.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

/// Sparse copy-on-write bytes in blocks of `BLOCK`.
#[derive(Clone, Debug, Default)]
pub(super) struct SparseBytes<const BLOCK: usize> {
    length: u64,
    blocks: Arc<BTreeMap<u64, Arc<[u8; BLOCK]>>>,
}

/// A stretch of one block: which, from where in it, and how many bytes.
struct Stretch {
    block: u64,
    start: usize,
    length: usize,
}

impl<const BLOCK: usize> SparseBytes<BLOCK> {
    pub(super) fn len(&self) -> u64 {
        self.length
    }

    /// The bytes that blocks take, holes left out.
    #[cfg(feature = "sim")]
    pub(super) fn allocated(&self) -> u64 {
        self.blocks.len() as u64 * BLOCK as u64
    }

    #[cfg(feature = "sim")]
    pub(super) fn is_allocated(&self, offset: u64) -> bool {
        self.blocks.contains_key(&(offset / BLOCK as u64))
    }

    /// Fills `buffer` from `offset`, or fails without promising anything about the buffer.
    pub(super) fn read(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let end = offset.checked_add(buffer.len() as u64);
        if end.is_none_or(|end| end > self.length) {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file ends before"));
        }
        self.read_padded(buffer, offset);
        Ok(())
    }

    /// Fills `buffer` from `offset`, with zeros behind the end.
    pub(super) fn read_padded(&self, buffer: &mut [u8], offset: u64) {
        let mut rest = buffer;
        for stretch in stretches(BLOCK, offset, rest.len()) {
            let (part, behind) = rest.split_at_mut(stretch.length);
            match self.blocks.get(&stretch.block) {
                Some(block) => part.copy_from_slice(&block[stretch.start..stretch.start + stretch.length]),
                None => part.fill(0),
            }
            rest = behind;
        }
    }

    /// Writes all of `bytes`, growing if needed.
    pub(super) fn write(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let end = offset.checked_add(bytes.len() as u64).ok_or_else(too_large)?;
        check_length(end)?;
        if bytes.is_empty() {
            return Ok(());
        }
        let blocks = Arc::make_mut(&mut self.blocks);
        let mut rest = bytes;
        for stretch in stretches(BLOCK, offset, rest.len()) {
            let (part, behind) = rest.split_at(stretch.length);
            let block = blocks.entry(stretch.block).or_insert_with(|| Arc::new([0; BLOCK]));
            Arc::make_mut(block)[stretch.start..stretch.start + stretch.length].copy_from_slice(part);
            rest = behind;
        }
        self.length = self.length.max(end);
        Ok(())
    }

    /// Cuts or extends to `length` bytes; both invariants are restored here.
    pub(super) fn set_len(&mut self, length: u64) -> io::Result<()> {
        check_length(length)?;
        if length < self.length {
            let whole = length.div_ceil(BLOCK as u64);
            if self.blocks.last_key_value().is_some_and(|(last, _)| *last >= length / BLOCK as u64) {
                let blocks = Arc::make_mut(&mut self.blocks);
                blocks.split_off(&whole);
                let used = (length % BLOCK as u64) as usize;
                if used > 0
                    && let Some(block) = blocks.get_mut(&(length / BLOCK as u64))
                {
                    Arc::make_mut(block)[used..].fill(0);
                }
            }
        }
        self.length = length;
        Ok(())
    }
}

/// Lengths end where those of real files do.
pub(super) fn check_length(length: u64) -> io::Result<()> {
    if length > i64::MAX as u64 { Err(too_large()) } else { Ok(()) }
}

fn too_large() -> io::Error {
    io::Error::new(io::ErrorKind::FileTooLarge, "files end at 2^63 bytes")
}

/// Cuts a range at the borders of blocks.
fn stretches(block_size: usize, offset: u64, length: usize) -> impl Iterator<Item = Stretch> {
    let mut position = offset;
    let mut left = length;
    std::iter::from_fn(move || {
        if left == 0 {
            return None;
        }
        let start = (position % block_size as u64) as usize;
        let length = left.min(block_size - start);
        let stretch = Stretch { block: position / block_size as u64, start, length };
        position += length as u64;
        left -= length;
        Some(stretch)
    })
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::SparseBytes;

    fn contents(bytes: &SparseBytes<8>) -> Vec<u8> {
        let mut all = vec![9; bytes.len() as usize];
        bytes.read(&mut all, 0).unwrap();
        all
    }

    #[test]
    fn a_write_across_blocks_is_read_back_and_holes_are_zeros() {
        let mut bytes = SparseBytes::<8>::default();
        bytes.write(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11], 22).unwrap();
        let mut expected = vec![0; 22];
        expected.extend(1..=11);
        assert_eq!(contents(&bytes), expected);
        assert_eq!(bytes.allocated(), 3 * 8, "the two blocks before are holes");
    }

    #[test]
    fn growing_after_shrinking_shows_zeros() {
        for cut in 0..=24 {
            let mut bytes = SparseBytes::<8>::default();
            bytes.write(&[7; 24], 0).unwrap();
            bytes.set_len(cut).unwrap();
            assert_eq!(bytes.allocated(), cut.div_ceil(8) * 8);
            bytes.set_len(30).unwrap();
            let mut expected = vec![7; cut as usize];
            expected.resize(30, 0);
            assert_eq!(contents(&bytes), expected);
        }
    }

    #[test]
    fn a_copy_keeps_its_bytes_when_the_original_changes() {
        let mut bytes = SparseBytes::<8>::default();
        bytes.write(&[1; 20], 0).unwrap();
        let copy = bytes.clone();
        bytes.write(&[2; 9], 3).unwrap();
        bytes.set_len(4).unwrap();
        assert_eq!(contents(&copy), vec![1; 20]);
        assert_eq!(contents(&bytes), vec![1, 1, 1, 2]);
    }

    #[test]
    fn offsets_at_the_end_of_the_number_range_are_refused() {
        let mut bytes = SparseBytes::<8>::default();
        assert!(bytes.write(&[1], u64::MAX).is_err());
        assert!(bytes.write(&[1], i64::MAX as u64).is_err());
        assert!(bytes.read(&mut [0], u64::MAX).is_err());
        assert!(bytes.set_len(u64::MAX).is_err());
        bytes.set_len(i64::MAX as u64).unwrap();
        assert_eq!(bytes.allocated(), 0);
    }
}
