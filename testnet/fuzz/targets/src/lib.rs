//! What the fuzzer feeds: one function of bytes for each codec of foreign bytes, and one for each
//! machine, fed with sequences of inputs.
//!
//! A target panics where a property is broken, and does nothing else. `testnet/fuzz` hands each to
//! libFuzzer; `tests/corpus.rs` runs the committed corpus and changes of it through all of them
//! with every `cargo test`.
//!
//! - *Codecs* ([`codec`], [`ipc`]): no bytes panic; what is read is written and read again as the
//!   same.
//! - *Machines* ([`dicast`], [`overlay`], [`probe`], [`relay`]): bytes are read as commands,
//!   connections that come and go, messages of peers, time that passes and time that jumps
//!   (`drive.rs`). The contract of [`opus_core::Machine`] holds after each input, what a machine
//!   says passes its own codec, and equal inputs give equal outputs.
//!
//! Bytes that have come to an end read as zeros, so every input is a lawful one and a shorter input
//! is a simpler run.
//!
//! Weakness: a run has one machine; peers are what the bytes say. What several machines do together
//! is for the schedules of `opus-dicast` and for the simulator.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

use opus_core::testing::Draw;
use opus_model::Position;

pub mod codec;
pub mod dicast;
mod drive;
pub mod ipc;
pub mod overlay;
pub mod probe;
pub mod relay;

/// Most bytes of an input that is worth a run: longer ones are cut.
pub const INPUT_MAX: usize = 4 << 10;

/// One function for the fuzzer.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// As in `testnet/fuzz/fuzz_targets` and `testnet/fuzz/corpus`.
    pub name: &'static str,
    /// Panics if a property is broken.
    pub run: fn(&[u8]),
}

/// All of them, by name.
pub const TARGETS: [Target; 13] = [
    target("core_cbor", codec::core_cbor),
    target("core_pack", codec::core_pack),
    target("dicast_machine", dicast::machine),
    target("dicast_wire", codec::dicast_wire),
    target("ipc_frames", ipc::frames),
    target("overlay_machine", overlay::machine),
    target("overlay_wire", codec::overlay_wire),
    target("probe_machine", probe::machine),
    target("probe_wire", codec::probe_wire),
    target("relay_core", relay::core),
    target("relay_header", codec::relay_header),
    target("site_spec", codec::site_spec),
    target("site_wire", codec::site_wire),
];

const fn target(name: &'static str, run: fn(&[u8])) -> Target {
    Target { name, run }
}

/// As a peer may say where it stands: far out of range, too.
fn position(draw: &mut Draw<'_>) -> Position {
    Position(draw.any(), draw.any(), draw.any())
}
