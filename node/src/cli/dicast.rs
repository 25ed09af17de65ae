//! `dicast`: the tree as the node knows it, and what is known of the whole.

use std::io::{self, Write};

use opus_ipc::message::{
    Answer, ClusterLine, DicastShow, DicastView, KeyLine, KeyName, PartLine, Scope, SeatLine, Tree,
    View,
};

use super::{
    args::{DicastArgs, DicastVerb, Global},
    connect::connect,
    exit::{Exit, Failure},
    keys,
    output::{Output, duration, table},
};

/// The tree and all keys; or one key, if it is named. Or a verb about keys of one's own.
pub(super) async fn dicast(
    global: &Global,
    args: &DicastArgs,
    output: &mut Output,
) -> Result<Exit, Failure> {
    let one = args.key.is_some() || args.scope.is_some() || args.level.is_some() || args.parts;
    if one && args.verb.is_some() {
        let message = "dicast: KEY, --scope, --level and --parts do not go with define or set";
        return Err(Failure::usage(message).help("opus-node dicast --help"));
    }
    match &args.verb {
        Some(DicastVerb::Define(args)) => return keys::define(global, args, output).await,
        Some(DicastVerb::Set(args)) => return keys::set(global, args, output).await,
        None => {}
    }
    let client = connect(global).await?;
    if !one {
        let tree = client.call(&DicastShow {}).await?;
        output.result(&tree, |to| show_tree(to, &tree))?;
        return Ok(Exit::Done);
    }
    let level = args.level;
    let scope = args.scope.map(Scope::from);
    let params = DicastView {
        key: args.key.as_deref().map(key_name),
        scope: scope.or(level.map(|_| Scope::Above)),
        level,
        parts: args.parts.then_some(true),
    };
    let view = client.call(&params).await?;
    output.result(&view, |to| show_view(to, &view))?;
    Ok(Exit::Done)
}

/// Digits are a key's number, all else is a name.
fn key_name(text: &str) -> KeyName {
    text.parse()
        .map_or_else(|_| KeyName::Name(text.to_owned()), KeyName::Number)
}

/// How many nodes there are, in words.
pub(super) fn counted(nodes: &Answer) -> String {
    let bounds = if nodes.lo < nodes.hi {
        format!(" (from {} to {})", nodes.lo, nodes.hi)
    } else {
        String::new()
    };
    let missing = if nodes.missing > 0 {
        format!(", {} more not heard of", nodes.missing)
    } else {
        String::new()
    };
    let age = duration(nodes.age_ms);
    format!("{}{bounds}{missing}, as of {age} ago", nodes.v)
}

fn show_tree(to: &mut dyn Write, tree: &Tree) -> io::Result<()> {
    let Some(cluster) = &tree.cluster else {
        return writeln!(to, "no seat in a tree yet");
    };
    let nodes = tree.keys.iter().find(|line| line.key == 0);
    if let Some(nodes) = nodes.and_then(|line| line.root.as_ref()) {
        writeln!(to, "nodes    {}", counted(nodes))?;
    }
    writeln!(
        to,
        "cluster  {} epoch {}: level {} of {}",
        cluster.id,
        cluster.epoch,
        cluster.level,
        tree.path.last().map_or(cluster.level, |root| root.level)
    )?;
    for post in &tree.posts {
        let seats = post.seats.unwrap_or_default();
        writeln!(
            to,
            "agent    of {} level {}: {seats} seats",
            post.id, post.level
        )?;
    }
    writeln!(to)?;
    show_seats(to, &tree.members)?;
    if !tree.path.is_empty() {
        writeln!(to)?;
        show_path(to, &tree.path)?;
    }
    writeln!(to)?;
    show_keys(to, &tree.keys)
}

fn show_seats(to: &mut dyn Write, seats: &[SeatLine]) -> io::Result<()> {
    let head = ["SEAT", "ROLE", "DIALLED", "SITE", "PEER"].map(str::to_owned);
    let rows = seats.iter().map(|seat| {
        let dialled = if seat.fit { "yes" } else { "no" };
        // Enough of the label to see who belongs together.
        let site = seat.label.as_deref().and_then(|label| label.get(..8));
        vec![
            seat.slot.to_string(),
            seat.role.clone(),
            dialled.to_owned(),
            site.unwrap_or("-").to_owned(),
            seat.peer.clone(),
        ]
    });
    let rows: Vec<Vec<String>> = std::iter::once(head.to_vec()).chain(rows).collect();
    table(to, &rows)
}

fn show_path(to: &mut dyn Write, path: &[ClusterLine]) -> io::Result<()> {
    let head = ["LEVEL", "CLUSTER", "EPOCH", "AGENT"].map(str::to_owned);
    let rows = path.iter().map(|above| {
        vec![
            above.level.to_string(),
            above.id.clone(),
            above.epoch.to_string(),
            above.agent.clone(),
        ]
    });
    let rows: Vec<Vec<String>> = std::iter::once(head.to_vec()).chain(rows).collect();
    table(to, &rows)
}

fn show_keys(to: &mut dyn Write, keys: &[KeyLine]) -> io::Result<()> {
    let head = [
        "KEY", "OF ALL", "VALUE", "AT LEAST", "AT MOST", "NODES", "MISSING", "AGE", "CLUSTER",
        "OWN",
    ];
    let rows = keys.iter().map(|line| {
        let mut row = vec![
            name_of(line.key, line.name.as_deref()),
            line.function.clone(),
        ];
        match &line.root {
            Some(root) => row.extend([
                number(root.v),
                number(root.lo),
                number(root.hi),
                root.count.to_string(),
                root.missing.to_string(),
                duration(root.age_ms),
            ]),
            None => row.extend(["-"; 6].map(str::to_owned)),
        }
        let maybe = |v: Option<f64>| v.map_or_else(|| "-".to_owned(), number);
        row.push(maybe(line.cluster.as_ref().map(|answer| answer.v)));
        row.push(maybe(line.own));
        row
    });
    let head = head.map(str::to_owned).to_vec();
    let rows: Vec<Vec<String>> = std::iter::once(head).chain(rows).collect();
    table(to, &rows)
}

fn show_view(to: &mut dyn Write, view: &View) -> io::Result<()> {
    let Answer { v, lo, hi, .. } = view.answer;
    let name = name_of(view.key, view.name.as_deref());
    let scope = match (view.scope, view.level) {
        (Scope::Own, _) => "this node".to_owned(),
        (Scope::Cluster, _) => "its cluster".to_owned(),
        (Scope::Above, level) => format!("its cluster of level {}", level.unwrap_or(1)),
        (Scope::Root, _) => "the whole".to_owned(),
    };
    writeln!(to, "{name} of {scope}: {}", number(v))?;
    let kind = if view.answer.hard { "" } else { ", estimated" };
    writeln!(to, "  between  {} and {}{kind}", number(lo), number(hi))?;
    writeln!(
        to,
        "  for      {} nodes; {} known ones left out, {} perhaps twice",
        view.answer.count, view.answer.missing, view.answer.double
    )?;
    writeln!(to, "  age      {} at most", duration(view.answer.age_ms))?;
    for line in view.top.iter().flatten() {
        writeln!(to, "  node     {}: {}", line.node, number(line.v))?;
    }
    for line in view.quantiles.iter().flatten() {
        let (v, lo, hi) = (number(line.v), number(line.lo), number(line.hi));
        writeln!(to, "  {:>3.0} %    {v} ({lo} to {hi})", line.share * 100.0)?;
    }
    match view.parts.as_deref() {
        None => Ok(()),
        Some([]) => writeln!(to, "\nnothing is known of any neighbour yet"),
        Some(parts) => {
            writeln!(to)?;
            show_parts(to, parts)
        }
    }
}

/// The neighbours, as they came: the nearest level first.
fn show_parts(to: &mut dyn Write, parts: &[PartLine]) -> io::Result<()> {
    let head = [
        "LEVEL", "SEAT", "VALUE", "AT LEAST", "AT MOST", "NODES", "MISSING", "AGE", "PEER",
    ];
    let rows = parts.iter().map(|part| {
        let answer = &part.answer;
        vec![
            part.level.to_string(),
            part.seat.to_string(),
            number(answer.v),
            number(answer.lo),
            number(answer.hi),
            answer.count.to_string(),
            answer.missing.to_string(),
            duration(answer.age_ms),
            part.peer.clone().unwrap_or_else(|| "-".to_owned()),
        ]
    });
    let head = head.map(str::to_owned).to_vec();
    let rows: Vec<Vec<String>> = std::iter::once(head).chain(rows).collect();
    table(to, &rows)
}

fn name_of(key: u16, name: Option<&str>) -> String {
    name.map_or_else(|| key.to_string(), str::to_owned)
}

/// At most four decimals, and none that say nothing.
fn number(value: f64) -> String {
    let text = format!("{value:.4}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: Answer = Answer {
        v: 0.25,
        lo: 0.24,
        hi: 0.26,
        hard: true,
        count: 12,
        missing: 1,
        double: 0,
        age_ms: 1_500,
    };

    #[test]
    fn digits_are_a_number_and_all_else_is_a_name() {
        assert_eq!(key_name("40"), KeyName::Number(40));
        assert_eq!(key_name("load"), KeyName::Name("load".to_owned()));
        assert_eq!(key_name("70000"), KeyName::Name("70000".to_owned()));
    }

    #[test]
    fn a_count_that_is_not_sure_says_so() {
        let sure = Answer {
            v: 12.0,
            lo: 12.0,
            hi: 12.0,
            missing: 0,
            ..ANSWER
        };
        assert_eq!(counted(&sure), "12, as of 1.5 s ago");
        let unsure = Answer {
            lo: 10.0,
            missing: 2,
            ..sure
        };
        assert_eq!(
            counted(&unsure),
            "12 (from 10 to 12), 2 more not heard of, as of 1.5 s ago"
        );
    }

    #[test]
    fn an_answer_stands_with_its_bounds() {
        let view = View {
            key: 3,
            name: Some("load".to_owned()),
            scope: Scope::Above,
            level: Some(2),
            answer: ANSWER,
            top: None,
            quantiles: None,
            parts: None,
        };
        let text = shown(&view);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "load of its cluster of level 2: 0.25");
        assert_eq!(lines[1], "  between  0.24 and 0.26");
        assert!(lines[2].contains("12 nodes; 1 known ones left out"));
    }

    fn shown(view: &View) -> String {
        let mut text = Vec::new();
        show_view(&mut text, view).unwrap();
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn neighbours_stand_in_a_table_below_the_answer_the_nearest_first() {
        let part = |level, seat, peer: Option<&str>| PartLine {
            level,
            seat,
            peer: peer.map(str::to_owned),
            answer: ANSWER,
        };
        let parts = vec![part(0, 7, Some("12D3KooW")), part(1, 2, None)];
        let mut view = View {
            key: 3,
            name: Some("load".to_owned()),
            scope: Scope::Root,
            level: None,
            answer: ANSWER,
            top: None,
            quantiles: None,
            parts: Some(parts),
        };
        let text = shown(&view);
        let (answer, table) = text.split_once("\n\n").unwrap();
        assert!(answer.starts_with("load of the whole: 0.25\n"));
        let words =
            |line: &str| -> Vec<String> { line.split_whitespace().map(str::to_owned).collect() };
        let rows: Vec<Vec<String>> = table.lines().map(words).collect();
        assert_eq!(rows[1][..4], ["0", "7", "0.25", "0.24"]);
        assert_eq!(rows[1].last().unwrap(), "12D3KooW");
        assert_eq!(rows[2][..2], ["1", "2"]);
        assert_eq!(rows[2].last().unwrap(), "-");
        view.parts = Some(Vec::new());
        assert!(shown(&view).ends_with("\nnothing is known of any neighbour yet\n"));
    }

    #[test]
    fn a_node_without_a_seat_says_so() {
        let tree = Tree {
            cluster: None,
            members: Vec::new(),
            path: Vec::new(),
            posts: Vec::new(),
            keys: Vec::new(),
        };
        let mut text = Vec::new();
        show_tree(&mut text, &tree).unwrap();
        assert_eq!(String::from_utf8(text).unwrap(), "no seat in a tree yet\n");
    }
}
