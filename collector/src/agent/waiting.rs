//! Rows that wait until runtimes have said what their container is.

use crate::events::{EventsBuilder, Origin};
use rustc_hash::FxHashMap;
use std::sync::Arc;

/// A builder for each container that is being asked about. Rows of other containers and of the host pass by.
#[derive(Debug)]
pub(super) struct Waiting {
    origin: Origin,
    builders: FxHashMap<Arc<str>, EventsBuilder>,
}

impl Waiting {
    pub(super) fn new(origin: Origin) -> Self {
        Self { origin, builders: FxHashMap::default() }
    }

    /// The rows of a container.
    pub(super) fn builder(&mut self, id: &Arc<str>) -> &mut EventsBuilder {
        self.builders.entry(id.clone()).or_insert_with(|| EventsBuilder::new(self.origin.clone()))
    }

    /// Takes the rows of a container out.
    pub(super) fn take(&mut self, id: &str) -> Option<EventsBuilder> {
        self.builders.remove(id)
    }

    /// Takes all rows out.
    pub(super) fn take_all(&mut self) -> Vec<EventsBuilder> {
        std::mem::take(&mut self.builders).into_values().collect()
    }
}
