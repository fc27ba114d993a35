//! What the targets share: limits on time and memory, damage that a fuzzer can steer, and the repair of
//! checksums.

#[path = "../../support/bytes.rs"]
pub mod bytes;
#[path = "../../golden_store/golden.rs"]
pub mod golden;
pub mod limits;
pub mod mutation;
pub mod repair;
