//! What a run reads: the scenario, its delays, and the memory that the process took.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use opus_model::Matrix;
use opus_sim::{Delays, Scenario, scenario::Topology};

use super::{Plan, RunArgs};

/// Where data beside the project lies, unless `OPUS_DATA` says otherwise.
const DATA: &str = "../shared/data";

/// Reads the scenario and applies the flags. Errors: a file cannot be read, a value is wrong.
pub(super) fn plan(args: &RunArgs) -> anyhow::Result<Plan> {
    let text = read(&args.file)?;
    let mut scenario = Scenario::from_toml(&text)
        .with_context(|| format!("{} is no scenario", args.file.display()))?;
    if let Some(matrix) = &args.matrix {
        scenario.topology = Topology::Matrix(matrix.display().to_string());
        scenario.nodes = None;
    }
    scenario.nodes = args.nodes.or(scenario.nodes);
    scenario.app.alpha = args.alpha.unwrap_or(scenario.app.alpha);
    if let Some(seed) = args.seed {
        scenario.seeds = vec![seed];
    }
    if let Err((field, problem)) = scenario.check() {
        bail!("{field} {problem}");
    }
    let beside = args.file.parent().unwrap_or(Path::new("."));
    let delays = match &scenario.topology {
        Topology::TransitStub => Delays::Generated,
        Topology::Matrix(file) => {
            let file = if args.matrix.is_some() {
                file.into()
            } else {
                find(beside, file)?
            };
            let matrix = Matrix::parse(&read(&file)?);
            Delays::Matrix(matrix.with_context(|| format!("{} is no matrix", file.display()))?)
        }
        Topology::Ts600(file) => {
            let file = find(beside, file)?;
            let graph = opus_net::alt::parse(&read(&file)?);
            Delays::Graph(graph.with_context(|| format!("{} is no graph", file.display()))?)
        }
    };
    Ok(Plan { scenario, delays })
}

/// Beside the scenario, or in the data folder.
fn find(beside: &Path, file: &str) -> anyhow::Result<PathBuf> {
    let data = std::env::var_os("OPUS_DATA").map_or_else(|| PathBuf::from(DATA), PathBuf::from);
    let places = [beside.join(file), data.join(file)];
    let found = places.iter().find(|place| place.is_file());
    found.cloned().with_context(|| {
        let [beside, data] = places.map(|place| place.display().to_string());
        format!("neither {beside} nor {data} exists; set OPUS_DATA to the folder of the data")
    })
}

fn read(file: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))
}

/// Largest resident memory of this process; `None` where the system does not say.
pub(super) fn peak_rss_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1_024)
}
