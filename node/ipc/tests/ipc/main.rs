//! The crate from outside: the protocol, the client, the golden vectors, hostile bytes.

mod desk;
mod protocol;
mod vectors;
