//! The model of a table's log behaves as the real one, step by step, whatever fails: what the simulator proves with the
//! model holds for Delta.

use crate::faults::Faulty;
use crate::rows::Still;
use bodkin_schema::{Epoch, Stream};
use bodkin_table::{CommitRequest, DeltaLog, Error, ModelLog, PreparedFile, TableLog};
use proptest::prelude::*;
use std::sync::Arc;

/// One step of two nodes that share a table.
#[derive(Clone, Debug)]
enum Step {
    /// A commit of an epoch of the node, with this many files; the put of its entry may fail before or after it happened.
    Commit { node: usize, epoch: u64, files: usize, fault: Option<bool> },
    /// A commit that replaces the n-th file that the node knows.
    Rewrite { node: usize, file: usize, fault: Option<bool> },
    /// The node reads what others did.
    Refresh { node: usize },
    /// The node's process is replaced.
    Reopen { node: usize },
    /// An older version is read.
    Past { node: usize, back: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    let fault = prop_oneof![3 => Just(None), 1 => any::<bool>().prop_map(Some)];
    let node = 0usize..2;
    prop_oneof![
        5 => (node.clone(), 1u64..6, 0usize..3, fault.clone())
            .prop_map(|(node, epoch, files, fault)| Step::Commit { node, epoch, files, fault }),
        2 => (node.clone(), 0usize..4, fault).prop_map(|(node, file, fault)| Step::Rewrite { node, file, fault }),
        1 => node.clone().prop_map(|node| Step::Refresh { node }),
        1 => node.clone().prop_map(|node| Step::Reopen { node }),
        1 => (node, 0u64..3).prop_map(|(node, back)| Step::Past { node, back }),
    ]
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Delta,
    Model,
}

impl Kind {
    async fn open(self, store: &Arc<Faulty>, node: usize) -> Arc<dyn TableLog> {
        let (store, name) = (store.clone(), format!("node-{node}"));
        match self {
            Self::Delta => Arc::new(DeltaLog::open(store, Stream::Samples, &name, Arc::new(Still)).await.unwrap()),
            Self::Model => Arc::new(ModelLog::open(store, Stream::Samples, &name).await.unwrap()),
        }
    }

    fn entries(self) -> &'static str {
        match self {
            Self::Delta => "_delta_log",
            Self::Model => "_model_log",
        }
    }
}

fn file(number: usize) -> PreparedFile {
    PreparedFile {
        path: format!("tenant=default/date=2026-03-01/{number}.parquet"),
        size: 10,
        rows: 1,
        tenant: "default".into(),
        date: "2026-03-01".into(),
        modified_ms: 5,
        stats: r#"{"numRecords":1}"#.into(),
        // Every third has a column that its stream does not.
        suffixed: if number % 3 == 2 { vec!["count_text".into()] } else { Vec::new() },
    }
}

/// What the steps gave, as text: outcome and state after each.
async fn run(kind: Kind, steps: &[Step]) -> Vec<String> {
    let store = Arc::new(Faulty::default());
    let mut nodes = [kind.open(&store, 0).await, kind.open(&store, 1).await];
    let mut seen = Vec::new();
    let mut made = 0;
    for step in steps {
        let (node, said) = match step {
            Step::Commit { node, epoch, files, fault } => {
                made += files;
                let adds = (made - files..made).map(file).collect();
                let request = CommitRequest { adds, epoch: Some(Epoch(*epoch)), ..Default::default() };
                (*node, commit(kind, &store, nodes[*node].as_ref(), &request, *fault).await)
            }
            Step::Rewrite { node, file: index, fault } => {
                let mut known: Vec<_> = nodes[*node].state().files.iter().cloned().collect();
                known.sort_by(|left, right| left.path.cmp(&right.path));
                let removes = known.into_iter().skip(*index).take(1).collect();
                made += 1;
                let request = CommitRequest { adds: vec![file(made - 1)], removes, is_rewrite: true, epoch: None };
                (*node, commit(kind, &store, nodes[*node].as_ref(), &request, *fault).await)
            }
            Step::Refresh { node } => (*node, format!("{:?}", nodes[*node].refresh().await.is_ok())),
            Step::Reopen { node } => {
                nodes[*node] = kind.open(&store, *node).await;
                (*node, "reopened".to_owned())
            }
            Step::Past { node, back } => {
                let version = nodes[*node].state().version.and_then(|version| version.checked_sub(*back));
                let Some(version) = version else { continue };
                let files = nodes[*node].files_at(version).await.unwrap();
                let mut paths: Vec<_> = files.iter().map(|file| file.path.clone()).collect();
                paths.sort();
                (*node, format!("{version}: {paths:?}"))
            }
        };
        let state = nodes[node].state();
        let mut paths: Vec<_> = state.files.iter().map(|file| file.path.clone()).collect();
        paths.sort();
        seen.push(format!("{step:?} -> {said}; version {:?} epoch {:?} {paths:?}", state.version, state.epoch));
    }
    seen
}

async fn commit(
    kind: Kind,
    store: &Faulty,
    log: &dyn TableLog,
    request: &CommitRequest,
    fault: Option<bool>,
) -> String {
    if let Some(happens) = fault {
        store.refuse(kind.entries(), happens);
    }
    let outcome = log.commit(request).await;
    store.heal();
    match outcome {
        Ok(committed) => format!("{committed:?}"),
        Err(Error::Conflict { .. }) => "conflict".to_owned(),
        Err(_) => "failed".to_owned(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn once_1_the_model_does_what_delta_does(steps in prop::collection::vec(step(), 1..25)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (delta, model) = runtime.block_on(async { (run(Kind::Delta, &steps).await, run(Kind::Model, &steps).await) });
        prop_assert_eq!(delta, model);
    }
}
