//! Columns that have the name of another in one SELECT.
//!
//! `SELECT pid, pid` and `SELECT 1, 1` are plain SQL, and the planner wants every column of a projection to have a name
//! of its own. A name that comes again gets a number, as in `pid_1`; what the whole statement answers is renamed back.

use datafusion::sql::sqlparser::ast::{
    Expr, Ident, Query, Select, SelectItem, SetExpr, Statement, VisitMut, VisitorMut, visit_expressions_mut,
};
use std::collections::HashMap;
use std::ops::ControlFlow;

/// Columns of an answer that are called otherwise than in the plan: the plan's name, then the answer's.
pub(crate) type Renamed = HashMap<String, String>;

/// Gives the columns of each SELECT in `statement` names of their own.
pub(crate) fn name_apart(statement: &mut Statement) -> Renamed {
    let mut namer = Namer { depth: 0, renamed: Renamed::new() };
    let _: ControlFlow<()> = statement.visit(&mut namer);
    namer.renamed
}

struct Namer {
    /// Queries around the one that is visited.
    depth: usize,
    renamed: Renamed,
}

impl VisitorMut for Namer {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        if let Some(select) = first_select(&mut query.body) {
            let renamed = name_columns(select, self.depth == 0);
            if self.depth == 0 {
                self.renamed = renamed;
            }
        }
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    /// The other sides of UNION and the like, whose names nobody sees.
    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        name_columns(select, self.depth == 1);
        ControlFlow::Continue(())
    }
}

/// The SELECT that names the columns of a query.
fn first_select(body: &mut SetExpr) -> Option<&mut Select> {
    match body {
        SetExpr::Select(select) => Some(select),
        SetExpr::SetOperation { left, .. } => first_select(left),
        _ => None,
    }
}

/// What a column of a SELECT is called, and of which table it is.
struct Name {
    table: Option<String>,
    column: String,
    /// What the planner takes it for: it does not see casts.
    planned: String,
}

impl Name {
    fn of(item: &SelectItem) -> Option<Self> {
        let plain = |column: String| Some(Self { table: None, planned: column.clone(), column });
        match item {
            SelectItem::ExprWithAlias { alias, .. } => plain(folded(alias)),
            SelectItem::UnnamedExpr(Expr::Identifier(name)) => plain(folded(name)),
            SelectItem::UnnamedExpr(Expr::CompoundIdentifier(parts)) => {
                let (column, table) = parts.split_last()?;
                let table = table.iter().map(folded).collect::<Vec<_>>().join(".");
                let column = folded(column);
                Some(Self { table: Some(table), planned: column.clone(), column })
            }
            SelectItem::UnnamedExpr(expr) => {
                Some(Self { table: None, column: expr.to_string(), planned: without_casts(expr.clone()).to_string() })
            }
            _ => None,
        }
    }

    /// Whether both may be one column to the planner. Outside of a query columns of two tables are told apart by nobody.
    fn collides(&self, other: &Self, is_outermost: bool) -> bool {
        let are_of_two = self.table.is_some() && other.table.is_some() && self.table != other.table;
        self.planned == other.planned && !(is_outermost && are_of_two)
    }
}

/// `expr` where each cast is what it casts.
fn without_casts(mut expr: Expr) -> Expr {
    let _: ControlFlow<()> = visit_expressions_mut(&mut expr, |expr| {
        while let Expr::Cast { expr: inner, .. } | Expr::AtTimeZone { timestamp: inner, .. } = expr {
            *expr = (**inner).clone();
        }
        ControlFlow::Continue(())
    });
    expr
}

/// As the planner folds names.
fn folded(name: &Ident) -> String {
    if name.quote_style.is_some() { name.value.clone() } else { name.value.to_lowercase() }
}

fn name_columns(select: &mut Select, is_outermost: bool) -> Renamed {
    let names: Vec<Option<Name>> = select.projection.iter().map(Name::of).collect();
    let mut renamed = Renamed::new();
    // A column that is named beside all columns is there twice.
    let first_wildcard = select.projection.iter().position(|item| matches!(item, SelectItem::Wildcard(_)));
    for (index, item) in select.projection.iter_mut().enumerate() {
        let Some(Some(name)) = names.get(index) else { continue };
        let is_column = matches!(item, SelectItem::UnnamedExpr(Expr::Identifier(_) | Expr::CompoundIdentifier(_)));
        let is_again = is_outermost && is_column && first_wildcard.is_some_and(|wildcard| wildcard != index)
            || names.iter().take(index).flatten().any(|earlier| earlier.collides(name, is_outermost));
        if !is_again {
            continue;
        }
        let is_taken = |new: &str| renamed.contains_key(new) || names.iter().flatten().any(|name| name.column == new);
        let new = (1..).map(|number| format!("{}_{number}", name.column)).find(|new| !is_taken(new));
        let Some(new) = new else { continue };
        let expr = match item {
            SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => expr.clone(),
            _ => continue,
        };
        *item = SelectItem::ExprWithAlias { expr, alias: Ident::with_quote('"', &new) };
        renamed.insert(new, name.column.clone());
    }
    renamed
}
