//! The report of a run: one HTML file without scripts, pictures inside.

use opus_lab::{TreeReport, TreeView};
use opus_model::{Stretch, Tree, last, mst};
use opus_sim::{
    Outcome, Spread,
    outcome::Row,
    spreads,
    tree::{Claim, chain},
};

use super::{
    Plan,
    chart::{Line, chart},
};
use crate::picture;

pub(super) const STYLE: &str = "\
body{font:15px/1.5 sans-serif;max-width:60em;margin:2em auto;color:#222}\
table{border-collapse:collapse}td,th{padding:.15em .8em;text-align:right;border-bottom:1px solid \
#e3e7ec}td:first-child,th:first-child{text-align:left}.bad{color:#c0392b}pre{background:#f4f6f8;\
padding:.8em;overflow:auto;font-size:12px}svg{max-width:100%}";

/// The report over all seeds; pictures are of the first one.
pub(super) fn html(plan: &Plan, outcomes: &[Outcome]) -> String {
    let scenario = &plan.scenario;
    let mut html = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>{name}</title>\
         <style>{STYLE}</style><h1>{name}</h1><p>{claim}</p><p>{topology}, {duration} virtual \
         seconds, alpha {alpha}, seeds {seeds:?}.</p>",
        name = escaped(&scenario.name),
        claim = escaped(&scenario.claim),
        topology = escaped(&scenario.topology.to_string()),
        duration = scenario.duration_s,
        alpha = scenario.app.alpha,
        seeds = scenario.seeds,
    );
    verdict(&mut html, outcomes);
    figures(&mut html, outcomes);
    if let Some(first) = outcomes.first() {
        let seed = first.seed;
        html.push_str("<h2>The tree at the end</h2>");
        match tree(plan, first) {
            Some(tree) => html.push_str(&picture::tree(&tree, None)),
            None => html.push_str("<p>The root has no members.</p>"),
        }
        push(
            &mut html,
            &format!("<p>Seed {seed}. The radius is the delay over the tree.</p>"),
        );
        html.push_str("<h2>Over time</h2>");
        over_time(&mut html, "cost of the tree, ms", &first.history, |row| {
            row.cost
        });
        over_time(
            &mut html,
            "members without a way to the root",
            &first.history,
            |row| row.unattached as f64,
        );
        over_time(&mut html, "members over the bound", &first.history, |row| {
            row.violators as f64
        });
        over_time(
            &mut html,
            "largest relative delay penalty",
            &first.history,
            |row| row.max_rdp,
        );
    }
    broken(&mut html, outcomes);
    html.push_str("</html>\n");
    html
}

fn push(html: &mut String, text: &str) {
    html.push_str(text);
}

fn verdict(html: &mut String, outcomes: &[Outcome]) {
    let failed = outcomes
        .iter()
        .filter(|outcome| !outcome.expect_failed.is_empty())
        .count();
    if failed == 0 {
        html.push_str("<p><b>All that the scenario expects holds, for every seed.</b></p>");
        return;
    }
    push(
        html,
        &format!(
            "<p class=\"bad\"><b>{failed} of {} seeds fail.</b></p><table><tr><th>seed<th>\
             expectation<th>expected<th>got",
            outcomes.len()
        ),
    );
    for outcome in outcomes {
        for failed in &outcome.failed {
            push(
                html,
                &format!(
                    "<tr><td>{}<td>{}<td>{}<td>{}",
                    outcome.seed,
                    failed.name,
                    escaped(&failed.expected),
                    escaped(&failed.got)
                ),
            );
        }
    }
    html.push_str("</table>");
}

fn figures(html: &mut String, outcomes: &[Outcome]) {
    html.push_str("<h2>Figures</h2><table><tr><th>figure<th>median<th>worst");
    for Spread {
        name,
        median,
        worst,
    } in spreads(outcomes)
    {
        push(
            html,
            &format!("<tr><td>{name}<td>{median:.4}<td>{worst:.4}"),
        );
    }
    html.push_str("</table>");
}

/// The claimed tree of an outcome, over the members that the root reaches.
fn tree(plan: &Plan, outcome: &Outcome) -> Option<TreeReport> {
    let topology = opus_sim::topology(&plan.scenario, &plan.delays, outcome.seed).ok()?;
    let claims: Vec<Option<Claim>> = outcome
        .parent
        .iter()
        .enumerate()
        .map(|(node, &parent)| {
            let member = parent.is_some() || node == outcome.root;
            member.then(|| Claim {
                parent,
                ..Claim::default()
            })
        })
        .collect();
    let reached = |&node: &usize| chain(&claims, node, outcome.root).is_some();
    let rest = (0..outcome.nodes)
        .filter(|&node| node != outcome.root)
        .filter(reached);
    let nodes: Vec<usize> = std::iter::once(outcome.root).chain(rest).collect();
    let row = |node: usize| nodes.iter().position(|&other| other == node);
    let parents = nodes
        .iter()
        .map(|&node| outcome.parent[node].and_then(row))
        .collect();
    let tree = Tree::new(parents).ok()?;
    let matrix = topology.to_matrix().ok()?.restricted_to(&nodes).ok()?;
    let view = |&node: &usize| TreeView {
        node,
        parent: outcome.parent[node],
        delay_us: 0,
        direct_us: None,
    };
    let alpha = Stretch::new(outcome.alpha?).ok()?;
    Some(TreeReport {
        members: nodes.iter().map(view).collect(),
        unattached: Vec::new(),
        mst_ms: mst(&matrix, 0).cost(&matrix),
        last_ms: last(&matrix, 0, alpha).cost(&matrix),
        matrix,
        tree,
    })
}

fn over_time(html: &mut String, title: &str, history: &[Row], value: impl Fn(&Row) -> f64) {
    let points = history.iter();
    let points = points.map(|row| (f64::from(row.at_s), Some(value(row))));
    let line = Line {
        name: title,
        points: points.collect(),
    };
    chart(html, title, &[line]);
}

fn broken(html: &mut String, outcomes: &[Outcome]) {
    let failures: Vec<_> = outcomes
        .iter()
        .flat_map(|outcome| &outcome.broken)
        .collect();
    if failures.is_empty() {
        return;
    }
    html.push_str("<h2>Broken invariants</h2>");
    for failure in failures {
        push(
            html,
            &format!("<pre>{}</pre>", escaped(&failure.to_string())),
        );
    }
}

pub(super) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_a_file_cannot_become_markup() {
        assert_eq!(escaped("a<b & c>d"), "a&lt;b &amp; c&gt;d");
    }
}
