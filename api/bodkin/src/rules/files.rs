//! Rule files from disk.

use anyhow::Context;
use bodkin_rules::{Diagnostic, Options, Place, Report, RuleFile, RuleSet, Severity};
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Bytes of all files that are read: one more than the loader takes.
const FILES_BYTES_MAX: u64 = (16 << 20) + 1;

/// Files of one folder, far beyond any real one.
const FOLDER_FILES_MAX: usize = 10_000;

/// Why rule files cannot be read, as a check says it.
#[derive(Debug)]
pub(crate) struct Unreadable(Box<Diagnostic>);

impl Unreadable {
    /// A file or folder that the system does not give.
    fn io(path: &Path, error: &io::Error) -> Self {
        Self::new(format!("{}: {error}", path.display()), None)
    }

    /// A line of a file that makes it no rule file.
    fn at(path: &Path, line: usize, message: &str) -> Self {
        let file = path.display().to_string();
        Self::new(message.to_owned(), Some(Place { file, line, column: 1, width: 1, ..Place::default() }))
    }

    fn new(message: String, place: Option<Place>) -> Self {
        let code = "LOAD_ERR_FILE_READ";
        Self(Box::new(Diagnostic { severity: Severity::Error, code, message, place, hint: None }))
    }

    /// The report of a check that got no further.
    pub(crate) fn into_report(self) -> Report {
        Report { errors: vec![*self.0], ..Report::default() }
    }
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.0.place {
            write!(f, "{}:{}: ", place.file, place.line)?;
        }
        f.write_str(&self.0.message)
    }
}

impl std::error::Error for Unreadable {}

/// Reads rule files in order; a folder stands for its `.yaml` and `.yml` files in the order of their names.
///
/// # Errors
/// The file that cannot be read, and why.
pub(crate) fn read_files(paths: &[PathBuf]) -> Result<Vec<RuleFile>, Unreadable> {
    let mut all = Vec::new();
    for path in paths {
        if path.is_dir() {
            files_of(path, &mut all)?;
        } else {
            all.push(path.clone());
        }
    }
    let mut left = FILES_BYTES_MAX;
    all.iter().map(|path| read(path, &mut left)).collect()
}

/// Compiles rules; where they cannot be used the error is the whole report.
///
/// # Errors
/// What is wrong with the rules.
pub(crate) fn rule_set(files: &[RuleFile], options: &Options) -> anyhow::Result<RuleSet> {
    let (rules, report) = RuleSet::load(files, options);
    rules.with_context(|| format!("the rules cannot be used\n{report}"))
}

fn files_of(folder: &Path, all: &mut Vec<PathBuf>) -> Result<(), Unreadable> {
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(|error| Unreadable::io(folder, &error))? {
        let path = entry.map_err(|error| Unreadable::io(folder, &error))?.path();
        let is_rules = path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml");
        if is_rules && path.is_file() {
            paths.push(path);
        }
        if paths.len() > FOLDER_FILES_MAX {
            let message = format!("{} holds more than {FOLDER_FILES_MAX} rule files", folder.display());
            return Err(Unreadable::new(message, None));
        }
    }
    paths.sort();
    all.append(&mut paths);
    Ok(())
}

/// Reads a file as far as `left` goes, and takes that off it.
fn read(path: &Path, left: &mut u64) -> Result<RuleFile, Unreadable> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(*left).read_to_end(&mut bytes));
    *left -= read.map_err(|error| Unreadable::io(path, &error))? as u64;
    if *left == 0 {
        let message = format!("rule files have at most {} MiB in all", FILES_BYTES_MAX >> 20);
        return Err(Unreadable::at(path, 1, &message));
    }
    let content = String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let line = 1 + error.as_bytes()[..at].iter().filter(|byte| **byte == b'\n').count();
        Unreadable::at(path, line, "bytes of this line are no UTF-8")
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
        assert!(missing.to_string().contains("none.yaml"), "{missing}");
        std::fs::write(folder.path().join("d.yaml"), b"a\nb\xff").unwrap();
        let broken = read_files(&[folder.path().join("d.yaml")]).unwrap_err();
        assert!(broken.to_string().contains("d.yaml:2: "), "{broken}");
        assert_eq!(broken.into_report().errors[0].place.as_ref().unwrap().line, 2);
    }
}
