//! Series with planted anomalies, made from a seed: daily and weekly season, trend, noise of several natures.

use bodkin_alert::anomaly::{AnomalyConfig, Baseline};
use std::f64::consts::TAU;

/// Kinds of planted anomalies.
pub(crate) const KINDS: [&str; 11] =
    ["spike", "dip", "rise", "fall", "scatter", "stuck", "zero", "silence", "phase", "ramp", "trend"];
/// Natures of a series: seasons of sines, hours of work, counts, heavy tails, slow noise, no season at all.
pub(crate) const NATURES: [&str; 6] = ["sines", "hours", "counts", "heavy", "slow", "flat"];
/// Every other day of the last ten has one.
const PLANTED: usize = 5;
/// Values of an anomaly that is more than a spike or a dip.
const VALUES_MIN: usize = 8;
const DAY_S: i64 = 86_400;

/// What to make.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    pub(crate) seed: u64,
    pub(crate) kind: &'static str,
    pub(crate) nature: &'static str,
    /// Seconds between two values.
    pub(crate) step_s: i64,
    pub(crate) days: usize,
}

/// What was found.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Score {
    pub(crate) planted: usize,
    pub(crate) found: usize,
    pub(crate) alerts: usize,
    pub(crate) right: usize,
}

impl Score {
    pub(crate) fn add(&mut self, other: Self) {
        self.planted += other.planted;
        self.found += other.found;
        self.alerts += other.alerts;
        self.right += other.right;
    }

    pub(crate) fn recall(&self) -> f64 {
        self.found as f64 / self.planted.max(1) as f64
    }

    pub(crate) fn precision(&self) -> f64 {
        self.right as f64 / self.alerts.max(1) as f64
    }
}

/// SplitMix64: numbers from a seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// About normal: twelve uniform numbers.
    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.unit()).sum::<f64>() - 6.0
    }
}

/// A series as it would be without noise.
struct Shape {
    nature: &'static str,
    level: f64,
    daily: f64,
    weekend: f64,
    trend: f64,
    phase: f64,
}

impl Shape {
    fn at(&self, day: f64) -> f64 {
        let season = match self.nature {
            "flat" => 0.0,
            "hours" => {
                let hour = day.fract() * 24.0;
                let logistic = |x: f64| 1.0 / (1.0 + (-3.0 * x).exp());
                2.0 * self.daily * (logistic(hour - 8.0) - logistic(hour - 18.0) - 0.4)
            }
            _ => self.daily * (TAU * (day + self.phase)).sin() + self.daily / 3.0 * (2.0 * TAU * day).sin(),
        };
        let is_weekend = day.floor().rem_euclid(7.0) >= 5.0;
        self.level + if is_weekend { season * self.weekend } else { season } + self.trend * day / 7.0
    }
}

/// Values, none where it is silent, and from where to where anomalies were planted.
fn series(wanted: Wanted) -> (Vec<Option<f64>>, Vec<(usize, usize)>) {
    let place = |names: &[&str], name: &str| names.iter().position(|other| *other == name).unwrap_or_default() as u64;
    let own = place(&KINDS, wanted.kind) * 131 + place(&NATURES, wanted.nature) * 17;
    let mut random = Random(wanted.seed.wrapping_mul(7919).wrapping_add(own));
    let day = (DAY_S / wanted.step_s) as usize;
    let shape = Shape {
        nature: wanted.nature,
        level: 50.0 + 100.0 * random.unit(),
        daily: 10.0 + 20.0 * random.unit(),
        weekend: 0.5 + 0.3 * random.unit(),
        trend: 10.0 * random.unit() - 5.0,
        phase: random.unit(),
    };
    let noise = if wanted.nature == "counts" { shape.level.sqrt() / 4.0 } else { 1.0 + 2.0 * random.unit() };
    let mut slow = 0.0;
    let mut values: Vec<Option<f64>> = Vec::with_capacity(wanted.days * day);
    for step in 0..wanted.days * day {
        let by = match wanted.nature {
            "heavy" => random.normal() * if random.unit() < 0.03 { 2.0 } else { 1.0 },
            "slow" => {
                slow = 0.8 * slow + 0.6 * random.normal();
                slow
            }
            _ => random.normal(),
        };
        let value = shape.at(step as f64 / day as f64) + noise * by;
        values.push(Some(if wanted.nature == "counts" { value.round().max(0.0) } else { value }));
    }
    let minutes = |count: f64| ((count * 60.0 / wanted.step_s as f64).round() as usize).max(1);
    let mut planted = Vec::new();
    for slot in 0..PLANTED {
        let start = (wanted.days - 10 + 2 * slot) * day + (random.unit() * 16.0 * day as f64 / 24.0) as usize;
        let length = match wanted.kind {
            "spike" => minutes(5.0 + 15.0 * random.unit()),
            "dip" => minutes(15.0 + 30.0 * random.unit()),
            "phase" => day,
            "ramp" | "trend" => minutes(360.0 + 240.0 * random.unit()),
            // What only several values show lasts for several.
            _ => minutes(120.0 + 120.0 * random.unit()).max(VALUES_MIN),
        };
        let held = values[start];
        let side = if random.unit() < 0.5 { 1.0 } else { -1.0 };
        for (at, value) in values.iter_mut().enumerate().skip(start).take(length) {
            let Some(known) = *value else { continue };
            let part = (at - start) as f64 / length as f64;
            let moved = |ago: f64| shape.at(at as f64 / day as f64 - ago);
            *value = match wanted.kind {
                "spike" => Some(known + noise * (10.0 + 10.0 * random.unit())),
                "dip" => Some(0.1 * known - noise),
                "rise" => Some(known + 5.0 * noise),
                "fall" => Some(known - 5.0 * noise),
                "scatter" => Some(known + 4.0 * noise * random.normal()),
                "stuck" => held,
                "zero" => Some(0.0),
                "silence" => None,
                "phase" => Some(known + moved(0.25) - moved(0.0)),
                "ramp" => Some(known + 12.0 * noise * part),
                _ => Some(known + side * 12.0 * noise * part),
            };
        }
        planted.push((start, start + length));
    }
    (values, planted)
}

/// Runs the default settings over a series.
pub(crate) fn judge(wanted: Wanted) -> Score {
    let (values, planted) = series(wanted);
    let (mut baseline, config) = (Baseline::default(), AnomalyConfig::default());
    let minutes = |count: i64| (count * 60 / wanted.step_s) as usize;
    // Half an hour without is still the same alert.
    let (joined, after) = (minutes(30).max(1), minutes(60));
    let mut alerts: Vec<(usize, usize)> = Vec::new();
    for (step, value) in values.iter().enumerate() {
        let ts = step as i64 * wanted.step_s * 1_000_000;
        let is_unusual = match value {
            Some(value) => baseline.add(&config, ts, *value).is_anomalous,
            None => baseline.is_missed(&config, ts),
        };
        if is_unusual {
            match alerts.last_mut() {
                Some((_, end)) if step - *end <= joined => *end = step + 1,
                _ => alerts.push((step, step + 1)),
            }
        }
    }
    // An alert may end up to an hour after what it is about: what has come stays in view for so long.
    let meets = |alert: &(usize, usize), planted: &(usize, usize)| alert.0 < planted.1 + after && planted.0 < alert.1;
    let found = planted.iter().filter(|one| alerts.iter().any(|alert| meets(alert, one))).count();
    let right = alerts.iter().filter(|alert| planted.iter().any(|one| meets(alert, one))).count();
    Score { planted: planted.len(), found, alerts: alerts.len(), right }
}
