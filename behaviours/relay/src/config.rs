//! The limits and times of the forwarding core, each with its reason.

use std::time::Duration;

/// Limits and times. The default is what a node runs with; tests shrink it.
#[derive(Clone, Debug)]
pub struct Config {
    /// Overlays carried at once. Overflow: `Open` is refused.
    pub overlays_max: usize,
    /// Neighbours with a frame channel or an edge. Overflow: a new one is ignored.
    pub peers_max: usize,
    /// Children of an overlay. Overflow: those beyond are ignored; `overlay` caps at 64 itself.
    pub children_max: usize,
    /// Local sinks of an overlay. Overflow: `Sink` is refused.
    pub sinks_max: usize,
    /// Complete class: frames that the source may be ahead of the slowest sink.
    pub window_frames: usize,
    /// Complete class: payload bytes that the source may be ahead of the slowest sink.
    pub window_bytes: usize,
    /// Bytes in all backup rings together; beyond, a flow holds `ring_share_bytes` at most.
    /// Overflow: an arriving frame is not taken and is fetched again later.
    pub ring_bytes: usize,
    /// Bytes that each flow may hold whatever the others do: a stuck one starves nobody.
    pub ring_share_bytes: usize,
    /// Bytes kept behind the stable position, for a sink that resumes.
    pub ring_tail_bytes: usize,
    /// Timed frames queued for one neighbour. Overflow: what no longer fits its deadline, then the
    /// oldest.
    pub queue_frames: usize,
    /// Bytes of timed frames queued for one neighbour. Overflow as `queue_frames`.
    pub queue_bytes: usize,
    /// Timed frames that wait at a sink's node for a missing one. Overflow: no more waiting.
    pub order_frames: usize,
    /// Bytes held for a local sink from attach on (ipc.md, "Delivery").
    pub sink_bytes: usize,
    /// Deliveries given out to a sink and not yet taken. Those beyond wait inside.
    pub hand_frames: usize,
    /// Bytes given out to a sink and not yet taken, beyond one frame.
    pub hand_bytes: usize,
    /// Period of digests and tops of complete flows while something is outstanding.
    pub digest: Duration,
    /// A digest is sent at once after so many frames.
    pub digest_frames: u64,
    /// A hole in the stream from the parent is told after this long: reordering mends itself.
    pub gap: Duration,
    /// How long a lost child's claim on unacknowledged frames lasts.
    pub hold: Duration,
    /// A sink or branch that makes no progress for this long is cut.
    pub slow: Duration,
    /// How long the claim of a child that moved to another parent is kept at its old one.
    pub moved: Duration,
    /// How long the previous parent may still send.
    pub grace: Duration,
    /// Hops of a frame at most. 255: more than any tree is high, for the window stops loops.
    pub hops_max: u8,
    /// A timed frame waits for a missing one until this long before its own deadline.
    pub order_margin: Duration,
    /// Frames of one `send`.
    pub batch_max: usize,
}

impl Config {
    /// Payload of one frame, bytes: `limits.payload` of ipc.md.
    pub const PAYLOAD_MAX: usize = 64 * 1024;
    /// Flows of a source.
    pub const FLOWS: u8 = 16;
}

impl Default for Config {
    fn default() -> Self {
        Self {
            overlays_max: 64,
            peers_max: 1_024,
            children_max: 64,
            sinks_max: 256,
            window_frames: 1_024,
            window_bytes: 8 << 20,
            ring_bytes: 64 << 20,
            ring_share_bytes: 128 << 10,
            ring_tail_bytes: 64 << 10,
            queue_frames: 1_024,
            queue_bytes: 4 << 20,
            order_frames: 1_024,
            sink_bytes: 4 << 20,
            hand_frames: 256,
            hand_bytes: 256 << 10,
            digest: Duration::from_millis(200),
            digest_frames: 64,
            gap: Duration::from_millis(10),
            hold: Duration::from_secs(30),
            slow: Duration::from_secs(30),
            moved: Duration::from_secs(3),
            grace: Duration::from_secs(2),
            hops_max: 255,
            order_margin: Duration::from_millis(2),
            batch_max: 256,
        }
    }
}
