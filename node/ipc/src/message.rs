//! What goes over the wire: frames, parameters, results and items of `opus-ipc/1`.
//!
//! Frames are arrays with a leading kind number, written and read by hand in [`frame`]; all inside
//! is typed here, one parameter type per method. Maps are open: unknown keys are ignored.

pub mod app;
pub mod dicast;
pub mod frame;
pub mod frames;
pub mod node;

pub use self::{
    app::{
        AppAttach, AppDeploy, AppDetach, AppLine, AppList, AppRetire, AppShow, AppUpdate, AppView,
        As, Attached, Deployed, Edge, FlowLine, Kind, Lease, LeaseKind, MemberItem, MemberState,
        MembershipWatch, Port, Proto, Quote, Resume, Value,
    },
    dicast::{
        Answer, ClusterLine, Defined, DicastDefine, DicastSet, DicastShow, DicastUnset, DicastView,
        KeyLine, KeyName, PartLine, QuantileLine, Scope, SeatLine, TopLine, Tree, View,
    },
    frame::{Code, End, Fault, FromClient, FromNode, Goaway, Hello, LimitsSaid, Role, Welcome},
    frames::{Frame, FramesFlush, FramesRecv, FramesSend, Sent},
    node::{
        Check, EventItem, EventLine, IpcSchema, NodeDoctor, NodeDrain, NodeEvents, NodeLogSet,
        NodePeers, NodeStatus, PeerLine, Status, Verdict, Via,
    },
};

use serde::{Deserialize, Serialize};

/// The result of a method that has nothing to say: `{}`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Empty {}

crate::body::bodies!(Empty);

/// An item type that can say "n items were left out".
pub trait Lossy: crate::body::Body {
    /// `{lost: n}`.
    fn lost(n: u64) -> Self;
}
