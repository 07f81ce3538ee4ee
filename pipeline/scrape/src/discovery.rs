//! Files and HTTP answers that name targets.

use crate::config::{FileSdConfig, HttpSdConfig, StaticConfig, TargetGroup};
use crate::fetch::{client, get};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Bytes of a file or an answer (SAFE-1).
const BYTES_MAX: usize = 16 << 20;
const HTTP_TIMEOUT: Duration = Duration::from_secs(30);

/// The targets of all files of a configuration. A file that cannot be read is an error: what it named goes on then.
pub(crate) async fn from_files(config: FileSdConfig) -> Result<Vec<TargetGroup>, String> {
    let read = tokio::task::spawn_blocking(move || {
        let mut groups = Vec::new();
        for pattern in &config.files {
            for path in matching(pattern)? {
                let text = read_bounded(&path).map_err(|error| format!("{}: {error}", path.display()))?;
                groups.extend(parse(&text, &path.display().to_string())?);
            }
        }
        Ok(groups)
    });
    read.await.map_err(|error| error.to_string())?
}

fn read_bounded(path: &Path) -> std::io::Result<String> {
    use std::io::Read;
    let mut text = String::new();
    std::fs::File::open(path)?.take(BYTES_MAX as u64).read_to_string(&mut text)?;
    Ok(text)
}

/// The files that a path with `*` in its last part stands for, sorted.
fn matching(pattern: &Path) -> Result<Vec<PathBuf>, String> {
    let name = pattern.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let Some((before, after)) = name.split_once('*') else { return Ok(vec![pattern.to_owned()]) };
    let folder = pattern.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let entries = std::fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let fits =
        |name: &str| name.len() >= before.len() + after.len() && name.starts_with(before) && name.ends_with(after);
    let paths = entries.filter_map(Result::ok).filter(|entry| entry.file_name().to_str().is_some_and(fits));
    let mut paths: Vec<PathBuf> = paths.map(|entry| entry.path()).collect();
    paths.sort();
    Ok(paths)
}

/// JSON is YAML, too.
fn parse(text: &str, name: &str) -> Result<Vec<TargetGroup>, String> {
    if text.trim().is_empty() {
        return Ok(Vec::new());
    }
    let groups: Vec<StaticConfig> = serde_saphyr::from_str(text).map_err(|error| format!("{name}: {error}"))?;
    Ok(groups.iter().map(|group| TargetGroup::new(name, group)).collect())
}

/// The targets that an endpoint names.
pub(crate) async fn from_http(config: &HttpSdConfig) -> Result<Vec<TargetGroup>, String> {
    let as_whom = config.client();
    let client = client(&as_whom)?;
    let url = url::Url::parse(&config.url).map_err(|error| error.to_string())?;
    let page = get(&client, &as_whom, &url, "application/json", HTTP_TIMEOUT, BYTES_MAX).await?;
    let text = String::from_utf8(page.bytes).map_err(|_| format!("{url}: the answer is not UTF-8"))?;
    parse(&text, url.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn files_in_json_and_yaml() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("b.yml"), "- targets: ['b:1']\n  labels: {zone: 2}\n").unwrap();
        std::fs::write(dir.path().join("a.yml"), r#"[{"targets": ["a:1", "a:2"], "labels": {"x": "y"}}]"#).unwrap();
        std::fs::write(dir.path().join("c.json"), "[").unwrap();
        let files = |pattern: &str| FileSdConfig { files: vec![dir.path().join(pattern)], refresh_interval: None };
        let groups = from_files(files("*.yml")).await.unwrap();
        assert_eq!(groups[0].addresses, ["a:1", "a:2"]);
        assert_eq!(groups[1].labels["zone"], "2");
        assert!(from_files(files("*.json")).await.unwrap_err().contains("c.json"));
        assert!(from_files(files("missing")).await.unwrap_err().contains("missing"));
    }
}
