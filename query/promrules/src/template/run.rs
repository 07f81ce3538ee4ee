//! A tree and an alert to text.

use super::functions::call;
use super::parse::{Command, Defined, Node, Operand, Pipeline};
use super::{Context, OUTPUT_BYTES_MAX, TemplateError, Val};
use std::rc::Rc;

/// Nodes that one template may run: no loop over a large answer goes on for ever.
const STEPS_MAX: usize = 1_000_000;
/// Templates that call each other at most.
const CALLS_MAX: usize = 64;

/// Where a loop goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flow {
    Next,
    Break,
    Continue,
}

pub(super) struct Run<'a> {
    context: &'a Context<'a>,
    defined: &'a Defined,
    variables: Vec<(String, Val)>,
    out: String,
    steps: usize,
    calls: usize,
}

impl<'a> Run<'a> {
    pub(super) fn new(context: &'a Context<'a>, defined: &'a Defined) -> Self {
        let labels = Val::Labels(Rc::new(context.labels.clone()));
        let external = Val::Labels(Rc::new(context.external_labels.clone()));
        let variables = [
            ("$", Val::Alert),
            ("$labels", labels),
            ("$externalLabels", external),
            ("$externalURL", Val::Text(context.external_url.into())),
            ("$value", Val::Float(context.value)),
        ];
        let variables = variables.map(|(name, value)| (name.to_owned(), value)).to_vec();
        Self { context, defined, variables, out: String::new(), steps: 0, calls: 0 }
    }

    pub(super) fn text(mut self, nodes: &[Node]) -> Result<String, TemplateError> {
        self.nodes(nodes, &Val::Alert)?;
        Ok(self.out)
    }

    /// Runs nodes; variables that they declare end with them.
    fn nodes(&mut self, nodes: &[Node], dot: &Val) -> Result<Flow, TemplateError> {
        let depth = self.variables.len();
        for node in nodes {
            self.steps += 1;
            if self.steps > STEPS_MAX {
                return Err(TemplateError("the template takes too long".to_owned()));
            }
            let flow = self.node(node, dot)?;
            if flow != Flow::Next {
                self.variables.truncate(depth);
                return Ok(flow);
            }
        }
        self.variables.truncate(depth);
        Ok(Flow::Next)
    }

    fn node(&mut self, node: &Node, dot: &Val) -> Result<Flow, TemplateError> {
        match node {
            Node::Text(text) => self.write(text)?,
            Node::Print(pipeline) => {
                let value = self.pipeline(pipeline, dot)?;
                self.write(&value.to_string())?;
            }
            Node::Break => return Ok(Flow::Break),
            Node::Continue => return Ok(Flow::Continue),
            Node::Template { name, pipeline } => {
                let value = pipeline.as_ref().map_or(Ok(Val::Nil), |pipeline| self.pipeline(pipeline, dot))?;
                self.template(name, value)?;
            }
            Node::Assign { name, is_new, pipeline } => {
                let value = self.pipeline(pipeline, dot)?;
                if *is_new {
                    self.variables.push((name.clone(), value));
                    return Ok(Flow::Next);
                }
                let known = self.variables.iter_mut().rev().find(|(known, _)| known == name);
                known.map(|(_, slot)| *slot = value).ok_or_else(|| undefined(name))?;
            }
            Node::If { condition, then, otherwise } => {
                let is_true = self.pipeline(condition, dot)?.is_true();
                return self.nodes(if is_true { then } else { otherwise }, dot);
            }
            Node::With { name, pipeline, then, otherwise } => {
                let value = self.pipeline(pipeline, dot)?;
                if !value.is_true() {
                    return self.nodes(otherwise, dot);
                }
                let depth = self.variables.len();
                self.variables.extend(name.iter().map(|name| (name.clone(), value.clone())));
                let flow = self.nodes(then, &value)?;
                self.variables.truncate(depth);
                return Ok(flow);
            }
            Node::Range { key, value, pipeline, body, otherwise } => {
                let items = self.pipeline(pipeline, dot)?.items()?;
                if items.is_empty() {
                    return self.nodes(otherwise, dot);
                }
                for (index, item) in items {
                    let depth = self.variables.len();
                    self.variables.extend(key.iter().map(|name| (name.clone(), index.clone())));
                    self.variables.extend(value.iter().map(|name| (name.clone(), item.clone())));
                    let flow = self.nodes(body, &item)?;
                    self.variables.truncate(depth);
                    if flow == Flow::Break {
                        break;
                    }
                }
            }
        }
        Ok(Flow::Next)
    }

    /// Runs a template that was defined: it knows what it is given, as `.` and `$`, and nothing else.
    fn template(&mut self, name: &str, value: Val) -> Result<(), TemplateError> {
        let defined = self.defined;
        let body = defined.get(name).ok_or_else(|| TemplateError(format!("template {name:?} not defined")))?;
        self.calls += 1;
        if self.calls > CALLS_MAX {
            return Err(TemplateError(format!("more than {CALLS_MAX} templates inside of each other")));
        }
        let variables = std::mem::replace(&mut self.variables, vec![("$".to_owned(), value.clone())]);
        self.nodes(body, &value)?;
        self.variables = variables;
        self.calls -= 1;
        Ok(())
    }

    fn write(&mut self, text: &str) -> Result<(), TemplateError> {
        if self.out.len() + text.len() > OUTPUT_BYTES_MAX {
            return Err(TemplateError(format!("the template makes more than {OUTPUT_BYTES_MAX} bytes")));
        }
        self.out.push_str(text);
        Ok(())
    }

    fn pipeline(&mut self, pipeline: &Pipeline, dot: &Val) -> Result<Val, TemplateError> {
        let mut last = None;
        for command in pipeline {
            last = Some(self.command(command, dot, last)?);
        }
        Ok(last.unwrap_or(Val::Nil))
    }

    fn command(&mut self, command: &Command, dot: &Val, piped: Option<Val>) -> Result<Val, TemplateError> {
        let (Some(first), rest) = (command.first(), command.get(1..).unwrap_or_default()) else { return Ok(Val::Nil) };
        let Operand::Function(name) = first else {
            if !rest.is_empty() || piped.is_some() {
                return Err(TemplateError("can't give argument to non-function".to_owned()));
            }
            return self.operand(first, dot);
        };
        if let "and" | "or" = name.as_str() {
            return self.until(name == "or", rest, dot, piped);
        }
        let mut args = Vec::with_capacity(rest.len() + 1);
        for operand in rest {
            args.push(self.operand(operand, dot)?);
        }
        args.extend(piped);
        call(name, args, self.context)
    }

    /// The first argument that is (or is not) true; the last where none is.
    fn until(
        &mut self,
        wanted: bool,
        operands: &[Operand],
        dot: &Val,
        piped: Option<Val>,
    ) -> Result<Val, TemplateError> {
        let mut last = Val::Nil;
        for operand in operands {
            last = self.operand(operand, dot)?;
            if last.is_true() == wanted {
                return Ok(last);
            }
        }
        Ok(piped.unwrap_or(last))
    }

    fn operand(&mut self, operand: &Operand, dot: &Val) -> Result<Val, TemplateError> {
        match operand {
            Operand::Text(text) => Ok(Val::Text(text.as_str().into())),
            Operand::Int(int) => Ok(Val::Int(*int)),
            Operand::Float(float) => Ok(Val::Float(*float)),
            Operand::Bool(bool) => Ok(Val::Bool(*bool)),
            Operand::Nil => Ok(Val::Nil),
            Operand::Function(name) => call(name, Vec::new(), self.context),
            Operand::Field(names) => self.fields(dot.clone(), names),
            Operand::Variable(name, names) => {
                let known = self.variables.iter().rev().find(|(known, _)| known == name);
                let value = known.map(|(_, value)| value.clone()).ok_or_else(|| undefined(name))?;
                self.fields(value, names)
            }
            Operand::Group(pipeline, names) => {
                let value = self.pipeline(pipeline, dot)?;
                self.fields(value, names)
            }
        }
    }

    fn fields(&self, mut value: Val, names: &[String]) -> Result<Val, TemplateError> {
        for name in names {
            value = self.field(&value, name)?;
        }
        Ok(value)
    }

    fn field(&self, value: &Val, name: &str) -> Result<Val, TemplateError> {
        let context = self.context;
        Ok(match (value, name) {
            (Val::Alert, "Labels") => Val::Labels(Rc::new(context.labels.clone())),
            (Val::Alert, "ExternalLabels") => Val::Labels(Rc::new(context.external_labels.clone())),
            (Val::Alert, "ExternalURL") => Val::Text(context.external_url.into()),
            (Val::Alert, "Value") => Val::Float(context.value),
            // A label that is missing is empty.
            (Val::Labels(labels), name) => Val::Text(labels.get(name).map_or("", String::as_str).into()),
            (Val::Sample(sample), "Labels") => Val::Labels(Rc::new(sample.labels.clone())),
            (Val::Sample(sample), "Value") => Val::Float(sample.value),
            (Val::Named(values), name) => values.get(name).cloned().unwrap_or(Val::Nil),
            _ => return Err(TemplateError(format!("can't evaluate field {name}"))),
        })
    }
}

fn undefined(name: &str) -> TemplateError {
    TemplateError(format!("undefined variable {name:?}"))
}

impl Val {
    /// Whether it counts as true: what is not zero or empty.
    pub(super) fn is_true(&self) -> bool {
        match self {
            Self::Nil => false,
            Self::Bool(bool) => *bool,
            Self::Int(int) => *int != 0,
            Self::Float(float) => *float != 0.0,
            Self::Text(text) => !text.is_empty(),
            Self::Labels(labels) => !labels.is_empty(),
            Self::List(items) => !items.is_empty(),
            Self::Named(values) => !values.is_empty(),
            Self::Sample(_) | Self::Alert => true,
        }
    }

    /// What `range` goes over, with keys.
    fn items(self) -> Result<Vec<(Val, Val)>, TemplateError> {
        Ok(match &self {
            Self::Nil => Vec::new(),
            Self::List(items) => {
                items.iter().enumerate().map(|(at, item)| (Self::Int(at as i64), item.clone())).collect()
            }
            Self::Labels(labels) => {
                let text = |text: &String| Self::Text(text.as_str().into());
                labels.iter().map(|(name, value)| (text(name), text(value))).collect()
            }
            Self::Named(values) => {
                values.iter().map(|(name, value)| (Self::Text(name.as_str().into()), value.clone())).collect()
            }
            other => return Err(TemplateError(format!("range can't iterate over {other}"))),
        })
    }
}
