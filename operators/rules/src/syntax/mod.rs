//! The condition language: text to [`Expr`], every error with its place and a suggestion.
//!
//! ```text
//! or    := and ("or" and)*          and := not ("and" not)*         not := "not"* primary
//! primary := "(" or ")" | macro | operand operator value
//! operand := field ["[" arg "]"] | transformer "(" operand, ... ")" ["[" arg "]"]
//! value := text | number | "(" text, ... ")" | val(field) | transformer(...)
//! ```
//!
//! No blank is needed before `(` after `and`, `or`, `not`. Lists are substituted in the text before it comes here;
//! macros are left as [`Expr::Name`] and resolved by [`crate::load`].

mod ast;
mod cursor;
mod operator;
mod parser;
pub(crate) mod suggest;

pub use ast::{Call, Check, Expr, Field, Literal, Macro, Operand, Span, Value};
pub use operator::{Modifier, Op, Transformer};
pub use parser::{MAX_DEPTH, SyntaxError, parse_condition, parse_output_operand};

#[cfg(test)]
mod tests;
