//! Layers, origins and refusals of the configuration.

use std::{collections::BTreeMap, fs, path::Path};

use super::*;

fn sources() -> Sources {
    let places = Places {
        data_home: Some("/home/a/.local/share".into()),
        ..Places::default()
    };
    Sources {
        places,
        ..Sources::default()
    }
}

fn flags(values: &[(&'static str, toml::Value)]) -> layers::Values {
    values.iter().cloned().collect()
}

fn variables(values: &[(&str, &str)]) -> BTreeMap<String, String> {
    let owned = values
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    owned.collect()
}

#[test]
fn without_a_word_a_node_is_at_home() {
    let (config, settled) = Config::load(&sources()).unwrap();
    assert_eq!(config.profile, Profile::Home);
    assert_eq!(config.network, "main");
    assert_eq!(config.data_dir, Path::new("/home/a/.local/share/opus/main"));
    assert_eq!(
        config.socket,
        Path::new("/home/a/.local/share/opus/main/run/main.sock")
    );
    assert_eq!(config.limits.memory_bytes, 512 << 20);
    assert_eq!(config.limits.up_bits_per_s, Some(10_000_000));
    assert!(config.mdns && config.upnp && config.relay_client && !config.relay_server);
    assert_eq!(config.listen.len(), 4);
    assert!(settled.warnings.is_empty());
}

#[test]
fn each_profile_is_the_row_of_the_table() {
    let of = |name: &str| {
        let flags = flags(&[("profile", name.into())]);
        Config::load(&Sources { flags, ..sources() }).unwrap().0
    };
    let server = of("server");
    assert_eq!(
        (server.limits.connections, server.kademlia),
        (500, Kademlia::Server)
    );
    assert_eq!(server.private_addresses, PrivateAddresses::Never);
    assert!(!server.mdns && server.autonat_server);
    let isolated = of("isolated");
    assert_eq!(
        (isolated.limits.up_bits_per_s, isolated.kademlia),
        (None, Kademlia::Off)
    );
    assert_eq!(isolated.private_addresses, PrivateAddresses::Any);
}

#[test]
fn the_later_layer_wins_and_keeps_its_origin() {
    let dir = tempfile::tempdir().unwrap();
    let [weak, strong] = ["a.toml", "b.toml"].map(|name| dir.path().join(name));
    fs::write(
        &weak,
        "mdns = false\nupnp = false\n[limits]\nmemory = \"1 GiB\"",
    )
    .unwrap();
    fs::write(&strong, "upnp = true\n[limits]\nmemory = \"2 GiB\"").unwrap();
    let sources = Sources {
        files: vec![weak.clone(), dir.path().join("absent.toml")],
        file: Some(strong.clone()),
        variables: variables(&[("OPUS_LIMITS_MEMORY", "3 GiB"), ("HOME", "/x")]),
        flags: flags(&[("network", "test".into())]),
        ..sources()
    };
    let (config, settled) = Config::load(&sources).unwrap();
    assert_eq!(config.limits.memory_bytes, 3 << 30);
    assert!(config.upnp && !config.mdns);
    let origin = |name| settled.values[name].1.clone();
    assert_eq!(
        origin("limits.memory"),
        Origin::Variable("OPUS_LIMITS_MEMORY".to_owned())
    );
    assert_eq!(origin("upnp"), Origin::File(strong));
    assert_eq!(origin("mdns"), Origin::File(weak));
    assert_eq!(origin("network"), Origin::Flag);
    assert_eq!(origin("limits.disk"), Origin::Profile(Profile::Home));
    assert_eq!(origin("log.filter"), Origin::Default);
}

#[test]
fn an_unknown_key_warns_with_the_nearest_one_and_strict_refuses_it() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("opus.toml");
    fs::write(&file, "[limits]\nmemroy = \"1 GiB\"").unwrap();
    let mut sources = Sources {
        file: Some(file),
        variables: variables(&[("OPUS_MDSN", "1"), ("OPUS_SEED", "7")]),
        ..sources()
    };
    let (_, settled) = Config::load(&sources).unwrap();
    assert_eq!(settled.warnings.len(), 2);
    assert!(settled.warnings[0].ends_with("did you mean limits.memory?"));
    assert!(settled.warnings[1].ends_with("did you mean OPUS_MDNS?"));
    sources.strict = true;
    assert!(matches!(
        Config::load(&sources),
        Err(ConfigError::Strict(_))
    ));
}

#[test]
fn a_value_that_does_not_fit_names_its_key_and_origin() {
    let bad = [
        ("OPUS_MDNS", "maybe"),
        ("OPUS_PROFILE", "cloud"),
        ("OPUS_LISTEN", "/ip4/1.2.3/tcp/1"),
        ("OPUS_LIMITS_CONNECTIONS", "1"),
        ("OPUS_LIMITS_UP", "10 MiB"),
        ("OPUS_DENY", "bob"),
        ("OPUS_NETWORK", "../x"),
    ];
    for (name, value) in bad {
        let variables = variables(&[(name, value)]);
        let refused = Config::load(&Sources {
            variables,
            ..sources()
        })
        .unwrap_err();
        assert!(refused.to_string().contains(name), "{refused}");
    }
}

#[test]
fn lists_come_from_a_variable_with_commas() {
    let listen = "/ip4/127.0.0.1/tcp/0,/ip4/127.0.0.1/udp/0/quic-v1";
    let variables = variables(&[("OPUS_LISTEN", listen), ("OPUS_DENY", "203.0.113.0/24")]);
    let (config, _) = Config::load(&Sources {
        variables,
        ..sources()
    })
    .unwrap();
    assert_eq!(config.listen.len(), 2);
    assert_eq!(config.deny.len(), 1);
}

#[test]
fn a_loopback_node_is_quiet_whatever_it_was_told() {
    let listen = vec![
        toml::Value::from("/ip4/127.0.0.1/tcp/0"),
        "/ip6/::1/udp/0/quic-v1".into(),
    ];
    let flags = flags(&[("listen", listen.into()), ("mdns", true.into())]);
    let (config, settled) = Config::load(&Sources { flags, ..sources() }).unwrap();
    assert!(config.is_loopback_only());
    assert!(!(config.mdns || config.upnp || config.autonat_client || config.relay_client));
    assert_eq!(
        settled.values["mdns"].1.to_string(),
        "listens on loopback only"
    );
}

#[test]
fn a_node_needs_a_listener_and_a_place() {
    let flags = flags(&[("listen", toml::Value::Array(Vec::new()))]);
    let refused = Config::load(&Sources { flags, ..sources() }).unwrap_err();
    assert!(refused.to_string().contains("at least one address"));
    let homeless = Sources::default();
    assert!(matches!(Config::load(&homeless), Err(ConfigError::NoHome)));
}

#[test]
fn a_socket_may_be_written_as_a_unix_address() {
    let variables = variables(&[("OPUS_SOCKET", "unix:/tmp/a.sock")]);
    let (config, _) = Config::load(&Sources {
        variables,
        ..sources()
    })
    .unwrap();
    assert_eq!(config.socket, Path::new("/tmp/a.sock"));
}

#[test]
fn a_file_that_is_no_toml_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("opus.toml");
    fs::write(&file, "mdns = ").unwrap();
    let file = Some(file);
    let refused = Config::load(&Sources { file, ..sources() }).unwrap_err();
    assert!(refused.to_string().contains("opus.toml is not TOML"));
    let file = Some("/nowhere/opus.toml".into());
    let refused = Config::load(&Sources { file, ..sources() }).unwrap_err();
    assert!(
        refused
            .to_string()
            .contains("cannot read /nowhere/opus.toml")
    );
}
