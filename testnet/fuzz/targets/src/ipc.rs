//! What programs and their node say to each other.

use bytes::{Bytes, BytesMut};
use opus_ipc::{
    Body, Method, Raw, json,
    message::{
        AppAttach, AppDeploy, AppDetach, AppLine, AppList, AppRetire, AppShow, AppUpdate, AppView,
        Attached, Check, Defined, Deployed, DicastDefine, DicastSet, DicastShow, DicastUnset,
        DicastView, EventItem, Frame, FramesFlush, FramesRecv, FramesSend, FromClient, FromNode,
        MemberItem, MembershipWatch, NodeDoctor, NodeDrain, NodeEvents, NodeLogSet, NodePeers,
        NodeStatus, PeerLine, Sent, Status, Tree, View,
    },
    wire,
};

/// Frames as a stream of bytes, read as each side would, and what they carry.
pub fn frames(bytes: &[u8]) {
    let mut buffer = BytesMut::from(bytes);
    while let Ok(Some(item)) = wire::split(&mut buffer, wire::FRAME_MAX) {
        if let Ok(frame) = FromClient::read(&item) {
            let again = FromClient::read(&written(|out| frame.write(out)));
            assert_eq!(again.as_ref(), Ok(&frame));
            if let FromClient::Req { method, params, .. } = &frame {
                asked(Method::parse(method.name()), params);
            }
        }
        if let Ok(frame) = FromNode::read(&item) {
            let again = FromNode::read(&written(|out| frame.write(out)));
            assert_eq!(again.as_ref(), Ok(&frame));
            match &frame {
                FromNode::Res { call, result } => told(*call, result),
                FromNode::Item { call, item } => told(*call, item),
                FromNode::Welcome(_)
                | FromNode::Err { .. }
                | FromNode::End { .. }
                | FromNode::Goaway(_) => {}
            }
        }
        as_json(&Raw(item));
    }
}

/// The item of a frame that was written; it must be within the limits.
fn written(write: impl FnOnce(&mut BytesMut)) -> Bytes {
    let mut out = BytesMut::new();
    write(&mut out);
    let item = wire::split(&mut out, wire::FRAME_MAX).expect("what is written is lawful");
    item.expect("a frame is written whole")
}

/// The parameters of a method.
fn asked(method: Option<Method>, params: &Raw) {
    match method {
        Some(Method::NodeStatus) => body::<NodeStatus>(params),
        Some(Method::NodePeers) => body::<NodePeers>(params),
        Some(Method::NodeEvents) => body::<NodeEvents>(params),
        Some(Method::NodeDoctor) => body::<NodeDoctor>(params),
        Some(Method::NodeDrain) => body::<NodeDrain>(params),
        Some(Method::NodeLogSet) => body::<NodeLogSet>(params),
        Some(Method::AppDeploy) => body::<AppDeploy>(params),
        Some(Method::AppUpdate) => body::<AppUpdate>(params),
        Some(Method::AppRetire) => body::<AppRetire>(params),
        Some(Method::AppList) => body::<AppList>(params),
        Some(Method::AppShow) => body::<AppShow>(params),
        Some(Method::AppAttach) => body::<AppAttach>(params),
        Some(Method::AppDetach) => body::<AppDetach>(params),
        Some(Method::FramesSend) => body::<FramesSend>(params),
        Some(Method::FramesFlush) => body::<FramesFlush>(params),
        Some(Method::FramesRecv) => body::<FramesRecv>(params),
        Some(Method::MembershipWatch) => body::<MembershipWatch>(params),
        Some(Method::DicastShow) => body::<DicastShow>(params),
        Some(Method::DicastView) => body::<DicastView>(params),
        Some(Method::DicastDefine) => body::<DicastDefine>(params),
        Some(Method::DicastSet) => body::<DicastSet>(params),
        Some(Method::DicastUnset) => body::<DicastUnset>(params),
        Some(Method::IpcSchema) | None => {}
    }
}

/// A result or item. A program knows of which method it is; here the number of the call says it.
fn told(call: u32, raw: &Raw) {
    match call % 16 {
        0 => body::<Status>(raw),
        1 => body::<Vec<PeerLine>>(raw),
        2 => body::<EventItem>(raw),
        3 => body::<Vec<Check>>(raw),
        4 => body::<Deployed>(raw),
        5 => body::<Vec<AppLine>>(raw),
        6 => body::<AppView>(raw),
        7 => body::<Attached>(raw),
        8 => body::<Sent>(raw),
        9 => body::<Frame>(raw),
        10 => body::<MemberItem>(raw),
        11 => body::<Tree>(raw),
        12 => body::<View>(raw),
        13 => body::<Defined>(raw),
        _ => body::<String>(raw),
    }
}

fn body<T: Body>(raw: &Raw) {
    if let Ok(value) = raw.get::<T>() {
        let once = Raw::of(&value);
        let read: T = once.get().expect("what is written can be read");
        assert_eq!(Raw::of(&read), once);
    }
}

/// Any value as JSON and back, unless it holds what JSON has no place for.
fn as_json(raw: &Raw) {
    if let Ok(value) = json::from_raw(raw) {
        let back = json::to_raw(&value).ok();
        let again = back.and_then(|raw| json::from_raw(&raw).ok());
        assert!(again.is_none_or(|again| again == value));
    }
}
