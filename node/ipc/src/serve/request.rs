//! A call as the service gets it: typed parameters and the handle that answers it.

use bytes::Bytes;
use opus_core::Malformed;

use super::{Reply, Sink, ticket::Ticket};
use crate::{
    body::Body,
    message::{
        AppAttach, AppDeploy, AppDetach, AppLine, AppList, AppRetire, AppShow, AppUpdate, AppView,
        Attached, Check, Defined, Deployed, DicastDefine, DicastSet, DicastShow, DicastUnset,
        DicastView, Empty, EventItem, Fault, Frame, FramesFlush, FramesRecv, FramesSend,
        MemberItem, MembershipWatch, NodeDoctor, NodeDrain, NodeEvents, NodeLogSet, NodePeers,
        NodeStatus, PeerLine, Sent, Status, Tree, View,
    },
    method::{Method, for_each_method},
};

macro_rules! handle {
    (call, $body:ty) => {
        Reply<$body>
    };
    (watch, $body:ty) => {
        Sink<$body>
    };
}

macro_rules! open {
    (call, $ticket:expr) => {
        Reply::new($ticket)
    };
    (watch, $ticket:expr) => {
        Sink::new($ticket)
    };
}

macro_rules! requests {
    ($($params:ident, $name:literal, $role:ident, $shape:ident, $body:ty;)*) => {
        /// One call of a client.
        #[derive(Debug)]
        pub enum Request {
            $(#[doc = concat!("`", $name, "`")] $params($params, handle!($shape, $body)),)*
        }

        impl Request {
            /// Which method.
            pub fn method(&self) -> Method {
                match self {
                    $(Self::$params(..) => Method::$params,)*
                }
            }

            /// Answers with a fault, whatever the method.
            pub fn refuse(self, fault: Fault) {
                match self {
                    $(Self::$params(_, handle) => handle.err(fault),)*
                }
            }

            /// Decodes `params`, then takes the ticket. `None`: not for the service.
            pub(super) fn read(
                method: Method,
                params: &Bytes,
                ticket: impl FnOnce() -> Ticket,
            ) -> Result<Option<Self>, Malformed> {
                match method {
                    $(Method::$params => {
                        let params = $params::read(params)?;
                        Ok(Some(Self::$params(params, open!($shape, ticket()))))
                    })*
                    Method::IpcSchema => Ok(None),
                }
            }
        }
    };
}
for_each_method!(requests);

impl Request {
    /// The application that the parameters name.
    pub fn app(&self) -> Option<&str> {
        match self {
            Self::AppShow(params, _) => Some(&params.app),
            Self::AppAttach(params, _) => Some(&params.app),
            Self::NodeStatus(..)
            | Self::NodePeers(..)
            | Self::NodeEvents(..)
            | Self::NodeDoctor(..)
            | Self::NodeDrain(..)
            | Self::NodeLogSet(..)
            | Self::AppDeploy(..)
            | Self::AppUpdate(..)
            | Self::AppRetire(..)
            | Self::AppList(..)
            | Self::AppDetach(..)
            | Self::FramesSend(..)
            | Self::FramesFlush(..)
            | Self::FramesRecv(..)
            | Self::MembershipWatch(..)
            | Self::DicastShow(..)
            | Self::DicastView(..)
            | Self::DicastDefine(..)
            | Self::DicastSet(..)
            | Self::DicastUnset(..) => None,
        }
    }
}
