//! The delays of all pairs: a symmetric matrix of round-trip times in milliseconds.
//!
//! Text form: one row a line, values separated by white space, blank lines ignored; the row number
//! is the node. Both directions of a pair are averaged, the diagonal is 0, every other value is at
//! least [`RTT_MS_MIN`], so that no edge is free and no two nodes are one.

use std::fmt;

use thiserror::Error;

/// More rows than the largest scenario has nodes (10,000); 12,000 rows take 1.1 GiB.
pub const ROWS_MAX: usize = 12_000;

/// One microsecond, the resolution of the project's time: distinct nodes are at least this apart.
pub const RTT_MS_MIN: f64 = 0.001;

/// Almost three hours. Along a path of all rows the sum then still resolves [`RTT_MS_MIN`].
pub const RTT_MS_MAX: f64 = 1e7;

/// Round-trip times between `n` nodes: square, symmetric, zero diagonal, milliseconds as `f64`.
#[derive(Clone, Debug, PartialEq)]
pub struct Matrix {
    nodes: usize,
    /// Row-major, `nodes * nodes` values.
    rtt_ms: Vec<f64>,
}

/// Why a text or a list of rows is no delay matrix. Lines count from 1. Nothing is kept.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum MatrixError {
    /// A row is longer or shorter than the first one.
    #[error("line {line}: {found} values where the first row has {expected}")]
    Ragged {
        /// Line in the text.
        line: usize,
        /// Values in this row, counted up to one too many.
        found: usize,
        /// Values in the first row.
        expected: usize,
    },
    /// A value is not a finite decimal number.
    #[error("line {line}, column {column}: {value:?} is not a number")]
    NotANumber {
        /// Line in the text.
        line: usize,
        /// Value in the row, from 1.
        column: usize,
        /// The first characters of the value.
        value: String,
    },
    /// A value is negative.
    #[error("line {line}, column {column}: a delay is negative")]
    Negative {
        /// Line in the text.
        line: usize,
        /// Value in the row, from 1.
        column: usize,
    },
    /// A value is above [`RTT_MS_MAX`].
    #[error("line {line}, column {column}: a delay is above {RTT_MS_MAX} ms")]
    TooLong {
        /// Line in the text.
        line: usize,
        /// Value in the row, from 1.
        column: usize,
    },
    /// The number of rows is not the number of columns.
    #[error("{rows} rows of {columns} columns: not square")]
    NotSquare {
        /// Rows found, counted up to one too many.
        rows: usize,
        /// Values in the first row.
        columns: usize,
    },
    /// Fewer than two rows.
    #[error("{0} rows: a matrix has at least 2")]
    TooFew(usize),
    /// More than [`ROWS_MAX`] rows.
    #[error("{0} rows: a matrix has at most {ROWS_MAX}")]
    TooMany(usize),
}

impl Matrix {
    /// Reads the text form. A line that begins with `#` is a comment.
    ///
    /// Errors name the line: [`MatrixError`]. Averages both directions, clears the diagonal, lifts
    /// other values to [`RTT_MS_MIN`].
    pub fn parse(text: &str) -> Result<Self, MatrixError> {
        let mut lines = text
            .lines()
            .zip(1..)
            .map(|(line, number)| (line.trim(), number))
            .filter(|(line, _)| !line.is_empty() && !line.starts_with('#'))
            .peekable();
        let nodes = lines.peek().map_or(0, |(line, _)| {
            line.split_whitespace().take(ROWS_MAX + 1).count()
        });
        if nodes > ROWS_MAX {
            return Err(MatrixError::TooMany(nodes));
        }
        let mut rtt_ms = Vec::with_capacity(nodes * nodes);
        let mut rows = 0;
        for (line, number) in lines {
            rows += 1;
            if rows > nodes {
                break;
            }
            parse_row(line, number, nodes, &mut rtt_ms)?;
        }
        if rows < 2 {
            return Err(MatrixError::TooFew(rows));
        }
        if rows != nodes {
            return Err(MatrixError::NotSquare {
                rows,
                columns: nodes,
            });
        }
        Ok(Self { nodes, rtt_ms }.symmetrised())
    }

    /// The matrix of `nodes` nodes whose pair `(u, v)`, `u < v`, is `rtt_ms(u, v)` apart.
    ///
    /// Errors: as [`Matrix::parse`], where the line is `u + 1` and the column `v + 1`.
    pub fn from_fn(
        nodes: usize,
        mut rtt_ms: impl FnMut(usize, usize) -> f64,
    ) -> Result<Self, MatrixError> {
        if nodes < 2 {
            return Err(MatrixError::TooFew(nodes));
        }
        if nodes > ROWS_MAX {
            return Err(MatrixError::TooMany(nodes));
        }
        let mut values = vec![0.0; nodes * nodes];
        for u in 0..nodes {
            for v in u + 1..nodes {
                let value = rtt_ms(u, v);
                check(value, u + 1, v + 1, || value.to_string())?;
                let value = value.max(RTT_MS_MIN);
                values[u * nodes + v] = value;
                values[v * nodes + u] = value;
            }
        }
        Ok(Self {
            nodes,
            rtt_ms: values,
        })
    }

    /// Number of nodes; at least 2.
    #[expect(
        clippy::len_without_is_empty,
        reason = "a matrix has at least two rows"
    )]
    pub const fn len(&self) -> usize {
        self.nodes
    }

    /// Round-trip time between `u` and `v` in milliseconds. Panics out of range.
    pub fn rtt_ms(&self, u: usize, v: usize) -> f64 {
        self.row(u)[v]
    }

    /// Round-trip times from `u` to all nodes, milliseconds, `len` values. Panics out of range.
    pub fn row(&self, u: usize) -> &[f64] {
        assert!(u < self.nodes, "row {u} of {}", self.nodes);
        &self.rtt_ms[u * self.nodes..(u + 1) * self.nodes]
    }

    /// The matrix of these nodes alone, in this order.
    ///
    /// Errors: fewer than 2 members. Panics if a member is out of range.
    pub fn restricted_to(&self, members: &[usize]) -> Result<Self, MatrixError> {
        Self::from_fn(members.len(), |u, v| self.rtt_ms(members[u], members[v]))
    }

    /// Averages both directions of each pair.
    fn symmetrised(mut self) -> Self {
        let nodes = self.nodes;
        for u in 0..nodes {
            self.rtt_ms[u * nodes + u] = 0.0;
            for v in 0..u {
                let (there, back) = (u * nodes + v, v * nodes + u);
                let mean = f64::midpoint(self.rtt_ms[there], self.rtt_ms[back]).max(RTT_MS_MIN);
                self.rtt_ms[there] = mean;
                self.rtt_ms[back] = mean;
            }
        }
        self
    }
}

impl fmt::Display for Matrix {
    /// The text form; what [`Matrix::parse`] reads back is equal.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for row in self.rtt_ms.chunks_exact(self.nodes) {
            for (v, value) in row.iter().enumerate() {
                let gap = if v == 0 { "" } else { " " };
                write!(f, "{gap}{value}")?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

fn parse_row(
    line: &str,
    number: usize,
    expected: usize,
    values: &mut Vec<f64>,
) -> Result<(), MatrixError> {
    let mut found = 0;
    for field in line.split_whitespace().take(expected + 1) {
        found += 1;
        let excerpt = || field.chars().take(24).collect::<String>();
        let value = field.parse::<f64>().map_err(|_| MatrixError::NotANumber {
            line: number,
            column: found,
            value: excerpt(),
        })?;
        check(value, number, found, excerpt)?;
        if found <= expected {
            values.push(value);
        }
    }
    if found == expected {
        Ok(())
    } else {
        Err(MatrixError::Ragged {
            line: number,
            found,
            expected,
        })
    }
}

fn check(
    value: f64,
    line: usize,
    column: usize,
    excerpt: impl FnOnce() -> String,
) -> Result<(), MatrixError> {
    if !value.is_finite() {
        return Err(MatrixError::NotANumber {
            line,
            column,
            value: excerpt(),
        });
    }
    if value < 0.0 {
        return Err(MatrixError::Negative { line, column });
    }
    if value > RTT_MS_MAX {
        return Err(MatrixError::TooLong { line, column });
    }
    Ok(())
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "these figures are exact")]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        Matrix::parse(text).unwrap_err().to_string()
    }

    #[test]
    fn both_directions_are_averaged_and_the_diagonal_is_cleared() {
        let matrix = Matrix::parse("7 10 0\n\n 20\t9 4\n# a comment\n0 4 0.5\n").unwrap();
        assert_eq!(matrix.len(), 3);
        assert_eq!(matrix.row(0), [0.0, 15.0, RTT_MS_MIN]);
        assert_eq!(matrix.row(1), [15.0, 0.0, 4.0]);
        assert_eq!(matrix.row(2), [RTT_MS_MIN, 4.0, 0.0]);
    }

    #[test]
    fn errors_name_the_line() {
        assert_eq!(
            error("0 1\n\n1 0 2\n"),
            "line 3: 3 values where the first row has 2"
        );
        assert_eq!(
            error("0 1\n1\n"),
            "line 2: 1 values where the first row has 2"
        );
        assert_eq!(
            error("0 1\n1 x\n"),
            "line 2, column 2: \"x\" is not a number"
        );
        assert_eq!(
            error("0 NaN\n1 0\n"),
            "line 1, column 2: \"NaN\" is not a number"
        );
        assert_eq!(
            error("0 inf\n1 0\n"),
            "line 1, column 2: \"inf\" is not a number"
        );
        assert_eq!(
            error("0 1\n-1 0\n"),
            "line 2, column 1: a delay is negative"
        );
        assert_eq!(
            error("0 1\n2e7 0\n"),
            "line 2, column 1: a delay is above 10000000 ms"
        );
        assert_eq!(
            error("0 1\n1 0\n1 0\n1 0"),
            "3 rows of 2 columns: not square"
        );
        assert_eq!(error("0 1 2\n1 0 2\n"), "2 rows of 3 columns: not square");
        assert_eq!(error("0\n"), "1 rows: a matrix has at least 2");
        assert_eq!(error(" \n"), "0 rows: a matrix has at least 2");
    }

    #[test]
    fn a_row_beyond_the_limit_is_refused_before_anything_is_allocated() {
        let row = "1 ".repeat(ROWS_MAX + 5);
        assert_eq!(Matrix::parse(&row), Err(MatrixError::TooMany(ROWS_MAX + 1)));
        assert_eq!(
            Matrix::from_fn(ROWS_MAX + 1, |_, _| 1.0),
            Err(MatrixError::TooMany(ROWS_MAX + 1))
        );
    }

    #[test]
    fn the_text_form_reads_back_equal() {
        let matrix = Matrix::from_fn(5, |u, v| 1.0 / (1 + 3 * u + v) as f64).unwrap();
        assert_eq!(Matrix::parse(&matrix.to_string()), Ok(matrix));
    }

    #[test]
    fn a_function_that_gives_no_delay_is_refused() {
        let at = |bad: f64| Matrix::from_fn(3, move |u, _| if u == 1 { bad } else { 1.0 });
        assert_eq!(at(-1.0), Err(MatrixError::Negative { line: 2, column: 3 }));
        assert!(matches!(
            at(f64::NAN),
            Err(MatrixError::NotANumber { line: 2, .. })
        ));
        assert_eq!(at(0.0).unwrap().rtt_ms(2, 1), RTT_MS_MIN);
    }

    #[test]
    fn a_restriction_keeps_the_order_of_its_members() {
        let matrix = Matrix::from_fn(4, |u, v| (10 * u + v) as f64).unwrap();
        let part = matrix.restricted_to(&[3, 1]).unwrap();
        assert_eq!(part.rtt_ms(0, 1), 13.0);
        assert_eq!(matrix.restricted_to(&[2]), Err(MatrixError::TooFew(1)));
    }
}
