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
