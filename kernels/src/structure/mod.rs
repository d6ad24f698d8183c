//! The structural engine: linear congruential generators modulo a power of two, searched by the
//! lattices that their outputs form instead of seed by seed (docs/structural.md).

mod cache;
mod class;
mod classes;
mod compare;
mod cover;
mod forms;
mod inverse;
mod lattice;
mod pieces;
mod prepared;
mod question;
mod reduce;
mod rejections;
mod search;
mod sweep;
mod vector;

pub(crate) use prepared::Structure;
