//! The batches of one stream among those of an operator that emits several.

use bodkin_engine::{Batch, Operator, Output};

/// Lets batches of one stream pass.
#[derive(Clone, Debug)]
pub struct OfStream(String);

impl OfStream {
    /// Those of stream `name`.
    pub fn new(name: &str) -> Self {
        Self(name.to_owned())
    }
}

impl Operator for OfStream {
    fn name(&self) -> &str {
        "of_stream"
    }

    fn on_batch(&mut self, batch: Batch, out: &mut Output<'_>) {
        if *batch.stream == *self.0 {
            out.emit(batch);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::record_batch::RecordBatch;
    use bodkin_engine::run_chain;
    use bodkin_schema::Stream;

    #[test]
    fn others_stay_behind() {
        let mut chain: Vec<Box<dyn Operator>> = vec![Box::new(OfStream::new("findings"))];
        let mut seen = Vec::new();
        for stream in [Stream::Events, Stream::Findings] {
            let batch = Batch::made(stream.name(), RecordBatch::new_empty(stream.schema()));
            run_chain(&mut chain, batch, &mut |batch| seen.push(batch.stream.to_string()));
        }
        assert_eq!(seen, ["findings"]);
    }
}
