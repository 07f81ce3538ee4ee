//! A compiled set of rules.

use super::build::{Builder, Wrong};
use super::gate::Gate;
use super::graph::{Graph, Node, NodeId, Test};
use super::options::{Options, Subject};
use super::output::{self, Template};
use crate::fields::EventSet;
use crate::load::{self, Files, Loaded, LoadedRule, Priority, Report, RuleFile, Source};
use crate::syntax::Span;
use crate::syntax::suggest::did_you_mean;
use std::collections::HashMap;

/// Event types above which a rule is warned of.
const EVENT_TYPES_MAX: usize = 100;

/// A rule that is ready to run.
#[derive(Debug)]
pub struct Rule {
    /// The name.
    pub name: String,
    /// What it finds.
    pub description: String,
    /// How bad that is.
    pub priority: Priority,
    /// Where its events come from.
    pub source: Source,
    /// Sorted.
    pub tags: Vec<String>,
    /// MITRE ATT&CK techniques and tactics among the tags: `T1059.004`, `TA0003`.
    pub techniques: Vec<String>,
    /// Whether it runs.
    pub is_enabled: bool,
    /// The condition with lists and macros expanded.
    pub condition: String,
    /// The event types that it can fire for; all for sources other than `syscall`.
    pub events: EventSet,
    pub(crate) root: NodeId,
    pub(crate) template: Template,
}

/// The rules of one source over one graph.
#[derive(Debug)]
pub(crate) struct SourceRules {
    pub(crate) graph: Graph,
    /// Indexes of the rules in the order of definition.
    pub(crate) rules: Vec<usize>,
    /// Nodes with more than one parent, whose results are kept.
    pub(crate) is_shared: Vec<bool>,
}

/// Rules of all sources, compiled. Immutable: a reload makes a new one.
#[derive(Debug)]
pub struct RuleSet {
    rules: Vec<Rule>,
    sources: [SourceRules; 4],
}

impl RuleSet {
    /// Loads rule files in order. There is a set only where there is no error.
    pub fn load(files: &[RuleFile], options: &Options) -> (Option<Self>, Report) {
        let Loaded { rules, texts, files, mut report } = load::load(files);
        let mut compiler = Compiler { texts: &texts, files: &files, report: &mut report, options };
        let mut compiled = Vec::new();
        let mut graphs: [Graph; 4] = std::array::from_fn(|_| Graph::new());
        for source in Source::ALL {
            let graph = &mut graphs[source as usize];
            compiled.extend(compiler.source(source, graph, &rules));
        }
        compiled.sort_by_key(|(index, _)| *index);
        let rules: Vec<Rule> = compiled.into_iter().map(|(_, rule)| rule).collect();
        let sources = Source::ALL.map(|source| {
            let graph = std::mem::replace(&mut graphs[source as usize], Graph::new());
            let of_source: Vec<usize> = (0..rules.len()).filter(|index| rules[*index].source == source).collect();
            let is_shared =
                shared(&graph, of_source.iter().filter(|rule| rules[**rule].is_enabled).map(|rule| rules[*rule].root));
            SourceRules { graph, rules: of_source, is_shared }
        });
        (report.is_ok().then_some(Self { rules, sources }), report)
    }

    /// All rules in the order of definition, disabled ones included.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// The rule of that name.
    pub fn rule(&self, name: &str) -> Option<&Rule> {
        self.rules.iter().find(|rule| rule.name == name)
    }

    /// A sentence about the rule that may be meant by a name that none has.
    pub fn did_you_mean(&self, name: &str) -> Option<String> {
        did_you_mean(name, self.rules.iter().map(|rule| rule.name.as_str()))
    }

    /// Event types that an enabled rule of source `syscall` can fire for: what the agent must deliver.
    pub fn events(&self) -> EventSet {
        let rules = self.rules.iter().filter(|rule| rule.is_enabled && rule.source == Source::Syscall);
        rules.map(|rule| rule.events).fold(EventSet::NONE, EventSet::union)
    }

    /// Says whether a rule of that source runs.
    pub fn has_rules(&self, source: Source) -> bool {
        self.rules.iter().any(|rule| rule.is_enabled && rule.source == source)
    }

    pub(crate) fn source(&self, source: Source) -> &SourceRules {
        &self.sources[source as usize]
    }
}

/// The nodes that more than one parent asks, without those that are found again as quickly as their answer.
pub(super) fn shared(graph: &Graph, roots: impl Iterator<Item = NodeId>) -> Vec<bool> {
    let mut parents = vec![0_u32; graph.len()];
    let mut open: Vec<NodeId> = roots.collect();
    while let Some(id) = open.pop() {
        parents[id] += 1;
        if parents[id] > 1 {
            continue;
        }
        match graph.node(id) {
            Node::And(children) | Node::Or(children) => open.extend(children),
            Node::Not(child) => open.push(*child),
            Node::Constant(_) | Node::Check(_) => {}
        }
    }
    let is_quick = |id: NodeId| matches!(graph.node(id), Node::Check(check) if check.events.is_some() || matches!(check.test, Test::Flag { .. }));
    parents.into_iter().enumerate().map(|(id, count)| count > 1 && !is_quick(id)).collect()
}

struct Compiler<'a> {
    texts: &'a [load::Text],
    files: &'a Files<'a>,
    report: &'a mut Report,
    options: &'a Options,
}

impl Compiler<'_> {
    /// Compiles the rules of a source, each with its index.
    fn source(&mut self, source: Source, graph: &mut Graph, rules: &[LoadedRule]) -> Vec<(usize, Rule)> {
        let mut macros = HashMap::new();
        let mut gate = Gate::default();
        let mut compiled = Vec::new();
        for (index, rule) in rules.iter().enumerate().filter(|(_, rule)| rule.source == source) {
            if self.report.is_full() {
                break;
            }
            let mut builder = Builder { source, graph, doubts: Vec::new(), macros };
            let root = builder.condition(&rule.condition, rule.text);
            let doubts = std::mem::take(&mut builder.doubts);
            macros = builder.macros;
            for Wrong { text, span, problem } in doubts {
                let place = self.texts.get(text).and_then(|text| text.place(span, self.files));
                self.report.warn("LOAD_COMPILE_CONDITION", problem.message, place, problem.hint);
            }
            match root {
                Ok(root) => compiled.extend(self.rule(rule, root, graph, &mut gate).map(|rule| (index, rule))),
                Err(wrong) => self.report_wrong(wrong, rule.is_skipped_if_unknown),
            }
        }
        compiled
    }

    fn rule(&mut self, rule: &LoadedRule, root: NodeId, graph: &mut Graph, gate: &mut Gate) -> Option<Rule> {
        let tags: Vec<String> = rule.tags.iter().cloned().collect();
        let subject = Subject { name: &rule.name, source: rule.source, tags: &tags };
        let appended = self.options.appended(&subject);
        let is_enabled = self.options.is_enabled(&subject, rule.priority, rule.is_enabled);
        let template = self.output(rule, &appended, graph)?;
        let events = if rule.source == Source::Syscall { gate.events(graph, root, false) } else { EventSet::all() };
        let is_syscall = rule.source == Source::Syscall;
        if is_syscall && events.count() > EVENT_TYPES_MAX && rule.warns_of_event_types {
            let message = format!("rule '{}' is asked about {} event types", rule.name, events.count());
            let hint = "restrict it with evt.type, or set warn_evttypes to false";
            let place = self.files.place(rule.at, rule.name.len());
            self.report.warn("LOAD_NO_EVTTYPE", message, place, Some(hint.to_owned()));
        }
        Some(Rule {
            name: rule.name.clone(),
            description: rule.description.clone(),
            priority: rule.priority,
            source: rule.source,
            techniques: tags.iter().filter(|tag| is_technique(tag)).cloned().collect(),
            tags,
            is_enabled,
            condition: rule.condition.to_string(),
            events,
            root,
            template,
        })
    }

    fn output(&mut self, rule: &LoadedRule, appended: &str, graph: &mut Graph) -> Option<Template> {
        let mut text = rule.output.as_str().to_owned();
        if text.contains("%container.info") {
            let place = self.files.place(rule.output.at(0), 1);
            let hint = "the container's fields are appended by themselves";
            self.report.warn(
                "LOAD_DEPRECATED_ITEM",
                "%container.info prints nothing".to_owned(),
                place,
                Some(hint.to_owned()),
            );
            text = text.replace("%container.info", "");
        }
        match output::template(rule.source, graph, &(text + appended)) {
            Ok(template) => Some(template),
            Err(problem) => {
                let span = problem.span.unwrap_or(Span { start: 0, end: 1 });
                let place = rule.output.place(span, self.files);
                if problem.is_unknown && rule.is_skipped_if_unknown {
                    self.report.warn("LOAD_UNKNOWN_FILTER", problem.message, place, problem.hint);
                } else {
                    self.report.error("LOAD_ERR_COMPILE_OUTPUT", problem.message, place, problem.hint);
                }
                None
            }
        }
    }

    fn report_wrong(&mut self, wrong: Wrong, is_lenient: bool) {
        let Wrong { text, span, problem } = wrong;
        let place = self.texts.get(text).and_then(|text| text.place(span, self.files));
        if is_lenient && problem.is_unknown {
            self.report.warn("LOAD_UNKNOWN_FILTER", problem.message, place, problem.hint);
        } else {
            self.report.error("LOAD_ERR_COMPILE_CONDITION", problem.message, place, problem.hint);
        }
    }
}

/// `T1059`, `T1059.004`, `TA0003`.
fn is_technique(tag: &str) -> bool {
    let digits = tag.strip_prefix("TA").or_else(|| tag.strip_prefix('T')).unwrap_or_default();
    let mut parts = digits.split('.');
    let has_digits = |part: &str, count: usize| part.len() == count && part.bytes().all(|b| b.is_ascii_digit());
    parts.next().is_some_and(|part| has_digits(part, 4))
        && parts.next().is_none_or(|part| has_digits(part, 3))
        && parts.next().is_none()
}
