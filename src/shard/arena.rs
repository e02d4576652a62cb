//! Tables whose keys are never mistaken for those of an earlier entry.

use crate::session::KeptId;

/// Names an entry of an [`Arena`], and no other entry before or after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Position; reused.
    pub index: u32,
    generation: u32,
}

impl From<Key> for KeptId {
    fn from(key: Key) -> KeptId {
        KeptId(u64::from(key.generation) << 32 | u64::from(key.index))
    }
}

impl From<KeptId> for Key {
    fn from(KeptId(id): KeptId) -> Key {
        Key { index: id as u32, generation: (id >> 32) as u32 }
    }
}

impl Key {
    /// The entry that was added to an empty arena as number `index`, from 0.
    pub const fn nth(index: u32) -> Key {
        Key { index, generation: 0 }
    }

    /// Before every other.
    pub const FIRST: Key = Key { index: 0, generation: 0 };
    /// Behind every other.
    pub const LAST: Key = Key { index: u32::MAX, generation: u32::MAX };
}

/// A dense table with keys that outlive their entries harmlessly.
///
/// Invariant: `free` names exactly the empty slots, and `len` counts the others.
#[derive(Debug)]
pub struct Arena<T> {
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
}

#[derive(Debug)]
struct Slot<T> {
    generation: u32,
    value: Option<T>,
}

impl<T> Arena<T> {
    pub fn new() -> Arena<T> {
        Arena { slots: Vec::new(), free: Vec::new() }
    }

    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    pub fn insert(&mut self, value: T) -> Key {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot { generation: 0, value: None });
            u32::try_from(self.slots.len() - 1).expect("fewer than 2^32 entries fit in memory")
        });
        let slot = &mut self.slots[index as usize];
        debug_assert!(slot.value.is_none(), "free slots are empty");
        slot.value = Some(value);
        Key { index, generation: slot.generation }
    }

    pub fn get(&self, key: Key) -> Option<&T> {
        let slot = self.slots.get(key.index as usize)?;
        if slot.generation == key.generation { slot.value.as_ref() } else { None }
    }

    pub fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        let slot = self.slots.get_mut(key.index as usize)?;
        if slot.generation == key.generation { slot.value.as_mut() } else { None }
    }

    /// Positions there are, with an entry or without.
    pub fn slots(&self) -> usize {
        self.slots.len()
    }

    /// The key of the entry at a position.
    pub fn key_at(&self, index: u32) -> Option<Key> {
        let slot = self.slots.get(index as usize)?;
        slot.value.is_some().then_some(Key { index, generation: slot.generation })
    }

    pub fn remove(&mut self, key: Key) -> Option<T> {
        let slot = self.slots.get_mut(key.index as usize)?;
        if slot.generation != key.generation {
            return None;
        }
        let value = slot.value.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(key.index);
        Some(value)
    }

    pub fn iter(&self) -> impl Iterator<Item = (Key, &T)> {
        self.slots.iter().enumerate().filter_map(|(index, slot)| {
            let key = Key { index: index as u32, generation: slot.generation };
            slot.value.as_ref().map(|value| (key, value))
        })
    }

    /// The entries, to look for one and change it.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.slots.iter_mut().filter_map(|slot| slot.value.as_mut())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_of_a_removed_entry_names_nothing() {
        let mut arena = Arena::new();
        let first = arena.insert('a');
        assert_eq!(arena.remove(first), Some('a'));
        let second = arena.insert('b');
        assert_eq!(first.index, second.index);
        assert_eq!(arena.get(first), None);
        assert_eq!(arena.remove(first), None);
        assert_eq!(arena.get(second), Some(&'b'));
        assert_eq!(arena.len(), 1);
    }
}
