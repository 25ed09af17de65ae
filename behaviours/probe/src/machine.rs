//! The machine: inputs to measurements, watches and answers. Dispatch only.

use std::{collections::VecDeque, sync::Arc};

use opus_core::{
    Bucket, Deadline, Draws, FlatMap, Input, Lane, Machine, NodeId, Offence, Output, Rng, Time,
    Timers,
};
use opus_model::coordinate::Coordinate;
use rand::RngExt;

use crate::{
    Command, Config, Event, Message, PathStats, Refusal,
    anchors::Anchors,
    measure::{Flight, Jobs, Phase},
    path::{Path, Sample},
    table::Table,
    watch::Watched,
};

mod measuring;
mod watching;

/// A coordinate that drifted by this share of the round trip that moved it is told: a twentieth.
const DRIFT_SHARE: f64 = 0.05;

/// How often a peer moves us by what it says, in one connection: as often as it would in a
/// measurement.
const STEPS_MAX: u8 = 2;

/// Less drift than this, in milliseconds, is never told: no decision depends on it.
const DRIFT_MS_MIN: f64 = 0.5;

/// Measures paths for the whole node. See the crate for how, [`Machine`] for the calls.
#[derive(Debug)]
pub struct Probe {
    /// Shared by the machines of a process, if there are many.
    config: Arc<Config>,
    rng: Draws,
    timers: Timers<Timer>,
    /// Drained after each mutation; holds what one mutation makes.
    outputs: VecDeque<Output<Message, Event>>,
    coordinate: Coordinate,
    told: Coordinate,
    paths: Table,
    anchors: Anchors,
    jobs: Jobs,
    watched: Watched,
    /// Connected peers; at most `Config::links_max`. Overflow: taken as not connected.
    links: FlatMap<NodeId, Link>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    /// The budget has a token for what is queued.
    Start,
    /// The measurement's dial or ping took too long.
    Job(NodeId),
    /// The watched peer's next ping is due.
    Watch(NodeId),
    /// Paths that nobody asks for any more are forgotten.
    Sweep,
}

/// What is remembered of a connection.
#[derive(Clone, Debug)]
struct Link {
    /// Whether a ping was answered on it: later ones find their substreams open.
    warm: bool,
    /// What this peer may ask.
    answers: Bucket,
    /// How often it has moved us by what it said.
    steps: u8,
}

impl Probe {
    /// A probe that knows nobody and stands at the origin.
    pub fn new(config: impl Into<Arc<Config>>, rng: Rng) -> Self {
        let config = config.into();
        let timers = Timers::new(config.jobs_max + config.watched_max + 2);
        Self {
            rng: rng.into(),
            timers,
            outputs: VecDeque::new(),
            coordinate: Coordinate::default(),
            told: Coordinate::default(),
            paths: Table::new(config.paths_max),
            anchors: Anchors::default(),
            jobs: Jobs::new(&config),
            watched: Watched::new(),
            links: FlatMap::new(),
            config,
        }
    }

    /// Where this node stands.
    pub fn coordinate(&self) -> Coordinate {
        self.coordinate
    }

    /// What is known of the path to `peer`, if any ping in its window was answered.
    pub fn path(&self, now: Time, peer: NodeId) -> Option<PathStats> {
        self.paths.get(peer)?.stats(now)
    }

    /// The coordinate that `peer` told, if its path is remembered.
    pub fn peer_coordinate(&self, peer: NodeId) -> Option<Coordinate> {
        self.paths.get(peer)?.coordinate
    }

    /// All known paths, by rising peer.
    pub fn paths(&self, now: Time) -> impl Iterator<Item = (NodeId, PathStats)> {
        let stats = move |path: &Path| path.stats(now);
        self.paths
            .iter()
            .filter_map(move |(peer, path)| Some((peer, stats(path)?)))
    }

    fn on_connected(&mut self, now: Time, peer: NodeId) {
        if self.links.len() >= self.config.links_max && !self.links.contains_key(&peer) {
            return;
        }
        let answers = Bucket::new(self.config.answers_per_s, self.config.answers_burst);
        let link = Link {
            warm: false,
            answers,
            steps: 0,
        };
        self.links.insert(peer, link);
        if let Some(path) = self.paths.get_mut(peer) {
            path.unreachable_at = None;
        }
        self.on_job_connected(now, peer);
        if self.watched.contains_key(&peer) {
            self.ping_watched(now, peer);
        }
    }

    fn on_disconnected(&mut self, now: Time, peer: NodeId) {
        self.links.remove(&peer);
        if let Some(watch) = self.watched.get_mut(&peer) {
            watch.flight = None;
        }
        self.on_job_disconnected(now, peer);
    }

    fn on_message(&mut self, now: Time, from: NodeId, message: Message) {
        match message {
            Message::Ping {
                nonce,
                coordinate,
                rtt_us,
            } => {
                if !self.admit(now, from) {
                    return;
                }
                if rtt_us > 0 && self.may_step(from) {
                    self.move_coordinate(&coordinate.into(), rtt_us);
                }
                if let Some(path) = self.paths.get_mut(from) {
                    path.coordinate = Some(coordinate.into());
                }
                let message = Message::Pong {
                    nonce,
                    coordinate: self.coordinate.into(),
                };
                self.send(from, message);
            }
            Message::Pong { nonce, coordinate } => {
                self.on_pong(now, from, nonce, coordinate.into());
            }
        }
    }

    /// Whether `from` may move us once more by what it says, which nothing proves.
    fn may_step(&mut self, from: NodeId) -> bool {
        let link = self.links.get_mut(&from);
        link.is_some_and(|link| {
            let may = link.steps < STEPS_MAX;
            link.steps += u8::from(may);
            may
        })
    }

    /// Takes a token of what `from` may ask; penalises it if there is none.
    fn admit(&mut self, now: Time, from: NodeId) -> bool {
        let link = self.links.get_mut(&from);
        let admitted = link.is_some_and(|link| link.answers.take(now));
        if !admitted && self.links.contains_key(&from) {
            self.outputs
                .push_back(Output::Penalise(from, Offence::Flood));
        }
        admitted
    }

    fn on_pong(&mut self, now: Time, from: NodeId, nonce: u64, coordinate: Coordinate) {
        let job = self
            .jobs
            .get_mut(from)
            .filter(|job| matches!(job.phase, Phase::Pinging(flight) if flight.nonce == nonce));
        if let Some(job) = job {
            let Phase::Pinging(flight) = job.phase else {
                return;
            };
            job.answered = true;
            let counted = self.record(now, from, flight, coordinate);
            self.on_job_answered(now, from, counted);
            return;
        }
        let watch = self.watched.get_mut(&from);
        let flight = watch.and_then(|watch| watch.flight.take_if(|flight| flight.nonce == nonce));
        if let Some(flight) = flight {
            self.record(now, from, flight, coordinate);
            self.on_watch_answered(now, from);
            return;
        }
        // Late, or never asked for: the former is rare enough for the peer's own bucket.
        self.admit(now, from);
    }

    /// Takes one round trip; tells whether it counts, that is, whether no set-up was in it.
    fn record(&mut self, now: Time, peer: NodeId, flight: Flight, coordinate: Coordinate) -> bool {
        let rtt_us = now.since(flight.sent_at).as_micros();
        let rtt_us = u32::try_from(rtt_us).unwrap_or(u32::MAX).max(1);
        let link = self.links.get_mut(&peer);
        let warm = link.is_some_and(|link| std::mem::replace(&mut link.warm, true));
        if self.timers.get(Timer::Sweep).is_none() {
            self.timers
                .set(Timer::Sweep, now + self.config.path_idle / 2);
        }
        let path = self.paths.touch(now, peer);
        path.coordinate = Some(coordinate);
        path.unreachable_at = None;
        if warm {
            path.record(now, Sample::Answered(rtt_us));
            self.anchors.take(peer, coordinate, rtt_us);
            self.settle_coordinate();
        } else {
            path.record(now, Sample::Setup(rtt_us));
        }
        warm
    }

    fn sweep(&mut self, now: Time) {
        let (links, watched) = (&self.links, &self.watched);
        let wanted = |peer| links.contains_key(&peer) || watched.contains_key(&peer);
        self.paths.sweep(now, self.config.path_idle, wanted);
        if !self.paths.is_empty() {
            self.timers
                .set(Timer::Sweep, now + self.config.path_idle / 2);
        }
    }

    /// One step towards or away from a peer that says how far it is.
    fn move_coordinate(&mut self, peer: &Coordinate, rtt_us: u32) {
        let direction = std::array::from_fn(|_| self.rng.random_range(-1.0..1.0));
        let sample_ms = f64::from(rtt_us) / 1e3;
        self.coordinate = self.coordinate.updated(peer, sample_ms, direction);
        self.tell_moved(sample_ms);
    }

    /// Stands where all that we measured lately fits best.
    fn settle_coordinate(&mut self) {
        let direction = std::array::from_fn(|_| self.rng.random_range(-1.0..1.0));
        let samples = self.anchors.iter();
        let samples: Vec<(Coordinate, f64)> = samples
            .map(|(coordinate, rtt_us)| (*coordinate, f64::from(rtt_us) / 1e3))
            .collect();
        let nearest_ms = samples.iter().map(|it| it.1).fold(f64::MAX, f64::min);
        self.coordinate = self.coordinate.fitted(&samples, direction);
        self.tell_moved(nearest_ms);
    }

    fn tell_moved(&mut self, sample_ms: f64) {
        if drift_ms(&self.told, &self.coordinate) > (sample_ms * DRIFT_SHARE).max(DRIFT_MS_MIN) {
            self.told = self.coordinate;
            let moved = Event::Moved(self.coordinate);
            self.outputs.push_back(Output::Event(moved));
        }
    }

    fn new_flight(&mut self, now: Time) -> Flight {
        Flight {
            nonce: self.rng.random(),
            sent_at: now,
        }
    }

    fn send_ping(&mut self, peer: NodeId, flight: Flight) {
        let message = Message::Ping {
            nonce: flight.nonce,
            coordinate: self.coordinate.into(),
            rtt_us: self.anchors.rtt_us(peer).unwrap_or(0),
        };
        self.send(peer, message);
    }

    /// Answers `id` with what is known of `peer`.
    fn tell(&mut self, now: Time, id: u64, peer: NodeId) {
        let path = self.paths.get(peer);
        let reachable = path.filter(|path| path.unreachable_at.is_none());
        let Some(stats) = reachable.and_then(|path| path.stats(now)) else {
            self.tell_unreachable(id, peer);
            return;
        };
        let measured = Event::Measured {
            id,
            peer,
            path: Some(stats),
            coordinate: path.and_then(|path| path.coordinate),
        };
        self.outputs.push_back(Output::Event(measured));
    }

    fn tell_unreachable(&mut self, id: u64, peer: NodeId) {
        let measured = Event::Measured {
            id,
            peer,
            path: None,
            coordinate: self.peer_coordinate(peer),
        };
        self.outputs.push_back(Output::Event(measured));
    }

    fn refuse(&mut self, id: u64, reason: Refusal) {
        let refused = Event::Refused { id, reason };
        self.outputs.push_back(Output::Event(refused));
    }

    fn send(&mut self, to: NodeId, message: Message) {
        self.outputs.push_back(Output::Send {
            to,
            message,
            lane: Lane::Control,
        });
    }
}

impl Machine for Probe {
    const PROTOCOL: &'static str = "/opus/probe/1";
    type Command = Command;
    type Message = Message;
    type Event = Event;

    fn handle(&mut self, now: Time, input: Input<Command, Message>) {
        match input {
            Input::Command(Command::Measure {
                id,
                targets,
                age_max,
            }) => self.on_measure(now, id, &targets, age_max),
            Input::Command(Command::Watch(peer)) => self.on_watch(now, peer),
            Input::Command(Command::Unwatch(peer)) => self.on_unwatch(peer),
            Input::Connected(peer) => self.on_connected(now, peer),
            Input::Disconnected(peer) => self.on_disconnected(now, peer),
            Input::DialFailed(peer) => self.on_dial_failed(now, peer),
            Input::Received { from, message } => self.on_message(now, from, message),
        }
    }

    fn handle_timeout(&mut self, now: Time) {
        while let Some(timer) = self.timers.pop_due(now) {
            match timer {
                Timer::Start => self.start_queued(now),
                Timer::Job(peer) => self.on_mishap(now, peer),
                Timer::Watch(peer) => self.on_watch_due(now, peer),
                Timer::Sweep => self.sweep(now),
            }
        }
    }

    fn poll_timeout(&self) -> Option<Deadline> {
        self.timers.next(|timer| match timer {
            Timer::Start => "start the next measurement",
            Timer::Job(_) => "a measurement takes too long",
            Timer::Watch(_) => "ping a watched peer",
            Timer::Sweep => "forget old paths",
        })
    }

    fn poll_output(&mut self) -> Option<Output<Message, Event>> {
        let output = self.outputs.pop_front();
        if output.is_none() {
            self.outputs = VecDeque::new();
        }
        output
    }
}

/// How far apart two coordinates are, milliseconds: points and heights.
fn drift_ms(a: &Coordinate, b: &Coordinate) -> f64 {
    let (a_ms, b_ms) = (a.position_ms(), b.position_ms());
    let squares = a_ms
        .iter()
        .zip(b_ms)
        .map(|(a, b)| f64::from(a - b) * f64::from(a - b));
    squares.sum::<f64>().sqrt() + f64::from((a.height_ms() - b.height_ms()).abs())
}

#[cfg(test)]
mod tests;
