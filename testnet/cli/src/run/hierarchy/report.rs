//! The report of a scenario of the hierarchy: one HTML file without scripts, pictures inside.

use anyhow::Context;
use opus_sim::{DicastOutcome, DicastScenario, Moment};

use super::super::{
    chart::{Line, chart},
    report::{STYLE, escaped},
};
use crate::say::put;

/// The report over all runs, each with its pictures. Errors: a figure is not finite.
pub(super) fn html(scenario: &DicastScenario, runs: &[&DicastOutcome]) -> anyhow::Result<String> {
    let mut html = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>{name}</title>\
         <style>{STYLE}</style><h1>{name}</h1><p>{claim}</p><p>{duration} virtual seconds, loss \
         {loss}, seeds {seeds:?}.</p>",
        name = escaped(&scenario.name),
        claim = escaped(&scenario.claim),
        duration = scenario.duration_s,
        loss = scenario.loss,
        seeds = scenario.seeds,
    );
    for run in runs {
        put(
            &mut html,
            format_args!("<h2>{} nodes, seed {}</h2>", run.nodes, run.seed),
        );
        verdict(&mut html, run);
        pictures(&mut html, &run.history);
        figures(&mut html, run)?;
    }
    html.push_str("</html>\n");
    Ok(html)
}

fn verdict(html: &mut String, run: &DicastOutcome) {
    if run.expect_failed.is_empty() {
        html.push_str("<p><b>All that the scenario expects of this run holds.</b></p>");
    } else {
        put(
            html,
            format_args!(
                "<p class=\"bad\"><b>Does not hold: {}.</b></p>",
                run.expect_failed.join(", ")
            ),
        );
    }
}

fn figures(html: &mut String, run: &DicastOutcome) -> anyhow::Result<()> {
    let value = serde_json::to_value(run).context("the result is not finite")?;
    html.push_str("<table><tr><th>figure<th>value");
    for (name, figure) in value.as_object().into_iter().flatten() {
        let figure = escaped(&figure.to_string());
        put(html, format_args!("<tr><td>{name}<td>{figure}"));
    }
    html.push_str("</table>");
    Ok(())
}

fn pictures(html: &mut String, history: &[Moment]) {
    pictures_of_answers(html, history);
    pictures_of_nodes(html, history);
}

type Figure = fn(&Moment) -> Option<f64>;

fn line_of(history: &[Moment], name: &'static str, value: Figure) -> Line<'static> {
    let point = |row: &Moment| (row.at_s as f64, value(row));
    let points = history.iter().map(point).collect();
    Line { name, points }
}

fn pictures_of_answers(html: &mut String, history: &[Moment]) {
    let line = |name, value| line_of(history, name, value);
    chart(
        html,
        "bytes sent by the mean node in a second",
        &[line("mean", |row| Some(row.sent_mean))],
    );
    chart(
        html,
        "bytes sent or received by the worst node in a second",
        &[line("worst", |row| Some(row.traffic_max as f64))],
    );
    chart(
        html,
        "age of the answers for the load at the root, seconds",
        &[
            line("median", |row| row.age_s.map(|it| it.0)),
            line("99th percentile", |row| row.age_s.map(|it| it.1)),
        ],
    );
    chart(
        html,
        "distance of these answers from the truth of the moment, over the tolerance",
        &[
            line("median", |row| row.error_over_eps.map(|it| it.0)),
            line("99th percentile", |row| row.error_over_eps.map(|it| it.1)),
        ],
    );
    chart(
        html,
        "half their width, over the tolerance",
        &[
            line("median", |row| row.half_width_over_eps.map(|it| it.0)),
            line("99th percentile", |row| {
                row.half_width_over_eps.map(|it| it.1)
            }),
        ],
    );
}

fn pictures_of_nodes(html: &mut String, history: &[Moment]) {
    let line = |name, value| line_of(history, name, value);
    chart(
        html,
        "nodes",
        &[
            line("running", |row| Some(row.alive as f64)),
            line("of these not covered", |row| {
                Some((row.alive - row.covered) as f64)
            }),
            line("seats of the dead", |row| Some(row.dead_seats as f64)),
        ],
    );
    chart(
        html,
        "share of the running nodes that is covered",
        &[line("covered", |row| {
            Some(row.covered as f64 / row.alive.max(1) as f64)
        })],
    );
    chart(
        html,
        "trees; nodes with two seats; nodes with none",
        &[
            line("trees", |row| Some(row.roots as f64)),
            line("two seats", |row| Some(row.seated_twice as f64)),
            line("none", |row| Some(row.unseated as f64)),
        ],
    );
}

/// A row a second of each run.
pub(super) fn history(runs: &[&DicastOutcome]) -> String {
    let mut csv = String::from(
        "nodes,seed,at_s,alive,covered,roots,dead_seats,unseated,seated_twice,sent_mean,\
         traffic_max,age_s_p50,age_s_p99,half_width_over_eps_p50,half_width_over_eps_p99,\
         error_over_eps_p50,error_over_eps_p99\n",
    );
    for run in runs {
        for row in &run.history {
            put(
                &mut csv,
                format_args!(
                    "{},{},{},{},{},{},{},{},{},{:.1},{}",
                    run.nodes,
                    run.seed,
                    row.at_s,
                    row.alive,
                    row.covered,
                    row.roots,
                    row.dead_seats,
                    row.unseated,
                    row.seated_twice,
                    row.sent_mean,
                    row.traffic_max
                ),
            );
            for pair in [row.age_s, row.half_width_over_eps, row.error_over_eps] {
                match pair {
                    Some((middle, most)) => put(&mut csv, format_args!(",{middle:.4},{most:.4}")),
                    None => csv.push_str(",,"),
                }
            }
            csv.push('\n');
        }
    }
    csv
}
