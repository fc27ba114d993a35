//! Makes the checksums of damaged files right again, as far as their structure can be followed. Written from
//! `docs/format.md`, not from the crate's code, so it is a second reading of it.

use crate::golden::Files;

const SEGMENT: usize = 512;

fn crc(seed: u32, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(seed);
    hasher.update(bytes);
    hasher.finalize()
}

/// The seed of what belongs to a segment (or a serial, or a number) and an offset (or a block) of a store.
fn seed(store: u32, segment: u64, offset: u32) -> u32 {
    store ^ (segment as u32).wrapping_mul(0x9E37_79B1) ^ offset.wrapping_mul(0x85EB_CA6B)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..at + 8)?.try_into().ok().map(u64::from_le_bytes)
}

/// A varint, and where it ends.
fn varint(bytes: &[u8], mut at: usize) -> Option<(u64, usize)> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = *bytes.get(at)?;
        at += 1;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some((value, at));
        }
    }
    None
}

/// Seals what lies there.
fn seal(bytes: &mut [u8], from: usize, to: usize, seed: u32) -> Option<u32> {
    let sum = crc(seed, bytes.get(from.checked_add(4)?..to)?);
    bytes[from..from + 4].copy_from_slice(&sum.to_le_bytes());
    Some(sum)
}

/// Repairs all files of a store that were damaged. In the log only records that are not as they were: what an
/// earlier life of a slot has left there is not to come to life again.
pub fn repair(files: &mut Files, intact: &Files) {
    let store = files.get("MANIFEST").and_then(|manifest| manifest.get(16..32)).map(|id| crc(0, id));
    let store = store.unwrap_or_default();
    for (name, bytes) in files {
        let end = bytes.len();
        if name == "MANIFEST" {
            for from in (0..end).step_by(512).filter(|from| from + 512 <= end) {
                if bytes[from + 4..from + 8] == *b"PLMF" {
                    seal(bytes, from, from + 512, 0);
                }
            }
        } else if name == "log" {
            let intact = intact.get(name).map_or(&[][..], Vec::as_slice);
            let mut intact = intact.chunks(SEGMENT);
            for segment in bytes.chunks_mut(SEGMENT) {
                let _ = repair_segment(segment, intact.next().unwrap_or_default(), store);
            }
        } else if let Some(serial) = name.strip_prefix("snapshot-") {
            let serial = u64::from_str_radix(serial, 16).unwrap_or_default();
            repair_snapshot(bytes, store, serial);
        } else if name.starts_with("blob-") && end >= 64 {
            let value = u64_at(bytes, 32).map(|number| crc(seed(store, number, 0), &bytes[64..]));
            bytes[60..64].copy_from_slice(&value.unwrap_or_default().to_le_bytes());
            seal(bytes, 0, 64, 0);
        }
    }
}

fn repair_segment(bytes: &mut [u8], intact: &[u8], store: u32) -> Option<()> {
    if bytes.get(4..8)? != b"PLSG" {
        return None;
    }
    seal(bytes, 0, 80, 0);
    let segment = u64_at(bytes, 24)?;
    let mut at = 80;
    // Behind the record that ends a segment there is what was there before.
    let mut kind = 0;
    while *bytes.get(at + 4)? != 0 && kind != 9 {
        kind = bytes[at + 4];
        let (body, inside) = varint(bytes, at + 5)?;
        let end = inside.checked_add(usize::try_from(body).ok()?)?;
        if bytes.get(at..end)? != intact.get(at..end).unwrap_or_default() {
            seal(bytes, at, end, seed(store, segment, at as u32))?;
        }
        at = end;
    }
    Some(())
}

/// A block begins with its checksum, length and kind.
const BLOCK: usize = 9;
const FOOTER: usize = BLOCK + 56;

fn repair_snapshot(bytes: &mut [u8], store: u32, serial: u64) -> Option<()> {
    let block_seed = |number: u32| seed(store, serial, number);
    seal(bytes, 0, BLOCK + 64, block_seed(u32::MAX));
    let footer = bytes.len().checked_sub(FOOTER)?;
    let body = footer + BLOCK;
    let directory = usize::try_from(u64_at(bytes, body + 40)?).ok()?;
    if directory < footer {
        repair_directory(bytes, directory, footer, store, serial);
        let sum = seal(bytes, directory, footer, block_seed(u32::MAX - 1))?;
        bytes[body + 52..body + 56].copy_from_slice(&sum.to_le_bytes());
    }
    seal(bytes, footer, footer + FOOTER, block_seed(u32::MAX - 2))?;
    Some(())
}

/// The file's own blocks, and what the directory says of them.
fn repair_directory(bytes: &mut [u8], directory: usize, end: usize, store: u32, serial: u64) -> Option<()> {
    let (mut at, mut range) = (directory + BLOCK, 0);
    while at < end {
        let (difference, next) = varint(bytes, at)?;
        let (age, next) = varint(bytes, next)?;
        let (offset, next) = varint(bytes, next)?;
        let (length, next) = varint(bytes, next)?;
        range = u64::wrapping_add(range, difference);
        if age == 0 {
            let from = usize::try_from(offset).ok()?;
            let to = from.checked_add(usize::try_from(length).ok()?)?;
            if let Some(sum) = seal(bytes, from, to, seed(store, serial, range as u32)) {
                bytes.get_mut(next..next + 4)?.copy_from_slice(&sum.to_le_bytes());
            }
        }
        at = next + 4;
    }
    Some(())
}

/// The checksum of a frame of a manifest.
pub fn seal_frames(bytes: &mut [u8]) {
    for frame in bytes.chunks_exact_mut(512) {
        seal(frame, 0, 512, 0);
    }
}

/// The checksums of a snapshot of the store that the decoders are given.
pub fn seal_snapshot(bytes: &mut [u8], serial: u64) {
    repair_snapshot(bytes, crc(0, b"0123456789abcdef"), serial);
}

/// Gives the number of `u32_at` at the front, and the rest.
pub fn split_u32(bytes: &[u8]) -> Option<(u32, &[u8])> {
    Some((u32_at(bytes, 0)?, &bytes[4..]))
}

/// Makes the checksum of a record right.
pub fn seal_record(bytes: &mut [u8], seed: u32) -> Option<()> {
    let (body, inside) = varint(bytes, 5)?;
    let end = inside.checked_add(usize::try_from(body).ok()?)?;
    seal(bytes, 0, end, seed).map(drop)
}

#[cfg(test)]
mod tests {
    use super::repair;
    use crate::mutation::stores;

    #[test]
    fn files_that_are_right_are_not_changed() {
        for golden in stores() {
            let mut files = golden.files.clone();
            repair(&mut files, &golden.files);
            for (name, bytes) in &golden.files {
                let differ = bytes.iter().zip(&files[name]).position(|(one, other)| one != other);
                assert_eq!(differ, None, "{name}");
            }
        }
    }

    #[test]
    fn checksums_that_were_broken_are_mended() {
        for golden in stores() {
            let mut files = golden.files.clone();
            for (name, bytes) in &mut files {
                let first = if name == "log" { 512 } else { bytes.len().max(1) };
                bytes.chunks_mut(first).for_each(|chunk| chunk[..4].fill(0xFF));
            }
            repair(&mut files, &golden.files);
            assert_eq!(files["log"].chunks(512).next(), golden.files["log"].chunks(512).next());
            for (name, bytes) in golden.files.iter().filter(|(name, _)| *name != "log") {
                assert!(name.starts_with("MANIFEST") || *bytes == files[name], "{name}");
            }
        }
    }
}
