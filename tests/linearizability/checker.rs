//! What a page may answer.
//!
//! This knows nothing about how versions are made. It takes from the promise that a change gives a version
//! above all before it, and that a compare-and-swap happens if and only if the page has the version that it
//! names. The order is looked for in [`order`].

use crate::history::{Operation, Outcome, Serial, Verb};
use crate::order;

/// What a page is between two operations.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct State {
    life: Option<Life>,
    /// No version above this was ever given.
    highest: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Life {
    birth: u64,
    version: u64,
    contents: Vec<Serial>,
}

impl State {
    /// The version and the contents, if there is a page.
    pub fn page(&self) -> Option<(u64, Vec<Serial>)> {
        self.life.as_ref().map(|life| (life.version, life.contents.clone()))
    }

    /// The page after an operation, or why it can't have given that answer.
    fn after(&self, operation: &Operation) -> Result<Self, &'static str> {
        match operation {
            Operation::Get(found) => self.unchanged(*found == self.page(), "it saw another page"),
            Operation::Version(found) => {
                let version = self.life.as_ref().map(|life| life.version);
                self.unchanged(*found == version, "it saw another version")
            }
            Operation::Allocate(serial, version) => match &self.life {
                Some(_) => Err("the id is taken"),
                None => self.with(*version, |version| {
                    Some(Life { birth: version, version, contents: vec![*serial] })
                }),
            },
            Operation::Change { verb, seen, outcome } => self.after_change(*verb, *seen, *outcome),
        }
    }

    fn after_change(&self, verb: Verb, seen: u64, outcome: Outcome) -> Result<Self, &'static str> {
        let life = self.life.as_ref();
        match outcome {
            Outcome::Done(version) => {
                let life = life.ok_or("there is no page")?;
                if life.version != seen {
                    return Err("the page has another version than it was done on");
                }
                self.with(version, |version| life.changed(verb, version))
            }
            Outcome::Changed(current) => {
                let life = life.ok_or("there is no page")?;
                let possible = current == life.version && seen != current && seen >= life.birth;
                self.unchanged(
                    possible,
                    "the page has another version than it reported, or the one it wanted",
                )
            }
            Outcome::Gone => {
                self.unchanged(life.is_none_or(|life| seen < life.birth), "the page is there, in that life")
            }
        }
    }

    fn unchanged(&self, possible: bool, why_not: &'static str) -> Result<Self, &'static str> {
        if possible { Ok(self.clone()) } else { Err(why_not) }
    }

    fn with(&self, version: u64, life: impl FnOnce(u64) -> Option<Life>) -> Result<Self, &'static str> {
        if version <= self.highest {
            return Err("its version was given before");
        }
        Ok(Self { life: life(version), highest: version })
    }
}

impl Life {
    fn changed(&self, verb: Verb, version: u64) -> Option<Self> {
        let contents = match verb {
            Verb::Link(serial) => self.contents.iter().copied().chain([serial]).collect(),
            Verb::Replace(serial) => vec![serial],
            Verb::Free => return None,
        };
        Some(Self { birth: self.birth, version, contents })
    }
}

impl order::Operation for Operation {
    type State = State;

    fn after(&self, state: &State) -> Result<State, &'static str> {
        state.after(self)
    }

    fn is_change(&self) -> bool {
        match self {
            Self::Get(_) | Self::Version(_) => false,
            Self::Allocate(..) => true,
            Self::Change { outcome, .. } => matches!(outcome, Outcome::Done(_)),
        }
    }
}

mod tests {
    use super::State;
    use crate::history::{Event, Operation, Outcome, Verb};
    use crate::order::check;
    use Operation::{Allocate, Get, Version};
    use Outcome::{Changed, Done, Gone};
    use Verb::{Free, Link, Replace};

    fn change(verb: Verb, seen: u64, outcome: Outcome) -> Operation {
        Operation::Change { verb, seen, outcome }
    }

    fn page(version: u64, contents: &[u32]) -> Operation {
        Get(Some((version, contents.to_vec())))
    }

    /// Events of different threads; each has its own interval.
    fn history(events: &[(u64, u64, Operation)]) -> Vec<Event> {
        let event = |(thread, (invoked, answered, operation)): (u64, &(u64, u64, Operation))| {
            let (invoked, answered, operation) = (*invoked, *answered, operation.clone());
            Event { thread, invoked, answered, operation }
        };
        (0..).zip(events).map(event).collect()
    }

    fn accepted(events: &[(u64, u64, Operation)]) -> State {
        check(&State::default(), history(events)).unwrap_or_else(|rejection| panic!("{rejection}"))
    }

    fn rejected(events: &[(u64, u64, Operation)]) -> String {
        let rejection = check(&State::default(), history(events)).expect_err("there is no such order");
        rejection.to_string()
    }

    /// A page with two changes, one after the other.
    fn three() -> Vec<(u64, u64, Operation)> {
        vec![
            (0, 1, Allocate(1, 1)),
            (2, 3, change(Link(2), 1, Done(2))),
            (4, 5, change(Replace(3), 2, Done(3))),
        ]
    }

    fn three_and(more: &[(u64, u64, Operation)]) -> Vec<(u64, u64, Operation)> {
        [three(), more.to_vec()].concat()
    }

    #[test]
    fn what_happens_one_after_the_other_has_that_order() {
        let state = accepted(&three_and(&[
            (6, 7, page(3, &[3])),
            (8, 9, change(Link(4), 2, Changed(3))),
            (10, 11, change(Free, 3, Done(4))),
            (12, 13, Get(None)),
            (14, 15, Version(None)),
            (16, 17, change(Link(5), 3, Gone)),
            (18, 19, Allocate(6, 5)),
            (20, 21, change(Replace(7), 3, Gone)),
            (22, 23, change(Replace(7), 5, Done(9))),
        ]));
        assert_eq!(state.page(), Some((9, vec![7])));
        accepted(&[(0, 1, Get(None)), (2, 3, change(Free, 7, Gone))]);
    }

    #[test]
    fn operations_that_overlap_may_come_in_either_order() {
        for seen in [page(1, &[1]), page(2, &[1, 2]), Version(Some(1)), change(Link(9), 1, Changed(2))] {
            accepted(&[(0, 1, Allocate(1, 1)), (2, 5, change(Link(2), 1, Done(2))), (3, 4, seen)]);
        }
        // An order against that of the invocations, and one that needs going back: the reader must come first
        // of all.
        accepted(&[
            (0, 1, Allocate(1, 1)),
            (2, 20, change(Free, 3, Done(4))),
            (3, 19, change(Replace(3), 2, Done(3))),
            (4, 18, change(Link(2), 1, Done(2))),
            (5, 17, page(1, &[1])),
        ]);
    }

    #[test]
    fn a_read_of_the_past_is_rejected() {
        let text = rejected(&three_and(&[(6, 7, page(2, &[1, 2]))]));
        assert!(text.contains("it saw another page"), "{text}");
        rejected(&three_and(&[(6, 7, Version(Some(2)))]));
        rejected(&three_and(&[(6, 7, Get(None))]));
    }

    #[test]
    fn two_readers_that_see_time_go_backwards_are_rejected() {
        // Each alone overlaps the link, so each alone is well. Together they are not.
        let (new, old) = (page(2, &[1, 2]), page(1, &[1]));
        let begin = [(0, 1, Allocate(1, 1)), (2, 9, change(Link(2), 1, Done(2)))];
        accepted(&[begin.to_vec(), vec![(3, 4, old.clone()), (5, 6, new.clone())]].concat());
        rejected(&[begin.to_vec(), vec![(3, 4, new), (5, 6, old)]].concat());
    }

    #[test]
    fn a_read_of_the_future_is_rejected() {
        rejected(&[(0, 1, Allocate(1, 1)), (2, 3, page(2, &[1, 2])), (4, 5, change(Link(2), 1, Done(2)))]);
        rejected(&[(0, 1, Version(Some(1))), (2, 3, Allocate(1, 1))]);
    }

    #[test]
    fn a_read_of_what_never_was_is_rejected() {
        for torn in [page(3, &[1, 2]), page(2, &[3]), page(3, &[1, 2, 3]), page(3, &[]), page(4, &[3])] {
            rejected(&[(0, 1, Allocate(1, 1)), (2, 9, change(Link(2), 1, Done(2))), (3, 8, torn)]);
        }
    }

    #[test]
    fn two_winners_on_one_version_are_rejected() {
        for (one, other) in [(Link(2), Link(3)), (Link(2), Replace(3)), (Free, Link(3)), (Free, Free)] {
            rejected(&[
                (0, 1, Allocate(1, 1)),
                (2, 9, change(one, 1, Done(2))),
                (3, 8, change(other, 1, Done(3))),
            ]);
        }
    }

    #[test]
    fn a_link_on_a_stale_version_is_rejected() {
        rejected(&three_and(&[(6, 7, change(Link(4), 2, Done(4)))]));
        // Also if it was fresh when it began.
        rejected(&[
            (0, 1, Allocate(1, 1)),
            (2, 9, change(Link(2), 1, Done(3))),
            (3, 4, change(Link(3), 1, Done(2))),
        ]);
    }

    #[test]
    fn a_lost_link_is_rejected() {
        rejected(&three_and(&[(6, 7, change(Link(4), 3, Done(4))), (8, 9, page(4, &[3]))]));
        rejected(&three_and(&[(6, 7, change(Link(4), 3, Done(4))), (8, 9, page(3, &[3]))]));
        rejected(&three_and(&[(6, 7, change(Link(4), 3, Done(4))), (8, 9, change(Link(5), 3, Done(5)))]));
    }

    #[test]
    fn a_free_that_is_undone_is_rejected() {
        let freed = (6, 7, change(Free, 3, Done(4)));
        for after in
            [page(3, &[3]), page(4, &[3]), change(Link(4), 3, Done(5)), change(Link(4), 3, Changed(4))]
        {
            rejected(&three_and(&[freed.clone(), (8, 9, after)]));
        }
    }

    #[test]
    fn a_refusal_without_a_reason_is_rejected() {
        for refusal in [Changed(3), Changed(2), Changed(4), Gone] {
            rejected(&three_and(&[(6, 7, change(Link(4), 3, refusal))]));
        }
        // The version names this life, so gone is wrong, and the other way round.
        rejected(&three_and(&[(6, 7, change(Link(4), 2, Gone))]));
        let reborn = [(6, 7, change(Free, 3, Done(4))), (8, 9, Allocate(4, 5))];
        rejected(&three_and(&[reborn.to_vec(), vec![(10, 11, change(Link(5), 3, Changed(5)))]].concat()));
    }

    #[test]
    fn an_id_with_two_owners_is_rejected() {
        rejected(&[(0, 9, Allocate(1, 1)), (1, 8, Allocate(2, 2))]);
        rejected(&three_and(&[(6, 7, Allocate(4, 4))]));
    }

    #[test]
    fn a_version_that_is_given_again_is_rejected() {
        rejected(&three_and(&[(6, 7, change(Replace(4), 3, Done(3)))]));
        rejected(&three_and(&[(6, 7, change(Replace(4), 3, Done(2)))]));
        rejected(&three_and(&[(6, 7, change(Free, 3, Done(4))), (8, 9, Allocate(4, 4))]));
        rejected(&three_and(&[(6, 7, change(Free, 3, Done(4))), (8, 9, Allocate(4, 1))]));
    }

    /// The checker beside one that tries all orders, on small random histories, of which about as many are
    /// well as are not.
    #[test]
    fn it_agrees_with_trying_all_orders() {
        let mut dice = crate::common::Dice::new(3);
        let mut verdicts = [0; 2];
        for _ in 0..20_000 {
            let operation = |dice: &mut crate::common::Dice| match dice.below(8) {
                0 => page(1, &[1]),
                1 => page(2, &[1, 2]),
                2 => Get(None),
                3 | 4 => change(Link(2), 1, Done(2)),
                5 => change(Link(3), 1, Changed(2)),
                6 => change(Free, 1 + dice.below(2), Done(3)),
                _ => change(Link(4), 1, Gone),
            };
            let mut events = vec![(0, 1, Allocate(1, 1))];
            for _ in 0..4 {
                let invoked = 2 + dice.below(20);
                events.push((invoked, invoked + 1 + dice.below(20), operation(&mut dice)));
            }
            let events = history(&events);
            let expected = any_order(&State::default(), &mut events.clone());
            assert_eq!(check(&State::default(), events.clone()).is_ok(), expected, "{events:?}");
            verdicts[usize::from(expected)] += 1;
        }
        println!("{verdicts:?}");
        assert!(verdicts.iter().all(|count| *count > 1000));
    }

    fn any_order(state: &State, open: &mut Vec<Event>) -> bool {
        open.is_empty()
            || (0..open.len()).any(|index| {
                let event = open.swap_remove(index);
                let is_next = open.iter().all(|other| other.answered >= event.invoked);
                let found = is_next
                    && state.after(&event.operation).is_ok_and(|after| any_order(&after, &mut open.clone()));
                open.push(event);
                let last = open.len() - 1;
                open.swap(index, last);
                found
            })
    }
}
