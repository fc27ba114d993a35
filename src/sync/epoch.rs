//! Pinning: what a thread can reach while it holds a guard is not freed.
//!
//! A read pins first, and a processor that waits for the memory of one page goes on to the next as far as the
//! instructions between them let it. So there should be few: a thread finds its handle by one look at a
//! pointer, which also tells whether there is anything to be done before.

use std::cell::Cell;
#[cfg(not(shuttle))]
use std::ptr;
use std::sync::Arc;
#[cfg(not(shuttle))]
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam_epoch::{Collector, LocalHandle};

pub(crate) use crossbeam_epoch::Guard;

use crate::sync::{thread, thread_local};

#[cfg(not(shuttle))]
static COLLECTOR: LazyLock<Collector> = LazyLock::new(Collector::new);
// One for each execution, which so does not depend on what was left over by the one before.
#[cfg(shuttle)]
shuttle::lazy_static! {
    static ref COLLECTOR: Collector = Collector::new();
}

thread_local! {
    static HANDLE: Registration = Registration(COLLECTOR.register());
    /// Whether something is to be done before this thread pins the next time.
    static DUE: Cell<bool> = const { Cell::new(false) };
}

#[cfg(not(shuttle))]
thread_local! {
    /// This thread's handle as it lies in `HANDLE`; null before it is there, when it is gone, and while
    /// something is due. So a read asks one question instead of three before it pins.
    static AT_HAND: Cell<*const LocalHandle> = const { Cell::new(ptr::null()) };
}

/// A thread's handle, for as long as the thread has it.
struct Registration(LocalHandle);

impl Registration {
    fn pin(&self) -> Guard {
        #[cfg(not(shuttle))]
        if !is_due() {
            let _ = AT_HAND.try_with(|at_hand| at_hand.set(&raw const self.0));
        }
        self.0.pin()
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        forget_handle();
    }
}

/// From now on this thread takes the long way to pin.
fn forget_handle() {
    #[cfg(not(shuttle))]
    let _ = AT_HAND.try_with(|at_hand| at_hand.set(ptr::null()));
}

/// As [`pin`], unless something is due.
#[cfg(not(shuttle))]
#[inline]
pub(crate) fn pin_unless_due() -> Option<Guard> {
    #[cfg(all(test, not(jitter)))]
    note();
    let at_hand = AT_HAND.try_with(Cell::get).unwrap_or(ptr::null());
    // SAFETY: null, or the handle in `HANDLE`, which a thread-local keeps in its place, to which nobody has a
    // mutable reference before it is dropped, and which is no longer to be found from then on
    // (`Registration::drop`).
    unsafe { at_hand.as_ref() }.map(LocalHandle::pin)
}

#[cfg(shuttle)]
pub(crate) fn pin_unless_due() -> Option<Guard> {
    (!is_due()).then(pin_slowly)
}

/// Says whether this thread has something to do before it pins next. Who does it pins by
/// [`pin_unless_due`]; to all others it makes no difference.
pub(crate) fn set_due(is_due: bool) {
    let _ = DUE.try_with(|due| due.set(is_due));
    if is_due {
        forget_handle();
    }
}

pub(crate) fn is_due() -> bool {
    DUE.try_with(Cell::get).unwrap_or(false)
}

/// Pins the current thread: what it can reach now is not freed until the guard is dropped.
#[inline]
pub(crate) fn pin() -> Guard {
    pin_unless_due().unwrap_or_else(pin_slowly)
}

#[cold]
fn pin_slowly() -> Guard {
    HANDLE.try_with(Registration::pin).unwrap_or_else(|_| COLLECTOR.register().pin())
}

/// Has what was deferred until now run, unless readers are in its way. Each round can move the epoch on by
/// one; two make a deferral ripe.
pub(crate) fn advance() {
    (0..3).for_each(|_| pin().flush());
}

/// For tests that count: the first pin of a thread writes its own registration, and reads the epoch.
#[cfg(all(test, not(any(shuttle, jitter))))]
fn note() {
    if !is_pinned() {
        let _ = HANDLE.try_with(|handle| super::noted::note(handle, true));
        super::noted::note(&COLLECTOR, false);
    }
}

/// Waits until every thread that is pinned now has moved on, but not for longer than `patience`. Returns
/// whether they have. A thread that is pinned itself is told `false` at once, for it would wait for
/// itself.
pub(crate) fn outlasted(patience: Duration) -> bool {
    if is_pinned() {
        return false;
    }
    let moved_on = Arc::new(AtomicBool::new(false));
    let deferred = Arc::clone(&moved_on);
    pin().defer(move || deferred.store(true, Ordering::Release));
    let began = Instant::now();
    while !moved_on.load(Ordering::Acquire) {
        if began.elapsed() > patience {
            return false;
        }
        pin().flush();
        thread::sleep(Duration::from_micros(50));
    }
    true
}

/// Whether this thread holds a guard.
pub(crate) fn is_pinned() -> bool {
    HANDLE.try_with(|handle| handle.0.is_pinned()).unwrap_or(false)
}

#[cfg(all(test, not(any(shuttle, jitter))))]
mod tests {
    use std::cell::Cell;
    use std::sync::mpsc::{Sender, channel};

    use super::{AT_HAND, HANDLE, is_due, pin, pin_unless_due, set_due};

    fn is_at_hand() -> bool {
        !AT_HAND.get().is_null()
    }

    #[test]
    fn who_owes_something_takes_the_long_way_until_it_is_done() {
        drop(pin());
        assert!(is_at_hand() && pin_unless_due().is_some());
        set_due(true);
        // Others may pin meanwhile, who do not ask; it is still due.
        drop(pin());
        assert!(is_due() && pin_unless_due().is_none());
        set_due(false);
        drop(pin());
        assert!(is_at_hand() && pin_unless_due().is_some());
    }

    #[test]
    fn a_thread_that_has_given_up_its_handle_does_not_find_it() {
        struct Late(Cell<Option<Sender<(bool, bool)>>>);
        impl Drop for Late {
            fn drop(&mut self) {
                let was_at_hand = is_at_hand();
                // It can still pin, whatever went first.
                drop(pin());
                if let Some(sender) = self.0.take() {
                    sender.send((HANDLE.try_with(|_| ()).is_ok(), was_at_hand)).unwrap();
                }
            }
        }
        thread_local! {
            static LATE: Late = const { Late(Cell::new(None)) };
        }
        let (sender, receiver) = channel();
        for pins_first in [true, false] {
            // Destructors run in the order in which their values were first used, or in the other one: so
            // once each way.
            let sender = sender.clone();
            let thread = std::thread::spawn(move || {
                if pins_first {
                    drop(pin());
                }
                LATE.with(|late| late.0.set(Some(sender)));
                drop(pin());
            });
            thread.join().unwrap();
        }
        let mut seen = [receiver.recv().unwrap(), receiver.recv().unwrap()];
        seen.sort_unstable();
        assert_eq!(seen, [(false, false), (true, true)], "(has its handle, finds it)");
    }
}
