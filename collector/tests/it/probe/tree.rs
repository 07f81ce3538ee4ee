//! A random tree of real processes: the ancestors that the table gives are those that each process sees itself.

use std::process::Command;

use bodkin_collector::process::users::Users;
use bodkin_collector::process::{Limits, ProcFs, ProcessTable};

use super::*;

/// Processes in the tree; ten thousand where there is time (`./check --agent`).
fn processes() -> &'static str {
    if std::env::var_os("BODKIN_SLOW_TESTS").is_some() { "10000" } else { "1500" }
}

#[test]
fn ancestors_are_those_that_each_process_sees() {
    let events = BTreeSet::from(["mkdir".to_string()]);
    let Some(mut probe) = watch(events) else { return };
    let folder = tempfile::tempdir().unwrap();
    let (source, program, counter) =
        (folder.path().join("tree.c"), folder.path().join("tree"), folder.path().join("left"));
    std::fs::write(&source, include_str!("tree.c")).unwrap();
    std::fs::write(&counter, [0; 4096]).unwrap();
    assert!(Command::new("cc").args(["-O1", "-w", "-o"]).args([&program, &source]).status().unwrap().success());
    let mut table = ProcessTable::new(Limits::default(), ProcFs::default(), Users::open("/etc/passwd"));
    table.scan();

    let marker = marker("tree");
    let prefix = format!("/nowhere/{marker}/");
    let seed = std::process::id().to_string();
    // Hundreds of processes at a time leave one reader no processor: they stand back behind it.
    let mut tree = Command::new("nice");
    tree.args(["-n", "19"]).arg(program).args([&marker, processes(), &seed]).arg(counter);
    let mut first = tree.spawn().unwrap();
    // What each said, and what the table gave at that moment.
    let mut told: Vec<(u32, Vec<u32>, Vec<u32>)> = Vec::new();
    let mut late = 0;
    let waiter = std::thread::spawn(move || first.wait().unwrap());
    let mut rounds_left = 20;
    while rounds_left > 0 {
        rounds_left -= usize::from(waiter.is_finished());
        let stats = probe.drain(&mut |event| {
            table.apply(event);
            let Body::Paths(paths) = &event.body else { return };
            let Some(said) = text(paths.name.raw).strip_prefix(&prefix).map(str::to_owned) else { return };
            let pid = event.head.tgid;
            if said.starts_with("void") {
                if let Some(at) = told.iter().rposition(|(of, ..)| *of == pid) {
                    told.remove(at);
                }
                return;
            }
            let truth: Vec<u32> = said.split('-').skip(1).map(|pid| pid.parse().unwrap()).collect();
            let lineage = table.lineage(pid).unwrap();
            told.push((pid, truth, lineage.ancestors.iter().map(|ancestor| ancestor.pid).collect()));
        });
        late += stats.late;
        probe.wait(Duration::from_millis(2)).unwrap();
    }
    assert!(waiter.join().unwrap().success());
    assert_no_loss(&mut probe);
    assert!(told.len() > 1_000 && late == 0, "{} told, {late} late", told.len());
    for (pid, mut truth, found) in told {
        truth.truncate(16);
        assert_eq!(found, truth, "ancestors of {pid}");
    }
}
