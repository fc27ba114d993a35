//! The map as a state machine: what Raft has agreed on is done to it, in order, once.
//!
//! (A) *Once.* The commands of a call and how far they reach are one transaction. After a crash the map
//! stands exactly at the position that it names, so what comes behind it is done again by those who hold the
//! log, and nothing twice. (B) *No sync for each command.* They are durable in the log already. A crash may
//! take the map back, never below (C). (C) *What is durable here may be forgotten there.* [`DurablePoint`]
//! tells up to which index the map survives a power cut; the log gives up nothing beyond. It moves with each
//! snapshot, built or received, and those are flushed before anybody hears of them. (D) *A snapshot is kept.*
//! Its bytes are a page of the same store. One that is received replaces map, position and kept snapshot in
//! one transaction.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use openraft::{BasicNode, EntryPayload, SnapshotMeta, StoredMembership};
use pagelog::Config;
use serde::{Deserialize, Serialize};

use crate::codec::{decode, encode};
use crate::failure::Result;
use crate::map::{Map, Transaction};
use crate::types::{Command, Entry, LogId, Outcome};

type Meta = SnapshotMeta<u64, BasicNode>;

/// How far a machine is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// The last entry that was applied.
    pub last: Option<LogId>,
    /// The members of the cluster, as of then.
    pub membership: StoredMembership<u64, BasicNode>,
}

/// Up to where the machine survives a power cut. Shared by the machine, which moves it, and the log, which
/// looks at it.
#[derive(Clone, Debug, Default)]
pub struct DurablePoint(Arc<AtomicU64>);

impl DurablePoint {
    /// The number of entries from index 0 on whose effect is durable.
    #[must_use]
    pub fn entries(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }

    fn reached(&self, last: Option<LogId>) {
        if let Some(last) = last {
            self.0.fetch_max(last.index + 1, Ordering::AcqRel);
        }
    }
}

/// The blob of the map.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    meta: Meta,
    data: Vec<u8>,
}

/// A replicated map, on one node. Its calls wait for the disk: see [`StateMachine`](crate::StateMachine) for
/// openraft's.
#[derive(Debug)]
pub struct Machine {
    map: Map,
    durable: DurablePoint,
    received: AtomicU64,
}

impl Machine {
    /// Opens the machine in the configured place, or makes an empty one there.
    ///
    /// # Errors
    /// As [`Map::open`].
    pub fn open(config: Config) -> Result<Self> {
        let machine =
            Self { map: Map::open(config)?, durable: DurablePoint::default(), received: AtomicU64::new(0) };
        // What opening finds it has made durable.
        machine.durable.reached(machine.applied()?.last);
        Ok(machine)
    }

    /// Up to where it survives a power cut.
    #[must_use]
    pub fn durable(&self) -> DurablePoint {
        self.durable.clone()
    }

    /// How far it is.
    ///
    /// # Errors
    /// What reading can meet with.
    pub fn applied(&self) -> Result<Applied> {
        decode_applied(&self.map.tag()?)
    }

    /// The key's value.
    ///
    /// # Errors
    /// What reading can meet with.
    pub fn get(&self, key: &str) -> Result<Option<String>> {
        self.map.get(key)
    }

    /// All of the map, and how far it is.
    ///
    /// # Errors
    /// What reading can meet with.
    pub fn contents(&self) -> Result<(BTreeMap<String, String>, Applied)> {
        let (contents, tag) = self.map.contents()?;
        Ok((contents, decode_applied(&tag)?))
    }

    /// Does what the entries say. An outcome for each of them.
    ///
    /// # Errors
    /// What stopped writing; final.
    pub fn apply(&self, entries: &[Entry]) -> Result<Vec<Outcome>> {
        let mut applied = self.applied()?;
        self.map.transaction(|map| {
            let outcomes = entries.iter().map(|entry| {
                applied.last = Some(entry.log_id);
                match &entry.payload {
                    EntryPayload::Blank => Ok(Outcome::default()),
                    EntryPayload::Normal(command) => execute(map, command),
                    EntryPayload::Membership(members) => {
                        applied.membership = StoredMembership::new(Some(entry.log_id), members.clone());
                        Ok(Outcome::default())
                    }
                }
            });
            let outcomes = outcomes.collect::<Result<_>>()?;
            map.set_tag(encode(&applied)?)?;
            Ok(outcomes)
        })
    }

    /// Makes a snapshot of the map as it is, and keeps it. Durable when this returns, and so is all that is
    /// in it.
    ///
    /// # Errors
    /// What reading or writing can meet with.
    pub fn build_snapshot(&self) -> Result<(Meta, Vec<u8>)> {
        let (contents, applied) = self.contents()?;
        let index = applied.last.map_or(0, |last| last.index);
        let meta = Meta {
            last_log_id: applied.last,
            last_membership: applied.membership,
            snapshot_id: format!("{index}-{}", self.map.unique_number()?),
        };
        let kept = Kept { meta, data: encode(&contents)? };
        self.map.transaction(|map| {
            // One that was received meanwhile is newer.
            let newer = self.kept()?.is_some_and(|other| other.meta.last_log_id > kept.meta.last_log_id);
            if newer { Ok(()) } else { map.set_blob(encode(&kept)?) }
        })?;
        self.map.flush()?;
        self.durable.reached(kept.meta.last_log_id);
        Ok((kept.meta, kept.data))
    }

    /// Becomes what the snapshot says, and keeps it. Durable when this returns.
    ///
    /// # Errors
    /// [`Failure::Damaged`](crate::Failure::Damaged) if `data` is no snapshot, and nothing has changed then;
    /// or what stopped writing.
    pub fn install_snapshot(&self, meta: &Meta, data: Vec<u8>) -> Result<()> {
        let contents = decode("a snapshot", &data)?;
        let applied = Applied { last: meta.last_log_id, membership: meta.last_membership.clone() };
        let (tag, blob) = (encode(&applied)?, encode(&Kept { meta: meta.clone(), data })?);
        self.map.transaction(|map| {
            map.replace_all(contents)?;
            map.set_tag(tag)?;
            map.set_blob(blob)
        })?;
        self.map.flush()?;
        self.durable.reached(meta.last_log_id);
        self.received.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// How many snapshots it became since it was opened.
    #[must_use]
    pub fn snapshots_received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// The snapshot that is kept.
    ///
    /// # Errors
    /// What reading can meet with.
    pub fn snapshot(&self) -> Result<Option<(Meta, Vec<u8>)>> {
        Ok(self.kept()?.map(|kept| (kept.meta, kept.data)))
    }

    /// Flushes, and closes the store.
    ///
    /// # Errors
    /// What the flush met with.
    pub fn close(self) -> Result<()> {
        self.map.close()
    }

    fn kept(&self) -> Result<Option<Kept>> {
        let blob = self.map.blob()?;
        if blob.is_empty() { Ok(None) } else { decode("the kept snapshot", &blob).map(Some) }
    }
}

fn decode_applied(tag: &[u8]) -> Result<Applied> {
    if tag.is_empty() { Ok(Applied::default()) } else { decode("the applied position", tag) }
}

fn execute(map: &Transaction<'_>, command: &Command) -> Result<Outcome> {
    let (Command::Put { key, .. } | Command::Delete { key } | Command::Add { key, .. }) = command;
    let previous = map.get(key)?;
    match command {
        Command::Put { value, .. } => map.put(key, value.clone())?,
        Command::Delete { .. } => map.delete(key)?,
        Command::Add { by, .. } => {
            let number: i64 = previous.as_ref().and_then(|value| value.parse().ok()).unwrap_or(0);
            map.put(key, number.wrapping_add(*by).to_string())?;
        }
    }
    Ok(Outcome { previous })
}
