//! Reading the records of a page that are not in memory, and decoding them.
//!
//! Several are read together ([`LogCore::read_many`](crate::log::LogCore::read_many)), each from the place
//! that its node named before the first was read. The bytes at a place stay what they are while the thread is
//! pinned, also if the record is moved or dies meanwhile; so what was planned stays true to the end.
//!
//! A record that is dead when the reads are planned was superseded, and with it the page's head: then there
//! is nothing to read, and the caller looks the page up again.

use super::shared::{Inner, with_scratch};
use crate::error::{Error, Result};
use crate::ids::PageId;
use crate::log::Wanted;
use crate::pages::content::Content;
use crate::pages::node_ref::NodeRef;
use crate::pages::{Codec, Fragment};
use crate::stats::{Counter, Timed};

impl<F: Fragment> Inner<F> {
    /// Reads and decodes the fragments of nodes of one page, in that order. `None` if a record is dead by
    /// now: then the page has changed since its head was looked up.
    pub(super) fn fetch_all(
        &self,
        page_id: PageId,
        nodes: &[NodeRef<'_, F>],
    ) -> Result<Option<Vec<Content<F>>>> {
        if nodes.is_empty() {
            return Ok(Some(Vec::new()));
        }
        if let [node] = nodes {
            return Ok(self.fetch(page_id, *node)?.map(|content| vec![content]));
        }
        match self.fetch_together(page_id, nodes) {
            // The fault may lie in bytes between the records, which nobody needs.
            Err(Error::Io { .. }) => nodes.iter().map(|node| self.fetch(page_id, *node)).collect(),
            other => other,
        }
    }

    /// Reads and decodes the fragment of a node. `None` as for [`fetch_all`](Self::fetch_all).
    pub(super) fn fetch(&self, page_id: PageId, node: NodeRef<'_, F>) -> Result<Option<Content<F>>> {
        let _timed = self.core.counters().time(Timed::PageRead);
        self.read_node(page_id, node, |payload| decode(page_id, payload))
    }

    fn fetch_together(&self, page_id: PageId, nodes: &[NodeRef<'_, F>]) -> Result<Option<Vec<Content<F>>>> {
        let wanted = |node: &NodeRef<'_, F>| Some(Wanted { place: node.place()?, length: node.length() });
        let Some(wanted) = nodes.iter().map(wanted).collect::<Option<Vec<_>>>() else { return Ok(None) };
        let _timed = self.core.counters().time(Timed::PageRead);
        self.core.counters().add(Counter::RecordRead, nodes.len() as u64);
        with_scratch(|buffer| {
            let starts = self.core.read_many(&wanted, buffer)?;
            let records = nodes.iter().zip(&wanted).zip(starts);
            let contents = records.map(|((node, wanted), start)| {
                let bytes = buffer.get(start..start + wanted.length as usize).unwrap_or_default();
                self.use_record(page_id, *node, wanted.place, bytes, |payload| decode(page_id, payload))
            });
            contents.collect::<Result<Vec<_>>>().map(Some)
        })
    }
}

fn decode<F: Fragment>(page_id: PageId, payload: &[u8]) -> Result<Content<F>> {
    let fragment = F::Codec::decode(payload);
    let fragment = fragment.map_err(|error| Error::Decode { page_id, reason: error.to_string() })?;
    Ok(Content::new(fragment, payload.len() as u64))
}
