//! Protocol buffers as bytes: fields one after another, nothing copied, nothing trusted (SAFE-1).
//!
//! A decoder that fills structs would make a string of every label of every sample. The messages here are flat and
//! their labels are looked up as the bytes that they came as, so a reader of fields is all that is needed.

/// Why bytes are no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// They end in the middle of a field.
    #[error("the message ends within a field")]
    Truncated,
    /// A number of more than 64 bits.
    #[error("a number has more than 64 bits")]
    Overflow,
    /// A field number of zero, or a wire type that is none.
    #[error("field {field} has wire type {wire_type}, which is not known")]
    WireType {
        /// The field.
        field: u32,
        /// Its type.
        wire_type: u8,
    },
    /// A field of another type than its message has.
    #[error("field {field} has an unexpected wire type")]
    Unexpected {
        /// The field.
        field: u32,
    },
    /// Text that is not UTF-8.
    #[error("field {field} is not UTF-8")]
    Utf8 {
        /// The field.
        field: u32,
    },
}

/// One field.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Field<'a> {
    pub(crate) number: u32,
    value: Value<'a>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Value<'a> {
    Varint(u64),
    Fixed64(u64),
    Fixed32(u32),
    Bytes(&'a [u8]),
}

impl<'a> Field<'a> {
    /// A number of any sign in two's complement.
    pub(crate) fn varint(&self) -> Result<u64, WireError> {
        match self.value {
            Value::Varint(value) => Ok(value),
            _ => Err(self.unexpected()),
        }
    }

    pub(crate) fn int64(&self) -> Result<i64, WireError> {
        self.varint().map(|value| value as i64)
    }

    pub(crate) fn int32(&self) -> Result<i32, WireError> {
        self.varint().map(|value| value as i32)
    }

    pub(crate) fn sint32(&self) -> Result<i32, WireError> {
        self.varint().map(|value| zigzag(value) as i32)
    }

    pub(crate) fn double(&self) -> Result<f64, WireError> {
        match self.value {
            Value::Fixed64(bits) => Ok(f64::from_bits(bits)),
            _ => Err(self.unexpected()),
        }
    }

    pub(crate) fn fixed64(&self) -> Result<u64, WireError> {
        match self.value {
            Value::Fixed64(bits) => Ok(bits),
            _ => Err(self.unexpected()),
        }
    }

    pub(crate) fn bytes(&self) -> Result<&'a [u8], WireError> {
        match self.value {
            Value::Bytes(bytes) => Ok(bytes),
            _ => Err(self.unexpected()),
        }
    }

    pub(crate) fn message(&self) -> Result<Reader<'a>, WireError> {
        self.bytes().map(Reader::new)
    }

    pub(crate) fn text(&self) -> Result<&'a str, WireError> {
        std::str::from_utf8(self.bytes()?).map_err(|_| WireError::Utf8 { field: self.number })
    }

    /// Appends a repeated number, packed or not.
    pub(crate) fn varints(&self, mut push: impl FnMut(u64)) -> Result<(), WireError> {
        match self.value {
            Value::Varint(value) => push(value),
            Value::Bytes(bytes) => {
                let mut reader = Reader::new(bytes);
                while !reader.rest.is_empty() {
                    push(reader.varint()?);
                }
            }
            _ => return Err(self.unexpected()),
        }
        Ok(())
    }

    /// Appends a repeated 64-bit word, packed or not.
    pub(crate) fn fixed64s(&self, mut push: impl FnMut(u64)) -> Result<(), WireError> {
        match self.value {
            Value::Fixed64(bits) => push(bits),
            Value::Bytes(bytes) => {
                let (words, rest) = bytes.as_chunks::<8>();
                if !rest.is_empty() {
                    return Err(WireError::Truncated);
                }
                words.iter().for_each(|word| push(u64::from_le_bytes(*word)));
            }
            _ => return Err(self.unexpected()),
        }
        Ok(())
    }

    /// Appends a repeated double, packed or not.
    pub(crate) fn doubles(&self, into: &mut Vec<f64>) -> Result<(), WireError> {
        self.fixed64s(|bits| into.push(f64::from_bits(bits)))
    }

    fn unexpected(&self) -> WireError {
        WireError::Unexpected { field: self.number }
    }
}

/// The number behind a zigzag encoding.
pub(crate) fn zigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

/// Reads the fields of one message in order.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    /// What is not read yet.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The next field; none at the end.
    #[inline]
    pub(crate) fn field(&mut self) -> Result<Option<Field<'a>>, WireError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let key = self.varint()?;
        let (number, wire_type) = ((key >> 3) as u32, (key & 7) as u8);
        let value = match wire_type {
            _ if number == 0 || key > u64::from(u32::MAX) => return Err(WireError::WireType { field: 0, wire_type }),
            0 => Value::Varint(self.varint()?),
            1 => Value::Fixed64(u64::from_le_bytes(self.array()?)),
            2 => {
                let length = usize::try_from(self.varint()?).map_err(|_| WireError::Truncated)?;
                Value::Bytes(self.take(length)?)
            }
            5 => Value::Fixed32(u32::from_le_bytes(self.array()?)),
            _ => return Err(WireError::WireType { field: number, wire_type }),
        };
        Ok(Some(Field { number, value }))
    }

    /// The next message where each stands behind its length; none at the end.
    pub(crate) fn delimited(&mut self) -> Result<Option<Reader<'a>>, WireError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let length = usize::try_from(self.varint()?).map_err(|_| WireError::Truncated)?;
        self.take(length).map(Reader::new).map(Some)
    }

    #[inline]
    fn varint(&mut self) -> Result<u64, WireError> {
        let mut value = 0;
        for (index, byte) in self.rest.iter().enumerate() {
            if index == 9 && *byte > 1 {
                return Err(WireError::Overflow);
            }
            value |= u64::from(byte & 0x7f) << (7 * index);
            if *byte < 0x80 {
                self.rest = &self.rest[index + 1..];
                return Ok(value);
            }
        }
        Err(WireError::Truncated)
    }

    #[inline]
    fn take(&mut self, length: usize) -> Result<&'a [u8], WireError> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(WireError::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or(WireError::Truncated)?;
        self.rest = rest;
        Ok(*taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn fields(bytes: &[u8]) -> Result<Vec<Field<'_>>, WireError> {
        let mut reader = Reader::new(bytes);
        let mut fields = Vec::new();
        while let Some(field) = reader.field()? {
            fields.push(field);
        }
        Ok(fields)
    }

    #[test]
    fn every_wire_type() {
        let bytes = [8, 0x96, 1, 17, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f, 26, 2, b'o', b'k', 37, 1, 0, 0, 0];
        let fields = fields(&bytes).unwrap();
        assert_eq!(fields[0].varint(), Ok(150));
        assert_eq!(fields[1].double(), Ok(1.0));
        assert_eq!(fields[2].text(), Ok("ok"));
        assert_eq!(fields[3].number, 4);
        assert_eq!(fields[3].bytes(), Err(WireError::Unexpected { field: 4 }));
    }

    #[test]
    fn nonsense_is_refused() {
        assert_eq!(fields(&[8]), Err(WireError::Truncated));
        assert_eq!(fields(&[26, 5, 1]), Err(WireError::Truncated));
        assert_eq!(fields(&[26, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]), Err(WireError::Truncated));
        assert_eq!(fields(&[8, 255, 255, 255, 255, 255, 255, 255, 255, 255, 2]), Err(WireError::Overflow));
        assert_eq!(fields(&[11]), Err(WireError::WireType { field: 1, wire_type: 3 }));
        assert_eq!(fields(&[0]), Err(WireError::WireType { field: 0, wire_type: 0 }));
    }

    #[test]
    fn zigzag_is_its_own_inverse() {
        for value in [0i64, 1, -1, 63, -64, i64::MAX, i64::MIN] {
            assert_eq!(zigzag(((value << 1) ^ (value >> 63)) as u64), value);
        }
    }

    proptest! {
        #[test]
        fn safe_1_any_bytes_end(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = fields(&bytes);
        }
    }
}
