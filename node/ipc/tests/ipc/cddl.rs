//! As much of CDDL (RFC 8610) as the protocol's description uses, to check vectors against it.
//!
//! The crate `cddl` 0.10 panics on byte strings where a choice holds text literals, takes 0.3 s a
//! value here, and its newer versions cannot be resolved beside libp2p; hence by hand.

use std::collections::BTreeMap;

use cbor4ii::core::Value;

/// A parsed description.
#[derive(Debug)]
pub(crate) struct Schema {
    rules: BTreeMap<String, Rule>,
}

#[derive(Clone, Debug)]
enum Rule {
    Type(Type),
    Group(Vec<Entry>),
}

#[derive(Clone, Debug)]
enum Type {
    Choice(Vec<Type>),
    Name(String),
    Number(i128),
    Text(String),
    Range(i128, i128),
    Size(Box<Type>, usize),
    Array(Vec<Entry>),
    Map(Vec<Entry>),
}

#[derive(Clone, Debug)]
struct Entry {
    /// Least and most occurrences.
    occurs: (usize, usize),
    key: Key,
    value: Type,
}

#[derive(Clone, Debug)]
enum Key {
    None,
    Named(String),
    Any(Type),
}

impl Schema {
    pub(crate) fn parse(text: &str) -> Self {
        let mut parser = Parser {
            tokens: tokens(text),
            at: 0,
        };
        let mut rules = BTreeMap::new();
        while parser.at < parser.tokens.len() {
            let name = parser.next();
            parser.expect("=");
            let rule = if parser.eat("(") {
                Rule::Group(parser.group(")"))
            } else {
                Rule::Type(parser.choice())
            };
            let before = rules.insert(name.clone(), rule);
            assert!(before.is_none(), "two rules for {name}");
        }
        Self { rules }
    }

    /// Whether `value` obeys the rule `name`. Errors: where it does not, and why.
    pub(crate) fn obeys(&self, name: &str, value: &Value) -> Result<(), String> {
        self.matches(&Type::Name(name.to_owned()), value)
    }

    fn matches(&self, rule: &Type, value: &Value) -> Result<(), String> {
        let fits = match (rule, value) {
            (Type::Choice(choices), _) => {
                let tried = choices.iter().map(|choice| self.matches(choice, value));
                let mut errors = Vec::new();
                for result in tried {
                    match result {
                        Ok(()) => return Ok(()),
                        Err(error) => errors.push(error),
                    }
                }
                return Err(errors.join(" | "));
            }
            (Type::Name(name), _) => return self.named(name, value),
            (Type::Number(number), Value::Integer(found)) => number == found,
            (Type::Range(low, high), Value::Integer(found)) => (low..=high).contains(&found),
            (Type::Text(text), Value::Text(found)) => text == found,
            (Type::Size(inner, size), Value::Bytes(bytes)) => {
                self.matches(inner, value)?;
                bytes.len() == *size
            }
            (Type::Array(entries), Value::Array(items)) => return self.array(entries, items),
            (Type::Map(entries), Value::Map(map)) => return self.map(entries, map),
            _ => false,
        };
        if fits {
            Ok(())
        } else {
            Err(format!("{value:?} is not {rule:?}"))
        }
    }

    fn named(&self, name: &str, value: &Value) -> Result<(), String> {
        let fits = match name {
            "any" => true,
            "uint" => matches!(value, Value::Integer(0..)),
            "int" => matches!(value, Value::Integer(_)),
            "float" => matches!(value, Value::Float(_)),
            "bool" => matches!(value, Value::Bool(_)),
            "true" => matches!(value, Value::Bool(true)),
            "null" => matches!(value, Value::Null),
            "tstr" => matches!(value, Value::Text(_)),
            "bstr" | "bytes" => matches!(value, Value::Bytes(_)),
            _ => match self.rules.get(name) {
                Some(Rule::Type(rule)) => return self.matches(rule, value),
                _ => return Err(format!("no rule {name}")),
            },
        };
        if fits {
            Ok(())
        } else {
            Err(format!("{value:?} is not {name}"))
        }
    }

    fn array(&self, entries: &[Entry], items: &[Value]) -> Result<(), String> {
        let mut left = items;
        for entry in entries {
            let mut count = 0;
            let mut why = String::new();
            while count < entry.occurs.1
                && let Some((first, rest)) = left.split_first()
            {
                match self.matches(&entry.value, first) {
                    Ok(()) => (left, count) = (rest, count + 1),
                    Err(error) => {
                        why = error;
                        break;
                    }
                }
            }
            if count < entry.occurs.0 {
                return Err(format!("element {}: {why}", items.len() - left.len()));
            }
        }
        if left.is_empty() {
            Ok(())
        } else {
            Err(format!("{} elements too many", left.len()))
        }
    }

    fn map(&self, entries: &[Entry], map: &[(Value, Value)]) -> Result<(), String> {
        let entries = self.inlined(entries);
        let mut taken = vec![false; map.len()];
        for entry in &entries {
            let Key::Named(name) = &entry.key else {
                continue;
            };
            let found = map
                .iter()
                .position(|(key, _)| *key == Value::Text(name.clone()));
            match found {
                Some(at) => {
                    taken[at] = true;
                    let result = self.matches(&entry.value, &map[at].1);
                    result.map_err(|error| format!("{name}: {error}"))?;
                }
                None if entry.occurs.0 > 0 => return Err(format!("{name} is missing")),
                None => {}
            }
        }
        for (at, (key, value)) in map.iter().enumerate() {
            let open = |entry: &&Entry| match &entry.key {
                Key::Any(rule) => {
                    self.matches(rule, key).is_ok() && self.matches(&entry.value, value).is_ok()
                }
                Key::None | Key::Named(_) => false,
            };
            if !taken[at] && entries.iter().find(open).is_none() {
                return Err(format!("{key:?} is not foreseen"));
            }
        }
        Ok(())
    }

    fn inlined(&self, entries: &[Entry]) -> Vec<Entry> {
        let inline = |entry: &Entry| match (&entry.key, &entry.value) {
            (Key::None, Type::Name(name)) => match self.rules.get(name) {
                Some(Rule::Group(group)) => group.clone(),
                _ => panic!("{name} is no group"),
            },
            _ => vec![entry.clone()],
        };
        entries.iter().flat_map(inline).collect()
    }
}

fn tokens(text: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    for line in text.lines() {
        let mut rest = line;
        loop {
            rest = rest.trim_start();
            let Some(first) = rest.chars().next() else {
                break;
            };
            let length = match first {
                ';' => break,
                '"' => rest[1..].find('"').expect("a text ends on its line") + 2,
                _ if rest.starts_with("=>") || rest.starts_with("..") => 2,
                '.' => 1 + word(&rest[1..], false),
                '0'..='9' => rest
                    .find(|c: char| !c.is_ascii_digit())
                    .unwrap_or(rest.len()),
                _ if first.is_ascii_alphabetic() => word(rest, true),
                _ => 1,
            };
            tokens.push(rest[..length].to_owned());
            rest = &rest[length..];
        }
    }
    tokens
}

fn word(text: &str, dots: bool) -> usize {
    let part = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c) || dots && c == '.';
    text.find(|c: char| !part(c)).unwrap_or(text.len())
}

struct Parser {
    tokens: Vec<String>,
    at: usize,
}

impl Parser {
    fn choice(&mut self) -> Type {
        let mut choices = vec![self.one()];
        while self.eat("/") {
            choices.push(self.one());
        }
        match choices.len() {
            1 => choices.remove(0),
            _ => Type::Choice(choices),
        }
    }

    fn one(&mut self) -> Type {
        let token = self.next();
        let rule = match token.as_str() {
            "[" => Type::Array(self.group("]")),
            "{" => Type::Map(self.group("}")),
            text if text.starts_with('"') => Type::Text(text.trim_matches('"').to_owned()),
            other => match other.parse() {
                Ok(number) => Type::Number(number),
                Err(_) => Type::Name(other.to_owned()),
            },
        };
        if self.eat("..") {
            let high = self.next().parse().expect("a range ends with a number");
            match rule {
                Type::Number(low) => Type::Range(low, high),
                other => panic!("a range begins with {other:?}"),
            }
        } else if self.eat(".size") {
            let size = self.next().parse().expect("a size is a number");
            Type::Size(Box::new(rule), size)
        } else {
            rule
        }
    }

    fn group(&mut self, end: &str) -> Vec<Entry> {
        let mut entries = Vec::new();
        while !self.eat(end) {
            let occurs = if self.eat("?") {
                (0, 1)
            } else if self.eat("*") {
                (0, usize::MAX)
            } else if self.eat("+") {
                (1, usize::MAX)
            } else {
                (1, 1)
            };
            let first = self.choice();
            let (key, value) = if self.eat(":") {
                match first {
                    Type::Name(name) => (Key::Named(name), self.choice()),
                    other => panic!("a key that is {other:?}"),
                }
            } else if self.eat("=>") {
                (Key::Any(first), self.choice())
            } else {
                (Key::None, first)
            };
            entries.push(Entry { occurs, key, value });
            if !self.eat(",") {
                self.expect(end);
                break;
            }
        }
        entries
    }

    fn next(&mut self) -> String {
        self.at += 1;
        self.tokens[self.at - 1].clone()
    }

    fn eat(&mut self, token: &str) -> bool {
        let found = self.tokens.get(self.at).is_some_and(|found| found == token);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, token: &str) {
        let found = self.next();
        assert_eq!(found, token, "token {}", self.at);
    }
}

#[test]
fn the_subset_is_understood() {
    let text = "a = [1, b: b, * tstr] ; x\n\
                b = {n: 1..3, ? s: bytes .size 2, y} / null\n\
                y = (* tstr => any)";
    let schema = Schema::parse(text);
    let text = |text: &str| Value::Text(text.to_owned());
    let map = |n, more: Option<Value>| {
        let mut map = vec![(text("n"), Value::Integer(n)), (text("z"), Value::Null)];
        map.extend(more.map(|value| (text("s"), value)));
        Value::Map(map)
    };
    let array = |b| Value::Array(vec![Value::Integer(1), b, text("t"), text("u")]);
    for good in [
        map(3, None),
        map(1, Some(Value::Bytes(vec![0, 1]))),
        Value::Null,
    ] {
        assert_eq!(schema.obeys("a", &array(good)), Ok(()));
    }
    for bad in [
        map(4, None),
        map(1, Some(Value::Bytes(vec![0]))),
        Value::Map(vec![]),
    ] {
        assert!(schema.obeys("a", &array(bad.clone())).is_err(), "{bad:?}");
    }
}
