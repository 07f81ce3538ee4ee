"""Doubles of receivers that do not run here, each made from its documented contract.

- Slack incoming webhooks: https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks
  JSON object with `text`; 200 and the body `ok`; 429 with Retry-After; 400 `invalid_payload`.
- PagerDuty Events API v2: https://developer.pagerduty.com/docs/events-api-v2/trigger-events/
  `routing_key`, `event_action` (trigger, acknowledge, resolve), `payload.summary|source|severity`; 202, 400, 429.
- Splunk HTTP Event Collector: https://docs.splunk.com/Documentation/Splunk/latest/Data/AboutHECIDXAck
  events one behind the other; `Authorization: Splunk TOKEN`; `X-Splunk-Request-Channel`; `ackId`, then /ack.
- OTLP/HTTP logs as JSON: https://opentelemetry.io/docs/specs/otlp/#otlphttp and opentelemetry/proto/logs/v1/logs.proto
  ExportLogsServiceRequest; 200 `{}`; 429 and 503 want it again.
"""

import http.server
import json
import threading


class Doubles:
    """One server for all of them; what breaks a contract is kept in `errors`."""

    def __init__(self):
        self.slack, self.pagerduty, self.splunk, self.otlp, self.errors = [], [], [], [], []
        self.busy = {}  # path: how many requests get 429 first
        self.acks = {}  # id: how often it was asked
        self.lock = threading.Lock()
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                path = self.path.split("?")[0]
                with outer.lock:
                    if outer.busy.get(path, 0) > 0:
                        outer.busy[path] -= 1
                        return self.answer(429, "rate_limited", {"Retry-After": "0"})
                    try:
                        status, text = outer.take(path, self.headers, body)
                    except Exception as error:  # noqa: BLE001: whatever it is, the contract is broken
                        outer.errors.append(f"{path}: {error!r}: {body[:500]!r}")
                        status, text = 400, str(error)
                self.answer(status, text, {})

            def answer(self, status, text, headers):
                self.send_response(status)
                for name, value in {**headers, "content-length": str(len(text))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *args):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def take(self, path, headers, body):
        if path == "/slack":
            message = json.loads(body)
            assert headers["content-type"] == "application/json" and message["text"], message
            self.slack.append(message)
            return 200, "ok"
        if path == "/v2/enqueue":
            event = json.loads(body)
            assert event["routing_key"] == "R" * 32 and event["event_action"] in ("trigger", "acknowledge", "resolve"), event
            assert 0 < len(event["dedup_key"]) <= 255, event
            payload = event["payload"]
            assert 0 < len(payload["summary"]) <= 1024 and payload["source"], payload
            assert payload["severity"] in ("critical", "error", "warning", "info"), payload
            self.pagerduty.append(event)
            return 202, json.dumps({"status": "success", "message": "Event processed", "dedup_key": event["dedup_key"]})
        if path.startswith("/services/collector"):
            assert headers["authorization"] == "Splunk T", headers["authorization"]
            channel = headers["x-splunk-request-channel"]
            assert len(channel) == 36, channel
            if path == "/services/collector/ack":
                ids = json.loads(body)["acks"]
                for one in ids:
                    self.acks[one] = self.acks.get(one, 0) + 1
                # Indexed at the second question.
                return 200, json.dumps({"acks": {str(one): self.acks[one] > 1 for one in ids}})
            decoder, text, at, count = json.JSONDecoder(), body.decode(), 0, 0
            while at < len(text):
                event, at = decoder.raw_decode(text, at)
                at += len(text[at:]) - len(text[at:].lstrip())
                assert event["event"] and event["sourcetype"], event
                self.splunk.append(event)
                count += 1
            assert count > 0
            return 200, json.dumps({"text": "Success", "code": 0, "ackId": len(self.splunk)})
        if path == "/v1/logs":
            request = json.loads(body)
            assert headers["content-type"] == "application/json"
            for resource in request["resourceLogs"]:
                assert resource["resource"]["attributes"][0]["key"] == "service.name", resource
                for scope in resource["scopeLogs"]:
                    for record in scope["logRecords"]:
                        assert 1 <= record["severityNumber"] <= 24 and record["body"]["stringValue"], record
                        assert isinstance(record.get("timeUnixNano", "1"), str), record
                        self.otlp.append(record)
            return 200, "{}"
        raise AssertionError(f"no such receiver {path}")
