//! Laws of the reports, over profiles made by hand.

mod difference;
mod export;
mod json;
mod mutated;
mod profiles;
mod schema;
mod sql;
mod table;
mod view;
