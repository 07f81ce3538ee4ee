//! A rule set three times as large, of which no comparison with a list is shared.

/// The file twice more under other names: every list has another value, so that no comparison with it is shared.
pub(crate) fn tripled(content: &str) -> String {
    let lines: Vec<&str> = content.lines().collect();
    let name = |line: &str| {
        let rest = line.strip_prefix("- list: ").or_else(|| line.strip_prefix("- macro: "))?;
        Some(rest.trim().to_owned())
    };
    // A macro that is called like an event type keeps its name.
    let names: Vec<String> = lines.iter().filter_map(|line| name(line)).filter(|name| name != "dup").collect();
    let mut all = content.to_owned();
    for copy in 1..3 {
        let mut is_kept = false;
        for line in &lines {
            if line.starts_with("- ") {
                is_kept = ["- list: ", "- macro: ", "- rule: "].iter().any(|start| line.starts_with(start));
            }
            if !is_kept {
                continue;
            }
            let line = match line.strip_prefix("- rule: ") {
                Some(rule) => format!("- rule: {rule} variation {copy}"),
                None => renamed(line, &names, copy),
            };
            // A network cannot be a word.
            let varied = if line.trim_start().starts_with("items: [") && !line.contains("0/8") {
                line.replacen('[', &format!("[{}, ", 60_000 + copy), 1)
            } else {
                line
            };
            all.push_str(&varied);
            all.push('\n');
        }
    }
    all
}

/// A line in which every word that is one of `names` is the name of its copy.
fn renamed(line: &str, names: &[String], copy: usize) -> String {
    let is_word = |c: char| c.is_ascii_alphanumeric() || "_-./%".contains(c);
    let mut out = String::new();
    let mut rest = line;
    while !rest.is_empty() {
        let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        out.push_str(word);
        if names.iter().any(|name| name == word) {
            out.push_str(&format!("_v{copy}"));
        }
        let others = after.find(is_word).unwrap_or(after.len());
        out.push_str(&after[..others]);
        rest = &after[others..];
    }
    out
}
