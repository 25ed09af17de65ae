//! Keys of programs' own: what the site manager allows goes to dicast, and a refusal comes back.
//!
//! dicast says nothing of a command that it took; whether it did is to be seen at once. A refusal
//! is an event that the loop meets later, so who asked waits for it, under a number of his own.

use std::collections::BTreeMap;

use opus_core::NodeId;
use opus_dicast::{
    Command, Refusal as Word,
    aggregate::{KeySpec, Sample},
};
use opus_site::keys::{Change, Program, Programs, Refusal};
use tokio::sync::oneshot;

use super::{Core, told::Level, tree::COMMAND};

/// Most commands that wait for dicast's word at once. Overflow: refused. It takes one turn of the
/// loop, so there is more than one only if the loop is late.
const WAITS_MAX: usize = 256;

/// The bit of a command's number that tells it from those of dicast's own measurements.
const OF_PROGRAM: u64 = 1 << 63;

/// What became of what a program asked.
#[derive(Debug)]
pub enum KeyReply {
    /// It is done.
    Done {
        /// The key's number.
        key: u16,
        /// Whether there was anything to do.
        new: bool,
    },
    /// It may not be.
    Refused(Refusal),
    /// dicast did not do it, and will say why.
    Waits(oneshot::Receiver<Word>),
    /// Too many wait already.
    Busy,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Keys {
    programs: Programs,
    waits: BTreeMap<u64, oneshot::Sender<Word>>,
    last: u64,
}

impl Keys {
    /// Of the node `me`, whose programs may have `keys_max` keys.
    pub(super) fn new(me: NodeId, keys_max: usize) -> Self {
        Self {
            programs: Programs::new(me, keys_max),
            waits: BTreeMap::new(),
            last: 0,
        }
    }

    /// A number for a command whose refusal is waited for; none if too many are.
    fn wait(&mut self) -> Option<(u64, oneshot::Receiver<Word>)> {
        self.waits.retain(|_, asker| !asker.is_closed());
        if self.waits.len() >= WAITS_MAX {
            return None;
        }
        self.last += 1;
        let id = OF_PROGRAM | self.last;
        let (asker, word) = oneshot::channel();
        self.waits.insert(id, asker);
        Some((id, word))
    }

    /// Hands dicast's refusal to who waits for it. Tells whether anybody did.
    pub(super) fn on_refused(&mut self, id: u64, reason: Word) -> bool {
        let Some(asker) = self.waits.remove(&id) else {
            return false;
        };
        if asker.send(reason).is_err() {
            tracing::debug!(?reason, "nobody waits for dicast's word any more");
        }
        true
    }
}

impl Core {
    /// What programs of this node defined, and hold values of.
    pub fn program_keys(&self) -> &Programs {
        &self.keys.programs
    }

    /// Says what a key is, for the whole network.
    pub fn define_key(&mut self, name: &str, spec: KeySpec) -> KeyReply {
        let dicast = self.swarm.behaviour().dicast.machine();
        match self.keys.programs.define(name, spec, dicast) {
            Ok((_, Some(change))) => self.change_key(change),
            Ok((key, None)) => KeyReply::Done {
                key: key.0,
                new: false,
            },
            Err(refusal) => KeyReply::Refused(refusal),
        }
    }

    /// Sets this node's value of a key, for as long as the program is connected.
    pub fn set_key(&mut self, program: &Program, name: &str, sample: Sample) -> KeyReply {
        let dicast = self.swarm.behaviour().dicast.machine();
        match self.keys.programs.set(program, name, sample, dicast) {
            Ok(change) => self.change_key(change),
            Err(refusal) => KeyReply::Refused(refusal),
        }
    }

    /// Withdraws the value that this connection set.
    pub fn unset_key(&mut self, conn: u64, name: &str) -> KeyReply {
        match self.keys.programs.unset(conn, name) {
            Ok(change) => self.change_key(change),
            Err(refusal) => KeyReply::Refused(refusal),
        }
    }

    /// Withdraws all values of a connection that has ended.
    pub fn end_program(&mut self, conn: u64) {
        for key in self.keys.programs.end(conn) {
            self.dicast_command(Command::Unset { id: COMMAND, key });
        }
    }

    /// Withdraws values of keys that have become others meanwhile.
    pub(super) fn look_at_keys(&mut self) {
        let dicast = self.swarm.behaviour().dicast.machine();
        for (key, name) in self.keys.programs.look(dicast) {
            self.dicast_command(Command::Unset { id: COMMAND, key });
            let msg = format!(
                "{name} is defined otherwise by another node: the value of a program here is \
                 withdrawn"
            );
            self.tellers.tell(Level::Warn, "dicast", msg);
        }
    }

    fn change_key(&mut self, change: Change) -> KeyReply {
        let Some((id, word)) = self.keys.wait() else {
            return KeyReply::Busy;
        };
        self.dicast_command(change.command(id));
        if !change.is_in(self.now(), self.me, self.dicast()) {
            return KeyReply::Waits(word);
        }
        self.keys.waits.remove(&id);
        let key = change.key().0;
        self.keys.programs.apply(change);
        KeyReply::Done { key, new: true }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> Keys {
        Keys::new(NodeId::from_index(1), 4)
    }

    #[test]
    fn a_refusal_reaches_who_waits_for_it_and_nobody_else() {
        let mut keys = keys();
        let (first, mut first_word) = keys.wait().unwrap();
        let (second, mut second_word) = keys.wait().unwrap();
        assert!(first != second);
        assert!(keys.on_refused(second, Word::KeysFull));
        assert!(!keys.on_refused(second, Word::KeysFull), "it is told once");
        assert!(!keys.on_refused(COMMAND, Word::NoValue), "nobody asked");
        assert_eq!(second_word.try_recv(), Ok(Word::KeysFull));
        assert!(first_word.try_recv().is_err());
    }

    #[test]
    fn so_many_wait_and_who_gave_up_makes_room() {
        let mut keys = keys();
        let mut words: Vec<_> = (0..WAITS_MAX).map(|_| keys.wait().unwrap()).collect();
        assert!(keys.wait().is_none());
        words.pop();
        assert!(keys.wait().is_some());
    }
}
