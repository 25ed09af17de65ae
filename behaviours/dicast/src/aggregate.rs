//! Aggregation: values go up the tree as records, answers with bounds come down.
//!
//! A node's value becomes a [`Record`]; an agent keeps the last record of each member ([`Slots`])
//! and folds them into its cluster's own; a [`Reporter`] tells it upward when it has left its
//! filter. The widths of the filters come from the key's tolerance ([`budget`]) and are granted by
//! the parent ([`Grants`]). What the root and the siblings are comes down as [`Down`] records, and
//! an [`Answer`] says what is known and how well.
//!
//! The bound rests on four rules, each kept in one place:
//!
//! 1. *Slots are replaced, never added to* (`slots`): loss, copies and disorder spoil no sum.
//! 2. *The width in force, not the target* (`record`, `grants`): what a parent assumes of a child
//!    is never below what the child uses.
//! 3. *A report vouches for what it does not name* (`report`): it freshens a slot only if nothing
//!    was lost and nothing left out.
//! 4. *Rounding to the safe side* (`float`, `change`, `down`): what a number loses on the wire is
//!    in the slack that travels with it.
//!
//! Source: Opus 3.3; Olston, Jiang, Widom 2003, "Adaptive filters for continuous queries"; Jain et
//! al. 2007, "STAR"; 2008, "Network imprecision".

mod answer;
mod audit;
mod bits;
pub mod budget;
mod change;
mod down;
mod filter;
mod float;
mod grants;
mod key;
mod record;
mod report;
mod roll;
mod slots;
mod summary;
#[cfg(test)]
mod tests;

pub use self::{
    answer::{Answer, Value},
    audit::Row,
    change::Change,
    down::{Down, Origin},
    filter::Filter,
    float::{Up8, Up16, Up24},
    grants::Grants,
    key::{Adds, Function, KeyError, KeyId, KeySpec, Mode, NODES_MAX, TOP_MAX, Tolerance, Urgency},
    record::{AGE_MAX, Fold, Record},
    report::{Item, KEYS_MAX, Report, Reporter, Source},
    roll::Roll,
    slots::{Occupant, Outcome, Slots, Term, Vacated, Verdict},
    summary::{Distinct, Entry, Quantiles, Sample, Summary, Top},
};
pub(crate) use self::{
    audit::{Off, Past, is_sum, refutes, refutes_count, refutes_entries},
    down::Beside,
    roll::{Rolls, Seen, Told, Values, is_told},
};
