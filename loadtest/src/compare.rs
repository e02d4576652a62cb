//! Two brokers side by side: medians, ratios, and how far the ratios spread.
//!
//! On a machine with neighbours an absolute figure drifts by a fifth and more. What is compared
//! is therefore the ratio, and where the runs alternated, the ratio of each round: noise that
//! lasts longer than a round hits both alike.

use serde::{Deserialize, Serialize};

use crate::report::{Better, Report};

/// Runs of one broker, or of two in alternation: what a JSON file holds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RunSet {
    /// The runs of the first broker.
    pub runs: Vec<Report>,
    /// The runs of the second.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub against: Vec<Report>,
}

/// The middle and the ends of some values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// The median; of an even number, the mean of the middle two.
    pub median: f64,
    /// The least.
    pub min: f64,
    /// The greatest.
    pub max: f64,
}

/// One figure of both brokers.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// The figure.
    pub name: String,
    /// Its unit.
    pub unit: String,
    /// Which direction is good.
    pub better: Better,
    /// The first broker's.
    pub a: Spread,
    /// The second broker's.
    pub b: Spread,
    /// The first divided by the second: the medians' ratio, and the extremes of the ratios.
    pub ratio: Option<Spread>,
}

impl Spread {
    /// The spread of `values`; none of nothing.
    #[must_use]
    pub fn of(values: &[f64]) -> Option<Self> {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (&min, &max) = (sorted.first()?, sorted.last()?);
        let middle = sorted.len() / 2;
        let median = if sorted.len() % 2 == 1 {
            sorted[middle]
        } else {
            (sorted[middle - 1] + sorted[middle]) / 2.0
        };
        Some(Self { median, min, max })
    }
}

/// Compares the figures that both have.
#[must_use]
pub fn compare(a: &[Report], b: &[Report]) -> Vec<Row> {
    let Some(first) = a.first() else { return Vec::new() };
    let rows = first.figures.iter().filter_map(|figure| {
        let values_a: Vec<f64> = a.iter().filter_map(|run| run.value(&figure.name)).collect();
        let values_b: Vec<f64> = b.iter().filter_map(|run| run.value(&figure.name)).collect();
        Some(Row {
            name: figure.name.clone(),
            unit: figure.unit.clone(),
            better: figure.better,
            a: Spread::of(&values_a)?,
            b: Spread::of(&values_b)?,
            ratio: ratio(&values_a, &values_b),
        })
    });
    rows.collect()
}

/// The medians' ratio, with the extremes over the rounds; of unequal numbers of rounds, over all
/// that could have met.
fn ratio(a: &[f64], b: &[f64]) -> Option<Spread> {
    let (spread_a, spread_b) = (Spread::of(a)?, Spread::of(b)?);
    if b.iter().any(|&value| value <= 0.0) {
        return None;
    }
    let median = spread_a.median / spread_b.median;
    if a.len() != b.len() {
        let (min, max) = (spread_a.min / spread_b.max, spread_a.max / spread_b.min);
        return Some(Spread { median, min, max });
    }
    let rounds: Vec<f64> = a.iter().zip(b).map(|(a, b)| a / b).collect();
    let of_rounds = Spread::of(&rounds)?;
    Some(Spread { median, ..of_rounds })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs(name: &str, values: &[f64]) -> Vec<Report> {
        let run = |&value: &f64| {
            let mut report = Report::default();
            report.figure(name, "s", value, Better::Lower);
            report
        };
        values.iter().map(run).collect()
    }

    #[test]
    fn medians_of_odd_and_even_numbers() {
        let odd = Spread::of(&[3.0, 1.0, 2.0]);
        assert_eq!(odd, Some(Spread { median: 2.0, min: 1.0, max: 3.0 }));
        let even = Spread::of(&[4.0, 1.0, 2.0, 3.0]);
        assert_eq!(even, Some(Spread { median: 2.5, min: 1.0, max: 4.0 }));
        assert_eq!(Spread::of(&[]), None);
    }

    #[test]
    fn rounds_in_alternation_are_compared_round_by_round() {
        // The machine was half as fast in the second round: the ratio does not notice.
        let rows = compare(&runs("cpu", &[1.0, 2.0]), &runs("cpu", &[4.0, 8.0]));
        assert_eq!(rows[0].ratio, Some(Spread { median: 0.25, min: 0.25, max: 0.25 }));
    }

    #[test]
    fn unequal_numbers_of_rounds_give_the_widest_spread() {
        let rows = compare(&runs("cpu", &[1.0, 2.0, 3.0]), &runs("cpu", &[4.0, 8.0]));
        let expected = Spread { median: 2.0 / 6.0, min: 1.0 / 8.0, max: 3.0 / 4.0 };
        assert_eq!(rows[0].ratio, Some(expected));
    }

    #[test]
    fn what_only_one_has_is_left_out_and_zero_has_no_ratio() {
        assert_eq!(compare(&runs("cpu", &[1.0]), &runs("memory", &[1.0])), []);
        assert_eq!(compare(&runs("cpu", &[1.0]), &runs("cpu", &[0.0]))[0].ratio, None);
        assert_eq!(compare(&[], &runs("cpu", &[0.0])), []);
    }
}
