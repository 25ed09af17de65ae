//! Runs one machine through a sequence of inputs and checks the contract at each step.

use std::{
    fmt::Debug,
    hash::{DefaultHasher, Hash, Hasher},
    time::Duration,
};

use opus_core::{
    Input, Machine, NodeId, Output, Time, Wire,
    codec::{decode_wire, encode},
    testing::{Draw, contract},
};

use crate::INPUT_MAX;

/// More timers than this in a second without an input: the machine spins.
const FIRINGS_A_SECOND: u64 = 5_000;

/// The longest jump of the clock: 3 days, as of a machine that slept over a weekend.
const JUMP_MAX: Duration = Duration::from_secs(3 * 86_400);

/// A machine, the time, and a hash of all that it said.
pub(crate) struct Drive<M> {
    pub(crate) machine: M,
    pub(crate) now: Time,
    /// Outputs that one input or timer may cause.
    outputs_max: usize,
    /// Whether what is sent has to arrive unchanged; else its receiver may clamp numbers.
    exact: bool,
    said: DefaultHasher,
}

impl<M: Machine> Drive<M>
where
    Output<M::Message, M::Event>: Debug,
{
    pub(crate) fn new(machine: M, outputs_max: usize) -> Self {
        Self {
            machine,
            now: Time::ZERO,
            outputs_max,
            exact: true,
            said: DefaultHasher::new(),
        }
    }

    /// For machines whose sums of lawful numbers exceed the limits: they are clamped by whoever
    /// receives them.
    pub(crate) fn clamped(mut self) -> Self {
        self.exact = false;
        self
    }

    /// What the machine said in all, as a number to compare.
    pub(crate) fn said(&self) -> u64 {
        self.said.finish()
    }

    pub(crate) fn input(&mut self, input: Input<M::Command, M::Message>) {
        self.machine.handle(self.now, input);
        self.drain();
    }

    /// A message as it would arrive: encoded, decoded and checked. What is refused is not heard.
    pub(crate) fn hear(&mut self, from: NodeId, message: &M::Message) {
        if let Ok(message) = decode_wire(&encode(message)) {
            self.input(Input::Received { from, message });
        }
    }

    /// A connection that comes or goes, a dial that fails, time that passes or jumps.
    pub(crate) fn world(&mut self, draw: &mut Draw<'_>) {
        match draw.below(8) {
            0 => self.input(Input::Connected(draw.peer())),
            1 => self.input(Input::Disconnected(draw.peer())),
            2 => self.input(Input::DialFailed(draw.peer())),
            3..6 => self.pass(Duration::from_millis(u64::from(draw.any::<u16>() % 2_000))),
            6 => self.pass(Duration::from_secs(u64::from(draw.below(20)))),
            _ => self.jump(Duration::from_millis(u64::from(draw.any::<u32>()))),
        }
    }

    /// Every timer fires at its time; an early call changes nothing.
    pub(crate) fn pass(&mut self, duration: Duration) {
        let end = self.now + duration;
        let firings_max = FIRINGS_A_SECOND * (duration.as_secs() + 1);
        let mut firings = 0;
        while let Some(next) = self.machine.poll_timeout().filter(|next| next.at <= end) {
            firings += 1;
            assert!(firings <= firings_max, "timer {:?} spins", next.reason);
            if let Some(early) = next
                .at
                .0
                .checked_sub(1)
                .map(Time)
                .filter(|&at| at > self.now)
            {
                self.machine.handle_timeout(early);
                let quiet = self.machine.poll_output().is_none();
                let same = self.machine.poll_timeout() == Some(next);
                assert!(quiet && same, "an early handle_timeout is a no-op");
            }
            self.now = self.now.max(next.at);
            contract::timeout(&mut self.machine, self.now);
            self.drain();
        }
        self.now = end;
    }

    /// All timers that came due meanwhile fire late and at once.
    pub(crate) fn jump(&mut self, duration: Duration) {
        self.now = self.now + duration.min(JUMP_MAX);
        contract::timeout(&mut self.machine, self.now);
        self.drain();
    }

    fn drain(&mut self) {
        let mut count = 0;
        while let Some(output) = self.machine.poll_output() {
            count += 1;
            assert!(
                count <= self.outputs_max,
                "over {count} outputs: {output:?}"
            );
            if let Output::Send { message, .. } = &output {
                passes_its_own_codec(message, self.exact);
            }
            format!("{:?} {output:?}", self.now).hash(&mut self.said);
        }
    }
}

/// What is sent is read by its receiver; if `exact`, as the same value.
fn passes_its_own_codec<M: Wire>(message: &M, exact: bool) {
    let bytes = encode(message);
    match decode_wire::<M>(&bytes) {
        Ok(read) => {
            let same = !exact || encode(&read) == bytes;
            assert!(same, "{message:?} is read as {read:?}");
        }
        Err(error) => panic!("a machine says what its peers refuse: {error}: {message:?}"),
    }
}

/// Runs `script` over `bytes`, and on one input in four twice: equal in, equal out.
pub(crate) fn run(bytes: &[u8], script: fn(&[u8]) -> u64) {
    let bytes = &bytes[..bytes.len().min(INPUT_MAX)];
    let said = script(bytes);
    if bytes.len().is_multiple_of(4) {
        assert_eq!(said, script(bytes), "equal in, equal out");
    }
}
