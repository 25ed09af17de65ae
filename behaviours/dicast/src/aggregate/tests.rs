//! The bounds against brute force.
mod packed;
