//! Bounds on what a rule file may make us do. All official files together need less than a hundredth of each.

/// Bytes of one rule file.
pub(super) const FILE_BYTES_MAX: usize = 16 << 20;
/// YAML nodes of one file; a node behind an alias counts each time.
pub(super) const NODES_MAX: usize = 1 << 20;
/// Nesting of YAML nodes; rule files need 6 levels.
pub(super) const NODE_DEPTH_MAX: usize = 32;
/// Bytes of one condition after lists are substituted.
pub(super) const CONDITION_BYTES_MAX: usize = 4 << 20;
/// Bytes of all conditions after lists are substituted.
pub(super) const CONDITIONS_BYTES_MAX: usize = 64 << 20;
/// Values of one list after lists in it are spliced.
pub(super) const LIST_ITEMS_MAX: usize = 1 << 18;
/// Messages of one severity that are kept; the rest are counted.
pub(super) const MESSAGES_MAX: usize = 200;
