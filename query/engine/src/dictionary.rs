//! Texts as numbers: what a file's dictionary knows is worked out once for each of its values, not for each row.
//!
//! Most text columns of telemetry have few values, and Parquet stores a row as a number into a page of them. A footer
//! that says so is marked ([`footer`]), and the reader then hands out those numbers. Expressions over one such column
//! are evaluated per value ([`per_value`]); groups and distinct counts of texts that have few values in the whole table
//! run over small integers, and the texts come back at the end ([`groups`], [`ids`]); where such a number is the whole
//! key, it is the place of its group ([`dense`]). Who reads few rows reads texts as they are. Conditions on few values
//! are looked at beside what they select ([`mark`]). Plans see plain texts throughout.

mod adapter;
mod answers;
mod conjunction;
mod dense;
mod first_key;
mod footer;
mod groups;
mod ids;
mod keep;
mod keys;
mod mark;
mod per_value;
mod search;
mod stored;
mod while_selective;

pub(crate) use adapter::ReadPerValue;
pub(crate) use dense::GroupByPlace;
pub(crate) use footer::{for_few_rows, with_dictionaries};
pub(crate) use groups::GroupByIds;
pub(crate) use ids::FreshIds;
pub(crate) use mark::MarkRows;
