//! One connection: HELLO, then reader and writer until one of them ends.

use std::{pin::pin, sync::Arc};

use bytes::{Buf, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    time::{Duration, Instant, sleep_until, timeout},
};

use super::{
    dispatch::Dispatch,
    shared::Shared,
    state::{Closing, Gate},
};
use crate::{
    message::{Code, FromClient, FromNode, Hello},
    wire::{HELLO, ReadError, Reader, Refusal},
};

/// A send buffer of more capacity is given back when it is empty.
const BUFFER_KEPT_MAX: usize = 256 << 10;

/// The client's HELLO. Errors: what goes wrong before there is one.
pub(super) async fn hello<R: AsyncRead + Unpin>(
    reader: &mut Reader<R>,
) -> Result<Hello, ReadError> {
    let frame = match timeout(HELLO, reader.next()).await {
        Ok(frame) => frame?,
        Err(_) => return Err(Refusal::new(Code::Deadline, "HELLO is due within 5 s").into()),
    };
    match FromClient::read(&frame)? {
        FromClient::Hello(hello) if hello.token.is_some() => {
            let msg = "this node issues no tokens, and without its grant the token means nothing";
            Err(Refusal::new(Code::Denied, msg).into())
        }
        FromClient::Hello(hello) => Ok(hello),
        FromClient::Req { .. } | FromClient::Credit { .. } | FromClient::Cancel { .. } => {
            Err(Refusal::new(Code::BadRequest, "HELLO comes first").into())
        }
    }
}

/// The last words of a connection that was not opened.
pub(super) async fn turn_away<W: AsyncWrite + Unpin>(
    write: &mut W,
    refusal: Refusal,
    limit: Duration,
) {
    let mut out = BytesMut::new();
    let fault = refusal.into();
    FromNode::Err { call: 0, fault }.write(&mut out);
    let words = async {
        write.write_all(&out).await?;
        write.shutdown().await
    };
    match timeout(limit, words).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a refused client did not listen"),
        Err(_) => tracing::debug!("a refused client did not read"),
    }
}

/// Reader and writer of an open connection, in one task, until both have ended.
pub(super) async fn drive<R, W>(shared: &Arc<Shared>, reader: Reader<R>, write: W)
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let reads = read(shared, reader);
    let writes = write_out(shared, write);
    tokio::join!(reads, writes);
    shared.write_off();
}

async fn read<R: AsyncRead + Unpin>(shared: &Arc<Shared>, mut reader: Reader<R>) {
    let mut held = Held::new(shared);
    let ended = serve(shared, &mut reader, &mut held).await;
    match ended {
        Ok(()) => {}
        Err(ReadError::Refused(refusal)) => shared.refuse(refusal),
        Err(ReadError::Closed) => shared.close(Closing::Now),
        Err(ReadError::Io(error)) => {
            tracing::debug!(%error, app = shared.conn.app, "connection lost");
            shared.close(Closing::Now);
        }
    }
}

async fn serve<R: AsyncRead + Unpin>(
    shared: &Arc<Shared>,
    reader: &mut Reader<R>,
    held: &mut Held<'_>,
) -> Result<(), ReadError> {
    let mut dispatch = Dispatch::new(Arc::clone(shared));
    loop {
        let mut gate = shared.gate();
        while gate == Gate::Open
            && let Some(frame) = reader.buffered()?
        {
            dispatch.frame(&frame)?;
            gate = shared.gate();
        }
        held.set(reader.unfinished());
        let deadline = shared.next_deadline();
        let expiry = async {
            match deadline {
                Some(at) => sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        match gate {
            Gate::Closing => return Ok(()),
            Gate::Shut => {
                reader.pause();
                tokio::select! {
                    () = shared.reader.notified() => {}
                    () = expiry => shared.expire(Instant::now()),
                }
            }
            Gate::Open => tokio::select! {
                biased;
                () = shared.reader.notified() => {}
                () = expiry => shared.expire(Instant::now()),
                filled = reader.fill() => filled?,
            },
        }
    }
}

/// Bytes in the read buffer, charged while they are there.
struct Held<'a> {
    shared: &'a Shared,
    bytes: usize,
}

impl<'a> Held<'a> {
    fn new(shared: &'a Shared) -> Self {
        Self { shared, bytes: 0 }
    }

    fn set(&mut self, bytes: usize) {
        let Shared { budget, used, .. } = self.shared;
        if bytes > self.bytes {
            budget.charge(used, bytes - self.bytes);
            self.bytes = bytes;
            budget.settle();
        } else if bytes < self.bytes {
            budget.release(used, self.bytes - bytes);
            self.bytes = bytes;
        }
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.set(0);
    }
}

async fn write_out<W: AsyncWrite + Unpin>(shared: &Arc<Shared>, mut write: W) {
    let mut chunk = BytesMut::new();
    loop {
        let closing = shared.take(&mut chunk);
        match closing {
            Some(Closing::Now) => break,
            Some(Closing::Flush) => {
                let limit = Duration::from_millis(shared.config.flush_ms_max);
                let flushed = timeout(limit, write.write_all(&chunk)).await;
                if !matches!(flushed, Ok(Ok(()))) {
                    tracing::debug!(app = shared.conn.app, "last words were not read");
                }
                break;
            }
            None if chunk.is_empty() => {
                if chunk.capacity() > BUFFER_KEPT_MAX {
                    chunk = BytesMut::new();
                }
                shared.writer.notified().await;
            }
            None => send(shared, &mut write, &mut chunk).await,
        }
    }
    if let Err(error) = write.shutdown().await {
        tracing::debug!(%error, "shutdown");
    }
}

/// Writes the whole chunk, unless the connection is closing meanwhile.
async fn send<W: AsyncWrite + Unpin>(shared: &Arc<Shared>, write: &mut W, chunk: &mut BytesMut) {
    let limit = Duration::from_millis(shared.config.stuck_ms_max);
    let mut closing = pin!(shared.closing.notified());
    while !chunk.is_empty() {
        let done = tokio::select! {
            biased;
            () = &mut closing => return,
            done = timeout(limit, write.write(chunk)) => done,
        };
        match done {
            Ok(Ok(0)) => return shared.close(Closing::Now),
            Ok(Ok(count)) => {
                chunk.advance(count);
                shared.wrote(count);
            }
            Ok(Err(error)) => {
                tracing::debug!(%error, app = shared.conn.app, "connection lost");
                return shared.close(Closing::Now);
            }
            Err(_) => return shared.stuck(),
        }
    }
}
