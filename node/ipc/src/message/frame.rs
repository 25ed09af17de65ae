//! The ten frames: arrays with a leading kind number.
//!
//! | kind | client | node |
//! |---|---|---|
//! | 0 | hello | welcome |
//! | 1 | req | |
//! | 2, 3 | | res, err: end a call |
//! | 4, 5 | | item, end: of a stream |
//! | 6, 7 | credit, cancel | |
//! | 8 | | goaway |

use std::fmt;

use bytes::{Bytes, BytesMut};
use serde::{Deserialize, Serialize};

use crate::{
    body::{Raw, bodies, owned, put},
    cursor::{ARRAY, Cursor, MAP, UINT, head, text},
    method::Method,
    wire::Refusal,
};

/// The name of the protocol in HELLO.
pub const PROTO: &str = "opus-ipc";

/// The version spoken here.
pub const VERSION: u64 = 1;

/// Longest application name kept from a HELLO, characters.
const APP_MAX: usize = 64;

/// Why a call, a stream or a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// The bytes or the parameters are not lawful.
    BadRequest,
    /// This node has no such method or feature.
    Unsupported,
    /// No version in common.
    Version,
    /// The role or the token does not allow it.
    Denied,
    /// No such thing, perhaps not yet.
    NotFound,
    /// It is there already, with other content.
    Exists,
    /// Somebody else has it, or too many connections.
    Busy,
    /// Over a limit of this connection.
    Quota,
    /// A frame or payload over its limit.
    TooLarge,
    /// The client did not read.
    SlowConsumer,
    /// `deadline_ms` is over.
    Deadline,
    /// By CANCEL.
    Cancelled,
    /// The node cannot at present.
    Unavailable,
    /// A fault of the node. Codes of later versions are read as this one.
    #[serde(other)]
    Internal,
}

impl Code {
    /// As on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::BadRequest => "bad_request",
            Self::Unsupported => "unsupported",
            Self::Version => "version",
            Self::Denied => "denied",
            Self::NotFound => "not_found",
            Self::Exists => "exists",
            Self::Busy => "busy",
            Self::Quota => "quota",
            Self::TooLarge => "too_large",
            Self::SlowConsumer => "slow_consumer",
            Self::Deadline => "deadline",
            Self::Cancelled => "cancelled",
            Self::Unavailable => "unavailable",
            Self::Internal => "internal",
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What ERR says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{msg} ({code})")]
pub struct Fault {
    /// For programs.
    pub code: Code,
    /// For people: what happened and why.
    pub msg: String,
    /// For people: the command that mends it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    /// Worth another try after this many ms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_ms: Option<u64>,
}

impl Fault {
    /// A fault without help.
    pub fn new(code: Code, msg: impl Into<String>) -> Self {
        Self {
            code,
            msg: msg.into(),
            help: None,
            retry_ms: None,
        }
    }

    /// Adds the command that mends it.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Adds when another try is worth it.
    #[must_use]
    pub fn retry_ms(mut self, ms: u64) -> Self {
        self.retry_ms = Some(ms);
        self
    }
}

/// What END says; empty when the stream came to its natural end.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// Why it ended early.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<Code>,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub msg: Option<String>,
}

/// The client's first frame.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// [`PROTO`]
    pub proto: String,
    /// Versions that the client speaks.
    pub v: Vec<u64>,
    /// The program's name, for logs and `status`.
    pub app: String,
    /// Narrows the connection.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "serde_bytes")]
    pub token: Option<[u8; 32]>,
}

impl Hello {
    /// A HELLO of this version without token.
    pub fn new(app: impl Into<String>) -> Self {
        Self {
            proto: PROTO.to_owned(),
            v: vec![VERSION],
            app: app.into(),
            token: None,
        }
    }
}

/// What a connection may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Its own application only.
    Component,
    /// Everything but what is marked `!`.
    App,
    /// Everything.
    Admin,
}

/// Limits that the node tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitsSaid {
    /// Most bytes of a frame.
    pub frame: u64,
    /// Most bytes of a payload.
    pub payload: u64,
    /// Calls in flight without a stop.
    pub inflight: u64,
    /// Most streams of a connection.
    pub streams: u64,
    /// Most credit of a stream.
    pub credit: u64,
}

/// The node's first frame.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// The version used from here.
    pub v: u64,
    /// libp2p peer id.
    pub node: String,
    /// The node, as in `src` of frames.
    pub id: opus_core::NodeId,
    /// Of the program.
    pub version: String,
    /// Network name.
    pub network: String,
    /// What this connection may do.
    pub role: Role,
    /// In force.
    pub limits: LimitsSaid,
    /// Additions to v1.
    pub features: Vec<String>,
}

/// The node is about to leave: finish, reconnect later.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Goaway {
    /// For people.
    pub reason: String,
    /// It closes after this many ms.
    pub drain_ms: u64,
}

bodies!(Hello, Welcome, Fault, End, Goaway);

/// A frame of the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FromClient {
    /// First, and only once.
    Hello(Hello),
    /// A call.
    Req {
        /// Its number, rising.
        call: u32,
        /// Its name, known or not.
        method: Named,
        /// A map, not yet looked into.
        params: Raw,
    },
    /// More items for a stream.
    Credit {
        /// The stream's call.
        call: u32,
        /// How many.
        n: u64,
    },
    /// The client wants no more of a call.
    Cancel {
        /// Its number.
        call: u32,
    },
}

/// A method's name in a REQ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Named {
    /// One of v1.
    Known(Method),
    /// Another.
    Unknown(String),
}

/// A frame of the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FromNode {
    /// Answers HELLO.
    Welcome(Welcome),
    /// Ends a call.
    Res {
        /// Its number.
        call: u32,
        /// Its result.
        result: Raw,
    },
    /// Ends a call, or the connection when `call` is 0.
    Err {
        /// Its number.
        call: u32,
        /// Why.
        fault: Fault,
    },
    /// One item of a stream.
    Item {
        /// The stream's call.
        call: u32,
        /// The item.
        item: Raw,
    },
    /// A stream is over.
    End {
        /// The stream's call.
        call: u32,
        /// Why.
        end: End,
    },
    /// The node is about to leave.
    Goaway(Goaway),
}

impl FromClient {
    /// Reads one scanned item. Errors: what the node answers on call 0 before it closes.
    pub fn read(frame: &Bytes) -> Result<Self, Refusal> {
        let mut cursor = Cursor::new(frame);
        let count = cursor.array().ok_or_else(|| shape("a frame is an array"))?;
        let kind = cursor
            .uint()
            .ok_or_else(|| shape("a frame begins with its kind"))?;
        let message = match (kind, count) {
            (0, 2) => Self::Hello(hello(&frame[cursor.rest()])?),
            (1, 4) => {
                let call = call(&mut cursor)?;
                let name = cursor.text().ok_or_else(|| shape("method is a text"))?;
                let method = Method::parse(name)
                    .map_or_else(|| Named::Unknown(shortened(name)), Named::Known);
                let params = Raw(frame.slice(cursor.rest()));
                Self::Req {
                    call,
                    method,
                    params,
                }
            }
            (6, 3) => Self::Credit {
                call: call(&mut cursor)?,
                n: cursor.uint().ok_or_else(|| shape("credit is a number"))?,
            },
            (7, 2) => Self::Cancel {
                call: call(&mut cursor)?,
            },
            (0 | 1 | 6 | 7, _) => return Err(shape("wrong number of elements")),
            (2..=5 | 8, _) => return Err(shape("a kind that only the node sends")),
            _ => return Err(shape("unknown kind")),
        };
        Ok(message)
    }

    /// Appends the frame with its length.
    pub fn write(&self, out: &mut BytesMut) {
        match self {
            Self::Hello(hello) => framed(out, |out| {
                begin(out, 2, 0);
                put(out, hello);
            }),
            Self::Req {
                call,
                method,
                params,
            } => framed(out, |out| {
                begin(out, 4, 1);
                head(out, UINT, u64::from(*call));
                text(out, method.name());
                out.extend_from_slice(&params.0);
            }),
            Self::Credit { call, n } => framed(out, |out| {
                begin(out, 3, 6);
                head(out, UINT, u64::from(*call));
                head(out, UINT, *n);
            }),
            Self::Cancel { call } => framed(out, |out| {
                begin(out, 2, 7);
                head(out, UINT, u64::from(*call));
            }),
        }
    }
}

impl Named {
    /// As on the wire.
    pub fn name(&self) -> &str {
        match self {
            Self::Known(method) => method.name(),
            Self::Unknown(name) => name,
        }
    }
}

impl FromNode {
    /// Reads one scanned item. Errors: the node broke the protocol.
    pub fn read(frame: &Bytes) -> Result<Self, Refusal> {
        let mut cursor = Cursor::new(frame);
        let count = cursor.array().ok_or_else(|| shape("a frame is an array"))?;
        let kind = cursor
            .uint()
            .ok_or_else(|| shape("a frame begins with its kind"))?;
        let message = match (kind, count) {
            (0, 2) => Self::Welcome(inside(&frame[cursor.rest()])?),
            (2, 3) => Self::Res {
                call: call(&mut cursor)?,
                result: Raw(frame.slice(cursor.rest())),
            },
            (3, 3) => Self::Err {
                call: call_or_zero(&mut cursor)?,
                fault: inside(&frame[cursor.rest()])?,
            },
            (4, 3) => Self::Item {
                call: call(&mut cursor)?,
                item: Raw(frame.slice(cursor.rest())),
            },
            (5, 3) => Self::End {
                call: call(&mut cursor)?,
                end: inside(&frame[cursor.rest()])?,
            },
            (8, 2) => Self::Goaway(inside(&frame[cursor.rest()])?),
            _ => return Err(shape("not a frame of a node")),
        };
        Ok(message)
    }

    /// Appends the frame with its length.
    pub fn write(&self, out: &mut BytesMut) {
        match self {
            Self::Welcome(welcome) => framed(out, |out| {
                begin(out, 2, 0);
                put(out, welcome);
            }),
            Self::Res { call, result } => {
                answer(out, RES, *call, |out| out.extend_from_slice(&result.0));
            }
            Self::Err { call, fault } => answer(out, ERR, *call, |out| put(out, fault)),
            Self::Item { call, item } => {
                answer(out, ITEM, *call, |out| out.extend_from_slice(&item.0));
            }
            Self::End { call, end } => answer(out, END, *call, |out| put(out, end)),
            Self::Goaway(goaway) => framed(out, |out| {
                begin(out, 2, 8);
                put(out, goaway);
            }),
        }
    }
}

/// Appends `[kind, call, body]` with its length: RES 2, ERR 3, ITEM 4, END 5.
pub(crate) fn answer(out: &mut BytesMut, kind: u64, call: u32, body: impl FnOnce(&mut BytesMut)) {
    framed(out, |out| {
        begin(out, 3, kind);
        head(out, UINT, u64::from(call));
        body(out);
    });
}

/// Encodes params and adds `deadline_ms` when there is one.
pub(crate) fn params<P: Serialize + ?Sized>(params: &P, deadline_ms: Option<u64>) -> Raw {
    let plain = Raw::of(params);
    let Some(deadline_ms) = deadline_ms else {
        return plain;
    };
    let mut cursor = Cursor::new(&plain.0);
    let entries = cursor.map().expect("params are a map");
    let mut out = BytesMut::with_capacity(plain.0.len() + 24);
    head(&mut out, MAP, entries + 1);
    out.extend_from_slice(&plain.0[cursor.rest()]);
    text(&mut out, DEADLINE);
    head(&mut out, UINT, deadline_ms);
    Raw(out.freeze())
}

/// What any params may carry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Common {
    /// The call ends with `deadline` after so many ms.
    pub(crate) deadline_ms: Option<u64>,
    /// A stream's credit at its start.
    pub(crate) credit: Option<u64>,
}

/// Looks through scanned params. Errors: they are not a map, or one of the two is not a `uint`.
pub(crate) fn common(params: &[u8]) -> Result<Common, &'static str> {
    let mut cursor = Cursor::new(params);
    let entries = cursor.map().ok_or("params are a map")?;
    let mut common = Common::default();
    for _ in 0..entries {
        match cursor.text().ok_or("a key is a text")? {
            DEADLINE => common.deadline_ms = Some(cursor.uint().ok_or("deadline_ms is a number")?),
            "credit" => common.credit = Some(cursor.uint().ok_or("credit is a number")?),
            _ => {
                cursor.item().ok_or("params are cut")?;
            }
        }
    }
    Ok(common)
}

/// Kinds of the answers.
pub(crate) const RES: u64 = 2;
pub(crate) const ERR: u64 = 3;
pub(crate) const ITEM: u64 = 4;
pub(crate) const END: u64 = 5;

const DEADLINE: &str = "deadline_ms";

/// Writes one frame: its length, then what `body` appends.
fn framed(out: &mut BytesMut, body: impl FnOnce(&mut BytesMut)) {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    body(out);
    let length = u32::try_from(out.len() - start - 4).expect("a frame of more than 4 GiB");
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
}

fn begin(out: &mut BytesMut, count: u64, kind: u64) {
    head(out, ARRAY, count);
    head(out, UINT, kind);
}

fn hello(body: &[u8]) -> Result<Hello, Refusal> {
    let mut hello: Hello = inside(body)?;
    if hello.proto != PROTO {
        return Err(shape("proto is \"opus-ipc\""));
    }
    if !hello.v.contains(&VERSION) {
        return Err(Refusal::new(Code::Version, "this node speaks version 1"));
    }
    hello.app = shortened(&hello.app);
    Ok(hello)
}

/// A name fit for a log line.
fn shortened(name: &str) -> String {
    let fit = |letter: char| if letter.is_control() { '?' } else { letter };
    name.chars().take(APP_MAX).map(fit).collect()
}

fn inside<T: serde::de::DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    owned(body).map_err(|error| Refusal::new(Code::BadRequest, error.to_string()))
}

fn call(cursor: &mut Cursor<'_>) -> Result<u32, Refusal> {
    match call_or_zero(cursor)? {
        0 => Err(shape("call is 1 to 4294967295")),
        call => Ok(call),
    }
}

fn call_or_zero(cursor: &mut Cursor<'_>) -> Result<u32, Refusal> {
    let call = cursor.uint().and_then(|call| u32::try_from(call).ok());
    call.ok_or_else(|| shape("call is 1 to 4294967295"))
}

fn shape(msg: &'static str) -> Refusal {
    Refusal::new(Code::BadRequest, msg)
}
