//! What a machine knows: the cluster it sits in, the posts it holds, the seats it seeks.

use std::{collections::BTreeMap, time::Duration};

use opus_core::{Contact, NodeId, Time};

use crate::{
    Config,
    cluster::{ClusterRef, DEPUTIES, Path, Place, Seat, View},
    track::{Echo, Track, Uplink, Words},
    wire::{Leave, Merge, Office, Welcome},
};

/// Words that come within this are one burst: a question and its answer, a change that is told.
const BURST: Duration = Duration::from_millis(400);

/// A seat of ours: as a node in a cluster of level 1, or, above, for a cluster whose agent we are.
#[derive(Clone, Debug)]
pub(crate) struct Membership {
    pub(crate) view: View,
    pub(crate) slot: u8,
    pub(crate) path: Path,
    /// The agent's last word.
    pub(crate) heard: Time,
    /// How long after the one before it a word came, the last two times that it came alone.
    pub(crate) gaps: [Duration; 2],
    /// Values on their way up and down.
    pub(crate) link: Uplink,
    pub(crate) doubt: Doubt,
    /// When a full view was last asked for.
    pub(crate) asked_at: Option<Time>,
}

impl Membership {
    /// `me`: who sits there.
    pub(crate) fn new(now: Time, welcome: Welcome, me: NodeId) -> Self {
        Self {
            view: welcome.view,
            slot: welcome.slot,
            path: welcome.path,
            heard: now,
            gaps: [Duration::MAX; 2],
            link: Uplink::new(now, me),
            doubt: Doubt::None,
            asked_at: None,
        }
    }

    /// The other seats.
    pub(crate) fn siblings(&self) -> impl Iterator<Item = (u8, &Seat)> {
        let seats = self.view.roster.iter();
        seats.filter(|(slot, _)| *slot != self.slot)
    }

    /// Whether `id` sits in the cluster or is its agent, as far as we know.
    pub(crate) fn knows(&self, id: NodeId) -> bool {
        self.view.agent.id == id || self.view.roster.find(id).is_some()
    }

    /// Whether `id` holds or may hold the post of the cluster above.
    pub(crate) fn is_above(&self, id: NodeId) -> bool {
        let parent = self.path.0.first();
        parent.is_some_and(|parent| parent.posts().any(|post| post.id == id))
    }

    /// How long the agent may be silent before it is suspected: a deputy hears it each heartbeat;
    /// others at least with each pulse, and while values change nearly as often as deputies do.
    pub(crate) fn patience(&self, config: &Config) -> Duration {
        if self.is_heard_often(config) {
            self.promised(config).min(config.often() + config.heartbeat)
        } else {
            self.promised(config)
        }
    }

    /// How long the agent is silent at most while it lives and no word of it is late.
    pub(crate) fn promised(&self, config: &Config) -> Duration {
        let rank = self.view.rank(self.slot);
        if self.view.level > 1 || rank.is_some_and(|rank| rank < DEPUTIES) {
            config.often()
        } else {
            config.agent_silence
        }
    }

    /// Whether the agent's last three words came as if for a deputy.
    pub(crate) fn is_heard_often(&self, config: &Config) -> bool {
        self.gaps.iter().all(|gap| *gap <= config.often())
    }

    /// The agent gave a sign of life.
    pub(crate) fn hear(&mut self, now: Time) {
        // Words of one burst say nothing of the rhythm.
        let gap = now.since(self.heard);
        if gap >= BURST {
            self.gaps = [gap, self.gaps[0]];
        }
        self.heard = now;
        self.doubt = Doubt::None;
    }
}

/// How far the suspicion of a silent agent has gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Doubt {
    None,
    /// Pings are under way.
    Checking,
    /// We want its post; so many claims went unanswered.
    Claiming {
        tries: u32,
    },
    /// No parent answers: another member is asked whether it too finds the agent silent.
    Accusing,
}

/// A post: the agent's side of a cluster.
#[derive(Clone, Debug)]
pub(crate) struct Post {
    /// The true one.
    pub(crate) view: View,
    /// By seat.
    pub(crate) children: BTreeMap<u8, Child>,
    /// Our cluster's seat one level up; none at the root, and while another parent is sought.
    pub(crate) up: Option<Membership>,
    pub(crate) phase: Phase,
    pub(crate) since: Time,
    /// Whether the last agent gave it to us as the better one: then it stays here for long.
    pub(crate) given: bool,
    /// Since when the cluster has no parent, if it has none.
    pub(crate) alone_since: Time,
    /// No split, merge or handover before this.
    pub(crate) calm_until: Time,
    /// A sibling's agent who was too busy to take our members in.
    pub(crate) busy: Option<NodeId>,
    /// Rounds of pulses so far.
    pub(crate) round: u32,
    pub(crate) view_digest: u16,
    pub(crate) path_digest: u16,
    pub(crate) track: Track,
    /// Of what whole the cluster was a part when it lost its parent, or, while it has one, when we
    /// took the post: so many nodes; and until when those that it does not count are missing.
    pub(crate) lost: Option<(u64, Time)>,
}

/// For how long a part of a tree remembers how large the whole was: as long as those who were
/// expelled are missing.
pub(crate) const LOST: Duration = Duration::from_secs(600);

/// What an agent knows of one seat beside what all members know.
#[derive(Clone, Debug)]
pub(crate) struct Child {
    pub(crate) heard: Time,
    /// Of its last beat.
    pub(crate) seq: u32,
    /// When it last answered, us or another member, a ping for a beat that did not come; and when
    /// the last such ping began.
    pub(crate) reached: Time,
    pub(crate) probed: Time,
    pub(crate) trial: Option<Trial>,
    /// How often it was found alive since its last beat.
    pub(crate) acquitted: u8,
    /// Whether it was found alive since its last beat, and not convicted since.
    pub(crate) spared: bool,
    /// Whether its cluster got its name or epoch from us.
    pub(crate) native: bool,
    /// What its cluster was before we granted what it is.
    pub(crate) before: Option<ClusterRef>,
    /// Our pulses and pushes to it.
    pub(crate) words: Words,
    /// The last round trip.
    pub(crate) rtt: Duration,
    /// All records pushed up to this one are known to it.
    pub(crate) acked: u32,
    /// The last push: up to which record, when, and how often since the last new one.
    pub(crate) push: Option<(u32, Time, u8)>,
    /// Which roll of the members' values it was told last.
    pub(crate) roll: u8,
    /// Whether it said that it has none upon which another can build.
    pub(crate) lacks_roll: bool,
    /// When it was last told of all keys.
    pub(crate) keys_at: Option<Time>,
}

impl Child {
    pub(crate) fn new(now: Time) -> Self {
        Self {
            heard: now,
            seq: 0,
            reached: now,
            probed: now,
            trial: None,
            acquitted: 0,
            spared: false,
            native: false,
            before: None,
            words: Words::new(now),
            rtt: Duration::ZERO,
            acked: 0,
            push: None,
            roll: 0,
            lacks_roll: true,
            keys_at: None,
        }
    }

    /// Its last beat, and how long ago that was.
    pub(crate) fn echo(&self, now: Time) -> Echo {
        Echo {
            number: self.seq,
            dwell: now.since(self.heard),
        }
    }

    /// When it was last known to live.
    pub(crate) fn lived(&self) -> Time {
        self.heard.max(self.reached)
    }

    /// How long it may be silent: so long once it was heard, so long before.
    pub(crate) const fn patience(&self, (heard, new): (Duration, Duration)) -> Duration {
        if self.seq == 0 { new } else { heard }
    }
}

/// A silent member between suspicion and expulsion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Trial {
    pub(crate) began: Time,
    /// Our own pings went unanswered.
    pub(crate) unanswered: bool,
    /// Another member's did too.
    pub(crate) confirmed: bool,
}

/// What an agent is about.
#[derive(Clone, Debug)]
pub(crate) enum Phase {
    Acting,
    /// Members measure their delay to the two poles.
    Dividing {
        poles: (u8, u8),
        sides: BTreeMap<u8, (u32, u32)>,
    },
    /// The parent is asked for the next epoch.
    Asking(Request),
    /// The nearest sibling is asked to take all members.
    Merging {
        into: Contact,
    },
    /// The post is the successor's, once it says so.
    Leaving,
}

/// Why the parent is asked for an epoch.
#[derive(Clone, Debug)]
pub(crate) enum Request {
    /// These seats go to a new sibling under this agent.
    Split { away: Vec<u8>, sibling: Seat },
    /// The members of this sibling come to us.
    Absorb { other: Box<Merge>, from: NodeId },
    /// This member takes our post.
    Yield { to: Seat },
}

/// A search for a seat.
#[derive(Clone, Debug)]
pub(crate) struct Seek {
    /// Since when nobody who is in a tree has answered.
    pub(crate) silent_since: Time,
    /// When one who is in a tree last told us the way.
    pub(crate) led_at: Option<Time>,
    /// Whom to ask, at which level, the last first.
    pub(crate) next: Vec<(Contact, u8)>,
    /// Who is being asked.
    pub(crate) asked: Option<NodeId>,
    /// Who was asked last, at which level, if we did not know then where we stand.
    pub(crate) blindly: Option<(Contact, u8)>,
    pub(crate) hops: u8,
    /// How often others have named somebody to ask first.
    pub(crate) named: u8,
    /// Whether it has gone on for what the directory may know.
    pub(crate) waited: bool,
}

/// A look for a nearer cluster than the one in which we sit, as a node or for our post.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scout {
    /// Looks so far since we came into the tree.
    pub(crate) looks: u32,
    /// Whether the last one came late: then a dial has to be worth it.
    pub(crate) is_late: bool,
    /// Looks beyond those with which we began that follow soon too.
    pub(crate) more: u32,
    /// Who is being asked, for clusters of which level, as one that knows clusters of which.
    pub(crate) asked: Option<(NodeId, u8, u8)>,
    /// The nearer agent who is asked for a seat.
    pub(crate) wanted: Option<NodeId>,
    /// Others that are nearer than ours too, the nearest last, if that one has no seat.
    pub(crate) nearer: Vec<Contact>,
    /// Our post of this level takes another parent even if that is not nearer: none of its siblings
    /// lets its members in, or more of their label are elsewhere.
    pub(crate) forced: Option<u8>,
}

impl Scout {
    /// Whether `agent` is asked for a seat.
    pub(crate) fn wants_seat_of(&self, agent: NodeId) -> bool {
        self.wanted == Some(agent)
    }

    /// Nobody is asked any more.
    pub(crate) fn forget(&mut self) {
        (self.asked, self.wanted) = (None, None);
        self.forced = None;
        self.nearer = Vec::new();
    }

    /// `peer` has nothing for us.
    pub(crate) fn give_up(&mut self, peer: NodeId) {
        self.asked.take_if(|(asked, ..)| *asked == peer);
        self.wanted.take_if(|wanted| *wanted == peer);
    }
}

/// A seat that was left.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Vacated {
    /// Whose it was.
    pub(crate) agent: NodeId,
    /// What that was told.
    pub(crate) leave: Leave,
    /// How often it will be told again: it would miss one who lives for long.
    pub(crate) repeats: u8,
}

/// Whom a ping is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// The agent of the cluster at this level in which we sit.
    Agent(u8),
    /// A member of our post at this level.
    Member(u8, u8),
    /// Another member asked us.
    Observe { asker: NodeId, nonce: u64 },
}

/// A ping under way.
#[derive(Clone, Debug)]
pub(crate) struct Check {
    pub(crate) of: Contact,
    pub(crate) why: Why,
    pub(crate) tries: u8,
}

/// A question to another member under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) whom: NodeId,
    pub(crate) what: Question,
}

/// What another member is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Question {
    /// Is the agent of this level silent for you too?
    Agent(u8),
    /// Is this member of our post?
    Member(u8, u8),
}

/// A measurement under way.
#[derive(Clone, Debug)]
pub(crate) struct Measurement {
    pub(crate) purpose: Purpose,
    /// Targets that were not answered yet.
    pub(crate) left: Vec<NodeId>,
    /// Round trips of those that were reached, microseconds.
    pub(crate) rtts: Vec<(NodeId, u32)>,
}

/// What a measurement is for.
#[derive(Clone, Debug)]
pub(crate) enum Purpose {
    /// The way down to a seat at this level, among these children.
    Seek {
        target: u8,
        level: u8,
        agents: Vec<(Contact, Place)>,
    },
    /// Clusters of this level, one of which may be nearer than ours, or lead to one.
    Scout {
        level: u8,
        agents: Vec<(Contact, Place)>,
    },
    /// A side in a split.
    Poles {
        agent: NodeId,
        tag: u16,
        slot: u8,
        one: NodeId,
        other: NodeId,
    },
}

/// A cluster that was ours under another name or agent, for those who have not heard.
#[derive(Clone, Debug)]
pub(crate) struct Former {
    pub(crate) old: ClusterRef,
    pub(crate) cluster: ClusterRef,
    pub(crate) agent: Contact,
    /// Only for these seats; all if none are named.
    pub(crate) slots: Option<Vec<u8>>,
    pub(crate) until: Time,
}

/// An office handed over and not yet confirmed.
#[derive(Clone, Debug)]
pub(crate) struct Handover {
    pub(crate) office: Office,
    pub(crate) tries: u8,
}

/// How long a machine remembers what became of a cluster.
pub(crate) const FORMER: Duration = Duration::from_secs(30);
