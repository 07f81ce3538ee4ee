//! Rule files from disk.

use anyhow::{Context, bail};
use bodkin_rules::{Options, RuleFile, RuleSet};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Bytes of one file that are read: one more than the loader takes, so that it is the loader that refuses.
const FILE_BYTES_MAX: u64 = (16 << 20) + 1;

/// Files of one folder, far beyond any real one.
const FOLDER_FILES_MAX: usize = 10_000;

/// Reads rule files in order; a folder stands for its `.yaml` and `.yml` files in the order of their names.
///
/// # Errors
/// The file that cannot be read, and why.
pub(crate) fn read_files(paths: &[PathBuf]) -> anyhow::Result<Vec<RuleFile>> {
    let mut files = Vec::new();
    for path in paths {
        if path.is_dir() {
            for path in files_of(path)? {
                files.push(read(&path)?);
            }
        } else {
            files.push(read(path)?);
        }
    }
    Ok(files)
}

/// Compiles rules; where they cannot be used the error is the whole report.
///
/// # Errors
/// What is wrong with the rules.
pub(crate) fn rule_set(files: &[RuleFile], options: &Options) -> anyhow::Result<RuleSet> {
    let (rules, report) = RuleSet::load(files, options);
    rules.with_context(|| format!("the rules cannot be used\n{report}"))
}

fn files_of(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let context = || format!("rule folder {}", folder.display());
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(context)? {
        let path = entry.with_context(context)?.path();
        let is_rules = path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml");
        if is_rules && path.is_file() {
            paths.push(path);
        }
        if paths.len() > FOLDER_FILES_MAX {
            bail!("{} holds more than {FOLDER_FILES_MAX} rule files", folder.display());
        }
    }
    paths.sort();
    Ok(paths)
}

fn read(path: &Path) -> anyhow::Result<RuleFile> {
    let context = || format!("rule file {}", path.display());
    let mut bytes = Vec::new();
    File::open(path).with_context(context)?.take(FILE_BYTES_MAX).read_to_end(&mut bytes).with_context(context)?;
    let content = String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let line = 1 + error.as_bytes()[..at].iter().filter(|byte| **byte == b'\n').count();
        anyhow::anyhow!("{}:{line}: the bytes after this are no UTF-8", path.display())
    })?;
    Ok(RuleFile { name: path.display().to_string(), content })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_stand_for_their_files_in_order() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["b.yaml", "a.yml", "c.txt"] {
            std::fs::write(folder.path().join(name), name).unwrap();
        }
        let files = read_files(&[folder.path().to_owned()]).unwrap();
        assert_eq!(files.iter().map(|file| file.content.as_str()).collect::<Vec<_>>(), ["a.yml", "b.yaml"]);
        let missing = read_files(&[folder.path().join("none.yaml")]).unwrap_err();
        assert!(format!("{missing:#}").contains("none.yaml"), "{missing:#}");
        std::fs::write(folder.path().join("d.yaml"), b"a\nb\xff").unwrap();
        let broken = read_files(&[folder.path().join("d.yaml")]).unwrap_err();
        assert!(format!("{broken:#}").contains("d.yaml:2: "), "{broken:#}");
    }
}
