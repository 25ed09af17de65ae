//! The network side of a node: transports, addresses, limits, neighbours, the composed behaviour.

pub mod addr;
pub mod behaviour;
pub mod book;
mod keep;
pub mod limits;
pub mod peers;
pub mod record;
pub mod transport;

pub use self::{
    behaviour::{Behaviour, BehaviourEvent, KAD_RECORD_TTL, KAD_RECORDS_MAX, Machines, NetOptions},
    transport::{Connections, Guard},
};
