//! What the service holds of a running node: a way to ask its loop, and the data plane.

use std::sync::Arc;

use opus_core::NodeId;
use opus_swarm::Clock;
use tokio::sync::{mpsc, oneshot};

use super::{Core, told::Tellers};
use crate::data::Data;

/// A question for the loop: runs between two events, with the loop's state at hand.
pub(super) type Ask = Box<dyn FnOnce(&mut Core) + Send>;

/// The node stopped before it could answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the node is stopping")]
pub struct Stopped;

/// A place in the loop's queue, behind all that was put there before.
#[derive(Debug)]
pub struct Place<'a>(mpsc::Permit<'a, Ask>);

impl Place<'_> {
    /// Runs `order` in the loop when its turn comes.
    pub fn order(self, order: impl FnOnce(&mut Core) + Send + 'static) {
        self.0.send(Box::new(order));
    }
}

/// A running node. Cheap to clone; the node stops when the last one is dropped.
#[derive(Clone, Debug)]
pub struct Handle {
    asks: mpsc::Sender<Ask>,
    data: Arc<Data>,
    me: NodeId,
    clock: Clock,
    tellers: Tellers,
}

impl Handle {
    pub(super) fn new(
        asks: mpsc::Sender<Ask>,
        data: Arc<Data>,
        me: NodeId,
        clock: Clock,
        tellers: Tellers,
    ) -> Self {
        Self {
            asks,
            data,
            me,
            clock,
            tellers,
        }
    }

    /// Runs `question` in the loop and gives its answer.
    pub async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut Core) -> T + Send + 'static,
    ) -> Result<T, Stopped> {
        let (reply, answer) = oneshot::channel();
        let ask: Ask = Box::new(move |core| {
            // The asker may have given up meanwhile; then nobody wants the answer.
            drop(reply.send(question(core)));
        });
        self.asks.send(ask).await.map_err(|_| Stopped)?;
        answer.await.map_err(|_| Stopped)
    }

    /// Runs `order` in the loop, later; for use where nothing can wait. An order that finds the
    /// queue full is handed to a task of its own.
    pub fn order(&self, order: impl FnOnce(&mut Core) + Send + 'static) {
        if let Err(mpsc::error::TrySendError::Full(ask)) = self.asks.try_send(Box::new(order)) {
            let asks = self.asks.clone();
            tokio::spawn(async move { drop(asks.send(ask).await) });
        }
    }

    /// A place in the queue, for what must keep its order; `None` if it is full.
    pub fn place(&self) -> Result<Option<Place<'_>>, Stopped> {
        match self.asks.try_reserve() {
            Ok(permit) => Ok(Some(Place(permit))),
            Err(mpsc::error::TrySendError::Full(())) => Ok(None),
            Err(mpsc::error::TrySendError::Closed(())) => Err(Stopped),
        }
    }

    /// The data plane.
    pub fn data(&self) -> &Arc<Data> {
        &self.data
    }

    /// This node.
    pub fn me(&self) -> NodeId {
        self.me
    }

    /// The node's clock.
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// What the node tells its operator.
    pub fn tellers(&self) -> &Tellers {
        &self.tellers
    }
}
