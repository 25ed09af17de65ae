//! The directory: where a tree may be found by those who know nobody in it.
//!
//! Who seeks a tree and has asked all whom it knows asks the directory, and so does a root, since
//! another may be there. A root tells it where it is, after it has looked: one that finds a tree
//! goes into it and is none any more. What the directory says are hints, and nobody is believed to
//! be there before it answers. Whoever writes nonsense there costs a few dials a look, and drives
//! out nothing that is known. What is said of labels is looked after in `kin.rs`.

use std::{collections::BTreeSet, time::Duration};

use opus_core::{Contact, FlatMap, Time};
use rand::RngExt;

use super::{Dicast, heal::PAUSES};
use crate::{Event, Name, Refusal};

/// Contacts taken from one answer: half of what is remembered, so that no answer drives out all
/// that was known before.
const FOUND_MAX: usize = 8;

/// Contacts of one answer that a root greets: as many as it has posts to be asked for.
const GREETED: usize = 4;

/// After how much of the time between two greetings whoever has become a root looks first: not all
/// halves of a tree at once.
const SOON: (f64, f64) = (0.1, 0.5);

/// So long after a look a root publishes, if it still is one: what it found answers within that.
const LOOKED: Duration = Duration::from_secs(5);

/// The longest pause is at most 2 to this times the first.
const DOUBLINGS_MAX: u32 = 16;

/// A pause that began as `first` and was doubled so many `times`, but no longer than `longest`.
pub(super) fn doubled(first: Duration, times: u32, longest: Duration) -> Duration {
    (first * (1 << times.min(DOUBLINGS_MAX))).min(longest)
}

/// What is asked of the directory, and told it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Directory {
    /// When which name was wanted last.
    wanted: FlatMap<Name, Time>,
    /// When we next look, as a root.
    look_at: Option<Time>,
    /// When we next publish, as a root.
    publish_at: Option<Time>,
    /// Looks since we became a root.
    looks: u32,
}

impl Dicast {
    /// Others who may be in the tree. What the directory has under a `name` goes first.
    pub(super) fn on_found(
        &mut self,
        now: Time,
        id: u64,
        name: Option<Name>,
        mut contacts: Vec<Contact>,
    ) {
        if !self.running {
            self.refuse(id, Refusal::NotStarted);
            return;
        }
        contacts.truncate(FOUND_MAX);
        let mut seen = BTreeSet::from([self.id()]);
        contacts.retain(|contact| contact.check().is_ok() && seen.insert(contact.id));
        // Anybody may write into the directory: what it says is tried, but drives out nobody.
        let known = name.is_some();
        let mut news = false;
        for contact in contacts.iter().filter(|_| !known) {
            news |= self.remember(contact.clone());
        }
        if contacts.is_empty() || !known && !news {
            return;
        }
        // A search that waits for an answer or a measurement has somebody better.
        let targets = self.seeks.keys().copied();
        let pausing: Vec<u8> = targets.filter(|target| self.is_paused(*target)).collect();
        let at = u8::from(matches!(name, Some(Name::Label(_))));
        for target in pausing {
            if known && (at == 0 || target == 1) {
                self.ask_first(now, target, &contacts, at);
            } else if known {
                continue;
            } else if self.seeks.get(&target).is_some_and(|it| it.next.is_empty()) {
                self.refill(target);
            }
            self.resume_seek(now, target);
        }
        match name {
            Some(Name::Root) => self.greet_found(now, &contacts),
            Some(Name::Label(label)) => self.on_kin_found(now, label, &contacts),
            None => {}
        }
    }

    /// A root greets whom the directory named, unless they sit in its own cluster.
    fn greet_found(&mut self, now: Time, contacts: &[Contact]) {
        let Some(level) = self.crowned() else {
            return;
        };
        let roster = &self.posts[&level].view.roster;
        let others = contacts.iter().filter(|it| roster.find(it.id).is_none());
        let others: Vec<Contact> = others.take(GREETED).cloned().collect();
        for to in &others {
            self.greet_one(now, level, to);
        }
    }

    /// Asks the directory, unless it was asked lately. Returns whether it was asked.
    pub(super) fn want(&mut self, now: Time, name: Name) -> bool {
        let apart = self.config.want_apart;
        let wanted = &mut self.directory.wanted;
        wanted.retain(|_, at| now.since(*at) < apart);
        if wanted.contains_key(&name) {
            return false;
        }
        wanted.insert(name, now);
        self.tell(Event::Want(name));
        true
    }

    /// What a root looks for and tells; looked at each heartbeat.
    pub(super) fn keep_record(&mut self, now: Time) {
        let root = self.crowned().filter(|_| self.leaving_since.is_none());
        let Some(level) = root else {
            let directory = &mut self.directory;
            (directory.look_at, directory.publish_at) = (None, None);
            directory.looks = 0;
            return;
        };
        if self.directory.publish_at.is_some_and(|at| now >= at) {
            self.directory.publish_at = None;
            self.publish(level);
        }
        let pause = match self.directory.look_at {
            Some(at) if now < at => return,
            Some(_) => {
                if !self.want(now, Name::Root) {
                    // We asked as one that sought: what came of that led nowhere.
                    self.directory.look_at = Some(now + self.config.want_apart);
                    return;
                }
                let pause = self.pause();
                self.directory.looks = self.directory.looks.saturating_add(1);
                self.directory.publish_at = Some(now + LOOKED);
                pause.mul_f64(self.rng.random_range(PAUSES.0..PAUSES.1))
            }
            None => {
                let soon = self.rng.random_range(SOON.0..SOON.1);
                self.config.hello.mul_f64(soon)
            }
        };
        self.directory.look_at = Some(now + pause);
    }

    /// The next look of a root comes after about so long.
    fn pause(&self) -> Duration {
        doubled(self.config.hello, self.directory.looks, self.config.publish)
    }

    fn publish(&mut self, level: u8) {
        let root = self.posts[&level].view.ancestor();
        let contacts = root.posts().cloned().collect();
        self.tell(Event::Publish {
            name: Name::Root,
            contacts,
        });
    }
}
