//! Claims of children that are not here: what a lost branch is still due.
//!
//! A hold keeps the acknowledgement of a child that is lost, or that moved to another parent, so
//! that its branch finds the next frame in a ring when it attaches again. A child that begins anew
//! has forgotten its own children: their claim stays as *orphans* of its former life.

use opus_core::NodeId;

use crate::{
    ack::Digest,
    command::Event,
    complete::Complete,
    flow::Ctx,
    link::{Link, Presence, Sinks, Standing},
    peer::PeerIndex,
};

impl Complete {
    /// Children that are not among `downs` any longer keep their claim for a while.
    pub(crate) fn hold_all_but(&mut self, ctx: &mut Ctx<'_>, downs: &[(NodeId, PeerIndex)]) {
        let lost = ctx.now + ctx.config.hold;
        let moved = ctx.now + ctx.config.moved;
        for link in &mut self.links {
            let is_down = downs.iter().any(|(down, _)| link.is_of(*down));
            if link.peer().is_some() && !is_down {
                link.presence = Presence::Held(if link.moved { moved } else { lost });
                link.queued = false;
                link.top_wanted = false;
            }
        }
    }

    /// A child has another parent: its claim here is kept only until that one answers for it.
    /// Unless that one may be the child which is lost itself.
    pub(crate) fn on_child_moved(&mut self, ctx: &mut Ctx<'_>, child: NodeId) {
        let moved = ctx.now + ctx.config.moved;
        for link in self.links.iter_mut().filter(|link| link.is_of(child)) {
            link.moved = true;
            if let Presence::Held(until) = &mut link.presence {
                *until = (*until).min(moved);
            }
        }
        self.extend_holds(ctx);
    }

    /// While a child is lost, those that moved may have moved below it: they are lost too.
    pub(crate) fn extend_holds(&mut self, ctx: &mut Ctx<'_>) {
        if !self.links.iter().any(|link| link.is_held() && !link.moved) {
            return;
        }
        let lost = ctx.now + ctx.config.hold;
        for link in self.links.iter_mut().filter(|link| link.moved) {
            if let Presence::Held(until) = &mut link.presence {
                *until = lost;
                link.moved = false;
            }
        }
    }

    /// A child said goodbye: nothing is due to its own sinks. While it is an edge it still gets
    /// frames, for its branches.
    pub(crate) fn on_child_left(&mut self, ctx: &mut Ctx<'_>, child: NodeId) {
        for link in self.links.iter_mut().filter(|link| link.is_of(child)) {
            link.sinks = Sinks::Left;
        }
        self.release_holds();
        self.on_acked(ctx);
    }

    /// The first digest of a child that is back. If it began anew, the branches of its former life
    /// are lost to it: they are still due what it had not acknowledged for them.
    pub(crate) fn keep_orphans(&mut self, ctx: &mut Ctx<'_>, index: usize, digest: &Digest) {
        let link = &self.links[index];
        if link.standing != Standing::Unsure {
            return;
        }
        let orphans = link.branches_without(&digest.branches);
        if orphans.is_empty() {
            return;
        }
        let (id, until) = (link.id, ctx.now + ctx.config.hold);
        let orphans = link.orphans(ctx.now, orphans, until);
        // One claim for each child, however often it begins anew.
        let same = |link: &Link| link.id == id && link.is_orphans();
        match self.links.iter_mut().find(|link| same(link)) {
            Some(claim) => claim.join(&orphans),
            None => self.links.push(orphans),
        }
        ctx.arm_tick();
    }

    /// A lost child's claim ends when nobody is left to need it: it had no sinks, and all its
    /// branches are children here or below, whose own positions count.
    pub(crate) fn release_holds(&mut self) {
        if !self.links.iter().any(|link| link.peer().is_none()) {
            return;
        }
        let mut here = Vec::new();
        for link in self
            .links
            .iter()
            .filter(|link| link.peer().is_some() && link.standing == Standing::Confirmed)
        {
            here.push(link.name());
            here.extend_from_slice(&link.branches);
        }
        self.links.retain(|link| {
            let needed =
                link.sinks == Sinks::Some || link.branches.iter().any(|id| !here.contains(id));
            link.peer().is_some() || (link.standing != Standing::New && needed)
        });
    }

    /// Ends claims whose time is over; tells those that were still due something.
    pub(crate) fn expire_holds(&mut self, ctx: &mut Ctx<'_>) {
        let overlay = self.name.id.overlay;
        self.links.retain(|link| {
            let expired = link.held_until().is_some_and(|until| until <= ctx.now);
            if expired && link.is_behind(&self.ring) {
                let child = link.id;
                ctx.out.tell(Event::SlowBranch { overlay, child });
            }
            !expired
        });
    }
}
