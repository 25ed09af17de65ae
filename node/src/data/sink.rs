//! The receiving end of an attachment.

use std::{
    collections::VecDeque,
    ops::Deref,
    sync::{Arc, Weak},
};

use opus_relay::{Command, Delivery};
use tokio::sync::Notify;

use super::Data;

/// Deliveries that wait for their program. Bounded by the core's room for this sink (4 MiB).
#[derive(Debug)]
pub(super) struct SinkQueue {
    items: VecDeque<Delivery>,
    arrived: Arc<Notify>,
}

impl SinkQueue {
    pub(super) fn push(&mut self, delivery: Delivery) {
        self.items.push_back(delivery);
        self.arrived.notify_one();
    }
}

impl Drop for SinkQueue {
    fn drop(&mut self) {
        // The reader wakes, finds no queue and ends.
        self.arrived.notify_one();
    }
}

/// Reads what arrives for one attachment.
#[derive(Debug)]
pub struct Deliveries {
    data: Weak<Data>,
    att: u32,
    arrived: Arc<Notify>,
}

/// Most deliveries handed to a program at once.
const BATCH_MAX: usize = 64;

impl Data {
    /// Opens the queue of sink `att`. It lives as long as the attachment, also while the node has
    /// no place in the overlay: its program may wait for the first frame long before there is one.
    pub fn open_queue(&self, att: u32) {
        let queue = SinkQueue {
            items: VecDeque::new(),
            arrived: Arc::new(Notify::new()),
        };
        self.lock().sinks.insert(att, queue);
    }

    /// Closes the queue of `att`, if it has one; its reader ends.
    pub fn close_queue(&self, att: u32) {
        self.lock().sinks.remove(&att);
    }

    /// A reader of sink `att`; `None` when there is no such sink.
    pub fn deliveries(self: &Arc<Self>, att: u32) -> Option<Deliveries> {
        let arrived = Arc::clone(&self.lock().sinks.get(&att)?.arrived);
        Some(Deliveries {
            data: Arc::downgrade(self),
            att,
            arrived,
        })
    }
}

impl Deliveries {
    /// The next deliveries, at least one, at most `max`; `None` when the attachment has ended.
    pub async fn next(&self, max: usize) -> Option<Batch> {
        loop {
            let arrived = self.arrived.notified();
            let data = self.data.upgrade()?;
            let items: Vec<Delivery> = {
                let mut inner = data.lock();
                let queue = inner.sinks.get_mut(&self.att)?;
                let count = queue.items.len().min(max.clamp(1, BATCH_MAX));
                queue.items.drain(..count).collect()
            };
            if items.is_empty() {
                drop(data);
                arrived.await;
                continue;
            }
            let att = self.att;
            return Some(Batch { data, att, items });
        }
    }
}

/// Deliveries on their way to a program. When dropped they count as taken: they are acknowledged,
/// and the core has room for as much more.
#[derive(Debug)]
pub struct Batch {
    data: Arc<Data>,
    att: u32,
    items: Vec<Delivery>,
}

impl Batch {
    /// They never reached the program, which is gone. Its next attachment gets them again.
    pub fn give_up(mut self) {
        self.items.clear();
    }

    /// Those from `first` on were not handed over: the next reader of the attachment gets them.
    /// The ones before count as taken.
    pub fn put_back(mut self, first: usize) {
        let rest = self.items.split_off(first.min(self.items.len()));
        let mut inner = self.data.lock();
        if let Some(queue) = inner.sinks.get_mut(&self.att) {
            for delivery in rest.into_iter().rev() {
                queue.items.push_front(delivery);
            }
        }
        // Released before the ones that were taken are told, which takes the lock again.
        drop(inner);
    }
}

impl Deref for Batch {
    type Target = [Delivery];

    fn deref(&self) -> &[Delivery] {
        &self.items
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        if self.items.is_empty() {
            return;
        }
        let bytes = self.iter().map(|delivery| delivery.data.len() as u64).sum();
        let frames = u32::try_from(self.items.len()).unwrap_or(u32::MAX);
        let att = self.att;
        self.data.command(Command::Taken { att, frames, bytes });
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use opus_core::{NodeId, OverlayId};
    use opus_relay::{Config, FlowId, Forward};
    use opus_swarm::Clock;

    use super::*;

    fn delivery(seq: u64) -> Delivery {
        Delivery {
            att: 1,
            flow: FlowId {
                overlay: OverlayId(1),
                source: NodeId([2; 32]),
                flow: 0,
            },
            seq,
            flags: 0,
            data: Bytes::from_static(b"frame"),
        }
    }

    fn with_deliveries(count: u64) -> (Arc<Data>, Deliveries) {
        let core = Forward::new(Config::default(), NodeId([1; 32]));
        let data = Arc::new(Data::new(core, Clock::new()));
        data.open_queue(1);
        for seq in 1..=count {
            let mut inner = data.lock();
            inner.sinks.get_mut(&1).unwrap().push(delivery(seq));
        }
        let deliveries = data.deliveries(1).unwrap();
        (data, deliveries)
    }

    fn seqs(batch: &Batch) -> Vec<u64> {
        batch.iter().map(|delivery| delivery.seq).collect()
    }

    #[tokio::test]
    async fn what_a_cancelled_stream_did_not_send_comes_to_the_next_in_order() {
        let (data, first) = with_deliveries(5);
        let batch = first.next(4).await.unwrap();
        assert_eq!(seqs(&batch), [1, 2, 3, 4]);
        batch.put_back(2);
        let second = data.deliveries(1).unwrap();
        assert_eq!(seqs(&second.next(64).await.unwrap()), [3, 4, 5]);
    }

    #[tokio::test]
    async fn nothing_is_put_back_for_an_attachment_that_has_ended() {
        let (data, deliveries) = with_deliveries(2);
        let batch = deliveries.next(2).await.unwrap();
        data.close_queue(1);
        batch.put_back(0);
        assert!(deliveries.next(1).await.is_none());
    }
}
