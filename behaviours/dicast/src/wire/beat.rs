//! The message that is said most: a member to its agent, each heartbeat.
//!
//! A beat takes 14 to 20 bytes and its report: what most do not say, a byte of flags leaves out.

use opus_core::{
    Malformed,
    pack::{Pack, Reader, Writer},
};

use crate::{
    aggregate::Report,
    cluster::{ClusterRef, Place},
    label::Marks,
    track::Echo,
};

/// A member to its agent, each heartbeat, and when its values may not wait.
#[derive(Clone, Debug, PartialEq)]
pub struct Beat {
    /// Of the cluster.
    pub tag: u16,
    /// The sender's seat.
    pub slot: u8,
    /// Number of the beat, rising: one of the agent's words echoes it.
    pub seq: u32,
    /// Nodes below the sender.
    pub size: u32,
    /// What it may hold; of a cluster, whom it lets in.
    pub marks: Marks,
    /// Where it stands, if that is not where it was last told to be; else unknown.
    pub place: Place,
    /// The cluster that the sender is the agent of, above level 1.
    pub child: Option<ClusterRef>,
    /// Digest of the table of keys.
    pub keys: u16,
    /// Of the agent's last word.
    pub echo: Echo,
    /// All records pushed up to this one are known.
    pub pushed: u32,
    /// Whether a pulse shall answer at once.
    pub urgent: bool,
    /// Whether the sender has no roll of the members' values upon which another can build.
    pub lacks_roll: bool,
    /// The sender's values, under the number of the beat; none while it does not know them.
    pub report: Option<Report>,
}

/// What of a beat is there, as bits of one byte: most are said by nodes, and have but a report.
const PLACED: u8 = 1;
const OF_CLUSTER: u8 = 2;
const URGENT: u8 = 4;
const REPORTED: u8 = 8;
const LACKS_ROLL: u8 = 16;

/// In the order of the fields; a node's has no size.
impl Pack for Beat {
    fn pack(&self, to: &mut Writer) {
        let bit = |set: bool, bit: u8| if set { bit } else { 0 };
        let placed = bit(self.place.is_known(), PLACED);
        let of_cluster = bit(self.child.is_some(), OF_CLUSTER);
        let reported = bit(self.report.is_some(), REPORTED);
        let asks = bit(self.urgent, URGENT) | bit(self.lacks_roll, LACKS_ROLL);
        let there = placed | of_cluster | asks | reported;
        self.tag.pack(to);
        self.slot.pack(to);
        there.pack(to);
        self.seq.pack(to);
        self.marks.pack(to);
        self.keys.pack(to);
        self.echo.pack(to);
        self.pushed.pack(to);
        if placed != 0 {
            self.place.pack(to);
        }
        if let Some(child) = self.child {
            (child, self.size).pack(to);
        }
        if let Some(report) = &self.report {
            report.pack_body(to);
        }
    }

    fn unpack(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let (tag, slot) = <(u16, u8)>::unpack(from)?;
        let there = from.byte()?;
        if there & !(PLACED | OF_CLUSTER | URGENT | REPORTED | LACKS_ROLL) != 0 {
            return Err(Malformed::Invalid(
                "a beat of parts that this version lacks",
            ));
        }
        let has = |part: u8| there & part != 0;
        let (seq, marks) = <(u32, Marks)>::unpack(from)?;
        let keys = u16::unpack(from)?;
        let (echo, pushed) = <(Echo, u32)>::unpack(from)?;
        let place = if has(PLACED) {
            Place::unpack(from)?
        } else {
            Place::default()
        };
        if has(PLACED) && !place.is_known() {
            return Err(Malformed::Invalid("a place that is none"));
        }
        let cluster = has(OF_CLUSTER).then(|| <(ClusterRef, u32)>::unpack(from));
        let cluster = cluster.transpose()?;
        let report = has(REPORTED).then(|| Report::unpack_body(seq, from));
        Ok(Self {
            tag,
            slot,
            seq,
            size: cluster.map_or(1, |(_, size)| size),
            marks,
            place,
            child: cluster.map(|(child, _)| child),
            keys,
            echo,
            pushed,
            urgent: has(URGENT),
            lacks_roll: has(LACKS_ROLL),
            report: report.transpose()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use opus_core::pack;

    use super::*;

    #[test]
    fn parts_that_are_unknown_and_a_place_that_is_none_are_refused() {
        let beat = Beat {
            tag: 1,
            slot: 2,
            seq: 3,
            size: 1,
            marks: Marks::of(true),
            place: Place::default(),
            child: None,
            keys: 4,
            echo: Echo {
                number: 5,
                dwell: Duration::ZERO,
            },
            pushed: 6,
            urgent: false,
            lacks_roll: true,
            report: None,
        };
        let packed = pack::to_bytes(&beat);
        assert_eq!(pack::from_bytes::<Beat>(&packed), Ok(beat));
        // Behind the tag and the seat.
        for there in [32, 128, PLACED] {
            let mut bytes = packed.clone();
            bytes[3] = there;
            bytes.push(0);
            assert!(pack::from_bytes::<Beat>(&bytes).is_err(), "{there}");
        }
    }
}
