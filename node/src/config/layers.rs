//! Layers of values: each source says some, the later wins, and each keeps its origin.

use std::{collections::BTreeMap, fmt, fs, io, path::PathBuf};

use super::{
    ConfigError, Places, Profile,
    keys::{KEYS, Key, OTHER_VARIABLES, nearest},
    profile::DEFAULTS,
};

/// A value by the name of its key.
pub type Values = BTreeMap<&'static str, toml::Value>;

/// Where a value is from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Built in.
    Default,
    /// Built into the profile.
    Profile(Profile),
    /// Written in a file.
    File(PathBuf),
    /// An environment variable.
    Variable(String),
    /// The command line.
    Flag,
    /// It follows from other values.
    Rule(&'static str),
}

/// Everything that may say a value.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// Directories that defaults follow from.
    pub places: Places,
    /// Files that may be absent, the weaker first.
    pub files: Vec<PathBuf>,
    /// The file of `--config`, which must exist.
    pub file: Option<PathBuf>,
    /// Environment variables; those that do not begin with `OPUS_` are passed over.
    pub variables: BTreeMap<String, String>,
    /// What the command line says.
    pub flags: Values,
    /// Whether a warning is a refusal.
    pub strict: bool,
}

/// The merged values.
#[derive(Clone, Debug)]
pub struct Settled {
    /// The value in force and its origin, by key; unset keys are absent.
    pub values: BTreeMap<&'static str, (toml::Value, Origin)>,
    /// One sentence each.
    pub warnings: Vec<String>,
}

impl Sources {
    /// What this process is told, with `file` and `flags` of its command line.
    pub fn of_process(file: Option<PathBuf>, flags: Values, strict: bool) -> Self {
        let places = Places::of_process();
        let variables = std::env::vars_os().filter_map(|(name, value)| {
            let name = name
                .into_string()
                .ok()
                .filter(|name| name.starts_with("OPUS_"))?;
            Some((name, value.to_string_lossy().into_owned()))
        });
        Self {
            files: places.config_files(),
            places,
            file: file.or_else(|| std::env::var_os("OPUS_CONFIG").map(PathBuf::from)),
            variables: variables.collect(),
            flags,
            strict,
        }
    }
}

impl Settled {
    /// Puts a value that follows from others.
    pub(super) fn set(&mut self, name: &'static str, value: toml::Value, why: &'static str) {
        self.values.insert(name, (value, Origin::Rule(why)));
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Profile(profile) => write!(f, "profile {profile}"),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Variable(name) => f.write_str(name),
            Self::Flag => f.write_str("command line"),
            Self::Rule(why) => f.write_str(why),
        }
    }
}

/// Merges the layers in their order.
///
/// Errors: a file that cannot be read, a value that does not fit, `--strict` and a warning.
pub(super) fn settle(sources: &Sources) -> Result<Settled, ConfigError> {
    let mut warnings = Vec::new();
    let said = said_layers(sources, &mut warnings)?;
    let profile = said.iter().rev().find_map(|(values, _)| {
        let (value, _) = values.get("profile")?;
        Profile::parse(value.as_str()?)
    });
    let profile = profile.unwrap_or(Profile::Home);
    let defaults = built_in(DEFAULTS, &Origin::Default);
    let of_profile = built_in(profile.values(), &Origin::Profile(profile));
    let mut values = BTreeMap::new();
    for (layer, _) in [defaults, of_profile].into_iter().chain(said) {
        values.extend(layer);
    }
    match warnings.first() {
        Some(first) if sources.strict => Err(ConfigError::Strict(first.clone())),
        _ => Ok(Settled { values, warnings }),
    }
}

/// Values with their origins, and the origin of most of them.
type Layer = (BTreeMap<&'static str, (toml::Value, Origin)>, Origin);

fn said_layers(sources: &Sources, warnings: &mut Vec<String>) -> Result<Vec<Layer>, ConfigError> {
    let mut layers = Vec::new();
    for path in &sources.files {
        match fs::read_to_string(path) {
            Ok(text) => layers.push(file_layer(path, &text, warnings)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(unreadable(path, error)),
        }
    }
    if let Some(path) = &sources.file {
        let text = fs::read_to_string(path).map_err(|error| unreadable(path, error))?;
        layers.push(file_layer(path, &text, warnings)?);
    }
    layers.push(variable_layer(&sources.variables, warnings)?);
    let mut flags = (BTreeMap::new(), Origin::Flag);
    for (&name, value) in &sources.flags {
        put(&mut flags, name, value.clone())?;
    }
    layers.push(flags);
    Ok(layers)
}

fn unreadable(path: &std::path::Path, error: io::Error) -> ConfigError {
    ConfigError::Read {
        path: path.to_owned(),
        error,
    }
}

fn file_layer(
    path: &std::path::Path,
    text: &str,
    warnings: &mut Vec<String>,
) -> Result<Layer, ConfigError> {
    let table: toml::Table = text.parse().map_err(|error| ConfigError::Toml {
        path: path.to_owned(),
        error,
    })?;
    let mut layer = (BTreeMap::new(), Origin::File(path.to_owned()));
    for (name, value) in flatten(table) {
        if let Some(key) = Key::find(&name) {
            put(&mut layer, key.name, value)?;
        } else {
            let hint = hint(nearest(&name, KEYS.iter().map(|key| key.name)));
            warnings.push(format!("{}: unknown key {name}{hint}", path.display()));
        }
    }
    Ok(layer)
}

fn variable_layer(
    variables: &BTreeMap<String, String>,
    warnings: &mut Vec<String>,
) -> Result<Layer, ConfigError> {
    let names: Vec<String> = KEYS.iter().map(Key::variable).collect();
    let mut values = BTreeMap::new();
    for (name, text) in variables {
        if !name.starts_with("OPUS_") || OTHER_VARIABLES.contains(&name.as_str()) {
            continue;
        }
        let Some(index) = names.iter().position(|known| known == name) else {
            let hint = hint(nearest(name, names.iter().map(String::as_str)));
            warnings.push(format!("unknown variable {name}{hint}"));
            continue;
        };
        let mut layer = (BTreeMap::new(), Origin::Variable(name.clone()));
        put(&mut layer, KEYS[index].name, KEYS[index].read(text))?;
        values.extend(layer.0);
    }
    Ok((values, Origin::Variable("OPUS_*".to_owned())))
}

fn built_in(text: &str, origin: &Origin) -> Layer {
    let table: toml::Table = text.parse().expect("built-in values are TOML");
    let mut layer = (BTreeMap::new(), origin.clone());
    for (name, value) in flatten(table) {
        let key = Key::find(&name).expect("built-in values have known keys");
        put(&mut layer, key.name, value).expect("built-in values fit");
    }
    layer
}

fn put(layer: &mut Layer, name: &'static str, value: toml::Value) -> Result<(), ConfigError> {
    let (values, origin) = layer;
    let checked = Key::find(name).map_or(Ok(()), |key| key.check(&value));
    checked.map_err(|problem| ConfigError::Value {
        key: name.to_owned(),
        origin: origin.clone(),
        problem,
    })?;
    values.insert(name, (value, origin.clone()));
    Ok(())
}

/// All leaves of nested tables, by their names with dots.
fn flatten(table: toml::Table) -> Vec<(String, toml::Value)> {
    let mut leaves = Vec::new();
    for (name, value) in table {
        match value {
            toml::Value::Table(inner) => {
                let inner = flatten(inner).into_iter();
                leaves.extend(inner.map(|(rest, value)| (format!("{name}.{rest}"), value)));
            }
            toml::Value::String(_)
            | toml::Value::Integer(_)
            | toml::Value::Float(_)
            | toml::Value::Boolean(_)
            | toml::Value::Datetime(_)
            | toml::Value::Array(_) => leaves.push((name, value)),
        }
    }
    leaves
}

fn hint(nearest: Option<&str>) -> String {
    nearest.map_or_else(String::new, |name| format!("; did you mean {name}?"))
}
