"""CloudTrail's files in a bucket: each is read once, whatever dies, and its records meet the rules."""

import gzip
import json
import os
import signal
import time
import urllib.request

import harness
from bucket import Bucket

DATA = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../operators/rules/tests/data/cloudtrail")
PREFIX = "AWSLogs/123456789012/CloudTrail/eu-central-1/2026/01/02"

args = harness.arguments(__doc__).parse_args()


def put(bucket, name, body):
    url, headers = f"http://127.0.0.1:{bucket.port}/tables/{PREFIX}/{name}", {"Content-Type": "application/octet-stream"}
    request = urllib.request.Request(url, body, headers, method="PUT")
    urllib.request.urlopen(request, timeout=30).close()


records = json.load(open(os.path.join(DATA, "events.json")))["Records"]
expected = sum(len(record["all"]) for record in json.load(open(os.path.join(DATA, "expected.json"))))
bucket = Bucket()
os.environ.update({"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_REGION": "us-east-1", "AWS_VIRTUAL_HOSTED_STYLE_REQUEST": "false",
                   "AWS_ENDPOINT_URL": f"http://127.0.0.1:{bucket.port}"})
try:
    with harness.folder() as folder:
        config = os.path.join(folder, "config.yaml")
        with open(config, "w") as file:
            json.dump({"rules": {"files": [os.path.join(DATA, "rules.yaml")], "matching": "all"},
                       "cloudtrail": {"buckets": [{"url": "s3://tables/AWSLogs", "every": "200ms"}]}}, file)
        extra = ["--config", config]
        put(bucket, "1.json.gz", gzip.compress(json.dumps({"Records": records[:10]}).encode()))
        put(bucket, "broken.json.gz", b"no gzip")
        server = harness.Server(args, folder, extra=extra)
        try:
            assert server.until("SELECT count(*) FROM audit", 10, args.deadline)[0] == 10
            server.stop(signal.SIGKILL)
            # While it is dead; two records come again, as CloudTrail does it now and then.
            put(bucket, "2.json.gz", gzip.compress(json.dumps({"Records": records[8:]}).encode()))
            server = harness.Server(args, folder, extra=extra)
            assert server.until("SELECT count(*) FROM audit", len(records), args.deadline)[0] == len(records)
            # By HTTP they are known, too.
            with open(os.path.join(DATA, "events.json"), "rb") as file:
                request = urllib.request.Request(server.http + "/api/v1/cloudtrail", file.read(), method="POST")
            with urllib.request.urlopen(request, timeout=60) as answer:
                said = json.load(answer)
            assert said["accepted"] == said["repeated"] == len(records), said
            time.sleep(1)
            assert server.sql("SELECT count(*), count(DISTINCT event_id) FROM audit") == [[len(records)] * 2]
            found, = server.sql("SELECT count(*) FROM findings")[0]
            assert found == expected, (found, expected)
            assert server.stop()[0] == 0
        finally:
            if server.child.poll() is None:
                server.child.kill()
                server.child.wait()
finally:
    bucket.stop()
print(f"{len(records)} records of 2 files and a broken one, stored once over a kill -9; {expected} findings")
