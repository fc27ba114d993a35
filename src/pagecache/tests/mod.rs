//! Tests that look inside the page cache, and the fragment that they share.

mod accounts;
#[cfg(not(jitter))]
mod contention;
mod frozen;
#[cfg(feature = "sim")]
mod increments;
mod memory;
mod verify;

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::pages::{Codec, CodecError, Fragment};

/// All tests of the process share one collector: what one leaves to be freed waits while another holds a
/// guard. So those that stop a thread under its guard, and those that wait until all is freed, take turns.
fn turn_at_the_collector() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    // A test that failed has ended, and so has its turn.
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Bytes. Merging is concatenation.
#[derive(Debug)]
struct Text(Vec<u8>);

/// A link that begins with this leaves no trace in the merged page: else one that is linked to again and
/// again would outgrow its segment.
const TRACELESS: &[u8] = b"traceless";

struct Raw;

impl Codec<Text> for Raw {
    fn encode(fragment: &Text, into: &mut Vec<u8>) -> Result<(), CodecError> {
        into.extend_from_slice(&fragment.0);
        Ok(())
    }

    fn decode(bytes: &[u8]) -> Result<Text, CodecError> {
        Ok(Text(bytes.to_vec()))
    }
}

impl Fragment for Text {
    type Codec = Raw;

    fn merge(oldest_to_newest: &[&Self]) -> Self {
        let kept = oldest_to_newest.iter().filter(|text| !text.0.starts_with(TRACELESS));
        Text(kept.flat_map(|text| text.0.iter().copied()).collect())
    }
}
