//! Parameters of a request, from its URL and its form, in Prometheus's notations.

use super::answer::ApiFailure;
use axum::body::{Body, to_bytes};
use axum::extract::{FromRequest, Request};
use axum::http::{Method, header};
use std::time::Duration;
use tokio::time::timeout;

/// Bytes of a form.
const FORM_BYTES_MAX: usize = 16 << 20;
const FORM_TIMEOUT: Duration = Duration::from_secs(30);

/// Names and values, those of the form before those of the URL, as Go's `FormValue` finds them.
#[derive(Debug, Default)]
pub(super) struct Params(Vec<(String, String)>);

impl Params {
    fn add(&mut self, text: &[u8]) {
        self.0.extend(url::form_urlencoded::parse(text).map(|(name, value)| (name.into_owned(), value.into_owned())));
    }

    /// The first value of a parameter; empty where it is missing.
    pub(super) fn get(&self, name: &str) -> &str {
        self.0.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }

    /// Every value of a parameter.
    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// A time in milliseconds; none where it is missing.
    pub(super) fn time(&self, name: &str) -> Result<Option<i64>, ApiFailure> {
        match self.get(name) {
            "" => Ok(None),
            text => parse_time(text).map(Some).map_err(|why| invalid(name, &why)),
        }
    }

    /// A time in milliseconds that must be there.
    pub(super) fn required_time(&self, name: &str) -> Result<i64, ApiFailure> {
        parse_time(self.get(name)).map_err(|why| invalid(name, &why))
    }

    /// A duration in milliseconds that must be there.
    pub(super) fn duration_ms(&self, name: &str) -> Result<i64, ApiFailure> {
        parse_duration(self.get(name)).map_err(|why| invalid(name, &why))
    }

    /// A duration; none where it is missing.
    pub(super) fn optional_duration(&self, name: &str) -> Result<Option<Duration>, ApiFailure> {
        if self.get(name).is_empty() {
            return Ok(None);
        }
        Ok(Some(Duration::from_millis(self.duration_ms(name)?.max(0) as u64)))
    }

    /// The parameter `limit`; the largest number where it is missing or 0.
    pub(super) fn limit(&self) -> Result<usize, ApiFailure> {
        let text = self.get("limit");
        if text.is_empty() {
            return Ok(usize::MAX);
        }
        let wrong = |why: String| invalid("limit", &why);
        let limit: i64 = text.parse().map_err(|_| wrong(format!("cannot parse limit {}", quoted(text))))?;
        match limit {
            0 => Ok(usize::MAX),
            limit if limit < 0 => Err(wrong("limit must be non-negative".to_owned())),
            limit => Ok(limit as usize),
        }
    }
}

impl<S: Send + Sync> FromRequest<S> for Params {
    type Rejection = ApiFailure;

    async fn from_request(request: Request<Body>, _: &S) -> Result<Self, ApiFailure> {
        let (head, body) = request.into_parts();
        let mut params = Self::default();
        let content_type = head.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let is_form = content_type.is_some_and(|value| value.starts_with("application/x-www-form-urlencoded"));
        if head.method == Method::POST && is_form {
            let bytes = timeout(FORM_TIMEOUT, to_bytes(body, FORM_BYTES_MAX)).await;
            let bytes = bytes.map_err(|_| ApiFailure::bad_data("error parsing form values: timed out"))?;
            let bytes = bytes.map_err(|error| ApiFailure::bad_data(format!("error parsing form values: {error}")))?;
            params.add(&bytes);
        }
        params.add(head.uri.query().unwrap_or_default().as_bytes());
        Ok(params)
    }
}

/// What is wrong with a parameter.
pub(super) fn invalid(name: &str, why: &str) -> ApiFailure {
    ApiFailure::bad_data(format!("invalid parameter {}: {why}", quoted(name)))
}

pub(super) fn quoted(text: &str) -> String {
    bodkin_promql::text::quote(text)
}

/// Seconds since 1970 with a fraction, or RFC 3339, to milliseconds.
fn parse_time(text: &str) -> Result<i64, String> {
    let unreadable = || format!("cannot parse {} to a valid timestamp", quoted(text));
    if let Ok(seconds) = text.parse::<f64>()
        && seconds.is_finite()
    {
        let whole = seconds.trunc();
        let millis = ((seconds - whole) * 1000.0).round();
        let total = whole * 1000.0 + millis;
        return if total.abs() < i64::MAX as f64 { Ok(whole as i64 * 1000 + millis as i64) } else { Err(unreadable()) };
    }
    match text {
        // The bounds that Prometheus writes for "everything".
        "-292273086-05-16T16:47:06Z" => return Ok(i64::MIN / 1_000_000),
        "292277025-08-18T07:12:54.999999999Z" => return Ok(i64::MAX / 1_000_000),
        _ => {}
    }
    let is_rfc3339 = text.len() >= 20 && text.as_bytes().get(10).is_some_and(|b| b.eq_ignore_ascii_case(&b'T'));
    let time: jiff::Timestamp = text.parse().ok().filter(|_| is_rfc3339).ok_or_else(unreadable)?;
    Ok(time.as_nanosecond().div_euclid(1_000_000) as i64)
}

/// Seconds with a fraction, or a duration as in PromQL, to milliseconds.
fn parse_duration(text: &str) -> Result<i64, String> {
    if let Ok(seconds) = text.parse::<f64>()
        && !seconds.is_nan()
    {
        // Go's durations are nanoseconds in 64 bits.
        if !(-9_223_372_036.0..=9_223_372_036.0).contains(&seconds) {
            return Err(format!("cannot parse {} to a valid duration. It overflows int64", quoted(text)));
        }
        return Ok((seconds * 1e9) as i64 / 1_000_000);
    }
    parse_units(text).ok_or_else(|| format!("cannot parse {} to a valid duration", quoted(text)))
}

/// `1d12h30m`: numbers with units, the larger before the smaller, each once.
fn parse_units(text: &str) -> Option<i64> {
    const UNITS: [(&str, i64); 7] = [
        ("y", 365 * 86_400_000),
        ("w", 7 * 86_400_000),
        ("d", 86_400_000),
        ("h", 3_600_000),
        ("m", 60_000),
        ("s", 1000),
        ("ms", 1),
    ];
    if text == "0" {
        return Some(0);
    }
    let (mut rest, mut from, mut total) = (text, 0, 0i64);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let (number, after) = rest.split_at(digits);
        let unit_end = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_end);
        let place = from + UNITS.iter().skip(from).position(|(name, _)| *name == unit)?;
        total = total.checked_add(number.parse::<i64>().ok()?.checked_mul(UNITS[place].1)?)?;
        (rest, from) = (after, place + 1);
    }
    (!text.is_empty()).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        assert_eq!(parse_time("1435781451.781"), Ok(1_435_781_451_781));
        assert_eq!(parse_time("-1.5"), Ok(-1500));
        assert_eq!(parse_time("0"), Ok(0));
        assert_eq!(parse_time("2015-07-01T20:10:51.781Z"), Ok(1_435_781_451_781));
        assert_eq!(parse_time("2015-07-01T22:10:51.781+02:00"), Ok(1_435_781_451_781));
        assert_eq!(parse_time("not-a-time"), Err("cannot parse \"not-a-time\" to a valid timestamp".to_owned()));
        for nonsense in ["", "2015-07-01", "NaN", "Inf", "1e300"] {
            assert!(parse_time(nonsense).is_err(), "{nonsense}");
        }
    }

    #[test]
    fn durations() {
        assert_eq!(parse_duration("90.5"), Ok(90_500));
        assert_eq!(parse_duration("1m30s"), Ok(90_000));
        assert_eq!(parse_duration("0.0001"), Ok(0));
        assert_eq!(
            parse_duration("1y2w3d4h5m6s7ms"),
            Ok(365 * 86_400_000 + 2 * 604_800_000 + 3 * 86_400_000 + 14_706_007)
        );
        for nonsense in ["", "m", "5", "1s1m", "1x", "1e30"] {
            let parsed = parse_duration(nonsense);
            assert!(parsed.is_err() || nonsense == "5", "{nonsense}: {parsed:?}");
        }
    }

    #[test]
    fn limits() {
        let of = |text: &str| {
            let mut params = Params::default();
            params.add(format!("limit={text}").as_bytes());
            params.limit()
        };
        assert_eq!(of("3").unwrap(), 3);
        assert_eq!(of("0").unwrap(), usize::MAX);
        assert!(of("-1").unwrap_err().message().contains("non-negative"));
        assert!(of("x").is_err());
    }
}
