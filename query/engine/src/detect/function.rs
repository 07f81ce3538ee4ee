//! `detect('rule or file', since => '30d', until => '...', matching => 'all')` in SQL.

use super::rules::resolve;
use super::{DetectTable, RuleCatalog, Search};
use crate::stream_table::QueryView;
use bodkin_rules::Matching;
use bodkin_schema::{Clock, EventTime};
use datafusion::catalog::{TableFunctionArgs, TableFunctionImpl, TableProvider};
use datafusion::common::{Result, ScalarValue, plan_datafusion_err, plan_err};
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::Expr;
use std::fmt;
use std::sync::Arc;

/// The table function. Named arguments come as pairs of a name and a value (`parse` makes them so).
pub(crate) struct DetectFunction {
    pub(crate) catalog: Option<Arc<dyn RuleCatalog>>,
    pub(crate) view: QueryView,
    pub(crate) state: SessionState,
    pub(crate) clock: Arc<dyn Clock>,
}

impl fmt::Debug for DetectFunction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DetectFunction").field("catalog", &self.catalog).finish_non_exhaustive()
    }
}

impl TableFunctionImpl for DetectFunction {
    fn call_with_args(&self, args: TableFunctionArgs<'_, '_>) -> Result<Arc<dyn TableProvider>> {
        let texts = args.exprs().iter().map(text).collect::<Option<Vec<_>>>();
        let Some((name, rest)) = texts.as_deref().and_then(|texts| texts.split_first()) else {
            return plan_err!("detect takes texts: detect('<rule or file>', since => '30d')");
        };
        let rules = resolve(name, self.catalog.as_ref()).map_err(|message| plan_datafusion_err!("{message}"))?;
        let mut search = Search {
            rules: Arc::new(rules),
            matching: self.catalog.as_ref().map(|catalog| catalog.matching()).unwrap_or_default(),
            since: None,
            until: None,
        };
        let mut pairs = rest.chunks_exact(2);
        for pair in &mut pairs {
            self.set(&mut search, &pair[0], &pair[1])?;
        }
        if !pairs.remainder().is_empty() {
            return plan_err!(
                "further arguments of detect are named: since => '30d', until => '1d', matching => 'all'"
            );
        }
        Ok(Arc::new(DetectTable::new(search, self.view.clone(), self.state.clone())))
    }
}

impl DetectFunction {
    /// Its name in SQL.
    pub(crate) const NAME: &'static str = "detect";

    fn set(&self, search: &mut Search, name: &str, value: &str) -> Result<()> {
        let time = || time(value, self.clock.now()).map_err(|message| plan_datafusion_err!("{name}: {message}"));
        match (name, value) {
            ("since", _) => search.since = Some(time()?),
            ("until", _) => search.until = Some(time()?),
            ("matching", "first") => search.matching = Matching::First,
            ("matching", "all") => search.matching = Matching::All,
            ("matching", _) => return plan_err!("matching is 'first' or 'all'"),
            _ => return plan_err!("detect has no argument '{name}': there are since, until and matching"),
        }
        Ok(())
    }
}

fn text(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Literal(ScalarValue::Utf8(Some(text)) | ScalarValue::Utf8View(Some(text)), _) => Some(text.clone()),
        _ => None,
    }
}

/// A time: RFC 3339, a day, or how long before `now`, as `30d`, `12h`, `15m`, `90s`.
///
/// # Errors
/// What is wrong with the text.
pub fn time(text: &str, now: EventTime) -> Result<EventTime, String> {
    let wrong = || format!("'{text}' is no time: write 30d, 12h, 15m or 2026-01-31T12:00:00Z");
    let text = text.trim();
    if let Some((digits, unit)) = text.char_indices().next_back().map(|(at, unit)| (&text[..at], unit))
        && let Ok(count) = digits.parse::<i64>()
    {
        let seconds = match unit {
            's' => 1,
            'm' => 60,
            'h' => 3600,
            'd' => 86_400,
            'w' => 7 * 86_400,
            _ => return Err(wrong()),
        };
        let micros = count.checked_mul(seconds).and_then(|seconds| seconds.checked_mul(1_000_000)).ok_or_else(wrong)?;
        return now.micros().checked_sub(micros).map(EventTime).ok_or_else(wrong);
    }
    if let Ok(time) = text.parse::<jiff::Timestamp>() {
        return Ok(EventTime(time.as_microsecond()));
    }
    let day: jiff::civil::Date = text.parse().map_err(|_| wrong())?;
    let midnight = day.to_zoned(jiff::tz::TimeZone::UTC).map_err(|_| wrong())?;
    Ok(EventTime(midnight.timestamp().as_microsecond()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        let now = EventTime(1_000_000_000_000_000);
        assert_eq!(time("2h", now), Ok(EventTime(now.0 - 7_200_000_000)));
        assert_eq!(time("30d", now), Ok(EventTime(now.0 - 2_592_000_000_000)));
        assert_eq!(time("1970-01-02T00:00:00Z", now), Ok(EventTime(86_400_000_000)));
        assert_eq!(time("1970-01-02", now), Ok(EventTime(86_400_000_000)));
        for wrong in ["", "d", "5y", "yesterday", "99999999999999d"] {
            assert!(time(wrong, now).is_err(), "{wrong}");
        }
    }
}
