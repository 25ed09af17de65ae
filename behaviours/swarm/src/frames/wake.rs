//! How the plane says that there is something to send.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::AcqRel, Ordering::Acquire},
    },
    task::Waker,
};

use futures::task::AtomicWaker;

/// Wakes the handler of one channel, from any thread. Cheap when it is awake already.
#[derive(Clone, Debug, Default)]
pub struct Wake(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    pending: AtomicBool,
    waker: AtomicWaker,
}

impl Wake {
    /// Makes the handler call [`super::Plane::fill`] soon. Calls before that count as one.
    pub fn wake(&self) {
        if !self.0.pending.swap(true, AcqRel) {
            self.0.waker.wake();
        }
    }

    /// Whether [`Wake::wake`] was called since the last [`Wake::take`].
    pub fn is_pending(&self) -> bool {
        self.0.pending.load(Acquire)
    }

    /// Answers and clears [`Wake::is_pending`]. For handlers, and for tests of planes.
    pub fn take(&self) -> bool {
        self.0.pending.swap(false, AcqRel)
    }

    /// Polls the handler without asking for a `fill`.
    pub(crate) fn nudge(&self) {
        self.0.waker.wake();
    }

    pub(crate) fn register(&self, waker: &Waker) {
        self.0.waker.register(waker);
    }
}
