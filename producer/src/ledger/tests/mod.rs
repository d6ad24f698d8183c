mod apply;
mod books;
mod dead;
mod epochs;
mod rates;
mod scripts;
mod statistics;
mod strikes;
