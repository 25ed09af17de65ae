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
