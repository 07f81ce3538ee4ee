//! Places of the series that have one value of a label.

use roaring::RoaringBitmap;

/// A set of places. Most values of labels with many values belong to one series, which needs no bitmap.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Postings {
    One(u32),
    Many(Box<RoaringBitmap>),
}

impl Postings {
    pub(crate) fn insert(&mut self, place: u32) {
        match self {
            Self::One(only) if *only == place => {}
            Self::One(only) => *self = Self::Many(Box::new(RoaringBitmap::from_iter([*only, place]))),
            Self::Many(places) => drop(places.insert(place)),
        }
    }

    pub(crate) fn len(&self) -> u64 {
        match self {
            Self::One(_) => 1,
            Self::Many(places) => places.len(),
        }
    }

    pub(crate) fn add_to(&self, found: &mut RoaringBitmap) {
        match self {
            Self::One(only) => drop(found.insert(*only)),
            Self::Many(places) => *found |= places.as_ref(),
        }
    }

    pub(crate) fn to_bitmap(&self) -> RoaringBitmap {
        match self {
            Self::One(only) => RoaringBitmap::from_iter([*only]),
            Self::Many(places) => places.as_ref().clone(),
        }
    }

    pub(crate) fn intersects(&self, among: &RoaringBitmap) -> bool {
        match self {
            Self::One(only) => among.contains(*only),
            Self::Many(places) => !places.is_disjoint(among),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_becomes_many() {
        let mut postings = Postings::One(3);
        postings.insert(3);
        assert_eq!((postings.len(), &postings), (1, &Postings::One(3)));
        postings.insert(70_000);
        assert_eq!(postings.to_bitmap().into_iter().collect::<Vec<_>>(), [3, 70_000]);
        assert!(postings.intersects(&RoaringBitmap::from_iter([70_000])));
        assert!(!postings.intersects(&RoaringBitmap::from_iter([4])));
    }
}
