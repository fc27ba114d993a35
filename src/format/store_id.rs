//! The random name of one store, which ties its files together.

use std::fmt;

/// 16 random bytes, drawn when the store is created. Every file repeats or is sealed with it, so that a file
/// of one store is never taken for a file of another one.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct StoreId(pub(crate) [u8; Self::LENGTH]);

impl StoreId {
    /// The number of bytes.
    pub(crate) const LENGTH: usize = 16;
}

impl fmt::Debug for StoreId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "StoreId({:032x})", u128::from_be_bytes(self.0))
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::StoreId;

    #[test]
    fn the_debug_form_shows_the_bytes_in_order() {
        let mut bytes = [0; StoreId::LENGTH];
        bytes[0] = 0xab;
        bytes[15] = 1;
        assert_eq!(format!("{:?}", StoreId(bytes)), "StoreId(ab000000000000000000000000000001)");
    }
}
