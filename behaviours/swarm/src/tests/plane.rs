//! A plane that queues what it is given and keeps what it gets.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use bytes::{Bytes, BytesMut};
use opus_core::NodeId;
use tokio::sync::watch;

use crate::frames::{Plane, Wake, put_frame};

#[derive(Debug)]
pub(super) struct TestPlane {
    state: Mutex<State>,
    pub(super) changed: watch::Sender<u64>,
    /// Refuses all frames.
    pub(super) strict: AtomicBool,
}

#[derive(Debug, Default)]
pub(super) struct State {
    wakes: BTreeMap<NodeId, Wake>,
    queues: BTreeMap<NodeId, VecDeque<Bytes>>,
    pub(super) received: Vec<(NodeId, Bytes)>,
    /// In order: up or down.
    pub(super) channels: Vec<(NodeId, bool)>,
    /// Bytes given to `fill`.
    pub(super) filled: usize,
}

impl TestPlane {
    pub(super) fn new(changed: watch::Sender<u64>) -> Self {
        Self {
            state: Mutex::default(),
            changed,
            strict: AtomicBool::new(false),
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Queues frames and wakes the channel, if there is one.
    pub(super) fn send(&self, peer: NodeId, frames: impl IntoIterator<Item = Bytes>) {
        let mut state = self.state();
        state.queues.entry(peer).or_default().extend(frames);
        if let Some(wake) = state.wakes.get(&peer) {
            wake.wake();
        }
    }

    pub(super) fn is_up(&self, peer: NodeId) -> bool {
        self.state().wakes.contains_key(&peer)
    }

    fn tell(&self) {
        self.changed.send_modify(|version| *version += 1);
    }
}

impl Plane for TestPlane {
    fn up(&self, peer: NodeId, wake: Wake) {
        wake.wake();
        let mut state = self.state();
        assert!(state.wakes.insert(peer, wake).is_none(), "up twice");
        state.channels.push((peer, true));
        drop(state);
        self.tell();
    }

    fn down(&self, peer: NodeId) {
        let mut state = self.state();
        assert!(state.wakes.remove(&peer).is_some(), "down without up");
        state.channels.push((peer, false));
        drop(state);
        self.tell();
    }

    fn received(&self, peer: NodeId, frames: &mut Vec<Bytes>) -> bool {
        let lawful = !self.strict.load(Relaxed);
        if lawful {
            let frames = frames.drain(..).map(|frame| (peer, frame));
            self.state().received.extend(frames);
        }
        self.tell();
        lawful
    }

    fn fill(&self, peer: NodeId, out: &mut BytesMut, budget: usize) -> bool {
        let mut state = self.state();
        let before = out.len();
        let queue = state.queues.entry(peer).or_default();
        while out.len() < budget {
            let Some(frame) = queue.pop_front() else {
                break;
            };
            put_frame(out, &frame);
        }
        let more = !queue.is_empty();
        state.filled += out.len() - before;
        more
    }
}
