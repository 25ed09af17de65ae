//! `frames.send`, `frames.flush`, `frames.recv`: the payload path between program and data plane.
//!
//! A frame is acknowledged when the client's socket has it. What this node holds when it dies is
//! therefore still held upstream, and the client, attaching anew, goes on without a gap.

use std::{sync::Arc, time::Duration};

use opus_core::OverlayId;
use opus_ipc::{
    message::{Code, Empty, Fault, Frame, FramesFlush, FramesRecv, FramesSend, Sent},
    serve::{Conn, Over, Reply, Sink},
};
use opus_relay::Delivery;
use opus_site::Role;
use tokio::{
    sync::{mpsc, watch},
    time::timeout,
};

use super::Inner;
use crate::{
    data::{Data, SendError},
    runtime::Handle,
};

/// Calls that may wait in one outbox: as many as the dispatcher lets a connection have in flight.
const OUTBOX_MAX: usize = 64;

/// How long a stream waits for the one before it on the same attachment to end.
const READER_LIMIT: Duration = Duration::from_secs(1);

#[derive(Debug)]
enum Job {
    Send(FramesSend, Reply<Sent>),
    Flush(FramesFlush, Reply<Empty>),
}

/// Sends the frames of one source in the order of its calls. Dropped, it answers what still waits.
#[derive(Debug)]
pub(super) struct Outbox {
    jobs: mpsc::Sender<Job>,
    /// Set, or gone, when the attachment has ended.
    ended: watch::Sender<Option<String>>,
}

impl Outbox {
    pub(super) fn open(handle: &Handle, overlay: OverlayId) -> Self {
        let (jobs, mut queue) = mpsc::channel(OUTBOX_MAX);
        let (ended, mut end) = watch::channel(None::<String>);
        let data = Arc::clone(handle.data());
        tokio::spawn(async move {
            while let Some(job) = queue.recv().await {
                carry_out(&data, overlay, job, &mut end).await;
            }
        });
        Self { jobs, ended }
    }

    /// Answers what waits and what comes with the reason why the attachment ended.
    pub(super) fn close(self, why: &str) {
        self.ended.send_replace(Some(why.to_owned()));
    }

    fn push(&self, job: Job) {
        match self.jobs.try_send(job) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(job) | mpsc::error::TrySendError::Closed(job)) => {
                let msg = format!("over {OUTBOX_MAX} sends wait already; wait for their answers");
                job.refuse(Fault::new(Code::Quota, msg));
            }
        }
    }
}

/// One job; its client may be gone, and its attachment may end, before it is done. What was taken
/// stays sent.
async fn carry_out(
    data: &Data,
    overlay: OverlayId,
    job: Job,
    end: &mut watch::Receiver<Option<String>>,
) {
    match job {
        Job::Send(params, reply) => tokio::select! {
            sent = send(data, overlay, &params) => reply.end(sent),
            fault = ended(end) => reply.err(fault),
            () = reply.over() => {}
        },
        Job::Flush(params, reply) => tokio::select! {
            done = data.flush(overlay, params.flow.unwrap_or(0)) => {
                reply.end(done.map(|()| Empty {}).map_err(fault));
            }
            fault = ended(end) => reply.err(fault),
            () = reply.over() => {}
        },
    }
}

/// Returns when the attachment has ended: by its program, or for a reason that is told.
async fn ended(end: &mut watch::Receiver<Option<String>>) -> Fault {
    let why = end
        .wait_for(Option::is_some)
        .await
        .ok()
        .and_then(|why| why.clone());
    let why = why.unwrap_or_else(|| "detached".to_owned());
    Fault::new(Code::Unavailable, format!("the attachment ended: {why}"))
}

impl Job {
    fn refuse(self, fault: Fault) {
        match self {
            Self::Send(_, reply) => reply.err(fault),
            Self::Flush(_, reply) => reply.err(fault),
        }
    }
}

async fn send(data: &Data, overlay: OverlayId, params: &FramesSend) -> Result<Sent, Fault> {
    let (last, at_once) = (params.last == Some(true), params.now == Some(true));
    let flow = params.flow.unwrap_or(0);
    let taken = data
        .send(overlay, flow, &params.data, last, at_once)
        .await
        .map_err(fault)?;
    Ok(Sent {
        seq: taken.seq,
        n: taken.n as u64,
        attainable: None,
    })
}

fn fault(error: SendError) -> Fault {
    match error {
        SendError::NotSource => Fault::new(Code::Denied, error.to_string()),
        SendError::TooLarge => Fault::new(Code::TooLarge, error.to_string()),
    }
}

impl Inner {
    pub(super) fn send(&self, conn: &Arc<Conn>, params: FramesSend, reply: Reply<Sent>) {
        if params.to.is_some() {
            let msg = "only multi-sender and service applications send to one member";
            return reply.err(Fault::new(Code::BadRequest, msg));
        }
        self.queue(conn, params.att, Job::Send(params, reply));
    }

    pub(super) fn flush(&self, conn: &Arc<Conn>, params: FramesFlush, reply: Reply<Empty>) {
        self.queue(conn, params.att, Job::Flush(params, reply));
    }

    fn queue(&self, conn: &Arc<Conn>, att: u64, job: Job) {
        let mut job = Some(job);
        let queued = self.owned(conn, att, |attachment| {
            if let (Some(outbox), Some(job)) = (&attachment.outbox, job.take()) {
                outbox.push(job);
            }
        });
        if let Some(job) = job {
            let sink = || Fault::new(Code::Denied, "a sink sends no frames; attach as source");
            job.refuse(queued.err().unwrap_or_else(sink));
        }
    }

    /// Frames of an attachment, to one stream at a time. With `flow`, those of the others are
    /// passed over: they count as taken.
    pub(super) async fn recv(&self, conn: &Arc<Conn>, params: &FramesRecv, sink: Sink<Frame>) {
        let reader = self.owned(conn, params.att, |a| Arc::clone(&a.reader)).ok();
        let reading = match &reader {
            // A stream that was just cancelled may still be on its way out.
            Some(reader) => timeout(READER_LIMIT, reader.lock()).await.map(Some),
            None => Ok(None),
        };
        let Ok(_reading) = reading else {
            let msg = "another frames.recv of this attachment is open; cancel it, or attach again";
            return sink.err(Fault::new(Code::Busy, msg));
        };
        let data = self.handle.data();
        let queue = self.owned(conn, params.att, |attachment| match attachment.role {
            Role::Source => None,
            Role::Sink => {
                let att = u32::try_from(params.att).ok()?;
                let alive = attachment.alive.as_ref()?.subscribe();
                Some((data.deliveries(att)?, alive))
            }
        });
        let (deliveries, mut alive) = match queue {
            Err(fault) => return sink.err(fault),
            Ok(None) => {
                return sink.err(Fault::new(Code::Denied, "a source receives no frames"));
            }
            Ok(Some(queue)) => queue,
        };
        loop {
            // The attachment may also end while its program gives no credit.
            let ready = tokio::select! {
                ready = sink.ready() => ready.map(Some),
                _ = alive.changed() => Ok(None),
            };
            let batch = match ready {
                Err(Over) => return,
                Ok(None) => None,
                Ok(Some(credit)) => tokio::select! {
                    batch = deliveries.next(credit) => batch,
                    () = sink.over() => return,
                },
            };
            let Some(batch) = batch else {
                let why = self.owned(conn, params.att, |_| ()).err();
                let why = why.map_or_else(|| "detached".to_owned(), |fault| fault.msg);
                return sink.end(Code::Unavailable, why);
            };
            if let Err(unsent) = hand_over(&sink, &batch, params.flow).await {
                // A client that is gone comes back for all of them, by another attachment; one that
                // cancelled the stream may open another on this one.
                if sink.is_lost() {
                    batch.give_up();
                } else {
                    batch.put_back(unsent);
                }
                return;
            }
        }
    }
}

/// Sends frames and waits until they are the client's: in its socket, where they outlive this node.
/// Only then may they be acknowledged.
///
/// Errors: the place of the first one that was not sent.
async fn hand_over(
    sink: &Sink<Frame>,
    deliveries: &[Delivery],
    flow: Option<u8>,
) -> Result<(), usize> {
    for (place, delivery) in deliveries.iter().enumerate() {
        let wanted = flow.is_none_or(|flow| flow == delivery.flow.flow);
        if wanted && sink.send(&frame(delivery)).await.is_err() {
            return Err(place);
        }
    }
    sink.flushed().await.map_err(|Over| deliveries.len())
}

fn frame(delivery: &Delivery) -> Frame {
    Frame {
        src: delivery.flow.source,
        seq: delivery.seq,
        flags: u32::from(delivery.flags),
        data: delivery.data.clone(),
    }
}
