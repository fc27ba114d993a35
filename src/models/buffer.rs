//! Writers enter a buffer, write and leave, while another thread seals it and waits for them: it must see all
//! their bytes, and nobody else's, and must be woken.

use std::sync::Arc;

use loom::thread;

use super::explore;
use crate::log::buffer_state::{AtomicBufferState, BufferState, Entry};
use crate::log::event::Event;
use crate::sync::SharedCell;

const LIFE: u32 = 7;
const CAPACITY: u32 = 3;

/// A buffer of three bytes, each of which the checker watches.
struct Buffer {
    state: AtomicBufferState,
    bytes: [SharedCell<u8>; CAPACITY as usize],
    drained: Event,
}

impl Buffer {
    fn new() -> Self {
        let state = AtomicBufferState::new(BufferState::unpack(0));
        state.open(LIFE, 0);
        Self { state, bytes: [0, 0, 0].map(SharedCell::new), drained: Event::new() }
    }

    /// Writes one byte if there is room. Returns whether there was.
    fn write(&self, byte: u8) -> bool {
        let Entry::Entered(offset) = self.state.enter(LIFE, 1, || CAPACITY, |_| false) else { return false };
        // SAFETY: the word has handed this byte out to this thread; the checker watches that.
        self.bytes[offset as usize].with_mut(|cell| unsafe { *cell = byte });
        if self.state.leave().is_drained() {
            self.drained.notify();
        }
        true
    }

    /// Seals, waits, and reads everything.
    fn drain(&self) -> Vec<u8> {
        self.state.seal(LIFE, |_| true, |_| true);
        self.drained.wait_while(|| !self.state.load().is_drained());
        let end = self.state.load().offset as usize;
        // SAFETY: sealed and left by all.
        self.bytes[..end].iter().map(|cell| cell.with(|byte| unsafe { *byte })).collect()
    }
}

fn model(writers: u8) {
    let buffer = Arc::new(Buffer::new());
    let writers: Vec<_> = (1..=writers)
        .map(|byte| {
            let buffer = Arc::clone(&buffer);
            thread::spawn(move || buffer.write(byte).then_some(byte))
        })
        .collect();
    let mut drained = buffer.drain();
    let mut written: Vec<u8> = writers.into_iter().filter_map(|writer| writer.join().unwrap()).collect();
    drained.sort_unstable();
    written.sort_unstable();
    assert_eq!(drained, written);
    assert!(!buffer.write(9), "a sealed buffer took a writer");
}

#[test]
fn who_drains_a_buffer_sees_exactly_what_was_written() {
    explore("buffer, 2 writers", None, || model(2));
    explore("buffer, 3 writers", Some(3), || model(3));
}
