mod apply;
mod books;
mod dead;
mod epochs;
mod rates;
mod strikes;
