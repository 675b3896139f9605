//! The behaviour of the broker seen from outside.
