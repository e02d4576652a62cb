//! What a compiler cannot check: which folder knows what, and the shape of the code.
//!
//! The rules of the folders are those of the table in `src/lib.rs`. They are read from the code
//! as it stands, without its comments, texts and tests, which may say and use what they like.

mod dependencies;
mod documents;
mod folders;
mod metrics;
mod shape;
mod source;
