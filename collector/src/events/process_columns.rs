//! What rows say of their process: one row per process and state, repeated over the rows of events at the end.

use super::container_columns::ContainerColumns;
use super::repeat::{repeat, repeat_lists};
use super::text::{TextColumn, TextLists};
use crate::containers::ContainerInfo;
use crate::process::{Lineage, Process, capabilities, container};
use arrow::array::{ArrayRef, BooleanBuilder, Int32Builder, Int64Builder, ListBuilder, UInt32Array};
use arrow::datatypes::{DataType, Field};
use arrow::error::ArrowError;
use bodkin_ebpf::layout::layer;
use bodkin_schema::events as e;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes of a command line that are kept of an ancestor other than the parent.
const FAR_CMDLINE_BYTES: usize = 512;

/// Text columns in the order in which [`ProcessColumns::append`] fills them.
pub(super) const TEXTS: [&str; 23] = [
    e::PNAME,
    e::COMM,
    e::EXE,
    e::EXE_ARG0,
    e::CMDLINE,
    e::ARGS,
    e::CWD,
    e::USER,
    e::USER_HOME,
    e::USER_SHELL,
    e::LOGIN_USER,
    e::GROUP,
    e::CONTAINER_ID,
    e::CGROUPS,
    e::PGID_NAME,
    e::PGID_EXE,
    e::PGID_EXEPATH,
    e::SID_NAME,
    e::SID_EXE,
    e::SID_EXEPATH,
    e::CAP_PERMITTED,
    e::CAP_EFFECTIVE,
    e::CAP_INHERITABLE,
];

/// The last of them: sets of capabilities, which are made into text.
const SETS: usize = 3;

/// Lists of texts in the order in which they are filled.
pub(super) const LISTS: [&str; 4] = [e::ANCESTOR_NAMES, e::ANCESTOR_EXES, e::ANCESTOR_EXEPATHS, e::ANCESTOR_CMDLINES];

const INTS: [&str; 8] = [e::PPID, e::TTY, e::VPID, e::PVPID, e::PGID, e::VPGID, e::SID, e::LOGIN_SHELL_PID];

const LONGS: [&str; 7] = [
    e::LOGINUID,
    e::PROC_START_NS,
    e::PARENT_START_NS,
    e::PIDNS_START_NS,
    e::EXE_INO,
    e::EXE_CTIME_NS,
    e::EXE_MTIME_NS,
];

const FLAGS: [&str; 4] = [e::EXE_IS_WRITABLE, e::EXE_IS_UPPER_LAYER, e::EXE_IS_LOWER_LAYER, e::EXE_IS_MEMFD];

/// A column and its name.
pub(super) type Named = (&'static str, ArrayRef);

/// Columns of the processes of a batch in the making.
#[derive(Debug)]
pub struct ProcessColumns {
    batch: u64,
    rows: u32,
    text_bytes: usize,
    wall_offset_ns: i64,
    texts: [TextColumn; TEXTS.len()],
    lists: [TextLists; LISTS.len()],
    pids: ListBuilder<Int32Builder>,
    ints: [Int32Builder; INTS.len()],
    longs: [Int64Builder; LONGS.len()],
    flags: [BooleanBuilder; FLAGS.len()],
    /// Id and cgroup of each row's container: what runtimes say of it is looked up at the end.
    containers: Vec<(Arc<str>, Arc<str>)>,
    scratch: String,
}

/// Says what is known of a container by its id.
pub(crate) type ContainerLookup<'a> = &'a dyn Fn(&str) -> Option<Arc<ContainerInfo>>;

impl Default for ProcessColumns {
    fn default() -> Self {
        let item = Field::new("item", DataType::Int32, false);
        Self {
            batch: next_batch(),
            rows: 0,
            text_bytes: 0,
            wall_offset_ns: 0,
            texts: Default::default(),
            lists: Default::default(),
            pids: ListBuilder::new(Int32Builder::new()).with_field(item),
            ints: Default::default(),
            longs: Default::default(),
            flags: std::array::from_fn(|_| BooleanBuilder::new()),
            containers: Vec::new(),
            scratch: String::new(),
        }
    }
}

/// Numbers of batches are unique in the process: a place in one batch is never taken for one in another.
fn next_batch() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

impl ProcessColumns {
    /// Number of the batch.
    pub(crate) fn batch(&self) -> u64 {
        self.batch
    }

    /// Bytes of texts so far.
    pub(super) fn text_bytes(&self) -> usize {
        self.text_bytes
    }

    /// Wall-clock time minus boot time, for the starts of processes that are appended from now on.
    pub(super) fn set_wall_offset(&mut self, wall_offset_ns: i64) {
        self.wall_offset_ns = wall_offset_ns;
    }

    /// Appends a process; returns its row.
    pub(crate) fn append(&mut self, lineage: &Lineage<'_>) -> u32 {
        self.append_texts(lineage);
        self.append_ancestors(&lineage.ancestors);
        self.append_numbers(lineage);
        self.containers.push((lineage.process.container_id.clone(), lineage.process.cgroup.clone()));
        let lists = self.lists.iter().map(TextLists::bytes).sum::<usize>();
        self.text_bytes = self.texts.iter().map(TextColumn::bytes).sum::<usize>() + lists;
        let row = self.rows;
        self.rows += 1;
        row
    }

    fn append_texts(&mut self, lineage: &Lineage<'_>) {
        let process = lineage.process;
        let user = process.uid.and_then(|uid| lineage.users.user(uid));
        let login = process.loginuid.and_then(|uid| lineage.users.name(uid));
        let group = process.gid.and_then(|gid| lineage.users.group(gid));
        let (leader, session) = (lineage.group_leader, lineage.session_leader);
        let texts: [Option<&Arc<str>>; TEXTS.len() - SETS] = [
            lineage.parent_name(),
            process.comm.as_ref(),
            process.exe.as_ref(),
            process.arg0.as_ref(),
            process.cmdline.as_ref(),
            process.args.as_ref(),
            process.cwd.as_ref(),
            user.map(|user| &user.name),
            user.map(|user| &user.home),
            user.map(|user| &user.shell),
            login,
            group,
            Some(&process.container_id),
            Some(&process.cgroup),
            leader.and_then(|leader| leader.comm.as_ref()),
            leader.and_then(|leader| leader.arg0.as_ref()),
            leader.and_then(|leader| leader.exe.as_ref()),
            session.and_then(|leader| leader.comm.as_ref()),
            session.and_then(|leader| leader.arg0.as_ref()),
            session.and_then(|leader| leader.exe.as_ref()),
        ];
        let row = self.rows as usize;
        let (given, rest) = self.texts.split_at_mut(texts.len());
        for (column, text) in given.iter_mut().zip(texts) {
            if let Some(text) = text {
                column.put_text(row, text);
            }
        }
        let caps = process.caps.map(|caps| [caps.permitted, caps.effective, caps.inheritable]);
        for (column, set) in rest.iter_mut().zip(caps.into_iter().flatten()) {
            capabilities::write_names(set, &mut self.scratch);
            let key = column.key_of_str(&self.scratch);
            column.put(row, key);
        }
    }

    fn append_ancestors(&mut self, ancestors: &[&Process]) {
        let [names, exes, exepaths, cmdlines] = &mut self.lists;
        for (at, ancestor) in ancestors.iter().enumerate() {
            let text = |text: &Option<Arc<str>>| text.clone().unwrap_or_default();
            names.push(&text(&ancestor.comm));
            exes.push(&text(&ancestor.arg0));
            exepaths.push(&text(&ancestor.exe));
            write_cmdline(ancestor, &mut self.scratch);
            if at > 0 {
                truncate(&mut self.scratch, FAR_CMDLINE_BYTES);
            }
            cmdlines.push_str(&self.scratch);
            self.pids.values().append_value(ancestor.pid as i32);
        }
        self.pids.append(true);
        for list in &mut self.lists {
            list.end_row();
        }
    }

    fn append_numbers(&mut self, lineage: &Lineage<'_>) {
        let process = lineage.process;
        let parent = lineage.ancestors.first();
        let id = |id: u32| (id > 0).then_some(id as i32);
        let ints: [Option<i32>; INTS.len()] = [
            process.ppid.map(|pid| pid as i32),
            process.tty,
            id(process.ids.vpid),
            parent.and_then(|parent| id(parent.ids.vpid)),
            id(process.ids.pgid),
            id(process.ids.vpgid),
            id(process.ids.sid),
            lineage.login_shell.map(|pid| pid as i32),
        ];
        let wall = |boot_ns: u64| (boot_ns > 0).then(|| self.wall_offset_ns.wrapping_add(boot_ns as i64));
        let longs: [Option<i64>; LONGS.len()] = [
            process.loginuid.map(i64::from),
            wall(process.start_ns),
            parent.and_then(|parent| wall(parent.start_ns)),
            wall(process.pidns_start_ns),
            process.file.map(|file| file.ino as i64),
            process.file.map(|file| file.ctime_ns as i64),
            process.file.map(|file| file.mtime_ns as i64),
        ];
        let layer = |bit: u16| process.file.map(|file| file.layer & bit != 0);
        let flags: [Option<bool>; FLAGS.len()] =
            [process.is_exe_writable, layer(layer::UPPER), layer(layer::LOWER), layer(layer::MEMFD)];
        self.ints.iter_mut().zip(ints).for_each(|(column, value)| column.append_option(value));
        self.longs.iter_mut().zip(longs).for_each(|(column, value)| column.append_option(value));
        self.flags.iter_mut().zip(flags).for_each(|(column, value)| column.append_option(value));
    }

    /// The columns for rows of events, each of which names the row of its process; empty afterwards.
    pub(super) fn finish(&mut self, rows: &UInt32Array, info: ContainerLookup<'_>) -> Result<Vec<Named>, ArrowError> {
        let mut columns: Vec<Named> = Vec::new();
        for (name, column) in TEXTS.into_iter().zip(&mut self.texts) {
            columns.push((name, column.finish(self.rows as usize)?));
        }
        let mut lists: Vec<Named> = vec![(e::ANCESTOR_PIDS, Arc::new(self.pids.finish()))];
        for (name, column) in LISTS.into_iter().zip(&mut self.lists) {
            lists.push((name, column.finish()?));
        }
        columns.extend(INTS.into_iter().zip(&mut self.ints).map(|(name, c)| (name, Arc::new(c.finish()) as ArrayRef)));
        columns
            .extend(LONGS.into_iter().zip(&mut self.longs).map(|(name, c)| (name, Arc::new(c.finish()) as ArrayRef)));
        columns
            .extend(FLAGS.into_iter().zip(&mut self.flags).map(|(name, c)| (name, Arc::new(c.finish()) as ArrayRef)));
        let mut containers = ContainerColumns::default();
        for (id, cgroup) in self.containers.drain(..) {
            match &*id {
                container::HOST => containers.append(None, None)?,
                id => containers.append(info(id).as_deref(), container::full_id(&cgroup))?,
            }
        }
        columns.extend(containers.finish()?);
        (self.rows, self.text_bytes) = (0, 0);
        self.batch = next_batch();
        let mut repeated = repeat_lists(lists, rows)?;
        for column in columns {
            repeated.push(repeat(column, rows)?);
        }
        Ok(repeated)
    }
}

/// Falco's command line: the short name, then the arguments.
fn write_cmdline(process: &Process, out: &mut String) {
    out.clear();
    out.push_str(process.comm.as_deref().unwrap_or_default());
    if let Some(args) = process.args.as_deref().filter(|args| !args.is_empty()) {
        out.push(' ');
        out.push_str(args);
    }
}

fn truncate(text: &mut String, bytes_max: usize) {
    text.truncate(text.floor_char_boundary(bytes_max));
}
