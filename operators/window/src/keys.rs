//! The distinct keys of rows, numbered in the order in which they come.
//!
//! A key that is one whole number or time is looked up in a table of our own; any other is DataFusion's to number.

use crate::functions;
use arrow::array::{Array, ArrayRef, AsArray, Int64Array};
use arrow::buffer::NullBuffer;
use arrow::compute::{cast, max, min};
use arrow::datatypes::{DataType, Int64Type, SchemaRef};
use datafusion::common::{Result, exec_datafusion_err};
use datafusion::logical_expr::EmitTo;
use datafusion::physical_plan::aggregates::group_values::{GroupValues, new_group_values};
use datafusion::physical_plan::aggregates::order::GroupOrdering;
use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;

/// Keys and their numbers.
pub(crate) enum Keys {
    Integers(IntegerKeys),
    Any(Box<dyn GroupValues>),
}

impl Keys {
    /// For keys of the columns of `schema`, of about so many rows.
    pub(crate) fn new(schema: SchemaRef, rows: usize) -> Result<Self> {
        match schema.fields().iter().as_slice() {
            [only] if is_integer(only.data_type()) => {
                Ok(Self::Integers(IntegerKeys::new(only.data_type().clone(), rows)))
            }
            _ => Ok(Self::Any(new_group_values(schema, &GroupOrdering::None)?)),
        }
    }

    /// Puts the number of each row's key into `ids`; a new key gets the next one.
    pub(crate) fn intern(&mut self, columns: &[ArrayRef], ids: &mut Vec<usize>) -> Result<()> {
        match (self, columns) {
            (Self::Integers(keys), [only]) => keys.intern(only, ids),
            (Self::Integers(_), _) => Err(exec_datafusion_err!("a key of one column has {} of them", columns.len())),
            (Self::Any(keys), _) => keys.intern(columns, ids),
        }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Integers(keys) => keys.keys.len(),
            Self::Any(keys) => keys.len(),
        }
    }

    /// All keys by number, as columns; none are left.
    pub(crate) fn take(&mut self) -> Result<Vec<ArrayRef>> {
        match self {
            Self::Integers(keys) => Ok(vec![keys.take()?]),
            Self::Any(keys) => keys.emit(EmitTo::All),
        }
    }

    /// Bytes of it.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Integers(keys) => keys.bytes(),
            Self::Any(keys) => keys.size(),
        }
    }
}

/// Types whose values are 64-bit integers, or can be such and come back.
fn is_integer(data_type: &DataType) -> bool {
    use DataType::{Int8, Int16, Int32, Int64, Timestamp, UInt8, UInt16, UInt32};
    matches!(data_type, Int8 | Int16 | Int32 | Int64 | UInt8 | UInt16 | UInt32 | Timestamp(..))
}

/// Number of no key.
const FREE: u32 = u32::MAX;
/// Places of a table by key for each key and row at most: beyond, keys lie too far from each other.
const PLACES_MAX: u64 = 32;

/// Whole numbers: by the key itself where they lie close together, as ids of processes, users and ports do, else by hash.
pub(crate) struct IntegerKeys {
    data_type: DataType,
    table: Table,
    keys: Vec<i64>,
    /// Number of null.
    null: Option<usize>,
    /// About how many come, where that is known.
    rows: usize,
}

enum Table {
    /// A number for each key from `first` on.
    ByKey {
        first: i64,
        ids: Vec<u32>,
    },
    ByHash(Slots),
}

impl IntegerKeys {
    fn new(data_type: DataType, rows: usize) -> Self {
        Self { data_type, table: Table::ByKey { first: 0, ids: Vec::new() }, keys: Vec::new(), null: None, rows }
    }

    fn intern(&mut self, column: &ArrayRef, ids: &mut Vec<usize>) -> Result<()> {
        let column = cast(column, &DataType::Int64)?;
        let column = column.as_primitive::<Int64Type>();
        ids.clear();
        ids.reserve(column.len());
        if column.len() + self.keys.len() >= FREE as usize {
            return Err(exec_datafusion_err!("a window has more than {} groups", self.keys.len()));
        }
        self.make_room(column);
        if column.null_count() > 0 {
            ids.extend(column.iter().map(|key| match key {
                Some(key) => self.find_or_add(key),
                None => self.null_id(),
            }));
            return Ok(());
        }
        match &mut self.table {
            Table::ByKey { first, ids: by_key } => {
                let known = &mut self.keys;
                ids.extend(column.values().iter().map(|key| by_key_or_new(*first, by_key, known, *key)));
            }
            Table::ByHash(slots) => slots.intern(column.values(), &mut self.keys, ids),
        }
        Ok(())
    }

    /// Sees to it that a table by key has places for these, or gives it up.
    fn make_room(&mut self, column: &Int64Array) {
        let Table::ByKey { first, ids } = &mut self.table else { return };
        let (Some(least), Some(most)) = (min(column), max(column)) else { return };
        let (mut least, mut most) = (least, most);
        if !ids.is_empty() {
            (least, most) = (least.min(*first), most.max(*first + (ids.len() as i64 - 1)));
        }
        if most.abs_diff(least) >= PLACES_MAX * self.rows.max(column.len() + self.keys.len()) as u64 {
            self.table = Table::ByHash(Slots::of(&self.keys, self.null));
            return;
        }
        let places = most.abs_diff(least) as usize + 1;
        if least < *first && !ids.is_empty() {
            let mut moved = vec![FREE; first.abs_diff(least) as usize];
            moved.append(ids);
            *ids = moved;
        }
        *first = least;
        ids.resize(places, FREE);
    }

    fn find_or_add(&mut self, key: i64) -> usize {
        match &mut self.table {
            Table::ByKey { first, ids } => by_key_or_new(*first, ids, &mut self.keys, key),
            Table::ByHash(slots) => slots.find_or_add(key, &mut self.keys),
        }
    }

    fn null_id(&mut self) -> usize {
        let id = *self.null.get_or_insert_with(|| {
            self.keys.push(0);
            self.keys.len() - 1
        });
        if let Table::ByHash(slots) = &mut self.table {
            slots.null = Some(id);
        }
        id
    }

    fn take(&mut self) -> Result<ArrayRef> {
        let made = std::mem::replace(self, Self::new(self.data_type.clone(), 0));
        let nulls = made.null.map(|null| (0..made.keys.len()).map(|id| id != null).collect::<NullBuffer>());
        Ok(cast(&Int64Array::new(made.keys.into(), nulls), &made.data_type)?)
    }

    fn bytes(&self) -> usize {
        let of_table = match &self.table {
            Table::ByKey { ids, .. } => ids.capacity() * size_of::<u32>(),
            Table::ByHash(slots) => slots.slots.capacity() * size_of::<Slot>(),
        };
        of_table + self.keys.capacity() * size_of::<i64>()
    }
}

/// The number of a key that has a place.
fn by_key_or_new(first: i64, ids: &mut [u32], keys: &mut Vec<i64>, key: i64) -> usize {
    let Some(id) = ids.get_mut(key.abs_diff(first) as usize) else {
        debug_assert!(false, "there is room for every key of a batch");
        return 0;
    };
    if *id == FREE {
        *id = keys.len() as u32;
        keys.push(key);
    }
    *id as usize
}

/// A part of a key's hash and its number.
#[derive(Clone, Copy)]
struct Slot {
    tag: u32,
    id: u32,
}

const EMPTY: Slot = Slot { tag: 0, id: FREE };
/// Keys whose slots are loaded before the first of them is compared: loads that do not wait for each other.
const AHEAD: usize = 64;
const SLOTS_MIN: usize = 64;

/// A table with open addresses, a power of two of them and at most half full, so that most keys are in one of the two slots
/// where their search begins.
struct Slots {
    slots: Vec<Slot>,
    factor: u64,
    /// Number of null, whose key is none.
    null: Option<usize>,
}

impl Slots {
    /// Of all `keys` but the one that stands for null.
    fn of(keys: &[i64], null: Option<usize>) -> Self {
        let slots = vec![EMPTY; (4 * keys.len()).next_power_of_two().max(SLOTS_MIN)];
        let mut made = Self { slots, factor: *FACTOR, null };
        for (id, key) in keys.iter().enumerate().filter(|(id, _)| null != Some(*id)) {
            let hash = made.hash(*key);
            let mut at = hash as usize;
            while made.slot(at).id != FREE {
                at += 1;
            }
            made.put(at, Slot { tag: tag(hash), id: id as u32 });
        }
        made
    }

    /// Numbers of `column`; new ones go to `keys`, too.
    fn intern(&mut self, column: &[i64], keys: &mut Vec<i64>, ids: &mut Vec<usize>) {
        let mut near = [(0, [EMPTY; 2]); AHEAD];
        for column in column.chunks(AHEAD) {
            for (near, key) in near.iter_mut().zip(column) {
                let hash = self.hash(*key);
                *near = (tag(hash), [self.slot(hash as usize), self.slot(hash as usize + 1)]);
            }
            for ((tag, [first, second]), key) in near.iter().zip(column) {
                let is_it = |slot: &Slot| slot.tag == *tag && keys.get(slot.id as usize) == Some(key);
                ids.push(match key {
                    _ if is_it(first) => first.id as usize,
                    _ if is_it(second) => second.id as usize,
                    key => self.find_or_add(*key, keys),
                });
            }
        }
    }

    fn find_or_add(&mut self, key: i64, keys: &mut Vec<i64>) -> usize {
        let hash = self.hash(key);
        let mut at = hash as usize;
        loop {
            let slot = self.slot(at);
            if slot.id == FREE {
                break;
            }
            if slot.tag == tag(hash) && keys.get(slot.id as usize) == Some(&key) {
                return slot.id as usize;
            }
            at += 1;
        }
        let id = keys.len();
        keys.push(key);
        self.put(at, Slot { tag: tag(hash), id: id as u32 });
        if 2 * keys.len() > self.slots.len() {
            *self = Self::of(keys, self.null);
        }
        id
    }

    /// Both halves of a product depend on all bits of the key, and what comes from outside cannot know the factor.
    fn hash(&self, key: i64) -> u64 {
        let product = u128::from(key as u64 ^ 0x9e37_79b9_7f4a_7c15) * u128::from(self.factor);
        product as u64 ^ (product >> 64) as u64
    }

    fn slot(&self, at: usize) -> Slot {
        self.slots.get(at & (self.slots.len() - 1)).copied().unwrap_or(EMPTY)
    }

    fn put(&mut self, at: usize, slot: Slot) {
        let mask = self.slots.len() - 1;
        if let Some(free) = self.slots.get_mut(at & mask) {
            *free = slot;
        }
    }
}

fn tag(hash: u64) -> u32 {
    (hash >> 32) as u32
}

/// An odd number of this process.
static FACTOR: LazyLock<u64> = LazyLock::new(|| RandomState::new().hash_one(functions::TUMBLE) | 1);

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Int32Array, TimestampMicrosecondArray, UInt8Array};
    use arrow::datatypes::{Field, Schema};
    use proptest::prelude::*;
    use std::sync::Arc;

    fn both(column: &ArrayRef) -> (Keys, Keys) {
        let schema = Arc::new(Schema::new(vec![Field::new("k", column.data_type().clone(), true)]));
        let own = Keys::new(schema.clone(), 0).unwrap();
        assert!(matches!(own, Keys::Integers(_)));
        (own, Keys::Any(new_group_values(schema, &GroupOrdering::None).unwrap()))
    }

    fn assert_same(columns: &[ArrayRef]) {
        let Some(first) = columns.first() else { return };
        let (mut own, mut other) = both(first);
        let (mut ids, mut expected) = (Vec::new(), Vec::new());
        for column in columns {
            own.intern(std::slice::from_ref(column), &mut ids).unwrap();
            other.intern(std::slice::from_ref(column), &mut expected).unwrap();
            assert_eq!(ids, expected);
        }
        assert_eq!(own.len(), other.len());
        assert_eq!(own.take().unwrap()[0].as_ref(), other.take().unwrap()[0].as_ref());
        assert_eq!(own.len(), 0);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

        #[test]
        fn numbers_are_those_of_datafusion(
            batches in prop::collection::vec(
                (
                    prop::sample::select(vec![1_i64, 9, 1 << 20, i64::MAX / 300]),
                    prop::collection::vec(prop::option::weighted(0.9, -300_i64..300), 0..400),
                ),
                1..6,
            ),
        ) {
            let columns = batches.iter().map(|(stretch, keys)| {
                Arc::new(keys.iter().map(|key| key.map(|key| key * stretch)).collect::<Int64Array>()) as ArrayRef
            });
            assert_same(&columns.collect::<Vec<_>>());
        }
    }

    #[test]
    fn other_widths_slices_and_nulls() {
        let small: ArrayRef = Arc::new(UInt8Array::from(vec![Some(7), None, Some(255), Some(7), Some(0)]));
        assert_same(&[small.clone(), small.slice(1, 3), small.slice(5, 0)]);
        let nulls: ArrayRef = Arc::new(Int32Array::from(vec![None, None, Some(-1)]));
        assert_same(&[nulls.slice(0, 2), nulls]);
        let times = TimestampMicrosecondArray::from(vec![-1, 5, 5, i64::MIN]).with_timezone("UTC");
        assert_same(&[Arc::new(times)]);
        assert_same(&[Arc::new((0..100_000).map(|key| key / 2 * 4096).collect::<Int64Array>())]);
    }
}
