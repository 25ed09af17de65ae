//! What two probes say to each other. All numbers are whole and clamped when decoded.

use opus_core::{Limits, Malformed, Wire};
use opus_model::Position;
use serde::{Deserialize, Serialize};

/// A question and its answer. Both carry the sender's coordinate: the one who measures learns
/// where the other stands, and the one who is measured may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Message {
    /// Answered at once by a [`Message::Pong`] with the same nonce.
    Ping {
        /// Drawn at random: a pong cannot be sent ahead of its ping.
        nonce: u64,
        /// The sender's.
        coordinate: Position,
        /// The round trip that the sender's last pings took, microseconds; 0 if it does not know
        /// yet. So the one who is asked learns as much as the one who asks.
        rtt_us: u32,
    },
    /// The answer.
    Pong {
        /// That of the ping.
        nonce: u64,
        /// The sender's.
        coordinate: Position,
    },
}

/// No round trip is believed to be longer: 5 s.
const RTT_US_MAX: u32 = 5_000_000;

impl Wire for Message {
    /// The longest message takes under 80 bytes.
    const LIMITS: Limits = Limits {
        bytes: 128,
        depth: 6,
        items: 32,
        text_keys: false,
    };

    fn check(&mut self) -> Result<(), Malformed> {
        let (Self::Ping { coordinate, .. } | Self::Pong { coordinate, .. }) = self;
        *coordinate = coordinate.clamped();
        if let Self::Ping { rtt_us, .. } = self {
            *rtt_us = (*rtt_us).min(RTT_US_MAX);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use opus_core::codec::{decode_wire, encode};
    use opus_model::coordinate::DIMENSIONS;
    use proptest::prelude::*;

    use super::*;

    fn message() -> impl Strategy<Value = Message> {
        let position = (any::<[i32; DIMENSIONS]>(), any::<u32>(), any::<u16>());
        let numbers = (any::<u64>(), any::<u32>());
        (any::<bool>(), numbers, position).prop_map(|(ping, numbers, (point, height, error))| {
            let coordinate = Position(point, height, error);
            let (nonce, rtt_us) = numbers;
            if ping {
                Message::Ping {
                    nonce,
                    coordinate,
                    rtt_us,
                }
            } else {
                Message::Pong { nonce, coordinate }
            }
        })
    }

    proptest! {
        #[test]
        fn whatever_is_sent_arrives_within_the_limits(sent in message()) {
            let bytes = encode(&sent);
            prop_assert!(bytes.len() <= 80, "{} bytes", bytes.len());
            let arrived: Message = decode_wire(&bytes).unwrap();
            let (Message::Ping { coordinate, .. } | Message::Pong { coordinate, .. }) = arrived;
            let Position(point, height, error) = coordinate;
            prop_assert!(point.iter().all(|us| us.abs() <= 20_000_000));
            prop_assert!((10..=20_000_000).contains(&height) && (10..=1_000).contains(&error));
        }

        #[test]
        fn a_lawful_message_arrives_unchanged(sent in message()) {
            let mut lawful = sent;
            lawful.check().unwrap();
            prop_assert_eq!(decode_wire::<Message>(&encode(&lawful)), Ok(lawful));
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..160)) {
            if let Ok(message) = decode_wire::<Message>(&bytes) {
                let mut again = message;
                again.check().unwrap();
                prop_assert_eq!(again, message);
            }
        }
    }

    #[test]
    fn hostile_numbers_are_clamped() {
        let mut hostile = Message::Pong {
            nonce: 1,
            coordinate: Position([i32::MIN, i32::MAX, 0], u32::MAX, 0),
        };
        hostile.check().unwrap();
        let Message::Pong { coordinate, .. } = hostile else {
            panic!("a pong stays one");
        };
        let clamped = Position([-20_000_000, 20_000_000, 0], 20_000_000, 10);
        assert_eq!(coordinate, clamped);
    }

    #[test]
    fn more_bytes_than_the_limit_are_refused() {
        let long = vec![0; 129];
        let refused = decode_wire::<Message>(&long).unwrap_err();
        assert!(matches!(refused, Malformed::TooLarge { bytes: 129, .. }));
    }
}
