//! `getopt(3)` over an argument list.

use super::value::Val;
use std::borrow::Cow;

/// Options of `args` as `options` describes them: `ab:` is an option `a`, and `b` with an argument. Without a
/// selector every option followed by its argument, `?` for one that is not described; with one the last argument of
/// that option, or its letter if it takes none. Reading stops at the first word that is no option, and at `--`; words
/// that start with `--` are passed over.
pub(super) fn getopt<'a>(args: &[Vec<u8>], options: &[u8], selector: Option<u8>) -> Option<Val<'a>> {
    let mut found: Vec<Vec<u8>> = Vec::new();
    let mut selected = None;
    let mut at = 0;
    while let Some(arg) = args.get(at) {
        at += 1;
        if arg.starts_with(b"--") && arg.len() > 2 {
            continue;
        }
        if arg.len() < 2 || arg[0] != b'-' || arg == b"--" {
            break;
        }
        for (index, option) in arg.iter().enumerate().skip(1) {
            let Some(takes_value) = described(options, *option) else {
                if selector.is_none() {
                    found.push(b"?".to_vec());
                }
                continue;
            };
            let mut value = None;
            if takes_value {
                let rest = arg.get(index + 1..).filter(|rest| !rest.is_empty()).map(<[u8]>::to_vec);
                value = rest.or_else(|| {
                    at += 1;
                    args.get(at - 1).cloned()
                });
            }
            // An argument that is missing is an empty text.
            let is_missing = takes_value && value.is_none();
            match selector {
                Some(wanted) if wanted == *option => {
                    selected = Some(if is_missing { Vec::new() } else { value.unwrap_or_else(|| vec![*option]) });
                }
                Some(_) => {}
                None if is_missing => found.push(Vec::new()),
                None => {
                    found.push(vec![*option]);
                    found.extend(value);
                }
            }
            if takes_value {
                break;
            }
        }
    }
    match selector {
        Some(_) => selected.map(|value| Val::Text(Cow::Owned(value))),
        None => Some(Val::List(found.into_iter().map(|text| Val::Text(Cow::Owned(text))).collect())),
    }
}

/// Whether an option takes an argument; none where it is not described.
fn described(options: &[u8], option: u8) -> Option<bool> {
    let at = options.iter().position(|known| *known == option).filter(|_| option != b':')?;
    Some(options.get(at + 1) == Some(&b':'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(args: &str, options: &str, selector: Option<u8>) -> String {
        let args: Vec<Vec<u8>> = args.split(' ').map(|arg| arg.as_bytes().to_vec()).collect();
        let text = |value: &Val<'_>| match value {
            Val::Text(text) => String::from_utf8_lossy(text).into_owned(),
            other => format!("{other:?}"),
        };
        match getopt(&args, options.as_bytes(), selector) {
            None => "-".to_owned(),
            Some(Val::List(items)) => items.iter().map(text).collect::<Vec<_>>().join(","),
            Some(value) => text(&value),
        }
    }

    #[test]
    fn options() {
        assert_eq!(shown("-nt 5 x -n", "nt:", None), "n,t,5");
        assert_eq!(shown("-t5 -n", "nt:", None), "t,5,n");
        assert_eq!(shown("-nt 5 -t6", "nt:", Some(b't')), "6");
        assert_eq!(shown("-n", "nt:", Some(b'n')), "n");
        assert_eq!(shown("-n", "nt:", Some(b't')), "-");
        assert_eq!(shown("-x -t", "t:", None), "?,");
        assert_eq!(shown("--exec -n -- -t", "nt", None), "n");
        assert_eq!(shown("word -n", "n", None), "");
    }
}
