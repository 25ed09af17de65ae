//! `subscribe`: the frames of one source, in order, into a file or to standard output.
//!
//! Ends well at a frame marked as the last, or after `--count`. When the node restarts, the client
//! attaches again and asks for what follows the last frame that came; what is missing then is told
//! as a gap. A file with a gap in it is a failure.

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use opus_core::NodeId;
use opus_ipc::{
    Code,
    client::{CallError, Frames},
    message::{AppAttach, As, Frame},
};
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::{
    args::{Global, SubscribeArgs},
    complain,
    connect::connect_patiently,
    exit::{Exit, Failure},
    output::{Output, duration},
};
use crate::config::units;

/// Frames on their way from the node: 64 of 48 KiB are 3 MiB, within a client's 4 MiB.
const CREDIT: u32 = 64;

/// Pause before a node that cannot serve at present is asked again.
const PAUSE: Duration = Duration::from_millis(500);

/// Boots of the source are the sequence without its low 40 bits.
const BOOT_BITS: u32 = 40;

/// Receives until the end, and sums up.
pub(super) async fn subscribe(
    global: &Global,
    args: &SubscribeArgs,
    output: &mut Output,
) -> Result<Exit, Failure> {
    let mut sink = Sink::open(args.out.as_deref(), args.lines)?;
    let patience = Duration::from_secs(args.patience);
    let client = connect_patiently(global, patience).await?;
    let params = AppAttach {
        app: args.app.clone(),
        role: As::Sink,
        lease: None,
        ports: None,
        resume: None,
    };
    let attachment = client.attach(params).await?;
    let started = Instant::now();
    let mut tally = Tally::default();
    let mut frames = attachment.frames(Some(args.flow), CREDIT);
    let most = args.count.unwrap_or(u64::MAX);
    while tally.frames < most && !tally.ended {
        let Some(frame) = next(&mut frames, patience).await? else {
            sink.finish(output)?;
            return Err(Failure::new(Exit::Failed, "the node ended the stream"));
        };
        for word in tally.take(&frame) {
            complain(&word);
        }
        sink.write(&frame, output)?;
    }
    sink.finish(output)?;
    let ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    sum_up(&attachment.attached().app, &tally, ms, args, output)?;
    // A file is one stream from its start: a source that began anew sent it, or part of it, twice.
    let damaged = args.out.is_some() && (tally.missing > 0 || tally.restarts > 0);
    Ok(if damaged { Exit::Failed } else { Exit::Done })
}

/// The next frame, asking again while the node cannot serve; `None` when it ended the stream.
async fn next(frames: &mut Frames<'_>, patience: Duration) -> Result<Option<Frame>, Failure> {
    let asked = Instant::now();
    loop {
        match frames.next().await {
            None => return Ok(None),
            Some(Ok(frame)) => return Ok(Some(frame)),
            Some(Err(error)) if is_passing(&error) && asked.elapsed() < patience => {
                sleep(PAUSE).await;
            }
            Some(Err(error)) => return Err(error.into()),
        }
    }
}

/// Whether a restarted node may well serve a moment later.
fn is_passing(error: &CallError) -> bool {
    let code = error.fault().map(|fault| fault.code);
    matches!(error, CallError::Lost(_)) || matches!(code, Some(Code::Unavailable | Code::NotFound))
}

/// The sum goes where the payloads do not.
fn sum_up(
    app: &str,
    tally: &Tally,
    ms: u64,
    args: &SubscribeArgs,
    output: &mut Output,
) -> Result<(), Failure> {
    let Tally {
        frames,
        bytes,
        gaps,
        missing,
        restarts,
        ..
    } = *tally;
    let document = json!({
        "app": app, "frames": frames, "bytes": bytes, "gaps": gaps, "missing": missing,
        "restarts": restarts,
        "seq": tally.first, "last_seq": tally.last.map(|(_, seq)| seq), "ended": tally.ended,
        "ms": ms,
    });
    let (size, time) = (units::about(bytes), duration(ms));
    let lost = if missing > 0 {
        format!(", {missing} missing in {gaps} gaps")
    } else {
        String::new()
    };
    let text = format!("{app}: received {frames} frames, {size}, in {time}{lost}");
    if args.out.is_some() {
        output.result(&document, |to| writeln!(to, "{text}"))?;
    } else if output.is_json() {
        complain(&document.to_string());
    } else {
        complain(&text);
    }
    Ok(())
}

/// What came, and what did not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Tally {
    frames: u64,
    bytes: u64,
    gaps: u64,
    missing: u64,
    restarts: u64,
    first: Option<u64>,
    last: Option<(NodeId, u64)>,
    ended: bool,
}

impl Tally {
    /// Counts a frame; gives what is to be told of it.
    fn take(&mut self, frame: &Frame) -> Vec<String> {
        let mut words = Vec::new();
        match self.last {
            Some((src, seq)) if src == frame.src && boots(seq) == boots(frame.seq) => {
                let skipped = frame.seq.saturating_sub(seq + 1);
                if skipped > 0 {
                    self.gaps += 1;
                    self.missing += skipped;
                    words.push(format!("gap: {skipped} frames before {}", frame.seq));
                }
            }
            Some(_) => {
                self.restarts += 1;
                words.push(format!("the source began anew at {}", frame.seq));
            }
            None => self.first = Some(frame.seq),
        }
        self.last = Some((frame.src, frame.seq));
        self.frames += 1;
        self.bytes += frame.data.len() as u64;
        self.ended = frame.flags & Frame::LAST != 0;
        words
    }
}

fn boots(seq: u64) -> u64 {
    seq >> BOOT_BITS
}

/// Where payloads go.
enum Sink {
    File {
        file: BufWriter<File>,
        path: PathBuf,
        lines: bool,
    },
    Output {
        lines: bool,
    },
}

impl Sink {
    fn open(path: Option<&Path>, lines: bool) -> Result<Self, Failure> {
        let Some(path) = path else {
            return Ok(Self::Output { lines });
        };
        let file = File::create(path).map_err(|error| unwritable(path, &error))?;
        Ok(Self::File {
            file: BufWriter::with_capacity(1 << 20, file),
            path: path.to_owned(),
            lines,
        })
    }

    fn write(&mut self, frame: &Frame, output: &mut Output) -> Result<(), Failure> {
        let end = |lines: bool| if lines { &b"\n"[..] } else { b"" };
        match self {
            Self::File { file, path, lines } => {
                let written = file.write_all(&frame.data);
                let written = written.and_then(|()| file.write_all(end(*lines)));
                written.map_err(|error| unwritable(path, &error))
            }
            Self::Output { lines } => {
                output.bytes(&frame.data)?;
                output.bytes(end(*lines))?;
                Ok(output.flush()?)
            }
        }
    }

    /// Everything is on the disk when this returns; a pipe or terminal has none.
    fn finish(&mut self, output: &mut Output) -> Result<(), Failure> {
        match self {
            Self::File { file, path, .. } => {
                let flushed = file.flush().and_then(|()| file.get_ref().metadata());
                let synced = flushed.and_then(|metadata| {
                    if metadata.is_file() {
                        file.get_ref().sync_all()
                    } else {
                        Ok(())
                    }
                });
                synced.map_err(|error| unwritable(path, &error))
            }
            Self::Output { .. } => Ok(output.flush()?),
        }
    }
}

fn unwritable(path: &Path, error: &io::Error) -> Failure {
    Failure::new(
        Exit::Failed,
        format!("cannot write {}: {error}", path.display()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(src: u8, seq: u64, flags: u32) -> Frame {
        Frame {
            src: NodeId([src; 32]),
            seq,
            flags,
            data: bytes::Bytes::from_static(b"four"),
        }
    }

    #[test]
    fn frames_in_order_leave_no_gap_and_the_last_one_ends() {
        let mut tally = Tally::default();
        for seq in 5..9 {
            assert_eq!(tally.take(&frame(1, seq, 0)), [""; 0]);
        }
        assert!(!tally.ended);
        assert_eq!(
            tally.take(&frame(1, 9, Frame::LAST | Frame::REPAIRED)),
            [""; 0]
        );
        assert!(tally.ended);
        assert_eq!((tally.frames, tally.bytes, tally.missing), (5, 20, 0));
        assert_eq!(
            (tally.first, tally.last),
            (Some(5), Some((NodeId([1; 32]), 9)))
        );
    }

    #[test]
    fn a_jump_is_a_gap_of_what_lies_between() {
        let mut tally = Tally::default();
        tally.take(&frame(1, 5, 0));
        assert_eq!(tally.take(&frame(1, 9, 0)), ["gap: 3 frames before 9"]);
        assert_eq!((tally.gaps, tally.missing), (1, 3));
    }

    #[test]
    fn a_source_that_restarted_or_moved_leaves_no_countable_gap() {
        let mut tally = Tally::default();
        tally.take(&frame(1, 1 << 40 | 7, 0));
        let restarted = tally.take(&frame(1, 2 << 40 | 1, 0));
        assert!(restarted[0].starts_with("the source began anew"));
        tally.take(&frame(2, 1 << 40 | 1, 0));
        assert_eq!((tally.gaps, tally.missing), (0, 0));
    }
}
