//! The driver alone.
