//! Values that refer to one another by index instead of by reference.

use std::marker::PhantomData;

use serde::{Deserialize, Serialize};

/// Position of a value in its arena. Each kind of value has its own, so that they cannot be mixed up.
pub trait Index: Copy {
    fn new(position: u32) -> Self;
    fn position(self) -> usize;
}

macro_rules! index {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(u32);

        impl Index for $name {
            fn new(position: u32) -> Self {
                Self(position)
            }

            fn position(self) -> usize {
                self.0 as usize
            }
        }
    };
}

index!(TransportIndex);
index!(TrackIndex);
index!(SubscriptionIndex);

/// Values by index. Free places are taken again, so whoever removes a value removes all references to it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Arena<I, T> {
    slots: Vec<Option<T>>,
    free: Vec<u32>,
    #[serde(skip)]
    index: PhantomData<I>,
}

impl<I, T> Default for Arena<I, T> {
    fn default() -> Self {
        Self { slots: Vec::new(), free: Vec::new(), index: PhantomData }
    }
}

impl<I: Index, T> Arena<I, T> {
    pub fn insert(&mut self, value: T) -> I {
        if let Some(position) = self.free.pop()
            && let Some(slot) = self.slots.get_mut(position as usize)
        {
            *slot = Some(value);
            return I::new(position);
        }
        self.slots.push(Some(value));
        I::new((self.slots.len() - 1) as u32)
    }

    pub fn remove(&mut self, index: I) -> Option<T> {
        let value = self.slots.get_mut(index.position())?.take()?;
        self.free.push(index.position() as u32);
        Some(value)
    }

    pub fn get(&self, index: I) -> Option<&T> {
        self.slots.get(index.position())?.as_ref()
    }

    pub fn get_mut(&mut self, index: I) -> Option<&mut T> {
        self.slots.get_mut(index.position())?.as_mut()
    }

    /// Values in the order of their indices.
    pub fn iter(&self) -> impl Iterator<Item = (I, &T)> {
        self.slots.iter().enumerate().filter_map(|(at, slot)| Some((I::new(at as u32), slot.as_ref()?)))
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = (I, &mut T)> {
        self.slots.iter_mut().enumerate().filter_map(|(at, slot)| Some((I::new(at as u32), slot.as_mut()?)))
    }

    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_free_place_is_taken_again() {
        let mut arena = Arena::<TrackIndex, &str>::default();
        let (a, b) = (arena.insert("a"), arena.insert("b"));
        assert_eq!(arena.remove(a), Some("a"));
        assert_eq!(arena.remove(a), None);
        assert_eq!((arena.len(), arena.get(a), arena.get(b)), (1, None, Some(&"b")));
        assert_eq!(arena.insert("c"), a);
        assert_eq!(arena.iter().map(|(_, value)| *value).collect::<Vec<_>>(), ["c", "b"]);
    }
}
