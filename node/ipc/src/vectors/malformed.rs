//! Frames that are refused, each with the code due.

use serde::{Deserialize, Serialize};

use crate::message::Code;

/// Bytes that a node refuses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Malformed {
    /// What is wrong.
    pub name: String,
    /// Whether HELLO and WELCOME come before it.
    pub after_hello: bool,
    /// What the client sends, lengths included.
    pub hex: String,
    /// The ERR's call; 0 ends the connection.
    pub call: u32,
    /// The ERR's code, for a connection of role `app`.
    pub code: Code,
}

/// A HELLO's map with `v: [1]`, `app: "x"` and one entry more to come.
const HELLO_3: &str = "a46570726f746f686f7075732d6970636176810163617070 6178";

/// All of them.
pub(super) fn all() -> Vec<Malformed> {
    let mut all = Vec::new();
    all.extend(lengths());
    all.extend(hellos());
    all.extend(items());
    all.extend(frames());
    all.extend(calls());
    all
}

fn lengths() -> Vec<Malformed> {
    use Code::{BadRequest, TooLarge};
    [
        ("length 0 before HELLO", false, "00000000", BadRequest),
        ("HELLO over 4 KiB", false, "00001001", TooLarge),
        ("length of all ones", false, "ffffffff", TooLarge),
        (
            "an HTTP request",
            false,
            "474554202f20485454502f312e310d0a",
            TooLarge,
        ),
        (
            "a line of JSON",
            false,
            "7b2270726f746f223a226f707573227d0a",
            TooLarge,
        ),
        ("length 0", true, "00000000", BadRequest),
        ("length over 1 MiB", true, "00100001", TooLarge),
    ]
    .map(|(name, after_hello, hex, code)| Malformed {
        name: name.to_owned(),
        after_hello,
        hex: hex.to_owned(),
        call: 0,
        code,
    })
    .to_vec()
}

fn hellos() -> Vec<Malformed> {
    use Code::{BadRequest, Denied, Version};
    let token = |bytes: usize| {
        format!(
            "8200{HELLO_3}65746f6b656e58{bytes:02x}{}",
            "07".repeat(bytes)
        )
    };
    let wrong = [
        (
            "REQ before HELLO",
            "8401016b6e6f64652e737461747573a0",
            BadRequest,
        ),
        ("CREDIT before HELLO", "83060101", BadRequest),
        ("CANCEL before HELLO", "820701", BadRequest),
        (
            "HELLO with version 2 only",
            "8200a36570726f746f686f7075732d69706361768102636170706178",
            Version,
        ),
        (
            "HELLO without a version",
            "8200a36570726f746f686f7075732d697063617680636170706178",
            Version,
        ),
        (
            "HELLO of another protocol",
            "8200a36570726f746f64687474706176810163617070 6178",
            BadRequest,
        ),
        (
            "HELLO without app",
            "8200a26570726f746f686f7075732d69706361768101",
            BadRequest,
        ),
        (
            "HELLO with a number as app",
            "8200a36570726f746f686f7075732d697063617681016361707001",
            BadRequest,
        ),
        (
            "HELLO with an element too many",
            "8300a36570726f746f686f7075732d69706361768101636170706178f6",
            BadRequest,
        ),
        (
            "HELLO without array",
            "a36570726f746f686f7075732d69706361768101636170706178",
            BadRequest,
        ),
        ("an empty array", "80", BadRequest),
        ("a kind that is text", "826131a0", BadRequest),
        ("a number", "00", BadRequest),
    ];
    let mut all: Vec<_> = wrong
        .into_iter()
        .map(|(name, item, code)| framed(name, false, 0, code, &[item]))
        .collect();
    all.push(framed(
        "HELLO with a key twice",
        false,
        0,
        BadRequest,
        &[&format!("8200{HELLO_3}636170706179")],
    ));
    all.push(framed(
        "HELLO with a token of 31 bytes",
        false,
        0,
        BadRequest,
        &[&token(31)],
    ));
    all.push(framed(
        "HELLO with a token that nobody issued",
        false,
        0,
        Denied,
        &[&token(32)],
    ));
    all
}

/// Items that are not lawful CBOR here, as the params of a call.
fn items() -> Vec<Malformed> {
    let deep = format!("a16161{}00", "81".repeat(15));
    [
        ("a byte left over", "a000"),
        ("a map that is cut", "a16161"),
        (
            "an array that announces more than there is",
            "a161619b00ffffffffffffff",
        ),
        (
            "a text that announces more than there is",
            "a161617a7fffffff61",
        ),
        ("an indefinite array", "a161619f00ff"),
        ("an indefinite map", "bf616100ff"),
        ("an indefinite text", "a161617f6162ff"),
        ("a tag", "a16161c000"),
        ("NaN", "a16161fb7ff8000000000000"),
        ("infinity in half precision", "a16161f97c00"),
        ("undefined", "a16161f7"),
        ("a simple value", "a16161f820"),
        ("a reserved length", "a161611c"),
        ("a text that is not UTF-8", "a1616161ff"),
        ("a key that is a number", "a10100"),
        ("a key that is a byte string", "a1416100"),
        ("a key twice", "a2616100616101"),
        ("a key twice, deep inside", "a1617881a2616100616101"),
        ("17 levels", deep.as_str()),
    ]
    .map(|(name, params)| {
        let item = format!("8401016b6e6f64652e737461747573{params}");
        framed(name, true, 0, Code::BadRequest, &[&item])
    })
    .to_vec()
}

/// Lawful CBOR, but no frame of a client.
fn frames() -> Vec<Malformed> {
    let all: [(&str, &[&str]); 17] = [
        (
            "a second HELLO",
            &["8200a36570726f746f686f7075732d69706361768101636170706178"],
        ),
        ("an unknown kind", &["820901"]),
        ("a kind below zero", &["822001"]),
        ("RES from a client", &["830201a0"]),
        ("ITEM from a client", &["830401a0"]),
        ("GOAWAY from a client", &["8208a0"]),
        ("call 0", &["8401006b6e6f64652e737461747573a0"]),
        (
            "call 2^32",
            &["84011b00000001000000006b6e6f64652e737461747573a0"],
        ),
        ("a call below zero", &["8401206b6e6f64652e737461747573a0"]),
        (
            "a call that is text",
            &["840161316b6e6f64652e737461747573a0"],
        ),
        (
            "a call twice",
            &[
                "8401056b6e6f64652e737461747573a0",
                "8401056b6e6f64652e737461747573a0",
            ],
        ),
        (
            "a call that falls",
            &[
                "8401056b6e6f64652e737461747573a0",
                "8401046b6e6f64652e737461747573a0",
            ],
        ),
        ("a method that is a number", &["84010101a0"]),
        ("REQ without params", &["8301016b6e6f64652e737461747573"]),
        ("CREDIT without number", &["820601"]),
        ("CREDIT below zero", &["83060120"]),
        ("CANCEL of call 0", &["820700"]),
    ];
    all.map(|(name, items)| framed(name, true, 0, Code::BadRequest, items))
        .to_vec()
}

/// Lawful frames, but calls that are refused.
fn calls() -> Vec<Malformed> {
    use Code::{BadRequest, Denied, Unsupported};
    [
        (
            "an unknown method",
            "8401016a6e6f64652e7265736574a0",
            Unsupported,
        ),
        ("an empty method", "84010160a0", Unsupported),
        (
            "a method of v1 that this node has not",
            "84010169746f6b656e2e6e6577a0",
            Unsupported,
        ),
        (
            "an admin's method",
            "8401016a6e6f64652e647261696ea0",
            Denied,
        ),
        (
            "params that are an array",
            "8401016b6e6f64652e73746174757380",
            BadRequest,
        ),
        (
            "params that are null",
            "8401016b6e6f64652e737461747573f6",
            BadRequest,
        ),
        (
            "a deadline that is text",
            "8401016b6e6f64652e737461747573a16b646561646c696e655f6d736131",
            BadRequest,
        ),
        (
            "app.attach without app",
            "8401016a6170702e617474616368a16261736473696e6b",
            BadRequest,
        ),
        (
            "app.attach as nobody",
            "8401016a6170702e617474616368a2636170706174626173646b696e67",
            BadRequest,
        ),
        (
            "an app with a path in its name",
            "840101686170702e73686f77a163617070662e2e2f6574 63",
            BadRequest,
        ),
        (
            "frames.send of a text",
            "8401016b6672616d65732e73656e64a263617474016464617461 6161",
            BadRequest,
        ),
        (
            "frames.send of nothing",
            "8401016b6672616d65732e73656e64a2636174740164646174 6180",
            BadRequest,
        ),
        (
            "frames.recv of flow 16",
            "8401016b6672616d65732e72656376a2636174740164666c6f7710",
            BadRequest,
        ),
        (
            "frames.recv of an attachment below zero",
            "8401016b6672616d65732e72656376a16361747420",
            BadRequest,
        ),
    ]
    .map(|(name, item, code)| framed(name, true, 1, code, &[item]))
    .to_vec()
}

fn framed(name: &str, after_hello: bool, call: u32, code: Code, items: &[&str]) -> Malformed {
    let with_length = |item: &&str| {
        let item = item.replace(' ', "");
        format!("{:08x}{item}", item.len() / 2)
    };
    Malformed {
        name: name.to_owned(),
        after_hello,
        hex: items.iter().map(with_length).collect(),
        call,
        code,
    }
}
