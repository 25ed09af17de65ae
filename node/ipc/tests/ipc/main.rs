//! The crate from outside: the protocol, the client, the golden vectors, hostile bytes.

mod cddl;
mod client;
mod desk;
mod protocol;
mod python;
mod vectors;
