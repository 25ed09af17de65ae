//! The bounds against brute force, and the packed forms against hostile bytes.

mod bounds;
mod packed;
mod tree;
