//! Which [`Format`] a request wants, by its `Accept` header (RFC 9110, section 12.5.1).

use crate::encode::Format;
use crate::error::ApiError;
use axum::http::{HeaderMap, StatusCode, header};

/// The format that the client likes best; JSON where it does not say, and on a tie the first of [`Format::ALL`].
///
/// # Errors
/// 406 where none of ours is accepted.
pub(crate) fn negotiate(headers: &HeaderMap) -> Result<Format, ApiError> {
    let mut is_any = true;
    let mut ranges = Vec::new();
    for value in headers.get_all(header::ACCEPT) {
        is_any = false;
        // Bytes outside of text match no media type of ours.
        ranges.extend(value.to_str().unwrap_or_default().split(',').filter_map(Range::parse));
    }
    if is_any {
        return Ok(Format::Json);
    }
    let quality = |format: Format| {
        let best = ranges.iter().filter(|range| range.matches(format)).max_by_key(|range| range.specificity());
        best.map_or(0, |range| range.quality)
    };
    // max_by_key gives the last of equals.
    let best = Format::ALL.into_iter().rev().max_by_key(|format| quality(*format));
    match best.filter(|format| quality(*format) > 0) {
        Some(format) => Ok(format),
        None => {
            let offers = Format::ALL.map(Format::media_type).join(", ");
            Err(ApiError::new(StatusCode::NOT_ACCEPTABLE, "not_acceptable", "no answer in any media type of Accept")
                .hint(format!("accept one of {offers}")))
        }
    }
}

/// One entry of `Accept`: `type/subtype;q=0.5`.
struct Range<'a> {
    media_type: &'a str,
    /// In thousandths, which is the header's resolution.
    quality: u16,
}

impl<'a> Range<'a> {
    /// None where the entry is no media range; it then accepts nothing.
    fn parse(entry: &'a str) -> Option<Self> {
        let mut parts = entry.split(';').map(str::trim);
        let media_type = parts.next().filter(|media_type| media_type.contains('/'))?;
        let mut quality = 1000;
        for parameter in parts {
            if let Some((name, value)) = parameter.split_once('=')
                && name.trim().eq_ignore_ascii_case("q")
            {
                let value: f32 = value.trim().parse().ok()?;
                quality = (value.clamp(0.0, 1.0) * 1000.0) as u16;
            }
        }
        Some(Self { media_type, quality })
    }

    fn matches(&self, format: Format) -> bool {
        let ours = format.media_type();
        match self.media_type.split_once('/') {
            Some(("*", "*")) => true,
            Some((kind, "*")) => ours.split_once('/').is_some_and(|(our_kind, _)| our_kind.eq_ignore_ascii_case(kind)),
            _ => ours.eq_ignore_ascii_case(self.media_type),
        }
    }

    fn specificity(&self) -> u8 {
        match self.media_type {
            "*/*" => 0,
            other if other.ends_with("/*") => 1,
            _ => 2,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn format(accept: &[&'static str]) -> Option<Format> {
        let mut headers = HeaderMap::new();
        for value in accept {
            headers.append(header::ACCEPT, HeaderValue::from_static(value));
        }
        negotiate(&headers).ok()
    }

    #[test]
    fn the_best_accepted_format_wins() {
        assert_eq!(format(&[]), Some(Format::Json));
        assert_eq!(format(&["*/*"]), Some(Format::Json));
        assert_eq!(format(&["text/*"]), Some(Format::Csv));
        assert_eq!(format(&["Application/Vnd.Apache.Parquet"]), Some(Format::Parquet));
        assert_eq!(
            format(&["text/csv;q=0.5, application/vnd.apache.arrow.stream;q=0.9, */*;q=0.1"]),
            Some(Format::ArrowStream)
        );
        assert_eq!(format(&["application/json;q=0, */*"]), Some(Format::Csv));
        assert_eq!(format(&["text/html", "text/csv; header=present"]), Some(Format::Csv));
        assert_eq!(format(&["text/html,application/xhtml+xml,*/*;q=0.8"]), Some(Format::Json));
    }

    #[test]
    fn what_is_not_ours_is_refused() {
        assert_eq!(format(&["text/html"]), None);
        assert_eq!(format(&["application/json;q=0"]), None);
        assert_eq!(format(&["application/json;q=x"]), None);
        assert_eq!(format(&["nonsense"]), None);
        assert_eq!(format(&[""]), None);
    }
}
