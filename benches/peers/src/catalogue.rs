//! What is measured, and of which engines.
//!
//! Cells that need the same preparation form a *group*: a group and an engine are one process and one folder.

/// What the engines are: layers below a data structure, or ordered maps as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layer {
    Page,
    Map,
}

impl Layer {
    pub const ALL: [Self; 2] = [Self::Page, Self::Map];

    pub fn name(self) -> &'static str {
        match self {
            Self::Page => "page",
            Self::Map => "map",
        }
    }

    pub fn title(self) -> &'static str {
        match self {
            Self::Page => "The page layer",
            Self::Map => "The ordered map: a tree on pagelog, and whole engines",
        }
    }
}

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Cell {
    pub name: &'static str,
    pub title: &'static str,
    pub unit: &'static str,
    pub more_is_better: bool,
}

/// Cells that are measured by one process for each engine.
#[derive(Clone, Copy, Debug)]
pub struct Group {
    pub layer: Layer,
    pub name: &'static str,
    pub engines: &'static [&'static str],
    pub cells: &'static [Cell],
}

const fn more(name: &'static str, title: &'static str, unit: &'static str) -> Cell {
    Cell { name, title, unit, more_is_better: true }
}

const fn less(name: &'static str, title: &'static str, unit: &'static str) -> Cell {
    Cell { name, title, unit, more_is_better: false }
}

const fn page(name: &'static str, engines: &'static [&'static str], cells: &'static [Cell]) -> Group {
    Group { layer: Layer::Page, name, engines, cells }
}

const fn map(name: &'static str, engines: &'static [&'static str], cells: &'static [Cell]) -> Group {
    Group { layer: Layer::Map, name, engines, cells }
}

const WITH_LINKS: &[&str] = &["pagelog", "pagecache", "plain"];
const WITH_FILES: &[&str] = &["pagelog", "pagecache", "marble"];
const ALL_PAGE: &[&str] = &["pagelog", "pagecache", "marble", "plain"];
const FREEING: &[&str] = &["pagelog", "pagecache"];

#[cfg(not(feature = "rocksdb"))]
const MAPS: &[&str] = &["pagelog", "sled", "redb", "fjall", "lmdb", "bf-tree"];
#[cfg(feature = "rocksdb")]
const MAPS: &[&str] = &["pagelog", "sled", "redb", "fjall", "lmdb", "bf-tree", "rocksdb"];
/// bf-tree's log is never synced.
#[cfg(not(feature = "rocksdb"))]
const DURABLE_MAPS: &[&str] = &["pagelog", "sled", "redb", "fjall", "lmdb"];
#[cfg(feature = "rocksdb")]
const DURABLE_MAPS: &[&str] = &["pagelog", "sled", "redb", "fjall", "lmdb", "rocksdb"];

/// All groups, in the order in which they are run and printed.
pub const GROUPS: &[Group] = &[
    page(
        "write",
        WITH_LINKS,
        &[
            more("link_1", "link to a random page, 1 thread", "k/s"),
            more("link_2", "link to a random page, 2 threads", "k/s"),
            more("chain_8", "8 links in a chain, 1 thread", "k links/s"),
            more("hot_2", "8 hot pages, 2 threads racing", "k/s"),
            more("replace_1", "replace 1 KiB, 1 thread", "k/s"),
            more("replace_2", "replace 1 KiB, 2 threads", "k/s"),
        ],
    ),
    page(
        "get",
        WITH_LINKS,
        &[
            less("get_uniform_1", "get, in memory, uniform, 1 thread", "ns"),
            less("get_zipf_2", "get, in memory, Zipf 0.99, 2 threads", "ns each"),
        ],
    ),
    page("miss", WITH_FILES, &[more("miss", "get, not in memory (raw: pread)", "k/s")]),
    page(
        "commit",
        WITH_LINKS,
        &[
            more("commit_1", "durable commits, 1 thread (raw: loop)", "/s"),
            more("commit_2", "durable commits, 2 threads (raw: loop)", "/s"),
            more("commit_8", "durable commits, 8 threads (raw: loop)", "/s"),
        ],
    ),
    page(
        "free",
        FREEING,
        &[
            less("free_2k", "free, 2 000 on the free list", "ns"),
            less("free_20k", "free, 20 000 on the free list", "ns"),
        ],
    ),
    page(
        "open",
        WITH_FILES,
        &[
            less("open_close", "open after close (raw: read the files)", "ms"),
            less("open_kill", "open after kill -9 (raw: read the files)", "ms"),
            less("open_memory", "memory that opening takes", "MiB"),
        ],
    ),
    page(
        "memory",
        ALL_PAGE,
        &[
            less("memory_resident", "memory beside a page of 1 KiB", "B"),
            less("memory_evicted", "memory of a page that is not in memory", "B"),
        ],
    ),
    page(
        "churn",
        ALL_PAGE,
        &[
            more("churn_rate", "overwrite all pages 5 times, at random", "k/s"),
            less("churn_space", "after it: bytes on disk / live bytes", ""),
            less("churn_written", "bytes written / bytes handed in", ""),
        ],
    ),
    map(
        "ycsb_1",
        MAPS,
        &[
            more("a_1", "YCSB A, 1 thread", "k/s"),
            more("b_1", "YCSB B, 1 thread", "k/s"),
            more("c_1", "YCSB C, 1 thread", "k/s"),
            more("f_1", "YCSB F, 1 thread", "k/s"),
            more("d_1", "YCSB D, 1 thread", "k/s"),
            more("e_1", "YCSB E, 1 thread", "k/s"),
            more("scan_1", "scan of 100, 1 thread", "k/s"),
            more("insert_1", "random insert, 1 thread", "k/s"),
        ],
    ),
    map(
        "ycsb_2",
        MAPS,
        &[
            more("a_2", "YCSB A, 2 threads", "k/s"),
            more("b_2", "YCSB B, 2 threads", "k/s"),
            more("c_2", "YCSB C, 2 threads", "k/s"),
            more("f_2", "YCSB F, 2 threads", "k/s"),
            more("d_2", "YCSB D, 2 threads", "k/s"),
            more("e_2", "YCSB E, 2 threads", "k/s"),
            more("scan_2", "scan of 100, 2 threads", "k/s"),
            more("insert_2", "random insert, 2 threads", "k/s"),
        ],
    ),
    map("durable", DURABLE_MAPS, &[more("durable_8", "durable put, 8 threads (raw: loop, 1 thread)", "/s")]),
    map(
        "load",
        MAPS,
        &[
            more("load_rate", "random load, 1 thread", "k/s"),
            less("load_written", "random load: bytes written / bytes handed in", ""),
            less("load_space", "after it: bytes on disk / live bytes", ""),
            less("load_open", "open after close", "ms"),
        ],
    ),
];

/// Whether an engine does in a cell what the others do, so that it can be the one to beat.
pub fn does_the_same_work(cell: &Cell, engine: &str) -> bool {
    // What sled calls durable is not.
    engine != "plain" && (cell.name, engine) != ("durable_8", "sled")
}

/// How an engine is set up, and what survives: printed below the table.
pub fn set_up(layer: Layer, engine: &str) -> &'static str {
    match (layer, engine) {
        (Layer::Page, "pagelog") => {
            "defaults (garbage collection, snapshots, statistics on), cache 4 GiB; writes are buffered, a commit is `make_stable`: fdatasync"
        }
        (_, "pagelog") => {
            "the tree of examples/ordered_kv, pagelog's defaults, cache 4 GiB; writes are buffered in the process; durable: put, then `flush`: fdatasync, shared by those who wait"
        }
        (_, "pagecache") => {
            "0.19.4, defaults, cache 4 GiB; buffers of 8 MiB, each synced when it is written, at least every 500 ms; a commit is `make_stable`: fsync"
        }
        (_, "marble") => {
            "16.0.2, defaults; has no links, no versions and no cache; batches of 1024 pages, `maintenance` after every 16; not synced until `sync_all` (its reads and its files only: each batch is a file)"
        }
        (_, "plain") => {
            "a vector in memory for each page and a mutex around a log buffer of 1 MiB; no versions, no eviction, no garbage collection, no recovery; a commit is fdatasync, shared by those who wait"
        }
        (_, "sled") => {
            "0.34.7, defaults, cache 4 GiB; writes are buffered in the process, and written every 500 ms; \"durable\": insert, then `flush`, which is `sync_file_range` on Linux: NOT durable in a power cut"
        }
        (_, "redb") => {
            "4.5.0, cache 4 GiB; each operation its own transaction, writes with `Durability::None`; durable: `Durability::Immediate`: fsync; loads: transactions of 1000"
        }
        (_, "fjall") => {
            "3.1.13, defaults (LZ4), cache 4 GiB; each write goes to the operating system; durable: insert, then `persist(SyncData)`: fdatasync; loads: single inserts"
        }
        (_, "lmdb") => {
            "by heed 0.23.1, map 16 GiB; each operation its own transaction, writes with MDB_NOSYNC: each goes to the operating system; durable: without the flag: fdatasync; loads: transactions of 1000"
        }
        (_, "bf-tree") => {
            "0.5.7, circular buffer 1 GiB, no write-ahead log (it is never synced, and its recovery is \"incomplete\"): nothing survives but a snapshot, which is taken on closing; less than the others promise"
        }
        (_, "rocksdb") => {
            "by rocksdb 0.20.1, block cache 4 GiB, bloom filters of 10 bits, no compression; each write goes to the operating system; durable: `set_sync(true)`; loads: single puts"
        }
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::{GROUPS, set_up};

    #[test]
    fn names_are_unique_and_every_engine_says_how_it_is_set_up() {
        let mut names: Vec<_> = GROUPS.iter().flat_map(|group| group.cells).map(|cell| cell.name).collect();
        names.extend(GROUPS.iter().map(|group| group.name));
        names.sort_unstable();
        let twice: Vec<_> = names.windows(2).filter(|pair| pair[0] == pair[1]).collect();
        // A group of one cell may have its name.
        assert!(twice.iter().all(|pair| pair[0] == "miss"), "{twice:?}");
        for group in GROUPS {
            for engine in group.engines {
                assert_ne!(set_up(group.layer, engine), "", "{engine}");
            }
        }
    }
}
