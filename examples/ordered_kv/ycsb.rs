//! The core workloads of YCSB (Cooper et al., "Benchmarking Cloud Serving Systems with YCSB", 2010), and the
//! keys and random numbers that they take: Zipf with the exponent 0.99.

pub use super::random::Random;

const SKEW: f64 = 0.99;
/// The most records that a scan visits.
pub const LONGEST_SCAN: u64 = 100;

/// A mix of operations: the shares of each in percent; the rest is scans.
pub struct Workload {
    pub name: &'static str,
    pub read: u64,
    pub update: u64,
    pub insert: u64,
    pub read_modify_write: u64,
    /// Reads prefer what was inserted last.
    pub latest: bool,
}

const fn workload(name: &'static str, shares: [u64; 4], latest: bool) -> Workload {
    let [read, update, insert, read_modify_write] = shares;
    Workload { name, read, update, insert, read_modify_write, latest }
}

/// In the order that YCSB recommends: those that do not insert first.
pub const WORKLOADS: [Workload; 6] = [
    workload("A", [50, 50, 0, 0], false),
    workload("B", [95, 5, 0, 0], false),
    workload("C", [100, 0, 0, 0], false),
    workload("F", [50, 0, 0, 50], false),
    workload("D", [95, 0, 5, 0], true),
    workload("E", [0, 0, 5, 0], false),
];

/// Sixteen hexadecimal digits that look random.
pub fn key(number: u64) -> [u8; 16] {
    let mut mixed = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^= mixed >> 31;
    let digit = |at: usize| b"0123456789abcdef".get((mixed >> (60 - 4 * at)) as usize % 16).copied();
    std::array::from_fn(|at| digit(at).unwrap_or(b'0'))
}

/// Numbers below a bound, the small ones more often (Gray et al., "Quickly Generating Billion-Record
/// Synthetic Databases", 1994).
pub struct Zipf {
    bound: f64,
    zeta: f64,
    eta: f64,
}

impl Zipf {
    pub fn new(bound: u64) -> Self {
        let zeta = |count: u64| (1..=count).map(|rank| (rank as f64).powf(-SKEW)).sum::<f64>();
        let (two, all, bound) = (zeta(2), zeta(bound), bound as f64);
        let eta = (1.0 - (2.0 / bound).powf(1.0 - SKEW)) / (1.0 - two / all);
        Self { bound, zeta: all, eta }
    }

    pub fn draw(&self, random: &mut Random) -> u64 {
        let unit = random.unit();
        let scaled = unit * self.zeta;
        if scaled < 1.0 {
            return 0;
        }
        if scaled < 1.0 + 0.5f64.powf(SKEW) {
            return 1;
        }
        (self.bound * (self.eta * unit - self.eta + 1.0).powf(1.0 / (1.0 - SKEW))) as u64 % self.bound as u64
    }
}

/// What is to be done, and to which record.
pub enum Operation {
    Insert,
    Read(u64),
    Update(u64),
    ReadModifyWrite(u64),
    /// So many records from this one on.
    Scan(u64, usize),
}

impl Workload {
    /// Draws an operation; `inserted` records are there.
    pub fn draw(&self, zipf: &Zipf, inserted: u64, random: &mut Random) -> Operation {
        let mut dice = random.next() % 100;
        let mut falls = |share: u64| {
            let hit = dice < share;
            dice = dice.wrapping_sub(share);
            hit
        };
        if falls(self.insert) {
            return Operation::Insert;
        }
        let rank = zipf.draw(random);
        let number = if self.latest { inserted - 1 - rank } else { rank };
        if falls(self.read) {
            Operation::Read(number)
        } else if falls(self.update) {
            Operation::Update(number)
        } else if falls(self.read_modify_write) {
            Operation::ReadModifyWrite(number)
        } else {
            Operation::Scan(number, (1 + random.next() % LONGEST_SCAN) as usize)
        }
    }
}
