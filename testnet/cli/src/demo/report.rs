//! The demo's summary and its HTML report.

use opus_lab::TreeReport;

use super::Figures;
use crate::{picture, say::put};

/// One line about a tree.
pub(super) fn tree_line(tree: &TreeReport) -> String {
    let rdp = tree.tree.rdp(&tree.matrix);
    format!(
        "tree of {}: RDP max {:.2} mean {:.2}, cost {:.2} x MST ({:.2} x central LAST)",
        tree.members.len(),
        rdp.max,
        rdp.mean,
        tree.cost_ms() / tree.mst_ms,
        tree.cost_ms() / tree.last_ms,
    )
}

/// Names the children of a node.
pub(super) fn children_of(tree: &TreeReport, node: usize) -> String {
    let row = tree.members.iter().position(|member| member.node == node);
    let children = row
        .map(|row| tree.tree.children()[row].clone())
        .unwrap_or_default();
    let names: Vec<_> = children
        .iter()
        .map(|&child| format!("n{}", tree.members[child].node))
        .collect();
    names.join(", ")
}

/// The summary: a label and a value a line.
fn rows(figures: &Figures) -> Vec<(&'static str, String)> {
    let delivered: u64 = figures
        .outcomes
        .iter()
        .map(|outcome| outcome.followed.ticks)
        .sum();
    let due = figures.sent * figures.outcomes.len() as u64;
    let duplicates: u64 = figures.outcomes.iter().map(|o| o.followed.duplicates).sum();
    let missing: u64 = figures.outcomes.iter().map(|o| o.followed.missing).sum();
    let rdp = figures.after.tree.rdp(&figures.after.matrix);
    let cost = figures.after.cost_ms() / figures.after.mst_ms;
    vec![
        ("frames sent", figures.sent.to_string()),
        (
            "frames delivered",
            format!(
                "{delivered} of {due} to {} receivers",
                figures.outcomes.len()
            ),
        ),
        ("missing", missing.to_string()),
        ("duplicates", duplicates.to_string()),
        (
            "RDP max, mean",
            format!("{:.3}, {:.3} (bound {})", rdp.max, rdp.mean, figures.alpha),
        ),
        ("network cost / MST", format!("{cost:.3}")),
        ("killed", format!("n{}", figures.killed)),
        (
            "repair time",
            format!("{} ms (longest silence)", figures.repair.as_millis()),
        ),
    ]
}

/// The summary as text.
pub(super) fn summary(figures: &Figures) -> String {
    let mut text = String::new();
    for (label, value) in rows(figures) {
        put(&mut text, format_args!("\n{label:>20}  {value}"));
    }
    text.push('\n');
    text
}

/// The report: one file without scripts or links.
pub(super) fn html(figures: &Figures) -> String {
    let mut table = String::new();
    for (label, value) in rows(figures) {
        put(
            &mut table,
            format_args!("<tr><th>{label}</th><td>{value}</td></tr>"),
        );
    }
    let mut receivers = String::new();
    for outcome in &figures.outcomes {
        let verdict = match &outcome.error {
            Some(error) => error.replace('<', "&lt;"),
            None if outcome.is_whole(figures.sent) => "whole".to_owned(),
            None => "NOT WHOLE".to_owned(),
        };
        let seen = &outcome.followed;
        put(
            &mut receivers,
            format_args!(
                "<tr><td>n{}</td><td>{}</td><td>{}</td><td>{}</td><td>{verdict}</td></tr>",
                outcome.node, seen.ticks, seen.missing, seen.duplicates
            ),
        );
    }
    format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Opus demo</title>\
         <style>{STYLE}</style><h1>Opus: the ticker on {} nodes</h1>\
         <p>Seed {}. Every node is a real one: libp2p, Noise, yamux, IPC; only the links are \
         emulated. The distance from the centre is the delay from the source over the tree.</p>\
         <table>{table}</table>\
         <div class=\"trees\"><figure>{}<figcaption>Before: {}</figcaption></figure>\
         <figure>{}<figcaption>After n{} was killed: {}</figcaption></figure></div>\
         <h2>Receivers</h2><table><tr><th>node</th><th>ticks</th><th>missing</th>\
         <th>duplicates</th><th></th></tr>{receivers}</table></html>\n",
        figures.nodes,
        figures.seed,
        picture::tree(&figures.before, Some(figures.killed)),
        tree_line(&figures.before),
        picture::tree(&figures.after, None),
        figures.killed,
        tree_line(&figures.after),
    )
}

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;margin:2em auto;max-width:70em;\
    color:#222;padding:0 1em}table{border-collapse:collapse;margin:1em 0}\
    th,td{text-align:left;padding:.2em .8em;border-bottom:1px solid #ddd}\
    .trees{display:flex;flex-wrap:wrap;gap:1em}figure{margin:0;flex:1 1 24em}\
    figcaption{font-size:13px;color:#555}";
