//! Messages that carry values down, widths, and the table of keys. Values go up with the beats.

use opus_core::{pack::Few, packed};

use crate::{
    Definition, Echo,
    aggregate::{Down, KEYS_MAX, KeyId},
};

/// Records in one push: more do not fit its bytes.
pub(crate) const PUSH_MAX: usize = 96;

/// An agent to a member: what its cluster and those above are.
#[derive(Clone, Debug, PartialEq)]
pub struct Push {
    /// Of the cluster.
    pub tag: u16,
    /// Number of the word, as in a pulse.
    pub number: u32,
    /// Of the member's last beat.
    pub echo: Echo,
    /// Whether `Got` shall answer at once; else the next beat says enough.
    pub urgent: bool,
    /// Which record all of these are newer than; 0: they replace whatever is known.
    pub base: u32,
    /// The last record in it.
    pub last: u32,
    /// The records that changed in between.
    pub records: Few<Down, PUSH_MAX>,
}

packed!(Push {
    tag,
    number,
    echo,
    urgent,
    base,
    last,
    records
});

/// A member's answer to a push.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Got {
    /// Of the cluster.
    pub tag: u16,
    /// The member's seat.
    pub slot: u8,
    /// All records pushed up to this one are known.
    pub pushed: u32,
}

packed!(Got { tag, slot, pushed });

/// An agent to a member: how wide its filters may be.
#[derive(Clone, Debug, PartialEq)]
pub struct Widths {
    /// Of the cluster.
    pub tag: u16,
    /// Rises with each plan; older ones are ignored.
    pub round: u32,
    /// Widths that the member has not confirmed, in the unit of the slack.
    pub widths: Few<(KeyId, f32), KEYS_MAX>,
}

packed!(Widths { tag, round, widths });

/// The table of keys, to a neighbour in the tree.
#[derive(Clone, Debug, PartialEq)]
pub struct Specs {
    /// All keys but the count of members.
    pub table: Few<(KeyId, Definition), KEYS_MAX>,
}

packed!(Specs { table });
