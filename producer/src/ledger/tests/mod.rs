mod apply;
mod books;
mod dead;
mod epochs;
mod rates;
mod statistics;
mod strikes;
