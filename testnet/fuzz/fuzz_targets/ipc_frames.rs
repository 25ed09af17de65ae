//! Hands bytes of libFuzzer to `opus_fuzz_targets::ipc::frames`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| opus_fuzz_targets::ipc::frames(data));
