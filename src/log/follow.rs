//! Following a bare log.

use std::fmt;
use std::time::Duration;

use super::bare::Log;
use super::iter::LogEntry;
use super::trail::{Step, Trail};
use crate::error::Result;
use crate::format::RecordKind;
use crate::ids::Lsn;
use crate::location::Location;

/// What a [`LogFollower`] comes by.
///
/// ```
#[doc = include_str!("../docs/bare_log.txt")]
/// # let log = open()?;
/// use pagelog::LogEvent::{BatchBegins, BatchEnds, Entry};
///
/// let follower = log.follow(log.stable_lsn())?;
/// let batch = log.pin_log()?;
/// log.append(b"half of it")?;
/// log.append(b"the other half")?;
/// log.make_stable(batch.seal_batch()?)?;
/// let events = follower.collect::<pagelog::Result<Vec<_>>>()?;
/// assert!(matches!(events[..], [BatchBegins, Entry(_), Entry(_), BatchEnds]));
/// # Ok::<(), pagelog::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LogEvent {
    /// An entry.
    Entry(LogEntry),
    /// What follows, up to the end, is one [batch](crate::Batch). All of it is stable, so it comes without a
    /// wait.
    BatchBegins,
    /// The end of the batch that began last.
    BatchEnds,
}

/// Follows a log: its entries in order, as they become stable. Got from [`Log::follow`].
///
/// ```
#[doc = include_str!("../docs/bare_log.txt")]
/// # let log = open()?;
/// let mut follower = log.follow(log.stable_lsn())?;
/// log.append(b"first")?;
/// log.append(b"second")?;
/// log.flush()?;
/// assert_eq!(follower.by_ref().collect::<pagelog::Result<Vec<_>>>()?.len(), 2);
/// // There was no more. Now there is.
/// log.append(b"third")?;
/// log.flush()?;
/// assert_eq!(follower.collect::<pagelog::Result<Vec<_>>>()?.len(), 1);
/// # Ok::<(), pagelog::Error>(())
/// ```
pub struct LogFollower<'a> {
    log: &'a Log,
    trail: Trail,
}

impl Log {
    /// Follows the log from `lsn` on: every entry at an LSN not below it, once it is stable, in order and
    /// without a gap. An LSN behind what is stable now means: from there on.
    ///
    /// Nothing is made stable by this: see [`Config::flush_every`](crate::Config::flush_every). What is
    /// [truncated](Self::truncate_before) is gone for followers too; one that has not come so far hears of
    /// that by an error.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use std::time::Duration;
    /// use pagelog::{Config, Log, LogEvent, MemoryStorage};
    ///
    /// # fn main() -> pagelog::Result<()> {
    /// let log = Log::open(Config::with_storage(Arc::new(MemoryStorage::new())))?;
    /// let mut follower = log.follow(log.stable_lsn())?;
    /// log.append(b"hello")?;
    /// assert!(follower.try_next()?.is_none());
    /// log.flush()?;
    /// let Some(LogEvent::Entry(entry)) = follower.next_within(Duration::from_secs(1))? else { unreachable!() };
    /// assert_eq!(entry.payload, b"hello");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Truncated`](crate::Error::Truncated) if the log does not reach back to `lsn`;
    /// [`Closed`](crate::Error::Closed); [`Io`](crate::Error::Io); [`Corruption`](crate::Error::Corruption).
    pub fn follow(&self, lsn: Lsn) -> Result<LogFollower<'_>> {
        self.check_reaches(lsn.min(self.stable_lsn()))?;
        Ok(LogFollower { log: self, trail: Trail::new(self.core(), lsn, 0)? })
    }
}

impl LogFollower<'_> {
    /// What comes next, if it is stable. Waits for nothing but the disk.
    ///
    /// ```
    #[doc = include_str!("../docs/bare_log.txt")]
    /// # let log = open()?;
    /// use pagelog::LogEvent;
    ///
    /// let mut follower = log.follow(log.stable_lsn())?;
    /// log.append(b"entry")?;
    /// assert!(follower.try_next()?.is_none(), "it is not stable");
    /// log.flush()?;
    /// assert!(matches!(follower.try_next()?, Some(LogEvent::Entry(entry)) if entry.payload == b"entry"));
    /// # Ok::<(), pagelog::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Truncated`](crate::Error::Truncated) if the log was truncated behind this follower's position,
    /// [`Closed`](crate::Error::Closed), [`Corruption`](crate::Error::Corruption), [`Io`](crate::Error::Io).
    pub fn try_next(&mut self) -> Result<Option<LogEvent>> {
        let step = self.trail.try_step();
        self.event(step)
    }

    /// What comes next. Waits for so long at most until something is stable; `None` if nothing was.
    ///
    /// ```
    #[doc = include_str!("../docs/bare_log.txt")]
    /// # let log = open()?;
    /// use std::thread;
    /// use std::time::Duration;
    ///
    /// let mut follower = log.follow(log.stable_lsn())?;
    /// assert!(follower.next_within(Duration::from_millis(1))?.is_none());
    /// thread::scope(|scope| {
    ///     scope.spawn(|| log.append(b"entry").and_then(|lsn| log.make_stable(lsn)));
    ///     // Sleeps until then.
    ///     let event = follower.next_within(Duration::from_secs(60));
    ///     assert!(matches!(event, Ok(Some(_))));
    /// });
    /// # Ok::<(), pagelog::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`try_next`](Self::try_next), and [`Poisoned`](crate::Error::Poisoned) if nothing is left that is
    /// stable and nothing will be.
    pub fn next_within(&mut self, patience: Duration) -> Result<Option<LogEvent>> {
        let step = self.trail.step(patience);
        self.event(step)
    }

    /// Where to [`follow`](Log::follow) on another time, without missing anything and without seeing anything
    /// twice. Inside of a batch that is the batch's begin.
    ///
    /// ```
    #[doc = include_str!("../docs/bare_log.txt")]
    /// # let log = open()?;
    /// let mut follower = log.follow(log.stable_lsn())?;
    /// log.append(b"first")?;
    /// log.append(b"second")?;
    /// log.flush()?;
    /// assert!(follower.try_next()?.is_some());
    /// // Another one goes on where that one stopped.
    /// let another = log.follow(follower.position())?;
    /// assert_eq!(another.collect::<pagelog::Result<Vec<_>>>()?.len(), 1);
    /// # Ok::<(), pagelog::Error>(())
    /// ```
    #[must_use]
    pub fn position(&self) -> Lsn {
        self.trail.position()
    }

    fn event(&self, step: Result<Option<Step>>) -> Result<Option<LogEvent>> {
        let Some(step) = step? else { return Ok(None) };
        // It may still lie there.
        self.log.check_reaches(step.lsn)?;
        Ok(Some(match step.kind {
            RecordKind::BatchBegin => LogEvent::BatchBegins,
            RecordKind::BatchEnd { .. } => LogEvent::BatchEnds,
            _ => LogEvent::Entry(LogEntry {
                lsn: step.lsn,
                location: Location { slot: step.place.slot, lsn: step.lsn, length: step.length },
                payload: self.trail.payload(&step).bytes.to_vec(),
            }),
        }))
    }
}

impl Iterator for LogFollower<'_> {
    type Item = Result<LogEvent>;

    /// As [`try_next`](LogFollower::try_next): ends where nothing more is stable, and can be asked again
    /// later.
    fn next(&mut self) -> Option<Self::Item> {
        self.try_next().transpose()
    }
}

impl fmt::Debug for LogFollower<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("LogFollower").field("position", &self.position()).finish_non_exhaustive()
    }
}
