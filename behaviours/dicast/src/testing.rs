//! What hostile peers say, for this crate's tests and the fuzzer: messages out of few values, those
//! of the machine among them, so that many fit.

use std::time::Duration;

use opus_core::{NodeId, pack::Few, testing::Draw};
use opus_model::Position;

use crate::{
    Definition, Dicast, Echo, Message,
    aggregate::{Change, KeyId, Report, Roll, Row},
    cluster::{ClusterRef, LEVELS_MAX, Place, Roster, SEATS_MAX, Seat, Standing, View},
    label::{Gather, Kin, Label, Marks},
    wire::{
        Accuse, Audit, Audited, Beat, Claim, Compare, Entry, Fenced, Got, Grant, Hello, Join,
        Leave, Liar, Merge, Merged, Moved, Office, Places, Poles, Pulse, Push, Renewed, Sides,
        Specs, Takeover, Twin, Twinned, Verdict, Welcome, Widths,
    },
};

/// Seats of a cluster, as their numbers count them.
const SLOTS: u8 = 64;
const _: () = assert!(SLOTS as usize == SEATS_MAX);

/// Outputs that one message may cause: 64 seats of several posts, a few messages each.
pub const OUTPUTS_MAX: usize = 2_000;

/// The clusters that the machine knows.
pub fn known(machine: &Dicast) -> Vec<ClusterRef> {
    let mut known: Vec<_> = machine.posts().map(|view| view.cluster).collect();
    known.extend(machine.leaf().map(|(view, _)| view.cluster));
    known.extend(machine.path().iter().map(|ancestor| ancestor.cluster));
    known.extend((1..3).filter_map(|level| Some(machine.seat_above(level)?.0.cluster)));
    known
}

/// A message of a peer to a machine that knows these clusters; not all are lawful.
pub fn message(draw: &mut Draw<'_>, known: &[ClusterRef]) -> Message {
    Words { draw, known }.message()
}

/// How wide a number is drawn.
enum Reach {
    /// As a rule: of the few that are in use.
    Few,
    /// Of all that are lawful.
    Lawful,
    /// Of all that fit into its bytes.
    Any,
}

struct Words<'a, 'b> {
    draw: &'a mut Draw<'b>,
    known: &'a [ClusterRef],
}

impl Words<'_, '_> {
    fn message(&mut self) -> Message {
        match self.draw.below(5) {
            0 => self.life(),
            1 => self.values(),
            2 => self.change_of_hands(),
            3 => self.audit(),
            _ => self.change_of_shape(),
        }
    }

    fn cluster(&mut self) -> ClusterRef {
        let at = usize::from(self.draw.any::<u8>());
        let known = self.known.get(at % (self.known.len() + 1)).copied();
        let cluster = known.unwrap_or_else(|| ClusterRef {
            id: u64::from(self.draw.small()),
            epoch: self.draw.small(),
        });
        if self.draw.share(3) {
            cluster.next()
        } else {
            cluster
        }
    }

    fn tag(&mut self) -> u16 {
        self.cluster().tag()
    }

    fn reach(&mut self) -> Reach {
        match self.draw.any::<u8>() & 0x0f {
            0 => Reach::Any,
            1..5 => Reach::Lawful,
            _ => Reach::Few,
        }
    }

    fn slot(&mut self) -> u8 {
        let reach = self.reach();
        let slot: u8 = self.draw.any();
        match reach {
            Reach::Few => slot % 6,
            Reach::Lawful => slot % SLOTS,
            Reach::Any => slot,
        }
    }

    fn level(&mut self) -> u8 {
        let reach = self.reach();
        let level: u8 = self.draw.any();
        match reach {
            Reach::Few => 1 + level % LEVELS_MAX.min(3),
            Reach::Lawful => 1 + level % LEVELS_MAX,
            Reach::Any => level,
        }
    }

    fn place(&mut self) -> Place {
        self.draw
            .maybe(position)
            .map_or_else(Place::default, Place::at)
    }

    /// Of two labels, or any.
    fn label(&mut self) -> Label {
        let label = [1, 2, self.draw.any()][self.draw.below(3) as usize];
        Label([label; 16])
    }

    fn marks(&mut self) -> Marks {
        Marks {
            fit: self.draw.flag(),
            label: self.draw.share(2).then(|| self.label()),
            closed: self.draw.share(1),
        }
    }

    /// A seat in a cluster of this level.
    fn seat(&mut self, level: u8) -> Seat {
        let above = (level > 1) ^ self.draw.share(1);
        let contact = self.draw.contact();
        let incarnation = u64::from(self.draw.small());
        let (place, marks) = (self.place(), self.marks());
        let up_s = self.draw.any();
        let child = above.then(|| self.cluster());
        Seat {
            contact,
            incarnation,
            place,
            standing: Standing::of(marks, child).after(up_s),
            size: self.draw.small(),
        }
    }

    fn view(&mut self, level: u8) -> View {
        let most = if self.draw.share(1) { SEATS_MAX } else { 6 };
        let count = usize::from(self.draw.any::<u8>()) % (most + 1);
        let mut roster = Roster::default();
        for _ in 0..count {
            let slot = self.slot() % SLOTS;
            let seat = self.seat(level);
            roster.put(slot, seat);
        }
        View {
            cluster: self.cluster(),
            level,
            agent: self.draw.contact(),
            deputies: Few((0..self.draw.below(4)).map(|_| self.slot()).collect()),
            roster,
        }
    }

    fn welcome(&mut self, level: u8) -> Welcome {
        let view = self.view(level);
        let slots: Vec<u8> = view.roster.iter().map(|(slot, _)| slot).collect();
        let at = usize::from(self.draw.any::<u8>()) % (slots.len() + 1);
        let above = self.draw.any::<u8>() % 3;
        let levels = level.saturating_add(1)..=level.saturating_add(above);
        Welcome {
            slot: slots.get(at).copied().unwrap_or_default(),
            path: Few(levels.map(|level| self.view(level).ancestor()).collect()),
            view,
        }
    }

    fn span(&mut self) -> Duration {
        Duration::from_millis(u64::from(self.draw.any::<u16>()))
    }

    fn echo(&mut self) -> Echo {
        Echo {
            number: self.draw.small(),
            dwell: self.span(),
        }
    }

    fn report(&mut self) -> Report {
        if let Some(report) = self.draw.packed(200) {
            return report;
        }
        let mut sets = Vec::new();
        for _ in 0..self.draw.below(3) {
            let key = KeyId(self.draw.small16());
            sets.push(Few(vec![match self.draw.below(3) {
                0 => Change::Withdrawn(key),
                1 => Change::Weighted(key, self.draw.any(), self.draw.any()),
                _ => Change::Value(key, self.draw.any()),
            }]));
        }
        Report {
            beat: self.draw.small(),
            seq: self.draw.small(),
            round: self.draw.small(),
            age: self.span(),
            full: self.draw.flag(),
            partial: self.draw.flag(),
            sets: Few(sets),
        }
    }

    /// The members' values, whose bits may mean anything.
    fn roll(&mut self) -> Option<Roll> {
        let columns = (0..self.draw.below(3)).map(|_| {
            let key = KeyId(self.draw.small16());
            let bytes = (0..self.draw.below(24)).map(|_| self.draw.any());
            (key, Few(bytes.collect()))
        });
        let columns = Few(columns.collect());
        let number: u8 = self.draw.any();
        let base: u8 = self.draw.any();
        let keys = self.draw.any();
        let age = self.span();
        self.draw.maybe(|_| Roll {
            number: number % 4,
            base: base % 4,
            keys,
            age,
            columns,
        })
    }

    fn pulse(&mut self) -> Pulse {
        Pulse {
            tag: self.tag(),
            view: self.draw.any(),
            path: self.draw.any(),
            number: self.draw.small(),
            echo: self.echo(),
            pushed: self.draw.small(),
            own_age: self.span(),
            above_age: self.span(),
            beside_age: self.span(),
            roll: self.roll(),
        }
    }

    /// Signs of life, questions, and the way in.
    fn life(&mut self) -> Message {
        let level = self.level();
        match self.draw.below(13) {
            0..3 => {
                let child = self.draw.flag().then(|| self.cluster());
                Message::Beat(Beat {
                    tag: self.tag(),
                    slot: self.slot(),
                    seq: self.draw.small(),
                    size: child.map_or(1, |_| self.draw.any()),
                    marks: self.marks(),
                    place: self.place(),
                    child,
                    keys: self.draw.any(),
                    echo: self.echo(),
                    pushed: self.draw.small(),
                    urgent: self.draw.flag(),
                    lacks_roll: self.draw.flag(),
                    report: self.draw.flag().then(|| self.report()),
                })
            }
            3 => Message::Pulse(self.pulse()),
            4 => Message::Check(self.draw.any()),
            5 => Message::Alive(u64::from(self.draw.small())),
            6 => Message::Accuse(Accuse {
                nonce: self.draw.any(),
                about: self.draw.contact(),
            }),
            7 => Message::Verdict(Verdict {
                nonce: u64::from(self.draw.small()),
                alive: self.draw.flag(),
            }),
            8 => Message::Join(Join {
                target: level,
                at: self.draw.any::<u8>() % 4,
                moves: self.draw.flag(),
                counted: self.draw.flag(),
                seat: self.seat(level),
            }),
            9 => {
                let count = self.draw.below(5);
                let agents = (0..count).map(|_| (self.draw.contact(), self.place()));
                Message::Places(Places {
                    level,
                    agents: Few(agents.collect()),
                    same: self.draw.flag(),
                })
            }
            10 => Message::Welcome(self.welcome(level)),
            11 => Message::Busy((level, self.span())),
            _ => match self.draw.below(7) {
                0 => Message::Ask(self.tag()),
                5 => {
                    let welcome = self.welcome(level);
                    Message::Compare(Compare::of(&welcome.view, &welcome.path))
                }
                6 => {
                    let (is, has) = (self.welcome(level), self.welcome(level));
                    let has = Compare::of(&has.view, &has.path);
                    Message::Renewed(Renewed::of(&is.view, is.slot, is.path, &has))
                }
                1 => Message::Stranger(self.tag()),
                2 => Message::AskPath(self.tag()),
                3 => Message::Path((self.tag(), self.welcome(level).path)),
                _ => Message::Leave(Leave {
                    tag: self.tag(),
                    slot: self.slot(),
                    known: self.draw.flag(),
                }),
            },
        }
    }

    fn values(&mut self) -> Message {
        match self.draw.below(5) {
            0 => Message::Push(Push {
                tag: self.tag(),
                number: self.draw.small(),
                echo: self.echo(),
                urgent: self.draw.flag(),
                base: self.draw.small(),
                last: self.draw.small(),
                records: self.draw.packed(300).unwrap_or_default(),
            }),
            1 => Message::Got(Got {
                tag: self.tag(),
                slot: self.slot(),
                pushed: self.draw.small(),
            }),
            2 => Message::Widths(Widths {
                tag: self.tag(),
                round: self.draw.small(),
                widths: self.draw.packed(60).unwrap_or_default(),
            }),
            3 => Message::Full(self.tag()),
            _ => {
                let key = KeyId(self.draw.small16());
                let owner: NodeId = self.draw.node();
                let definition = self.draw.packed(80).map(|spec| Definition {
                    spec,
                    version: self.draw.small(),
                    owner,
                    gone: self.draw.flag(),
                });
                let rows = definition.map(|definition| (key, definition));
                Message::Specs(Specs {
                    table: Few(rows.into_iter().collect()),
                })
            }
        }
    }

    /// Who holds whom to be what, and who lies.
    fn audit(&mut self) -> Message {
        let (cluster, member) = (self.cluster(), self.draw.flag());
        let count = self.draw.below(4);
        match self.draw.below(3) {
            0 => Message::Audit(Audit {
                cluster,
                member,
                keys: Few((0..count).map(|_| KeyId(self.draw.small16())).collect()),
            }),
            1 => {
                let rows = (0..count).map(|_| Row {
                    key: KeyId(self.draw.small16()),
                    value: self.draw.any(),
                    slack: self.draw.any(),
                    count: self.draw.any(),
                    missing: self.draw.small(),
                    age: self.span(),
                });
                let rows = Few(rows.collect());
                Message::Audited(Audited {
                    cluster,
                    member,
                    rows,
                })
            }
            _ => Message::Liar(Liar {
                cluster,
                agent: self.draw.node(),
                rank: self.slot(),
                own: self.draw.flag(),
                others: self.draw.flag(),
                sure: self.draw.flag(),
                seat: self.seat(2),
            }),
        }
    }

    /// Of who sits where, and who holds which post.
    fn change_of_hands(&mut self) -> Message {
        let level = self.level();
        match self.draw.below(6) {
            0 => Message::Moved(Moved {
                tag: self.tag(),
                slot: self.slot(),
                seat: self.draw.flag().then(|| self.seat(level)),
                deputies: Few(vec![self.slot()]),
            }),
            1 => Message::Claim(Claim {
                cluster: self.cluster(),
                seat: self.seat(2),
                yields: self.draw.flag(),
            }),
            2 => Message::Grant(Grant {
                old: self.cluster(),
                cluster: self.cluster(),
                up: self.welcome(level),
            }),
            3 => Message::Fenced(Fenced {
                old: self.cluster(),
                cluster: self.cluster(),
                agent: self.draw.contact(),
            }),
            4 => Message::Takeover(Takeover {
                old: self.cluster(),
                cluster: self.cluster(),
                agent: self.draw.contact(),
                slot: self.slot(),
            }),
            _ => Message::Office(Box::new(Office {
                old: self.cluster(),
                view: self.view(level),
                up: self
                    .draw
                    .flag()
                    .then(|| self.welcome(level.saturating_add(1))),
                far: Few(vec![self.draw.contact()]),
                books: Few(vec![Entry {
                    slot: self.slot(),
                    double: self.draw.any(),
                    left: self.span(),
                }]),
                missing: self.draw.any(),
                double: self.draw.any(),
                barred: Few(vec![self.draw.node()]),
            })),
        }
    }

    /// Of which clusters there are.
    fn change_of_shape(&mut self) -> Message {
        let level = self.level();
        match self.draw.below(10) {
            0 => Message::Twin(Twin {
                cluster: self.cluster(),
                add: self.draw.flag().then(|| self.seat(2)),
                absorb: self.draw.flag().then(|| self.cluster()),
            }),
            1 => Message::Twinned(Twinned {
                old: self.cluster(),
                cluster: self.cluster(),
                slot: self.draw.flag().then(|| self.slot()),
            }),
            2 => Message::Poles(Poles {
                tag: self.tag(),
                one: self.draw.contact(),
                other: self.draw.contact(),
            }),
            3 => Message::Sides(Sides {
                tag: self.tag(),
                slot: self.slot(),
                one_us: self.draw.any(),
                other_us: self.draw.any(),
            }),
            4 => Message::Merge(Merge {
                view: self.view(level),
                missing: self.draw.any(),
                books: Few(vec![Entry {
                    slot: self.slot(),
                    double: self.draw.any(),
                    left: self.span(),
                }]),
            }),
            5 => {
                let count = self.draw.below(6);
                Message::Merged(Merged {
                    old: self.cluster(),
                    cluster: self.cluster(),
                    seats: Few((0..count).map(|_| (self.slot(), self.slot())).collect()),
                })
            }
            6 => Message::Crown(self.cluster()),
            7 => Message::Kin(Kin {
                label: self.label(),
                nodes: self.draw.any(),
                cluster: self.cluster(),
                agent: self.draw.contact(),
                parent: self.draw.flag().then(|| self.draw.contact()),
                asks: self.draw.flag(),
            }),
            8 => Message::Gather(Gather {
                tag: self.tag(),
                label: self.label(),
                agent: self.draw.contact(),
            }),
            _ => Message::Hello(Hello {
                root: self.cluster(),
                height: level,
                size: self.draw.small(),
                posts: Few((0..self.draw.below(4))
                    .map(|_| self.draw.contact())
                    .collect()),
                relayed: self.draw.flag(),
            }),
        }
    }
}

/// As a peer may say it: far out of range, too.
fn position(draw: &mut Draw<'_>) -> Position {
    Position(draw.any(), draw.any(), draw.any())
}
