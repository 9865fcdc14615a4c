//! Socket.IO's namespaces, as one byte each.

use std::fmt;
use std::sync::{Mutex, OnceLock, PoisonError};

/// Namespaces that configurations of this process ever had. None is forgotten: clients may be connected to one that the
/// configuration no longer has.
static NAMES: [OnceLock<Box<str>>; 127] = [const { OnceLock::new() }; 127];
static ADDING: Mutex<()> = Mutex::new(());

/// A namespace that a configuration has, or once had. Seven bits, since views and clients have it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Namespace(u8);

impl Namespace {
    /// The namespace of this name. None when there were 127 others in the life of the process.
    pub fn named(name: &str) -> Option<Namespace> {
        let _adding = ADDING.lock().unwrap_or_else(PoisonError::into_inner);
        let (index, slot) =
            NAMES.iter().enumerate().find(|(_, slot)| slot.get().is_none_or(|taken| &**taken == name))?;
        slot.get_or_init(|| name.into());
        Some(Namespace(index as u8))
    }

    /// The namespace of those who name none: `/`.
    pub fn main() -> Namespace {
        Namespace::named("/").unwrap_or(Namespace(0))
    }

    /// Its number, below 128.
    pub fn to_bits(self) -> u8 {
        self.0
    }

    /// The namespace of a number that [`to_bits`](Self::to_bits) gave.
    pub fn from_bits(bits: u8) -> Namespace {
        Namespace(bits & 0x7f)
    }

    /// Its name, with the slash that it begins with.
    pub fn as_str(self) -> &'static str {
        NAMES[usize::from(self.0)].get().map_or("/", |name| name)
    }
}

impl fmt::Debug for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_one_namespace() {
        let (main, other) = (Namespace::main(), Namespace::named("/other").unwrap());
        assert_eq!(Namespace::named("/other"), Some(other));
        assert_ne!(main, other);
        assert_eq!((main.as_str(), other.as_str()), ("/", "/other"));
    }
}
