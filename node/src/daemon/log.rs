//! The log of the process, and how its filter changes while it runs.

use std::io::IsTerminal;

use tracing_subscriber::{
    EnvFilter, Registry, fmt, layer::SubscriberExt, reload, util::SubscriberInitExt,
};

use crate::{
    config::{Log, LogFormat},
    service::LogControl,
};

/// Changes the filter of the running process.
#[derive(Clone, Debug)]
pub struct FilterHandle(reload::Handle<EnvFilter, Registry>);

impl LogControl for FilterHandle {
    fn set(&self, filter: &str) -> Result<String, String> {
        let fresh = EnvFilter::try_new(filter).map_err(|error| error.to_string())?;
        let before = self
            .0
            .with_current(ToString::to_string)
            .map_err(|error| error.to_string())?;
        self.0.reload(fresh).map_err(|error| error.to_string())?;
        Ok(before)
    }
}

/// Starts the log on standard error. Errors: the filter is none, or a log runs already.
pub fn start_log(log: &Log) -> Result<FilterHandle, String> {
    let filter = EnvFilter::try_new(&log.filter)
        .map_err(|error| format!("log filter {:?}: {error}", log.filter))?;
    let (filter, handle) = reload::Layer::new(filter);
    let registry = tracing_subscriber::registry().with(filter);
    let colours = std::io::stderr().is_terminal();
    let lines = fmt::layer().with_writer(std::io::stderr).with_ansi(colours);
    let started = match log.format {
        LogFormat::Text => registry.with(lines.with_target(false)).try_init(),
        LogFormat::Json => registry.with(lines.json()).try_init(),
    };
    started.map_err(|error| error.to_string())?;
    Ok(FilterHandle(handle))
}
