//! Memory.

use super::Emit;

/// `/proc/meminfo`: `Active(anon): 12 kB` is `node_memory_Active_anon_bytes`.
pub(crate) fn meminfo(text: &str, emit: Emit<'_>) {
    for line in text.lines() {
        let mut fields = line.split_ascii_whitespace();
        let (Some(key), Some(value)) = (fields.next(), fields.next()) else { continue };
        let Ok(value) = value.parse::<f64>() else { continue };
        let key = key.trim_end_matches(':').replace('(', "_").replace(')', "");
        match fields.next() {
            Some("kB") => emit(&format!("node_memory_{key}_bytes"), &[], value * 1024.0),
            _ => emit(&format!("node_memory_{key}"), &[], value),
        }
    }
}

/// `/proc/vmstat`: the fields that node_exporter takes by default, `^(oom_kill|pgpg|pswp|pg.*fault).*`.
pub(crate) fn vmstat(text: &str, emit: Emit<'_>) {
    for line in text.lines() {
        let Some((key, value)) = line.split_once(' ') else { continue };
        let is_wanted = ["oom_kill", "pgpg", "pswp"].iter().any(|prefix| key.starts_with(prefix))
            || key.strip_prefix("pg").is_some_and(|rest| rest.contains("fault"));
        if let (true, Ok(value)) = (is_wanted, value.trim().parse()) {
            emit(&format!("node_vmstat_{key}"), &[], value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::lines;
    use super::*;

    #[test]
    fn names_and_units() {
        let text = "MemTotal:       16384 kB\nActive(anon):      2 kB\nHugePages_Total:       3\nbroken\nx: y kB\n";
        assert_eq!(
            lines(|emit| meminfo(text, emit)),
            [
                "node_memory_MemTotal_bytes{} 16777216",
                "node_memory_Active_anon_bytes{} 2048",
                "node_memory_HugePages_Total{} 3",
            ]
        );
        let text = "nr_free_pages 1\npgpgin 2\npswpout 3\npgfault 4\npgmajfault 5\npgfree 6\noom_kill 7\n";
        let names = ["pgpgin{} 2", "pswpout{} 3", "pgfault{} 4", "pgmajfault{} 5", "oom_kill{} 7"];
        assert_eq!(lines(|emit| vmstat(text, emit)), names.map(|name| format!("node_vmstat_{name}")));
    }
}
