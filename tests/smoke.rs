//! Smoke tests.

use pagelog::{Cas, Codec, CodecError, Config, Fragment, Log, MemoryStorage, PageCache, PageId};
use std::sync::Arc;

#[derive(Debug, PartialEq)]
struct Bytes(Vec<u8>);
struct Raw;
impl Codec<Bytes> for Raw {
    fn encode(f: &Bytes, into: &mut Vec<u8>) -> Result<(), CodecError> {
        into.extend_from_slice(&f.0);
        Ok(())
    }
    fn decode(b: &[u8]) -> Result<Bytes, CodecError> {
        Ok(Bytes(b.to_vec()))
    }
}
impl Fragment for Bytes {
    type Codec = Raw;
    fn merge(p: &[&Self]) -> Self {
        Bytes(p.iter().flat_map(|b| b.0.iter().copied()).collect())
    }
}

#[test]
fn pages_survive_reopening() {
    let storage = Arc::new(MemoryStorage::new());
    for tiny in [false, true] {
        let config = || {
            let c = Config::with_storage(storage.clone());
            if tiny { c.cache_capacity(256) } else { c }
        };
        let open = |storage: &Arc<MemoryStorage>| -> PageCache<Bytes> {
            let _ = storage;
            config().segment_size(1000).open().unwrap()
        };
        let mut state: Vec<(PageId, pagelog::Version, Vec<u8>)> = vec![];
        for round in 0..5u8 {
            let cache = open(&storage);
            for (pid, v, bytes) in &state {
                let guard = cache.pin();
                let page = guard.get(*pid).unwrap().unwrap();
                assert_eq!((&page.merged().0, page.version()), (bytes, *v), "round {round}");
            }
            for i in 0..100u8 {
                let a = cache.allocate(Bytes(vec![i; 20])).unwrap();
                state.push((a.page_id, a.version, vec![i; 20]));
            }
            for entry in &mut state {
                for _ in 0..3 {
                    match cache.link(entry.0, entry.1, Bytes(vec![round; 5])).unwrap() {
                        Cas::Done { version, .. } => {
                            entry.1 = version;
                            entry.2.extend([round; 5]);
                        }
                        other => panic!("{other:?}"),
                    }
                }
            }
            cache.close().unwrap();
            println!("{:?}", cache.stats());
        }
        // free everything
        let cache = open(&storage);
        for (pid, v, _) in state.drain(..) {
            assert!(cache.free(pid, v).unwrap().is_done());
        }
        println!("{:?}", cache.stats());
    }
}

#[test]
fn log_round_trip() {
    let storage = Arc::new(MemoryStorage::new());
    let mut all = vec![];
    for round in 0..5u32 {
        let log =
            Log::open(Config::with_storage(storage.clone()).segment_size(1000).io_buffer_size(512)).unwrap();
        let found: Vec<_> =
            log.iter_from(log.first_lsn()).unwrap().map(|e| e.unwrap()).map(|e| (e.lsn, e.payload)).collect();
        assert_eq!(found, all, "round {round}");
        for i in 0..200u32 {
            let p = (round * 1000 + i).to_le_bytes().repeat(4);
            let lsn = log.append(&p).unwrap();
            all.push((lsn, p));
            if i % 50 == 0 {
                log.flush().unwrap();
            }
        }
        log.close().unwrap();
    }
}
