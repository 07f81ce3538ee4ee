//! Fields of AWS CloudTrail records.

use super::ArgRule::Index;
use super::document::{Document, Extract, Extracted, step, walk};
use super::{FieldArg, FieldInfo, Get, Kind};
use serde_json::Value;

type With = fn(&Document, &FieldArg) -> Option<Extracted>;

const fn with(name: &'static str, extract: With) -> FieldInfo {
    FieldInfo::new(name, Kind::Text, Get::Document(Extract::With(extract)))
}

const fn number(name: &'static str, extract: With) -> FieldInfo {
    FieldInfo::new(name, Kind::Number, Get::Document(Extract::With(extract)))
}

/// A text at a path; what is there and is no text counts as an empty one, as in Falco's plugin.
macro_rules! texts {
    ($($name:literal: $($key:literal)+;)*) => {
        &[$(with($name, |d, _| string(&d.value, &[$($key),+])),)*]
    };
}

/// Fields that are a text at a path.
pub(super) static PATHS: &[FieldInfo] = texts! {
    "ct.id": "eventID";
    "ct.error": "errorCode";
    "ct.errormessage": "errorMessage";
    "ct.time": "eventTime";
    "ct.src": "eventSource";
    "ct.name": "eventName";
    "ct.user.identitytype": "userIdentity" "type";
    "ct.user.principalid": "userIdentity" "principalId";
    "ct.user.arn": "userIdentity" "arn";
    "ct.region": "awsRegion";
    "ct.response.subnetid": "responseElements" "subnetId";
    "ct.response.reservationid": "responseElements" "reservationId";
    "ct.request.availabilityzone": "requestParameters" "availabilityZone";
    "ct.request.cluster": "requestParameters" "cluster";
    "ct.request.functionname": "requestParameters" "functionName";
    "ct.request.groupname": "requestParameters" "groupName";
    "ct.request.host": "requestParameters" "Host";
    "ct.request.name": "requestParameters" "name";
    "ct.request.policy": "requestParameters" "policy";
    "ct.request.reason": "requestParameters" "reason";
    "ct.request.target": "requestParameters" "target";
    "ct.request.documentname": "requestParameters" "documentName";
    "ct.request.serialnumber": "requestParameters" "serialNumber";
    "ct.request.servicename": "requestParameters" "serviceName";
    "ct.request.subnetid": "requestParameters" "subnetId";
    "ct.request.taskdefinition": "requestParameters" "taskDefinition";
    "ct.request.username": "requestParameters" "userName";
    "ct.srcip": "sourceIPAddress";
    "ct.useragent": "userAgent";
    "ct.requestid": "requestID";
    "ct.eventtype": "eventType";
    "ct.apiversion": "apiVersion";
    "ct.recipientaccountid": "recipientAccountId";
    "ct.serviceeventdetails": "serviceEventDetails";
    "ct.sharedeventid": "sharedEventID";
    "ct.vpcendpointid": "vpcEndpointId";
    "ct.eventcategory": "eventCategory";
    "ct.addendum.reason": "addendum" "reason";
    "ct.addendum.updatedfields": "addendum" "updatedFields";
    "ct.addendum.originalrequestid": "addendum" "originalRequestID";
    "ct.addendum.originaleventid": "addendum" "originalEventID";
    "ct.edgedevicedetails": "edgeDeviceDetails";
    "ct.tlsdetails.tlsversion": "tlsDetails" "tlsVersion";
    "ct.tlsdetails.ciphersuite": "tlsDetails" "cipherSuite";
    "ct.tlsdetails.clientprovidedhostheader": "tlsDetails" "clientProvidedHostHeader";
    "s3.bucket": "requestParameters" "bucketName";
    "s3.key": "requestParameters" "key";
    "ecr.repository": "requestParameters" "repositoryName";
    "ecr.imagetag": "requestParameters" "imageTag";
    "iam.role": "requestParameters" "roleName";
    "iam.policy": "requestParameters" "policyName";
};

/// All other fields of CloudTrail records.
pub(super) static FIELDS: &[FieldInfo] = &[
    with("ct.shortsrc", |d, _| short_source(d)),
    with("ct.user", |d, _| user(d).map(Extracted::Text)),
    with("ct.originaluser", |d, _| original_user(d)),
    with("ct.user.accountid", |d, _| {
        string(&d.value, &["userIdentity", "accountId"]).or_else(|| string(&d.value, &["recipientAccountId"]))
    }),
    with("ct.response", |d, _| json(d, "responseElements")),
    with("ct.request", |d, _| json(d, "requestParameters")),
    with("ct.additionaleventdata", |d, _| json(d, "additionalEventData")),
    with("ct.info", |d, _| Some(Extracted::Text(info(d)))),
    with("ct.managementevent", |d, _| flag(d, "managementEvent")),
    with("ct.readonly", |d, _| flag(d, "readOnly")),
    with("ct.sessioncredentialfromconsole", |d, _| flag(d, "sessionCredentialFromConsole")),
    with("ct.resources", |d, _| resources(d)),
    with("s3.uri", |d, _| s3_uri(d).map(Extracted::Text)),
    number("s3.bytes", |d, _| bytes(d, &["bytesTransferredIn", "bytesTransferredOut"])),
    number("s3.bytes.in", |d, _| bytes(d, &["bytesTransferredIn"])),
    number("s3.bytes.out", |d, _| bytes(d, &["bytesTransferredOut"])),
    number("s3.cnt.get", |d, _| (text(d, &["eventName"]) == "GetObject").then_some(Extracted::Number(1))),
    number("s3.cnt.put", |d, _| (text(d, &["eventName"]) == "PutObject").then_some(Extracted::Number(1))),
    number("s3.cnt.other", |d, _| {
        (!matches!(text(d, &["eventName"]), "GetObject" | "PutObject")).then_some(Extracted::Number(1))
    }),
    with("ec2.name", |d, _| instance_name(d)),
    with("ec2.imageid", |d, _| images(d, &FieldArg::Index(0))?.into_iter().next().map(Extracted::Text)),
    with("ec2.imageids", |d, arg| images(d, arg).map(Extracted::Texts)).list().arg(Index),
];

fn string(value: &Value, path: &[&str]) -> Option<Extracted> {
    walk(value, path).map(|found| Extracted::Text(found.as_str().unwrap_or_default().to_owned()))
}

/// The text at a path, empty where there is none.
fn text<'a>(document: &'a Document, path: &[&str]) -> &'a str {
    walk(&document.value, path).and_then(Value::as_str).unwrap_or_default()
}

fn json(document: &Document, key: &str) -> Option<Extracted> {
    document.value.get(key).map(|value| Extracted::Text(value.to_string()))
}

fn flag(document: &Document, key: &str) -> Option<Extracted> {
    document.value.get(key).map(|value| Extracted::Text((value.as_bool() == Some(true)).to_string()))
}

fn short_source(document: &Document) -> Option<Extracted> {
    let source = walk(&document.value, &["eventSource"])?.as_str().unwrap_or_default();
    let short = source.strip_suffix(".amazonaws.com").filter(|short| !short.is_empty()).unwrap_or(source);
    Some(Extracted::Text(short.to_owned()))
}

/// Who acted; for an assumed role the role.
fn user(document: &Document) -> Option<String> {
    let owned = |path: &[&str]| walk(&document.value, path).map(|name| name.as_str().unwrap_or_default().to_owned());
    match walk(&document.value, &["userIdentity", "type"])?.as_str()? {
        "Root" | "IAMUser" => owned(&["userIdentity", "userName"]),
        "AWSService" => owned(&["userIdentity", "invokedBy"]),
        "AssumedRole" => owned(&["userIdentity", "sessionContext", "sessionIssuer", "userName"])
            .or_else(|| Some("AssumedRole".to_owned())),
        known @ ("AWSAccount" | "FederatedUser") => Some(known.to_owned()),
        _ => None,
    }
}

/// Who acted; for an assumed role the name of the session.
fn original_user(document: &Document) -> Option<Extracted> {
    if text(document, &["userIdentity", "type"]) != "AssumedRole" {
        return string(&document.value, &["userIdentity", "userName"]);
    }
    let arn: Vec<&str> = text(document, &["userIdentity", "arn"]).split('/').collect();
    let principal: Vec<&str> = text(document, &["userIdentity", "principalId"]).split(':').collect();
    match (arn.as_slice(), principal.as_slice()) {
        ([_, _, session], _) | (_, [_, session]) => Some(Extracted::Text((*session).to_owned())),
        _ => None,
    }
}

fn resources(document: &Document) -> Option<Extracted> {
    let all = document.value.get("resources")?.as_array().filter(|all| !all.is_empty())?;
    Some(Extracted::Text(all.iter().map(Value::to_string).collect::<Vec<_>>().join(",")))
}

fn s3_uri(document: &Document) -> Option<String> {
    let part = |key| walk(&document.value, &["requestParameters", key]).and_then(Value::as_str);
    Some(format!("s3://{}/{}", part("bucketName")?, part("key")?))
}

/// The sum of byte counts, some of which are written as floats.
fn bytes(document: &Document, keys: &[&str]) -> Option<Extracted> {
    let data = document.value.get("additionalEventData")?;
    let counts = keys.iter().filter_map(|key| step(data, key));
    let count = |value: &Value| value.as_i64().or(value.as_f64().map(|float| float as i64)).unwrap_or(0);
    counts.map(count).reduce(i64::saturating_add).map(Extracted::Number)
}

/// The tag `Name` of the instances that are started.
fn instance_name(document: &Document) -> Option<Extracted> {
    let items = walk(&document.value, &["requestParameters", "tagSpecificationSet", "items"])?.as_array()?;
    let instances = items.iter().filter(|item| item.get("resourceType").is_some_and(|kind| kind == "instance"));
    let mut names = instances.filter_map(|item| {
        let tags = item.get("tags")?.as_array()?;
        tags.iter().find(|tag| tag.get("key").is_some_and(|key| key == "Name"))?.get("value")?.as_str()
    });
    names.next_back().filter(|name| !name.is_empty()).map(|name| Extracted::Text(name.to_owned()))
}

fn images(document: &Document, arg: &FieldArg) -> Option<Vec<String>> {
    let id = |item: &Value| item.get("imageId").map(|id| id.as_str().unwrap_or_default().to_owned());
    if let Some(instances) = walk(&document.value, &["responseElements", "instancesSet", "items"]) {
        let instances = instances.as_array().map(Vec::as_slice).unwrap_or_default();
        return match arg {
            FieldArg::Index(index) => instances.get(*index).and_then(id).map(|id| vec![id]),
            _ => Some(instances.iter().filter_map(id).filter(|id| !id.is_empty()).collect()),
        };
    }
    if !matches!(arg, FieldArg::None | FieldArg::Index(0)) {
        return None;
    }
    let paths: [&[&str]; 3] =
        [&["imageId"], &["DescribeFastLaunchImagesRequest", "ImageId", "content"], &["launchSpecification", "imageId"]];
    let request = document.value.get("requestParameters")?;
    let found = paths.iter().find_map(|path| walk(request, path))?;
    Some(vec![found.as_str().unwrap_or_default().to_owned()])
}

/// A summary of the record: who, from where, what.
fn info(document: &Document) -> String {
    let Some(user) = user(document) else {
        return "<invalid cloudtrail event: userIdentity field missing>".to_owned();
    };
    let present = |key: &str| document.value.get(key).is_some();
    if !present("sourceIPAddress") {
        return "<invalid cloudtrail event: eventSource field missing>".to_owned();
    }
    if !present("eventName") {
        return "<invalid cloudtrail event: eventName field missing>".to_owned();
    }
    let is_change = document.value.get("readOnly").is_some_and(|value| value.as_bool() != Some(true));
    let arrow = if is_change { '\u{2192}' } else { '\u{2190}' };
    let failed = if present("errorCode") { "!" } else { "" };
    let address = text(document, &["sourceIPAddress"]);
    let via = if user == address { String::new() } else { format!(" via {address}") };
    let mut info = format!("{user}{via} {failed}{arrow} {}", text(document, &["eventName"]));
    if let Some(Extracted::Number(size)) = bytes(document, &["bytesTransferredIn", "bytesTransferredOut"]) {
        info += &format!(" Size={size}");
    }
    let parameter = |key| walk(&document.value, &["requestParameters", key]).and_then(Value::as_str);
    match (s3_uri(document), parameter("bucketName"), parameter("key"), parameter("Host")) {
        (Some(uri), ..) => info + &format!(" URI={uri}"),
        (_, Some(bucket), ..) => info + &format!(" Bucket={bucket}"),
        (_, _, Some(key), _) => info + &format!(" Key={key}"),
        (_, _, _, Some(host)) => info + &format!(" Host={host}"),
        _ => info,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fields::document::Documents;
    use crate::fields::find;
    use crate::load::Source;

    fn shown(record: &str, field: &str, arg: Option<&str>) -> String {
        let record = format!(r#"{{"eventTime":"2026-01-02T03:28:23Z",{record}}}"#);
        let document = Documents::parse(Source::AwsCloudtrail, record.as_bytes()).unwrap().documents.remove(0);
        let field = find(Source::AwsCloudtrail, field, arg).unwrap();
        match document.extract(field.info, &field.arg) {
            None => "-".to_owned(),
            Some(Extracted::Text(text)) => text,
            Some(Extracted::Texts(texts)) => format!("({})", texts.join(",")),
            Some(Extracted::Number(number)) => number.to_string(),
        }
    }

    #[test]
    fn fields_of_records() {
        let role = r#""userIdentity":{"type":"AssumedRole","arn":"arn:aws:sts::1:assumed-role/r/s","principalId":"A:s","sessionContext":{"sessionIssuer":{"userName":"r"}}}"#;
        for (record, field, expected) in [
            (r#""eventName":"X""#, "ct.name", "X"),
            (r#""x":1"#, "ct.error", "-"),
            (r#""errorCode":null"#, "ct.error", ""),
            (r#""eventSource":"ecs.amazonaws.com""#, "ct.shortsrc", "ecs"),
            (r#""userIdentity":{"type":"IAMUser","userName":"alice"}"#, "ct.user", "alice"),
            (r#""userIdentity":{"type":"IAMUser"}"#, "ct.user", "-"),
            (r#""userIdentity":{"type":"Odd","userName":"alice"}"#, "ct.user", "-"),
            (role, "ct.user", "r"),
            (role, "ct.originaluser", "s"),
            (r#""readOnly":false"#, "ct.readonly", "false"),
            (r#""responseElements":null"#, "ct.response", "null"),
            (r#""responseElements":null"#, "ct.response.subnetid", "-"),
            (r#""requestParameters":{"bucketName":"b","key":"k/x"}"#, "s3.uri", "s3://b/k/x"),
            (r#""additionalEventData":{"bytesTransferredIn":1.0,"bytesTransferredOut":33.0}"#, "s3.bytes", "34"),
            (r#""additionalEventData":{}"#, "s3.bytes", "-"),
            (r#""requestParameters":{"imageId":"ami-1"}"#, "ec2.imageids", "(ami-1)"),
            (
                r#""responseElements":{"instancesSet":{"items":[{"imageId":"a"},{"imageId":"b"}]}}"#,
                "ec2.imageids",
                "(a,b)",
            ),
            (r#""responseElements":{"instancesSet":{"items":[{"imageId":"a"},{"imageId":"b"}]}}"#, "ec2.imageid", "a"),
            (
                r#""userIdentity":{"type":"Root","userName":"root"},"sourceIPAddress":"1.2.3.4","eventName":"N","readOnly":false"#,
                "ct.info",
                "root via 1.2.3.4 \u{2192} N",
            ),
        ] {
            assert_eq!(shown(record, field, None), expected, "{record} {field}");
        }
        let two = r#""responseElements":{"instancesSet":{"items":[{"imageId":"a"},{"imageId":"b"}]}}"#;
        assert_eq!(shown(two, "ec2.imageids", Some("1")), "(b)");
        assert_eq!(shown(two, "ec2.imageids", Some("5")), "-");
    }
}
