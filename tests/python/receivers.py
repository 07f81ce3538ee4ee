"""Doubles of receivers that do not run here, each made from its documented contract.

- Slack incoming webhooks: https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks
  JSON object with `text`; 200 and the body `ok`; 429 with Retry-After; 400 `invalid_payload`.
- Microsoft Teams, webhook of a workflow:
  https://learn.microsoft.com/en-us/microsoftteams/platform/webhooks-and-connectors/how-to/connectors-using
  a message of at most 28 KB with one adaptive card (https://adaptivecards.io/explorer/); 202; 429.
- PagerDuty Events API v2: https://developer.pagerduty.com/docs/events-api-v2/trigger-events/
  `routing_key`, `event_action` (trigger, acknowledge, resolve), `payload.summary|source|severity`; 202, 400, 429.
- Splunk HTTP Event Collector: https://docs.splunk.com/Documentation/Splunk/latest/Data/AboutHECIDXAck
  events one behind the other; `Authorization: Splunk TOKEN`; `X-Splunk-Request-Channel`; `ackId`, then /ack.
  `fields` are indexed fields beside the event: https://docs.splunk.com/Documentation/Splunk/latest/Data/IFXandHEC
- Webhooks of Bodkin itself: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
  `webhook-id` is the idempotency key.
- OTLP/HTTP logs as JSON: https://opentelemetry.io/docs/specs/otlp/#otlphttp and opentelemetry/proto/logs/v1/logs.proto
  ExportLogsServiceRequest; 200 `{}`; 429 and 503 want it again. `log.record.uid` tells duplicates:
  https://opentelemetry.io/docs/specs/semconv/general/logs/

A receiver with `Luck` refuses requests before it takes them, and takes some without an answer.
"""

import http.client
import http.server
import json
import random
import threading
import urllib.parse


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        """Clients are killed in the middle of a request."""


class Luck:
    """What becomes of a request: refused before it is taken, or taken without an answer."""

    def __init__(self, seed, refused=0.1, silent=0.02):
        self.rng, self.refused, self.silent = random.Random(seed), refused, silent
        self.requests = 0

    def draw(self):
        self.requests += 1
        luck = self.rng.random()
        return "refused" if luck < self.refused else "silent" if luck < self.refused + self.silent else "taken"


class Unsteady:
    """A real HTTP server, at this host and port, seen through bad luck; `taken` are paths and bodies of what it took, in order."""

    def __init__(self, upstream, luck):
        self.taken, lock, outer = [], threading.Lock(), self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def any(self):
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                # One at a time, so that `taken` says in which order the real server had them.
                with lock:
                    fate = luck.draw()
                    if fate == "refused":
                        return self.answer(503, b"", {"Retry-After": "0"})
                    headers = {name: value for name, value in self.headers.items() if name.lower() != "connection"}
                    connection = http.client.HTTPConnection(upstream, timeout=30)
                    connection.request(self.command, self.path, body, headers)
                    answer = connection.getresponse()
                    status, said, headers = answer.status, answer.read(), dict(answer.headers)
                    connection.close()
                    if body and 200 <= status < 300:
                        outer.taken.append((urllib.parse.unquote(self.path.split("?")[0]), body))
                if fate == "silent":
                    self.close_connection = True
                    return
                self.answer(status, said, {name: value for name, value in headers.items() if name.lower() in ("etag", "content-type")})

            do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = any

            def answer(self, status, said, headers):
                self.send_response(status)
                for name, value in {**headers, "content-length": str(len(said))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(said)

            def log_message(self, *args):
                pass

        self.server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


class Doubles:
    """One server for all of them; what breaks a contract is kept in `errors`."""

    def __init__(self, luck=None):
        self.hooks = []  # path, webhook-id, body of each that was taken
        self.slack, self.teams, self.pagerduty, self.splunk, self.otlp, self.errors = [], [], [], [], [], []
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
                    # Of receivers that ask back, the question has no luck of its own.
                    fate = luck.draw() if luck and not path.endswith("/ack") else "taken"
                    if fate == "refused":
                        return self.answer(luck.rng.choice([429, 500, 502, 503]), "busy", {"Retry-After": "0"})
                    try:
                        status, text = outer.take(path, self.headers, body)
                    except Exception as error:  # noqa: BLE001: whatever it is, the contract is broken
                        outer.errors.append(f"{path}: {error!r}: {body[:500]!r}")
                        status, text = 400, str(error)
                if fate != "silent":
                    self.answer(status, text, {})

            def answer(self, status, text, headers):
                self.send_response(status)
                for name, value in {**headers, "content-length": str(len(text))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *args):
                pass

        self.server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def take(self, path, headers, body):
        if path.startswith("/hook/"):
            assert headers["webhook-id"] == headers["idempotency-key"] and headers["webhook-timestamp"].isdigit(), headers
            self.hooks.append((path, headers["webhook-id"], body.decode()))
            return 200, ""
        if path == "/slack":
            message = json.loads(body)
            assert headers["content-type"] == "application/json" and message["text"], message
            self.slack.append(message)
            return 200, "ok"
        if path == "/teams":
            message = json.loads(body)
            card, = message["attachments"]
            assert len(body) <= 28 * 1024 and message["type"] == "message", message
            assert card["contentType"] == "application/vnd.microsoft.card.adaptive", card
            assert card["content"]["type"] == "AdaptiveCard" and card["content"]["version"] == "1.4", card
            lines = [(one["type"], run["type"], run["text"]) for one in card["content"]["body"] for run in one["inlines"]]
            assert all(line[:2] == ("RichTextBlock", "TextRun") for line in lines), lines
            self.teams.append([line[2] for line in lines])
            return 202, ""
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
                assert event["event"] and event["sourcetype"] and event["fields"]["idempotency_key"], event
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
