//! What the operating system says of a process and of files.

use std::fs;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Resident memory of this process in bytes.
pub fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("a Linux system");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a line");
    line.split_whitespace().next().and_then(|number| number.parse::<u64>().ok()).expect("a number") << 10
}

/// Bytes that this process has handed to write calls so far. What is written through a memory map is not in
/// it; no engine here does that.
pub fn written() -> u64 {
    let io = fs::read_to_string("/proc/self/io").expect("a Linux system");
    let line = io.lines().find_map(|line| line.strip_prefix("wchar:")).expect("a line");
    line.trim().parse().expect("a number")
}

/// Bytes that the files in a directory take on the disk.
pub fn on_disk(directory: &Path) -> u64 {
    let size = |entry: fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => on_disk(&entry.path()),
        // A file may have been removed since.
        Ok(metadata) => metadata.blocks() * 512,
        Err(_) => 0,
    };
    fs::read_dir(directory).expect("a directory").flatten().map(size).sum()
}

/// Reads all files once, in order.
pub fn read_all(directory: &Path) {
    let mut buffer = vec![0; 1 << 20];
    for entry in fs::read_dir(directory).expect("a directory").flatten() {
        if entry.path().is_dir() {
            read_all(&entry.path());
        } else {
            let mut file = fs::File::open(entry.path()).expect("a file");
            while file.read(&mut buffer).expect("bytes") > 0 {}
        }
    }
}

/// The load of the machine over the last minute, and the processor.
pub fn machine() -> String {
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split_whitespace().next().unwrap_or("?").to_owned();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or(": unknown");
    format!("{cores} cores ({}), load {load}", model.trim_start_matches([' ', '\t', ':']).trim())
}
