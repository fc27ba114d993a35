//! Opening a bare log.

use super::open::recover;
use crate::config::Config;
use crate::error::Result;
use crate::format::StoreKind;
use crate::log::Log;

impl Log {
    /// Opens the log in the configured place, or creates it there. Cache options have no effect on a bare log.
    ///
    /// # Errors
    /// [`InvalidConfig`](crate::Error::InvalidConfig), [`Locked`](crate::Error::Locked),
    /// [`NotAStore`](crate::Error::NotAStore), [`UnsupportedFormat`](crate::Error::UnsupportedFormat),
    /// [`Corruption`](crate::Error::Corruption), [`Io`](crate::Error::Io).
    // Consumed, so that no one tunes a configuration after it was used.
    #[expect(clippy::needless_pass_by_value, reason = "the configuration is used up")]
    pub fn open(config: Config) -> Result<Self> {
        let opened = recover(&config, StoreKind::Log)?;
        Ok(Self::assemble(opened.core, opened.first_lsn, opened.was_recovered, opened.lock, config.temporary))
    }
}
