//! Damage to a store: a short program, which a fuzzer can change piece by piece.
//!
//! The first byte chooses the store. Then each eight bytes are a step: which file, what to do, where, and
//! with what.

use crate::golden::{Files, Golden, golden, wide};

pub const STEP: usize = 8;

/// The stores that are damaged.
pub fn stores() -> Vec<Golden> {
    vec![golden(false), golden(true), wide()]
}

/// The files of the store that the input chooses, damaged as it says.
pub fn damaged<'a>(stores: &'a [Golden], input: &[u8]) -> Option<(&'a Golden, Files)> {
    let (choice, steps) = input.split_first()?;
    let golden = &stores[usize::from(*choice) % stores.len()];
    let mut files = golden.files.clone();
    let names: Vec<String> = files.keys().filter(|name| *name != "LOCK").cloned().collect();
    for step in steps.chunks_exact(STEP).take(32) {
        let [file, what, low, high, a, b, c, d] = *step else { return None };
        let name = &names[usize::from(file) % names.len()];
        let Some(bytes) = files.get_mut(name) else { continue };
        let at = usize::from(u16::from_le_bytes([low, high])) % bytes.len().max(1);
        change(bytes, what % 12, at, [a, b, c, d]);
        if what % 12 == 11 {
            files.remove(name);
        }
    }
    Some((golden, files))
}

fn change(bytes: &mut Vec<u8>, what: u8, at: usize, with: [u8; 4]) {
    let length = bytes.len();
    let end = |size: usize| (at + size).min(length);
    let word = u16::from_le_bytes([with[0], with[1]]) as usize;
    match what {
        0 => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << (with[0] % 8)),
        1 => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte = with[0]),
        2 => bytes.iter_mut().skip(at).zip(with).for_each(|(byte, with)| *byte = with),
        // A large number.
        3 => bytes.iter_mut().skip(at).take(8).for_each(|byte| *byte = with[0]),
        4 => bytes.iter_mut().skip(at).take(word).for_each(|byte| *byte = with[2]),
        // Something from elsewhere, as a misdirected write leaves it.
        5 | 6 => {
            let size = if what == 5 { 512 } else { usize::from(with[3]) };
            let from = word % length.max(1);
            let (from, to) = if what == 5 { (from / 512 * 512, at / 512 * 512) } else { (from, at) };
            let piece = bytes[from..(from + size).min(length)].to_vec();
            bytes.iter_mut().skip(to).zip(piece).for_each(|(byte, with)| *byte = with);
        }
        // A lost write.
        7 => bytes[at / 512 * 512..(at / 512 * 512 + 512).min(length)].fill(0),
        8 => bytes.truncate(at),
        9 => bytes.extend(std::iter::repeat_n(with[0], word % 4096)),
        10 => {
            let range = at..end(usize::from(with[0]));
            bytes.drain(range);
        }
        _ => {}
    }
}
