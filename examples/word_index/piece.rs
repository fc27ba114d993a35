//! The fragment type of the store. A page cache has one, so what the three kinds of pages hold is an enum.

use pagelog::{Codec, CodecError, Fragment, PageId};

use crate::codec::{Bytes, put_runs};
use crate::files::Files;
use crate::words::Words;

/// A page, or a change to one.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece {
    Directory(Directory),
    Words(Words),
    Files(Files),
}

/// Where everything is. Written once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directory {
    pub buckets: Vec<PageId>,
    pub shelves: Vec<PageId>,
}

impl Piece {
    fn words(&self) -> Option<&Words> {
        if let Self::Words(words) = self { Some(words) } else { None }
    }

    fn files(&self) -> Option<&Files> {
        if let Self::Files(files) = self { Some(files) } else { None }
    }
}

impl Fragment for Piece {
    type Codec = Compact;

    fn merge(oldest_to_newest: &[&Self]) -> Self {
        let pieces = oldest_to_newest.iter();
        match oldest_to_newest.last() {
            Some(Self::Words(_)) => Self::Words(Words::merge(pieces.filter_map(|piece| piece.words()))),
            Some(Self::Directory(directory)) => Self::Directory(directory.clone()),
            Some(Self::Files(_)) | None => {
                Self::Files(Files::merge(pieces.filter_map(|piece| piece.files())))
            }
        }
    }

    fn heap_size(&self) -> Option<usize> {
        Some(match self {
            Self::Directory(directory) => {
                size_of::<PageId>() * (directory.buckets.len() + directory.shelves.len())
            }
            Self::Words(words) => words.heap_size(),
            Self::Files(files) => files.heap_size(),
        })
    }
}

/// The codec: a byte for the kind, then the kind's own form.
pub struct Compact;

const DIRECTORY: u8 = 1;
const WORDS: u8 = 2;
const FILES: u8 = 3;

impl Codec<Piece> for Compact {
    fn encode(piece: &Piece, into: &mut Vec<u8>) -> Result<(), CodecError> {
        match piece {
            Piece::Directory(Directory { buckets, shelves }) => {
                into.push(DIRECTORY);
                for pages in [buckets, shelves] {
                    put_runs(into, &pages.iter().map(|page_id| page_id.get()).collect::<Vec<_>>());
                }
            }
            Piece::Words(words) => {
                into.push(WORDS);
                words.encode(into);
            }
            Piece::Files(files) => {
                into.push(FILES);
                files.encode(into);
            }
        }
        Ok(())
    }

    fn decode(bytes: &[u8]) -> Result<Piece, CodecError> {
        let (kind, rest) = bytes.split_first().ok_or("empty")?;
        let mut rest = Bytes::new(rest);
        let piece = match *kind {
            DIRECTORY => {
                let mut pages = || Ok::<_, CodecError>(rest.runs()?.into_iter().map(PageId::new).collect());
                Piece::Directory(Directory { buckets: pages()?, shelves: pages()? })
            }
            WORDS => Piece::Words(Words::decode(&mut rest)?),
            FILES => Piece::Files(Files::decode(&mut rest)?),
            _ => return Err("of no known kind".into()),
        };
        rest.finish()?;
        Ok(piece)
    }
}

#[cfg(test)]
mod tests {
    use pagelog::{Codec, PageId};

    use super::{Compact, Directory, Piece};
    use crate::files::Files;
    use crate::words::Words;

    #[test]
    fn each_kind_comes_back() {
        let directory = Directory {
            buckets: [3, 4, 5, 9].map(PageId::new).into(),
            shelves: [10, 11].map(PageId::new).into(),
        };
        let kinds = [Piece::Directory(directory), Piece::Words(Words::new()), Piece::Files(Files::default())];
        for piece in kinds {
            let mut bytes = Vec::new();
            Compact::encode(&piece, &mut bytes).unwrap();
            assert_eq!(Compact::decode(&bytes).unwrap(), piece);
            bytes.push(0);
            assert!(Compact::decode(&bytes).is_err());
        }
    }
}
