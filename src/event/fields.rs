//! The fields of a JSON object that somebody asks for, read in one pass that skips everything else.

use crate::pattern::{Path, Value};
use serde::de::{DeserializeSeed, Deserializer as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Deserializer;
use std::borrow::Cow;
use std::fmt;

/// A tree of the fields that are asked for. A field is known by its *slot*, an index into the values of a read; slot 0
/// is the whole object and always [`Value::Absent`].
#[derive(Debug)]
pub(crate) struct FieldTree {
    nodes: Vec<Node>,
}

#[derive(Debug, Default)]
struct Node {
    children: Names,
    /// Whether a string's text is looked at, and not only that it is one.
    wants_text: bool,
    /// Whether an array's elements are looked at.
    wants_elements: bool,
}

impl FieldTree {
    /// A tree without fields.
    pub(crate) fn new() -> FieldTree {
        FieldTree { nodes: vec![Node::default()] }
    }

    /// The slot of a field whose kind is asked for: the text of strings may be left out of its value.
    pub(crate) fn slot(&mut self, path: &Path) -> usize {
        let mut node = 0;
        for name in path.names() {
            node = self.nodes[node].children.find(name).unwrap_or_else(|| {
                let child = self.nodes.len();
                self.nodes[node].children.insert(name, child);
                self.nodes.push(Node::default());
                child
            });
        }
        node
    }

    /// The slot of a field whose value is asked for.
    pub(crate) fn value_slot(&mut self, path: &Path) -> usize {
        let slot = self.slot(path);
        self.nodes[slot].wants_text = true;
        slot
    }

    /// The slot of a field that may be an array whose elements' kind is asked for.
    pub(crate) fn elements_slot(&mut self, path: &Path) -> usize {
        let slot = self.slot(path);
        self.nodes[slot].wants_elements = true;
        slot
    }

    /// The slot of a field at the top, if it is asked for.
    pub(crate) fn top(&self, name: &str) -> Option<usize> {
        self.nodes[0].children.find(name)
    }

    /// How many values a read needs.
    pub(crate) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// The names on the way to a slot. Walks the whole tree: for error messages.
    pub(crate) fn names_of(&self, slot: usize) -> Vec<String> {
        let mut names = Vec::new();
        let mut node = slot;
        // A parent always comes before its children.
        for (index, parent) in self.nodes.iter().enumerate().rev() {
            if let Some((name, _)) = parent.children.entries.iter().find(|(_, child)| *child == node) {
                names.push(name.to_string());
                node = index;
            }
        }
        names.reverse();
        names
    }

    /// Reads one object, and nothing after it, into `values`, which has [`len`](Self::len) elements.
    ///
    /// A slot that has a value already keeps it; the first such slot is returned. Allocates only for a string with
    /// escapes. Depth is the caller's to bound: what is skipped is not limited here.
    pub(crate) fn read<'de, R: serde_json::de::Read<'de>>(
        &self,
        mut json: Deserializer<R>,
        values: &mut [Value<'de>],
    ) -> Result<Option<usize>, serde_json::Error> {
        let mut reading = Reading { tree: self, values, doubled: None };
        json.deserialize_map(Object { reading: &mut reading, node: 0 })?;
        json.end()?;
        Ok(reading.doubled)
    }
}

/// Names and what they stand for: a small open hash table that looks at three bytes and the length of a name. Only
/// the configuration puts names in, so nobody else can make it slow.
#[derive(Debug, Default)]
struct Names {
    entries: Vec<(Box<str>, usize)>,
    /// The entries by their hash; at most a quarter is taken.
    table: Vec<Option<(Box<str>, usize)>>,
}

impl Names {
    #[inline]
    fn find(&self, name: &str) -> Option<usize> {
        let mask = self.table.len().wrapping_sub(1);
        let mut at = Names::hash(name);
        while let Some(Some((known, value))) = self.table.get(at & mask) {
            if same(known.as_bytes(), name.as_bytes()) {
                return Some(*value);
            }
            at += 1;
        }
        None
    }

    fn insert(&mut self, name: &str, value: usize) {
        self.entries.push((Box::from(name), value));
        let len = (self.entries.len() * 4).next_power_of_two();
        self.table.clear();
        self.table.resize(len, None);
        for entry in &self.entries {
            let mut at = Names::hash(&entry.0);
            while self.table[at & (len - 1)].is_some() {
                at += 1;
            }
            self.table[at & (len - 1)] = Some(entry.clone());
        }
    }

    #[inline]
    fn hash(name: &str) -> usize {
        let bytes = name.as_bytes();
        match bytes {
            [] => 0,
            [first, .., last] => {
                let middle = bytes[bytes.len() / 2];
                usize::from(*first) * 31
                    + usize::from(*last) * 7
                    + usize::from(middle) * 61
                    + bytes.len() * 17
            }
            [only] => usize::from(*only),
        }
    }
}

/// Equality without a call for the lengths that names have.
#[inline]
fn same(left: &[u8], right: &[u8]) -> bool {
    if left.len() != right.len() {
        return false;
    }
    match left.len() {
        // Both ends overlap, and cover all between them.
        4..=8 => {
            left.first_chunk::<4>() == right.first_chunk() && left.last_chunk::<4>() == right.last_chunk()
        }
        9..=16 => {
            left.first_chunk::<8>() == right.first_chunk() && left.last_chunk::<8>() == right.last_chunk()
        }
        _ => left == right,
    }
}

struct Reading<'r, 'de> {
    tree: &'r FieldTree,
    values: &'r mut [Value<'de>],
    doubled: Option<usize>,
}

/// Visits the members of the object at a node.
struct Object<'a, 'r, 'de> {
    reading: &'a mut Reading<'r, 'de>,
    node: usize,
}

impl<'de> Visitor<'de> for Object<'_, '_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let children = &self.reading.tree.nodes[self.node].children;
        while let Some(child) = map.next_key_seed(Name(children))? {
            match child {
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
                Some(child) if !matches!(self.reading.values[child], Value::Absent) => {
                    self.reading.doubled.get_or_insert(child);
                    map.next_value::<IgnoredAny>()?;
                }
                Some(node) => map.next_value_seed(Field { reading: &mut *self.reading, node })?,
            }
        }
        Ok(())
    }
}

/// A member's name: the node it leads to, if any.
struct Name<'r>(&'r Names);

impl<'de> DeserializeSeed<'de> for Name<'_> {
    type Value = Option<usize>;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Option<usize>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Name<'_> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Option<usize>, E> {
        Ok(self.0.find(name))
    }
}

/// The value at a node.
struct Field<'a, 'r, 'de> {
    reading: &'a mut Reading<'r, 'de>,
    node: usize,
}

impl<'de> Field<'_, '_, 'de> {
    #[inline]
    fn set(self, value: Value<'de>) {
        self.reading.values[self.node] = value;
    }
}

impl<'de> DeserializeSeed<'de> for Field<'_, '_, 'de> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Field<'_, '_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        self.set(Value::Null);
        Ok(())
    }

    fn visit_bool<E>(self, value: bool) -> Result<(), E> {
        self.set(Value::Bool(value));
        Ok(())
    }

    fn visit_i64<E>(self, value: i64) -> Result<(), E> {
        self.set(Value::Integer(value));
        Ok(())
    }

    fn visit_u64<E>(self, value: u64) -> Result<(), E> {
        self.set(i64::try_from(value).map_or(Value::Unsigned(value), Value::Integer));
        Ok(())
    }

    fn visit_f64<E>(self, value: f64) -> Result<(), E> {
        self.set(Value::Float(value));
        Ok(())
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<(), E> {
        self.set(Value::String(Cow::Borrowed(text)));
        Ok(())
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        let wants_text = self.reading.tree.nodes[self.node].wants_text;
        let text = if wants_text { Cow::Owned(text.to_owned()) } else { Cow::Borrowed("") };
        self.set(Value::String(text));
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        let mut all_strings = true;
        if self.reading.tree.nodes[self.node].wants_elements {
            while let Some(is_string) = elements.next_element_seed(IsString)? {
                all_strings &= is_string;
            }
        } else {
            while elements.next_element::<IgnoredAny>()?.is_some() {}
        }
        self.set(Value::Array { all_strings });
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        self.reading.values[self.node] = Value::Object;
        if self.reading.tree.nodes[self.node].children.entries.is_empty() {
            while members.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            return Ok(());
        }
        Object { reading: self.reading, node: self.node }.visit_map(members)
    }
}

/// Whether an element of an array is a string.
struct IsString;

impl<'de> DeserializeSeed<'de> for IsString {
    type Value = bool;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for IsString {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_str<E>(self, _: &str) -> Result<bool, E> {
        Ok(true)
    }

    fn visit_unit<E>(self) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_bool<E>(self, _: bool) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_i64<E>(self, _: i64) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_u64<E>(self, _: u64) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_f64<E>(self, _: f64) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<bool, A::Error> {
        while elements.next_element::<IgnoredAny>()?.is_some() {}
        Ok(false)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<bool, A::Error> {
        while members.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(paths: &[&str]) -> (FieldTree, Vec<usize>) {
        let mut tree = FieldTree::new();
        let slots = paths.iter().map(|path| tree.value_slot(&Path::parse(path).unwrap())).collect();
        (tree, slots)
    }

    #[track_caller]
    fn check(text: &str, path: &str, expected: &Value<'_>) {
        let (mut tree, slots) = tree(&[path, "other.deep.field"]);
        tree.elements_slot(&Path::parse(path).unwrap());
        let mut values = vec![Value::Absent; tree.len()];
        let doubled = tree.read(Deserializer::from_str(text), &mut values).unwrap();
        assert_eq!((&values[slots[0]], doubled), (expected, None));
    }

    #[test]
    fn fields_are_found() {
        check(r#"{"b":[{"a":0}],"a":1}"#, "a", &Value::Integer(1));
        check(r#"{"a":18446744073709551615}"#, "a", &Value::Unsigned(u64::MAX));
        check(r#"{"a":-1.5}"#, "a", &Value::Float(-1.5));
        check(r#"{"\u0061":"x"}"#, "a", &Value::String(Cow::Borrowed("x")));
        check(r#"{"a":"x\ny"}"#, "a", &Value::String(Cow::Borrowed("x\ny")));
        check(r#"{"a":{"b":{"c":null,"d":1}}}"#, "a.b.c", &Value::Null);
        check(r#"{"a":{"b":{}}}"#, "a.b", &Value::Object);
        check(r#"{"a":["x","y\n"]}"#, "a", &Value::Array { all_strings: true });
        check(r#"{"a":["x",[1],{"b":2},null,true,1,-1,1.5]}"#, "a", &Value::Array { all_strings: false });
        check(r#"{"a":5}"#, "a.b", &Value::Absent);
        check(r#"{"a":[{"b":1}]}"#, "a.b", &Value::Absent);
        check("{}", "a", &Value::Absent);
        check(r#"{"a":true,"":0,"aa":1}"#, "a", &Value::Bool(true));
    }

    #[test]
    fn doubles_are_told_and_the_first_counts() {
        let (tree, slots) = tree(&["a.b", "c"]);
        let mut values = vec![Value::Absent; tree.len()];
        let text = r#"{"a":{"b":1,"b":2},"x":1,"x":2,"c":3,"a":4}"#;
        let doubled = tree.read(Deserializer::from_str(text), &mut values).unwrap();
        assert_eq!(doubled, Some(slots[0]));
        assert_eq!(values[slots[0]], Value::Integer(1));
        assert_eq!(tree.names_of(slots[0]), ["a", "b"]);
        assert_eq!(tree.names_of(slots[1]), ["c"]);
    }

    #[test]
    fn equal_is_every_byte() {
        for len in 0..40 {
            let name = vec![b'a'; len];
            assert!(same(&name, &name) && !same(&name, &vec![b'a'; len + 1]));
            for at in 0..len {
                let mut other = name.clone();
                other[at] = b'b';
                assert!(!same(&name, &other), "{len} {at}");
            }
        }
    }

    #[test]
    fn many_names_are_told_apart() {
        let names: Vec<String> = (0..500).map(|index| format!("f{index}x")).collect();
        let (tree, slots) = tree(&names.iter().map(String::as_str).collect::<Vec<_>>());
        for (name, slot) in names.iter().zip(slots) {
            assert_eq!(tree.top(name), Some(slot));
            assert_eq!(tree.top(&format!("{name}x")), None);
        }
    }
}
