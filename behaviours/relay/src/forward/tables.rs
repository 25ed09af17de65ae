//! What is open: overlays, the tags of their flows, local sinks.

use opus_core::{NodeId, OverlayId, Time};

use super::Forward;
use crate::{
    command::{Class, Event, FlowId},
    config::Config,
    header::flow_tag,
    overlay::{Overlay, Stream},
};

impl Forward {
    pub(super) fn open(&mut self, id: OverlayId, class: Class, key: [u8; 32]) {
        if let Some(&slot) = self.slots.get(&id) {
            if let Some(overlay) = &mut self.overlays[slot as usize] {
                if overlay.class == class {
                    overlay.set_key(key);
                } else {
                    let reason = "the overlay is open in another class; close it first";
                    self.out.tell(Event::Refused {
                        overlay: id,
                        reason,
                    });
                }
            }
            return;
        }
        if self.slots.len() >= self.config.overlays_max {
            let reason = "this node carries as many overlays as it may";
            self.out.tell(Event::Refused {
                overlay: id,
                reason,
            });
            return;
        }
        let free = self.overlays.iter().position(Option::is_none);
        let index = free.unwrap_or(self.overlays.len());
        let slot = u16::try_from(index).expect("overlays_max is far below 65,536");
        let overlay = Overlay::new(slot, id, class, key);
        if index == self.overlays.len() {
            self.overlays.push(Some(overlay));
        } else {
            self.overlays[index] = Some(overlay);
        }
        self.slots.insert(id, slot);
    }

    pub(super) fn close(&mut self, now: Time, id: OverlayId) {
        let ours = |flow: &FlowId| flow.overlay == id && flow.source == self.me;
        let next = self
            .flows()
            .into_iter()
            .filter(|(flow, _)| ours(flow))
            .map(|(_, s)| s.next);
        if let Some(next) = next.max() {
            self.spent.note(id, next);
        }
        let streams = self.with(now, id, |overlay, ctx| {
            overlay.close(ctx);
            std::mem::take(&mut overlay.streams)
        });
        for stream in streams.into_iter().flatten().flatten() {
            self.forget_tags(id, &stream);
        }
        if let Some(slot) = self.slots.remove(&id) {
            self.overlays[slot as usize] = None;
            self.sinks.retain(|_, overlay| *overlay != slot);
        }
    }

    /// Makes `source` the source of an overlay; false if it could not be.
    pub(super) fn set_source(&mut self, now: Time, id: OverlayId, source: NodeId) -> bool {
        let Some(&slot) = self.slots.get(&id) else {
            return false;
        };
        let clash = (0..Config::FLOWS)
            .filter_map(|flow| self.tags.get(&flow_tag(id, source, flow)))
            .any(|at| at.overlay != slot);
        if clash {
            let reason = "a flow of this overlay has the tag of another one's";
            self.out.tell(Event::Refused {
                overlay: id,
                reason,
            });
            return false;
        }
        let changed = self.with_slot(now, slot, |overlay, ctx| overlay.set_source(ctx, source));
        let Some((dropped, is_new)) = changed else {
            return false;
        };
        if let Some(stream) = dropped {
            self.forget_tags(id, &stream);
        }
        if is_new && let Some(overlay) = &self.overlays[slot as usize] {
            for flow in 0..Config::FLOWS {
                self.tags
                    .insert(flow_tag(id, source, flow), overlay.at(flow));
            }
        }
        true
    }

    pub(super) fn forget_tags(&mut self, overlay: OverlayId, stream: &Stream) {
        for tag in stream.tags(overlay) {
            self.tags.remove(&tag);
        }
    }

    pub(super) fn add_sink(&mut self, now: Time, id: OverlayId, att: u32, resume: Option<u64>) {
        let Some(&slot) = self.slots.get(&id) else {
            return;
        };
        let sinks_max = self.config.sinks_max;
        let added = self.with_slot(now, slot, |overlay, ctx| {
            let fits = overlay.sinks.len() < sinks_max;
            if fits {
                overlay.add_sink(ctx, att, resume);
            }
            fits
        });
        if added == Some(true) {
            self.sinks.insert(att, slot);
        } else {
            let reason = "this node has as many sinks of the overlay as it may";
            self.out.tell(Event::Refused {
                overlay: id,
                reason,
            });
        }
    }
}
