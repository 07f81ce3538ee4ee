//! Deliberate breaches of the protocol. A simulator that does not find them proves nothing.
//!
//! Each breaks one sentence of the design's section 4 from the outside, in what the production code relies on or in
//! how it is wired: no production code knows of them.

/// One way to break the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mutation {
    /// 4.1: an agent sends what it spooled under its new incarnation.
    ResentUnderNewIncarnation,
    /// 4.1: an agent numbers batches anew after each connection.
    RenumberedOnReconnect,
    /// 4.1: what marks cover is not dropped after a restart.
    MarksAreForgotten,
    /// 4.2: a sync returns before the bytes are on disk.
    SyncLies,
    /// 4.2: the name of a new segment is not made durable.
    FolderIsNotSynced,
    /// 4.2: a query does not wait until the shards have what was acknowledged.
    QueryDoesNotWait,
    /// 4.2: a side input counts without being in the log.
    SideInputIsNotLogged,
    /// 4.2: what a clock decides counts without being in the log.
    ClockIsNotLogged,
    /// 4.3: rows belong to the epoch during which they arrive, not to the one that their shard is in.
    EpochByArrival,
    /// 4.3: the state that an epoch stores is that of the epoch before.
    StateIsStale,
    /// 4.4: an intent replaces one that is there.
    IntentIsReplaced,
    /// 4.4: an intent names a position behind its barrier.
    PositionIsAhead,
    /// 4.4: the newest intent is deleted, too.
    NewestIntentIsDeleted,
    /// 4.4: a process that slept reads neither its table transactions nor whether there is a newer intent.
    SleeperIsNotStopped,
    /// 4.4: files of an epoch have the same name in every life of the process.
    FileNamesAreShared,
    /// 4.5: a commit does not look for the transaction of its epoch.
    CommitWithoutTransaction,
    /// 4.5: the log is trimmed before the epoch is decided.
    TrimmedBeforeDecision,
    /// 4.6: recovery does not finish the newest intent.
    NoRollForward,
    /// 4.6: recovery does not restore the state of operators.
    StateIsNotRestored,
    /// 4.6: the log is replayed from its beginning, not from the intent's position, and without its marks.
    ReplayedFromTheBeginning,
}

impl Mutation {
    /// All of them.
    pub const ALL: [Self; 20] = [
        Self::ResentUnderNewIncarnation,
        Self::RenumberedOnReconnect,
        Self::MarksAreForgotten,
        Self::SyncLies,
        Self::FolderIsNotSynced,
        Self::QueryDoesNotWait,
        Self::SideInputIsNotLogged,
        Self::ClockIsNotLogged,
        Self::EpochByArrival,
        Self::StateIsStale,
        Self::IntentIsReplaced,
        Self::PositionIsAhead,
        Self::NewestIntentIsDeleted,
        Self::SleeperIsNotStopped,
        Self::FileNamesAreShared,
        Self::CommitWithoutTransaction,
        Self::TrimmedBeforeDecision,
        Self::NoRollForward,
        Self::StateIsNotRestored,
        Self::ReplayedFromTheBeginning,
    ];

    /// The mutation of that name, as its `Debug` output writes it.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mutation| format!("{mutation:?}") == name)
    }
}
