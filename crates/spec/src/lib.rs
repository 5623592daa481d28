//! The documents of the OCI runtime specification 1.3 as values: `config.json`, the state, the features.
//!
//! This crate parses and prints; it decides nothing and touches nothing. Every property of the specification has a
//! field here, also those that no wall serves: [`unserved`] names them, so that none is ignored in silence.
//! Unknown properties are skipped, as the specification demands ("Extensibility").

mod config;
mod features;
mod linux;
mod resources;
mod state;
mod unserved;

pub use config::*;
pub use features::*;
pub use linux::*;
pub use resources::*;
pub use state::*;
pub use unserved::unserved;

use serde::{Deserialize, Deserializer};

/// The newest version of the specification that is understood.
pub const OCI_VERSION: &str = "1.3.0";

/// Reads `null` as the empty value: Go encoders print nil slices and maps that way.
pub(crate) fn nullable<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}
