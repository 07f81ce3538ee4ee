//! Bounds on what rule files may make us do: together they keep a load below 256 MiB and, where it fails, below a second.
//! All official files together need less than a tenth of each.

/// Bytes of all rule files of a load.
pub(super) const FILES_BYTES_MAX: usize = 16 << 20;
/// YAML nodes of all files by [`NODE_BYTES`] and the bytes of their texts; what is behind an alias counts each time.
pub(super) const YAML_BYTES_MAX: usize = 24 << 20;
/// What a YAML node takes without its text.
pub(super) const NODE_BYTES: usize = 48;
/// Nesting of YAML nodes; rule files need 6 levels.
pub(super) const NODE_DEPTH_MAX: usize = 32;
/// Lists, macros, rules and their changes.
pub(super) const OBJECTS_MAX: usize = 1 << 15;
/// What values of all lists may take after lists in them are spliced, each value by [`VALUE_BYTES`] beside its bytes.
pub(super) const LISTS_BYTES_MAX: usize = 24 << 20;
/// Exceptions of a rule.
pub(super) const EXCEPTIONS_MAX: usize = 1 << 10;
/// What conditions and outputs may take in all, lists and macros substituted, each value by [`VALUE_BYTES`] beside its
/// bytes.
pub(super) const CONDITIONS_BYTES_MAX: usize = 16 << 20;
/// What a comparison and a value take beside their texts.
pub(super) const VALUE_BYTES: usize = 40;
/// Messages of one severity that are kept. A load that has so many errors stops; warnings beyond are counted.
pub(super) const MESSAGES_MAX: usize = 200;
