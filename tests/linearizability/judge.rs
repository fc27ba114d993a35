//! Whether the histories of a round have orders, and how much they prove.

use std::collections::BTreeMap;

use crate::checker::State;
use crate::history::{Event, Operation, Outcome};
use crate::order::{Rejection, check, is_overlapping};

/// How far a case came.
#[derive(Debug, Default)]
pub struct Summary {
    pub rounds: u64,
    pub operations: u64,
    pub histories: u64,
    /// Those in which a change overlapped something else.
    pub overlapping: u64,
    pub lost_races: u64,
}

/// Looks at what was done to each page in a round, and goes on from there: `states` is what the pages were
/// before, and then what they are.
pub fn judge(
    events: Vec<(u64, Event)>,
    states: &mut BTreeMap<u64, State>,
    summary: &mut Summary,
) -> Result<(), String> {
    summary.rounds += 1;
    summary.operations += events.len() as u64;
    let mut histories: BTreeMap<u64, Vec<Event>> = BTreeMap::new();
    for (page_id, event) in events {
        histories.entry(page_id).or_default().push(event);
    }
    for (page_id, history) in histories {
        summary.histories += 1;
        summary.overlapping += u64::from(is_overlapping(&history));
        let is_lost = |event: &&Event| {
            matches!(event.operation, Operation::Change { outcome: Outcome::Changed(_) | Outcome::Gone, .. })
        };
        summary.lost_races += history.iter().filter(is_lost).count() as u64;
        let state = states.entry(page_id).or_default();
        let explain = |rejection: Rejection<Operation>| {
            format!("page {page_id}, which began as {state:?}: {rejection}")
        };
        *state = check(state, history).map_err(explain)?;
    }
    Ok(())
}
