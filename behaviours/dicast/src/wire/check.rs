//! What a message must be beside well-formed: levels that exist, seats that have a number, nodes
//! below and clusters above.

use opus_core::Malformed;

use super::{Message, Welcome};
use crate::cluster::{LEVELS_MAX, Path, SEATS_MAX, Seat, View};

const LEVEL: Malformed = Malformed::Invalid("no cluster has such a level");
const SLOT: Malformed = Malformed::Invalid("no seat has such a number");
const SEAT: Malformed = Malformed::Invalid("nodes sit at level 1, clusters above");
const PATH: Malformed = Malformed::Invalid("the levels of a path do not rise one by one");

/// Refuses what no honest machine says.
pub(super) fn lawful(message: &Message) -> Result<(), Malformed> {
    match message {
        Message::Join(join) => {
            level(join.target)?;
            level(join.at.max(1))?;
            seat(&join.seat, join.target)
        }
        Message::Places(places) => level(places.level),
        Message::Welcome(it) => welcome(it, None),
        Message::Grant(grant) => welcome(&grant.up, None),
        Message::Office(office) => {
            view(&office.view)?;
            let above = office.view.level.saturating_add(1);
            let up = office.up.as_ref();
            up.map_or(Ok(()), |up| welcome(up, Some(above)))
        }
        Message::Merge(merge) => view(&merge.view),
        Message::Hello(hello) => level(hello.height),
        Message::Path((_, it)) => {
            let below =
                it.0.first()
                    .map_or(1, |first| first.level.saturating_sub(1));
            path(it, below.max(1))
        }
        Message::Busy((at, _)) => level(*at),
        Message::Twin(twin) => twin.add.as_ref().map_or(Ok(()), |added| seat(added, 2)),
        Message::Takeover(takeover) => slot(takeover.slot),
        Message::Moved(moved) => slot(moved.slot),
        Message::Liar(liar) => seat(&liar.seat, 2),
        Message::Renewed(renewed) => {
            let below = renewed.path.as_ref().and_then(|path| path.0.first());
            let below = below.map_or(1, |first| first.level.saturating_sub(1));
            renewed.lawful()?;
            renewed
                .path
                .as_ref()
                .map_or(Ok(()), |it| path(it, below.max(1)))
        }
        Message::Beat(_)
        | Message::Pulse(_)
        | Message::Check(_)
        | Message::Alive(_)
        | Message::Accuse(_)
        | Message::Verdict(_)
        | Message::Ask(_)
        | Message::AskPath(_)
        | Message::Stranger(_)
        | Message::Leave(_)
        | Message::Claim(_)
        | Message::Fenced(_)
        | Message::Twinned(_)
        | Message::Poles(_)
        | Message::Sides(_)
        | Message::Merged(_)
        | Message::Crown(_)
        | Message::Push(_)
        | Message::Got(_)
        | Message::Widths(_)
        | Message::Full(_)
        | Message::Specs(_)
        | Message::Kin(_)
        | Message::Gather(_)
        | Message::Audit(_)
        | Message::Audited(_)
        | Message::Compare(_) => Ok(()),
    }
}

fn level(level: u8) -> Result<(), Malformed> {
    (1..=LEVELS_MAX).contains(&level).then_some(()).ok_or(LEVEL)
}

fn slot(slot: u8) -> Result<(), Malformed> {
    (usize::from(slot) < SEATS_MAX).then_some(()).ok_or(SLOT)
}

/// A seat in a cluster of this level.
fn seat(seat: &Seat, level: u8) -> Result<(), Malformed> {
    (seat.child().is_some() == (level > 1))
        .then_some(())
        .ok_or(SEAT)
}

fn view(view: &View) -> Result<(), Malformed> {
    level(view.level)?;
    view.roster
        .iter()
        .try_for_each(|(_, it)| seat(it, view.level))
}

/// `at`: the level that it has to be of.
fn welcome(it: &Welcome, at: Option<u8>) -> Result<(), Malformed> {
    view(&it.view)?;
    if at.is_some_and(|at| at != it.view.level) {
        return Err(LEVEL);
    }
    it.view.roster.get(it.slot).map(|_| ()).ok_or(SLOT)?;
    path(&it.path, it.view.level)
}

/// The clusters above one of level `below`.
fn path(path: &Path, below: u8) -> Result<(), Malformed> {
    // Whoever names the last number there is, and one more, is refused for the first.
    for (ancestor, above) in path.0.iter().zip(below.saturating_add(1)..=u8::MAX) {
        level(ancestor.level)?;
        if ancestor.level != above {
            return Err(PATH);
        }
    }
    Ok(())
}
