//! Sample events of Kubernetes and CloudTrail fire exactly the expected rules.

use crate::{data, file, load};
use bodkin_rules::{Documents, Events, FindingRows, Matching, Options, RuleSet, Source, to_batch};
use serde_json::Value;

/// Names of the rules that fire, by event.
fn fired(rules: &RuleSet, source: Source, events: &Documents, matching: Matching) -> Vec<Vec<String>> {
    let mut by_event = vec![Vec::new(); events.documents.len()];
    for hit in rules.evaluate(Events::Documents(source, &events.documents), matching) {
        by_event[hit.row].push(rules.rules()[hit.rule].name.clone());
    }
    by_event
}

fn names(value: &Value) -> Vec<String> {
    match value {
        Value::Array(items) => items.iter().map(|item| item.as_str().unwrap().to_owned()).collect(),
        Value::String(one) => vec![one.clone()],
        _ => Vec::new(),
    }
}

#[test]
fn kubernetes_audit_samples() {
    let path = "falco/k8s_audit_rules.yaml";
    let (rules, report) = RuleSet::load(&[file(path, data(path))], &Options::default());
    let rules = rules.unwrap_or_else(|| panic!("{report}"));
    let expected: Value = serde_json::from_str(&data("k8s_audit/expected.json")).unwrap();
    for (name, expected) in expected.as_object().unwrap() {
        let text = data(&format!("k8s_audit/events/{name}"));
        let events = Documents::parse(Source::K8sAudit, text.as_bytes()).unwrap();
        assert!(events.rejected.is_empty(), "{name}: {:?}", events.rejected);
        let expected = &expected.as_array().unwrap()[0];
        let all = fired(&rules, Source::K8sAudit, &events, Matching::All);
        assert_eq!(all, [names(&expected["all"])], "{name}");
        let first = fired(&rules, Source::K8sAudit, &events, Matching::First);
        assert_eq!(first, [names(&expected["first"])], "{name}");
    }
}

#[test]
fn cloudtrail_samples() {
    let rules = load(data("cloudtrail/rules.yaml"));
    let expected: Value = serde_json::from_str(&data("cloudtrail/expected.json")).unwrap();
    let events = Documents::parse(Source::AwsCloudtrail, data("cloudtrail/events.json").as_bytes()).unwrap();
    assert_eq!((events.documents.len(), events.rejected.len()), (21, 0));
    let all = fired(&rules, Source::AwsCloudtrail, &events, Matching::All);
    let first = fired(&rules, Source::AwsCloudtrail, &events, Matching::First);
    for expected in expected.as_array().unwrap() {
        let row = events.documents.iter().position(|event| event.value["eventID"] == expected["eventID"]).unwrap();
        assert_eq!(all[row], names(&expected["all"]), "{}", expected["eventID"]);
        assert_eq!(first[row], names(&expected["first"]), "{}", expected["eventID"]);
    }
}

#[test]
fn a_finding_prints_as_falco_does() {
    let path = "falco/k8s_audit_rules.yaml";
    let (rules, _) = RuleSet::load(&[file(path, data(path))], &Options::default());
    let rules = rules.unwrap();
    let text = data("k8s_audit/events/create_nginx_pod_privileged_2nd_container.json");
    let events = Documents::parse(Source::K8sAudit, text.as_bytes()).unwrap();
    let found = rules.findings(Events::Documents(Source::K8sAudit, &events.documents), Matching::First);
    let json = FindingRows::new(&to_batch(&found)).falco(0, "");
    assert_eq!(json["rule"], "Create Privileged Pod");
    assert_eq!(json["priority"], "Warning");
    assert_eq!(json["event_id"], events.documents[0].value["auditID"]);
    assert_eq!(json["output_fields"]["ka.req.pod.containers.image"], serde_json::json!(["nginx", "mysql:latest"]));
    assert!(
        json["output"]
            .as_str()
            .unwrap()
            .ends_with("images=(nginx,mysql:latest) init_images=<NA> ephemeral_images=<NA>)"),
        "{json:?}"
    );
}
