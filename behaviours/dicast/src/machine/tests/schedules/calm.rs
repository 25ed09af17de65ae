//! Peace: clocks run alike, everything arrives in its time. What was begun must come to its end.

use std::time::Duration;

use opus_core::{Machine, Time};

use super::{
    judge,
    scene::{Act, Broken, Scene},
};

/// Until there is one tree again, at most: agents below a root greet others each 60 to 75 s, and
/// what they begin may have to be begun anew.
const TREE_S_MAX: u64 = 180;

/// After that, until all know how many there are.
const COUNT_S_MAX: u64 = 60;

/// What happens next while all is calm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// The flight at this place of the list arrives.
    Arrival(usize),
    /// This node's timer is due.
    Timer(u8),
}

/// A scene in peace: each clock goes on from where it stood.
pub(super) struct Calm {
    pub(super) scene: Scene,
    /// What to add to the scene's time for each node's clock.
    ahead: Vec<Duration>,
    /// Whether a directory answers with the agents of all roots.
    directory: bool,
}

impl Calm {
    /// All that is under way arrives after its link's delay from this moment on.
    pub(super) fn new(mut scene: Scene) -> Self {
        let clocks = scene.nodes.iter().flatten().map(|node| node.clock);
        scene.now = clocks.min().unwrap_or(scene.now);
        let now = scene.now;
        let mut flights = std::mem::take(&mut scene.flights);
        for flight in &mut flights {
            flight.due = now + scene.delay(flight.id.0, flight.to);
        }
        scene.flights = flights;
        let ahead = |node: &Option<std::rc::Rc<super::scene::Node>>| {
            node.as_ref()
                .map_or(Duration::ZERO, |it| it.clock.since(now))
        };
        let ahead = scene.nodes.iter().map(ahead).collect();
        let directory = false;
        Self {
            scene,
            ahead,
            directory,
        }
    }

    pub(super) fn next(&self) -> Option<(Time, Next)> {
        let scene = &self.scene;
        let flights = scene.flights.iter().enumerate();
        let flights = flights.filter(|(at, _)| scene.is_next(*at));
        let arrivals = flights.map(|(at, flight)| (flight.due, 0, flight.id, Next::Arrival(at)));
        let timers = (0..).zip(&scene.nodes).filter_map(|(node, it)| {
            let due = it.as_ref()?.machine.poll_timeout()?.at;
            let ahead = self.ahead[usize::from(node)];
            let at = Time(due.as_micros().saturating_sub(micros(ahead)));
            Some((at, 1, (node, 0), Next::Timer(node)))
        });
        let next = arrivals.chain(timers).min_by_key(|it| (it.0, it.1, it.2));
        next.map(|(at, _, _, next)| (at.max(scene.now), next))
    }

    /// Lets one thing happen.
    pub(super) fn step(&mut self) -> Result<(), Broken> {
        let Some((at, next)) = self.next() else {
            return Err("peace: nothing will ever happen".into());
        };
        self.scene.now = at;
        match next {
            Next::Arrival(at) => {
                let id = self.scene.flights[at].id;
                let to = self.scene.flights[at].to;
                self.tell_time(to);
                self.scene.apply(Act::Deliver(id))?;
            }
            Next::Timer(node) => {
                let clock = self.clock(node);
                self.scene.fire_at(node, clock)?;
            }
        }
        self.look_up()
    }

    fn look_up(&mut self) -> Result<(), Broken> {
        let wants = std::mem::take(&mut self.scene.wants);
        let nodes = (0..self.scene.count()).filter(|node| wants >> node & 1 == 1);
        for node in nodes.filter(|_| self.directory) {
            let mut others = judge::roots(&self.scene);
            others.retain(|&other| other != node);
            self.scene.found(node, &others)?;
        }
        Ok(())
    }

    pub(super) fn run(&mut self, duration: Duration) -> Result<(), Broken> {
        let end = self.scene.now + duration;
        while self.next().is_some_and(|(at, _)| at <= end) {
            self.step()?;
        }
        self.scene.now = end;
        Ok(())
    }

    /// Runs until `done`, for at most so many seconds. Tells whether it came to it.
    pub(super) fn until(
        &mut self,
        seconds: u64,
        mut done: impl FnMut(&Scene) -> bool,
    ) -> Result<bool, Broken> {
        let end = self.scene.now + Duration::from_secs(seconds);
        while self.scene.now < end {
            if done(&self.scene) {
                return Ok(true);
            }
            self.step()?;
        }
        Ok(false)
    }

    /// Brings all clocks to the present.
    pub(super) fn end(mut self) -> Scene {
        for node in 0..self.scene.count() {
            self.tell_time(node);
        }
        self.scene
    }

    /// Starts a node at this moment.
    pub(super) fn start(&mut self, node: u8, seed: Option<u8>) -> Result<(), Broken> {
        self.ahead[usize::from(node)] = Duration::ZERO;
        self.scene.start(node, seed)
    }

    fn clock(&self, node: u8) -> Time {
        self.scene.now + self.ahead[usize::from(node)]
    }

    /// An arrival at a node that was told nothing for a while: its clock went on.
    fn tell_time(&mut self, node: u8) {
        let at = self.clock(node);
        self.scene.set_clock(node, at);
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// How a scene came to rest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Rest {
    /// Seconds until then.
    pub(super) seconds: u64,
    /// Whether it took a directory, since no agent knew anybody in another tree.
    pub(super) directory: bool,
    /// Nodes, and clusters, that took a nearer seat in the whole schedule.
    pub(super) moves: (u32, u32),
}

/// *Left in peace, all live nodes are in one tree, and know how many they are.*
pub(super) fn heals(scene: &Scene) -> Result<Rest, Broken> {
    heals_within(scene, TREE_S_MAX)
}

/// The same with another limit, seconds, until there is one tree.
pub(super) fn heals_within(scene: &Scene, tree_s_max: u64) -> Result<Rest, Broken> {
    let mut scene = scene.clone();
    scene.side = 0;
    scene.eager = &[];
    let mut rest = Rest {
        moves: scene.moves,
        ..Rest::default()
    };
    if scene.alive().next().is_none() {
        return Ok(rest);
    }
    let mut calm = Calm::new(scene);
    let mut tree_s = 0;
    let mut count_s = 0;
    loop {
        let mut faults = judge::tree(&calm.scene);
        if faults.is_empty() {
            faults = judge::count(&calm.scene);
            count_s += 1;
        } else {
            tree_s += 1;
        }
        if faults.is_empty() {
            rest.moves = calm.scene.moves;
            return Ok(rest);
        }
        let lonely = tree_s > tree_s_max && !calm.directory && judge::strangers(&calm.scene);
        if lonely && std::env::var("OPUS_STRICT").is_err() {
            calm.directory = true;
            rest.directory = true;
            tree_s = 0;
        }
        if tree_s > tree_s_max || count_s > COUNT_S_MAX {
            return Err(format!("peace: {}", faults.join("; ")));
        }
        calm.run(Duration::from_secs(1))?;
        rest.seconds += 1;
    }
}
