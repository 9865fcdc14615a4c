//! What a producer's line becomes: an [`Event`], checked and numbered.
//!
//! Pure: no sockets, no rooms, no clock of its own.

mod entry;
mod fields;
mod filter;
mod stored;

pub use entry::{BATCH_EVENTS, Batch, Entry, KeyId};
pub(crate) use fields::FieldTree;
pub use filter::Filter;
pub use stored::{Event, TypeSpan};
