//! A seat of a cluster, and who sits there.

use opus_core::{
    Contact, Malformed, NodeId,
    pack::{Pack, Reader, Writer},
};

use super::{ClusterRef, Place};
use crate::label::{Label, Marks};

/// Who sits in a cluster: a node at level 1, above it a cluster with its agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seat {
    /// The node, or the agent.
    pub contact: Contact,
    /// Rises with each start of the node, so that a restart replaces its old self.
    pub incarnation: u64,
    /// Where it stands.
    pub place: Place,
    /// What it may hold, whom it lets in, and the cluster that it stands for.
    pub standing: Standing,
    /// Nodes below; 1 at level 1.
    pub size: u32,
}

/// The marks of a seat, and the cluster that it stands for. Most seats have neither label nor
/// cluster, and every member keeps all seats of its cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// How long it had been up when this was said, seconds.
    pub up_s: u32,
    fit: bool,
    closed: bool,
    /// None, if there would be nothing in it.
    more: Option<Box<More>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct More {
    label: Option<Label>,
    child: Option<ClusterRef>,
}

impl Standing {
    /// Of a seat that has just come up, with these marks; `child`: the cluster that it stands for,
    /// above level 1.
    pub fn of(marks: Marks, child: Option<ClusterRef>) -> Self {
        let Marks { fit, label, closed } = marks;
        let some = label.is_some() || child.is_some();
        let more = some.then(|| Box::new(More { label, child }));
        Self {
            up_s: 0,
            fit,
            closed,
            more,
        }
    }

    /// The same after so many seconds.
    #[must_use]
    pub fn after(self, up_s: u32) -> Self {
        Self { up_s, ..self }
    }

    fn marks(&self) -> Marks {
        Marks {
            fit: self.fit,
            label: self.more.as_ref().and_then(|more| more.label),
            closed: self.closed,
        }
    }

    fn child(&self) -> Option<ClusterRef> {
        self.more.as_ref()?.child
    }
}

impl Seat {
    /// Who sits there.
    pub const fn id(&self) -> NodeId {
        self.contact.id
    }

    /// What it may hold, and whom it lets in.
    pub fn marks(&self) -> Marks {
        self.standing.marks()
    }

    /// The cluster that it stands for, above level 1.
    pub fn child(&self) -> Option<ClusterRef> {
        self.standing.child()
    }

    /// Other marks.
    pub(crate) fn mark(&mut self, marks: Marks) {
        self.standing = Standing::of(marks, self.child()).after(self.standing.up_s);
    }

    /// What members have to know of a seat: all else changes while nobody tells them.
    pub(super) fn note(&self, slot: u8, to: &mut Writer) {
        slot.pack(to);
        self.id().pack(to);
        self.incarnation.pack(to);
        self.child().pack(to);
        let marks = self.marks();
        if marks.label.is_some() || marks.closed {
            (marks.label, marks.closed).pack(to);
        }
    }

    /// 8 bits that mostly differ if two seats do.
    pub(crate) fn digest(&self, slot: u8) -> u8 {
        super::digest(|to| self.note(slot, to)).to_be_bytes()[0]
    }

    /// It stands for this cluster.
    pub(crate) fn stand_for(&mut self, child: ClusterRef) {
        self.standing = Standing::of(self.marks(), Some(child)).after(self.standing.up_s);
    }
}

impl Pack for Seat {
    fn pack(&self, to: &mut Writer) {
        self.contact.pack(to);
        self.incarnation.pack(to);
        self.place.pack(to);
        self.marks().pack(to);
        self.standing.up_s.pack(to);
        self.child().pack(to);
        self.size.pack(to);
    }

    fn unpack(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let contact = Contact::unpack(from)?;
        let (incarnation, place) = <(u64, Place)>::unpack(from)?;
        let (marks, up_s) = <(Marks, u32)>::unpack(from)?;
        let child = <Option<ClusterRef>>::unpack(from)?;
        Ok(Self {
            contact,
            incarnation,
            place,
            standing: Standing::of(marks, child).after(up_s),
            size: u32::unpack(from)?,
        })
    }
}
