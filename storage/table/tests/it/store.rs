//! The store: what it promises that `LocalFileSystem` does not, and what it leaves as it is.

use bodkin_table::DurableLocal;
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{Error, ObjectStore, ObjectStoreExt, PutMode, PutOptions};
use std::sync::Arc;

fn create() -> PutOptions {
    PutOptions { mode: PutMode::Create, ..Default::default() }
}

async fn names(store: &DurableLocal) -> Vec<String> {
    let mut found: Vec<_> = store.list(None).try_collect().await.unwrap();
    found.sort_unstable_by(|left, right| left.location.cmp(&right.location));
    found.into_iter().map(|meta| meta.location.to_string()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_conditional_put_has_one_winner() {
    let root = tempfile::tempdir().unwrap();
    let store = Arc::new(DurableLocal::open(root.path()).unwrap());
    for round in 0..20 {
        let path = Path::from(format!("epochs/n/{round}.intent"));
        let puts = (0..8).map(|writer| {
            let (store, path) = (store.clone(), path.clone());
            tokio::spawn(async move { store.put_opts(&path, format!("{writer}").into(), create()).await })
        });
        let mut winners = Vec::new();
        for (writer, put) in futures::future::join_all(puts).await.into_iter().enumerate() {
            match put.unwrap() {
                Ok(_) => winners.push(writer.to_string()),
                Err(Error::AlreadyExists { path, .. }) => assert!(path.contains(".intent"), "{path}"),
                Err(error) => panic!("{error}"),
            }
        }
        let bytes = store.get(&path).await.unwrap().bytes().await.unwrap();
        assert_eq!(winners, [String::from_utf8(bytes.to_vec()).unwrap()]);
    }
    assert_eq!(names(&store).await.len(), 20, "no left-overs of those who lost");
}

#[tokio::test]
async fn left_overs_are_no_objects() {
    let root = tempfile::tempdir().unwrap();
    let store = DurableLocal::open(root.path()).unwrap();
    store.put(&"a/object".into(), "x".into()).await.unwrap();
    let left_over = format!("a/object#{}000000", std::process::id());
    std::fs::write(root.path().join(left_over), "half").unwrap();
    assert_eq!(names(&store).await, ["a/object"]);
    store.put(&"a/object".into(), "y".into()).await.unwrap();
    assert_eq!(store.get(&"a/object".into()).await.unwrap().bytes().await.unwrap(), "y");
    assert_eq!(store.list_with_delimiter(Some(&"a".into())).await.unwrap().objects.len(), 1);
}

#[tokio::test]
async fn uploads_in_parts_appear_when_complete() {
    let root = tempfile::tempdir().unwrap();
    let store = DurableLocal::open(root.path()).unwrap();
    let path = Path::from("a/large");
    let mut upload = store.put_multipart(&path).await.unwrap();
    let parts = [upload.put_part("one".into()), upload.put_part("two".into())];
    futures::future::try_join_all(parts).await.unwrap();
    assert!(names(&store).await.is_empty());
    upload.complete().await.unwrap();
    assert_eq!(store.get(&path).await.unwrap().bytes().await.unwrap(), "onetwo");
    assert!(upload.complete().await.is_err(), "an upload ends once");

    let mut aborted = store.put_multipart(&"a/other".into()).await.unwrap();
    aborted.put_part("x".into()).await.unwrap();
    aborted.abort().await.unwrap();
    drop(store.put_multipart(&"a/third".into()).await.unwrap());
    assert_eq!(std::fs::read_dir(root.path().join("a")).unwrap().count(), 1);
}

#[tokio::test]
async fn copies_deletes_and_what_is_not_there() {
    let root = tempfile::tempdir().unwrap();
    let store = DurableLocal::open(root.path()).unwrap();
    let (a, b) = (Path::from("a"), Path::from("deep/b"));
    store.put(&a, "1".into()).await.unwrap();
    store.copy(&a, &b).await.unwrap();
    assert!(matches!(store.copy_if_not_exists(&a, &b).await, Err(Error::AlreadyExists { .. })));
    store.rename(&b, &"c".into()).await.unwrap();
    store.delete(&a).await.unwrap();
    assert_eq!(names(&store).await, ["c"]);
    let error = store.delete(&a).await.unwrap_err();
    assert!(matches!(error, Error::NotFound { .. }), "{error}");
    assert!(matches!(store.get(&a).await, Err(Error::NotFound { .. })));
    let update = PutOptions {
        mode: PutMode::Update(object_store::UpdateVersion { e_tag: None, version: None }),
        ..Default::default()
    };
    assert!(matches!(store.put_opts(&a, "x".into(), update).await, Err(Error::NotImplemented { .. })));
}

#[tokio::test]
async fn errors_name_the_path() {
    let root = tempfile::tempdir().unwrap();
    let store = DurableLocal::open(root.path()).unwrap();
    std::fs::write(root.path().join("file"), "no folder").unwrap();
    let error = store.put(&"file/object".into(), "x".into()).await.unwrap_err().to_string();
    assert!(error.contains("file/object"), "{error}");
    let error = DurableLocal::read_only(root.path().join("nothing")).unwrap_err().to_string();
    assert!(error.contains("nothing"), "{error}");
}

#[tokio::test]
async fn read_only_changes_nothing() {
    let root = tempfile::tempdir().unwrap();
    DurableLocal::open(root.path()).unwrap().put(&"a".into(), "1".into()).await.unwrap();
    let store = DurableLocal::read_only(root.path()).unwrap();
    assert_eq!(store.get(&"a".into()).await.unwrap().bytes().await.unwrap(), "1");
    for refused in [
        store.put(&"b".into(), "x".into()).await.map(drop),
        store.delete(&"a".into()).await,
        store.copy(&"a".into(), &"b".into()).await,
        store.put_multipart(&"b".into()).await.map(drop),
    ] {
        assert!(matches!(refused, Err(Error::PermissionDenied { .. })));
    }
    assert_eq!(names(&store).await, ["a"]);
}
