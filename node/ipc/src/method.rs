//! The methods that exist, and who may call them.

use crate::{
    body::Body,
    message::{
        AppAttach, AppDeploy, AppDetach, AppLine, AppList, AppRetire, AppShow, AppUpdate, AppView,
        Attached, Check, Defined, Deployed, DicastDefine, DicastSet, DicastShow, DicastUnset,
        DicastView, Empty, EventItem, Frame, FramesFlush, FramesRecv, FramesSend, IpcSchema,
        MemberItem, MembershipWatch, NodeDoctor, NodeDrain, NodeEvents, NodeLogSet, NodePeers,
        NodeStatus, PeerLine, Role, Sent, Status, Tree, View,
    },
};

/// Additions to the v1 page that this crate speaks: told in WELCOME.
pub const FEATURES: [&str; 3] = ["last", "flush", "resume"];

/// The normative description, as `ipc.schema` gives it.
pub const SCHEMA: &str = include_str!("../../../docs/ipc/opus-ipc-1.cddl");

/// Parameters of a method that ends with one RES or ERR.
pub trait Call: Body {
    /// Its name.
    const METHOD: Method;
    /// What RES holds.
    type Answer: Body;
}

/// Parameters of a method that gives ITEMs until END.
pub trait Watch: Body {
    /// Its name.
    const METHOD: Method;
    /// What ITEM holds.
    type Item: Body;
}

/// How a method answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// One RES or ERR.
    Call,
    /// ITEMs, then END or ERR.
    Stream,
}

/// Hands the table of the service's methods to a macro:
/// parameters, name, least role, `call` or `watch`, and the type of the answer or item.
macro_rules! for_each_method {
    ($then:ident) => {
        $then! {
            NodeStatus, "node.status", Component, call, Status;
            NodePeers, "node.peers", App, call, Vec<PeerLine>;
            NodeEvents, "node.events", App, watch, EventItem;
            NodeDoctor, "node.doctor", App, call, Vec<Check>;
            NodeDrain, "node.drain", Admin, call, Empty;
            NodeLogSet, "node.log_set", Admin, call, Empty;
            AppDeploy, "app.deploy", App, call, Deployed;
            AppUpdate, "app.update", App, call, Deployed;
            AppRetire, "app.retire", App, call, Deployed;
            AppList, "app.list", App, call, Vec<AppLine>;
            AppShow, "app.show", Component, call, AppView;
            AppAttach, "app.attach", Component, call, Attached;
            AppDetach, "app.detach", Component, call, Empty;
            FramesSend, "frames.send", Component, call, Sent;
            FramesFlush, "frames.flush", Component, call, Empty;
            FramesRecv, "frames.recv", Component, watch, Frame;
            MembershipWatch, "membership.watch", Component, watch, MemberItem;
            DicastShow, "dicast.show", App, call, Tree;
            DicastView, "dicast.view", App, call, View;
            DicastDefine, "dicast.define", App, call, Defined;
            DicastSet, "dicast.set", App, call, Empty;
            DicastUnset, "dicast.unset", App, call, Empty;
        }
    };
}
pub(crate) use for_each_method;

macro_rules! shape {
    (call) => {
        Shape::Call
    };
    (watch) => {
        Shape::Stream
    };
}

macro_rules! implement {
    ($params:ident, call, $body:ty) => {
        impl Call for $params {
            const METHOD: Method = Method::$params;
            type Answer = $body;
        }
    };
    ($params:ident, watch, $body:ty) => {
        impl Watch for $params {
            const METHOD: Method = Method::$params;
            type Item = $body;
        }
    };
}

macro_rules! table {
    ($($params:ident, $name:literal, $role:ident, $shape:ident, $body:ty;)*) => {
        /// A method of v1 that exists.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Method {
            $(#[doc = concat!("`", $name, "`")] $params,)*
            /// `ipc.schema`; answered by the dispatcher itself.
            IpcSchema,
        }

        impl Method {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$params,)* Self::IpcSchema];

            /// As on the wire.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$params => $name,)*
                    Self::IpcSchema => "ipc.schema",
                }
            }

            /// The method of this name.
            pub fn parse(name: &str) -> Option<Self> {
                match name {
                    $($name => Some(Self::$params),)*
                    "ipc.schema" => Some(Self::IpcSchema),
                    _ => None,
                }
            }

            /// The least role that may call it; `Admin` is the `!` of the table.
            pub fn role(self) -> Role {
                match self {
                    $(Self::$params => Role::$role,)*
                    Self::IpcSchema => Role::Component,
                }
            }

            /// How it answers.
            pub fn shape(self) -> Shape {
                match self {
                    $(Self::$params => shape!($shape),)*
                    Self::IpcSchema => Shape::Call,
                }
            }
        }

        $(implement!($params, $shape, $body);)*
    };
}
for_each_method!(table);
implement!(IpcSchema, call, String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_is_found_by_its_name_alone() {
        for &method in Method::ALL {
            assert_eq!(Method::parse(method.name()), Some(method));
        }
        assert_eq!(Method::parse("token.new"), None);
        assert_eq!(Method::parse("node.status "), None);
    }

    #[test]
    fn what_the_page_marks_is_for_admins_alone() {
        let marked: Vec<_> = Method::ALL
            .iter()
            .filter(|method| method.role() == Role::Admin)
            .map(|method| method.name())
            .collect();
        assert_eq!(marked, ["node.drain", "node.log_set"]);
    }

    #[test]
    fn the_schema_has_rules_for_every_method() {
        for method in Method::ALL {
            let rule = format!("\n{}.", method.name());
            assert!(SCHEMA.contains(&rule), "{}", method.name());
        }
    }
}
