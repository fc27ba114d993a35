//! What a user tells the page cache about the contents of pages: how they merge, and how they become bytes.

use std::error;
use std::fmt;

/// One piece of a page: the page's whole contents, or a change that was linked on top of them.
///
/// One type stands for both, so it is often an enum. It needs no `Clone`: fragments are merged by reference.
///
/// A fragment may be dropped on any thread that uses a store of this process, some time after it was
/// replaced, evicted or freed. Its `drop` must not panic and must not call into the store.
///
/// ```
/// use pagelog::{Codec, CodecError, Fragment};
///
/// /// A page of text that grows at its end.
/// struct Text(String);
///
/// struct Utf8;
///
/// impl Codec<Text> for Utf8 {
///     fn encode(fragment: &Text, into: &mut Vec<u8>) -> Result<(), CodecError> {
///         into.extend_from_slice(fragment.0.as_bytes());
///         Ok(())
///     }
///
///     fn decode(bytes: &[u8]) -> Result<Text, CodecError> {
///         String::from_utf8(bytes.to_vec()).map(Text).map_err(|error| error.to_string().into())
///     }
/// }
///
/// impl Fragment for Text {
///     type Codec = Utf8;
///
///     fn merge(oldest_to_newest: &[&Self]) -> Self {
///         Text(oldest_to_newest.iter().map(|text| text.0.as_str()).collect())
///     }
///
///     fn heap_size(&self) -> Option<usize> {
///         Some(self.0.capacity())
///     }
/// }
///
/// let merged = Text::merge(&[&Text("a".into()), &Text("b".into())]);
/// assert_eq!(merged.0, "ab");
/// assert!(merged.heap_size() >= Some(2));
/// ```
pub trait Fragment: Sized + Send + Sync + 'static {
    /// How fragments become bytes and come back. `Bincode`, of the feature of that name, for types that
    /// implement serde's traits.
    type Codec: Codec<Self>;

    /// Makes one fragment that stands for the whole page out of the page's contents and all that was linked
    /// to them, the oldest first. Never called with an empty slice.
    ///
    /// The cache may merge any oldest part of a chain first and the rest on top of the result later, so
    /// merging must be associative from the left.
    ///
    /// ```
    #[doc = include_str!("../docs/text_pages.txt")]
    /// let (a, b, c) = (Text("a".into()), Text("b".into()), Text("c".into()));
    /// let at_once = Text::merge(&[&a, &b, &c]);
    /// let by_and_by = Text::merge(&[&Text::merge(&[&a, &b]), &c]);
    /// assert_eq!(at_once.0, by_and_by.0);
    /// ```
    fn merge(oldest_to_newest: &[&Self]) -> Self;

    /// The bytes of heap memory that this fragment owns, for the cache's budget. With `None`, the length of
    /// the encoded form is used as an estimate. Asked once, when the cache takes the fragment in; it should
    /// be quick.
    fn heap_size(&self) -> Option<usize> {
        None
    }
}

/// How fragments become bytes and come back.
///
/// ```
/// use pagelog::{Codec, CodecError};
///
/// /// Numbers of eight bytes.
/// struct Fixed;
///
/// impl Codec<u64> for Fixed {
///     fn encode(number: &u64, into: &mut Vec<u8>) -> Result<(), CodecError> {
///         into.extend_from_slice(&number.to_le_bytes());
///         Ok(())
///     }
///
///     fn decode(bytes: &[u8]) -> Result<u64, CodecError> {
///         bytes.try_into().map(u64::from_le_bytes).map_err(|_| "not eight bytes".into())
///     }
/// }
///
/// let mut bytes = b"others'".to_vec();
/// Fixed::encode(&7, &mut bytes)?;
/// assert_eq!(Fixed::decode(&bytes[7..])?, 7);
/// assert!(Fixed::decode(&bytes).is_err());
/// # Ok::<(), CodecError>(())
/// ```
pub trait Codec<F> {
    /// Appends the encoded form of `fragment` to `into`, which may already hold bytes of others.
    ///
    /// # Errors
    /// If the fragment has no encoded form. The verb that was called then fails, and nothing is logged.
    fn encode(fragment: &F, into: &mut Vec<u8>) -> Result<(), CodecError>;

    /// The inverse of [`encode`](Self::encode). Gets exactly the bytes that one call to `encode` appended.
    ///
    /// # Errors
    /// If the bytes are no encoded fragment. They have passed a checksum, so most likely another codec wrote
    /// them.
    fn decode(bytes: &[u8]) -> Result<F, CodecError>;
}

/// Why a fragment could not be encoded or decoded, in the codec's own words.
///
/// ```
/// let error = pagelog::CodecError::from("not a number");
/// assert_eq!(error.to_string(), "not a number");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CodecError(Box<str>);

impl fmt::Display for CodecError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl error::Error for CodecError {}

impl From<String> for CodecError {
    fn from(reason: String) -> Self {
        Self(reason.into())
    }
}

impl From<&str> for CodecError {
    fn from(reason: &str) -> Self {
        Self(reason.into())
    }
}

impl From<Box<dyn error::Error + Send + Sync>> for CodecError {
    fn from(reason: Box<dyn error::Error + Send + Sync>) -> Self {
        Self(reason.to_string().into())
    }
}

/// The codec for types that implement serde's `Serialize` and `DeserializeOwned`: bincode 1.3 with
/// variable-length integers. Trailing bytes are refused, and a length inside the bytes can't claim more than
/// the bytes hold.
///
/// ```
/// use pagelog::{Bincode, Codec, Fragment};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// struct Total(u64);
///
/// impl Fragment for Total {
///     type Codec = Bincode;
///
///     fn merge(oldest_to_newest: &[&Self]) -> Self {
///         Total(oldest_to_newest.iter().map(|total| total.0).sum())
///     }
/// }
///
/// let mut bytes = Vec::new();
/// Bincode::encode(&Total(7), &mut bytes)?;
/// assert_eq!(bytes, [7]);
/// let decoded: Total = Bincode::decode(&bytes)?;
/// assert_eq!(decoded.0, 7);
/// # Ok::<(), pagelog::CodecError>(())
/// ```
#[cfg(feature = "bincode")]
#[derive(Clone, Copy, Debug, Default)]
pub struct Bincode;

#[cfg(feature = "bincode")]
impl<F: serde::Serialize + serde::de::DeserializeOwned> Codec<F> for Bincode {
    fn encode(fragment: &F, into: &mut Vec<u8>) -> Result<(), CodecError> {
        use bincode::Options;
        bincode::DefaultOptions::new()
            .serialize_into(into, fragment)
            .map_err(|error| error.to_string().into())
    }

    fn decode(bytes: &[u8]) -> Result<F, CodecError> {
        use bincode::Options;
        bincode::DefaultOptions::new()
            .with_limit(bytes.len() as u64)
            .deserialize(bytes)
            .map_err(|error| error.to_string().into())
    }
}

/// The heap bytes of a fragment whose encoded form has `encoded` bytes.
pub(crate) fn heap_bytes<F: Fragment>(fragment: &F, encoded: u64) -> u64 {
    fragment.heap_size().map_or(encoded, |size| size as u64)
}

#[cfg(test)]
#[cfg(all(not(loom), feature = "bincode"))]
mod tests {
    use std::collections::BTreeMap;

    use super::{Bincode, Codec, CodecError};

    type Page = BTreeMap<String, Vec<u64>>;

    fn page() -> Page {
        [("one".to_owned(), vec![1, u64::MAX]), ("two".to_owned(), Vec::new())].into()
    }

    fn encoded() -> Vec<u8> {
        let mut bytes = b"kept".to_vec();
        <Bincode as Codec<Page>>::encode(&page(), &mut bytes).unwrap();
        assert_eq!(bytes.drain(..4).collect::<Vec<_>>(), b"kept");
        bytes
    }

    fn decode(bytes: &[u8]) -> Result<Page, CodecError> {
        Bincode::decode(bytes)
    }

    #[test]
    fn what_was_encoded_comes_back() {
        assert_eq!(decode(&encoded()).unwrap(), page());
    }

    #[test]
    fn a_type_smaller_encoded_than_in_memory_is_within_the_limit() {
        for value in [0u64, 250, 251, 65_536, u64::MAX] {
            let mut bytes = Vec::new();
            Bincode::encode(&(value, Some(7u8)), &mut bytes).unwrap();
            assert_eq!(<Bincode as Codec<(u64, Option<u8>)>>::decode(&bytes).unwrap(), (value, Some(7)));
        }
    }

    #[test]
    fn bytes_cut_short_or_followed_by_others_are_refused() {
        let mut bytes = encoded();
        for length in 0..bytes.len() {
            assert!(decode(&bytes[..length]).is_err(), "{length}");
        }
        bytes.push(0);
        assert!(decode(&bytes).is_err());
    }

    #[test]
    fn a_length_that_the_bytes_do_not_hold_is_refused_before_memory_is_taken() {
        let huge = [253, 255, 255, 255, 255, 255, 255, 255, 127];
        assert!(<Bincode as Codec<Vec<u8>>>::decode(&huge).is_err());
    }
}
