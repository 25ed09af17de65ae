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

/// One a line: whether the connection is new or open (behind HELLO), the ERR's call and code, the
/// bytes, the name. Bytes are items in hexadecimal, `+` between two, each sent with its length;
/// after `=` they are sent as they are. `STATUS:` is `node.status` on call 1 up to its params,
/// `HELLO:` a HELLO's map up to its fourth entry, `07*32` 32 times 07.
const TABLE: &str = "
new  0 bad_request =00000000 length 0 before HELLO
new  0 too_large =00001001 HELLO over 4 KiB
new  0 too_large =ffffffff length of all ones
new  0 too_large =474554202f20485454502f312e310d0a an HTTP request
new  0 too_large =7b2270726f746f223a226f707573227d0a a line of JSON
open 0 bad_request =00000000 length 0
open 0 too_large =00100001 length over 1 MiB
new  0 bad_request 8401016b6e6f64652e737461747573a0 REQ before HELLO
new  0 bad_request 83060101 CREDIT before HELLO
new  0 bad_request 820701 CANCEL before HELLO
new  0 version 8200a36570726f746f686f7075732d69706361768102636170706178 HELLO of version 2
new  0 version 8200a36570726f746f686f7075732d697063617680636170706178 HELLO without a version
new  0 bad_request 8200a36570726f746f646874747061768101636170706178 HELLO of another protocol
new  0 bad_request 8200a26570726f746f686f7075732d69706361768101 HELLO without app
new  0 bad_request 8200a36570726f746f686f7075732d697063617681016361707001 a number as app
new  0 bad_request 8300a36570726f746f686f7075732d69706361768101636170706178f6 HELLO of three
new  0 bad_request a36570726f746f686f7075732d69706361768101636170706178 HELLO without array
new  0 bad_request 80 an empty array
new  0 bad_request 826131a0 a kind that is text
new  0 bad_request 00 a number
new  0 bad_request HELLO:636170706179 HELLO with a key twice
new  0 bad_request HELLO:65746f6b656e581f07*31 HELLO with a token of 31 bytes
new  0 denied HELLO:65746f6b656e582007*32 HELLO with a token that nobody issued
open 0 bad_request STATUS:a000 a byte left over
open 0 bad_request STATUS:a16161 a map that is cut
open 0 bad_request STATUS:a161619b00ffffffffffffff an array that announces more than there is
open 0 bad_request STATUS:a161617a7fffffff61 a text that announces more than there is
open 0 bad_request STATUS:a161619f00ff an indefinite array
open 0 bad_request STATUS:bf616100ff an indefinite map
open 0 bad_request STATUS:a161617f6162ff an indefinite text
open 0 bad_request STATUS:a16161c000 a tag
open 0 bad_request STATUS:a16161fb7ff8000000000000 NaN
open 0 bad_request STATUS:a16161f97c00 infinity in half precision
open 0 bad_request STATUS:a16161f7 undefined
open 0 bad_request STATUS:a16161f820 a simple value
open 0 bad_request STATUS:a161611c a reserved length
open 0 bad_request STATUS:a1616161ff a text that is not UTF-8
open 0 bad_request STATUS:a10100 a key that is a number
open 0 bad_request STATUS:a1416100 a key that is a byte string
open 0 bad_request STATUS:a2616100616101 a key twice
open 0 bad_request STATUS:a1617881a2616100616101 a key twice, deep inside
open 0 bad_request STATUS:a261610078016101 a key twice, its length written in two ways
open 0 bad_request STATUS:a1616181*1500 17 levels
open 0 bad_request 8200a36570726f746f686f7075732d69706361768101636170706178 a second HELLO
open 0 bad_request 820901 an unknown kind
open 0 bad_request 822001 a kind below zero
open 0 bad_request 830201a0 RES from a client
open 0 bad_request 830401a0 ITEM from a client
open 0 bad_request 8208a0 GOAWAY from a client
open 0 bad_request 8401006b6e6f64652e737461747573a0 call 0
open 0 bad_request 84011b00000001000000006b6e6f64652e737461747573a0 call 2^32
open 0 bad_request 8401206b6e6f64652e737461747573a0 a call below zero
open 0 bad_request 840161316b6e6f64652e737461747573a0 a call that is text
open 0 bad_request 8401056b6e6f64652e737461747573a0+8401056b6e6f64652e737461747573a0 a call twice
open 0 bad_request 8401056b6e6f64652e737461747573a0+84010460a0 a call that falls
open 0 bad_request 84010101a0 a method that is a number
open 0 bad_request 8301016b6e6f64652e737461747573 REQ without params
open 0 bad_request 820601 CREDIT without number
open 0 bad_request 83060120 CREDIT below zero
open 0 bad_request 820700 CANCEL of call 0
open 1 unsupported 8401016a6e6f64652e7265736574a0 an unknown method
open 1 unsupported 84010160a0 an empty method
open 1 unsupported 84010169746f6b656e2e6e6577a0 a method of v1 that this node has not
open 1 denied 8401016a6e6f64652e647261696ea0 an admin's method
open 1 bad_request STATUS:80 params that are an array
open 1 bad_request STATUS:f6 params that are null
open 1 bad_request STATUS:a16b646561646c696e655f6d736131 a deadline that is text
open 1 bad_request 8401016a6170702e617474616368a16261736473696e6b app.attach without app
open 1 bad_request 8401016a6170702e617474616368a2636170706174626173646b696e67 app.attach as king
open 1 bad_request 840101686170702e73686f77a163617070662e2e2f657463 a path as app
open 1 bad_request 8401016b6672616d65732e73656e64a2636174740164646174616161 frames.send of a text
open 1 bad_request 8401016b6672616d65732e73656e64a26361747401646461746180 frames.send of nothing
open 1 bad_request 8401016b6672616d65732e72656376a2636174740164666c6f7710 frames.recv of flow 16
open 1 bad_request 8401016b6672616d65732e72656376a16361747420 frames.recv of att -1
";

const STATUS: &str = "8401016b6e6f64652e737461747573";
const HELLO: &str = "8200a46570726f746f686f7075732d69706361768101636170706178";

/// All of them.
pub(super) fn all() -> Vec<Malformed> {
    TABLE.trim().lines().map(row).collect()
}

fn row(line: &str) -> Malformed {
    let mut words = line.split_whitespace();
    let mut next = || words.next().expect("a row has five columns");
    let (stage, call, code, bytes) = (next(), next(), next(), next());
    Malformed {
        name: words.collect::<Vec<_>>().join(" "),
        after_hello: stage == "open",
        hex: match bytes.strip_prefix('=') {
            Some(raw) => raw.to_owned(),
            None => bytes.split('+').map(framed).collect(),
        },
        call: call.parse().expect("a call is a number"),
        code: serde_json::from_value(code.into()).expect("reading a code cannot fail"),
    }
}

fn framed(item: &str) -> String {
    let item = item.replace("STATUS:", STATUS).replace("HELLO:", HELLO);
    let item = match item.find('*') {
        Some(star) => {
            // A count has two digits.
            let end = star + 3;
            let times = item[star + 1..end]
                .parse()
                .expect("a count follows the star");
            let repeated = item[star - 2..star].repeat(times);
            format!("{}{repeated}{}", &item[..star - 2], &item[end..])
        }
        None => item,
    };
    format!("{:08x}{item}", item.len() / 2)
}
