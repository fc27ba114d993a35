//! Power cuts at every operation of random workloads, on simulated disks: one for the log, one for the
//! machine.
//!
//! The workload calls what openraft's calls end in (`Journal::commit`, `Machine::apply` and so on) from one
//! thread, so every run of a seed is the same, and it is known to the operation what had been acknowledged
//! when the power went. A model keeps every state that the log went through, record by record, and every
//! state of the machine. What a cut leaves has to be one of these states, not older than what was
//! acknowledged; and the two have to fit: the log has what the machine misses.

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;

use openraft::{BasicNode, EntryPayload, StorageHelper};
use pagelog::sim::SimStorage;
use pagelog_raft::{
    Command, DurablePoint, Entry, Journal, LogId, LogStore, Machine, Marks, StateMachine, Vote, Work,
};
use support::{Contents, Random, execute, log_id, membership, normal, open_journal, open_machine};

type Meta = openraft::SnapshotMeta<u64, BasicNode>;

/// A state of the Raft log.
#[derive(Clone, Debug, Default, PartialEq)]
struct LogState {
    entries: BTreeMap<u64, Entry>,
    marks: Marks,
}

impl LogState {
    fn of(journal: &Journal) -> Self {
        let entries = journal.read(&..).unwrap();
        let entries = entries.into_iter().map(|entry| (entry.log_id.index, entry)).collect();
        Self { entries, marks: journal.marks() }
    }

    fn purge(&mut self, upto: LogId) {
        self.marks.purged = self.marks.purged.max(Some(upto));
        self.entries.retain(|index, _| *index > upto.index);
    }

    fn last(&self) -> Option<LogId> {
        self.entries.values().next_back().map(|entry| entry.log_id).or(self.marks.purged)
    }
}

/// A state of the machine.
#[derive(Clone, Debug, Default, PartialEq)]
struct MachineState {
    contents: Contents,
    last: Option<LogId>,
    /// The index of the membership's entry.
    membership: Option<LogId>,
    /// What the kept snapshot covers, and holds.
    kept: Option<(Option<LogId>, Vec<u8>)>,
}

impl MachineState {
    fn of(machine: &Machine) -> Self {
        let (contents, applied) = machine.contents().unwrap();
        let kept = machine.snapshot().unwrap().map(|(meta, data)| (meta.last_log_id, data));
        Self { contents, last: applied.last, membership: *applied.membership.log_id(), kept }
    }
}

/// All states of something, in order, and the oldest that a power cut may leave.
struct History<T> {
    states: Vec<T>,
    acknowledged: usize,
}

impl<T: Clone + Default + PartialEq + std::fmt::Debug> History<T> {
    fn new() -> Self {
        Self { states: vec![T::default()], acknowledged: 0 }
    }

    fn newest(&self) -> T {
        self.states.last().unwrap().clone()
    }

    fn acknowledge(&mut self) {
        self.acknowledged = self.states.len() - 1;
    }
}

/// From here on, and until the next one of these, the power may go during an operation of one of the disks.
#[derive(Debug)]
struct Span {
    /// Operations done when it begins: of the log's disk, and of the machine's.
    from: (u64, u64),
    /// Oldest and newest state of the log, and of the machine.
    log: (usize, usize),
    machine: (usize, usize),
    /// What had been applied, and was told to a client, before.
    applied: Option<LogId>,
    what: String,
}

/// A node without a network, and the model of it.
struct Run {
    disks: (SimStorage, SimStorage),
    journal: Journal,
    machine: Machine,
    durable: DurablePoint,
    log: History<LogState>,
    state: History<MachineState>,
    /// The contents of the map after each index that was ever applied.
    by_index: BTreeMap<u64, Contents>,
    parked: Option<LogId>,
    on_disk_purged: Option<LogId>,
    spans: Vec<Span>,
    term: u64,
    random: Random,
    counts: BTreeMap<&'static str, u32>,
}

impl Run {
    fn new(seed: u64) -> Self {
        let disks = (SimStorage::new(seed), SimStorage::new(seed ^ 1));
        let machine = open_machine(&disks.1).unwrap();
        let durable = machine.durable();
        let journal = open_journal(&disks.0, durable.clone()).unwrap();
        // The map is there from the start: that it is made at once is pagelog's business.
        disks.0.record_history();
        disks.1.record_history();
        Self {
            disks,
            journal,
            machine,
            durable,
            log: History::new(),
            state: History::new(),
            by_index: BTreeMap::new(),
            parked: None,
            on_disk_purged: None,
            spans: Vec::new(),
            term: 1,
            random: Random::new(seed),
            counts: BTreeMap::new(),
        }
    }

    /// What is asked for from here on may be there after a cut, and needn't.
    fn begin(&mut self, what: &'static str, log: &[LogState], machine: &[MachineState]) {
        *self.counts.entry(what).or_default() += 1;
        self.log.states.extend_from_slice(log);
        self.state.states.extend_from_slice(machine);
        self.spans.push(Span {
            from: (self.disks.0.operations(), self.disks.1.operations()),
            log: (self.log.acknowledged, self.log.states.len() - 1),
            machine: (self.state.acknowledged, self.state.states.len() - 1),
            applied: self.state.states[self.state.states.len() - 1 - machine.len()].last,
            what: format!("{what} {}", self.spans.len()),
        });
    }

    /// Commits a group, as the thread of the log store does.
    fn commit(&mut self, what: &'static str, group: &[Work]) {
        let mut states = Vec::new();
        let mut state = self.log.newest();
        let mut waits = false;
        for work in group {
            match work {
                Work::Append(entries) => {
                    for entry in entries {
                        let next = state.last().map(|last| last.index + 1);
                        if let Some(upto) =
                            self.parked.filter(|_| next.is_some_and(|next| next < entry.log_id.index))
                        {
                            state.purge(upto);
                            self.parked = None;
                            states.push(state.clone());
                        }
                        state.entries.insert(entry.log_id.index, Entry::clone(entry));
                        states.push(state.clone());
                    }
                    waits = true;
                }
                Work::TruncateFrom(index) => {
                    state.entries.split_off(index);
                    states.push(state.clone());
                    waits = true;
                }
                Work::Vote(vote) => {
                    state.marks.vote = Some(*vote);
                    states.push(state.clone());
                    waits = true;
                }
                Work::Committed(committed) => {
                    state.marks.committed = *committed;
                    states.push(state.clone());
                }
                Work::Purge(upto) => self.parked = self.parked.max(Some(*upto)),
            }
        }
        if let Some(upto) = self.parked.filter(|upto| upto.index < self.durable.entries()) {
            state.purge(upto);
            self.parked = None;
            self.on_disk_purged = Some(upto);
            states.push(state);
            waits = true;
        }
        self.begin(what, &states, &[]);
        self.journal.commit(group).unwrap();
        if waits {
            self.log.acknowledge();
        }
    }

    fn command(&mut self) -> Command {
        let key = format!("key {}", self.random.below(12));
        match self.random.below(6) {
            0 => Command::Delete { key },
            1 | 2 => Command::Put { key, value: "x".repeat(self.random.below(200) as usize) },
            _ => Command::Add { key, by: self.random.below(100) as i64 },
        }
    }

    fn next_index(&self) -> u64 {
        self.journal.last().map_or(0, |last| last.index + 1)
    }

    fn applied(&self) -> Option<LogId> {
        self.state.newest().last
    }

    fn append_work(&mut self, count: u64) -> Work {
        let entries: Vec<Entry> = (0..count)
            .map(|more| {
                let id = log_id(self.term, self.next_index() + more);
                if self.random.below(10) == 0 { membership(id) } else { normal(id, self.command()) }
            })
            .collect();
        self.journal.append(entries).unwrap()
    }

    fn append(&mut self) {
        let count = 1 + self.random.below(4);
        let work = self.append_work(count);
        self.commit("append", &[work]);
    }

    fn group(&mut self) {
        let mut group = vec![self.append_work(1)];
        if self.random.below(2) == 0 {
            self.term += 1;
            group.push(self.journal.vote(Vote::new(self.term, self.random.below(3))));
        }
        group.push(self.append_work(2));
        group.push(self.journal.committed(self.applied()));
        group.push(self.append_work(1));
        self.commit("group", &group);
    }

    /// Another leader overrules the end of the log, but nothing that was applied.
    fn truncate(&mut self) {
        let (first, next) = (self.applied().map_or(0, |applied| applied.index + 1), self.next_index());
        if first < next {
            let from = first + self.random.below(next - first);
            self.term += 1;
            let work = self.journal.truncate_from(from);
            self.commit("truncate", &[work]);
        }
    }

    fn vote(&mut self) {
        self.term += self.random.below(2);
        let mut vote = Vote::new(self.term, self.random.below(3));
        vote.committed = self.random.below(2) == 0;
        let work = self.journal.vote(vote);
        self.commit("vote", &[work]);
    }

    fn apply(&mut self) {
        let start = self.applied().map_or(0, |applied| applied.index + 1);
        let left = self.next_index() - start;
        if left == 0 {
            return;
        }
        let end = start + 1 + self.random.below(left.min(6));
        let entries = self.journal.read(&(start..end)).unwrap();
        let last = entries.last().unwrap().log_id;
        let work = self.journal.committed(Some(last));
        self.commit("committed", &[work]);
        let mut state = self.state.newest();
        let mut outcomes = Vec::new();
        for entry in &entries {
            outcomes.push(execute(&mut state.contents, entry));
            if matches!(entry.payload, EntryPayload::Membership(_)) {
                state.membership = Some(entry.log_id);
            }
            self.by_index.insert(entry.log_id.index, state.contents.clone());
        }
        state.last = Some(last);
        self.begin("apply", &[], &[state]);
        assert_eq!(self.machine.apply(&entries).unwrap(), outcomes);
    }

    fn snapshot(&mut self) {
        if self.applied().is_none() {
            return;
        }
        let mut state = self.state.newest();
        state.kept = Some((state.last, support::snapshot_of(&state.contents)));
        self.begin("snapshot", &[], &[state.clone()]);
        let (meta, data) = self.machine.build_snapshot().unwrap();
        assert_eq!(Some((meta.last_log_id, data)), state.kept);
        self.state.acknowledge();
        // What it covers may go.
        let log = self.log.newest();
        let covered: Vec<LogId> = log
            .entries
            .values()
            .map(|entry| entry.log_id)
            .filter(|id| Some(*id) <= meta.last_log_id)
            .collect();
        if let Some(upto) = covered.get(self.random.below(covered.len().max(1) as u64) as usize) {
            let work = self.journal.purge(*upto);
            self.commit("purge", &[work]);
        }
    }

    /// Asks for more to be given up than any snapshot covers. On disk that has to wait.
    fn purge_too_much(&mut self) {
        if let Some(applied) = self.applied() {
            let work = self.journal.purge(applied);
            self.commit("purge without a snapshot", &[work]);
        }
    }

    /// A leader that is far ahead sends its snapshot. openraft asks for the purge without waiting for the
    /// machine.
    fn install(&mut self) {
        self.term += 1;
        let conflict = self.next_index();
        let last = log_id(self.term, conflict + self.random.below(5));
        let mut state = self.state.newest();
        for _ in 0..5 {
            let entry = normal(last, self.command());
            execute(&mut state.contents, &entry);
        }
        state.last = Some(last);
        let data = support::snapshot_of(&state.contents);
        state.kept = Some((Some(last), data.clone()));
        let meta = Meta {
            last_log_id: Some(last),
            last_membership: self.machine.applied().unwrap().membership,
            snapshot_id: format!("from the leader {last}"),
        };
        let early = self.random.below(3) > 0;
        if early {
            let work = self.journal.purge(last);
            self.commit("purge before the machine has it", &[work]);
            if self.random.below(2) == 0 {
                self.vote();
            }
        }
        self.begin("install", &[], &[state.clone()]);
        self.by_index.insert(last.index, state.contents);
        self.machine.install_snapshot(&meta, data).unwrap();
        self.state.acknowledge();
        if !early {
            let work = self.journal.purge(last);
            self.commit("purge", &[work]);
        }
    }

    fn step(&mut self) {
        match self.random.below(20) {
            0..=5 => self.append(),
            6 | 7 => self.group(),
            8 | 9 => self.truncate(),
            10 => self.vote(),
            11..=15 => self.apply(),
            16 | 17 => self.snapshot(),
            18 => self.purge_too_much(),
            _ => self.install(),
        }
    }
}

/// What there is after a cut, and whether it is one of the states it may be.
fn check(run: &Run, span: &Span, log_disk: &SimStorage, machine_disk: &SimStorage, context: &str) {
    let machine = open_machine(machine_disk).unwrap_or_else(|error| panic!("{context}: {error}"));
    let journal =
        open_journal(log_disk, machine.durable()).unwrap_or_else(|error| panic!("{context}: {error}"));
    let (log, state) = (LogState::of(&journal), MachineState::of(&machine));
    assert!(
        run.log.states[span.log.0..=span.log.1].contains(&log),
        "{context}: the log is in no state that it may be in:\n{log:?}\nwas acknowledged:\n{:?}",
        run.log.states[span.log.0]
    );
    assert!(
        run.state.states[span.machine.0..=span.machine.1].contains(&state),
        "{context}: the machine is in no state that it may be in:\n{state:?}\nwas acknowledged:\n{:?}",
        run.state.states[span.machine.0]
    );
    assert!(
        log.marks.purged <= state.last,
        "{context}: purged {:?}, applied {:?}",
        log.marks.purged,
        state.last
    );
    assert_eq!(machine.durable().entries(), state.last.map_or(0, |last| last.index + 1));
    // Whatever a client was told of can be had again.
    let mut contents = state.contents.clone();
    for index in
        state.last.map_or(0, |last| last.index + 1)..span.applied.map_or(0, |applied| applied.index + 1)
    {
        let entry = log.entries.get(&index);
        let entry = entry.unwrap_or_else(|| panic!("{context}: entry {index} was applied, and is nowhere"));
        execute(&mut contents, entry);
        assert_eq!(contents, run.by_index[&index], "{context}: the map after entry {index}");
    }
}

/// What openraft makes of it when it starts, and that the store can be used from then on.
fn go_on(log_disk: &SimStorage, machine_disk: &SimStorage, context: &str) {
    let machine = Arc::new(open_machine(machine_disk).unwrap());
    let journal = open_journal(log_disk, machine.durable()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let (mut log, mut state) = (LogStore::new(journal).unwrap(), StateMachine::new(machine.clone()));
    let initial = runtime.block_on(StorageHelper::new(&mut log, &mut state).get_initial_state());
    let initial = initial.unwrap_or_else(|error| panic!("{context}: openraft can't start: {error}"));
    let applied = machine.applied().unwrap().last;
    assert_eq!(initial.committed, applied, "{context}");
    let next = log.journal().last().map_or(0, |last| last.index + 1);
    let entry = normal(log_id(1000, next), Command::Delete { key: "none".into() });
    let work = log.journal().append([entry.clone()]).unwrap();
    log.journal().commit(&[work]).unwrap();
    machine.apply(&[entry]).unwrap();
    machine.build_snapshot().unwrap();
    let work = log.journal().purge(log_id(1000, next));
    log.journal().commit(&[work]).unwrap();
    let contents = machine.contents().unwrap();
    log.close().unwrap();
    let (log_disk, machine_disk) = (log_disk.after_power_cut(1), machine_disk.after_power_cut(1));
    let machine = open_machine(&machine_disk).unwrap();
    assert_eq!(machine.contents().unwrap(), contents, "{context}");
    let journal = open_journal(&log_disk, machine.durable()).unwrap();
    let (purged, left) = (journal.marks().purged, journal.read(&..).unwrap().len());
    assert_eq!((purged, left), (Some(log_id(1000, next)), 0), "{context}");
}

/// Returns how many cuts were looked at.
fn cut_everywhere(run: &Run, seed: u64, images: u64) -> u64 {
    let end = (run.disks.0.operations(), run.disks.1.operations());
    let mut random = Random::new(seed ^ 0xC07);
    let mut cuts = 0;
    for (at, span) in run.spans.iter().enumerate() {
        let until = run.spans.get(at + 1).map_or(end, |next| next.from);
        assert!(until.0 == span.from.0 || until.1 == span.from.1, "{}: one disk at a time", span.what);
        let of_log = until.0 > span.from.0;
        let moments = if of_log { span.from.0..until.0 } else { span.from.1..until.1 };
        for moment in moments {
            for _ in 0..images {
                let image_seed = random.below(1 << 40);
                let context = format!("seed {seed}, {}, cut at {moment}, {image_seed}", span.what);
                // One disk is in the middle of an operation, the other one idle.
                let busy = |disk: &SimStorage| disk.image_at(moment, image_seed).unwrap();
                let idle =
                    |disk: &SimStorage, done| disk.killed_at(done).unwrap().after_power_cut(image_seed ^ 7);
                let (log_disk, machine_disk) = if of_log {
                    (busy(&run.disks.0), idle(&run.disks.1, span.from.1))
                } else {
                    (idle(&run.disks.0, span.from.0), busy(&run.disks.1))
                };
                let again = (random.below(8) == 0).then(|| (log_disk.fork(), machine_disk.fork()));
                check(run, span, &log_disk, &machine_disk, &context);
                if let Some((log_disk, machine_disk)) = again {
                    go_on(&log_disk, &machine_disk, &context);
                }
                cuts += 1;
            }
        }
    }
    cuts
}

/// `PAGELOG_SEEDS=100` for a longer run.
#[test]
fn whatever_a_power_cut_leaves_has_what_was_acknowledged() {
    let seeds: u64 = std::env::var("PAGELOG_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(8);
    let (mut cuts, mut counts) = (0, BTreeMap::<&str, u32>::new());
    for seed in 1..=seeds {
        let mut run = Run::new(seed);
        for _ in 0..40 {
            run.step();
            let (log, state) = (run.log.newest(), run.state.newest());
            assert_eq!(MachineState::of(&run.machine), state, "seed {seed}, without a cut");
            if run.parked.is_none() {
                assert_eq!(LogState::of(&run.journal), log, "seed {seed}, without a cut");
            }
        }
        run.begin("end", &[], &[]);
        cuts += cut_everywhere(&run, seed, 1);
        for (what, count) in run.counts {
            *counts.entry(what).or_default() += count;
        }
    }
    println!("{cuts} cuts, {counts:?}");
    for what in [
        "append",
        "group",
        "truncate",
        "vote",
        "apply",
        "snapshot",
        "purge",
        "install",
        "purge before the machine has it",
        "purge without a snapshot",
    ] {
        assert!(counts.get(what).is_some_and(|count| *count > 0), "{what} never happened");
    }
}

/// A process that is killed loses nothing that the system has, so an instance that was dropped is as good as
/// any.
#[test]
fn a_store_that_is_closed_and_opened_is_as_it_was() {
    for seed in 100..104 {
        let mut run = Run::new(seed);
        for _ in 0..60 {
            run.step();
        }
        let (log, state) = (run.log.newest(), run.state.newest());
        let parked = run.parked;
        run.journal.close().unwrap();
        run.machine.close().unwrap();
        let machine = open_machine(&run.disks.1).unwrap();
        let journal = open_journal(&run.disks.0, machine.durable()).unwrap();
        assert_eq!(
            (LogState::of(&journal), MachineState::of(&machine)),
            (log, state),
            "seed {seed}, {parked:?}"
        );
        assert!(journal.append([normal(log_id(1, 1 << 40), Command::Delete { key: "k".into() })]).is_err());
    }
}

/// Purging gives space back, and does not cost the vote.
#[test]
fn a_log_that_is_purged_stays_small_and_keeps_its_vote() {
    let disk = SimStorage::new(3);
    let machine_disk = SimStorage::new(4);
    let machine = open_machine(&machine_disk).unwrap();
    let journal = open_journal(&disk, machine.durable()).unwrap();
    let vote = Vote::new(7, 2);
    let work = journal.vote(vote);
    journal.commit(&[work]).unwrap();
    for index in 0..2000 {
        let entry = normal(log_id(7, index), Command::Put { key: "k".into(), value: "v".repeat(100) });
        let work = journal.append([entry.clone()]).unwrap();
        journal.commit(&[work]).unwrap();
        machine.apply(&[entry]).unwrap();
        if index % 100 == 99 {
            machine.build_snapshot().unwrap();
            let work = journal.purge(log_id(7, index - 10));
            journal.commit(&[work]).unwrap();
        }
    }
    assert!(journal.size_on_disk() < 100_000, "{} bytes", journal.size_on_disk());
    let disk = disk.after_power_cut(9);
    let journal = open_journal(&disk, machine.durable()).unwrap();
    assert_eq!(journal.marks().vote, Some(vote));
    assert_eq!(journal.read(&..).unwrap().len(), 10);
}
