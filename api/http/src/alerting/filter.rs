//! Matchers as amtool writes them: `alertname="DiskFull"`, `host=~"web.*"`, `severity!=info`.

use bodkin_alert::Matcher;

/// Reads a matcher.
pub(super) fn parse(text: &str) -> Result<Matcher, String> {
    let wrong = || format!("{text:?} is no matcher: write name=\"value\", name!=..., name=~... or name!~...");
    let at = text.find(['=', '!']).ok_or_else(wrong)?;
    let (name, rest) = text.split_at(at);
    let operators = [("=~", true, true), ("!~", true, false), ("!=", false, false), ("=", false, true)];
    let found = operators
        .iter()
        .find_map(|(sign, is_regex, is_equal)| rest.strip_prefix(sign).map(|value| (value, *is_regex, *is_equal)));
    let (value, is_regex, is_equal) = found.ok_or_else(wrong)?;
    let value = value.trim();
    let value = match value.strip_prefix('"').and_then(|value| value.strip_suffix('"')) {
        Some(_) => serde_json::from_str::<String>(value).map_err(|_| wrong())?,
        None => value.to_owned(),
    };
    let name = name.trim().trim_matches('"');
    if name.is_empty() {
        return Err(wrong());
    }
    Matcher::new(name, &value, is_regex, is_equal)
}

/// Name and value of each other parameter.
pub(super) type Others = Vec<(String, String)>;

/// The matchers of all parameters `filter` of a query string, and the value of each other parameter.
pub(super) fn parameters(query: Option<&str>) -> Result<(Vec<Matcher>, Others), String> {
    let (mut matchers, mut others) = (Vec::new(), Vec::new());
    for (name, value) in url::form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
        match name.as_ref() {
            "filter" => matchers.push(parse(&value)?),
            _ => others.push((name.into_owned(), value.into_owned())),
        }
    }
    Ok((matchers, others))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_amtool_writes_them() {
        let read = |text: &str| parse(text).map(|m| (m.name.clone(), m.value.clone(), m.is_regex, m.is_equal));
        let made =
            |name: &str, value: &str, is_regex, is_equal| Ok((name.to_owned(), value.to_owned(), is_regex, is_equal));
        assert_eq!(read("a=\"b c\""), made("a", "b c", false, true));
        assert_eq!(read("a=b"), made("a", "b", false, true));
        assert_eq!(read("a=~\"x|\\\"\""), made("a", "x|\"", true, true));
        assert_eq!(read("a!~x"), made("a", "x", true, false));
        assert_eq!(read("a!=x"), made("a", "x", false, false));
        for wrong in ["", "a", "=b", "a=~("] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
        let (matchers, others) = parameters(Some("filter=a%3D%22b%22&silenced=false&filter=c%3Dd")).unwrap();
        assert_eq!((matchers.len(), others), (2, vec![("silenced".to_owned(), "false".to_owned())]));
    }
}
