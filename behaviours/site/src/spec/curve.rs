//! Utility curves of a spec: value per second by the share of demand served in time.
//!
//! Only their shape is checked here; the market evaluates them. A curve must be concave and must
//! not fall, or the greedy allocation of slots by marginal value would not be optimal.

use super::{ROWS_MAX, error::SpecError};

/// Slopes may rise by this much of the largest value: rounding of an owner's decimals.
const SLOPE_TOLERANCE: f64 = 1e-9;

/// Value per second by the share `s` in time: `scale * u(min(s, cap))`.
#[derive(Clone, Debug, PartialEq)]
pub struct Curve {
    /// The form of u.
    pub shape: Shape,
    /// Value at u = 1; above 0.
    pub scale: f64,
    /// A larger share adds nothing; above 0.
    pub cap: f64,
}

/// The form of a utility curve, with its parameter.
#[derive(Clone, Debug, PartialEq)]
pub enum Shape {
    /// Straight lines between points (share, value); constant after the last.
    Pwl(Vec<(f64, f64)>),
    /// ln(1 + a s) / ln(1 + a), a > 0.
    Log(f64),
    /// s^alpha, 0 < alpha <= 1.
    Power(f64),
    /// (alpha, s0) of the alpha-fair family, both > 0.
    AlphaFair(f64, f64),
    /// (1 - e^(-k s)) / (1 - e^-k), k > 0.
    SatExp(f64),
    /// s.
    Linear,
}

impl Curve {
    /// u(s) = s up to 1.
    pub const fn linear() -> Self {
        Self {
            shape: Shape::Linear,
            scale: 1.0,
            cap: 1.0,
        }
    }

    /// The name in specs.
    pub const fn name(&self) -> &'static str {
        match self.shape {
            Shape::Pwl(_) => "pwl",
            Shape::Log(_) => "log",
            Shape::Power(_) => "power",
            Shape::AlphaFair(..) => "alpha-fair",
            Shape::SatExp(_) => "sat-exp",
            Shape::Linear => "linear",
        }
    }

    pub(super) fn check(&self) -> Result<(), SpecError> {
        positive("sla.scale", self.scale)?;
        positive("sla.cap", self.cap)?;
        match &self.shape {
            Shape::Pwl(points) => check_points(points),
            Shape::Log(a) => positive("sla.a", *a),
            Shape::Power(alpha) if *alpha > 1.0 => Err(SpecError::field(
                "sla.alpha",
                "of a power curve must be above 0 and at most 1",
            )),
            Shape::Power(alpha) => positive("sla.alpha", *alpha),
            Shape::AlphaFair(alpha, s0) => {
                positive("sla.alpha", *alpha)?;
                positive("sla.s0", *s0)
            }
            Shape::SatExp(k) => positive("sla.k", *k),
            Shape::Linear => Ok(()),
        }
    }
}

/// Refuses what is not finite, not rising in share, falling in value, or not concave; for the
/// last, names the first bad triple.
fn check_points(points: &[(f64, f64)]) -> Result<(), SpecError> {
    let refuse = |problem: String| Err(SpecError::field("sla.points", problem));
    if points.len() < 2 || points.len() > ROWS_MAX {
        return refuse(format!("must have 2 to {ROWS_MAX} points"));
    }
    if let Some(at) = points
        .iter()
        .position(|(s, u)| !s.is_finite() || !u.is_finite())
    {
        return refuse(format!("must be finite, point {at} is not"));
    }
    if points[0].0.total_cmp(&0.0).is_ne() || points[0].1 < 0.0 {
        return refuse("must begin at share 0 with a value of at least 0".to_owned());
    }
    let slopes = slopes(points)?;
    let largest = points
        .iter()
        .fold(0.0_f64, |most, (_, u)| most.max(u.abs()));
    for (first, pair) in slopes.windows(2).enumerate() {
        if pair[1] > pair[0] + SLOPE_TOLERANCE * largest {
            return Err(SpecError::NotConcave {
                first,
                slopes: (pair[0], pair[1]),
            });
        }
    }
    Ok(())
}

fn slopes(points: &[(f64, f64)]) -> Result<Vec<f64>, SpecError> {
    let refuse = |problem: String| Err(SpecError::field("sla.points", problem));
    let mut slopes = Vec::with_capacity(points.len());
    for (at, pair) in points.windows(2).enumerate() {
        let [(s0, u0), (s1, u1)] = [pair[0], pair[1]];
        if s1 <= s0 {
            return refuse(format!("must rise in share, point {} does not", at + 1));
        }
        let slope = (u1 - u0) / (s1 - s0);
        if slope < 0.0 {
            return refuse(format!("must not fall in value, point {} does", at + 1));
        }
        if !slope.is_finite() {
            return refuse(format!("are too steep before point {}", at + 1));
        }
        slopes.push(slope);
    }
    Ok(slopes)
}

fn positive(field: &str, value: f64) -> Result<(), SpecError> {
    if value.is_finite() && value > 0.0 {
        return Ok(());
    }
    Err(SpecError::field(field, "must be a finite number above 0"))
}
