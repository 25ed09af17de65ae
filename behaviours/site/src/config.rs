//! What an operator or a test may set.

use std::time::Duration;

/// Capacities, times and identity of a [`crate::Site`].
#[derive(Clone, Debug)]
pub struct Config {
    /// The network's name: specs signed for another one are refused.
    pub network: String,
    /// A secret of this node that outlives restarts (derive it from the identity key): the tag
    /// keys of the overlays it roots come from it, so that a restarted root keeps them.
    pub secret: [u8; 32],
    /// Applications known. Overflow: a retired one goes, else the new one is refused.
    pub apps_max: usize,
    /// Local attachments. Overflow: refused.
    pub attachments_max: usize,
    /// Overlays this node is a member of. Overflow: the attachment is refused.
    pub overlays_max: usize,
    /// Members of an overlay that this node roots. Overflow: the newcomer is refused.
    pub members_max: usize,
    /// Connected peers that take part in the exchange of specs. Overflow: further ones do not.
    pub peers_max: usize,
    /// Most children per overlay, 1 to 64. 12: at most 3 % over an uncapped tree (overlay.md).
    pub cap: u8,
    /// A join that was not answered is repeated after this, doubling.
    pub join_retry_min: Duration,
    /// Longest wait between two joins.
    pub join_retry_max: Duration,
    /// A root that does not say within this time that it has a live source has none.
    pub claim_timeout: Duration,
    /// Time between two reports of a member about itself.
    pub report_interval: Duration,
    /// Reports wait this long for others to travel with.
    pub flush_delay: Duration,
    /// The root forgets a member unheard of for this long. Three reports.
    pub member_age_max: Duration,
    /// A lost child is reported gone when it has not come back after this.
    pub hold: Duration,
    /// Time between two exchanges of digests with a random peer.
    pub sync_interval: Duration,
    /// Other nodes of our cell. 64: the most seats of a cluster. Overflow: a further one is not in
    /// the directory that its agent keeps.
    pub mates_max: usize,
    /// Time between two words to the agent about what we carry, when nothing changed.
    pub cell_interval: Duration,
    /// Suspects that the probe is asked for at once. Overflow: left to the silence of their edges.
    pub suspects_max: usize,
    /// Keys of dicast that programs of this node have defined, as long as they are there, or have
    /// values of. 16: four nodes of many programs fill the table of all, which has room for 63.
    /// Overflow: refused.
    pub keys_max: usize,
    /// A measured round trip may be this old.
    pub measure_age_max: Duration,
    /// Messages of one peer taken at once after a rest.
    pub messages_burst: u32,
    /// Messages of one peer taken a second. Beyond: dropped, and the peer is penalised.
    pub messages_per_s: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            network: "main".to_owned(),
            secret: [0; 32],
            apps_max: 1_024,
            attachments_max: 1_024,
            overlays_max: 64,
            members_max: 4_096,
            peers_max: 4_096,
            cap: 12,
            join_retry_min: Duration::from_secs(1),
            join_retry_max: Duration::from_secs(60),
            claim_timeout: Duration::from_secs(5),
            report_interval: Duration::from_secs(30),
            flush_delay: Duration::from_millis(50),
            member_age_max: Duration::from_secs(90),
            hold: Duration::from_secs(30),
            sync_interval: Duration::from_secs(60),
            mates_max: 64,
            cell_interval: Duration::from_secs(60),
            suspects_max: 64,
            keys_max: 16,
            measure_age_max: Duration::from_secs(600),
            messages_burst: 4_096,
            messages_per_s: 256,
        }
    }
}
