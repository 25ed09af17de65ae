//! How a complete flow speaks with its neighbours: digests up, tops down, holds, and what follows
//! when edges and channels come and go.

use bytes::BytesMut;
use opus_core::NodeId;

use crate::{
    ack::{BRANCHES_MAX, Digest, Top, WORDS_MAX},
    command::Event,
    complete::{Complete, Cursor, Role, Told, Up, slots_max},
    flow::{Control, Ctx, Timer},
    forward::Verdict,
    header::{FLAG_ACK_NOW, FLAG_COMPLETE, Header, Kind},
    link::{Link, Presence, Standing, is_overtaken},
    peer::{PeerIndex, Want},
    sink::Sink,
};

/// Ticks between digests to a parent that does not answer, at most: 6 s.
const PATIENCE_MAX: u32 = 30;

impl Complete {
    /// A digest from the neighbour `from`, which is downstream.
    pub(crate) fn on_digest(
        &mut self,
        ctx: &mut Ctx<'_>,
        from: PeerIndex,
        header: &Header,
        digest: &Digest,
        hop_told: u64,
    ) -> Verdict {
        let here = Presence::Here(from);
        let Some(index) = self.links.iter().position(|link| link.presence == here) else {
            return Verdict::Dropped;
        };
        if self.links[index].is_stale(header.hop_seq) {
            return Verdict::Duplicate;
        }
        self.rewind_for(ctx, index, digest);
        self.keep_orphans(ctx, index, digest);
        let link = &mut self.links[index];
        link.on_digest(ctx.now, &self.ring, digest, hop_told);
        // It must hear where it stands unless it needs exactly what we can give.
        let position = digest.position;
        if position.is_none_or(|at| self.ring.available_from(at) != at) {
            self.want_top(ctx, index);
        }
        self.ready(ctx, index);
        self.release_holds();
        self.on_acked(ctx);
        Verdict::Accepted
    }

    /// A child needs frames from before our ring: they are fetched for it from upstream.
    fn rewind_for(&mut self, ctx: &mut Ctx<'_>, index: usize, digest: &Digest) {
        let wants = self.links[index].wants(digest);
        let (Some(wants), Some(first)) = (wants, self.ring.first()) else {
            return;
        };
        if wants < first
            && wants >= self.gone
            && self.role != Role::Source
            && self.ring.rewind(wants, slots_max(ctx))
        {
            self.want_digests(ctx);
        }
    }

    /// A top from the neighbour `from`, which is upstream.
    pub(crate) fn on_top(
        &mut self,
        ctx: &mut Ctx<'_>,
        from: PeerIndex,
        header: &Header,
        top: &Top,
        sinks: &mut [Sink],
    ) -> Verdict {
        let Some(up) = self.ups.iter_mut().find(|up| up.peer == from) else {
            return Verdict::Dropped;
        };
        if is_overtaken(&mut up.last, header.hop_seq) {
            return Verdict::Duplicate;
        }
        up.confirmed = true;
        up.unanswered = 0;
        up.segments = top.segments;
        up.heard = top.heard;
        up.start = top.start.or(up.start);
        let promised = self.promised.into_iter().chain(top.start).min();
        if self.ring.position().is_none() && self.promised != promised {
            self.promised = promised;
            self.want_tops(ctx);
        }
        if header.flags & FLAG_ACK_NOW != 0 {
            // After the time for reordering: what is missing then is missing.
            self.asked = true;
            self.schedule_gap(ctx);
        }
        if top.stable > self.stable && self.role != Role::Source {
            self.stable = top.stable;
            self.settle(ctx);
            let behind = ctx.config.window_frames as u64 / 8;
            for index in 0..self.links.len() {
                if self.links[index].stable_told.saturating_add(behind) <= self.stable {
                    self.want_top(ctx, index);
                }
            }
        }
        if self.ring.has_hole() {
            self.skip_what_is_gone(ctx);
            self.feed(ctx, sinks);
            self.settle(ctx);
        }
        ctx.arm_tick();
        Verdict::Accepted
    }

    fn digest(&self, ctx: &Ctx<'_>, up: PeerIndex) -> Digest {
        let position = self.ring.position();
        let mut words = Vec::new();
        if let (Some(position), Some(end)) = (position, self.ring.end()) {
            for bit in 0..end.saturating_sub(position + 1).min(64 * WORDS_MAX as u64) {
                if bit % 64 == 0 {
                    words.push(0);
                }
                let held = u64::from(self.ring.get(position + 1 + bit).is_some());
                if let Some(word) = words.last_mut() {
                    *word |= held << (bit % 64);
                }
            }
        }
        Digest {
            position,
            wish: if position.is_none() {
                self.wish()
            } else {
                None
            },
            ack: self.acked().unwrap_or(0),
            stable: self.stable,
            hop_seen: ctx.peers.get(up).hop_settled(ctx.now, ctx.config.gap),
            has_sink: !self.cursors.is_empty(),
            words,
            branches: self.branches(),
        }
    }

    /// The earliest sequence that anybody here or below asks for while we have no position.
    pub(crate) fn wish(&self) -> Option<u64> {
        let links = self.links.iter().filter_map(|link| link.wish);
        let cursors = self.cursors.iter().filter_map(|cursor| cursor.next);
        links.chain(cursors).chain(self.promised).min()
    }

    /// Names of the nodes below that have told us where they stand, children first.
    fn branches(&self) -> Vec<u64> {
        let here = || {
            self.links
                .iter()
                .filter(|link| link.peer().is_some() && link.standing != Standing::New)
        };
        let children = here().map(Link::name);
        let below = here().flat_map(|link| link.branches.iter().copied());
        children.chain(below).take(BRANCHES_MAX).collect()
    }

    /// Writes the digest that was wanted for `peer`.
    pub(crate) fn write_digest(&mut self, ctx: &mut Ctx<'_>, peer: PeerIndex, out: &mut BytesMut) {
        let Some(index) = self
            .ups
            .iter()
            .position(|up| up.peer == peer && up.digest_wanted)
        else {
            return;
        };
        let digest = self.digest(ctx, peer);
        self.told = self.state();
        let up = &mut self.ups[index];
        up.digest_wanted = false;
        up.unanswered = up.unanswered.saturating_add(1);
        up.patience = up.unanswered.min(PATIENCE_MAX);
        let control = Control {
            kind: Kind::Digest,
            flags: FLAG_COMPLETE,
            seq: digest.position.unwrap_or(0),
        };
        ctx.write_control(peer, self.name.tag, control, &digest.encode(), out);
    }

    /// Writes the top that was wanted for `peer`.
    pub(crate) fn write_top(&mut self, ctx: &mut Ctx<'_>, peer: PeerIndex, out: &mut BytesMut) {
        let here = Presence::Here(peer);
        let Some(link) = self
            .links
            .iter_mut()
            .find(|link| link.presence == here && link.top_wanted)
        else {
            return;
        };
        link.top_wanted = false;
        link.stable_told = self.stable;
        let asks = link.is_unsure() || link.is_behind(&self.ring) || link.stable_seen < self.stable;
        let top = Top {
            stable: self.stable,
            start: link
                .start
                .filter(|_| self.ring.position().is_some())
                .or(self.promised),
            heard: link.position,
            segments: self.ring.segments(),
        };
        let control = Control {
            kind: Kind::Top,
            flags: FLAG_COMPLETE | if asks { FLAG_ACK_NOW } else { 0 },
            seq: self.ring.position().unwrap_or(0),
        };
        ctx.write_control(peer, self.name.tag, control, &top.encode(), out);
    }

    fn state(&self) -> Told {
        let position = self.ring.position();
        Told {
            position,
            wish: if position.is_none() {
                self.wish()
            } else {
                None
            },
            acked: self.acked().unwrap_or(0),
            stable: self.stable,
        }
    }

    /// Queues a digest to each neighbour upstream.
    pub(crate) fn want_digests(&mut self, ctx: &mut Ctx<'_>) {
        for up in &mut self.ups {
            if !up.digest_wanted {
                up.digest_wanted = ctx.want(up.peer, Want::Digest(self.name.at));
            }
        }
    }

    /// A digest at once if enough has changed since the last one; else the tick will send it.
    pub(crate) fn digest_if_due(&mut self, ctx: &mut Ctx<'_>) {
        ctx.arm_tick();
        let position = self.ring.position().unwrap_or(0);
        let per_frame = self.ring.bytes() / self.ring.frames().max(1);
        let eighth = (ctx.config.window_bytes / 8 / per_frame.max(1)).max(1);
        let every = ctx
            .config
            .digest_frames
            .min(ctx.config.window_frames as u64 / 8);
        let every = every.clamp(1, eighth as u64);
        let ahead = position.saturating_sub(self.told.position.unwrap_or(0)) >= every;
        if ahead || self.acked().unwrap_or(0).saturating_sub(self.told.acked) >= every {
            self.want_digests(ctx);
        }
    }

    pub(crate) fn want_top(&mut self, ctx: &mut Ctx<'_>, index: usize) {
        let at = self.name.at;
        let link = &mut self.links[index];
        if let Some(peer) = link.peer().filter(|_| !link.top_wanted) {
            link.top_wanted = ctx.want(peer, Want::Top(at));
        }
    }

    pub(crate) fn want_tops(&mut self, ctx: &mut Ctx<'_>) {
        for index in 0..self.links.len() {
            self.want_top(ctx, index);
        }
    }

    /// A hole will be told to the parent unless reordering fills it first.
    pub(crate) fn schedule_gap(&mut self, ctx: &mut Ctx<'_>) {
        if !self.gap_set {
            self.gap_set = true;
            ctx.timers
                .set(Timer::Gap(self.name.at), ctx.now + ctx.config.gap);
        }
        ctx.arm_tick();
    }

    pub(crate) fn on_gap(&mut self, ctx: &mut Ctx<'_>) {
        self.gap_set = false;
        if std::mem::take(&mut self.asked) || self.ring.has_hole() || self.ring.position().is_none()
        {
            self.want_digests(ctx);
        }
    }

    /// Looks after digests, tops, holds and slowness. Returns whether to look again.
    pub(crate) fn on_tick(&mut self, ctx: &mut Ctx<'_>) -> bool {
        let mut busy = self.tick_up(ctx);
        let held = self.links.len();
        self.expire_holds(ctx);
        let mut changed = self.links.len() != held;
        for index in 0..self.links.len() {
            let link = &mut self.links[index];
            let Some(peer) = link.peer() else {
                busy = true;
                continue;
            };
            let behind = link.is_behind(&self.ring);
            if !behind {
                link.rest(ctx.now);
            } else if self.role != Role::Former
                && link.standing != Standing::Cut
                && link.is_slow(ctx.now, ctx.config.slow)
            {
                link.standing = Standing::Cut;
                changed = true;
                let overlay = self.name.id.overlay;
                let child = link.id;
                ctx.out.tell(Event::SlowBranch { overlay, child });
            }
            let link = &self.links[index];
            let unsure = link.is_unsure() || behind || link.stable_seen < self.stable;
            let knows = self.ring.position().or(self.promised).is_some();
            if unsure && link.standing != Standing::Cut && knows {
                busy |= ctx.peers.get(peer).up || behind;
                self.want_top(ctx, index);
            }
        }
        if changed {
            self.on_acked(ctx);
        }
        busy
    }

    fn tick_up(&mut self, ctx: &mut Ctx<'_>) -> bool {
        let news = self.state() != self.told || self.ring.has_hole();
        let mut busy = false;
        let at = self.name.at;
        for up in &mut self.ups {
            if !ctx.peers.get(up.peer).up {
                continue;
            }
            if up.confirmed && !news {
                continue;
            }
            busy = true;
            up.patience = up.patience.saturating_sub(1);
            if !up.digest_wanted && (up.confirmed || up.patience == 0) {
                up.digest_wanted = ctx.want(up.peer, Want::Digest(at));
            }
        }
        busy
    }

    /// The edges changed: frames come from `ups` and go to `downs`.
    pub(crate) fn set_neighbours(
        &mut self,
        ctx: &mut Ctx<'_>,
        ups: &[(NodeId, PeerIndex)],
        downs: &[(NodeId, PeerIndex)],
    ) {
        self.ups.retain(|up| ups.iter().any(|(id, _)| *id == up.id));
        for &(id, peer) in ups {
            if !self.ups.iter().any(|up| up.id == id) {
                self.ups.push(Up::new(id, peer));
            }
        }
        self.hold_all_but(ctx, downs);
        let start = self.ring.position().or(self.promised);
        for &(id, peer) in downs {
            match self.links.iter_mut().find(|link| link.is_of(id)) {
                Some(link) if link.peer().is_none() => link.revive(ctx.now, peer),
                Some(_) => {}
                None => self.links.push(Link::new(ctx.now, id, peer, start)),
            }
        }
        self.release_holds();
        self.extend_holds(ctx);
        self.want_digests(ctx);
        self.want_tops(ctx);
        self.on_acked(ctx);
    }

    /// The channel to a neighbour came up or went down.
    pub(crate) fn on_channel(&mut self, ctx: &mut Ctx<'_>, peer: PeerIndex) {
        for index in 0..self.links.len() {
            if self.links[index].peer() == Some(peer) {
                self.links[index].unconfirm(ctx.now);
                self.want_top(ctx, index);
            }
        }
        for up in self.ups.iter_mut().filter(|up| up.peer == peer) {
            *up = Up::new(up.id, up.peer);
            up.digest_wanted = ctx.want(peer, Want::Digest(self.name.at));
        }
        ctx.arm_tick();
    }

    /// A local sink reads from here on: after `resume` if the ring reaches back or can be filled.
    pub(crate) fn add_sink(&mut self, ctx: &mut Ctx<'_>, att: u32, resume: Option<u64>) {
        let wish = resume.map(|seq| seq.saturating_add(1).min(u64::MAX - 2));
        let next = match (self.ring.position(), self.ring.first()) {
            (Some(position), Some(first)) => {
                let wish = wish.filter(|&wish| wish <= position).unwrap_or(position);
                if wish < first && wish >= self.gone && self.role != Role::Source {
                    self.ring.rewind(wish, slots_max(ctx));
                }
                Some(wish)
            }
            (Some(_) | None, None) | (None, Some(_)) => wish,
        };
        self.cursors.push(Cursor {
            att,
            next,
            acked: next.map_or(0, |next| next - 1),
        });
        self.want_digests(ctx);
        self.on_acked(ctx);
    }

    /// A local sink is gone.
    pub(crate) fn remove_sink(&mut self, ctx: &mut Ctx<'_>, att: u32) {
        self.cursors.retain(|cursor| cursor.att != att);
        self.on_acked(ctx);
    }

    /// A local sink has taken everything up to `seq`.
    pub(crate) fn on_taken(&mut self, att: u32, seq: u64) {
        if let Some(cursor) = self.cursors.iter_mut().find(|cursor| cursor.att == att) {
            let handed = cursor.next.is_some_and(|next| seq < next);
            cursor.acked = if handed {
                cursor.acked.max(seq)
            } else {
                cursor.acked
            };
        }
    }

    /// The stream is of a former source from here on: any neighbour may have what we lack, and
    /// lack what we have.
    pub(crate) fn retire(&mut self, ctx: &mut Ctx<'_>, all: &[(NodeId, PeerIndex)]) {
        self.role = Role::Former;
        self.set_neighbours(ctx, all, all);
    }
}

impl Up {
    pub(crate) fn new(id: NodeId, peer: PeerIndex) -> Self {
        Self {
            id,
            peer,
            confirmed: false,
            segments: crate::segments::Segments::default(),
            start: None,
            heard: None,
            last: None,
            digest_wanted: false,
            unanswered: 0,
            patience: 0,
        }
    }
}
