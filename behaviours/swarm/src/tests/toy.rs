//! A machine that does what it is told and tells what it hears.

use std::{collections::VecDeque, time::Duration};

use opus_core::{
    Deadline, Input, Lane, Limits, Machine, Malformed, NodeId, Offence, Output, Time, Wire,
};
use serde::{Deserialize, Serialize};

#[derive(Debug, Default)]
pub(super) struct Toy {
    outputs: VecDeque<Output<Message, Event>>,
    alarm: Option<Time>,
}

#[derive(Debug)]
pub(super) enum Command {
    Dial(NodeId),
    Release(NodeId),
    Say(NodeId, Message, Lane),
    Penalise(NodeId, Offence),
    AlarmIn(Duration),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Message {
    pub(super) number: u64,
    pub(super) text: String,
}

/// A message whose check fails.
pub(super) const UNLAWFUL: u64 = u64::MAX;

impl Wire for Message {
    const LIMITS: Limits = Limits::STRICT;

    fn check(&mut self) -> Result<(), Malformed> {
        if self.number == UNLAWFUL {
            return Err(Malformed::Invalid("number"));
        }
        Ok(())
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Event {
    Connected(NodeId),
    Disconnected(NodeId),
    DialFailed(NodeId),
    Heard(NodeId, u64),
    Alarm(Time),
}

pub(super) fn message(number: u64) -> Message {
    Message {
        number,
        text: "hello".to_owned(),
    }
}

impl Machine for Toy {
    const PROTOCOL: &'static str = "/opus/toy/1";
    type Command = Command;
    type Message = Message;
    type Event = Event;

    fn handle(&mut self, now: Time, input: Input<Command, Message>) {
        let output = match input {
            Input::Command(Command::Dial(peer)) => Output::Dial(peer),
            Input::Command(Command::Release(peer)) => Output::Release(peer),
            Input::Command(Command::Say(to, message, lane)) => Output::Send { to, message, lane },
            Input::Command(Command::Penalise(peer, offence)) => Output::Penalise(peer, offence),
            Input::Command(Command::AlarmIn(delay)) => {
                self.alarm = Some(now + delay);
                return;
            }
            Input::Connected(peer) => Output::Event(Event::Connected(peer)),
            Input::Disconnected(peer) => Output::Event(Event::Disconnected(peer)),
            Input::DialFailed(peer) => Output::Event(Event::DialFailed(peer)),
            Input::Received { from, message } => Output::Event(Event::Heard(from, message.number)),
        };
        self.outputs.push_back(output);
    }

    fn handle_timeout(&mut self, now: Time) {
        if self.alarm.is_some_and(|at| at <= now) {
            self.alarm = None;
            self.outputs.push_back(Output::Event(Event::Alarm(now)));
        }
    }

    fn poll_timeout(&self) -> Option<Deadline> {
        self.alarm.map(|at| Deadline {
            at,
            reason: "alarm",
        })
    }

    fn poll_output(&mut self) -> Option<Output<Message, Event>> {
        self.outputs.pop_front()
    }
}
