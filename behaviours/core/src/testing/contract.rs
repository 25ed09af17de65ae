//! The contract of [`Machine`] as assertions that any machine's tests can call.

use std::fmt::Debug;

use crate::{
    machine::{Input, Machine, Output},
    time::Time,
};

/// An input and the moment at which the machine gets it.
pub type Timed<M> = (
    Time,
    Input<<M as Machine>::Command, <M as Machine>::Message>,
);

/// Calls `handle_timeout` at `now`, which must be due, and checks that the machine does not spin.
///
/// # Panics
/// If the next deadline does not lie after `now`.
pub fn timeout<M: Machine>(machine: &mut M, now: Time) {
    machine.handle_timeout(now);
    if let Some(deadline) = machine.poll_timeout() {
        assert!(
            deadline.at > now,
            "only later: timer {:?} at {:?} is still due after handle_timeout({now:?})",
            deadline.reason,
            deadline.at,
        );
    }
}

/// Feeds equal inputs to two equal machines and checks the whole contract on the way.
///
/// `make` builds a machine from its seed and configuration; `inputs` are at rising times. Between
/// inputs every due timer is fired, and an early `handle_timeout` is tried. Returns the outputs,
/// as text, for the caller's own assertions.
///
/// # Panics
/// With the broken sentence of the contract.
pub fn check<M, F>(make: F, inputs: &[Timed<M>]) -> Vec<String>
where
    M: Machine,
    F: Fn() -> M,
    M::Command: Clone,
    Output<M::Message, M::Event>: Debug,
{
    let first = run(&make, inputs);
    let second = run(&make, inputs);
    assert_eq!(first, second, "equal in, equal out");
    first
}

fn run<M, F>(make: &F, inputs: &[Timed<M>]) -> Vec<String>
where
    M: Machine,
    F: Fn() -> M,
    M::Command: Clone,
    Output<M::Message, M::Event>: Debug,
{
    let mut machine = make();
    let mut log = Vec::new();
    let mut now = Time::ZERO;
    for (at, input) in inputs {
        assert!(*at >= now, "the test's own inputs must be at rising times");
        fire_until(&mut machine, *at, &mut log);
        now = *at;
        machine.handle(now, input.clone());
        drain(&mut machine, now, &mut log);
    }
    log
}

/// Fires every timer due up to `end`, and checks that an early call changes nothing.
fn fire_until<M>(machine: &mut M, end: Time, log: &mut Vec<String>)
where
    M: Machine,
    Output<M::Message, M::Event>: Debug,
{
    /// More firings than this without an input in between is a machine that spins.
    const FIRINGS_MAX: usize = 1_000_000;
    for _ in 0..FIRINGS_MAX {
        let Some(deadline) = machine.poll_timeout().filter(|deadline| deadline.at <= end) else {
            return;
        };
        if let Some(early) = deadline.at.0.checked_sub(1) {
            machine.handle_timeout(Time(early));
            assert!(
                machine.poll_output().is_none(),
                "an early handle_timeout is a no-op"
            );
            assert_eq!(
                machine.poll_timeout(),
                Some(deadline),
                "an early handle_timeout is a no-op"
            );
        }
        timeout(machine, deadline.at);
        drain(machine, deadline.at, log);
    }
    panic!("the machine fired {FIRINGS_MAX} timers without an input: it spins");
}

fn drain<M>(machine: &mut M, now: Time, log: &mut Vec<String>)
where
    M: Machine,
    Output<M::Message, M::Event>: Debug,
{
    while let Some(output) = machine.poll_output() {
        log.push(format!("{now:?} {output:?}"));
    }
}
