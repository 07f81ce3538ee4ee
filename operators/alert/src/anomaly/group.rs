//! A series against the others of its group.

use super::{AnomalyConfig, DEVIATIONS, median};

/// Standard deviations per median absolute deviation.
const SIGMA: f64 = 1.4826;
/// Series of a group below which there is no outlier.
const GROUP_MIN: usize = 5;

/// Which values of a group are far from the others.
pub fn outliers(config: &AnomalyConfig, values: &[f64]) -> Vec<bool> {
    let far = config.deviations.unwrap_or(DEVIATIONS);
    if values.len() < GROUP_MIN {
        return vec![false; values.len()];
    }
    let center = median(&mut values.to_vec());
    let mut sizes: Vec<f64> = values.iter().map(|value| (value - center).abs()).collect();
    let scale = (SIGMA * median(&mut sizes)).max(center.abs() * 0.01).max(1e-9);
    values.iter().map(|value| !value.is_finite() || (value - center).abs() / scale > far).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_odd_one_of_a_group() {
        let config = AnomalyConfig { outlier: true, ..AnomalyConfig::default() };
        assert_eq!(outliers(&config, &[1.0, 1.1, 0.9, 1.0, 9.0]), [false, false, false, false, true]);
        assert_eq!(outliers(&config, &[1.0, 9.0]), [false, false], "two hosts are no group");
        assert_eq!(outliers(&config, &[5.0; 8]), [false; 8]);
        assert!(outliers(&config, &[1.0, 1.0, 1.0, 1.0, f64::NAN])[4]);
    }
}
