//! How many bytes the cache holds: contents of pages, and memory that is dead but that readers may still look at.
//!
//! Every link and every eviction changes the figure, so one counter for all would be the most contended word of the
//! store. Instead each thread has an *account* of its own, which passes its balance on to the totals when it has
//! become worth it. The batch follows the capacity, so the totals are never off by more than 1/64 of it, and with a tiny
//! capacity they are exact.
//!
//! - **(A)** `used` counts a content from its publication until its memory really is freed, wherever it was in between.
//!   What frees it runs later, on any thread, perhaps after the instance is gone: so a deferred closure holds its
//!   account by a counted reference, and accounts hold the totals. Sharing one count among all would contend
//!   again; the account's is mostly used by one thread.
//! - **(B)** `dead` is the part of `used` that waits for readers. It is an estimate (taken when a chain is retired,
//!   without looking at each content), but what is added is later subtracted, so it does not drift.
//! - **(C)** A thread keeps what it deferred in a bag that may hold many megabytes of pages. Bags are handed over by bytes,
//!   not by number: [`Account::bury`] says when.

use std::sync::Arc;

use crossbeam_utils::CachePadded;

use crate::stats::shard_of_thread;
use crate::sync::atomic::{AtomicI64, Ordering};

/// How many accounts there are.
const ACCOUNTS: usize = if cfg!(loom) { 1 } else { 16 };

#[derive(Debug)]
struct Totals {
    used: AtomicI64,
    dead: AtomicI64,
}

/// The balance of the threads that share it, as far as it has not been passed on.
#[derive(Debug)]
struct Balance {
    used: AtomicI64,
    dead: AtomicI64,
    /// Bytes buried since a bag was last handed over.
    unflushed: AtomicI64,
}

/// A share of the budget's bookkeeping.
#[derive(Debug)]
pub(crate) struct Account {
    balance: CachePadded<Balance>,
    totals: Arc<CachePadded<Totals>>,
    /// A balance above this, or below its negative, is passed on.
    batch: i64,
    /// See (C).
    bag: i64,
}

impl Account {
    /// Contents have come in.
    pub(super) fn charge(&self, bytes: u64) {
        self.change(&self.balance.used, &self.totals.used, signed(bytes));
    }

    /// Memory has really been freed.
    pub(super) fn discharge(&self, bytes: u64) {
        self.change(&self.balance.used, &self.totals.used, -signed(bytes));
    }

    /// Memory now waits for readers. True if the thread should hand over what it has deferred (C).
    #[must_use]
    pub(super) fn bury(&self, bytes: u64) -> bool {
        self.change(&self.balance.dead, &self.totals.dead, signed(bytes));
        let unflushed = self.balance.unflushed.fetch_add(signed(bytes), Ordering::Relaxed) + signed(bytes);
        let full = unflushed >= self.bag;
        if full {
            self.balance.unflushed.store(0, Ordering::Relaxed);
        }
        full
    }

    /// Memory that waited for readers, as many bytes as were buried, waits no more.
    pub(super) fn unbury(&self, bytes: u64) {
        self.change(&self.balance.dead, &self.totals.dead, -signed(bytes));
    }

    fn change(&self, balance: &AtomicI64, total: &AtomicI64, bytes: i64) {
        if bytes == 0 {
            return;
        }
        if self.batch == 0 {
            total.fetch_add(bytes, Ordering::Relaxed);
        } else if (balance.fetch_add(bytes, Ordering::Relaxed) + bytes).abs() > self.batch {
            total.fetch_add(balance.swap(0, Ordering::Relaxed), Ordering::Relaxed);
        }
    }
}

/// The budget of one instance.
#[derive(Debug)]
pub(crate) struct Budget {
    capacity: u64,
    accounts: Box<[Arc<Account>]>,
    totals: Arc<CachePadded<Totals>>,
}

impl Budget {
    /// Below this, a batch would save nothing worth an inexact figure.
    const SMALLEST_BATCH: u64 = 512;
    const LARGEST_BATCH: u64 = 64 << 10;

    pub(crate) fn new(capacity: u64) -> Self {
        let totals = Totals { used: AtomicI64::new(0), dead: AtomicI64::new(0) };
        let totals = Arc::new(CachePadded::new(totals));
        let batch = (capacity / (64 * ACCOUNTS as u64)).min(Self::LARGEST_BATCH);
        let account = || Account {
            balance: CachePadded::new(Balance {
                used: AtomicI64::new(0),
                dead: AtomicI64::new(0),
                unflushed: AtomicI64::new(0),
            }),
            totals: Arc::clone(&totals),
            batch: if batch < Self::SMALLEST_BATCH { 0 } else { signed(batch) },
            bag: signed((capacity / 256).clamp(4 << 10, 256 << 10)),
        };
        let accounts = (0..ACCOUNTS).map(|_| Arc::new(account())).collect();
        Self { capacity, accounts, totals }
    }

    pub(crate) fn capacity(&self) -> u64 {
        self.capacity
    }

    /// Adds other memory that the budget covers, write buffers for instance.
    #[cfg(test)]
    pub(super) fn charge(&self, bytes: u64) {
        self.account().charge(bytes);
    }

    /// Takes back what [`charge`](Self::charge) added.
    pub(super) fn discharge(&self, bytes: u64) {
        self.account().discharge(bytes);
    }

    /// The bytes in use, dead ones included, but for what accounts have not passed on: one load, for hot paths.
    #[inline]
    pub(crate) fn used(&self) -> u64 {
        unsigned(self.totals.used.load(Ordering::Relaxed))
    }

    /// How many of the bytes in use wait for readers.
    #[inline]
    pub(crate) fn dead(&self) -> u64 {
        unsigned(self.totals.dead.load(Ordering::Relaxed))
    }

    /// By how many bytes the capacity is exceeded.
    #[inline]
    #[cfg(test)]
    pub(crate) fn excess(&self) -> u64 {
        self.used().saturating_sub(self.capacity)
    }

    /// The bytes in use with all balances; exact when no other thread is at work.
    pub(crate) fn used_exactly(&self) -> u64 {
        let balances = self.accounts.iter().map(|account| account.balance.used.load(Ordering::Relaxed));
        unsigned(balances.sum::<i64>() + self.totals.used.load(Ordering::Relaxed))
    }

    /// The dead bytes with all balances; exact when no other thread is at work.
    pub(crate) fn dead_exactly(&self) -> u64 {
        let balances = self.accounts.iter().map(|account| account.balance.dead.load(Ordering::Relaxed));
        unsigned(balances.sum::<i64>() + self.totals.dead.load(Ordering::Relaxed))
    }

    /// The calling thread's account.
    #[inline]
    pub(super) fn account(&self) -> &Arc<Account> {
        &self.accounts[shard_of_thread() % self.accounts.len()]
    }
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

fn unsigned(bytes: i64) -> u64 {
    u64::try_from(bytes).unwrap_or(0)
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::Budget;

    #[test]
    fn a_tiny_budget_is_exact_at_every_moment() {
        let budget = Budget::new(4096);
        budget.charge(4097);
        assert_eq!((budget.used(), budget.excess()), (4097, 1));
        budget.discharge(4097);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn a_large_budget_is_off_by_at_most_its_64th_part() {
        let budget = Budget::new(64 << 20);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..10_000).for_each(|_| budget.charge(1000)));
            }
        });
        assert_eq!(budget.used_exactly(), 40_000_000);
        assert!(budget.used().abs_diff(40_000_000) <= 1 << 20, "{}", budget.used());
        budget.discharge(40_000_000);
        assert_eq!(budget.used_exactly(), 0);
    }

    #[test]
    fn bags_are_handed_over_by_bytes() {
        let budget = Budget::new(1 << 20);
        let handed_over = (0..64).filter(|_| budget.account().bury(1024)).count();
        assert_eq!(handed_over, 16);
        budget.account().unbury(64 * 1024);
        assert_eq!(budget.dead_exactly(), 0);
    }
}
