//! Writes what real nodes say into a directory, one file a message: where the fuzzer begins.
//!
//! `cargo run -p opus-fuzz-targets --example seeds -- DIRECTORY`

use std::{
    cell::RefCell,
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    rc::Rc,
    time::Duration,
};

use opus_core::{
    Contact, Machine, NodeId, OverlayId, Seed,
    codec::encode,
    testing::{LinkFault, Net},
};
use opus_model::Position;
use opus_relay::{Header, Kind};
use opus_site::{SignedApp, Spec, spec};

/// Messages by their kind.
type Said = Rc<RefCell<BTreeMap<String, Vec<Vec<u8>>>>>;

fn main() -> io::Result<()> {
    let root = PathBuf::from(
        std::env::args()
            .nth(1)
            .unwrap_or_else(|| "seeds".to_owned()),
    );
    dicast(&root.join("dicast_wire"))?;
    overlay(&root.join("overlay_wire"))?;
    probe(&root.join("probe_wire"))?;
    relay(&root.join("relay_header"))?;
    site(&root)?;
    ipc(&root.join("ipc_frames"))
}

fn write(directory: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    let name: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
    fs::write(directory.join(name.to_lowercase()), bytes)
}

/// Keeps what passes over the network, by the first words of its debug form.
fn listen<M: Machine>(net: &mut Net<M>) -> Said {
    let said = Said::default();
    let tap = Rc::clone(&said);
    net.set_fault(move |_, _, _, message| {
        let shown = format!("{message:?}");
        let words = shown.split(|c: char| !c.is_alphanumeric());
        let kind: Vec<_> = words.filter(|word| !word.is_empty()).take(9).collect();
        let kind: String = kind
            .into_iter()
            .filter(|word| word.parse::<u64>().is_err())
            .collect();
        tap.borrow_mut()
            .entry(kind)
            .or_default()
            .push(encode(message));
        LinkFault::Deliver
    });
    said
}

fn keep(said: &Said, directory: &Path, body: impl Fn(&[u8]) -> &[u8]) -> io::Result<()> {
    for (kind, messages) in said.borrow().iter() {
        if let Some(longest) = messages.iter().max_by_key(|bytes| bytes.len()) {
            write(directory, kind, body(longest))?;
        }
    }
    Ok(())
}

/// The body of a CBOR byte string.
fn unwrapped(bytes: &[u8]) -> &[u8] {
    match bytes[0] {
        0x40..=0x57 => &bytes[1..],
        0x58 => &bytes[2..],
        _ => &bytes[3..],
    }
}

fn dicast(directory: &Path) -> io::Result<()> {
    use opus_dicast::{
        Command, Config, Dicast, Event,
        aggregate::{Function, KeyId, KeySpec, Sample},
    };
    let contact = |index| Contact::bare(NodeId::from_index(index));
    let machine = |index| {
        let config = Config {
            size_min: 2,
            ..Config::default()
        };
        let rng = Seed::new(3).derive("machine", u64::from(index)).rng();
        (
            NodeId::from_index(index),
            Dicast::new(config, contact(index), 1, rng),
        )
    };
    let mut net = Net::new((0..14).map(machine));
    let said = listen(&mut net);
    let spec = KeySpec {
        function: Function::Sum,
        ..KeySpec::MEMBERS
    };
    let mut told = 0;
    for index in 0..120 {
        let node = NodeId::from_index(index % 14);
        if index < 14 {
            let seeds = if index == 0 {
                Vec::new()
            } else {
                vec![contact(0)]
            };
            net.command(node, Command::Start { id: 1, seeds });
        } else if net.ids().contains(&node) {
            let key = KeyId(7);
            let sample = Sample::Number(f64::from(index % 5) / 5.0);
            net.command(node, Command::Spec { id: 2, key, spec });
            net.command(node, Command::Set { id: 3, key, sample });
        }
        if index == 40 || index == 60 {
            net.crash(NodeId::from_index(index / 20));
        }
        for _ in 0..10 {
            net.run_for(Duration::from_millis(100));
            let asked: Vec<_> = net.events[told..]
                .iter()
                .map(|it| (it.1, it.2.clone()))
                .collect();
            told = net.events.len();
            for (node, event) in asked {
                let Event::Measure { id, targets } = event else {
                    continue;
                };
                for target in targets {
                    let (peer, rtt_us) = (target.id, Some(20_000));
                    net.command(node, Command::Measured { id, peer, rtt_us });
                }
            }
        }
    }
    keep(&said, directory, unwrapped)
}

fn overlay(directory: &Path) -> io::Result<()> {
    use opus_overlay::{Command, Config, Event, Overlay};
    let overlay = OverlayId(0);
    let machine = |index| {
        let id = NodeId::from_index(index);
        let rng = Seed::new(3).derive("machine", u64::from(index)).rng();
        (id, Overlay::new(id, Config::default(), rng))
    };
    let mut net = Net::new((0..8).map(machine));
    let said = listen(&mut net);
    let mut told = 0;
    for second in 0..90 {
        if second < 8 {
            let join = Command::Join {
                id: 1,
                overlay,
                root: Contact::bare(NodeId::from_index(0)),
                alpha_milli: 1_500,
                cap: 3,
            };
            net.command(NodeId::from_index(second), join);
        }
        if second == 60 {
            net.command(NodeId::from_index(3), Command::Leave { id: 2, overlay });
        }
        net.run_for(Duration::from_secs(1));
        let asked: Vec<_> = net.events[told..]
            .iter()
            .map(|it| (it.1, it.2.clone()))
            .collect();
        told = net.events.len();
        for (node, event) in asked {
            let Event::Measure { targets } = event else {
                continue;
            };
            for target in targets {
                let rtt_us = Some(10_000 + 3_000 * target.id.index());
                let (peer, coordinate) = (target.id, None);
                net.command(
                    node,
                    Command::Measured {
                        peer,
                        rtt_us,
                        coordinate,
                    },
                );
            }
        }
    }
    keep(&said, directory, |bytes| bytes)
}

fn probe(directory: &Path) -> io::Result<()> {
    use opus_probe::{Command, Config, Probe};
    let machine = |index| {
        let rng = Seed::new(3).derive("machine", u64::from(index)).rng();
        (
            NodeId::from_index(index),
            Probe::new(Config::default(), rng),
        )
    };
    let mut net = Net::new((0..2).map(machine));
    let said = listen(&mut net);
    net.command(NodeId::from_index(0), Command::Watch(NodeId::from_index(1)));
    net.run_for(Duration::from_secs(60));
    keep(&said, directory, |bytes| bytes)
}

fn relay(directory: &Path) -> io::Result<()> {
    for kind in [Kind::Data, Kind::Digest, Kind::Top] {
        let header = Header {
            hop_seq: 7,
            hop_clock: 1_000_000,
            left: 40_000,
            hop_limit: 64,
            kind,
            flags: opus_relay::FLAG_COMPLETE,
            flow: opus_relay::flow_tag(OverlayId(1), NodeId::from_index(1), 0),
            seq: 1 << 40 | 1,
            ms: 77,
        };
        write(directory, &format!("{kind:?}"), &header.write(0)[4..])?;
    }
    Ok(())
}

fn site(root: &Path) -> io::Result<()> {
    use opus_site::{Message, RootNote};
    let mut spec = Spec::new("stream", spec::Kind::Multicast, 3).map_err(io::Error::other)?;
    spec.sla.reliability = 0.99;
    spec.sla.knob_milli = Some(1_500);
    let signed = SignedApp::sign(&spec, "fuzz", &[7; 32])
        .map_err(io::Error::other)?
        .encode();
    let directory = root.join("site_spec");
    write(&directory, "signed", &signed)?;
    write(
        &directory,
        "cbor",
        &spec.to_cbor().map_err(io::Error::other)?,
    )?;
    let toml = "name = \"stream\"\nkind = \"multicast\"\nversion = 1\n[sla]\nknob = 1.5\n";
    write(&directory, "toml", toml.as_bytes())?;
    let overlay = OverlayId(9);
    let note = RootNote {
        overlay,
        root: Contact::bare(NodeId::from_index(1)),
        epoch: 1 << 16,
        gone: false,
        revision: 2,
    };
    let (signed, root_note) = (Some(signed.into()), Some(note));
    let messages = [
        Message::Ask { overlay },
        Message::Pull {
            items: vec![overlay],
            after: None,
        },
        Message::Have {
            signed,
            root: root_note,
        },
        Message::Digest {
            entries: Vec::new(),
            more: false,
        },
        Message::Carry {
            place: Some(Position([20_000, -3_000, 500], 700, 250)),
            overlays: vec![overlay, OverlayId(10)],
        },
        Message::Mates {
            overlay,
            members: vec![Contact::bare(NodeId::from_index(2))],
        },
    ];
    for (index, message) in messages.iter().enumerate() {
        write(
            &root.join("site_wire"),
            &format!("message{index}"),
            &encode(message),
        )?;
    }
    Ok(())
}

/// The golden vectors, one frame each.
fn ipc(directory: &Path) -> io::Result<()> {
    let vectors = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../node/ipc/vectors");
    for file in fs::read_dir(vectors)? {
        let path = file?.path();
        let rows: serde_json::Value =
            serde_json::from_slice(&fs::read(&path)?).map_err(io::Error::other)?;
        let file = path
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        for (index, row) in rows.as_array().into_iter().flatten().enumerate() {
            let hex = row["hex"].as_str().unwrap_or_default();
            let bytes = data_encoding::HEXLOWER.decode(hex.as_bytes());
            write(
                directory,
                &format!("{file}{index}"),
                &bytes.map_err(io::Error::other)?,
            )?;
        }
    }
    Ok(())
}
