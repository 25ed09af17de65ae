//! What is under way: messages and frames, each in a numbered place that is used again.
//!
//! An entry of the queue then holds a number instead of the message, and a message's bytes lie in
//! memory that an earlier one left: in the steady state nothing is allocated.

use bytes::Bytes;

/// Bytes of memory that an empty place keeps; a message of most protocols is far smaller.
const KEPT_BYTES: usize = 256;

/// The number of a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ticket(u32);

/// Something under way.
#[derive(Clone, Debug)]
pub(super) struct Parcel<M> {
    /// A message as it stands on the wire; empty for frames.
    pub(super) bytes: Vec<u8>,
    pub(super) content: Content<M>,
}

/// See [`Parcel`].
#[derive(Clone, Debug)]
pub(super) enum Content<M> {
    /// A message that is decoded from its bytes by the receiver.
    Encoded,
    /// A message as the sender had it.
    Message(M),
    /// Whole frames with their length fields.
    Frames(Bytes),
}

/// All that is under way. Bounded by what waits in the queue, in cuts and at stalled nodes.
#[derive(Debug)]
pub(super) struct Parcels<M> {
    places: Vec<Parcel<M>>,
    free: Vec<u32>,
}

impl<M: Clone> Parcels<M> {
    pub(super) const fn new() -> Self {
        Self {
            places: Vec::new(),
            free: Vec::new(),
        }
    }

    /// Memory for the bytes of the next message.
    pub(super) fn scratch(&mut self) -> Vec<u8> {
        let free = self.free.last();
        free.map_or_else(Vec::new, |&place| {
            std::mem::take(&mut self.places[place as usize].bytes)
        })
    }

    pub(super) fn put(&mut self, parcel: Parcel<M>) -> Ticket {
        if let Some(place) = self.free.pop() {
            self.places[place as usize] = parcel;
            return Ticket(place);
        }
        let place = u32::try_from(self.places.len()).expect("memory ends before 2^32 messages");
        self.places.push(parcel);
        Ticket(place)
    }

    pub(super) fn get(&self, ticket: Ticket) -> &Parcel<M> {
        &self.places[ticket.0 as usize]
    }

    /// The same once more.
    pub(super) fn double(&mut self, ticket: Ticket) -> Ticket {
        let copy = self.get(ticket).clone();
        self.put(copy)
    }

    /// Takes it out. Give its bytes to [`Self::free`] afterwards.
    pub(super) fn take(&mut self, ticket: Ticket) -> Parcel<M> {
        let empty = Parcel {
            bytes: Vec::new(),
            content: Content::Encoded,
        };
        std::mem::replace(&mut self.places[ticket.0 as usize], empty)
    }

    /// Frees the place of what was taken out, and keeps its memory.
    pub(super) fn free(&mut self, ticket: Ticket, mut bytes: Vec<u8>) {
        if bytes.capacity() <= KEPT_BYTES {
            bytes.clear();
            self.places[ticket.0 as usize].bytes = bytes;
        }
        self.free.push(ticket.0);
    }

    /// It never arrives.
    pub(super) fn discard(&mut self, ticket: Ticket) {
        let parcel = self.take(ticket);
        self.free(ticket, parcel.bytes);
    }

    /// Parcels under way.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }
}
