//! The tree of the example on pagelog.

use std::ops::ControlFlow;
use std::path::Path;

use super::{AMPLE, Key, Map, Value};
use crate::page::pagelog::config;
use crate::tree::{Direction, Forest, Range, Tree, Tuning};

pub struct Store {
    forest: Forest,
    tree: Tree,
}

impl Store {
    pub fn open(directory: &Path) -> Self {
        let forest = Forest::open(config(directory, AMPLE), Tuning::default()).expect("it opens");
        let tree = forest.tree("records").expect("a tree");
        Self { forest, tree }
    }
}

impl Map for Store {
    fn put(&self, key: &Key, value: &Value) {
        self.tree.put(key, value).expect("a write");
    }

    fn put_durably(&self, key: &Key, value: &Value) {
        self.put(key, value);
        self.forest.flush().expect("a flush");
    }

    fn get(&self, key: &Key, look: &mut dyn FnMut(&[u8])) -> bool {
        self.tree.get_with(key, look).expect("a read").is_some()
    }

    fn scan(&self, from: &Key, count: usize, look: &mut dyn FnMut(&[u8], &[u8])) {
        let mut left = count;
        let visit = |key: &[u8], value: &[u8]| {
            look(key, value);
            left -= 1;
            if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        self.tree.visit(Range::new(&from[..]..), Direction::Up, visit).expect("a scan");
    }

    fn close(self: Box<Self>) {
        self.forest.flush().expect("a flush");
        self.forest.close().expect("it closes");
    }
}
