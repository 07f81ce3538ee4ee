//! A page to samples, and what is stale since the last one. Texts of series are looked up as they were written; only what
//! is new is parsed and relabeled.

use crate::config::Job;
use crate::relabel::{LabelMap, relabel};
use bodkin_gateway::{Metadata, OwnLabels, OwnSample, OwnValue, PageFormat, read_page};
use std::collections::HashMap;

/// The bits of the stale marker.
const STALE_NAN: u64 = 0x7ff0_0000_0000_0002;
/// Texts of series that a target may have shown before all are forgotten, as a multiple of its last page.
const REMEMBERED_PAGES: usize = 4;
const METRIC_NAME: &str = "__name__";

/// What is remembered of a target between two of its pages.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    /// Labels by the text of a series, and the number of the page that it was on last; no labels where it is dropped.
    known: HashMap<Box<str>, Known>,
    /// Series of the last page that become stale when they are on no page any more.
    last: HashMap<OwnLabels, u64>,
    page: u64,
}

#[derive(Debug)]
struct Known {
    labels: Option<OwnLabels>,
    page: u64,
}

/// What a page gave.
#[derive(Debug, Default)]
pub(crate) struct Read {
    pub(crate) samples: Vec<OwnSample>,
    pub(crate) metadata: Vec<Metadata>,
    /// Samples on the page.
    pub(crate) scraped: usize,
    /// Samples that relabeling left.
    pub(crate) kept: usize,
    /// Series that were not on the page before.
    pub(crate) added: usize,
}

impl Memory {
    /// Reads a page that came at `now_ms`. Where it is refused all that was there before is stale.
    ///
    /// # Errors
    /// Why it is refused as a whole.
    pub(crate) fn read(
        &mut self,
        job: &Job,
        target: &LabelMap,
        page: &[u8],
        format: PageFormat,
        now_ms: i64,
    ) -> Result<Read, String> {
        self.page += 1;
        let number = self.page;
        let mut read = Read::default();
        let honors_times = job.config.honor_timestamps.unwrap_or(true);
        let mut tracked: Vec<OwnLabels> = Vec::new();
        let metadata = read_page(page, format, job.histograms, |sample| {
            read.scraped += 1;
            let labels = match self.known.get_mut(sample.series) {
                Some(known) => {
                    known.page = number;
                    known.labels.clone()
                }
                None => {
                    let labels = final_labels(job, target, sample.labels()?)?;
                    self.known.insert(sample.series.into(), Known { labels: labels.clone(), page: number });
                    labels
                }
            };
            let Some(labels) = labels else { return Ok(()) };
            read.kept += 1;
            if job.config.sample_limit > 0 && read.kept > job.config.sample_limit {
                return Err("sample limit exceeded".to_owned());
            }
            let own_time = sample.ts_ms.filter(|_| honors_times);
            if own_time.is_none() || job.config.track_timestamps_staleness {
                tracked.push(labels.clone());
            }
            let (ts_ms, exemplars) = (own_time.unwrap_or(now_ms), sample.exemplars);
            read.samples.push(OwnSample { labels, ts_ms, value: sample.value, exemplars });
            Ok(())
        });
        read.metadata = metadata?;
        for labels in tracked {
            if self.last.insert(labels, number).is_none() {
                read.added += 1;
            }
        }
        read.samples.extend(self.stale(now_ms, |page| page < number));
        if self.known.len() > REMEMBERED_PAGES * read.scraped.max(64) {
            self.known.retain(|_, known| known.page == number);
        }
        Ok(read)
    }

    /// Markers for all that was on the last page: the target is gone, or says nothing that can be read.
    pub(crate) fn all_stale(&mut self, now_ms: i64) -> Vec<OwnSample> {
        self.stale(now_ms, |_| true)
    }

    fn stale(&mut self, now_ms: i64, is_gone: impl Fn(u64) -> bool) -> Vec<OwnSample> {
        let mut stale = Vec::new();
        self.last.retain(|labels, page| {
            let is_gone = is_gone(*page);
            if is_gone {
                let value = OwnValue::Float(f64::from_bits(STALE_NAN));
                stale.push(OwnSample::new(labels.clone(), now_ms, value));
            }
            !is_gone
        });
        stale
    }
}

/// The labels of a sample as they are stored; none where relabeling drops it.
fn final_labels(job: &Job, target: &LabelMap, pairs: Vec<(String, String)>) -> Result<Option<OwnLabels>, String> {
    check_limits(job, &pairs)?;
    let mut labels: LabelMap = LabelMap::new();
    for (name, value) in pairs {
        if let Some(before) = labels.insert(name.clone(), value) {
            return Err(format!("label {name:?} is there twice, also as {before:?}"));
        }
    }
    if job.config.honor_labels {
        for (name, value) in target {
            labels.entry(name.clone()).or_insert_with(|| value.clone());
        }
    } else {
        for (name, value) in target {
            if let Some(theirs) = labels.insert(name.clone(), value.clone()).filter(|theirs| !theirs.is_empty()) {
                let mut renamed = format!("exported_{name}");
                while labels.contains_key(&renamed) {
                    renamed.insert_str(0, "exported_");
                }
                labels.insert(renamed, theirs);
            }
        }
    }
    if !relabel(&job.metric_relabel, &mut labels) {
        return Ok(None);
    }
    labels.retain(|_, value| !value.is_empty());
    if !labels.contains_key(METRIC_NAME) {
        return Err("a sample has no metric name after relabeling".to_owned());
    }
    Ok(Some(labels.into_iter().collect::<Vec<_>>().into()))
}

fn check_limits(job: &Job, pairs: &[(String, String)]) -> Result<(), String> {
    let exceeds = |limit: usize, value: usize| limit > 0 && value > limit;
    if exceeds(job.config.label_limit, pairs.len()) {
        return Err(format!("label_limit exceeded: {} labels, limit {}", pairs.len(), job.config.label_limit));
    }
    for (name, value) in pairs {
        if exceeds(job.config.label_name_length_limit, name.len()) {
            return Err(format!("label_name_length_limit exceeded: {name:.40?}"));
        }
        if exceeds(job.config.label_value_length_limit, value.len()) {
            return Err(format!("label_value_length_limit exceeded: label {name:?}"));
        }
    }
    Ok(())
}

/// What a scrape says of itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Report {
    pub(crate) is_up: bool,
    pub(crate) seconds: f64,
    pub(crate) scraped: usize,
    pub(crate) kept: usize,
    pub(crate) added: usize,
}

impl Report {
    pub(crate) fn samples(&self, target: &LabelMap, ts_ms: i64) -> Vec<OwnSample> {
        let series = [
            ("up", f64::from(u8::from(self.is_up))),
            ("scrape_duration_seconds", self.seconds),
            ("scrape_samples_scraped", self.scraped as f64),
            ("scrape_samples_post_metric_relabeling", self.kept as f64),
            ("scrape_series_added", self.added as f64),
        ];
        series.into_iter().map(|(name, value)| own(target, name, ts_ms, value)).collect()
    }

    /// Markers for those: the target is gone.
    pub(crate) fn stale(target: &LabelMap, ts_ms: i64) -> Vec<OwnSample> {
        let report = Self { is_up: false, seconds: 0.0, scraped: 0, kept: 0, added: 0 };
        let mut samples = report.samples(target, ts_ms);
        samples.iter_mut().for_each(|sample| sample.value = OwnValue::Float(f64::from_bits(STALE_NAN)));
        samples
    }
}

fn own(target: &LabelMap, name: &str, ts_ms: i64, value: f64) -> OwnSample {
    let name = (METRIC_NAME.to_owned(), name.to_owned());
    let labels = std::iter::once(name).chain(target.iter().map(|(name, value)| (name.clone(), value.clone())));
    OwnSample::new(labels.collect::<Vec<_>>().into(), ts_ms, OwnValue::Float(value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Globals, ScrapeConfig};
    use bodkin_gateway::TextFormat;

    const TEXT: PageFormat = PageFormat::Text(TextFormat::Prometheus);

    fn job(yaml: &str) -> Job {
        serde_saphyr::from_str::<ScrapeConfig>(yaml).unwrap().job(&Globals::default()).unwrap()
    }

    fn target() -> LabelMap {
        [("instance", "h:1"), ("job", "n")].map(|(n, v)| (n.to_owned(), v.to_owned())).into()
    }

    fn shown(samples: &[OwnSample]) -> Vec<String> {
        let mut shown: Vec<String> = samples
            .iter()
            .map(|sample| {
                let labels: Vec<String> = sample.labels.iter().map(|(n, v)| format!("{n}={v}")).collect();
                let value = match &sample.value {
                    OwnValue::Float(value) if value.to_bits() == STALE_NAN => "stale".to_owned(),
                    OwnValue::Float(value) => value.to_string(),
                    OwnValue::Histogram(_) => "histogram".to_owned(),
                };
                format!("{} {value} @{}", labels.join(","), sample.ts_ms)
            })
            .collect();
        shown.sort();
        shown
    }

    #[test]
    fn labels_of_target_and_page_meet() {
        let page = "a{job=\"x\",exported_job=\"y\"} 1\nb{instance=\"\"} 2\n";
        let read = |yaml: &str| {
            let read = Memory::default().read(&job(yaml), &target(), page.as_bytes(), TEXT, 5).unwrap();
            shown(&read.samples)
        };
        assert_eq!(
            read("{job_name: n}"),
            [
                "__name__=a,exported_exported_job=x,exported_job=y,instance=h:1,job=n 1 @5",
                "__name__=b,instance=h:1,job=n 2 @5",
            ]
        );
        assert_eq!(
            read("{job_name: n, honor_labels: true}"),
            ["__name__=a,exported_job=y,instance=h:1,job=x 1 @5", "__name__=b,job=n 2 @5",]
        );
        let dropped = "{job_name: n, metric_relabel_configs: [{source_labels: [__name__], regex: a, action: drop}]}";
        assert_eq!(read(dropped), ["__name__=b,instance=h:1,job=n 2 @5"]);
    }

    #[test]
    fn bounds_are_written_in_one_way() {
        let page = "# TYPE h histogram\nh_bucket{le=\"5\"} 1\n# TYPE s summary\ns{quantile=\".5\"} 2\n# TYPE g gauge\ng{le=\"5\"} 3\n";
        let read = Memory::default().read(&job("{job_name: n}"), &target(), page.as_bytes(), TEXT, 5).unwrap();
        assert_eq!(
            shown(&read.samples),
            [
                "__name__=g,instance=h:1,job=n,le=5 3 @5",
                "__name__=h_bucket,instance=h:1,job=n,le=5.0 1 @5",
                "__name__=s,instance=h:1,job=n,quantile=0.5 2 @5",
            ]
        );
    }

    #[test]
    fn what_is_gone_is_stale_once() {
        let (job, target, mut memory) = (job("{job_name: n}"), target(), Memory::default());
        let mut read = |page: &str, now| memory.read(&job, &target, page.as_bytes(), TEXT, now);
        let first = read("a 1\nb 2\nc 3 100\n", 10).unwrap();
        assert_eq!((first.scraped, first.kept, first.added), (3, 3, 2));
        let second = read("a 1\n", 20).unwrap();
        assert_eq!(
            shown(&second.samples),
            ["__name__=a,instance=h:1,job=n 1 @20", "__name__=b,instance=h:1,job=n stale @20"]
        );
        assert_eq!(second.added, 0);
        assert_eq!(read("a 1\n", 30).unwrap().samples.len(), 1, "told once");
        assert!(read("a 1\nb x\n", 40).is_err());
        assert_eq!(shown(&memory.all_stale(50)), ["__name__=a,instance=h:1,job=n stale @50"]);
        assert!(memory.all_stale(60).is_empty());
    }

    #[test]
    fn limits_refuse_the_page() {
        let read = |yaml: &str| {
            let page = "a{b=\"c\"} 1\na{b=\"ddd\"} 1\n";
            Memory::default().read(&job(yaml), &target(), page.as_bytes(), TEXT, 5).map(|read| read.kept)
        };
        assert_eq!(read("{job_name: n, sample_limit: 2, label_limit: 2, label_value_length_limit: 3}"), Ok(2));
        assert!(read("{job_name: n, sample_limit: 1}").unwrap_err().contains("sample limit exceeded"));
        assert!(read("{job_name: n, label_limit: 1}").unwrap_err().contains("label_limit"));
        assert!(read("{job_name: n, label_value_length_limit: 2}").unwrap_err().contains("label \"b\""));
    }

    #[test]
    fn a_scrape_says_of_itself() {
        let report = Report { is_up: true, seconds: 0.5, scraped: 3, kept: 2, added: 1 };
        let samples = report.samples(&target(), 7);
        assert_eq!(samples.len(), 5);
        assert_eq!(shown(&samples)[4], "__name__=up,instance=h:1,job=n 1 @7");
        assert!(shown(&Report::stale(&target(), 7)).iter().all(|shown| shown.contains("stale")));
    }
}
