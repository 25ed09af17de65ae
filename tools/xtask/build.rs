//! Hands the host's target triple on, for which `cargo metadata` is asked.

fn main() {
    let target = std::env::var("TARGET").expect("cargo sets TARGET for build scripts");
    let mut out = std::io::stdout().lock();
    std::io::Write::write_all(
        &mut out,
        format!("cargo::rustc-env=TARGET={target}\n").as_bytes(),
    )
    .expect("cargo reads what a build script prints");
}
