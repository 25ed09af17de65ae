//! What a machine gives back when nothing is under way.

use std::collections::BTreeMap;

use opus_core::Time;

use super::Dicast;

impl Dicast {
    /// Gives back what nothing is in. A map that was filled once keeps a node, which for some of
    /// these is more than a kilobyte.
    pub(super) fn drop_idle(&mut self, now: Time) {
        fn free<K, V>(map: &mut BTreeMap<K, V>) {
            if map.is_empty() {
                *map = BTreeMap::new();
            }
        }
        free(&mut self.seeks);
        free(&mut self.handovers);
        free(&mut self.checks);
        free(&mut self.questions);
        free(&mut self.measures);
        free(&mut self.posts);
        // They would only be passed over.
        if self.formers.front().is_some_and(|it| it.until <= now) {
            self.formers.retain(|it| it.until > now);
        }
    }
}
