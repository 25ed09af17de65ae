//! Lines over time, as SVG.

use crate::say::put;

/// Size of a chart.
const WIDTH: f64 = 520.0;
const HEIGHT: f64 = 120.0;

/// Colours of the lines, in order; a chart has no more lines than these.
const COLOURS: [&str; 4] = ["#1f5f99", "#c0392b", "#4c9f70", "#8e6c3a"];

/// One line: its name, and points of a second and a value; where there is none it breaks.
pub(super) struct Line<'a> {
    pub(super) name: &'a str,
    pub(super) points: Vec<(f64, Option<f64>)>,
}

/// Appends a chart of up to four lines over one scale from 0.
pub(super) fn chart(html: &mut String, title: &str, lines: &[Line<'_>]) {
    let points = || lines.iter().flat_map(|line| &line.points);
    let values = points().filter_map(|point| point.1);
    let top = values.filter(|value| value.is_finite()).fold(0.0, f64::max);
    let end = points().map(|point| point.0).fold(1.0, f64::max);
    put(
        html,
        format_args!("<p>{title}: 0 to {}, over {end:.0} s", figure(top)),
    );
    for (line, colour) in lines.iter().zip(COLOURS).filter(|_| lines.len() > 1) {
        put(
            html,
            format_args!(" <b style=\"color:{colour}\">{}</b>", line.name),
        );
    }
    put(
        html,
        format_args!(
            "<br><svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"-4 -4 {:.0} {:.0}\" \
             width=\"{WIDTH}\" role=\"img\"><path d=\"M0 {HEIGHT}H{WIDTH}\" \
             stroke=\"#9aa5b1\"/>",
            WIDTH + 8.0,
            HEIGHT + 8.0
        ),
    );
    for (line, colour) in lines.iter().zip(COLOURS) {
        let holds = |point: &(f64, Option<f64>)| point.1.is_some_and(f64::is_finite);
        for piece in line.points.split(|point| !holds(point)) {
            polyline(html, piece, (end, top), colour);
        }
    }
    html.push_str("</svg></p>");
}

/// As many digits as tell something.
fn figure(value: f64) -> String {
    if value >= 100.0 {
        format!("{value:.0}")
    } else {
        format!("{value:.2}")
    }
}

fn polyline(html: &mut String, points: &[(f64, Option<f64>)], most: (f64, f64), colour: &str) {
    if points.is_empty() {
        return;
    }
    html.push_str("<polyline points=\"");
    for (at, value) in points {
        let x = WIDTH * at / most.0;
        let y = HEIGHT * (1.0 - value.unwrap_or_default() / most.1.max(1e-9));
        put(html, format_args!("{x:.1},{y:.1} "));
    }
    put(
        html,
        format_args!("\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.5\"/>"),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(points: Vec<(f64, Option<f64>)>) -> Line<'static> {
        Line { name: "it", points }
    }

    #[test]
    fn a_chart_has_a_point_a_row() {
        let mut html = String::new();
        let points = vec![(5.0, Some(10.0)), (10.0, Some(5.0))];
        chart(&mut html, "cost", &[line(points)]);
        assert!(html.contains("points=\"260.0,0.0 520.0,60.0 \""), "{html}");
    }

    #[test]
    fn a_line_breaks_where_nothing_was_seen_and_two_lines_are_named() {
        let mut html = String::new();
        let broken = vec![
            (1.0, Some(1.0)),
            (2.0, None),
            (3.0, Some(f64::INFINITY)),
            (4.0, Some(2.0)),
        ];
        chart(
            &mut html,
            "age",
            &[line(broken), line(vec![(4.0, Some(0.0))])],
        );
        assert_eq!(html.matches("<polyline").count(), 3, "{html}");
        assert!(html.contains("age: 0 to 2.00, over 4 s"), "{html}");
        assert_eq!(html.matches("<b style").count(), 2, "{html}");
    }
}
