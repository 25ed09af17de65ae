//! The crate from outside: the protocol, the client, the golden vectors, hostile bytes.

#![expect(
    clippy::print_stderr,
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "helpers of tests are tests too, and a test names what it is about"
)]

mod cddl;
mod client;
mod desk;
mod protocol;
mod python;
mod vectors;
