//! Which rules are about messages on connected sockets: who makes events leaves those out unless a rule wants them.

use super::graph::{Graph, Node, NodeId, Test};
use super::operand::Operand;
use super::rule_set::RuleSet;
use crate::fields::EventSet;
use crate::fields::event_type::EventType;
use crate::load::Source;

/// Calls that send or receive.
const CALLS: [&str; 4] = ["sendto", "sendmsg", "recvfrom", "recvmsg"];

impl RuleSet {
    /// Whether an enabled rule may fire for a message on a stream, which the datagrams of the default set of events are
    /// not: `fd.l4proto != tcp` or `fd.connected = false` in its condition rules that out.
    pub fn wants_streams(&self) -> bool {
        let graph = &self.source(Source::Syscall).graph;
        let mut messages = EventSet::NONE;
        CALLS.iter().filter_map(|name| EventType::from_name(name.as_bytes())).for_each(|call| messages.insert(call));
        let mut enabled = self.rules().iter().filter(|rule| rule.is_enabled && rule.source == Source::Syscall);
        enabled.any(|rule| {
            let is_named = rule.events.names_or_others().is_ok() && rule.events.intersection(messages).count() > 0;
            is_named && !excludes(graph, rule.root, messages)
        })
    }
}

/// Whether a condition cannot hold for a message on a stream.
fn excludes(graph: &Graph, id: NodeId, messages: EventSet) -> bool {
    match graph.node(id) {
        Node::Constant(value) => !value,
        Node::And(children) => children.iter().any(|child| excludes(graph, *child, messages)),
        Node::Or(children) => children.iter().all(|child| excludes(graph, *child, messages)),
        Node::Not(_) => false,
        Node::Check(check) => {
            if let Some(events) = check.events {
                return events.intersection(messages).count() == 0;
            }
            let Operand::Field(slot) = &check.left else { return false };
            match (graph.slots()[*slot].info.name, &check.test) {
                ("fd.l4proto", Test::Text { test, .. }) => !test.matches(b"tcp"),
                ("fd.connected", Test::Flag { passes_true, .. }) => !passes_true,
                _ => false,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Options, RuleFile};

    fn wants(condition: &str) -> bool {
        let content = format!("- rule: r\n  condition: {condition}\n  desc: d\n  output: o\n  priority: info\n");
        let file = RuleFile { name: "f".to_owned(), content };
        RuleSet::load(&[file], &Options::default()).0.unwrap().wants_streams()
    }

    #[test]
    fn streams_are_wanted_where_a_rule_may_fire_for_them() {
        let datagrams = "(evt.type in (sendto, sendmsg) and fd.l4proto != tcp and fd.connected = false)";
        assert!(!wants("evt.type = connect and fd.sport = 22"));
        assert!(!wants(&format!("(evt.type = connect or {datagrams}) and fd.typechar = 4")));
        assert!(!wants("evt.type = recvfrom and fd.l4proto = udp"));
        assert!(!wants("fd.sport = 22"), "one about all events asks for none in particular");
        assert!(wants("evt.type = recvfrom and fd.type in (ipv4, ipv6) and evt.buffer bcontains cafebabe"));
        assert!(wants("evt.type in (sendto, connect) and fd.sport = 3333"));
        assert!(wants(&format!("(evt.type = recvmsg or {datagrams}) and fd.typechar = 4")));
        assert!(wants("evt.type = sendto and not fd.l4proto = udp"));
    }
}
