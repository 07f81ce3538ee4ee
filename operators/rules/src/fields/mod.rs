//! The fields of the rule language: type, argument, source, and where a value comes from.
//!
//! A field of source `syscall` is read from columns of the stream `events` ([`mod@syscall`]); one of `k8s_audit`,
//! `aws_cloudtrail` and `json` from a JSON document that is parsed once per event ([`mod@document`]). Null in, null out:
//! a field whose column is not in a batch, or whose path is not in a document, has no value.

pub(crate) mod address;
pub(crate) mod argument;
pub(crate) mod audit;
mod cloudtrail;
pub(crate) mod derive;
pub(crate) mod document;
pub(crate) mod errno;
pub(crate) mod event_type;
mod fd;
mod k8s_audit;
mod mount;
pub(crate) mod pieces;
pub(crate) mod rows;
pub(crate) mod syscall;
pub(crate) mod time;

use crate::load::Source;
use crate::syntax::suggest::did_you_mean;
use std::sync::LazyLock;

pub use event_type::EventSet;

/// The type of a field's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Text.
    Text,
    /// Bytes that need not be text.
    Bytes,
    /// A whole number.
    Number,
    /// A TCP or UDP port, which may be written by name.
    Port,
    /// True or false.
    Flag,
    /// An IP address.
    Address,
    /// An IP address that is compared with networks.
    Network,
}

impl Kind {
    /// The name in messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Bytes => "buffer",
            Self::Number => "number",
            Self::Port => "port",
            Self::Flag => "true/false",
            Self::Address => "IP address",
            Self::Network => "IP network",
        }
    }
}

/// Whether a field takes an argument in brackets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArgRule {
    /// No.
    None,
    /// A number may follow.
    Index,
    /// A text may follow.
    Key,
    /// A number must follow.
    NeedsIndex,
    /// A text must follow.
    NeedsKey,
}

/// Where a field's values come from.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Get {
    /// A column of `events`, of the field's type.
    Column(&'static str),
    /// Computed from columns of `events`.
    Derived(derive::Derived),
    /// Of the n-th ancestor, 0 being the process itself: a list column with the parent first, and the process's own
    /// column.
    Ancestors { list: &'static str, own: &'static str },
    /// A value of a map column, the argument being the key.
    MapColumn(&'static str),
    /// From a JSON document.
    Document(document::Extract),
    /// The field is known, and nothing gives its value yet.
    Nothing,
}

/// A field.
#[derive(Debug)]
pub struct FieldInfo {
    /// Name without argument.
    pub name: &'static str,
    /// Type of its values.
    pub kind: Kind,
    /// Whether it has several values at once.
    pub is_list: bool,
    /// Its argument.
    pub arg: ArgRule,
    /// Cannot be printed.
    pub is_filter_only: bool,
    /// Cannot be transformed, nor compared with another field.
    pub is_plain_only: bool,
    /// Is going away.
    pub is_deprecated: bool,
    pub(crate) get: Get,
}

impl FieldInfo {
    const fn new(name: &'static str, kind: Kind, get: Get) -> Self {
        let (is_list, is_filter_only, is_plain_only, is_deprecated) = (false, false, false, false);
        Self { name, kind, is_list, arg: ArgRule::None, is_filter_only, is_plain_only, is_deprecated, get }
    }

    const fn list(mut self) -> Self {
        self.is_list = true;
        self
    }

    const fn arg(mut self, arg: ArgRule) -> Self {
        self.arg = arg;
        self
    }

    const fn filter_only(mut self) -> Self {
        self.is_filter_only = true;
        self.is_plain_only = true;
        self
    }

    const fn plain_only(mut self) -> Self {
        self.is_plain_only = true;
        self
    }

    const fn deprecated(mut self) -> Self {
        self.is_deprecated = true;
        self
    }
}

/// The argument of a field that is used.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum FieldArg {
    None,
    Index(usize),
    Key(String),
}

/// A field with its argument, as a rule uses it.
#[derive(Clone, Debug)]
pub(crate) struct FieldUse {
    pub(crate) info: &'static FieldInfo,
    pub(crate) arg: FieldArg,
}

impl FieldUse {
    /// One value per row, although the field without argument has several.
    pub(crate) fn is_list(&self) -> bool {
        self.info.is_list
    }

    /// Compared with each of several values: the ancestors of a process.
    pub(crate) fn is_any_of(&self) -> bool {
        matches!(self.info.get, Get::Ancestors { .. }) && self.arg == FieldArg::None
    }
}

impl std::fmt::Display for FieldUse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.arg {
            FieldArg::None => f.write_str(self.info.name),
            FieldArg::Index(index) => write!(f, "{}[{index}]", self.info.name),
            FieldArg::Key(key) if matches!(self.info.name, "evt.arg" | "evt.rawarg") => {
                write!(f, "{}.{key}", self.info.name)
            }
            FieldArg::Key(key) => write!(f, "{}[{key}]", self.info.name),
        }
    }
}

/// Why a field cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FieldError {
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
    /// There is no such field at all, so that `skip-if-unknown-filter` applies.
    pub(crate) is_unknown: bool,
}

/// All fields of a source, sorted by name.
pub fn fields_of(source: Source) -> &'static [&'static FieldInfo] {
    static ALL: LazyLock<[Vec<&'static FieldInfo>; 4]> = LazyLock::new(|| Source::ALL.map(collect));
    &ALL[source as usize]
}

fn collect(source: Source) -> Vec<&'static FieldInfo> {
    let own: &[&'static [FieldInfo]] = match source {
        Source::Syscall => &[syscall::FIELDS],
        Source::K8sAudit => &[document::COMMON, document::FIELDS, k8s_audit::FIELDS, k8s_audit::CONTAINER_FIELDS],
        Source::AwsCloudtrail => &[document::COMMON, document::FIELDS, cloudtrail::PATHS, cloudtrail::FIELDS],
        Source::Json => &[document::COMMON, document::FIELDS],
    };
    let mut all: Vec<_> = own.iter().flat_map(|fields| fields.iter()).collect();
    all.sort_by_key(|info| info.name);
    all
}

/// Finds a field by the name and argument of a condition or an output.
pub(crate) fn find(source: Source, name: &str, arg: Option<&str>) -> Result<FieldUse, FieldError> {
    for class in ["evt.arg", "evt.rawarg"] {
        if let Some(argument) = name.strip_prefix(class).and_then(|rest| rest.strip_prefix('.')) {
            return find_event_argument(source, class, argument);
        }
    }
    let fields = fields_of(source);
    let Ok(index) = fields.binary_search_by_key(&name, |info| info.name) else {
        let elsewhere = Source::ALL.into_iter().find(|other| fields_of(*other).iter().any(|info| info.name == name));
        return Err(FieldError {
            message: format!("there is no field {name} in source {source}"),
            hint: match elsewhere {
                Some(other) => Some(format!("it is a field of source {other}")),
                None => did_you_mean(name, fields.iter().map(|info| info.name)),
            },
            is_unknown: true,
        });
    };
    let info = fields[index];
    let refuse = |message: String| Err(FieldError { message, hint: None, is_unknown: false });
    let arg = match (info.arg, arg) {
        (ArgRule::None, Some(_)) => return refuse(format!("field {name} takes no argument")),
        (ArgRule::NeedsIndex, None) => return refuse(format!("field {name} needs a number in brackets: {name}[0]")),
        (ArgRule::NeedsKey, None) => return refuse(format!("field {name} needs an argument in brackets: {name}[...]")),
        (_, None) => FieldArg::None,
        (ArgRule::Index | ArgRule::NeedsIndex, Some(arg)) => match arg.parse() {
            Ok(index) => FieldArg::Index(index),
            Err(_) => return refuse(format!("the argument of {name} is a number, not '{arg}'")),
        },
        (ArgRule::Key | ArgRule::NeedsKey, Some(arg)) => FieldArg::Key(arg.to_owned()),
    };
    Ok(FieldUse { info, arg })
}

/// Says whether a field has that name. Unlike [`find`] it does not look for one that may be meant.
pub(crate) fn is_field(source: Source, name: &str) -> bool {
    let is_argument = name.starts_with("evt.arg.") || name.starts_with("evt.rawarg.");
    let is_named = || fields_of(source).binary_search_by_key(&name, |info| info.name).is_ok();
    if is_argument { find(source, name, None).is_ok() } else { is_named() }
}

fn find_event_argument(source: Source, class: &str, argument: &str) -> Result<FieldUse, FieldError> {
    let is_known = event_type::ARGUMENTS.binary_search(&argument).is_ok();
    let info = fields_of(source).iter().find(|info| info.name == class);
    match (info, is_known) {
        (Some(info), true) => Ok(FieldUse { info, arg: FieldArg::Key(argument.to_owned()) }),
        _ => Err(FieldError {
            message: format!("no event has an argument '{argument}'"),
            hint: did_you_mean(argument, event_type::ARGUMENTS.iter().copied()),
            is_unknown: true,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique() {
        for source in Source::ALL {
            let fields = fields_of(source);
            assert!(fields.windows(2).all(|pair| pair[0].name < pair[1].name), "{source}");
        }
        assert!(fields_of(Source::Syscall).len() > 150);
    }

    #[test]
    fn arguments_are_checked() {
        let message = |name: &str, arg: Option<&str>| {
            find(Source::Syscall, name, arg).map(|f| f.to_string()).unwrap_or_else(|e| e.message)
        };
        assert_eq!(message("proc.aname", Some("2")), "proc.aname[2]");
        assert_eq!(message("proc.aname", Some("x")), "the argument of proc.aname is a number, not 'x'");
        assert_eq!(message("proc.name", Some("1")), "field proc.name takes no argument");
        assert_eq!(message("evt.arg.flags", None), "evt.arg.flags");
        assert_eq!(find(Source::Syscall, "evt.arg.flag", None).unwrap_err().hint.unwrap(), "did you mean flags?");
        assert_eq!(find(Source::Syscall, "proc.pnam", None).unwrap_err().hint.unwrap(), "did you mean proc.pname?");
        assert_eq!(
            find(Source::Syscall, "ka.verb", None).unwrap_err().hint.unwrap(),
            "it is a field of source k8s_audit"
        );
        assert_eq!(
            find(Source::Json, "json.value", None).unwrap_err().message,
            "field json.value needs an argument in brackets: json.value[...]"
        );
    }
}
