//! A scheduler that leaves a thread alone for a while.

use shuttle::scheduler::{RandomScheduler, Schedule, Scheduler, Task, TaskId};

use crate::common::Dice;

/// Goes on with the same thread, one time in so many excepted: then chance decides. So one may do much while
/// another stands still in the middle of something, which hardly happens to threads of which each is as
/// likely as the others at each point.
pub struct SteadyScheduler {
    chance: RandomScheduler,
    dice: Dice,
    one_in: u64,
}

impl SteadyScheduler {
    pub fn new_from_seed(seed: u64, executions: usize, one_in: u64) -> Self {
        Self { chance: RandomScheduler::new_from_seed(seed, executions), dice: Dice::new(seed), one_in }
    }
}

impl Scheduler for SteadyScheduler {
    fn new_execution(&mut self) -> Option<Schedule> {
        self.chance.new_execution()
    }

    fn next_task(
        &mut self,
        runnable: &[&Task],
        current: Option<TaskId>,
        is_yielding: bool,
    ) -> Option<TaskId> {
        let goes_on = !is_yielding && self.dice.below(self.one_in) > 0;
        current
            .filter(|current| goes_on && runnable.iter().any(|task| task.id() == *current))
            .or_else(|| self.chance.next_task(runnable, current, is_yielding))
    }

    fn next_u64(&mut self) -> u64 {
        self.chance.next_u64()
    }
}
