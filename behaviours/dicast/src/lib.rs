//! dicast: approximate status of a whole utility, up and down a tree of clusters.
//!
//! What is here is the half that computes: [`aggregate`], pure data and free functions without a
//! machine. A key says what is computed over all nodes (count, sum, mean, variance, extremes,
//! greatest values, distribution, different items) and how exact it is to be. Values go up the tree
//! as mergeable records; a sender is silent while its value stays within a filter, whose width the
//! parent grants out of the key's accuracy budget. What comes down says for how many nodes it
//! holds, how old it may be, and between which bounds the truth then lies. The bounds are built
//! from the widths in force, so that they hold while budgets move, reports are lost and agents
//! change.
//!
//! It deliberately does not agree on a value, keeps no history, and tells of remote clusters only
//! the sum.
//!
//! Weaknesses: a node that lies moves a sum by its range, once for every place that it holds. The
//! bounds cover filters, rounding and double counts, not the nodes left out, whose number is told
//! beside. An age is as good as the caller's bound on how long a report was under way. Sketches
//! travel whole, not by changed bucket. Different items are estimated, so their bounds are soft.
//!
//! Source: Opus 3.3, "Scalable tracking of system characteristics".

#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod aggregate;
