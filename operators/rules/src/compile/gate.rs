//! The event types for which a condition can be true.
//!
//! An `and` has the types that all of its parts have, an `or` those that any has, and `not` is pushed down to the
//! comparisons (De Morgan); a comparison of anything but the event type says nothing either way. A rule is then asked
//! only about rows of its types.

use super::graph::{Check, Graph, Node, NodeId};
use crate::fields::EventSet;
use rustc_hash::FxHashMap;

/// Finds the event types of nodes, each once.
#[derive(Default)]
pub(super) struct Gate {
    known: FxHashMap<(NodeId, bool), EventSet>,
}

impl Gate {
    /// The types for which `node` can be true, or false where `is_negated`.
    pub(super) fn events(&mut self, graph: &Graph, node: NodeId, is_negated: bool) -> EventSet {
        if let Some(events) = self.known.get(&(node, is_negated)) {
            return *events;
        }
        let events = match graph.node(node) {
            Node::Constant(value) => {
                if *value != is_negated {
                    EventSet::all()
                } else {
                    EventSet::NONE
                }
            }
            Node::Check(Check { events: Some(events), .. }) => {
                if is_negated {
                    events.complement()
                } else {
                    *events
                }
            }
            Node::Check(_) => EventSet::all(),
            Node::Not(child) => self.events(graph, *child, !is_negated),
            Node::And(children) | Node::Or(children) => {
                let is_and = matches!(graph.node(node), Node::And(_)) != is_negated;
                let each = children.iter().map(|child| self.events(graph, *child, is_negated)).collect::<Vec<_>>();
                if is_and {
                    each.into_iter().fold(EventSet::all(), EventSet::intersection)
                } else {
                    each.into_iter().fold(EventSet::NONE, EventSet::union)
                }
            }
        };
        self.known.insert((node, is_negated), events);
        events
    }
}
