//! chitchat: a table of keys and values at every node, compared with three partners each second.
//!
//! The crate's own server runs each node on one thread of tokio, whose clock is paused and jumps
//! from one timer to the next; `wire` stands for the sockets. Settings are those of the
//! crate's default, and of Quickwit, for which it was made: gossip each second, phi 8, a window of
//! 1,000 intervals; and version 1 of the wire, which compresses the digests. A node's number is a
//! key `load` with up to six characters. Names are 32 characters.

use std::{fmt, net::SocketAddr, time::Duration};

use chitchat::{
    Chitchat, ChitchatConfig, ChitchatHandle, ChitchatId, FailureDetectorConfig, ProtocolVersion,
    spawn_chitchat,
};
use opus_core::Time;
use tokio::runtime::{Builder, Runtime};

use crate::{
    figures::Lags,
    side::{Look, Side},
    wire::{Wire, address_of, node_at},
    world::World,
};

/// The key of a node's number.
const LOAD: &str = "load";

/// Source: `ChitchatConfig::default` of the crate's tests, Quickwit's cluster.
const INTERVAL: Duration = Duration::from_secs(1);

/// See the module.
pub struct Gossip {
    world: World,
    runtime: Runtime,
    wire: Wire,
    ids: Vec<ChitchatId>,
    handles: Vec<Option<ChitchatHandle>>,
    /// Of each node, when its key got each version: version, whole second.
    set_s: Vec<Vec<(u64, u64)>>,
    /// Of each node, which others it has had for alive.
    known: Vec<Vec<bool>>,
    now: Time,
}

impl fmt::Debug for Gossip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gossip")
            .field("now", &self.now)
            .finish_non_exhaustive()
    }
}

impl Gossip {
    /// Nobody runs yet. Errors: the system gives no runtime.
    pub fn new(world: &World) -> std::io::Result<Self> {
        let runtime = Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()?;
        let wire = {
            let _on = runtime.enter();
            Wire::new(world.network())
        };
        let nodes = world.nodes;
        Ok(Self {
            ids: (0..nodes).map(|node| id_of(world, node)).collect(),
            handles: (0..nodes).map(|_| None).collect(),
            set_s: vec![Vec::new(); nodes],
            known: vec![vec![false; nodes]; nodes],
            world: world.clone(),
            runtime,
            wire,
            now: Time::ZERO,
        })
    }

    /// Envelopes that did not fit into a datagram and were not sent: beyond some thousand nodes the
    /// protocol ends there.
    pub fn unsent(&self) -> u64 {
        self.wire.unsent()
    }

    /// What `act` finds in a node's table; none if it does not run. Between two steps of the
    /// runtime no task holds the lock.
    fn with<T>(&self, node: usize, act: impl FnMut(&mut Chitchat) -> T) -> Option<T> {
        let handle = self.handles[node].as_ref()?;
        Some(self.runtime.block_on(handle.with_chitchat(act)))
    }

    /// Whom a node holds for alive, itself included.
    fn listed(&self, node: usize) -> Vec<bool> {
        let listed = self.with(node, |chitchat| {
            let mut listed = vec![false; self.world.nodes];
            for id in chitchat.live_nodes() {
                if let Some(listed) = listed.get_mut(index_of(id)) {
                    *listed = true;
                }
            }
            listed
        });
        listed.unwrap_or_default()
    }

    fn seconds(&self) -> u64 {
        self.now.as_micros() / 1_000_000
    }
}

fn id_of(world: &World, node: usize) -> ChitchatId {
    // 5 bits of each byte: 32 characters, as many bytes.
    let name = world.key_of(node).map(|byte| match byte & 31 {
        digit @ 0..26 => char::from(b'a' + digit),
        digit => char::from(b'2' + (digit - 26)),
    });
    let name: String = name.into_iter().collect();
    ChitchatId::new(name, 0, address_of(node))
}

fn index_of(id: &ChitchatId) -> usize {
    node_at(id.gossip_advertise_addr)
}

impl Side for Gossip {
    fn name(&self) -> &'static str {
        "chitchat"
    }

    fn promise(&self) -> &'static str {
        "every member and every number, and their mean; gossip each second, phi 8, digests \
         compressed"
    }

    fn start(&mut self, node: usize, seeds: &[usize]) {
        let config = ChitchatConfig {
            chitchat_id: self.ids[node].clone(),
            cluster_id: "opus".to_owned(),
            gossip_interval: INTERVAL,
            listen_addr: address_of(node),
            seed_nodes: seeds
                .iter()
                .map(|&seed| SocketAddr::to_string(&address_of(seed)))
                .collect(),
            failure_detector_config: FailureDetectorConfig::default(),
            marked_for_deletion_grace_period: Duration::from_secs(900),
            catchup_callback: None,
            extra_liveness_predicate: None,
            protocol_version: ProtocolVersion::V1,
        };
        let spawned = spawn_chitchat(config, Vec::new(), &self.wire);
        let handle = self.runtime.block_on(spawned);
        self.handles[node] = Some(handle.expect("each node has an address of its own"));
    }

    fn set(&mut self, node: usize, value: f64) {
        let version = self.with(node, |chitchat| {
            let own = chitchat.self_node_state();
            own.set(LOAD, value);
            own.get_versioned(LOAD).map(|it| it.version)
        });
        let now_s = self.seconds();
        if let Some(version) = version.flatten() {
            self.set_s[node].push((version, now_s));
        }
    }

    fn run_until(&mut self, at: Time) {
        let until = self.wire.began() + at.since(Time::ZERO);
        self.runtime
            .block_on(async { tokio::time::sleep_until(until).await });
        self.now = at;
    }

    fn crash(&mut self, node: usize) {
        self.wire.crash(node);
        if let Some(handle) = self.handles[node].take() {
            handle.abort();
        }
    }

    fn sent(&self, node: usize) -> u64 {
        self.wire.sent(node)
    }

    fn look(&mut self, node: usize, alive: &[bool]) -> Look {
        let listed = self.listed(node);
        let pairs = || listed.iter().zip(alive);
        let missing = pairs().filter(|(listed, alive)| !**listed && **alive);
        let dead = pairs().filter(|(listed, alive)| **listed && !**alive);
        let (missing, dead) = (missing.count(), dead.count());
        let sum = self.with(node, |chitchat| {
            let states = chitchat.node_states().iter();
            let living = states.filter(|(id, _)| listed.get(index_of(id)) == Some(&true));
            let values = living.filter_map(|(_, state)| state.get(LOAD)?.parse::<f64>().ok());
            values.fold((0_u32, 0.0), |(count, sum), value| (count + 1, sum + value))
        });
        Look {
            missing,
            dead,
            counts: true,
            mean: sum
                .filter(|(count, _)| *count > 0)
                .map(|(count, sum)| sum / f64::from(count)),
        }
    }

    fn lags(&mut self, node: usize, alive: &[bool], lags: &mut Lags) {
        let held = self.with(node, |chitchat| {
            let mut held = vec![0; alive.len()];
            for (id, state) in chitchat.node_states() {
                let version = state.get_versioned(LOAD).map(|it| it.version);
                if let (Some(held), Some(version)) = (held.get_mut(index_of(id)), version) {
                    *held = version;
                }
            }
            held
        });
        for (other, held) in held.into_iter().flatten().enumerate() {
            if other == node || !alive[other] {
                continue;
            }
            let set_s = &self.set_s[other];
            let next = set_s.partition_point(|(version, _)| *version <= held);
            let next = set_s.get(next).map(|(_, set_s)| *set_s);
            lags.add(next.map_or(0, |set_s| self.seconds().saturating_sub(set_s)));
        }
    }

    fn wronged(&mut self, alive: &[bool]) -> Vec<usize> {
        let mut wronged = Vec::new();
        for node in (0..alive.len()).filter(|&node| alive[node]) {
            let listed = self.listed(node);
            let known = &mut self.known[node];
            for (other, (known, listed)) in known.iter_mut().zip(&listed).enumerate() {
                if *known && !*listed && alive[other] {
                    wronged.push(other);
                }
                *known = *listed;
            }
        }
        wronged
    }

    fn suspected(&mut self, _alive: &[bool]) -> Option<Vec<usize>> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_32_characters() {
        let world = World::new(40, 1).unwrap();
        for node in 0..40 {
            let id = id_of(&world, node);
            assert_eq!(id.node_id.len(), 32);
            assert_eq!(index_of(&id), node);
        }
        assert_ne!(id_of(&world, 1).node_id, id_of(&world, 2).node_id);
    }
}
