//! Reads the text form of GT-ITM graphs (`sgb2alt`): the topologies of the overlay literature.
//!
//! A header line with the numbers of nodes and of arcs, then `VERTICES`, a line per node that
//! begins with its number, then `EDGES`, a line `from to length ..` per link. Everything else on a
//! line is ignored, as are blank lines. A length is milliseconds of round trip, at least 1; of
//! parallel links the shortest counts.

use opus_model::{Graph, graph::NODES_MAX};
use thiserror::Error;

/// Why a text is no connected GT-ITM graph. Lines count from 1. Nothing is kept.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum AltError {
    /// The text ends before a part begins.
    #[error("no {0}: not a GT-ITM graph in alt form")]
    Missing(&'static str),
    /// A field is absent or not a number.
    #[error("line {line}: no {field}")]
    Field {
        /// Line in the text.
        line: usize,
        /// What should stand there.
        field: &'static str,
    },
    /// A node beyond the number in the header, or out of order.
    #[error("line {line}: node {node} of {nodes}")]
    NoSuchNode {
        /// Line in the text.
        line: usize,
        /// The node named.
        node: usize,
        /// Nodes by the header.
        nodes: usize,
    },
    /// A length is negative, infinite or not a number.
    #[error("line {line}: a length is not a positive number")]
    Length {
        /// Line in the text.
        line: usize,
    },
    /// The header promises other numbers than the text holds.
    #[error("{found} {what} where the header says {expected}")]
    Count {
        /// Nodes or arcs.
        what: &'static str,
        /// In the text.
        found: usize,
        /// In the header.
        expected: usize,
    },
    /// More nodes than a graph has.
    #[error("{0} nodes: at most {NODES_MAX}")]
    TooMany(usize),
    /// Some node has no way to another.
    #[error("the graph is not connected")]
    NotConnected,
}

enum Part {
    Header,
    Vertices,
    Edges,
}

/// Reads a graph. Errors: [`AltError`].
pub fn parse(text: &str) -> Result<Graph, AltError> {
    let mut part = Part::Header;
    let mut counts = None;
    let mut vertices = 0;
    let mut links: Vec<(usize, usize, f64)> = Vec::new();
    for (line, number) in text.lines().zip(1..) {
        let mut fields = line.split_whitespace();
        let Some(first) = fields.next() else { continue };
        match (first, &part) {
            ("VERTICES", Part::Header) => part = Part::Vertices,
            ("EDGES", Part::Vertices) => part = Part::Edges,
            (_, Part::Header) => counts = counts.or(header(first, fields)?),
            (_, Part::Vertices) => {
                let (nodes, _) = counts.ok_or(AltError::Missing("header"))?;
                let node = index(Some(first), number, "node")?;
                if node != vertices || node >= nodes {
                    return Err(AltError::NoSuchNode {
                        line: number,
                        node,
                        nodes,
                    });
                }
                vertices += 1;
            }
            (_, Part::Edges) => {
                let (nodes, _) = counts.ok_or(AltError::Missing("header"))?;
                links.push(edge(first, fields, number, nodes)?);
            }
        }
    }
    let (nodes, arcs) = counts.ok_or(AltError::Missing("header"))?;
    match part {
        Part::Header => return Err(AltError::Missing("VERTICES")),
        Part::Vertices => return Err(AltError::Missing("EDGES")),
        Part::Edges => {}
    }
    if vertices != nodes {
        return Err(AltError::Count {
            what: "nodes",
            found: vertices,
            expected: nodes,
        });
    }
    // GT-ITM counts both directions of a link and lists one; some converters count as they list.
    if arcs != 2 * links.len() && arcs != links.len() {
        return Err(AltError::Count {
            what: "arcs",
            found: 2 * links.len(),
            expected: arcs,
        });
    }
    let graph = graph_of(nodes, &links);
    if graph.is_connected() {
        Ok(graph)
    } else {
        Err(AltError::NotConnected)
    }
}

fn graph_of(nodes: usize, links: &[(usize, usize, f64)]) -> Graph {
    Graph::new(nodes, links).expect("ends and lengths were checked line by line")
}

/// Numbers of nodes and arcs, if this is the line that begins with them.
fn header<'a>(
    first: &str,
    mut fields: impl Iterator<Item = &'a str>,
) -> Result<Option<(usize, usize)>, AltError> {
    let numbers = (
        first.parse::<usize>(),
        fields.next().map(str::parse::<usize>),
    );
    match numbers {
        (Ok(nodes), Some(Ok(_))) if nodes > NODES_MAX => Err(AltError::TooMany(nodes)),
        (Ok(nodes), Some(Ok(arcs))) => Ok(Some((nodes, arcs))),
        _ => Ok(None),
    }
}

fn edge<'a>(
    from: &str,
    mut fields: impl Iterator<Item = &'a str>,
    line: usize,
    nodes: usize,
) -> Result<(usize, usize, f64), AltError> {
    let from = index(Some(from), line, "first node")?;
    let to = index(fields.next(), line, "second node")?;
    let length = fields.next().and_then(|field| field.parse::<f64>().ok());
    let length = length.ok_or(AltError::Field {
        line,
        field: "length",
    })?;
    let node = from.max(to);
    if node >= nodes {
        return Err(AltError::NoSuchNode { line, node, nodes });
    }
    if !(length >= 0.0 && length.is_finite()) {
        return Err(AltError::Length { line });
    }
    Ok((from, to, length.max(1.0)))
}

fn index(text: Option<&str>, line: usize, field: &'static str) -> Result<usize, AltError> {
    let number = text.and_then(|text| text.parse().ok());
    number.ok_or(AltError::Field { line, field })
}

#[cfg(test)]
mod tests {
    use std::{env, fs, path::PathBuf};

    use opus_core::Seed;
    use opus_model::{Stretch, last, mst};
    use proptest::prelude::*;

    use super::*;
    use crate::topology::Topology;

    const SMALL: &str = "GRAPH (#nodes #edges id uu vv ww xx yy zz):\n3 6 transtub 219 3 5 1 \n\n\
        VERTICES (index name u v w x y z):\n0 T:0.0 70 132 \n1 T:0.1 22 70 \n2 S:0 1 1 \n\n\
        EDGES (from-node to-node length a b):\n0 1 7 2 \n1 2 0 1 \n0 1 5 2\n";

    #[test]
    fn a_small_graph_is_read() {
        let graph = parse(SMALL).unwrap();
        assert_eq!((graph.nodes(), graph.edges()), (3, 2));
        assert_eq!(graph.neighbours(1), [(0, 5.0), (2, 1.0)]);
    }

    #[test]
    fn errors_name_the_line() {
        let error = |from: &str, to: &str| {
            assert!(SMALL.contains(from));
            parse(&SMALL.replace(from, to)).unwrap_err().to_string()
        };
        assert_eq!(error("1 2 0 1", "1 3 0 1"), "line 11: node 3 of 3");
        assert_eq!(error("1 2 0 1", "1 2"), "line 11: no length");
        assert_eq!(error("1 2 0 1", "1 x 0"), "line 11: no second node");
        assert_eq!(
            error("1 2 0 1", "1 2 -4"),
            "line 11: a length is not a positive number"
        );
        assert_eq!(
            error("1 2 0 1", "1 2 NaN"),
            "line 11: a length is not a positive number"
        );
        assert_eq!(error("1 T:0.1", "2 T:0.1"), "line 6: node 2 of 3");
        assert_eq!(error("2 S:0 1 1 \n", ""), "2 nodes where the header says 3");
        assert_eq!(error("0 1 5 2\n", ""), "4 arcs where the header says 6");
        assert_eq!(error("1 2 0 1", "0 1 4 4"), "the graph is not connected");
        assert_eq!(
            error("3 6 transtub", "x"),
            "no header: not a GT-ITM graph in alt form"
        );
        assert_eq!(error("3 6 ", "100001 6 "), "100001 nodes: at most 100000");
        let (vertices, _) = SMALL.split_once("EDGES").unwrap();
        assert_eq!(parse(vertices), Err(AltError::Missing("EDGES")));
        assert_eq!(parse("3 6\n"), Err(AltError::Missing("VERTICES")));
        assert_eq!(parse(""), Err(AltError::Missing("header")));
    }

    /// Figure 2 of the paper at alpha = 1.5, within the tolerance that the design gives.
    #[test]
    fn the_graphs_of_the_literature_give_its_ratio_of_last_to_mst() {
        let mut ratios = Vec::new();
        for file in 0..6 {
            let Some(text) = data(&format!("ts600/ts600-{file}.alt")) else {
                return;
            };
            let graph = parse(&text).unwrap();
            assert_eq!(graph.nodes(), 600);
            for draw in 0..3 {
                let topology = Topology::of_graph(&graph, 200, Seed::new(draw)).unwrap();
                let matrix = topology.to_matrix().unwrap();
                let tree = last(&matrix, 0, Stretch::new(1.5).unwrap());
                assert!(tree.rdp(&matrix).max <= 1.5 + 1e-6);
                ratios.push(tree.cost(&matrix) / mst(&matrix, 0).cost(&matrix));
            }
        }
        let mean = ratios.iter().sum::<f64>() / ratios.len() as f64;
        assert!((mean - 1.088).abs() < 0.02, "{mean}");
    }

    /// A file beside the project: `OPUS_DATA` says where. Prints SKIP where it is missing, fails
    /// then under `OPUS_REQUIRE_DATA=1`.
    fn data(name: &str) -> Option<String> {
        let root = env::var_os("OPUS_DATA").map_or_else(
            || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data")),
            PathBuf::from,
        );
        let path = root.join(name);
        match fs::read_to_string(&path) {
            Ok(text) => Some(text),
            Err(error) => {
                let required = env::var_os("OPUS_REQUIRE_DATA").is_some_and(|value| value == "1");
                assert!(!required, "{} is required: {error}", path.display());
                println!("SKIP: {}: {error}", path.display());
                None
            }
        }
    }

    proptest! {
        #[test]
        fn a_damaged_text_is_an_error_or_a_graph(
            at in 0..SMALL.len(), length in 0..12_usize, with in "[0-9A-Z. \n-]{0,6}",
        ) {
            let mut text = SMALL.to_owned();
            text.replace_range(at..(at + length).min(SMALL.len()), &with);
            if let Ok(graph) = parse(&text) {
                prop_assert!(graph.is_connected());
            }
        }
    }
}
