//! What dicast asks of the probe, and what the probe's news say to dicast.
//!
//! A node has one probe, which measures a pair once however many ask for it. Its answers name the
//! command that asked: dicast's numbers are marked by their highest bit, which the site manager's
//! own, counted from 1, never reach.

use std::time::Duration;

use opus_core::Contact;
use opus_probe::Event;

/// An older delay is measured again: seats are chosen once, and well.
const AGE_MAX: Duration = Duration::from_secs(60);

/// In the numbers of dicast's measurements.
const MARK: u64 = 1 << 63;

/// The command by which the probe measures what [`opus_dicast::Event::Measure`] names.
pub fn order(id: u64, targets: &[Contact]) -> opus_probe::Command {
    opus_probe::Command::Measure {
        id: id | MARK,
        targets: targets.iter().map(|target| target.id).collect(),
        age_max: AGE_MAX,
    }
}

/// What dicast is told of an event of the probe, if it concerns it.
pub fn answer(event: &Event) -> Option<opus_dicast::Command> {
    match *event {
        Event::Measured { id, peer, path, .. } => {
            (id & MARK != 0).then(|| opus_dicast::Command::Measured {
                id: id & !MARK,
                peer,
                rtt_us: path.map(|path| path.rtt_min_us),
            })
        }
        Event::Moved(coordinate) => Some(opus_dicast::Command::Coordinate(coordinate.into())),
        // dicast waits for its answers no longer than it can afford.
        Event::Refused { .. } => None,
    }
}

/// Whether an event of the probe concerns the site manager: all but the answers to dicast.
pub fn concerns_site(event: &Event) -> bool {
    match event {
        Event::Measured { id, .. } | Event::Refused { id, .. } => id & MARK == 0,
        Event::Moved(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use opus_core::NodeId;

    use super::*;

    fn measured(id: u64) -> Event {
        Event::Measured {
            id,
            peer: NodeId::from_index(1),
            path: None,
            coordinate: None,
        }
    }

    #[test]
    fn an_answer_goes_to_who_asked_under_the_number_that_it_chose() {
        let targets = [Contact::bare(NodeId::from_index(1))];
        let opus_probe::Command::Measure { id, .. } = order(7, &targets) else {
            panic!("a measurement is ordered");
        };
        let told = answer(&measured(id));
        let peer = NodeId::from_index(1);
        let rtt_us = None;
        let expected = opus_dicast::Command::Measured {
            id: 7,
            peer,
            rtt_us,
        };
        assert_eq!(told, Some(expected));
        assert!(!concerns_site(&measured(id)));
        assert_eq!(answer(&measured(7)), None);
        assert!(concerns_site(&measured(7)));
    }
}
