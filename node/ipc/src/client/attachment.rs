//! An attachment that outlives its connection.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use tokio::time::{Duration, sleep};

use super::{CallError, Client, Items, call_on, link::Link, watch_on};
use crate::{
    message::{
        AppAttach, AppDetach, As, Attached, Code, Empty, Frame, FramesFlush, FramesRecv,
        FramesSend, MemberItem, MembershipWatch, Resume, Sent,
    },
    method::Call,
};

/// An attachment to an application. After a lost connection the next use attaches again.
#[derive(Debug)]
pub struct Attachment {
    client: Client,
    params: AppAttach,
    /// The connection on which it is attached; held while attaching.
    at: tokio::sync::Mutex<Option<(Arc<Link>, Attached)>>,
    attached: Mutex<Attached>,
    /// The last frame that came: where a sink goes on.
    last: Mutex<Option<Resume>>,
}

impl Client {
    /// Attaches to an application. A spec that the node has not seen yet is waited for, as long as
    /// the patience lasts.
    pub async fn attach(&self, params: AppAttach) -> Result<Attachment, CallError> {
        let link = self.link().await?;
        let attached = attach_on(self, &link, &params).await?;
        Ok(Attachment {
            client: self.clone(),
            params,
            attached: Mutex::new(attached.clone()),
            at: tokio::sync::Mutex::new(Some((link, attached))),
            last: Mutex::default(),
        })
    }
}

impl Attachment {
    /// What the node said when it was last attached.
    pub fn attached(&self) -> Attached {
        self.attached
            .lock()
            .expect("no holder of this lock panics")
            .clone()
    }

    /// Sends frames on flow 0; `last` says that nothing follows. The answer comes when the node
    /// holds them all. Errors: after [`CallError::Lost`] nobody knows whether they went out.
    pub async fn send(&self, data: Vec<Bytes>, last: bool) -> Result<Sent, CallError> {
        self.send_with(|att| FramesSend {
            att,
            data,
            flow: None,
            to: None,
            now: None,
            last: last.then_some(true),
        })
        .await
    }

    /// Sends frames with all the options of `frames.send`.
    pub async fn send_with(
        &self,
        params: impl FnOnce(u64) -> FramesSend,
    ) -> Result<Sent, CallError> {
        self.call(params).await
    }

    /// Returns when every joined sink has acknowledged all frames sent so far.
    pub async fn flush(&self) -> Result<(), CallError> {
        let Empty {} = self.call(|att| FramesFlush { att, flow: None }).await?;
        Ok(())
    }

    /// Watches the members.
    pub async fn members(&self) -> Result<Items<MemberItem>, CallError> {
        let (link, att) = self.att().await?;
        let items = watch_on(&link, &MembershipWatch { att })?;
        Ok(items.keeping(self.client.clone()))
    }

    /// Receives frames: of one flow, or of all, with room for `credit` of them on their way. Only
    /// frames of one flow can go on after a lost connection without a gap.
    pub fn frames(&self, flow: Option<u8>, credit: u32) -> Frames<'_> {
        Frames {
            attachment: self,
            flow,
            credit,
            items: None,
        }
    }

    /// Ends the attachment.
    pub async fn detach(self) -> Result<(), CallError> {
        let Empty {} = self.call(|att| AppDetach { att }).await?;
        Ok(())
    }

    async fn call<M: Call>(&self, params: impl FnOnce(u64) -> M) -> Result<M::Answer, CallError> {
        let (link, att) = self.att().await?;
        call_on(&link, &params(att), None).await
    }

    /// The attachment's number on a connection that is open; attaches again if need be.
    async fn att(&self) -> Result<(Arc<Link>, u64), CallError> {
        let mut at = self.at.lock().await;
        let link = self.client.link().await?;
        if let Some((on, attached)) = &*at
            && Arc::ptr_eq(on, &link)
        {
            return Ok((link, attached.att));
        }
        let mut params = self.params.clone();
        if params.role == As::Sink {
            let last = *self.last.lock().expect("no holder of this lock panics");
            params.resume = last.or(params.resume);
        }
        let attached = attach_on(&self.client, &link, &params).await?;
        let att = attached.att;
        *self.attached.lock().expect("no holder of this lock panics") = attached.clone();
        *at = Some((Arc::clone(&link), attached));
        Ok((link, att))
    }
}

/// Received frames. Goes on after a lost connection.
#[derive(Debug)]
pub struct Frames<'a> {
    attachment: &'a Attachment,
    flow: Option<u8>,
    credit: u32,
    items: Option<Items<Frame>>,
}

impl Frames<'_> {
    /// The next frame; `None` when the node ended the stream. Cancel safe.
    ///
    /// Errors: a fault of the node, or no node within the patience. The stream is then begun anew
    /// by the next call.
    pub async fn next(&mut self) -> Option<Result<Frame, CallError>> {
        loop {
            if self.items.is_none() {
                match self.open().await {
                    Ok(items) => self.items = Some(items),
                    Err(CallError::Lost(_)) => continue,
                    Err(error) => return Some(Err(error)),
                }
            }
            let items = self.items.as_mut()?;
            match items.next().await {
                Some(Ok(frame)) if self.is_new(&frame) => return Some(Ok(frame)),
                Some(Ok(_)) => {}
                Some(Err(CallError::Lost(_))) => self.items = None,
                Some(Err(error)) => {
                    self.items = None;
                    return Some(Err(error));
                }
                None => return None,
            }
        }
    }

    async fn open(&self) -> Result<Items<Frame>, CallError> {
        let (link, att) = self.attachment.att().await?;
        let params = FramesRecv {
            att,
            flow: self.flow,
            credit: Some(u64::from(self.credit)),
        };
        watch_on(&link, &params)
    }

    /// Notes where to go on. Within one flow, what came before is left out.
    fn is_new(&self, frame: &Frame) -> bool {
        let mut last = self
            .attachment
            .last
            .lock()
            .expect("no holder of this lock panics");
        let seen = last.is_some_and(|last| last.src == frame.src && frame.seq <= last.seq);
        if seen && self.flow.is_some() {
            return false;
        }
        *last = Some(Resume {
            src: frame.src,
            seq: frame.seq,
        });
        true
    }
}

async fn attach_on(
    client: &Client,
    link: &Arc<Link>,
    params: &AppAttach,
) -> Result<Attached, CallError> {
    let (pause_min, mut left) = (client.inner.config.pause, client.inner.config.patience);
    loop {
        match call_on(link, params, None).await {
            Err(CallError::Fault(fault)) if fault.code == Code::NotFound && !left.is_zero() => {
                let Some(ms) = fault.retry_ms else {
                    return Err(fault.into());
                };
                let pause = Duration::from_millis(ms).min(left).max(pause_min);
                sleep(pause).await;
                left = left.saturating_sub(pause);
            }
            other => return other,
        }
    }
}
