//! Trees as SVG: the distance from the centre is the delay from the root over the tree.

use std::f64::consts::TAU;

use opus_lab::TreeReport;

use crate::say::put;

/// Half the side of the picture, and the radius of the farthest node.
const HALF: f64 = 260.0;
const RADIUS: f64 = 225.0;

/// A drawn tree; `marked` is the node to draw as struck.
pub(crate) fn tree(report: &TreeReport, marked: Option<usize>) -> String {
    let delays = report.tree.delays_ms(&report.matrix);
    let farthest = delays.iter().copied().fold(1.0, f64::max);
    let places = places(report, &delays, farthest);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"{:.0} {:.0} {:.0} {:.0}\" \
         role=\"img\" font-family=\"sans-serif\" font-size=\"11\">",
        -HALF,
        -HALF,
        2.0 * HALF,
        2.0 * HALF
    );
    rings(&mut svg, farthest);
    for (row, parent) in report.tree.parents().iter().enumerate() {
        if let Some(parent) = *parent {
            let ((x, y), (px, py)) = (places[row], places[parent]);
            put(
                &mut svg,
                format_args!(
                    "<line x1=\"{px:.1}\" y1=\"{py:.1}\" x2=\"{x:.1}\" y2=\"{y:.1}\" \
                 stroke=\"#7a8899\" stroke-width=\"1.5\"/>"
                ),
            );
        }
    }
    let rdps = report.tree.rdps(&report.matrix);
    for (row, member) in report.members.iter().enumerate() {
        let (x, y) = places[row];
        let colour = match (row, marked == Some(member.node)) {
            (_, true) => "#c0392b",
            (0, false) => "#1f5f99",
            (_, false) => "#4c9f70",
        };
        let rdp = rdps[row].map_or_else(String::new, |rdp| format!(", RDP {rdp:.2}"));
        put(
            &mut svg,
            format_args!(
                "<g><title>n{node}: {delay:.1} ms over the tree{rdp}</title>\
             <circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"7\" fill=\"{colour}\" stroke=\"#fff\"/>\
             <text x=\"{tx:.1}\" y=\"{ty:.1}\" fill=\"#333\">n{node}</text></g>",
                node = member.node,
                delay = delays[row],
                tx = x + 9.0,
                ty = y + 4.0,
            ),
        );
    }
    svg.push_str("</svg>");
    svg
}

/// Circles of equal delay.
fn rings(svg: &mut String, farthest: f64) {
    let step = [5.0, 10.0, 20.0, 50.0, 100.0, 200.0]
        .into_iter()
        .find(|step| farthest / step <= 5.0);
    let step = step.unwrap_or(500.0);
    let mut delay = step;
    while delay <= farthest {
        let radius = RADIUS * delay / farthest;
        put(
            svg,
            format_args!(
                "<circle r=\"{radius:.1}\" fill=\"none\" stroke=\"#e3e7ec\"/>\
             <text x=\"3\" y=\"{:.1}\" fill=\"#9aa5b1\">{delay:.0} ms</text>",
                3.0 - radius
            ),
        );
        delay += step;
    }
}

/// Each branch gets an angle in proportion to its leaves; the radius is the delay.
fn places(report: &TreeReport, delays: &[f64], farthest: f64) -> Vec<(f64, f64)> {
    let children = report.tree.children();
    let mut leaves = vec![0.0_f64; children.len()];
    for &row in report.tree.order().iter().rev() {
        let below: f64 = children[row].iter().map(|&child| leaves[child]).sum();
        leaves[row] = below.max(1.0);
    }
    let mut span = vec![(0.0, TAU); children.len()];
    let mut places = vec![(0.0, 0.0); children.len()];
    for &row in report.tree.order() {
        let (from, to) = span[row];
        let angle = f64::midpoint(from, to);
        let radius = RADIUS * delays[row] / farthest;
        places[row] = (radius * angle.cos(), radius * angle.sin());
        let mut start = from;
        for &child in &children[row] {
            let end = start + (to - from) * leaves[child] / leaves[row];
            span[child] = (start, end);
            start = end;
        }
    }
    places
}
