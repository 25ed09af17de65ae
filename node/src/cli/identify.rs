//! `id`: the identity of a node, and the keys of owners. Both are the same kind of file.

use std::path::Path;

use data_encoding::BASE32_NOPAD;
use serde_json::json;

use super::{
    args::{Global, IdArgs, IdVerb},
    connect::settle,
    exit::{Exit, Failure},
    output::Output,
};
use crate::{
    config::layers::Values,
    identity::{self, Identity},
};

/// `id show` and `id new`.
pub(super) fn id(global: &Global, args: &IdArgs, output: &mut Output) -> Result<Exit, Failure> {
    let (path, identity) = match &args.verb {
        IdVerb::New { out } => (out.clone(), Identity::create(out)?),
        IdVerb::Show { key: Some(key), .. } => (key.clone(), Identity::load(key)?),
        IdVerb::Show { key: None, node } => {
            let (config, _) = settle(global, node, Values::new())?;
            let path = config.data_dir.join(identity::FILE);
            let identity = Identity::load(&path).map_err(Failure::from);
            let identity = identity.map_err(|failure| {
                if path.exists() {
                    failure
                } else {
                    failure.help("opus-node run makes it on its first start; or name --data-dir")
                }
            })?;
            (path, identity)
        }
    };
    show(&path, &identity, output)
}

/// A peer id for the network, an owner for `name.owner`.
fn show(path: &Path, identity: &Identity, output: &mut Output) -> Result<Exit, Failure> {
    let peer = identity.peer().to_string();
    let owner = BASE32_NOPAD.encode(identity.public()).to_lowercase();
    let file = path.display().to_string();
    let document = json!({"peer_id": peer, "owner": owner, "file": file});
    output.result(&document, |to| {
        writeln!(to, "peer id  {peer}\nowner    {owner}\nfile     {file}")
    })?;
    Ok(Exit::Done)
}
