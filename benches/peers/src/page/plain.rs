//! The plain baseline.

use std::path::Path;

use super::Store;
use crate::engine::Engine;
use crate::plain::Plain;

pub fn create(directory: &Path) -> Plain {
    std::fs::create_dir_all(directory).expect("a directory");
    Plain::create(&directory.join("log")).expect("a file")
}

impl Store for Plain {
    fn fill(&mut self, pages: usize, length: usize) {
        for page in self.pages()..self.pages() + pages {
            self.allocate(&vec![page as u8; length]).expect("a page");
        }
    }

    fn free(&self, _: usize) {
        unimplemented!("the baseline frees no pages");
    }

    fn close(self: Box<Self>) {
        Engine::flush(&*self);
    }
}
