//! What is said of several rounds: the median, and the smallest and largest.

use serde::{Deserialize, Serialize};

/// Several measurements of one thing.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// The median; of an even number, the mean of the two in the middle.
    pub median: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
}

impl Summary {
    /// `None` of nothing.
    #[must_use]
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<_> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let upper = *values.get(values.len() / 2)?;
        let lower = *values.get((values.len() - 1) / 2)?;
        Some(Self {
            median: f64::midpoint(lower, upper),
            min: *values.first()?,
            max: *values.last()?,
        })
    }

    /// Of the two's values in the same round, put together: rounds differ by what else the machine did, and less so the
    /// two within one.
    #[must_use]
    pub fn by_round(first: &[f64], second: &[f64], together: impl Fn(f64, f64) -> f64) -> Option<Self> {
        Self::of(
            first
                .iter()
                .zip(second)
                .map(|(first, second)| together(*first, *second)),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(median: f64, min: f64, max: f64) -> Summary {
        Summary { median, min, max }
    }

    #[test]
    fn the_median_is_in_the_middle_of_any_order() {
        assert_eq!(Summary::of([3.0, 9.0, 1.0]), Some(summary(3.0, 1.0, 9.0)));
        assert_eq!(Summary::of([4.0, 1.0, 2.0, 9.0]), Some(summary(3.0, 1.0, 9.0)));
        assert_eq!(Summary::of([5.0]), Some(summary(5.0, 5.0, 5.0)));
        assert_eq!(Summary::of([]), None);
    }

    #[test]
    fn a_ratio_is_taken_within_each_round() {
        // The machine was three times as fast in the second round; the ratio is the same.
        let ratio = Summary::by_round(&[10.0, 30.0], &[20.0, 60.0], |first, second| first / second);
        assert_eq!(ratio, Some(summary(0.5, 0.5, 0.5)));
    }
}
