//! `opus-node`: the daemon and its command line.

use std::process::ExitCode;

fn main() -> ExitCode {
    opus_node::cli::main()
}
