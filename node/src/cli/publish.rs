//! `publish`: a file or standard input as frames of one source.
//!
//! Payloads of 48 KiB go in batches; the last one is marked, so that a subscriber knows the end.
//! Then the node is asked to flush: in a complete application every joined sink has it all when
//! this verb ends.

use std::{
    collections::BTreeSet,
    fs::File,
    io::{self, BufRead, BufReader, Read},
    time::Duration,
};

use bytes::Bytes;
use opus_ipc::{
    Code,
    client::{Attachment, CallError},
    message::{AppAttach, As, MemberItem, MemberState},
};
use serde_json::json;
use tokio::time::{Instant, timeout};

use super::{
    args::{Global, PublishArgs},
    connect::connect_patiently,
    exit::{Exit, Failure},
    output::{Output, duration},
};
use crate::config::units;

/// Bytes of a payload: below `limits.payload`, and 16 of them with their heads fit a frame.
const PAYLOAD: usize = 48 << 10;

/// Payloads of one call.
const BATCH: usize = 16;

/// How long a spec that the node has not seen yet is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// Sends everything, marks the end, waits until it has arrived, and sums up.
pub(super) async fn publish(
    global: &Global,
    args: &PublishArgs,
    output: &mut Output,
) -> Result<Exit, Failure> {
    let input = Input::open(args)?;
    let client = connect_patiently(global, PATIENCE).await?;
    let params = AppAttach {
        app: args.app.clone(),
        role: As::Source,
        lease: None,
        ports: None,
        resume: None,
    };
    let attachment = client.attach(params).await?;
    let sinks = wait_for_sinks(&attachment, args).await?;
    let started = Instant::now();
    let sent = send_all(&attachment, input).await?;
    flush(&attachment).await?;
    let ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    let app = attachment.attached().app;
    drop(attachment.detach().await);
    let Summary { frames, bytes, .. } = sent;
    let document = json!({
        "app": app, "frames": frames, "bytes": bytes, "seq": sent.first, "last_seq": sent.last,
        "sinks": sinks, "ms": ms,
    });
    output.result(&document, |to| {
        let (size, time) = (units::about(bytes), duration(ms));
        writeln!(to, "{app}: sent {frames} frames, {size}, in {time}")
    })?;
    Ok(Exit::Done)
}

/// Waits until as many sinks have joined as were asked for; tells how many have.
async fn wait_for_sinks(attachment: &Attachment, args: &PublishArgs) -> Result<u64, Failure> {
    if args.sinks == 0 {
        return Ok(0);
    }
    let limit = Duration::from_secs(args.wait);
    let mut joined = BTreeSet::new();
    let watch = async {
        let mut members = attachment.members().await?;
        while let Some(item) = members.next().await {
            let MemberItem::Member {
                id, role, state, ..
            } = item?
            else {
                continue;
            };
            if role == As::Sink && state == MemberState::Joined {
                joined.insert(id);
            } else {
                joined.remove(&id);
            }
            if joined.len() as u64 >= args.sinks {
                return Ok(());
            }
        }
        Err(Failure::new(
            Exit::Failed,
            "the node ended the list of members",
        ))
    };
    let Ok(done) = timeout(limit, watch).await else {
        let (have, want) = (joined.len(), args.sinks);
        let message = format!("{have} of {want} sinks joined within {} s", args.wait);
        return Err(Failure::new(Exit::TimedOut, message).help("opus-node subscribe APP"));
    };
    done?;
    Ok(joined.len() as u64)
}

/// What was sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Summary {
    frames: u64,
    bytes: u64,
    first: Option<u64>,
    last: Option<u64>,
}

/// Sends batch after batch; each is read while the one before is on its way.
async fn send_all(attachment: &Attachment, input: Input) -> Result<Summary, Failure> {
    let mut summary = Summary::default();
    let mut reading = read_ahead(input);
    loop {
        let (input, batch, is_last) = reading
            .await
            .map_err(|error| Failure::new(Exit::Failed, format!("the reader failed: {error}")))??;
        reading = if is_last {
            read_ahead(Input::empty())
        } else {
            read_ahead(input)
        };
        let (count, bytes) = (batch.len(), batch.iter().map(Bytes::len).sum::<usize>());
        let sent = attachment.send(batch, is_last).await?;
        if sent.n != count as u64 {
            let why = format!("the node took {} of {count} frames of a batch", sent.n);
            return Err(Failure::new(Exit::Failed, why));
        }
        summary.frames += sent.n;
        summary.bytes += bytes as u64;
        summary.first = summary.first.or(Some(sent.seq));
        summary.last = Some(sent.seq + sent.n.saturating_sub(1));
        if is_last {
            return Ok(summary);
        }
    }
}

type Reading = tokio::task::JoinHandle<Result<(Input, Vec<Bytes>, bool), Failure>>;

/// Reads one batch on a thread of its own: standard input may keep it waiting for ever.
fn read_ahead(mut input: Input) -> Reading {
    tokio::task::spawn_blocking(move || {
        let (batch, is_last) = input.batch()?;
        Ok((input, batch, is_last))
    })
}

/// Waits until every joined sink has everything; timed applications have nothing to wait for.
async fn flush(attachment: &Attachment) -> Result<(), Failure> {
    match attachment.flush().await {
        Err(CallError::Fault(fault)) if fault.code == Code::Unsupported => Ok(()),
        done => Ok(done?),
    }
}

/// Payloads out of a stream of bytes, with one payload read ahead to know the last.
struct Input {
    from: Box<dyn BufRead + Send>,
    lines: bool,
    ahead: Option<Bytes>,
}

impl Input {
    fn open(args: &PublishArgs) -> Result<Self, Failure> {
        let Some(path) = &args.file else {
            let stdin = BufReader::with_capacity(PAYLOAD, io::stdin());
            return Ok(Self::new(Box::new(stdin), args.lines));
        };
        let file = File::open(path).map_err(|error| {
            Failure::new(
                Exit::Failed,
                format!("cannot open {}: {error}", path.display()),
            )
        })?;
        Ok(Self::new(Box::new(BufReader::new(file)), args.lines))
    }

    fn new(from: Box<dyn BufRead + Send>, lines: bool) -> Self {
        Self {
            from,
            lines,
            ahead: None,
        }
    }

    fn empty() -> Self {
        Self::new(Box::new(io::empty()), false)
    }

    /// The next payloads, at least one, and whether nothing follows. An empty input is one empty
    /// payload: its end must be told too. Lines go one by one, so that each leaves when it comes.
    fn batch(&mut self) -> Result<(Vec<Bytes>, bool), Failure> {
        let mut batch = Vec::new();
        let most = if self.lines { 1 } else { BATCH };
        if let Some(ahead) = self.ahead.take() {
            batch.push(ahead);
        } else {
            batch.push(self.payload()?.unwrap_or_default());
        }
        while let Some(payload) = self.payload()? {
            if batch.len() == most {
                self.ahead = Some(payload);
                return Ok((batch, false));
            }
            batch.push(payload);
        }
        Ok((batch, true))
    }

    /// The next payload; `None` at the end.
    fn payload(&mut self) -> Result<Option<Bytes>, Failure> {
        let mut bytes = Vec::new();
        let mut limited = Read::take(&mut self.from, PAYLOAD as u64);
        let read = if self.lines {
            limited.read_until(b'\n', &mut bytes)
        } else {
            limited.read_to_end(&mut bytes)
        };
        let count = read.map_err(|error| {
            Failure::new(Exit::Failed, format!("cannot read the input: {error}"))
        })?;
        if self.lines && bytes.ends_with(b"\n") {
            bytes.pop();
        }
        Ok((count > 0).then(|| bytes.into()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn batches(bytes: &[u8], lines: bool) -> Vec<(Vec<Bytes>, bool)> {
        let from = io::Cursor::new(bytes.to_vec());
        let mut input = Input::new(Box::new(from), lines);
        let mut batches = Vec::new();
        loop {
            let (batch, is_last) = input.batch().unwrap();
            batches.push((batch, is_last));
            if is_last {
                return batches;
            }
        }
    }

    #[test]
    fn an_empty_input_is_one_empty_last_payload() {
        assert_eq!(batches(b"", false), [(vec![Bytes::new()], true)]);
    }

    #[test]
    fn an_input_of_whole_batches_ends_with_its_last_full_one() {
        let bytes = vec![7; 2 * BATCH * PAYLOAD];
        let batches = batches(&bytes, false);
        let counts: Vec<(usize, bool)> = batches.iter().map(|(b, last)| (b.len(), *last)).collect();
        assert_eq!(counts, [(BATCH, false), (BATCH, true)]);
    }

    #[test]
    fn each_line_is_a_frame_of_its_own() {
        let batches = batches(b"one\n\ntwo", true);
        let lines: Vec<&[u8]> = batches.iter().map(|(batch, _)| &batch[0][..]).collect();
        assert_eq!(lines, [&b"one"[..], b"", b"two"]);
        assert!(batches.iter().all(|(batch, _)| batch.len() == 1));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]

        #[test]
        fn payloads_joined_are_the_input(length in 0_usize..2_000_000, seed in any::<u8>()) {
            let pattern = (0..=250).map(|byte: u8| byte ^ seed).cycle();
            let bytes: Vec<u8> = pattern.take(length).collect();
            let batches = batches(&bytes, false);
            let payloads = batches.iter().flat_map(|(batch, _)| batch);
            prop_assert!(payloads.flatten().eq(&bytes));
            prop_assert!(batches.iter().all(|(batch, _)| (1..=BATCH).contains(&batch.len())));
        }
    }
}
