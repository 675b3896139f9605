//! How maps hash their keys.

/// At random, so that nobody can choose keys that collide.
#[cfg(not(test))]
pub(crate) type Hashing = foldhash::fast::RandomState;

/// In tests always alike, so that a seed of a simulation does the same again.
#[cfg(test)]
pub(crate) type Hashing = foldhash::fast::FixedState;
