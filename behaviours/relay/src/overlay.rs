//! One overlay at this node: its edges, its local programs, and its flows by source.
//!
//! There are two slots for sources: the current one and, for one hold after a change, the former
//! one, whose frames are brought to the end over whatever edges there are.

use opus_core::{NodeId, OverlayId, Time};

use crate::{
    command::{Class, Event, FlowId},
    complete::{Complete, Role},
    config::Config,
    flow::{Ctx, FlowRef, Name},
    header::flow_tag,
    peer::PeerIndex,
    sink::Sink,
    source::{Batch, SendError, Sent},
    timed::Timed,
};

mod frames;

/// Slots for sources.
pub(crate) const STREAMS: usize = 2;

/// A flow of either class.
#[derive(Debug)]
pub(crate) enum Flow {
    Timed(Box<Timed>),
    Complete(Box<Complete>),
}

/// The flows of one source.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) source: NodeId,
    /// It is a former source: forgotten then.
    pub(crate) retired: Option<Time>,
    pub(crate) flows: [Option<Flow>; Config::FLOWS as usize],
}

impl Stream {
    fn new(source: NodeId) -> Self {
        Self {
            source,
            retired: None,
            flows: Default::default(),
        }
    }

    /// The tags of all its flows.
    pub(crate) fn tags(&self, overlay: OverlayId) -> [u64; Config::FLOWS as usize] {
        std::array::from_fn(|flow| {
            flow_tag(overlay, self.source, u8::try_from(flow).expect("below 16"))
        })
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Overlay {
    pub(crate) id: OverlayId,
    pub(crate) class: Class,
    pub(crate) key: [u8; 32],
    /// The key before: a former source's frames are still on their way under it.
    pub(crate) former_key: Option<[u8; 32]>,
    slot: u16,
    pub(crate) parent: Option<PeerIndex>,
    /// The parent before, and until when it may send.
    previous: Option<(PeerIndex, Time)>,
    /// Children, in the order of the edges' event.
    pub(crate) children: Vec<PeerIndex>,
    /// Parent and children: where timed frames go.
    neighbours: Vec<PeerIndex>,
    pub(crate) streams: [Option<Stream>; STREAMS],
    /// The slot of the current source.
    pub(crate) current: usize,
    /// A local source is attached: its flows start here.
    source_first: Option<u64>,
    pub(crate) sinks: Vec<Sink>,
}

impl Overlay {
    pub(crate) fn new(slot: u16, id: OverlayId, class: Class, key: [u8; 32]) -> Self {
        Self {
            id,
            class,
            key,
            former_key: None,
            slot,
            parent: None,
            previous: None,
            children: Vec::new(),
            neighbours: Vec::new(),
            streams: [None, None],
            current: 0,
            source_first: None,
            sinks: Vec::new(),
        }
    }

    /// Frames are made with `key` from here on.
    pub(crate) fn set_key(&mut self, key: [u8; 32]) {
        if self.key != key {
            self.former_key = Some(std::mem::replace(&mut self.key, key));
        }
    }

    /// Whether data and tops of source slot `stream` may come from `peer`.
    pub(crate) fn is_upstream(&self, now: Time, stream: usize, peer: PeerIndex) -> bool {
        let is_former = self.streams[stream]
            .as_ref()
            .is_some_and(|s| s.retired.is_some());
        self.parent == Some(peer)
            || self
                .previous
                .is_some_and(|(previous, until)| previous == peer && now < until)
            || (is_former && self.children.contains(&peer))
    }

    /// Whether digests of source slot `stream` may come from `peer`.
    pub(crate) fn is_downstream(&self, stream: usize, peer: PeerIndex) -> bool {
        let is_former = self.streams[stream]
            .as_ref()
            .is_some_and(|s| s.retired.is_some());
        self.children.contains(&peer) || (is_former && self.parent == Some(peer))
    }

    /// The flow at `at`, made if its source is known.
    pub(crate) fn flow(&mut self, ctx: &mut Ctx<'_>, at: FlowRef) -> Option<&mut Flow> {
        let stream = self.streams[at.stream as usize].as_ref()?;
        if stream.flows.get(at.flow as usize)?.is_none() {
            let mut flow = self.make_flow(ctx, at, stream.source, stream.retired.is_some());
            let stream = self.streams[at.stream as usize].as_mut()?;
            let seq_first = self
                .source_first
                .filter(|_| at.stream as usize == self.current);
            match (&mut flow, seq_first) {
                (Flow::Timed(flow), Some(seq)) => flow.begin(seq),
                (Flow::Complete(flow), Some(seq)) => flow.begin(ctx, seq),
                (Flow::Timed(_) | Flow::Complete(_), None) => {}
            }
            stream.flows[at.flow as usize] = Some(flow);
        }
        self.streams[at.stream as usize].as_mut()?.flows[at.flow as usize].as_mut()
    }

    fn make_flow(&self, ctx: &mut Ctx<'_>, at: FlowRef, source: NodeId, former: bool) -> Flow {
        let id = FlowId {
            overlay: self.id,
            source,
            flow: at.flow,
        };
        let name = Name {
            at,
            id,
            tag: flow_tag(id.overlay, source, at.flow),
        };
        let deadline = match self.class {
            Class::Timed { deadline } => deadline,
            Class::Complete => {
                let mut flow = Complete::new(name);
                let (ups, downs) = self.ends(ctx, former);
                flow.role = if former { Role::Former } else { Role::Relay };
                flow.set_neighbours(ctx, &ups, &downs);
                for sink in &self.sinks {
                    flow.add_sink(ctx, sink.att, sink.resume.filter(|_| at.flow == 0));
                }
                return Flow::Complete(Box::new(flow));
            }
        };
        Flow::Timed(Box::new(Timed::new(name, deadline)))
    }

    /// Where frames of a current or former source come from and go to.
    #[expect(clippy::type_complexity, reason = "two lists of one kind")]
    fn ends(
        &self,
        ctx: &Ctx<'_>,
        former: bool,
    ) -> (Vec<(NodeId, PeerIndex)>, Vec<(NodeId, PeerIndex)>) {
        let named = |peers: &[PeerIndex]| -> Vec<(NodeId, PeerIndex)> {
            peers
                .iter()
                .map(|&peer| (ctx.peers.get(peer).id, peer))
                .collect()
        };
        if former {
            return (named(&self.neighbours), named(&self.neighbours));
        }
        (named(self.parent.as_slice()), named(&self.children))
    }

    /// New edges.
    pub(crate) fn set_edges(
        &mut self,
        ctx: &mut Ctx<'_>,
        parent: Option<NodeId>,
        children: &[NodeId],
    ) {
        let before = std::mem::take(&mut self.neighbours);
        let config = ctx.config;
        let parent = parent.and_then(|id| ctx.peers.intern(id, config));
        if let Some(old) = self.parent.filter(|_| self.parent != parent) {
            self.previous = Some((old, ctx.now + ctx.config.grace));
        }
        self.parent = parent;
        self.children.clear();
        for &child in children.iter().take(config.children_max) {
            if let Some(peer) = ctx.peers.intern(child, config)
                && parent != Some(peer)
                && !self.children.contains(&peer)
            {
                self.children.push(peer);
            }
        }
        self.neighbours = self.parent.iter().chain(&self.children).copied().collect();
        for &peer in &self.neighbours {
            ctx.peers.hold(peer);
        }
        self.connect(ctx);
        // Released last: an index that goes must not be named by a flow any more.
        for peer in before {
            ctx.peers.unhold(peer);
        }
    }

    /// Tells the complete flows who their neighbours are.
    fn connect(&mut self, ctx: &mut Ctx<'_>) {
        let current = self.ends(ctx, false);
        let former = self.ends(ctx, true);
        for stream in self.streams.iter_mut().flatten() {
            let (ups, downs) = if stream.retired.is_some() {
                &former
            } else {
                &current
            };
            for flow in stream.flows.iter_mut().flatten() {
                if let Flow::Complete(flow) = flow {
                    flow.set_neighbours(ctx, ups, downs);
                }
            }
        }
    }

    /// A child said goodbye; the edges' event may come before or after.
    pub(crate) fn child_left(&mut self, ctx: &mut Ctx<'_>, child: NodeId) {
        self.each_complete(|flow, _| flow.on_child_left(ctx, child));
    }

    /// A child told that it has another parent; the edges' event may come before or after.
    pub(crate) fn child_moved(&mut self, ctx: &mut Ctx<'_>, child: NodeId) {
        self.each_complete(|flow, _| flow.on_child_moved(ctx, child));
        ctx.arm_tick();
    }

    /// The channel to `peer` came up or went down.
    pub(crate) fn on_channel(&mut self, ctx: &mut Ctx<'_>, peer: PeerIndex) {
        self.each_complete(|flow, _| flow.on_channel(ctx, peer));
    }

    fn each_complete(&mut self, mut act: impl FnMut(&mut Complete, &mut [Sink])) {
        for stream in self.streams.iter_mut().flatten() {
            for flow in stream.flows.iter_mut().flatten() {
                match flow {
                    Flow::Complete(flow) => act(flow, &mut self.sinks),
                    Flow::Timed(_) => {}
                }
            }
        }
    }

    /// Makes `source` the current one. Returns a stream that had to go, whose tags the caller
    /// forgets, and whether the stream is new, whose tags the caller learns.
    pub(crate) fn set_source(
        &mut self,
        ctx: &mut Ctx<'_>,
        source: NodeId,
    ) -> (Option<Stream>, bool) {
        let is_current =
            |slot: &Option<Stream>| slot.as_ref().is_some_and(|stream| stream.source == source);
        if is_current(&self.streams[self.current]) {
            return (None, false);
        }
        self.source_first = None;
        let until = ctx.now + ctx.config.hold;
        let (_, all) = self.ends(ctx, true);
        if let Some(former) = &mut self.streams[self.current] {
            former.retired = Some(until);
            for flow in former.flows.iter_mut().flatten() {
                if let Flow::Complete(flow) = flow {
                    flow.retire(ctx, &all);
                }
            }
            self.current = (self.current + 1) % STREAMS;
        }
        ctx.arm_tick();
        let slot = &mut self.streams[self.current];
        if is_current(slot) {
            // It was the source before the former one: its flows go on.
            if let Some(stream) = slot {
                stream.retired = None;
                for flow in stream.flows.iter_mut().flatten() {
                    if let Flow::Complete(flow) = flow {
                        flow.role = Role::Relay;
                    }
                }
            }
            self.connect(ctx);
            return (None, false);
        }
        let mut dropped = slot.replace(Stream::new(source));
        if let Some(stream) = &mut dropped {
            close_stream(ctx, stream);
        }
        // A sink that resumes asks for flow 0 before its first frame comes.
        if self.class == Class::Complete && !self.sinks.is_empty() {
            let at = self.at(0);
            let _made: Option<&mut Flow> = self.flow(ctx, at);
        }
        (dropped, true)
    }

    /// The place of flow number `flow` of the current source.
    pub(crate) fn at(&self, flow: u8) -> FlowRef {
        FlowRef {
            overlay: self.slot,
            stream: u8::try_from(self.current).expect("two slots"),
            flow,
        }
    }

    /// A local source attached; this node is the current source already.
    pub(crate) fn begin(&mut self, ctx: &mut Ctx<'_>, seq_first: u64) {
        self.source_first = Some(seq_first);
        let Some(stream) = &mut self.streams[self.current] else {
            return;
        };
        for flow in stream.flows.iter_mut().flatten() {
            match flow {
                Flow::Timed(flow) => flow.begin(seq_first),
                Flow::Complete(flow) => flow.begin(ctx, seq_first),
            }
        }
    }

    pub(crate) fn end_source(&mut self) {
        self.source_first = None;
    }

    /// Takes frames of the local source.
    pub(crate) fn send(
        &mut self,
        ctx: &mut Ctx<'_>,
        number: u8,
        batch: &Batch<'_>,
    ) -> Result<Sent, SendError> {
        if self.source_first.is_none() {
            return Err(SendError::NoSource);
        }
        let at = self.at(number);
        if self.flow(ctx, at).is_none() {
            return Err(SendError::NoSource);
        }
        let stream = self.streams[self.current]
            .as_mut()
            .ok_or(SendError::NoSource)?;
        match &mut stream.flows[number as usize] {
            Some(Flow::Complete(flow)) => flow.send(ctx, batch, &mut self.sinks),
            Some(Flow::Timed(flow)) => flow
                .send(ctx, batch, &self.neighbours, &mut self.sinks)
                .ok_or(SendError::NoSource),
            None => Err(SendError::NoSource),
        }
    }

    /// A local sink attached.
    pub(crate) fn add_sink(&mut self, ctx: &mut Ctx<'_>, att: u32, resume: Option<u64>) {
        self.sinks.push(Sink::new(ctx.now, att, resume));
        for stream in self
            .streams
            .iter_mut()
            .flatten()
            .filter(|s| s.retired.is_none())
        {
            for (number, flow) in stream.flows.iter_mut().enumerate() {
                if let Some(Flow::Complete(flow)) = flow {
                    flow.add_sink(ctx, att, resume.filter(|_| number == 0));
                }
            }
        }
        if self.class == Class::Complete && self.streams[self.current].is_some() {
            let at = self.at(0);
            let _made: Option<&mut Flow> = self.flow(ctx, at);
        }
        self.each_complete_fed(ctx);
    }

    fn each_complete_fed(&mut self, ctx: &mut Ctx<'_>) {
        self.each_complete(|flow, sinks| flow.feed(ctx, sinks));
    }

    /// A local sink is gone.
    pub(crate) fn remove_sink(&mut self, ctx: &mut Ctx<'_>, att: u32) {
        self.sinks.retain(|sink| sink.att != att);
        self.each_complete(|flow, _| flow.remove_sink(ctx, att));
    }

    /// The application behind `att` took `frames` deliveries.
    pub(crate) fn taken(&mut self, ctx: &mut Ctx<'_>, att: u32, frames: u32) {
        let Some(sink) = self.sinks.iter_mut().find(|sink| sink.att == att) else {
            return;
        };
        for _ in 0..frames {
            let Some(handed) = sink.take(ctx.now) else {
                break;
            };
            let stream = self.streams[handed.at.stream as usize].as_mut();
            let flow = stream.and_then(|stream| stream.flows[handed.at.flow as usize].as_mut());
            if let Some(Flow::Complete(flow)) = flow {
                flow.on_taken(att, handed.seq);
            }
        }
        sink.refill(ctx.now, ctx.config, ctx.out);
        for stream in self.streams.iter_mut().flatten() {
            for flow in stream.flows.iter_mut().flatten() {
                if let Flow::Complete(flow) = flow {
                    flow.pump(ctx, sink);
                    flow.on_acked(ctx);
                }
            }
        }
    }

    /// Looks after all flows. Returns a former source's stream whose time is over, and whether to
    /// look again.
    pub(crate) fn on_tick(&mut self, ctx: &mut Ctx<'_>) -> (Option<Stream>, bool) {
        let mut busy = false;
        let neighbours = &self.neighbours;
        for stream in self.streams.iter_mut().flatten() {
            busy |= stream.retired.is_some();
            for flow in stream.flows.iter_mut().flatten() {
                busy |= match flow {
                    Flow::Timed(flow) => flow.on_tick(ctx, neighbours),
                    Flow::Complete(flow) => flow.on_tick(ctx),
                };
            }
        }
        if self.class == Class::Complete {
            busy |= self.sinks.iter().any(Sink::is_owing);
            let slow = ctx.config.slow;
            while let Some(sink) = self.sinks.iter().find(|sink| sink.is_slow(ctx.now, slow)) {
                let (overlay, att) = (self.id, sink.att);
                ctx.out.tell(Event::SlowSink { overlay, att });
                self.remove_sink(ctx, att);
            }
        }
        let is_over = |stream: &mut Stream| stream.retired.is_some_and(|until| until <= ctx.now);
        let mut over = self
            .streams
            .iter_mut()
            .find_map(|slot| slot.take_if(is_over));
        if let Some(stream) = &mut over {
            close_stream(ctx, stream);
        }
        (over, busy)
    }

    /// The overlay goes.
    pub(crate) fn close(&mut self, ctx: &mut Ctx<'_>) {
        for stream in self.streams.iter_mut().flatten() {
            close_stream(ctx, stream);
        }
        for &peer in &self.neighbours {
            ctx.peers.unhold(peer);
        }
    }
}

/// The flows of a source go.
fn close_stream(ctx: &mut Ctx<'_>, stream: &mut Stream) {
    for flow in stream.flows.iter_mut().flatten() {
        match flow {
            Flow::Timed(flow) => flow.close(ctx),
            Flow::Complete(flow) => flow.close(ctx),
        }
    }
}
