//! Names, definitions and values, against a real dicast.

use opus_core::{Contact, Input, Machine, Seed};
use opus_dicast::{Event, aggregate::Value};

use super::*;

const KEYS_MAX: usize = 4;
const NOW: Time = Time::from_secs(1);
const TEMPERATURE: KeySpec = KeySpec::new(Function::Mean, (-40.0, 60.0), 0.5);

/// A node alone in its tree, and what its programs did.
struct Scene {
    dicast: Dicast,
    programs: Programs,
    me: NodeId,
}

impl Scene {
    fn new() -> Self {
        let me = NodeId::from_index(1);
        let rng = Seed::new(1).rng();
        let mut dicast = Dicast::new(opus_dicast::Config::default(), Contact::bare(me), 1, rng);
        let seeds = Vec::new();
        let start = Command::Start { id: 1, seeds };
        dicast.handle(Time::ZERO, Input::Command(start));
        let programs = Programs::new(me, KEYS_MAX);
        Self {
            dicast,
            programs,
            me,
        }
    }

    /// Has dicast do it, as a driver does.
    fn carry_out(&mut self, change: Change) {
        self.tell(change.command(7));
        assert!(change.is_in(NOW, self.me, &self.dicast), "{change:?}");
        self.programs.apply(change);
    }

    fn tell(&mut self, command: Command) {
        self.dicast.handle(NOW, Input::Command(command));
    }

    fn define(&mut self, name: &str, spec: KeySpec) -> Result<KeyId, Refusal> {
        let (key, change) = self.programs.define(name, spec, &self.dicast)?;
        if let Some(change) = change {
            self.carry_out(change);
        }
        Ok(key)
    }

    fn set(&mut self, conn: u64, name: &str, value: f64) -> Result<(), Refusal> {
        self.set_sample(conn, name, Sample::Number(value))
    }

    fn set_sample(&mut self, conn: u64, name: &str, sample: Sample) -> Result<(), Refusal> {
        let change = self
            .programs
            .set(&program(conn), name, sample, &self.dicast)?;
        self.carry_out(change);
        Ok(())
    }

    fn own(&self, name: &str) -> Option<f64> {
        let key = number_of(name).unwrap();
        let answer = self.dicast.view(NOW, key, Scope::Own)?;
        match answer.value {
            Value::Number(number) => Some(number),
            other @ (Value::Top(_) | Value::Quantiles(_)) => panic!("{other:?} is no number"),
        }
    }
}

fn program(conn: u64) -> Program {
    let app = format!("program {conn}");
    Program { conn, app }
}

/// A name with the number of `name`.
fn twin_of(name: &str) -> String {
    let number = number_of(name).unwrap();
    let mut names = (0..).map(|n: u32| format!("twin-{n}"));
    names.find(|it| number_of(it) == Ok(number)).unwrap()
}

#[test]
fn a_name_has_the_same_number_on_all_nodes_of_all_versions() {
    assert_eq!(number_of("ticker.queue"), Ok(KeyId(33_847)));
    assert_eq!(number_of("a"), Ok(KeyId(12_513)));
    let numbers = (0..2_000).map(|n| number_of(&format!("key-{n}")).unwrap().0);
    assert!(numbers.min().unwrap() >= NUMBER_MIN);
}

#[test]
fn names_that_are_none_or_of_every_node_are_refused() {
    let long = "a".repeat(NAME_MAX);
    for name in ["a", "my-app.queue_2", &long] {
        assert!(number_of(name).is_ok(), "{name}");
    }
    let longer = format!("{long}a");
    for name in [
        "", "7", "7up", "-a", "Load", "a b", "\u{e4}", "a/b", &longer,
    ] {
        let refused = number_of(name);
        assert!(matches!(refused, Err(NameError::Unlawful(_))), "{name:?}");
    }
    for key in summary::KEYS {
        let name = key.name.to_owned();
        assert_eq!(number_of(key.name), Err(NameError::BuiltIn(name)));
    }
}

#[test]
fn functions_are_read_as_they_are_written() {
    for function_ in [
        Function::Count,
        Function::Sum,
        Function::Mean,
        Function::WeightedMean,
        Function::Variance,
        Function::Min,
        Function::Max,
        Function::TopK(16),
        Function::Quantiles,
        Function::Distinct,
    ] {
        assert_eq!(function(&word(function_)), Some(function_));
    }
    assert_eq!(function("weighted-mean"), Some(Function::WeightedMean));
    assert_eq!(function("top-3"), Some(Function::TopK(3)));
    for word in ["", "average", "top", "top 300", "Sum"] {
        assert_eq!(function(word), None, "{word}");
    }
}

#[test]
fn a_value_is_set_replaced_and_withdrawn_by_the_connection_that_holds_it() {
    let mut scene = Scene::new();
    let undefined = Refusal::Undefined("t".to_owned());
    assert_eq!(scene.set(1, "t", 20.0), Err(undefined));
    scene.define("t", TEMPERATURE).unwrap();
    scene.set(1, "t", 20.0).unwrap();
    scene.set(1, "t", 21.0).unwrap();
    assert_eq!(scene.own("t"), Some(21.0));
    let held = Refusal::Held {
        name: "t".to_owned(),
        app: "program 1".to_owned(),
    };
    assert_eq!(scene.set(2, "t", 5.0), Err(held));
    let none = Refusal::NoValue("t".to_owned());
    assert_eq!(scene.programs.unset(2, "t"), Err(none));
    let change = scene.programs.unset(1, "t").unwrap();
    scene.carry_out(change);
    assert_eq!(scene.own("t"), None);
    scene.set(2, "t", 5.0).unwrap();
    assert_eq!(scene.own("t"), Some(5.0));
}

#[test]
fn values_end_with_their_connection_and_definitions_stay_for_others() {
    let mut scene = Scene::new();
    let first = scene.define("first", TEMPERATURE).unwrap();
    let second = scene.define("second", TEMPERATURE).unwrap();
    scene.define("third", TEMPERATURE).unwrap();
    scene.set(1, "first", 1.0).unwrap();
    scene.set(1, "second", 2.0).unwrap();
    scene.set(2, "third", 3.0).unwrap();
    let mut ended = scene.programs.end(1);
    ended.sort_unstable();
    let mut both = [first, second];
    both.sort_unstable();
    assert_eq!(ended, both);
    assert_eq!(scene.programs.end(1), []);
    assert_eq!(scene.programs.name_of(first), Some("first"));
    let held = scene.set(1, "third", 3.0);
    assert!(matches!(held, Err(Refusal::Held { .. })));
}

#[test]
fn what_is_no_value_of_the_key_is_refused() {
    let mut scene = Scene::new();
    let weighted = KeySpec::new(Function::WeightedMean, (0.0, 1.0), 0.0);
    let count = KeySpec::new(Function::Count, (0.0, 1.0), 0.0);
    scene.define("t", TEMPERATURE).unwrap();
    scene.define("w", weighted).unwrap();
    scene.define("n", count).unwrap();
    let refused = scene.set(1, "t", 60.5).unwrap_err().to_string();
    let said = "60.5 is no value of t, which is the mean of -40 to 60, to within 0.5";
    assert_eq!(refused, said);
    for (name, sample) in [
        ("t", Sample::Number(-41.0)),
        ("t", Sample::Number(f64::NAN)),
        ("t", Sample::Weighted(1.0, 0.5)),
        ("w", Sample::Weighted(1.0, 1.5)),
    ] {
        let refused = scene.set_sample(1, name, sample.clone());
        assert!(matches!(refused, Err(Refusal::Value { .. })), "{sample:?}");
    }
    scene.set(1, "t", 60.0).unwrap();
    scene
        .set_sample(1, "w", Sample::Weighted(1.0, 0.5))
        .unwrap();
    scene.set(1, "w", 0.25).unwrap();
    scene.set(1, "n", 12.0).unwrap();
    assert_eq!(scene.own("n"), Some(1.0));
}

#[test]
fn a_key_is_defined_once_and_changed_only_where_it_was_defined_and_has_no_value() {
    let mut scene = Scene::new();
    let finer = KeySpec::new(Function::Mean, (-40.0, 60.0), 0.25);
    let key = scene.define("t", TEMPERATURE).unwrap();
    let again = scene.programs.define("t", TEMPERATURE, &scene.dicast);
    assert_eq!(again, Ok((key, None)), "there is nothing to do");
    scene.define("t", finer).unwrap();
    assert_eq!(scene.dicast.spec(key), Some(&finer));
    scene.set(1, "t", 1.0).unwrap();
    let in_use = Refusal::InUse("t".to_owned());
    assert_eq!(scene.define("t", TEMPERATURE), Err(in_use));
    scene.tell(Command::Spec {
        id: 1,
        key: number_of("foreign").unwrap(),
        spec: TEMPERATURE,
    });
    let refused = scene.define("foreign", finer).unwrap_err().to_string();
    assert!(
        refused.starts_with("another key has this number: foreign is "),
        "{refused}"
    );
    assert!(scene.define("foreign", TEMPERATURE).is_ok());
    assert_eq!(scene.set(1, "foreign", 3.0), Ok(()), "whoever defined it");
}

#[test]
fn a_definition_that_was_overridden_takes_no_values_here() {
    let mut scene = Scene::new();
    let key = scene.define("t", TEMPERATURE).unwrap();
    let spec = KeySpec::new(Function::Sum, (0.0, 1.0), 0.0);
    scene.tell(Command::Spec { id: 1, key, spec });
    let refused = scene.set(1, "t", 0.5);
    assert!(
        matches!(refused, Err(Refusal::Differs { .. })),
        "{refused:?}"
    );
    scene.define("t", spec).unwrap();
    assert_eq!(scene.set(1, "t", 0.5), Ok(()), "it is defined alike");
}

#[test]
fn a_value_is_withdrawn_when_its_key_becomes_another() {
    let mut scene = Scene::new();
    let key = scene.define("t", TEMPERATURE).unwrap();
    scene.set(1, "t", 20.0).unwrap();
    let finer = KeySpec::new(Function::Mean, (-40.0, 60.0), 0.25);
    scene.tell(Command::Spec {
        id: 1,
        key,
        spec: finer,
    });
    assert_eq!(
        scene.programs.look(&scene.dicast),
        [],
        "the value is one of it"
    );
    let spec = KeySpec::new(Function::Sum, (-40.0, 60.0), 0.25);
    scene.tell(Command::Spec { id: 1, key, spec });
    let withdrawn = [(key, "t".to_owned())];
    assert_eq!(scene.programs.look(&scene.dicast), withdrawn);
    assert_eq!(scene.programs.look(&scene.dicast), []);
    let none = Refusal::NoValue("t".to_owned());
    assert_eq!(scene.programs.unset(1, "t"), Err(none));
}

#[test]
fn two_names_of_one_number_are_not_taken_for_one_key() {
    let mut scene = Scene::new();
    scene.define("t", TEMPERATURE).unwrap();
    let twin = twin_of("t");
    let refused = scene.define(&twin, TEMPERATURE).unwrap_err().to_string();
    assert!(
        refused.starts_with("another key has this number"),
        "{refused}"
    );
    assert!(matches!(
        scene.set(1, &twin, 1.0),
        Err(Refusal::Number { .. })
    ));
}

#[test]
fn a_node_has_so_many_keys_and_no_more() {
    let mut scene = Scene::new();
    for n in 1..KEYS_MAX {
        scene.define(&format!("key-{n}"), TEMPERATURE).unwrap();
    }
    scene.tell(Command::Spec {
        id: 1,
        key: number_of("foreign").unwrap(),
        spec: TEMPERATURE,
    });
    scene.set(1, "foreign", 1.0).unwrap();
    assert_eq!(
        scene.define("more", TEMPERATURE),
        Err(Refusal::Full(KEYS_MAX))
    );
    let change = scene.programs.unset(1, "foreign").unwrap();
    scene.carry_out(change);
    scene.define("more", TEMPERATURE).unwrap();
    let full = scene.set(1, "foreign", 1.0);
    assert_eq!(full, Err(Refusal::Full(KEYS_MAX)));
}

#[test]
fn a_key_that_cannot_be_is_refused_with_the_reason() {
    let mut scene = Scene::new();
    let empty = KeySpec::new(Function::Sum, (1.0, 1.0), 0.0);
    let refused = scene.define("t", empty).unwrap_err().to_string();
    assert!(
        refused.starts_with("no key can be like this: the range is empty"),
        "{refused}"
    );
    let distinct = KeySpec::new(Function::Distinct, (0.0, 1.0), 0.0);
    assert_eq!(scene.define("t", distinct), Err(Refusal::Distinct));
}

#[test]
fn what_dicast_refused_is_not_in() {
    let mut scene = Scene::new();
    for key in 1..opus_dicast::aggregate::KEYS_MAX {
        scene.tell(Command::Spec {
            id: 1,
            key: KeyId(u16::try_from(key).unwrap()),
            spec: TEMPERATURE,
        });
    }
    let (_, change) = scene
        .programs
        .define("t", TEMPERATURE, &scene.dicast)
        .unwrap();
    let change = change.unwrap();
    while scene.dicast.poll_output().is_some() {}
    scene.tell(change.command(7));
    assert!(!change.is_in(NOW, scene.me, &scene.dicast));
    let outputs = std::iter::from_fn(|| scene.dicast.poll_output());
    let refused = Event::Refused {
        id: 7,
        reason: opus_dicast::Refusal::KeysFull,
    };
    let events = outputs.filter_map(|output| match output {
        opus_core::Output::Event(event) => Some(event),
        opus_core::Output::Send { .. }
        | opus_core::Output::Dial(_)
        | opus_core::Output::Release(_)
        | opus_core::Output::Penalise(..) => None,
    });
    assert_eq!(events.collect::<Vec<_>>(), [refused]);
}

#[test]
fn a_key_that_nobody_used_is_gone_and_makes_room() {
    let mut scene = Scene::new();
    for n in 0..KEYS_MAX {
        scene.define(&format!("key-{n}"), TEMPERATURE).unwrap();
    }
    let full = scene.define("more", TEMPERATURE);
    assert_eq!(full, Err(Refusal::Full(KEYS_MAX)));
    scene.set(1, "key-0", 1.0).unwrap();
    let until = NOW + opus_dicast::Config::default().key_unused * 2;
    while let Some(due) = scene.dicast.poll_timeout().filter(|due| due.at < until) {
        scene.dicast.handle_timeout(due.at);
        while scene.dicast.poll_output().is_some() {}
    }
    assert_eq!(scene.programs.look(&scene.dicast), []);
    let names = (0..KEYS_MAX).map(|n| number_of(&format!("key-{n}")).unwrap());
    let known: Vec<_> = names.map(|key| scene.programs.name_of(key)).collect();
    assert_eq!(known, [Some("key-0"), None, None, None]);
    assert!(scene.dicast.spec(number_of("key-0").unwrap()).is_some());
    let (_, change) = scene
        .programs
        .define("key-1", TEMPERATURE, &scene.dicast)
        .unwrap();
    scene
        .dicast
        .handle(until, Input::Command(change.unwrap().command(7)));
    assert!(scene.dicast.spec(number_of("key-1").unwrap()).is_some());
}
