//! Pages of exporters.

use crate::harness::Rig;
use bodkin_gateway::{Encoding, PageFormat, TextFormat, WriteError};
use bodkin_schema::Tenant;

#[tokio::test]
async fn a_page_of_an_exporter() {
    let rig = Rig::new();
    let page = "# HELP http_requests_total Requests.\n# TYPE http_requests_total counter\n\
                http_requests_total{code=\"200\"} 5 1000\nhttp_requests_total{code=\"500\"} 1 1000\n\n\
                nonsense line here\n# TYPE up gauge\nup 1 2000\n";
    let error = rig
        .gateway
        .page(&Tenant::default(), PageFormat::Text(TextFormat::Prometheus), Encoding::Identity, page.as_bytes())
        .await
        .unwrap_err();
    let WriteError::Partial { written, problems } = error else { panic!("{error}") };
    assert_eq!((written.samples, problems.listed), (3, vec!["line 6: the value is no number".to_owned()]));
    assert_eq!(
        rig.kept.samples(),
        ["http_requests_total{code=\"200\"} 1000 5", "http_requests_total{code=\"500\"} 1000 1", "up{} 2000 1"]
    );
    let metadata = rig.kept.metadata.lock().unwrap();
    let said: Vec<_> = metadata.iter().map(|said| (said.name.as_str(), said.kind, said.help.as_str())).collect();
    assert_eq!(said, [("http_requests_total", "counter", "Requests."), ("up", "gauge", "")]);
}

#[tokio::test]
async fn a_page_with_exemplars() {
    let rig = Rig::new();
    let page =
        "# TYPE c counter\nc_total 5 1 # {trace_id=\"a\"} 1 0.5\nc_total{x=\"y\"} 6 2 # {trace_id=\"b\"} 1\n# EOF\n";
    let format = PageFormat::Text(TextFormat::OpenMetrics);
    let written = rig.gateway.page(&Tenant::default(), format, Encoding::Identity, page.as_bytes()).await.unwrap();
    assert_eq!((written.samples, written.exemplars), (2, 2));
    let exemplars = rig.kept.exemplars.lock().unwrap();
    let kept: Vec<_> = exemplars.iter().map(|kept| (kept.labels[0].1.as_str(), kept.value, kept.ts_ms)).collect();
    assert_eq!(kept, [("a", 1.0, 500), ("b", 1.0, 2000)]);
}
