//! What dicast machines say to each other.
//!
//! A message is a kind, one byte, and its packed body ([`opus_core::pack`]); hot ones name their
//! sender by cluster tag and seat, cold ones carry contacts and rosters. Numbers are clamped and
//! lists bounded while they are unpacked: *check at the edge, trust inside*.

mod audit;
mod beat;
mod check;
mod renew;
mod values;

use std::time::Duration;

use opus_core::{
    Contact, Limits, Malformed, NodeId, Wire,
    pack::{self, Few, Pack, Reader, Writer},
    packed,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{
    aggregate::Roll,
    cluster::{ClusterRef, DEPUTIES, Path, Place, Seat, View},
    label::{Gather, Kin},
    track::Echo,
};

pub(crate) use self::audit::{AUDIT_KEYS_MAX, BARRED_MAX};
pub(crate) use self::values::PUSH_MAX;
pub use self::values::{Got, Push, Specs, Widths};
pub use self::{
    audit::{Audit, Audited, Liar},
    beat::Beat,
    renew::{Compare, Renewed},
};

/// Children named in one answer to a join.
pub(crate) const PLACES_MAX: usize = 12;

/// Redirections that a joiner follows before it begins anew: twice the way down the tallest tree,
/// with one outdated agent on each level.
pub(crate) const HOPS_MAX: u8 = 12;

/// Contacts elsewhere that go along with a post.
pub(crate) const OFFICE_FAR_MAX: usize = 8;

/// A wish for a seat in a cluster of level `target`. Answered by `Welcome`, `Places` or `Busy`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Join {
    /// Level of the cluster in which the seat is wanted: 1 for nodes.
    pub target: u8,
    /// Level of the cluster that is asked; 0 asks where the root is.
    pub at: u8,
    /// Whether the one who wants it has a seat in a cluster of this level already, which it leaves
    /// for this one.
    pub moves: bool,
    /// Whether it may still be counted where it was before.
    pub counted: bool,
    /// Who wants it.
    pub seat: Seat,
}

packed!(Join {
    target,
    at,
    moves,
    counted,
    seat
});

/// Where to ask next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    /// Level of the clusters that are named.
    pub level: u8,
    /// Whether the contacts stand for one cluster, so that any will do; else the nearest is best.
    pub same: bool,
    /// Whom to ask: contact, where the cluster is.
    pub agents: Few<(Contact, Place), PLACES_MAX>,
}

packed!(Places {
    level,
    same,
    agents
});

/// A seat, and all that its holder must know. Also the answer to `Ask`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Welcome {
    /// The cluster.
    pub view: View,
    /// The receiver's seat in it.
    pub slot: u8,
    /// The clusters above it.
    pub path: Path,
}

packed!(Welcome { view, slot, path });

/// An agent to a member: that it lives, and by digest what it believes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pulse {
    /// Of the cluster.
    pub tag: u16,
    /// Of the view.
    pub view: u16,
    /// Of the path.
    pub path: u16,
    /// Number of the word, rising: the member's beats echo it.
    pub number: u32,
    /// Of the member's last beat.
    pub echo: Echo,
    /// All records pushed up to this one still stand, ...
    pub pushed: u32,
    /// ... for values of the cluster that are not older, ...
    pub own_age: Duration,
    /// ... values of those above it, ...
    pub above_age: Duration,
    /// ... and values of siblings of all of these.
    pub beside_age: Duration,
    /// What the members have, to each in turn.
    pub roll: Option<Roll>,
}

packed!(Pulse {
    tag,
    view,
    path,
    number,
    echo,
    pushed,
    own_age,
    above_age,
    beside_age,
    roll
});

/// A deputy to the parent: my cluster's agent is silent, grant me the next epoch. Answered by
/// `Grant`, by `Fenced` if the parent hears the agent, or by `Places` that name a newer parent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The cluster under its lost agent.
    pub cluster: ClusterRef,
    /// The deputy.
    pub seat: Seat,
    /// Whether the agent itself asks, for its successor; else the deputy asks for itself.
    pub yields: bool,
}

packed!(Claim {
    cluster,
    seat,
    yields
});

/// The parent to the new agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The cluster as it was claimed.
    pub old: ClusterRef,
    /// The cluster under its new agent, for the first and only time.
    pub cluster: ClusterRef,
    /// Its seat in the parent cluster.
    pub up: Welcome,
}

packed!(Grant { old, cluster, up });

/// Whoever holds or knows the post, to one who acts on an old epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fenced {
    /// The cluster as the receiver knows it.
    pub old: ClusterRef,
    /// What became of it.
    pub cluster: ClusterRef,
    /// Who holds the post.
    pub agent: Contact,
}

packed!(Fenced {
    old,
    cluster,
    agent
});

/// A new agent to its members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Takeover {
    /// The cluster as the member knows it.
    pub old: ClusterRef,
    /// What it is from this moment on.
    pub cluster: ClusterRef,
    /// Its agent, who is the sender.
    pub agent: Contact,
    /// The member's seat, the same as before unless two clusters merged.
    pub slot: u8,
}

packed!(Takeover {
    old,
    cluster,
    agent,
    slot
});

/// An agent to its parent: grant me my next epoch, with a new sibling or without an old one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Twin {
    /// The cluster as it is.
    pub cluster: ClusterRef,
    /// Split: the sibling to be seated.
    pub add: Option<Seat>,
    /// Merge: the sibling that is absorbed.
    pub absorb: Option<ClusterRef>,
}

packed!(Twin {
    cluster,
    add,
    absorb
});

/// The parent's answer to `Twin`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Twinned {
    /// The asker's cluster as the parent knew it.
    pub old: ClusterRef,
    /// What it is from this moment on.
    pub cluster: ClusterRef,
    /// Seat of the new sibling.
    pub slot: Option<u8>,
}

packed!(Twinned { old, cluster, slot });

/// An agent that splits, to its members: how far are these two?
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Poles {
    /// Of the cluster.
    pub tag: u16,
    /// The two.
    pub one: Contact,
    /// See `one`.
    pub other: Contact,
}

packed!(Poles { tag, one, other });

/// A member's answer to `Poles`: round trips, microseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sides {
    /// Of the cluster.
    pub tag: u16,
    /// The member's seat.
    pub slot: u8,
    /// To the first pole.
    pub one_us: u32,
    /// To the second.
    pub other_us: u32,
}

packed!(Sides {
    tag,
    slot,
    one_us,
    other_us
});

/// A post, given by the one who holds it: to a split-off sibling's agent, or to a successor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Office {
    /// The cluster as its members know it.
    pub old: ClusterRef,
    /// What it becomes: the receiver is its agent.
    pub view: View,
    /// Its seat in the parent cluster; none for the root.
    pub up: Option<Welcome>,
    /// Whom the giver knows elsewhere: who greets other trees from now on shall know them too.
    pub far: Few<Contact, OFFICE_FAR_MAX>,
    /// Seats that do not count as others do yet.
    pub books: Few<Entry, { crate::cluster::SEATS_MAX }>,
    /// Nodes that sit in no seat and may be alive.
    pub missing: u32,
    /// Nodes that may be counted twice, nobody knows in which seat.
    pub double: u32,
    /// Who lied as an agent, and shall be none.
    pub barred: Few<NodeId, BARRED_MAX>,
}

packed!(Office {
    old,
    view,
    up,
    far,
    books,
    missing,
    double,
    barred
});

/// How a seat counts for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Which seat.
    pub slot: u8,
    /// So many of its nodes may be counted twice; if none, the seat is not counted, but missing.
    pub double: u32,
    /// For so long.
    pub left: Duration,
}

packed!(Entry { slot, double, left });

/// A cluster that is too small, to the agent of its nearest sibling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Merge {
    /// The small one, with its seats.
    pub view: View,
    /// Nodes that it misses beside those in its seats.
    pub missing: u32,
    /// Its seats that do not count as others do yet.
    pub books: Few<Entry, { crate::cluster::SEATS_MAX }>,
}

packed!(Merge {
    view,
    missing,
    books
});

/// The sibling's answer: what became of each seat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Merged {
    /// The small cluster.
    pub old: ClusterRef,
    /// The one that took its members.
    pub cluster: ClusterRef,
    /// Old seat, new seat.
    pub seats: Few<(u8, u8), { crate::cluster::SEATS_MAX }>,
}

packed!(Merged {
    old,
    cluster,
    seats
});

/// One root to another, or to a node that may know another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The root cluster that the sender is in.
    pub root: ClusterRef,
    /// Its level.
    pub height: u8,
    /// Nodes in it, as far as the sender knows.
    pub size: u32,
    /// Who to ask there.
    pub posts: Few<Contact, { DEPUTIES + 1 }>,
    /// Whether it was passed on by one who heard it. It is not passed on again.
    pub relayed: bool,
}

packed!(Hello {
    root,
    height,
    size,
    posts,
    relayed
});

/// One seat changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moved {
    /// Of the cluster.
    pub tag: u16,
    /// Which seat.
    pub slot: u8,
    /// Who sits there now.
    pub seat: Option<Seat>,
    /// The deputies since then.
    pub deputies: Few<u8, { crate::cluster::SEATS_MAX }>,
}

packed!(Moved {
    tag,
    slot,
    seat,
    deputies
});

/// A member to its agent: this seat is free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leave {
    /// Of the cluster.
    pub tag: u16,
    /// The sender's seat.
    pub slot: u8,
    /// Whether what sat there is counted elsewhere in the same tree, or is gone for good; else it
    /// may be in a tree of which the agent knows nothing.
    pub known: bool,
}

packed!(Leave { tag, slot, known });

/// A question about a member that seems dead, to another member; and the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accuse {
    /// Drawn by the one who asks.
    pub nonce: u64,
    /// Who seems dead.
    pub about: Contact,
}

packed!(Accuse { nonce, about });

/// An observer's verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// That of the question.
    pub nonce: u64,
    /// Whether the observer reached it.
    pub alive: bool,
}

packed!(Verdict { nonce, alive });

macro_rules! messages {
    ($($(#[$doc:meta])* $kind:literal $name:ident($body:ty)),* $(,)?) => {
        /// A message. See the module for its form on the wire.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Message {
            $($(#[$doc])* $name($body)),*
        }

        impl Pack for Message {
            fn pack(&self, to: &mut Writer) {
                match self {
                    $(Self::$name(body) => {
                        let kind: u8 = $kind;
                        kind.pack(to);
                        body.pack(to);
                    })*
                }
            }

            fn unpack(from: &mut Reader<'_>) -> Result<Self, Malformed> {
                match from.byte()? {
                    $($kind => <$body>::unpack(from).map(Self::$name),)*
                    _ => Err(Malformed::Invalid("a kind of message that this version lacks")),
                }
            }
        }
    };
}

messages! {
    /// See [`Beat`].
    0 Beat(Beat),
    /// See [`Pulse`].
    1 Pulse(Pulse),
    /// Are you alive? Answered by `Alive` with the same nonce.
    2 Check(u64),
    /// I am.
    3 Alive(u64),
    /// See [`Accuse`].
    4 Accuse(Accuse),
    /// See [`Verdict`].
    5 Verdict(Verdict),
    /// See [`Join`].
    6 Join(Join),
    /// See [`Places`].
    7 Places(Places),
    /// See [`Welcome`].
    8 Welcome(Welcome),
    /// Not now: ask again for a seat at this level after so long.
    9 Busy((u8, Duration)),
    /// Tell me view, seat and path of the cluster with this tag.
    10 Ask(u16),
    /// The cluster with this tag has no seat for you.
    11 Stranger(u16),
    /// See [`Leave`].
    12 Leave(Leave),
    /// See [`Moved`].
    13 Moved(Moved),
    /// See [`Claim`].
    14 Claim(Claim),
    /// See [`Grant`].
    15 Grant(Grant),
    /// See [`Fenced`].
    16 Fenced(Fenced),
    /// See [`Takeover`].
    17 Takeover(Takeover),
    /// See [`Twin`].
    18 Twin(Twin),
    /// See [`Twinned`].
    19 Twinned(Twinned),
    /// See [`Poles`].
    20 Poles(Poles),
    /// See [`Sides`].
    21 Sides(Sides),
    /// See [`Office`].
    22 Office(Box<Office>),
    /// See [`Merge`].
    23 Merge(Merge),
    /// See [`Merged`].
    24 Merged(Merged),
    /// Your cluster is the root now: the one above it, named here, is dissolved.
    25 Crown(ClusterRef),
    /// See [`Hello`].
    26 Hello(Hello),
    /// See [`Push`].
    27 Push(Push),
    /// See [`Got`].
    28 Got(Got),
    /// See [`Widths`].
    29 Widths(Widths),
    /// Report all your values to the agent of the cluster with this tag.
    30 Full(u16),
    /// See [`Specs`].
    31 Specs(Specs),
    /// Tell me what is above the cluster with this tag.
    32 AskPath(u16),
    /// The clusters above the one with this tag.
    33 Path((u16, Path)),
    /// See [`Kin`].
    34 Kin(Kin),
    /// See [`Gather`].
    35 Gather(Gather),
    /// See [`Audit`].
    36 Audit(Audit),
    /// See [`Audited`].
    37 Audited(Audited),
    /// See [`Liar`].
    38 Liar(Liar),
    /// See [`Compare`].
    39 Compare(Compare),
    /// See [`Renewed`].
    40 Renewed(Renewed),
}

impl Serialize for Message {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        pack::serialize(self, serializer)
    }
}

impl<'de> Deserialize<'de> for Message {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        pack::deserialize(deserializer)
    }
}

impl Wire for Message {
    /// 36 KiB: an office of 64 seats in a cluster of as many, with labels and full address hints.
    const LIMITS: Limits = Limits {
        bytes: 36 << 10,
        depth: 1,
        items: 1,
        text_keys: false,
    };

    fn check(&mut self) -> Result<(), Malformed> {
        check::lawful(self)
    }
}

#[cfg(test)]
mod tests;
