//! What stands in for compression in a build without it.

use super::UnpackFault;
use crate::config::Config;
use crate::error::Result;
use crate::format::{Payload, StoreId};

/// Leaves everything as it is.
#[derive(Debug)]
pub(crate) struct Compression;

impl Compression {
    #[expect(clippy::unnecessary_wraps, reason = "the other one can fail")]
    pub(crate) fn open(_: &Config, _: StoreId) -> Result<Self> {
        Ok(Self)
    }

    #[inline]
    pub(crate) fn pack<R>(&self, plain: &[u8], _: usize, then: impl FnOnce(Payload<'_>) -> R) -> R {
        then(Payload::plain(plain))
    }

    #[inline]
    pub(crate) fn unpack<R>(
        &self,
        payload: Payload<'_>,
        _: usize,
        then: impl FnOnce(&[u8]) -> R,
    ) -> std::result::Result<R, UnpackFault> {
        if payload.compressed { Err(UnpackFault::Unsupported) } else { Ok(then(payload.bytes)) }
    }
}
