//! The columns of a table for values of another type than the registered one.

use arrow::datatypes::{Field, FieldRef, Schema, SchemaRef};
use bodkin_schema::{Stream, suffixed_column};
use std::sync::Arc;

/// Columns that a table has beyond those of its stream, by name (see [`bodkin_schema::suffix`]). A set: cheap to clone,
/// nearly always empty, at most one column for each registered column and kind of value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Suffixed {
    fields: Arc<[FieldRef]>,
}

impl Suffixed {
    /// Those of `names` that are such columns of `stream`'s table.
    pub(crate) fn of_names<'a>(stream: Stream, names: impl IntoIterator<Item = &'a str>) -> Self {
        let mut fields: Vec<FieldRef> =
            names.into_iter().filter_map(|name| suffixed_column(stream, name)).map(Arc::new).collect();
        fields.sort_by(|left, right| left.name().cmp(right.name()));
        fields.dedup_by(|left, right| left.name() == right.name());
        Self { fields: fields.into() }
    }

    /// Those that `schema` has.
    pub(crate) fn of_schema(stream: Stream, schema: &Schema) -> Self {
        match schema.fields().len() <= stream.schema().fields().len() {
            true => Self::default(),
            false => Self::of_names(stream, schema.fields().iter().map(|field| field.name().as_str())),
        }
    }

    /// These and those.
    pub(crate) fn with(&self, other: &Self) -> Self {
        if other.fields.iter().all(|field| self.has(field.name())) {
            return self.clone();
        }
        let mut fields: Vec<FieldRef> = self.fields.iter().chain(other.fields.iter()).cloned().collect();
        fields.sort_by(|left, right| left.name().cmp(right.name()));
        fields.dedup_by(|left, right| left.name() == right.name());
        Self { fields: fields.into() }
    }

    /// Whether a column of that name is one of them.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.fields.binary_search_by(|field| field.name().as_str().cmp(name)).is_ok()
    }

    /// The columns, by name.
    pub fn fields(&self) -> impl Iterator<Item = &Field> {
        self.fields.iter().map(AsRef::as_ref)
    }

    /// Their names.
    pub(crate) fn names(&self) -> Vec<String> {
        self.fields().map(|field| field.name().clone()).collect()
    }

    /// The columns of rows: the stream's, then these.
    pub(crate) fn row_schema(&self, stream: Stream) -> SchemaRef {
        if self.fields.is_empty() {
            return stream.schema();
        }
        let registered = stream.schema();
        Arc::new(Schema::new(registered.fields().iter().chain(self.fields.iter()).cloned().collect::<Vec<_>>()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_by_name() {
        let of = |names: &[&str]| Suffixed::of_names(Stream::Drops, names.iter().copied());
        let both = of(&["ts_text", "count_text", "count", "theirs", "count_text"]);
        assert_eq!(both.names(), ["count_text", "ts_text"]);
        assert_eq!(of(&["ts_text"]).with(&of(&["count_text"])), both);
        assert_eq!(both.with(&of(&["ts_text"])), both);
        assert!(both.has("ts_text") && !both.has("ts") && !Suffixed::default().has("ts_text"));
        let schema = both.row_schema(Stream::Drops);
        assert_eq!(schema.fields().len(), Stream::Drops.schema().fields().len() + 2);
        assert_eq!(Suffixed::of_schema(Stream::Drops, &schema), both);
        assert_eq!(Suffixed::of_schema(Stream::Drops, &Stream::Drops.schema()), Suffixed::default());
    }
}
