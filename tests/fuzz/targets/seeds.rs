//! Writes a corpus to begin with, made of real stores: `seeds <folder>`.

use std::fs;
use std::path::Path;

use pagelog_fuzz::mutation::stores;

fn main() -> std::io::Result<()> {
    let folder = std::env::args().nth(1).unwrap_or_else(|| "corpus".into());
    let write = |target: &str, name: &str, bytes: &[u8]| {
        let folder = Path::new(&folder).join(target);
        fs::create_dir_all(&folder)?;
        fs::write(folder.join(name), bytes)
    };
    for (number, golden) in stores().iter().enumerate() {
        for (file, bytes) in &golden.files {
            let name = format!("{number}-{file}");
            match file.split('-').next() {
                // As they are, and with repair.
                Some("MANIFEST") => {
                    write("manifest", &name, &[&[0; 4][..], bytes].concat())?;
                    let short: Vec<u8> = bytes.chunks(1024).flat_map(|entry| entry[..128].to_vec()).collect();
                    write("manifest", &format!("{name}-short"), &[&[3, 0, 0, 0][..], &short].concat())?;
                }
                Some("log") => {
                    for (slot, segment) in bytes.chunks(512).enumerate() {
                        let id = segment[24..28].to_vec();
                        let mode = u32::from_le_bytes([id[0], id[1], id[2], id[3]]) << 1 | 1;
                        let input = [&mode.to_le_bytes()[..], segment].concat();
                        write("segment", &format!("{number}-{slot}"), &input)?;
                    }
                    for (at, record) in records(bytes) {
                        let input = [&[1, 0, 0, 0][..], record].concat();
                        write("record", &format!("{number}-{at}"), &input)?;
                    }
                }
                Some("snapshot") => {
                    let serial = u32::from_str_radix(&file[9 + 8..], 16).unwrap_or(1);
                    write("snapshot", &name, &[&(serial << 2 | 1).to_le_bytes()[..], bytes].concat())?;
                    let range = &bytes[73 + 9..bytes.len() - 65];
                    write("snapshot", &format!("{name}-range"), &[&[2, 0, 0, 0][..], range].concat())?;
                }
                Some("blob") => write("large", &name, file.as_bytes())?,
                _ => {}
            }
        }
        for what in 0..12u8 {
            for file in 0..6u8 {
                let steps = [[file, what, 100, 2, 40, 0, 3, 20], [file, what, 0, 9, 3, 0, 200, 1]].concat();
                let input = [&[number as u8][..], &steps].concat();
                write("store", &format!("{number}-{what}-{file}"), &input)?;
                write("repaired", &format!("{number}-{what}-{file}"), &input)?;
            }
        }
    }
    write("large", "pointer", &[7; 16])
}

/// The records of a log with segments of 512 bytes.
fn records(log: &[u8]) -> Vec<(usize, &[u8])> {
    let mut found = Vec::new();
    for (slot, segment) in log.chunks(512).enumerate().filter(|(_, segment)| &segment[4..8] == b"PLSG") {
        let mut at = 80;
        // Small ones, whose length takes a byte.
        while at + 6 <= segment.len() && segment[at + 4] != 0 && segment[at + 5] < 0x80 {
            let end = (at + 6 + usize::from(segment[at + 5])).min(segment.len());
            found.push((slot * 512 + at, &segment[at..end]));
            at = end;
        }
    }
    found
}
