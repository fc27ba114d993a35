//! Little-endian fields, read and written one after the other.
//!
//! [`FieldReader`] is total: past the end it gives `None`. [`FieldWriter`] fills a buffer whose size is a
//! constant of the format; to write past its end is a mistake in this crate and panics.

use std::mem;

use crate::format::varint;
use crate::ids::{HeadLsns, Lsn};

/// The bytes of a [`HeadLsns`].
pub(crate) const HEAD_LSNS_LENGTH: usize = size_of::<HeadLsns>();

/// Takes fields from the front of a slice.
#[derive(Clone, Debug)]
pub(crate) struct FieldReader<'a> {
    rest: &'a [u8],
}

impl<'a> FieldReader<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// What was not taken yet.
    #[inline]
    pub(crate) const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    #[inline]
    pub(crate) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (field, rest) = self.rest.split_first_chunk::<N>()?;
        self.rest = rest;
        Some(*field)
    }

    pub(crate) fn slice(&mut self, length: usize) -> Option<&'a [u8]> {
        let (field, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(field)
    }

    #[inline]
    pub(crate) fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    #[inline]
    pub(crate) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    #[inline]
    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    #[inline]
    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    #[inline]
    pub(crate) fn varint(&mut self) -> Option<u64> {
        let (value, length) = varint::read(self.rest)?;
        self.rest = self.rest.get(length..)?;
        Some(value)
    }

    pub(crate) fn head_lsns(&mut self) -> Option<HeadLsns> {
        let mut lsns = HeadLsns::default();
        for lsn in &mut lsns {
            *lsn = Lsn(self.u64()?);
        }
        Some(lsns)
    }
}

/// Puts fields into a buffer from its front.
#[derive(Debug)]
pub(crate) struct FieldWriter<'a> {
    rest: &'a mut [u8],
}

impl<'a> FieldWriter<'a> {
    pub(crate) const fn new(buffer: &'a mut [u8]) -> Self {
        Self { rest: buffer }
    }

    /// How many bytes are left.
    pub(crate) const fn remaining(&self) -> usize {
        self.rest.len()
    }

    pub(crate) fn bytes(&mut self, field: &[u8]) -> &mut Self {
        let (front, rest) = mem::take(&mut self.rest).split_at_mut(field.len());
        front.copy_from_slice(field);
        self.rest = rest;
        self
    }

    pub(crate) fn u8(&mut self, field: u8) -> &mut Self {
        self.bytes(&[field])
    }

    pub(crate) fn u16(&mut self, field: u16) -> &mut Self {
        self.bytes(&field.to_le_bytes())
    }

    pub(crate) fn u32(&mut self, field: u32) -> &mut Self {
        self.bytes(&field.to_le_bytes())
    }

    pub(crate) fn u64(&mut self, field: u64) -> &mut Self {
        self.bytes(&field.to_le_bytes())
    }

    pub(crate) fn head_lsns(&mut self, lsns: &HeadLsns) -> &mut Self {
        for lsn in lsns {
            self.u64(lsn.0);
        }
        self
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::{FieldReader, FieldWriter, HEAD_LSNS_LENGTH};
    use crate::ids::Lsn;

    #[test]
    fn fields_come_back_in_order_and_the_end_is_noticed() {
        let lsns = [Lsn(1), Lsn(2), Lsn(3), Lsn(u64::MAX)];
        let mut buffer = [0; 1 + 2 + 4 + 8 + 3 + HEAD_LSNS_LENGTH];
        let mut writer = FieldWriter::new(&mut buffer);
        writer.u8(1).u16(0x0203).u32(0x0405_0607).u64(u64::MAX - 1).bytes(b"abc").head_lsns(&lsns);
        assert_eq!(writer.remaining(), 0);
        assert_eq!(buffer[..7], [1, 3, 2, 7, 6, 5, 4]);

        let mut reader = FieldReader::new(&buffer);
        assert_eq!(reader.u8(), Some(1));
        assert_eq!(reader.u16(), Some(0x0203));
        assert_eq!(reader.u32(), Some(0x0405_0607));
        assert_eq!(reader.u64(), Some(u64::MAX - 1));
        assert_eq!(reader.slice(3), Some(&b"abc"[..]));
        assert_eq!(reader.head_lsns(), Some(lsns));
        assert!(reader.rest().is_empty());
        assert_eq!(reader.u8(), None);
        assert_eq!(reader.varint(), None);
        assert_eq!(reader.slice(1), None);
        assert_eq!(reader.slice(0), Some(&[][..]));
    }
}
