//! One connection of a client, from HELLO to its end.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
};

use bytes::BytesMut;
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, oneshot},
    time::timeout,
};

use super::{CallError, ConnectError, Io};
use crate::{
    body::Raw,
    message::{Code, End, Fault, FromClient, FromNode, Hello, Welcome, frame::Named},
    wire::{FRAME_MAX, HELLO, ReadError, Reader, Refusal},
};

/// One connection. Its task ends when [`Link::close`] is called or the node closes.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) welcome: Welcome,
    state: Mutex<State>,
    /// Wakes the writer: something to send, or closed.
    writer: Notify,
    /// Ends the reader.
    closed: Notify,
    /// As many calls as the node takes without a stop, so that credit and cancel get through.
    inflight: Arc<Semaphore>,
}

#[derive(Debug, Default)]
struct State {
    /// Frames on their way out; at most `inflight` requests and small ones.
    out: BytesMut,
    calls: BTreeMap<u32, Waiting>,
    last: u32,
    closed: bool,
    fault: Option<Fault>,
}

/// Who waits for a call's answer.
#[derive(Debug)]
enum Waiting {
    Call {
        answer: oneshot::Sender<Result<Raw, CallError>>,
        #[expect(dead_code, reason = "frees the call's place when it is dropped")]
        permit: OwnedSemaphorePermit,
    },
    Stream(mpsc::Sender<StreamEvent>),
}

/// What comes on a stream.
#[derive(Debug)]
pub(super) enum StreamEvent {
    Item(Raw),
    End(Option<Fault>),
}

/// A stream that was asked for.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) call: u32,
    pub(super) window: u32,
    pub(super) events: mpsc::Receiver<StreamEvent>,
}

impl Link {
    /// Says HELLO, waits for WELCOME and starts the connection's task.
    pub(super) async fn open(io: Box<dyn Io>, hello: &Hello) -> Result<Arc<Self>, ConnectError> {
        let (read, mut write) = tokio::io::split(io);
        let mut out = BytesMut::new();
        FromClient::Hello(hello.clone()).write(&mut out);
        // A node that refuses at once has closed already: its reason is still there to be read.
        let said = write.write_all(&out).await;
        let mut reader = Reader::new(read, FRAME_MAX);
        let frame = match timeout(HELLO, reader.next()).await {
            Ok(Ok(frame)) => frame,
            Ok(Err(error)) => {
                let error = said.err().map_or(error, ReadError::Io);
                return Err(ConnectError::Protocol(error));
            }
            Err(_) => {
                let late = Refusal::new(Code::Deadline, "no WELCOME within 5 s");
                return Err(ConnectError::Protocol(late.into()));
            }
        };
        let welcome = match FromNode::read(&frame) {
            Ok(FromNode::Welcome(welcome)) => welcome,
            Ok(FromNode::Err { fault, .. }) => return Err(ConnectError::Refused(fault)),
            Ok(
                FromNode::Res { .. }
                | FromNode::Item { .. }
                | FromNode::End { .. }
                | FromNode::Goaway(_),
            ) => {
                let other = Refusal::new(Code::BadRequest, "WELCOME comes first");
                return Err(ConnectError::Protocol(other.into()));
            }
            Err(refusal) => return Err(ConnectError::Protocol(refusal.into())),
        };
        let inflight = usize::try_from(welcome.limits.inflight).unwrap_or(usize::MAX);
        let link = Arc::new(Self {
            inflight: Arc::new(Semaphore::new(inflight.clamp(1, 1 << 16))),
            welcome,
            state: Mutex::default(),
            writer: Notify::new(),
            closed: Notify::new(),
        });
        let task = Arc::clone(&link);
        tokio::spawn(async move {
            tokio::join!(task.read(reader), task.write(write));
        });
        Ok(link)
    }

    pub(super) fn is_closed(&self) -> bool {
        self.state().closed
    }

    /// Ends the connection; whoever waits learns that it is lost.
    pub(super) fn close(&self, fault: Option<&Fault>) {
        let mut state = self.state();
        if state.closed {
            return;
        }
        state.closed = true;
        state.fault = fault.cloned();
        let calls = std::mem::take(&mut state.calls);
        drop(state);
        for waiting in calls.into_values() {
            // A stream learns of it by the end of its channel.
            if let Waiting::Call { answer, .. } = waiting {
                tell(answer, Err(CallError::Lost(fault.cloned())));
            }
        }
        self.writer.notify_one();
        self.closed.notify_one();
    }

    /// Why the connection ended, if the node said so.
    pub(super) fn lost(&self) -> CallError {
        CallError::Lost(self.state().fault.clone())
    }

    pub(super) async fn call(
        self: &Arc<Self>,
        method: Named,
        params: Raw,
    ) -> Result<Raw, CallError> {
        let permit = Arc::clone(&self.inflight).acquire_owned().await;
        let permit = permit.expect("the semaphore is never closed");
        let (answer, told) = oneshot::channel();
        let call = self.request(method, params, Waiting::Call { answer, permit })?;
        let mut cancel = CancelOnDrop {
            link: self,
            call: Some(call),
        };
        let answer = told.await;
        cancel.call = None;
        answer.unwrap_or_else(|_| Err(self.lost()))
    }

    pub(super) fn stream(
        &self,
        method: Named,
        params: Raw,
        window: u32,
    ) -> Result<Opened, CallError> {
        // The node sends as many items as it has credit for, and one END.
        let room = usize::try_from(window)
            .unwrap_or(usize::MAX)
            .saturating_add(1);
        let (tell, events) = mpsc::channel(room.min(1 << 16));
        let call = self.request(method, params, Waiting::Stream(tell))?;
        Ok(Opened {
            call,
            window,
            events,
        })
    }

    pub(super) fn credit(&self, call: u32, n: u32) {
        self.say(&FromClient::Credit {
            call,
            n: u64::from(n),
        });
    }

    pub(super) fn cancel(&self, call: u32) {
        self.say(&FromClient::Cancel { call });
    }

    fn request(&self, method: Named, params: Raw, waiting: Waiting) -> Result<u32, CallError> {
        if params.0.len() + method.name().len() + 32 > FRAME_MAX {
            return Err(Fault::new(Code::TooLarge, "the request is over limits.frame").into());
        }
        let mut state = self.state();
        if state.closed || state.last == u32::MAX {
            drop(state);
            self.close(None);
            return Err(self.lost());
        }
        state.last += 1;
        let call = state.last;
        state.calls.insert(call, waiting);
        let request = FromClient::Req {
            call,
            method,
            params,
        };
        request.write(&mut state.out);
        drop(state);
        self.writer.notify_one();
        Ok(call)
    }

    fn say(&self, frame: &FromClient) {
        let mut state = self.state();
        if !state.closed {
            frame.write(&mut state.out);
            drop(state);
            self.writer.notify_one();
        }
    }

    async fn read<R: AsyncRead + Unpin>(&self, mut reader: Reader<R>) {
        loop {
            let frame = tokio::select! {
                biased;
                () = self.closed.notified() => return,
                frame = reader.next() => frame,
            };
            let heard = match frame {
                Ok(frame) => FromNode::read(&frame).and_then(|frame| self.hear(frame)),
                Err(ReadError::Refused(refusal)) => Err(refusal),
                Err(ReadError::Closed | ReadError::Io(_)) => return self.close(None),
            };
            if let Err(refusal) = heard {
                return self.close(Some(&refusal.into()));
            }
        }
    }

    /// Errors: the node broke the protocol.
    fn hear(&self, frame: FromNode) -> Result<(), Refusal> {
        match frame {
            FromNode::Res { call, result } => self.answer(call, Ok(result)),
            FromNode::Err { call: 0, fault } => self.close(Some(&fault)),
            FromNode::Err { call, fault } => self.answer(call, Err(fault)),
            FromNode::Item { call, item } => return self.item(call, item),
            FromNode::End { call, end } => self.end(call, end),
            FromNode::Goaway(goaway) => {
                tracing::debug!(goaway.reason, goaway.drain_ms, "the node is leaving");
            }
            FromNode::Welcome(_) => {
                return Err(Refusal::new(Code::BadRequest, "a second WELCOME"));
            }
        }
        Ok(())
    }

    fn answer(&self, call: u32, answer: Result<Raw, Fault>) {
        let waiting = self.state().calls.remove(&call);
        match waiting {
            Some(Waiting::Call { answer: to, .. }) => tell(to, answer.map_err(CallError::Fault)),
            Some(Waiting::Stream(events)) => finish(&events, answer.err()),
            None => {}
        }
    }

    fn item(&self, call: u32, item: Raw) -> Result<(), Refusal> {
        let state = self.state();
        let Some(Waiting::Stream(events)) = state.calls.get(&call) else {
            return Ok(());
        };
        match events.try_send(StreamEvent::Item(item)) {
            // A stream that was dropped has sent its CANCEL.
            Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => Ok(()),
            Err(mpsc::error::TrySendError::Full(_)) => {
                Err(Refusal::new(Code::BadRequest, "more items than credit"))
            }
        }
    }

    fn end(&self, call: u32, end: End) {
        let waiting = self.state().calls.remove(&call);
        if let Some(Waiting::Stream(events)) = waiting {
            let fault = end
                .code
                .map(|code| Fault::new(code, end.msg.unwrap_or_default()));
            finish(&events, fault);
        }
    }

    async fn write<W: AsyncWrite + Unpin>(&self, mut write: W) {
        let mut chunk = BytesMut::new();
        loop {
            let closed = {
                let mut state = self.state();
                chunk.clear();
                std::mem::swap(&mut state.out, &mut chunk);
                state.closed
            };
            if closed {
                break;
            }
            if chunk.is_empty() {
                self.writer.notified().await;
                continue;
            }
            let done = tokio::select! {
                done = write.write_all(&chunk) => done,
                () = self.wait_closed() => break,
            };
            if done.is_err() {
                // The reader may still find the node's reason.
                break;
            }
        }
        if let Err(error) = write.shutdown().await {
            tracing::debug!(%error, "shutdown");
        }
    }

    async fn wait_closed(&self) {
        while !self.is_closed() {
            self.writer.notified().await;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of this lock panics")
    }
}

/// A call whose future is dropped is cancelled.
struct CancelOnDrop<'a> {
    link: &'a Link,
    call: Option<u32>,
}

impl Drop for CancelOnDrop<'_> {
    fn drop(&mut self) {
        if let Some(call) = self.call {
            self.link.cancel(call);
        }
    }
}

fn tell(answer: oneshot::Sender<Result<Raw, CallError>>, result: Result<Raw, CallError>) {
    // The caller may have gone; then nobody is left to tell.
    drop(answer.send(result));
}

fn finish(events: &mpsc::Sender<StreamEvent>, fault: Option<Fault>) {
    // Full only if the node sent more than its credit; the channel's end then says the rest.
    drop(events.try_send(StreamEvent::End(fault)));
}
