//! One level of a shard: where its messages come from, in which order they count, and the nodes that take them.

use super::OperatorState;
use super::stats::ShardStats;
use super::tap::Taps;
use crate::graph::{Plan, Target};
use crate::key_group::split;
use crate::queue::tell;
use crate::{Batch, Message, Operator, Output, Queue, SideInput, Sink};
use bodkin_schema::{Epoch, EventTime};
use std::ops::Range;
use std::sync::Arc;

/// A queue that feeds the level.
pub(super) struct Input {
    queue: Arc<Queue>,
    /// It has delivered the control message that the level waits for on the others: what is behind it has to wait.
    is_held: bool,
    watermark: Option<EventTime>,
}

/// A node with its operator.
pub(super) struct Node {
    pub(super) name: Arc<str>,
    operator: Option<Box<dyn Operator>>,
    targets: Vec<Target>,
    side_inputs: Vec<String>,
    /// Its number in the plan.
    index: usize,
}

/// What a message of a level asks for.
pub(super) enum Turn {
    Rows(Batch, Option<usize>),
    Watermark(EventTime),
    Control(Message),
}

pub(super) struct Level {
    pub(super) inputs: Vec<Input>,
    next_input: usize,
    /// Queues of the next level, one for each shard; none behind the last level.
    pub(super) outputs: Vec<Arc<Queue>>,
    pub(super) nodes: Vec<Node>,
    /// Number of the first node.
    first: usize,
    /// The epoch that rows written now belong to.
    pub(super) epoch: Epoch,
    watermark: Option<EventTime>,
}

/// What nodes write to.
pub(super) struct Ends<'a> {
    pub(super) plan: &'a Plan,
    pub(super) sinks: &'a [Arc<dyn Sink>],
    pub(super) taps: &'a Taps,
    pub(super) stats: &'a ShardStats,
    pub(super) shard: usize,
    /// Rows that could not be spread over shards because their key is missing.
    pub(super) unkeyed: &'a mut u64,
}

impl Level {
    pub(super) fn new(
        plan: &Plan,
        nodes: Range<usize>,
        inputs: Vec<Arc<Queue>>,
        outputs: Vec<Arc<Queue>>,
        epoch: Epoch,
    ) -> Self {
        let node = |index: usize| {
            let node = &plan.nodes[index];
            Node {
                name: node.name.clone(),
                operator: node.make.as_ref().map(|make| make()),
                targets: node.targets.clone(),
                side_inputs: node.side_inputs.clone(),
                index,
            }
        };
        let input = |queue| Input { queue, is_held: false, watermark: None };
        Self {
            inputs: inputs.into_iter().map(input).collect(),
            next_input: 0,
            outputs,
            first: nodes.start,
            nodes: nodes.map(node).collect(),
            epoch,
            watermark: None,
        }
    }

    /// Whether rows can be taken: what becomes of them has somewhere to go.
    pub(super) fn has_room(&self) -> bool {
        self.outputs.iter().all(|queue| queue.has_room())
    }

    /// The next message that counts; none where there is none, or every input waits for others.
    pub(super) fn take(&mut self) -> Option<Turn> {
        while let Some((index, message)) = self.pop() {
            match message {
                Message::Data { batch, to } => return Some(Turn::Rows(batch, to)),
                Message::Watermark(time) => {
                    self.inputs[index].watermark = self.inputs[index].watermark.max(Some(time));
                    if let Some(time) = self.reached() {
                        return Some(Turn::Watermark(time));
                    }
                }
                control => {
                    self.inputs[index].is_held = true;
                    if self.inputs.iter().all(|input| input.is_held) {
                        self.inputs.iter_mut().for_each(|input| input.is_held = false);
                        return Some(Turn::Control(control));
                    }
                }
            }
        }
        None
    }

    /// The next message of an input that is not held. Inputs take turns, so that a busy one does not starve others.
    fn pop(&mut self) -> Option<(usize, Message)> {
        for offset in 0..self.inputs.len() {
            let index = (self.next_input + offset) % self.inputs.len();
            let input = self.inputs.get(index).filter(|input| !input.is_held);
            if let Some(message) = input.and_then(|input| input.queue.pop()) {
                self.next_input = index + 1;
                return Some((index, message));
            }
        }
        None
    }

    /// The watermark, where all inputs have moved it.
    fn reached(&mut self) -> Option<EventTime> {
        let slowest = self.inputs.iter().map(|input| input.watermark).min().flatten();
        (slowest > self.watermark).then(|| self.watermark = slowest)?;
        slowest
    }

    pub(super) fn rows(&mut self, batch: Batch, to: Option<usize>, ends: &mut Ends<'_>) {
        let Self { nodes, outputs, first, epoch, .. } = self;
        let mut route = Route { outputs, epoch: *epoch, ends };
        match to {
            Some(node) => route.run(nodes, *first, node, batch),
            None => {
                let plan = route.ends.plan;
                if let Some((source, _)) = route.ends.stats.streams.get(&batch.stream) {
                    source.rows_in(batch.records.num_rows(), batch.event_time.map(|range| range.max));
                    source.rows_out(batch.records.num_rows());
                }
                route.ends.taps.show(&batch.stream, &batch);
                let targets = plan.sources.get(&batch.stream).map_or(&[][..], Vec::as_slice);
                route.deliver(nodes, *first, targets, batch);
            }
        }
    }

    pub(super) fn watermark(&mut self, time: EventTime, ends: &mut Ends<'_>) {
        let stats = ends.stats;
        if self.first == 0 {
            stats.streams.values().for_each(|(source, _)| source.watermark(time));
        }
        self.each_node(ends, |node, out| {
            stats.nodes[node.index].watermark(time);
            if let Some(operator) = &mut node.operator {
                operator.on_watermark(time, out);
            }
        });
        tell(&self.outputs, &Message::Watermark(time));
    }

    pub(super) fn side_input(&mut self, input: &SideInput, ends: &mut Ends<'_>) {
        self.each_node(ends, |node, out| {
            if let Some(operator) = &mut node.operator
                && node.side_inputs.iter().any(|name| **name == *input.name)
            {
                operator.on_side_input(input, out);
            }
        });
    }

    /// Ends the epoch and gives the states.
    pub(super) fn barrier(&mut self, epoch: Epoch, states: &mut Vec<OperatorState>, stats: &ShardStats) {
        for node in &mut self.nodes {
            let Some(operator) = &mut node.operator else { continue };
            let of_group = |(group, state)| OperatorState { operator: node.name.to_string(), group, state };
            states.extend(operator.on_barrier(epoch).into_iter().map(of_group));
            stats.nodes[node.index].state(operator.state_bytes());
        }
        self.epoch = epoch.next();
    }

    /// Hands a state to the operator of that name; false where there is none here.
    pub(super) fn restore(&mut self, state: &OperatorState) -> Result<bool, crate::RestoreError> {
        for node in &mut self.nodes {
            if *node.name == state.operator
                && let Some(operator) = &mut node.operator
            {
                operator.restore(state.group, state.state.clone())?;
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Calls `act` for each node in order; what the node emits goes on behind it.
    fn each_node(&mut self, ends: &mut Ends<'_>, mut act: impl FnMut(&mut Node, &mut Output<'_>)) {
        let Self { nodes, outputs, first, epoch, .. } = self;
        for index in 0..nodes.len() {
            let (head, rest) = nodes.split_at_mut(index + 1);
            let Some(node) = head.last_mut() else { continue };
            let (targets, name, stats) = (std::mem::take(&mut node.targets), node.name.clone(), ends.stats);
            let mut route = Route { outputs, epoch: *epoch, ends };
            let mut end = |made: Batch| {
                stats.nodes[*first + index].rows_out(made.records.num_rows());
                route.ends.taps.show(&name, &made);
                route.deliver(rest, *first + index + 1, &targets, made);
            };
            act(node, &mut Output::new(&mut end));
            node.targets = targets;
        }
    }
}

/// The way of rows through the nodes of a level and out of it.
struct Route<'a, 'b> {
    outputs: &'a [Arc<Queue>],
    epoch: Epoch,
    ends: &'a mut Ends<'b>,
}

impl Route<'_, '_> {
    /// Runs the node numbered `to`; `nodes` begins with number `first`.
    fn run(&mut self, nodes: &mut [Node], first: usize, to: usize, batch: Batch) {
        let Some((node, rest)) = nodes.get_mut(to - first..).and_then(|nodes| nodes.split_first_mut()) else { return };
        let Node { name, operator, targets, index, .. } = node;
        let stats = &self.ends.stats.nodes[*index];
        stats.rows_in(batch.records.num_rows(), batch.event_time.map(|range| range.max));
        let mut end = |made: Batch| {
            stats.rows_out(made.records.num_rows());
            self.ends.taps.show(name, &made);
            self.deliver(rest, to + 1, targets, made);
        };
        match operator {
            Some(operator) => operator.on_batch(batch, &mut Output::new(&mut end)),
            None => end(batch),
        }
    }

    fn deliver(&mut self, nodes: &mut [Node], first: usize, targets: &[Target], batch: Batch) {
        let Some((last, others)) = targets.split_last() else { return };
        for target in others {
            self.hand(nodes, first, target, batch.clone());
        }
        self.hand(nodes, first, last, batch);
    }

    fn hand(&mut self, nodes: &mut [Node], first: usize, target: &Target, batch: Batch) {
        match target {
            Target::Node(node) => self.run(nodes, first, *node, batch),
            Target::Exchange { node, key } => self.exchange(*node, key, batch),
            Target::Store(stream) if *stream != batch.stream => {}
            Target::Store(_) => self.store(batch),
            Target::Feed(stream) => self.store(Batch { stream: stream.clone(), ..batch }),
        }
    }

    fn store(&self, batch: Batch) {
        let batch = Batch { epoch: self.epoch, ..batch };
        if let Some((_, table)) = self.ends.stats.streams.get(&batch.stream) {
            table.rows_in(batch.records.num_rows(), batch.event_time.map(|range| range.max));
        }
        let mut takers = self.ends.sinks.iter().filter(|sink| sink.takes(&batch.stream)).peekable();
        while let Some(sink) = takers.next() {
            if takers.peek().is_none() {
                return sink.write(batch);
            }
            sink.write(batch.clone());
        }
    }

    fn exchange(&mut self, node: usize, key: &[String], batch: Batch) {
        let send = |shard: usize, batch: Batch| {
            if let Some(queue) = self.outputs.get(shard) {
                // A closed queue says that the process goes down.
                queue.push(Message::Data { batch, to: Some(node) });
            }
        };
        if key.is_empty() {
            return send(self.ends.shard, batch);
        }
        match split(&batch.records, key, self.outputs.len()) {
            Ok(parts) => {
                for (shard, records) in parts.into_iter().enumerate() {
                    if let Some(records) = records {
                        let bytes = batch.bytes * records.num_rows() / batch.records.num_rows().max(1);
                        send(shard, Batch { records, bytes, ..batch.clone() });
                    }
                }
            }
            Err(error) => {
                *self.ends.unkeyed += batch.records.num_rows() as u64;
                tracing::error!(stream = %batch.stream, rows = batch.records.num_rows(), %error, "rows without a key");
            }
        }
    }
}
