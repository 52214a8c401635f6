//! Where resources come from: a directory or a cluster.
//!
//! A source delivers [`Resources`](crate::snapshot::resources::Resources): objects that an API server accepted. Where
//! there is none, a directory is read here as kubectl and an API server would read it together, step by step:
//!
//! ```text
//! files ─► document ─► schema ─► reading ─► loaded ─┬─► `check`, `plan`, `why`: offline, once
//! which    YAML 1.1    names,    one file   all     └─► accept ─► directory: over time
//! files    to JSON,    defaults,            files       what was      watched
//!          places      CEL                              accepted stays
//! ```
//!
//! [`loaded::read`] is the whole way for one look; [`directory::DirectorySource`] looks again and again.

mod accept;
pub mod directory;
pub mod document;
pub mod edit;
pub mod files;
pub mod identity;
pub mod kubernetes;
pub mod loaded;
mod mask;
mod parallel;
pub mod publish;
pub mod reading;
pub mod schema;
mod watch;

pub use self::directory::DirectorySource;
pub use self::loaded::{Loaded, read};
