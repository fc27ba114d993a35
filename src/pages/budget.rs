//! How many bytes the cache holds: contents of pages, the nodes that they hang in, and memory that is dead
//! but that readers may still look at.
//!
//! Every link and every eviction changes the figure, so one counter for all would be the most contended word
//! of the store. Instead each thread has an *account* of its own, which passes its balance on to the totals
//! when it has become worth it. The batch follows the capacity, so the totals are never off by more than 1/64
//! of it, and with a tiny capacity they are exact.
//!
//! - **(A)** `used` counts a content or a node from its publication until its memory really is freed,
//!   wherever it was in between. What frees it runs later, on any thread, perhaps after the instance is gone:
//!   so a deferred closure holds its account by a counted reference, and accounts hold the totals. Sharing
//!   one count among all would contend again; the account's is mostly used by one thread.
//! - **(B)** `dead` is the part of `used` that waits for readers. It is an estimate (taken when a chain is
//!   retired, without looking at each content), but what is added is later subtracted, so it does not drift.
//! - **(C)** A thread keeps what it deferred in a bag that may hold many megabytes of pages. Bags are handed
//!   over by bytes, not by number: [`Account::bury`] says when.
//! - **(D)** `nodes` is the part of `used` that are nodes of chains in the table: from their publication
//!   until they are taken out, and then they are dead. So what is neither dead nor a node is a content that
//!   can be evicted. A link charges a node only if it had to begin a chunk, and together with its fragment,
//!   so nodes cost a link no update of their own.

use std::ops::AddAssign;
use std::sync::Arc;

use crossbeam_utils::CachePadded;

use crate::stats::ThreadNumber;
use crate::sync::atomic::{AtomicI64, Ordering};

/// How many accounts there are.
const ACCOUNTS: usize = if cfg!(loom) { 1 } else { 16 };

/// Bytes of pages, by what becomes of them under pressure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Weight {
    /// What can be evicted.
    pub(crate) contents: u64,
    /// What stays as long as its page is what it is.
    pub(crate) nodes: u64,
}

impl Weight {
    pub(super) const fn of_contents(contents: u64) -> Self {
        Self { contents, nodes: 0 }
    }

    pub(super) const fn of_nodes(nodes: u64) -> Self {
        Self { contents: 0, nodes }
    }

    pub(crate) const fn sum(self) -> u64 {
        self.contents + self.nodes
    }
}

impl AddAssign for Weight {
    fn add_assign(&mut self, other: Self) {
        self.contents += other.contents;
        self.nodes += other.nodes;
    }
}

#[derive(Debug)]
struct Totals {
    used: AtomicI64,
    nodes: AtomicI64,
    dead: AtomicI64,
}

/// The balance of the threads that share it, as far as it has not been passed on.
#[derive(Debug)]
struct Balance {
    used: AtomicI64,
    nodes: AtomicI64,
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
    /// Contents and nodes have come in.
    pub(super) fn charge(&self, weight: Weight) {
        self.change(&self.balance.used, &self.totals.used, signed(weight.sum()));
        self.change(&self.balance.nodes, &self.totals.nodes, signed(weight.nodes));
    }

    /// Takes back what [`charge`](Self::charge) added, for what is out of the table without having waited for
    /// readers.
    pub(super) fn refund(&self, weight: Weight) {
        self.unlink(weight);
        self.discharge(weight.sum());
    }

    /// Memory has really been freed.
    pub(super) fn discharge(&self, bytes: u64) {
        self.change(&self.balance.used, &self.totals.used, -signed(bytes));
    }

    /// Nodes are in the table no more (D).
    pub(super) fn unlink(&self, weight: Weight) {
        self.change(&self.balance.nodes, &self.totals.nodes, -signed(weight.nodes));
    }

    /// Memory was taken out of reach and now waits for readers. True if the thread should hand over what it
    /// has deferred (C).
    #[must_use]
    pub(super) fn bury(&self, weight: Weight) -> bool {
        let bytes = signed(weight.sum());
        self.unlink(weight);
        self.change(&self.balance.dead, &self.totals.dead, bytes);
        let unflushed = self.balance.unflushed.fetch_add(bytes, Ordering::Relaxed) + bytes;
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
        let totals = Totals { used: AtomicI64::new(0), nodes: AtomicI64::new(0), dead: AtomicI64::new(0) };
        let totals = Arc::new(CachePadded::new(totals));
        let batch = (capacity / (64 * ACCOUNTS as u64)).min(Self::LARGEST_BATCH);
        let account = || Account {
            balance: CachePadded::new(Balance {
                used: AtomicI64::new(0),
                nodes: AtomicI64::new(0),
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

    /// The bytes in use, dead ones included, but for what accounts have not passed on: one load, for hot
    /// paths.
    #[inline]
    pub(crate) fn used(&self) -> u64 {
        unsigned(self.totals.used.load(Ordering::Relaxed))
    }

    /// How many of the bytes in use wait for readers.
    #[inline]
    pub(crate) fn dead(&self) -> u64 {
        unsigned(self.totals.dead.load(Ordering::Relaxed))
    }

    /// How many of the bytes in use are nodes in the table (D).
    #[inline]
    pub(crate) fn nodes(&self) -> u64 {
        unsigned(self.totals.nodes.load(Ordering::Relaxed))
    }

    /// By how many bytes the capacity is exceeded.
    #[inline]
    #[cfg(test)]
    pub(crate) fn excess(&self) -> u64 {
        self.used().saturating_sub(self.capacity)
    }

    /// The bytes in use with all balances; exact when no other thread is at work.
    pub(crate) fn used_exactly(&self) -> u64 {
        self.exactly(&self.totals.used, |balance| &balance.used)
    }

    /// The bytes of nodes with all balances; exact when no other thread is at work.
    pub(crate) fn nodes_exactly(&self) -> u64 {
        self.exactly(&self.totals.nodes, |balance| &balance.nodes)
    }

    /// The dead bytes with all balances; exact when no other thread is at work.
    pub(crate) fn dead_exactly(&self) -> u64 {
        self.exactly(&self.totals.dead, |balance| &balance.dead)
    }

    fn exactly(&self, total: &AtomicI64, balance: impl Fn(&Balance) -> &AtomicI64) -> u64 {
        let balances = self.accounts.iter().map(|account| balance(&account.balance).load(Ordering::Relaxed));
        unsigned(balances.sum::<i64>() + total.load(Ordering::Relaxed))
    }

    /// The calling thread's account.
    #[inline]
    pub(super) fn account(&self) -> &Arc<Account> {
        &self.accounts[ThreadNumber::of_this().index() % self.accounts.len()]
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
    use super::{Budget, Weight};

    #[test]
    fn a_tiny_budget_is_exact_at_every_moment() {
        let budget = Budget::new(4096);
        budget.account().charge(Weight::of_contents(4097));
        assert_eq!((budget.used(), budget.excess()), (4097, 1));
        budget.account().discharge(4097);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn a_large_budget_is_off_by_at_most_its_64th_part() {
        // As many bytes in fewer steps where each takes long.
        const STEPS: u64 = if cfg!(miri) { 100 } else { 10_000 };
        let budget = Budget::new(64 << 20);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                let charge = |_| budget.account().charge(Weight::of_contents(10_000_000 / STEPS));
                scope.spawn(move || (0..STEPS).for_each(charge));
            }
        });
        assert_eq!(budget.used_exactly(), 40_000_000);
        assert!(budget.used().abs_diff(40_000_000) <= 1 << 20, "{}", budget.used());
        budget.account().discharge(40_000_000);
        assert_eq!(budget.used_exactly(), 0);
    }

    #[test]
    fn bags_are_handed_over_by_bytes() {
        let budget = Budget::new(1 << 20);
        let handed_over = (0..64).filter(|_| budget.account().bury(Weight::of_contents(1024))).count();
        assert_eq!(handed_over, 16);
        budget.account().unbury(64 * 1024);
        assert_eq!(budget.dead_exactly(), 0);
    }

    #[test]
    fn nodes_count_until_they_are_out_of_the_table_and_are_used_until_they_are_freed() {
        let budget = Budget::new(4096);
        let (account, weight) = (budget.account(), Weight { contents: 100, nodes: 30 });
        let figures = || [budget.used(), budget.nodes(), budget.dead()];
        account.charge(weight);
        account.charge(weight);
        assert_eq!(figures(), [260, 60, 0]);
        account.refund(weight);
        assert_eq!(figures(), [130, 30, 0]);
        let _ = account.bury(weight);
        assert_eq!(figures(), [130, 0, 130]);
        account.discharge(130);
        account.unbury(130);
        assert_eq!(figures(), [0, 0, 0]);
        assert_eq!([budget.used_exactly(), budget.nodes_exactly(), budget.dead_exactly()], [0, 0, 0]);
    }
}
