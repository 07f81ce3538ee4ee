//! Checks that what a record batch header says fits its body and its schema, before arrow acts on it.

use super::schema::column;
use super::{IpcError, Limits, lz4};
use arrow::datatypes::{DataType, Field, Fields};
use arrow_ipc::{Buffer, CompressionType, FieldNode, RecordBatch};
use flatbuffers::VectorIter;

/// What a verified message will take when it is decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Rows of the batch, or values of the dictionary.
    pub rows: usize,
    /// Bytes of its buffers after decompression.
    pub decoded_bytes: usize,
}

/// Verifies one record batch (or the values of one dictionary) against `fields`.
pub(super) fn verify(
    batch: &RecordBatch<'_>,
    fields: &Fields,
    body: &[u8],
    limits: &Limits,
) -> Result<Extent, IpcError> {
    IpcError::capped("body bytes", body.len(), limits.body_bytes_max)?;
    let rows = usize::try_from(batch.length()).map_err(|_| IpcError::invalid("batch", "negative row count"))?;
    IpcError::capped("rows", rows, limits.rows_max)?;
    if batch.variadicBufferCounts().is_some_and(|counts| !counts.is_empty()) {
        return Err(IpcError::unsupported("batch", "a view type"));
    }
    let codec = batch.compression().map(|compression| compression.codec());
    if codec.is_some_and(|codec| codec != CompressionType::LZ4_FRAME && codec != CompressionType::ZSTD) {
        return Err(IpcError::unsupported("batch", "its compression"));
    }
    let (Some(nodes), Some(buffers)) = (batch.nodes(), batch.buffers()) else {
        return Err(IpcError::invalid("batch", "no nodes or no buffers"));
    };
    let mut walk = Walk {
        body,
        codec,
        limits,
        nodes: nodes.iter(),
        buffers: buffers.iter(),
        buffer_index: 0,
        wire_bytes: 0,
        decoded_bytes: 0,
    };
    for field in fields {
        walk.field(field, Some(rows)).map_err(|fault| fault.into_error(field))?;
    }
    if walk.nodes.next().is_some() || walk.buffers.next().is_some() {
        return Err(IpcError::invalid("batch", "more nodes or buffers than the schema has"));
    }
    let floor = Limits::RATIO_FREE_BYTES.max(body.len().saturating_mul(limits.ratio_max));
    IpcError::capped("decoded bytes", walk.decoded_bytes, limits.decoded_bytes_max.min(floor))?;
    Ok(Extent { rows, decoded_bytes: walk.decoded_bytes })
}

/// What is wrong within one top-level column; becomes text only when it is refused.
enum Fault {
    Node(&'static str),
    Buffer(usize, &'static str),
    Decoded(usize, u64, u64),
}

impl Fault {
    fn into_error(self, field: &Field) -> IpcError {
        match self {
            Self::Node(why) => IpcError::invalid(column(field), why),
            Self::Buffer(index, why) => IpcError::invalid(format!("{}, buffer {index}", column(field)), why),
            Self::Decoded(index, found, limit) => {
                IpcError::TooLarge { what: format!("{}, buffer {index}: decoded bytes", column(field)), found, limit }
            }
        }
    }
}

struct Node {
    length: usize,
    null_count: usize,
}

struct Walk<'a> {
    body: &'a [u8],
    codec: Option<CompressionType>,
    limits: &'a Limits,
    nodes: VectorIter<'a, FieldNode>,
    buffers: VectorIter<'a, Buffer>,
    buffer_index: usize,
    wire_bytes: usize,
    decoded_bytes: usize,
}

impl Walk<'_> {
    /// Consumes the nodes and buffers of a field in the order in which arrow will.
    fn field(&mut self, field: &Field, length: Option<usize>) -> Result<(), Fault> {
        let node = self.node(length)?;
        let data_type = field.data_type();
        if matches!(data_type, DataType::Null) {
            return Ok(());
        }
        self.buffer_of(if node.null_count > 0 { node.length.div_ceil(8) } else { 0 })?;
        match data_type {
            DataType::Utf8 | DataType::Binary => {
                self.offsets(&node, 4)?;
                self.buffer_of(0)
            }
            DataType::LargeUtf8 | DataType::LargeBinary => {
                self.offsets(&node, 8)?;
                self.buffer_of(0)
            }
            DataType::List(item) | DataType::Map(item, _) => {
                self.offsets(&node, 4)?;
                self.field(item, None)
            }
            DataType::LargeList(item) => {
                self.offsets(&node, 8)?;
                self.field(item, None)
            }
            DataType::FixedSizeList(item, size) => {
                let length = node.length.checked_mul(*size as usize).ok_or(Fault::Node("list length overflows"))?;
                self.field(item, Some(length))
            }
            DataType::Struct(children) => children.iter().try_for_each(|child| self.field(child, Some(node.length))),
            DataType::Boolean => self.buffer_of(node.length.div_ceil(8)),
            DataType::FixedSizeBinary(size) => self.fixed(&node, *size as usize),
            DataType::Dictionary(key, _) => self.fixed(&node, key.primitive_width().unwrap_or(8)),
            other => match other.primitive_width() {
                Some(width) => self.fixed(&node, width),
                None => Err(Fault::Node("unsupported type")),
            },
        }
    }

    fn node(&mut self, length: Option<usize>) -> Result<Node, Fault> {
        let node = self.nodes.next().ok_or(Fault::Node("no node: fewer than the schema has"))?;
        let found = usize::try_from(node.length()).map_err(|_| Fault::Node("negative length"))?;
        let null_count = usize::try_from(node.null_count()).map_err(|_| Fault::Node("negative null count"))?;
        match length {
            Some(length) if length != found => return Err(Fault::Node("length differs from that of its parent")),
            // Children without buffers (null, empty struct) cost the sender nothing, so a limit must bound them.
            _ if found > self.limits.decoded_bytes_max => return Err(Fault::Node("length exceeds the limit")),
            _ => {}
        }
        if null_count > found {
            return Err(Fault::Node("more nulls than values"));
        }
        Ok(Node { length: found, null_count })
    }

    fn fixed(&mut self, node: &Node, width: usize) -> Result<(), Fault> {
        self.buffer_of(node.length.checked_mul(width).ok_or(Fault::Node("length overflows"))?)
    }

    fn offsets(&mut self, node: &Node, width: usize) -> Result<(), Fault> {
        // Without rows the only offset may be left out.
        let count = if node.length == 0 { 0 } else { node.length + 1 };
        self.buffer_of(count.checked_mul(width).ok_or(Fault::Node("length overflows"))?)
    }

    /// Takes the next buffer, which must decode to at least `bytes_min`.
    fn buffer_of(&mut self, bytes_min: usize) -> Result<(), Fault> {
        let index = self.buffer_index;
        self.buffer_index += 1;
        let buffer = self.buffers.next().ok_or(Fault::Buffer(index, "missing: fewer than the schema has"))?;
        let start = usize::try_from(buffer.offset()).map_err(|_| Fault::Buffer(index, "negative offset"))?;
        let length = usize::try_from(buffer.length()).map_err(|_| Fault::Buffer(index, "negative length"))?;
        let bytes = start.checked_add(length).and_then(|end| self.body.get(start..end));
        let bytes = bytes.ok_or(Fault::Buffer(index, "reaches past the body"))?;
        // Overlapping buffers would let a small body decode, or be copied, many times over.
        self.wire_bytes += length;
        if self.wire_bytes > self.body.len() {
            return Err(Fault::Buffer(index, "overlaps others"));
        }
        let decoded = self.decoded(index, bytes)?;
        if decoded < bytes_min {
            return Err(Fault::Buffer(index, "shorter than its rows need"));
        }
        self.decoded_bytes = self.decoded_bytes.saturating_add(decoded);
        Ok(())
    }

    /// Length of a buffer after decompression, checked before anything is allocated for it.
    fn decoded(&self, index: usize, bytes: &[u8]) -> Result<usize, Fault> {
        let Some(codec) = self.codec else { return Ok(bytes.len()) };
        if bytes.is_empty() {
            return Ok(0);
        }
        let (prefix, compressed) = bytes.split_first_chunk().ok_or(Fault::Buffer(index, "no uncompressed length"))?;
        let declared = match i64::from_le_bytes(*prefix) {
            -1 => return Ok(compressed.len()),
            declared => u64::try_from(declared).map_err(|_| Fault::Buffer(index, "negative uncompressed length"))?,
        };
        let limit = self.limits.decoded_bytes_max as u64;
        if declared > limit {
            return Err(Fault::Decoded(index, declared, limit));
        }
        if codec == CompressionType::LZ4_FRAME && declared > 0 {
            let (expanded, block) = lz4::expansion_max(compressed).map_err(|why| Fault::Buffer(index, why))?;
            if expanded > declared + block {
                return Err(Fault::Buffer(index, "more LZ4 blocks than its uncompressed length needs"));
            }
        }
        Ok(declared as usize)
    }
}
