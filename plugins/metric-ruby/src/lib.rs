pub mod complexity;
mod fstring;
pub mod style;
