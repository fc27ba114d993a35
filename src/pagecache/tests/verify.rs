//! What a check says of accounts that are wrong, which from outside they can't be made.

use std::sync::Arc;

use super::Text;
use crate::config::Config;
use crate::ids::SlotId;
use crate::pagecache::PageCache;
use crate::storage::MemoryStorage;

#[test]
fn a_wrong_account_is_found_and_named() {
    let config = Config::with_storage(Arc::new(MemoryStorage::new())).segment_size(1000).io_buffer_size(512);
    let cache: PageCache<Text> = config.garbage_collection(false).open().unwrap();
    for n in 0..60 {
        let page = cache.allocate(Text(vec![n; 50])).unwrap();
        if n % 3 == 0 {
            cache.replace(page.page_id, page.version, Text(vec![n; 40])).unwrap().done().unwrap();
        }
    }
    cache.flush().unwrap();
    let accountant = cache.inner.core.accountant();
    let report = cache.verify().unwrap();
    let settled = (0..accountant.bound()).filter(|slot| accountant.settled(SlotId(*slot)).is_some()).count();
    assert!(report.is_sound() && settled > 3, "{report:?}");
    assert_eq!(report.accounts_checked as usize, settled);
    assert_eq!(report.live_bytes, cache.inner.recount_live().values().sum::<u64>());
    for (slot, bytes) in [(SlotId(1), 1), (SlotId(2), -7), (SlotId(0), 300)] {
        accountant.falsify(slot, bytes);
        let report = cache.verify().unwrap();
        assert_eq!(report.faults.len(), 1, "{report:?}");
        assert_eq!(report.faults[0].offset, Some(u64::from(slot.0) * 1000));
        assert!(report.faults[0].reason.contains("account"), "{report:?}");
        accountant.falsify(slot, -bytes);
    }
    assert!(cache.verify().unwrap().is_sound());
}

/// Somebody who is on the way from the page table to the account holds a guard. While there is one nothing is
/// said.
#[test]
fn an_account_that_is_too_high_is_not_reported_while_somebody_may_be_about_to_lower_it() {
    let config = Config::with_storage(Arc::new(MemoryStorage::new())).segment_size(1000).io_buffer_size(512);
    let cache: PageCache<Text> = config.garbage_collection(false).open().unwrap();
    (0..60).for_each(|n| _ = cache.allocate(Text(vec![n; 50])).unwrap());
    cache.flush().unwrap();
    let accountant = cache.inner.core.accountant();
    let sound = cache.verify().unwrap().accounts_checked;
    accountant.falsify(SlotId(1), 9);
    {
        let _guard = cache.pin();
        let report = cache.verify().unwrap();
        assert!(report.is_sound() && report.accounts_checked == sound - 1, "{report:?}");
    }
    assert!(!cache.verify().unwrap().is_sound());
    accountant.falsify(SlotId(1), -9);
}
