//! The HTTP side of `producer serve`.

mod files;
mod http;

pub(crate) use http::listen;
