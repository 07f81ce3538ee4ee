//! Prometheus's scraping: targets found and relabeled, their pages as samples.
//!
//! A [`Scraper`] keeps to the `scrape_configs` of a Prometheus configuration: it finds targets (static, files, HTTP),
//! fetches their pages on time, and hands samples to a [`SampleSink`] with `up`, the `scrape_*` series and staleness
//! markers as Prometheus writes them. It deliberately stores nothing and speaks to no orchestrator's API: what finds
//! targets there can write a file or answer HTTP.
//!
//! ```
//! use bodkin_scrape::ScrapeConfig;
//!
//! let config: ScrapeConfig = serde_saphyr::from_str("
//! job_name: node
//! static_configs: [{targets: ['localhost:9100'], labels: {zone: a}}]
//! relabel_configs: [{source_labels: [__address__], target_label: instance}]
//! ")?;
//! config.check()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! | module | what it holds |
//! |---|---|
//! | [`config`] | `scrape_configs` |
//! | [`relabel`] | rules that rewrite label sets |
//! | [`target`] | labels of what is discovered to a target |
//! | `discovery` | files and HTTP answers that name targets |
//! | `fetch` | a page from a target |
//! | `page` | a page to samples, and what is stale since the last one |
//! | [`scraper`] | [`Scraper`]: pools of targets, each on its time |

pub mod config;
mod discovery;
mod fetch;
mod page;
pub mod relabel;
pub mod scraper;
pub mod target;

pub use config::{ConfigError, Globals, HttpClientConfig, ScrapeConfig, ScrapeProtocol, StaticConfig, Text, size};
pub use relabel::{LabelMap, Relabel, RelabelConfig};
pub use scraper::{PoolView, SampleSink, Scraper, ScraperStats, TargetHealth, TargetView};
pub use target::Target;
