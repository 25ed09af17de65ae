//! `opus-ipc/1`: how a program talks to a node over a local socket.
//!
//! A connection carries frames: a length and one CBOR item. The client says HELLO, the node
//! WELCOME; then the client calls methods, each call with a number of its own, and answers come in
//! any order. A stream gives items as long as the client gives credit. All of it is in [`wire`]
//! (framing and limits), [`message`] (frames and typed parameters, results, items) and [`method`]
//! (which methods exist, and for whom).
//!
//! [`serve`] is the node's side, one dispatcher over any `AsyncRead + AsyncWrite`. [`client`] is
//! the other side, for programs in Rust: it reconnects and re-attaches. [`endpoint`] says where the
//! socket is, [`bind`] puts it there without races. Nothing here opens a path, command, URL or
//! address that came over the wire.
//!
//! Weaknesses: tokens are refused, since no node issues them yet; Windows pipes are not there yet,
//! though [`serve`] would run over them; values of CBOR half-precision floats are not read.
//!
//! Normative: `docs/ipc/opus-ipc-1.cddl`; in prose: `docs/ipc.md`.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

#[cfg(unix)]
pub mod bind;
pub mod body;
pub mod client;
mod cursor;
pub mod endpoint;
pub mod json;
pub mod message;
pub mod method;
pub mod serve;
#[cfg(any(test, feature = "testing"))]
pub mod vectors;
pub mod wire;

pub use crate::{
    body::{Body, Raw},
    message::{Code, Fault},
    method::{Call, Method, Watch},
};
