//! The golden vectors: unchanged, by the CDDL, and read back; the malformed ones refused.

use std::{collections::BTreeMap, fs, path::PathBuf};

use bytes::{Bytes, BytesMut};
use opus_ipc::{
    Method, Raw, json,
    message::{FromClient, FromNode},
    method::SCHEMA,
    serve::Peer,
    vectors::{Malformed, Vector, files},
    wire,
};
use serde_json::json;

use crate::{
    cddl::Schema,
    desk::{Bare, server, unhex},
};

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("vectors")
}

fn vectors() -> BTreeMap<String, Vec<Vector>> {
    let lawful = files()
        .into_iter()
        .filter(|(name, _)| name != "malformed.json");
    lawful
        .map(|(name, _)| {
            let text = fs::read_to_string(folder().join(&name)).unwrap();
            (name, serde_json::from_str(&text).unwrap())
        })
        .collect()
}

#[test]
fn the_vectors_on_disk_are_those_that_the_code_makes() {
    let mut names = Vec::new();
    for (name, content) in files() {
        let path = folder().join(&name);
        if std::env::var_os("OPUS_VECTORS_WRITE").is_some() {
            fs::write(&path, &content).unwrap();
        }
        let kept = fs::read_to_string(&path).unwrap_or_default();
        assert!(
            kept == content,
            "{name} differs: a changed vector needs a new version"
        );
        names.push(name);
    }
    let count = fs::read_dir(folder()).unwrap().count();
    assert_eq!(count, names.len(), "a file that the code does not make");
}

#[test]
fn every_method_has_three_vectors_or_more() {
    let vectors = vectors();
    for method in Method::ALL {
        let of = &vectors[&format!("{}.json", method.name())];
        assert!(of.len() >= 3, "{}", method.name());
        assert!(of.iter().any(|vector| vector.from == "client"));
        assert!(of.iter().any(|vector| vector.from == "node"));
    }
}

#[test]
fn every_vector_is_read_and_written_again_byte_for_byte() {
    for vector in vectors().into_values().flatten() {
        let bytes = unhex(&vector.hex);
        let mut buffer = BytesMut::from(&bytes[..]);
        let item = wire::split(&mut buffer, wire::FRAME_MAX).unwrap().unwrap();
        assert!(buffer.is_empty());
        let mut again = BytesMut::new();
        if vector.from == "client" {
            FromClient::read(&item).unwrap().write(&mut again);
        } else {
            FromNode::read(&item).unwrap().write(&mut again);
        }
        assert_eq!(again, bytes, "{}", vector.name);
        assert_eq!(
            json::from_raw(&Raw(item)).unwrap(),
            vector.value,
            "{}",
            vector.name
        );
    }
}

/// Whether `item` obeys `rule`.
fn obeys(schema: &Schema, rule: &str, item: &Bytes) -> Result<(), String> {
    let value = cbor4ii::serde::from_slice(item).map_err(|error| error.to_string())?;
    schema.obeys(rule, &value)
}

#[test]
fn every_vector_obeys_the_cddl() {
    let schema = Schema::parse(SCHEMA);
    for (file, vectors) in vectors() {
        for vector in vectors {
            let item = Bytes::from(unhex(&vector.hex)).slice(4..);
            let name = format!("{file}: {}", vector.name);
            assert_eq!(obeys(&schema, "frame", &item), Ok(()), "{name}");
            let Some(rule) = &vector.rule else {
                continue;
            };
            let inside = match vector.from.as_str() {
                "client" => match FromClient::read(&item).unwrap() {
                    FromClient::Req { params, .. } => params,
                    other => panic!("{name}: {other:?} has no rule"),
                },
                _ => match FromNode::read(&item).unwrap() {
                    FromNode::Res { result, .. } => result,
                    FromNode::Item { item, .. } => item,
                    other => panic!("{name}: {other:?} has no rule"),
                },
            };
            assert_eq!(obeys(&schema, rule, &inside.0), Ok(()), "{name}");
        }
    }
}

#[test]
fn the_cddl_refuses_what_it_should() {
    let schema = Schema::parse(SCHEMA);
    for (rule, value) in [
        ("node.drain.p", json!({"ms": "soon"})),
        ("app.attach.p", json!({"app": "x"})),
        ("app.attach.p", json!({"app": "x", "as": "king"})),
        ("frames.send.p", json!({"att": 1, "data": "text"})),
        ("frames.recv.i", json!([{"hex": "00"}, 1, 0, {"hex": ""}])),
        ("membership.watch.i", json!({"synced": false})),
    ] {
        let item = json::to_raw(&value).unwrap();
        assert!(obeys(&schema, rule, &item.0).is_err(), "{rule}: {value}");
    }
}

#[tokio::test(start_paused = true)]
async fn every_malformed_vector_gets_the_code_due() {
    let text = fs::read_to_string(folder().join("malformed.json")).unwrap();
    let all: Vec<Malformed> = serde_json::from_str(&text).unwrap();
    assert!(all.len() >= 40, "{}", all.len());
    let (_, server) = server();
    for case in all {
        let mut bare = if case.after_hello {
            Bare::open(&server, Peer::app()).await
        } else {
            Bare::connect(&server, Peer::app(), 64 << 10)
        };
        bare.bytes(&unhex(&case.hex)).await;
        let mut answer = bare.frame().await.unwrap();
        while let FromNode::Res { .. } = answer {
            answer = bare.frame().await.unwrap();
        }
        let FromNode::Err { call, fault } = answer else {
            panic!("{}: {answer:?}", case.name);
        };
        assert_eq!(
            (call, fault.code),
            (case.call, case.code),
            "{}: {fault}",
            case.name
        );
        if case.call == 0 {
            assert!(bare.frame().await.is_none(), "{}: not closed", case.name);
        } else {
            bare.call(1_000, "ipc.schema", json!({})).await;
            let goes_on = bare.frame().await;
            assert!(
                matches!(goes_on, Some(FromNode::Res { call: 1_000, .. })),
                "{}",
                case.name
            );
        }
    }
}
