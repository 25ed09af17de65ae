//! What all connections together may hold: unsent and unfinished bytes.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, Weak,
        atomic::{AtomicUsize, Ordering},
    },
};

use super::{Notice, shared::Shared, state::Closing};

/// Bytes that all connections together hold. When over its limit, the connection that holds most
/// is closed: "64 MiB unsent or unfinished in all: closes the worst". Clones share the account, so
/// several servers in one process can.
#[derive(Clone, Debug)]
pub struct Budget {
    account: Arc<Account>,
}

#[derive(Debug)]
struct Account {
    bytes_max: usize,
    bytes: AtomicUsize,
    holders: Mutex<BTreeMap<u64, Weak<Shared>>>,
}

impl Budget {
    /// The limit of one node.
    pub const BYTES_MAX: usize = 64 << 20;

    /// An account with a limit of `bytes_max`.
    pub fn new(bytes_max: usize) -> Self {
        Self {
            account: Arc::new(Account {
                bytes_max,
                bytes: AtomicUsize::new(0),
                holders: Mutex::default(),
            }),
        }
    }

    /// Bytes held by all connections.
    pub fn bytes(&self) -> usize {
        self.account.bytes.load(Ordering::Relaxed)
    }

    pub(super) fn enter(&self, shared: &Arc<Shared>) {
        let mut holders = self.holders();
        holders.insert(shared.conn.id, Arc::downgrade(shared));
    }

    pub(super) fn leave(&self, id: u64) {
        self.holders().remove(&id);
    }

    pub(super) fn charge(&self, holder: &AtomicUsize, bytes: usize) {
        holder.fetch_add(bytes, Ordering::Relaxed);
        self.account.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn release(&self, holder: &AtomicUsize, bytes: usize) {
        let before = holder.fetch_sub(bytes, Ordering::Relaxed);
        debug_assert!(before >= bytes, "released more than was charged");
        self.account.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Closes the worst holders while over the limit. The caller holds no connection's lock.
    pub(super) fn settle(&self) {
        while self.bytes() > self.account.bytes_max {
            let held = |shared: &Arc<Shared>| shared.used.load(Ordering::Relaxed);
            // One thread at a time, and what the worst held is given back before the next look:
            // otherwise one offence would cost several connections.
            let holders = self.holders();
            if self.bytes() <= self.account.bytes_max {
                return;
            }
            let alive = holders.values().filter_map(Weak::upgrade);
            let Some(worst) = alive.filter(|shared| !shared.is_closing()).max_by_key(held) else {
                return;
            };
            let slow = worst.slow();
            worst.close(Closing::Now);
            worst.write_off();
            drop(holders);
            worst.service.notice(Notice::Evicted(slow));
        }
    }

    fn holders(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, Weak<Shared>>> {
        self.account
            .holders
            .lock()
            .expect("no holder of this lock panics")
    }
}

impl Default for Budget {
    fn default() -> Self {
        Self::new(Self::BYTES_MAX)
    }
}
