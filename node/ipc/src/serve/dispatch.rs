//! One frame of a client: what the protocol says to it.

use std::sync::Arc;

use bytes::Bytes;
use tokio::time::{Duration, Instant};

use super::{Request, shared::Shared, ticket::Opening};
use crate::{
    body::{Body, Raw},
    message::{
        Code, Fault, FromClient, FromNode, IpcSchema, Role,
        frame::{Named, common},
    },
    method::{Method, SCHEMA, Shape},
    wire::{Refusal, code_of},
};

/// Longest deadline, ms: 30 days; a longer one is cut.
const DEADLINE_MS_MAX: u64 = 30 * 86_400_000;

/// What the dispatcher remembers between two frames.
#[derive(Debug)]
pub(super) struct Dispatch {
    shared: Arc<Shared>,
    /// The last call's number: the next one is higher.
    last: u32,
}

impl Dispatch {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, last: 0 }
    }

    /// Handles one scanned frame. Errors: the connection ends with this refusal.
    pub(super) fn frame(&mut self, frame: &Bytes) -> Result<(), Refusal> {
        match FromClient::read(frame)? {
            FromClient::Hello(_) => Err(Refusal::new(Code::BadRequest, "a second HELLO")),
            FromClient::Req {
                call,
                method,
                params,
            } => {
                if call <= self.last {
                    let msg = format!("call {call} after call {}: not rising", self.last);
                    return Err(Refusal::new(Code::BadRequest, msg));
                }
                self.last = call;
                if let Err(fault) = self.request(call, &method, &params) {
                    self.shared.say(&FromNode::Err { call, fault });
                }
                Ok(())
            }
            FromClient::Credit { call, n } => {
                self.shared.credit(call, n);
                Ok(())
            }
            FromClient::Cancel { call } => {
                self.shared.cancel(call);
                Ok(())
            }
        }
    }

    /// Errors: what this call is answered; the connection goes on.
    fn request(&self, call: u32, method: &Named, params: &Raw) -> Result<(), Fault> {
        let method = match method {
            Named::Known(method) => *method,
            Named::Unknown(name) => {
                let fault = Fault::new(Code::Unsupported, format!("no method {name:?} here"));
                return Err(fault.help("opus-node call ipc.schema"));
            }
        };
        self.allowed(method)?;
        let common = common(&params.0).map_err(|msg| Fault::new(Code::BadRequest, msg))?;
        let deadline = common.deadline_ms.map(|ms| {
            let ms = ms.min(DEADLINE_MS_MAX);
            Instant::now() + Duration::from_millis(ms)
        });
        let credit = common.credit.map(|n| u32::try_from(n).unwrap_or(u32::MAX));
        let opening = Opening {
            deadline,
            credit,
            bytes: params.0.len(),
        };
        let open = || self.shared.open(call, method, opening);
        let request = Request::read(method, &params.0, open)
            .map_err(|error| Fault::new(code_of(&error), error.to_string()))?;
        match request {
            Some(request) => self.serve(request),
            None => self.schema(call, params)?,
        }
        Ok(())
    }

    fn allowed(&self, method: Method) -> Result<(), Fault> {
        let role = self.shared.conn.peer.role;
        if role < method.role() {
            let needed = match method.role() {
                Role::Admin => "the node's user, root or group opus-admin",
                Role::App | Role::Component => "a program that is not a component",
            };
            let msg = format!("{} is for {needed}", method.name());
            return Err(Fault::new(Code::Denied, msg));
        }
        if method.shape() == Shape::Stream && !self.shared.streams_left() {
            let msg = format!("over {} streams", self.shared.config.streams_max);
            return Err(Fault::new(Code::Quota, msg));
        }
        Ok(())
    }

    fn serve(&self, request: Request) {
        let peer = &self.shared.conn.peer;
        let named = request.app();
        if peer.role == Role::Component && named.is_some() && named != peer.scope.as_deref() {
            request.refuse(Fault::new(Code::Denied, "a component has its own app only"));
            return;
        }
        self.shared.service.call(&self.shared.conn, request);
    }

    fn schema(&self, call: u32, params: &Raw) -> Result<(), Fault> {
        IpcSchema::read(&params.0)
            .map_err(|error| Fault::new(code_of(&error), error.to_string()))?;
        let result = Raw::of(SCHEMA);
        self.shared.say(&FromNode::Res { call, result });
        Ok(())
    }
}
