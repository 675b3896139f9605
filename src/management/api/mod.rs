//! The endpoints, one file for each family of paths.

pub(super) mod bindings;
pub(super) mod connections;
pub(super) mod definitions;
pub(super) mod exchanges;
pub(super) mod health;
pub(super) mod limits;
pub(super) mod messages;
pub(super) mod misc;
pub(super) mod moving;
pub(super) mod nodes;
pub(super) mod overview;
pub(super) mod pairs;
pub(super) mod parameters;
pub(super) mod permissions;
pub(super) mod policies;
pub(super) mod queues;
pub(super) mod users;
pub(super) mod vhosts;
