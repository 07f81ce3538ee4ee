//! What rows say of the container of their process.

use super::process_columns::Named;
use super::text::TextColumn;
use crate::containers::ContainerInfo;
use arrow::array::{ArrayBuilder, ArrayRef, BooleanBuilder, Int64Builder, MapBuilder, MapFieldNames, StringBuilder};
use arrow::error::ArrowError;
use bodkin_schema::events as e;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Text columns in the order in which [`ContainerColumns::append`] fills them.
pub(super) const TEXTS: [&str; 13] = [
    e::CONTAINER_FULL_ID,
    e::CONTAINER_NAME,
    e::CONTAINER_TYPE,
    e::CONTAINER_IMAGE,
    e::CONTAINER_IMAGE_ID,
    e::CONTAINER_IMAGE_REPOSITORY,
    e::CONTAINER_IMAGE_TAG,
    e::CONTAINER_IMAGE_DIGEST,
    e::CONTAINER_MOUNTS,
    e::CONTAINER_IP,
    e::K8S_NS,
    e::K8S_POD,
    e::K8S_POD_UID,
];

type LabelBuilder = MapBuilder<StringBuilder, StringBuilder>;

/// The columns in the making; made at the end of a batch, when what runtimes say has come.
#[derive(Debug)]
pub(super) struct ContainerColumns {
    texts: [TextColumn; TEXTS.len()],
    privileged: BooleanBuilder,
    start_ns: Int64Builder,
    labels: LabelBuilder,
    pod_labels: LabelBuilder,
}

impl Default for ContainerColumns {
    fn default() -> Self {
        let names = || MapFieldNames { entry: "key_value".into(), key: "key".into(), value: "value".into() };
        let labels = || MapBuilder::new(Some(names()), StringBuilder::new(), StringBuilder::new());
        Self {
            texts: Default::default(),
            privileged: BooleanBuilder::new(),
            start_ns: Int64Builder::new(),
            labels: labels(),
            pod_labels: labels(),
        }
    }
}

impl ContainerColumns {
    /// Appends a container; `full_id` is what its cgroup says.
    pub(super) fn append(&mut self, info: Option<&ContainerInfo>, full_id: Option<&str>) -> Result<(), ArrowError> {
        let text = |of: fn(&ContainerInfo) -> Option<&str>| info.and_then(of);
        let texts: [Option<&str>; TEXTS.len()] = [
            text(|info| info.full_id.as_deref()).or(full_id),
            text(|info| info.name.as_deref()),
            text(|info| info.runtime.as_deref()),
            text(|info| info.image.as_deref()),
            text(|info| info.image_id.as_deref()),
            text(|info| info.image_repository.as_deref()),
            text(|info| info.image_tag.as_deref()),
            text(|info| info.image_digest.as_deref()),
            text(|info| info.mounts.as_deref()),
            text(|info| info.ip.as_deref()),
            text(ContainerInfo::namespace),
            text(ContainerInfo::pod),
            text(ContainerInfo::pod_uid),
        ];
        let row = self.privileged.len();
        for (column, text) in self.texts.iter_mut().zip(texts) {
            if let Some(text) = text {
                let key = column.key_of_str(text);
                column.put(row, key);
            }
        }
        self.privileged.append_option(info.and_then(|info| info.is_privileged));
        self.start_ns.append_option(info.and_then(|info| info.start_ns));
        append_labels(&mut self.labels, info.map(|info| &info.labels))?;
        append_labels(&mut self.pod_labels, info.map(|info| &info.pod_labels))
    }

    pub(super) fn finish(&mut self) -> Result<Vec<Named>, ArrowError> {
        let rows = self.privileged.len();
        let mut columns: Vec<Named> = vec![
            (e::CONTAINER_PRIVILEGED, Arc::new(self.privileged.finish())),
            (e::CONTAINER_START_NS, Arc::new(self.start_ns.finish())),
            (e::CONTAINER_LABELS, Arc::new(self.labels.finish()) as ArrayRef),
            (e::K8S_POD_LABELS, Arc::new(self.pod_labels.finish())),
        ];
        for (name, column) in TEXTS.into_iter().zip(&mut self.texts) {
            columns.push((name, column.finish(rows)?));
        }
        Ok(columns)
    }
}

fn append_labels(map: &mut LabelBuilder, labels: Option<&BTreeMap<String, String>>) -> Result<(), ArrowError> {
    for (key, value) in labels.into_iter().flatten() {
        map.keys().append_value(key);
        map.values().append_value(value);
    }
    map.append(labels.is_some_and(|labels| !labels.is_empty()))
}
