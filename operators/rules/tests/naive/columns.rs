//! Fields of kernel events, read one by one from the columns of a batch: those that the published rules use.

use super::{Row, V};
use arrow::array::{Array, AsArray};
use arrow::datatypes::{DataType, Int32Type, Int64Type};
use arrow::record_batch::RecordBatch;

/// A row of `events`.
#[derive(Clone, Copy)]
pub(crate) struct BatchRow<'a> {
    pub(crate) batch: &'a RecordBatch,
    pub(crate) row: usize,
}

/// Calls with a descriptor, of those that the tests and the benchmark make.
const WITH_FD: &[&str] = &[
    "open", "openat", "openat2", "creat", "connect", "accept", "accept4", "socket", "bind", "listen", "sendto",
    "sendmsg", "recvfrom", "recvmsg", "dup", "dup2", "dup3", "fchmod", "read", "write", "close",
];

const OPENS: &[&str] = &["open", "openat", "openat2", "open_by_handle_at"];

fn text_at(array: &dyn Array, row: usize) -> Option<&str> {
    if array.is_null(row) {
        return None;
    }
    match array.data_type() {
        DataType::Utf8 => Some(array.as_string::<i32>().value(row)),
        DataType::Utf8View => Some(array.as_string_view().value(row)),
        DataType::Dictionary(..) => {
            let dictionary = array.as_dictionary::<Int32Type>();
            text_at(dictionary.values(), dictionary.keys().value(row) as usize)
        }
        _ => None,
    }
}

impl<'a> BatchRow<'a> {
    fn text(&self, column: &str) -> Option<&'a str> {
        text_at(self.batch.column_by_name(column)?, self.row)
    }

    fn number(&self, column: &str) -> Option<i64> {
        let array = self.batch.column_by_name(column)?;
        match array.data_type() {
            _ if array.is_null(self.row) => None,
            DataType::Int32 => Some(array.as_primitive::<Int32Type>().value(self.row).into()),
            DataType::Int64 => Some(array.as_primitive::<Int64Type>().value(self.row)),
            _ => None,
        }
    }

    fn flag(&self, column: &str) -> Option<bool> {
        let array = self.batch.column_by_name(column)?.as_boolean_opt()?;
        array.is_valid(self.row).then(|| array.value(self.row))
    }

    fn list(&self, column: &str) -> Vec<String> {
        let Some(list) = self.batch.column_by_name(column).and_then(|array| array.as_list_opt::<i32>()) else {
            return Vec::new();
        };
        if list.is_null(self.row) {
            return Vec::new();
        }
        let items = list.value(self.row);
        (0..items.len()).filter_map(|item| text_at(&items, item).map(str::to_owned)).collect()
    }

    fn argument(&self, name: &str) -> Option<String> {
        let recorded = self.batch.column_by_name("evt_args").and_then(|array| array.as_map_opt()).and_then(|map| {
            let entries = map.is_valid(self.row).then(|| map.value(self.row))?;
            let at = (0..entries.len()).find(|entry| text_at(entries.column(0), *entry) == Some(name))?;
            text_at(entries.column(1), at).map(str::to_owned)
        });
        recorded.or_else(|| match name {
            "flags" => self.text("flags").map(str::to_owned),
            "name" | "path" | "oldpath" => self.text("path").map(str::to_owned),
            "newpath" | "linkpath" => self.text("path2").map(str::to_owned),
            _ => None,
        })
    }

    fn event(&self) -> &'a str {
        self.text("evt_type").unwrap_or_default()
    }

    fn is_open(&self) -> bool {
        OPENS.contains(&self.event())
    }

    fn has_flag(&self, wanted: &[&str]) -> bool {
        self.text("flags").is_some_and(|flags| flags.split('|').any(|flag| wanted.contains(&flag)))
    }

    fn kind(&self) -> Option<&'a str> {
        self.text("fd_type").filter(|_| WITH_FD.contains(&self.event()))
    }

    fn is_server(&self) -> bool {
        self.flag("fd_is_server").unwrap_or(["accept", "accept4", "listen", "bind"].contains(&self.event()))
    }

    fn fd_name(&self) -> Option<String> {
        let event = Some(self.event()).filter(|event| WITH_FD.contains(event))?;
        if let Some(path) = self.text("path") {
            return Some(path.to_owned());
        }
        let (Some(local), Some(remote)) = (self.text("local_addr"), self.text("remote_addr")) else {
            return Some(String::new());
        };
        let port = |column: &str| self.number(column).unwrap_or_default();
        let local = format!("{local}:{}", port("local_port"));
        let remote = format!("{remote}:{}", port("remote_port"));
        let is_server = self.flag("fd_is_server").unwrap_or(event.starts_with("accept"));
        Some(if is_server { format!("{remote}->{local}") } else { format!("{local}->{remote}") })
    }

    fn directory(&self) -> Option<&'a str> {
        let path = self.text("path").filter(|_| WITH_FD.contains(&self.event()))?;
        let parent = match path.rfind('/') {
            None | Some(0) => "/",
            Some(slash) if slash + 1 == path.len() => path,
            Some(slash) => &path[..slash],
        };
        match self.kind() {
            Some("directory") => Some(path),
            Some("file") => Some(parent),
            None if self.is_open() || self.event() == "creat" => Some(parent),
            _ => None,
        }
    }

    fn one_text(&self, name: &str) -> Option<String> {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        let first = |list: &str| self.list(list).into_iter().next();
        match name {
            "evt.type" => owned(self.text("evt_type")),
            "evt.res" => self.number("result").map(result_name),
            "fd.name" => self.fd_name(),
            "fd.nameraw" => owned(self.text("path_raw").filter(|_| WITH_FD.contains(&self.event())))
                .map(|path| path.split("//").collect::<Vec<_>>().join("/")),
            "fd.directory" => owned(self.directory()),
            "fd.filename" => {
                let path = self.text("path").filter(|_| self.kind() == Some("file"))?;
                let name = path.rsplit('/').next().filter(|name| path.contains('/') && !name.is_empty());
                Some(name.unwrap_or(if path.contains('/') { path } else { "/" }).to_owned())
            }
            "fd.type" => owned(self.kind()),
            "fd.typechar" => Some(self.event()).filter(|event| WITH_FD.contains(event)).map(|event| {
                match self.kind() {
                    Some("file") => "f",
                    Some("directory") => "d",
                    Some("ipv4") => "4",
                    Some("ipv6") => "6",
                    Some("unix") => "u",
                    None if self.is_open() || event == "creat" => "f",
                    _ => "o",
                }
                .to_owned()
            }),
            "fd.l4proto" => owned(self.text("proto").filter(|proto| ["tcp", "udp", "icmp", "raw"].contains(proto))),
            "fd.sip.name" => owned(self.text(if self.is_server() { "local_name" } else { "remote_name" })),
            "proc.name" => owned(self.text("comm")),
            "proc.pname" => owned(self.text("pname")).or_else(|| first("ancestor_names")),
            "proc.pexe" => first("ancestor_exes"),
            "proc.pcmdline" => first("ancestor_cmdlines"),
            "proc.exe" => owned(self.text("exe_arg0")),
            "proc.exepath" => owned(self.text("exe")),
            "proc.args" => owned(self.text("args")),
            "proc.cwd" => self.text("cwd").map(|cwd| format!("{}/", cwd.trim_end_matches('/'))),
            "proc.cmdline" => {
                let (comm, args) = (self.text("comm")?, self.text("args").filter(|args| !args.is_empty()));
                Some(args.map_or(comm.to_owned(), |args| format!("{comm} {args}")))
            }
            "user.name" => owned(self.text("user")),
            "thread.cap_effective" => owned(self.text("cap_effective")),
            "container.id" => owned(self.text("container_id")),
            "container.image.repository" => owned(self.text("container_image_repository")),
            "k8s.ns.name" => owned(self.text("k8s_ns")),
            _ => panic!("the naive evaluator knows no field {name}"),
        }
    }
}

fn result_name(result: i64) -> String {
    match result {
        0.. => "SUCCESS",
        -1 => "EPERM",
        -2 => "ENOENT",
        -13 => "EACCES",
        -111 => "ECONNREFUSED",
        -115 => "EINPROGRESS",
        _ => "EOTHER",
    }
    .to_owned()
}

impl Row for BatchRow<'_> {
    fn values(&self, name: &str, arg: Option<&str>) -> Vec<V> {
        let address = |column: &str| self.text(column).and_then(|text| text.parse().ok()).map(V::Address);
        let number = |number: Option<i64>| number.map(V::Number).into_iter().collect();
        let flag = |flag: Option<bool>| flag.map(V::Flag).into_iter().collect();
        let typed = |value: bool| self.text("evt_type").map(|_| V::Flag(value)).into_iter().collect();
        let (server_addr, server_port) =
            if self.is_server() { ("local_addr", "local_port") } else { ("remote_addr", "remote_port") };
        if let Some(argument) = name.strip_prefix("evt.arg.") {
            return self.argument(argument).map(|text| V::Text(text.into_bytes())).into_iter().collect();
        }
        match (name, arg) {
            ("evt.num", _) => vec![V::Number(1)],
            ("evt.rawres", _) => number(self.number("result")),
            ("evt.is_open_read", _) => typed(self.is_open() && self.has_flag(&["O_RDONLY", "O_RDWR"])),
            ("evt.is_open_write", _) => typed(self.is_open() && self.has_flag(&["O_WRONLY", "O_RDWR"])),
            ("fd.num", _) => {
                let has_failed = self.number("result").is_some_and(|result| result < 0);
                let missing = (has_failed && WITH_FD.contains(&self.event())).then_some(-1);
                number(self.number("fd").or(missing))
            }
            ("fd.connected", _) => flag(self.flag("fd_connected")),
            ("fd.name_changed", _) => flag(self.flag("fd_name_changed")),
            ("fd.ip" | "fd.net", _) => address("local_addr").into_iter().chain(address("remote_addr")).collect(),
            ("fd.snet", _) => address(server_addr).into_iter().collect(),
            ("fd.sport", _) => number(self.number(server_port)),
            ("user.uid", _) => number(self.number("uid")),
            ("proc.tty", _) => number(self.number("tty")),
            ("proc.duration", _) => {
                let (now, start) = (self.number("ts_ns"), self.number("proc_start_ns"));
                number(now.zip(start).map(|(now, start)| now - start))
            }
            ("proc.is_exe_upper_layer", _) => flag(self.flag("exe_is_upper_layer")),
            ("proc.is_exe_from_memfd", _) => flag(self.flag("exe_is_memfd")),
            ("container.privileged", _) => flag(self.flag("container_privileged")),
            ("proc.aname", None) => {
                self.list("ancestor_names").into_iter().map(|name| V::Text(name.into_bytes())).collect()
            }
            ("proc.aname", Some(index)) => {
                let index: usize = index.parse().expect("invariant: rules are checked");
                let name = self.list("ancestor_names").into_iter().nth(index - 1);
                name.map(|name| V::Text(name.into_bytes())).into_iter().collect()
            }
            _ => self.one_text(name).map(|text| V::Text(text.into_bytes())).into_iter().collect(),
        }
    }
}
