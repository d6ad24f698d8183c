mod apply;
mod books;
mod dead;
mod epochs;
mod statistics;
mod strikes;
