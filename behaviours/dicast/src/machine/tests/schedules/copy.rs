//! A second machine in the same state: a walk goes on from it in more than one way.

use crate::Dicast;

macro_rules! copy {
    ($of:ident: $($field:ident)*) => {
        Self {
            // The generator has no `Clone`, so that nobody draws the same numbers by mistake.
            rng: $of.rng.twin(),
            $($field: $of.$field.clone()),*
        }
    };
}

impl Clone for Dicast {
    fn clone(&self) -> Self {
        copy!(
            self: config timers outputs me health links local running leaf keys key_care values
            posts seeks scout vacated seeds far formers handovers checks questions measures number
            leaving_since hello_at directory kin stray_at offers hint_at root_told whole_known
            audits lie
        )
    }
}
