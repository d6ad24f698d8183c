//! The structural engine: linear congruential generators searched by the lattices that their
//! outputs form, or modulo a prime from the states that match a draw, instead of seed by seed
//! (docs/structural.md).

mod cache;
mod class;
mod classes;
mod compare;
mod cover;
mod forms;
mod gather;
mod judge;
mod lattice;
mod pieces;
mod planting;
mod power;
mod prepared;
mod prime;
mod progressions;
mod question;
mod reduce;
mod rejections;
mod search;
mod sweep;
mod vector;

pub(crate) use prepared::Structure;
