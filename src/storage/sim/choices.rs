//! Where the simulation's decisions come from: a seed, or the list of all possible decisions, one after the
//! other.

/// A small generator (SplitMix64: Steele, Lea and Flood, "Fast splittable pseudorandom number generators",
/// 2014).
#[derive(Clone, Debug)]
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`; 0 if the bound is 0.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }
}

/// A source of decisions.
#[derive(Clone, Debug)]
pub(super) enum Choices {
    /// Random ones: the seed decides all of them.
    Seeded(Random),
    /// The current row of the table of all decisions.
    Listed(Odometer),
}

impl Choices {
    pub(super) fn seeded(seed: u64) -> Self {
        Self::Seeded(Random::new(seed))
    }

    /// One of `0..bound`.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        match self {
            Self::Seeded(random) => random.below(bound),
            Self::Listed(odometer) => odometer.below(bound),
        }
    }

    pub(super) fn coin(&mut self) -> bool {
        self.below(2) == 1
    }

    pub(super) fn is_seeded(&self) -> bool {
        matches!(self, Self::Seeded(_))
    }
}

/// Runs through all sequences of decisions. Whoever asks must ask the same questions after the same answers.
#[derive(Clone, Debug, Default)]
pub(super) struct Odometer {
    digits: Vec<Digit>,
    position: usize,
}

#[derive(Clone, Debug)]
struct Digit {
    value: u64,
    bound: u64,
}

impl Odometer {
    fn below(&mut self, bound: u64) -> u64 {
        let position = self.position;
        self.position += 1;
        match self.digits.get(position) {
            Some(digit) => digit.value,
            None => {
                self.digits.push(Digit { value: 0, bound });
                0
            }
        }
    }

    /// Goes on to the next sequence. False if the one before was the last.
    pub(super) fn advance(&mut self) -> bool {
        self.position = 0;
        while let Some(last) = self.digits.last_mut() {
            last.value += 1;
            if last.value < last.bound {
                return true;
            }
            self.digits.pop();
        }
        false
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::collections::BTreeSet;

    use super::{Choices, Odometer, Random};

    #[test]
    fn the_generator_gives_the_published_sequence() {
        let mut random = Random::new(1_234_567);
        let expected = [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423];
        assert_eq!(expected.map(|_| random.next()), expected);
    }

    #[test]
    fn all_sequences_of_decisions_come_once() {
        let mut choices = Choices::Listed(Odometer::default());
        let mut seen = BTreeSet::new();
        loop {
            let first = choices.below(3);
            // The second question depends on the first answer.
            let second = if first == 1 { choices.below(4) } else { 9 };
            assert!(seen.insert((first, second, choices.coin())));
            let Choices::Listed(odometer) = &mut choices else { unreachable!() };
            if !odometer.advance() {
                break;
            }
        }
        assert_eq!(seen.len(), (1 + 4 + 1) * 2);
    }
}
