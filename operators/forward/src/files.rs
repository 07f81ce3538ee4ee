//! Rows as files in a bucket: JSON lines or Parquet, one object for each delivery, named by its key. An attempt that is
//! repeated writes the same object again.

use crate::config::{Common, ConfigError, Secret};
use crate::http::{dead, retry};
use crate::message::Message;
use arrow::json::ReaderBuilder;
use arrow::json::reader::infer_json_schema_from_iterator;
use async_trait::async_trait;
use bodkin_engine::{Channel, ChannelError, Delivery};
use bytes::Bytes;
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::path::Path;
use object_store::{ClientOptions, ObjectStoreExt, RetryConfig};
use parquet::arrow::ArrowWriter;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::sync::Arc;

/// The section `s3`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct S3Section {
    /// `s3://bucket/prefix`
    url: String,
    /// Of another provider; plain http is allowed for it.
    endpoint: Option<String>,
    region: Option<String>,
    access_key: Option<String>,
    secret_key: Option<Secret>,
    #[serde(default)]
    format: FileFormat,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum FileFormat {
    #[default]
    Jsonl,
    Parquet,
}

#[derive(Debug)]
pub(crate) struct S3Files {
    common: Common,
    store: AmazonS3,
    prefix: Path,
    format: FileFormat,
}

impl S3Files {
    pub(crate) fn new(common: Common, section: &S3Section) -> Result<Self, ConfigError> {
        let wrong = || ConfigError::new("url", format!("{:?}: write s3://BUCKET/PREFIX", section.url));
        let rest = section.url.strip_prefix("s3://").ok_or_else(wrong)?;
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        if bucket.is_empty() {
            return Err(wrong());
        }
        let retry = RetryConfig { max_retries: 0, ..RetryConfig::default() };
        let client = ClientOptions::new().with_timeout(common.timeout).with_allow_http(section.endpoint.is_some());
        let mut builder = AmazonS3Builder::new().with_bucket_name(bucket).with_retry(retry).with_client_options(client);
        builder = builder.with_region(section.region.as_deref().unwrap_or("us-east-1"));
        if let Some(endpoint) = &section.endpoint {
            builder = builder.with_endpoint(endpoint);
        }
        if let (Some(id), Some(secret)) = (&section.access_key, &section.secret_key) {
            builder = builder.with_access_key_id(id).with_secret_access_key(secret.read("secret_key")?);
        }
        let store = builder.build().map_err(|error| ConfigError::new("url", error))?;
        Ok(Self { common, store, prefix: Path::from(prefix), format: section.format })
    }

    fn object(&self, delivery: &Delivery) -> Result<(Path, Bytes), ChannelError> {
        let rows = Message::parse(&delivery.body).map_err(dead)?.into_rows();
        let day = rows.first().and_then(|row| row.get("ts")?.as_str()?.get(..10).map(str::to_owned));
        let day = day.filter(|day| day.parse::<jiff::civil::Date>().is_ok()).unwrap_or_else(|| "undated".to_owned());
        let (ending, content) = match self.format {
            FileFormat::Jsonl => ("jsonl", lines(&rows)?),
            FileFormat::Parquet => ("parquet", parquet(rows).map_err(dead)?),
        };
        let key = delivery.key.replace(|c: char| !c.is_ascii_alphanumeric() && c != '-', "_");
        Ok((self.prefix.clone().join(format!("date={day}")).join(format!("{key}.{ending}")), content))
    }
}

fn lines(rows: &[Map<String, Value>]) -> Result<Bytes, ChannelError> {
    let mut content = Vec::new();
    for row in rows {
        serde_json::to_writer(&mut content, row).map_err(dead)?;
        content.push(b'\n');
    }
    Ok(content.into())
}

/// Columns as the rows' values suggest them.
fn parquet(rows: Vec<Map<String, Value>>) -> Result<Bytes, Box<dyn std::error::Error + Send + Sync>> {
    let rows: Vec<Value> = rows.into_iter().map(Value::Object).collect();
    let schema = Arc::new(infer_json_schema_from_iterator(rows.iter().map(Ok))?);
    let mut decoder = ReaderBuilder::new(schema.clone()).with_batch_size(rows.len().max(1)).build_decoder()?;
    decoder.serialize(&rows)?;
    let mut content = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut content, schema, None)?;
    if let Some(records) = decoder.flush()? {
        writer.write(&records)?;
    }
    writer.close()?;
    Ok(content.into())
}

#[async_trait]
impl Channel for S3Files {
    fn name(&self) -> &str {
        &self.common.name
    }

    async fn send(&self, run: &[Delivery]) -> Result<(), ChannelError> {
        for delivery in run {
            let (path, content) = self.object(delivery)?;
            self.store.put(&path, content.into()).await.map_err(retry)?;
            self.common.pace().await;
        }
        Ok(())
    }
}
