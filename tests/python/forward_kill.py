"""kill -9 of a server that forwards to every kind of channel at once, again and again (`--kills N`).

Receivers refuse now and then, and now and then do not answer for what they took; a broker hangs. At the end each has every row that is
in the table, in the order of its producer, and what came twice came under one key; where a protocol has no room for a key
(`KEYLESS`) a row may be there twice. Also each alert is told, under one key.

With `--kafka CODEC` a topic of a real broker, too; that needs a binary with the feature and what `./check --kafka` installs.
"""

import contextlib
import io
import json
import os
import random
import re
import signal
import threading
import time

import pyarrow as pa
import pyarrow.flight
import pyarrow.parquet

import harness
from broker import broker
from flow import until
from lanes import SCHEMA, Lane
from real_receivers import Mails, receivers
from receivers import Doubles, Luck, Unsteady

PRODUCERS = ("a", "b", "c")
# Every row goes to the first; people and their tools get one in fifty.
EVERY, SOME = ("hook", "tcp", "tls", "splunk", "otel", "search", "lines", "parquet", "bus"), ("chat", "team", "pager", "mail", "am")
KEYLESS = ("chat", "team", "am")
# An Alertmanager has a set of alerts, an index one of documents: no order.
UNORDERED = ("am", "search")
TOPIC, PARTITIONS = "rows", 3


def channels(folder, real, doubles, unsteady, kafka, codec):
    ports = real.ports
    s3 = {"endpoint": unsteady["s3"].url, "access_key": "x", "secret_key": "y"}
    made = {
        "hook": {"webhook": {"url": f"{doubles.url}/hook/rows"}},
        "told": {"webhook": {"url": f"{doubles.url}/hook/alerts"}},
        "tcp": {"syslog": {"address": f"tcp://127.0.0.1:{ports['tcp']}"}},
        "tls": {"syslog": {"address": f"tls://localhost:{ports['tls']}", "format": "json", "ca": f"{folder}/cert.pem"}},
        "splunk": {"splunk_hec": {"url": doubles.url, "token": "T", "acks": True}},
        "otel": {"otlp": {"url": doubles.url}},
        "search": {"elasticsearch": {"url": unsteady["es"].url, "index": "rows"}},
        "lines": {"s3": {**s3, "url": "s3://lake/lines"}},
        "parquet": {"s3": {**s3, "url": "s3://lake/parquet", "format": "parquet"}},
        "chat": {"slack": {"url": f"{doubles.url}/slack"}},
        "team": {"teams": {"url": f"{doubles.url}/teams"}},
        "pager": {"pagerduty": {"routing_key": "R" * 32, "url": f"{doubles.url}/v2/enqueue"}},
        "mail": {"email": {"smtp": f"smtp://127.0.0.1:{ports['smtp']}", "from": "bodkin@example.org", "to": ["ops@example.org"],
                           "template": "{% for row in rows %}{{ row.output }}\n{% endfor %}"}},
        "am": {"alertmanager": {"url": unsteady["am"].url}},
    }
    if kafka:
        made["bus"] = {"kafka": {"brokers": [kafka.address], "topic": TOPIC, "key": "host", "properties": {"compression.codec": codec}}, "timeout_s": 1}
    return made


def configuration(made):
    sql = "SELECT ts, reason AS host, count, concat('row ', reason, ' ', count) AS output FROM input"
    forward = {name: {"inputs": ["drops"], "sql": sql, "to": name} for name in EVERY if name in made}
    forward |= {name: {"inputs": ["drops"], "filter": "count % 50 = 0", "sql": sql, "to": name} for name in SOME}
    return {
        "channels": made, "forward": forward,
        "alerts": {
            "rules": [{"alert": "Loud", "from": "drops", "when": "count % 200 = 0", "by": ["count"], "keep": "1d"}],
            "route": {"channel": "told", "group_by": ["..."], "group_interval": "0s"}, "shipped": False,
        },
    }


ROW = re.compile(r"row ([abc]) (\d+)")


def found(text):
    """Producer and number of each row that a text names."""
    return [(producer, int(number)) for producer, number in ROW.findall(text)]


def of_object(path, body):
    """The text of the rows of an object."""
    if path.endswith(".jsonl"):
        return body.decode()
    return "\n".join(pa.parquet.read_table(io.BytesIO(body))["output"].to_pylist())


class Topic:
    """Key and text of each message of the topic, as they come; those of one partition in its order."""

    def __init__(self, address):
        from confluent_kafka import Consumer, TopicPartition

        self.got, self.address = [], address
        self.consumer = Consumer({"bootstrap.servers": address, "group.id": "check", "enable.auto.commit": False})
        self.consumer.assign([TopicPartition(TOPIC, partition, 0) for partition in range(PARTITIONS)])
        self.is_over, self.reader = False, threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def close(self):
        self.is_over = True
        self.reader.join()
        self.consumer.close()

    def read(self):
        while not self.is_over:
            message = self.consumer.poll(0.2)
            if message is not None and message.error() is None:
                row = json.loads(message.value())
                assert row["host"] == message.key().decode(), row
                self.got.append((dict(message.headers())["idempotency-key"].decode(), row["output"]))


def received(name, real, mails, doubles, unsteady, kafka):
    """What a channel's receiver has: pairs of a key and the text with its rows, by arrival."""
    if name in ("hook", "told"):
        path = {"hook": "/hook/rows", "told": "/hook/alerts"}[name]
        return [(key, body) for where, key, body in list(doubles.hooks) if where == path]
    if name in ("tcp", "tls"):
        key = re.compile(r'^\[bodkin@32473 key="([^"]+)"\]$')
        lines = [(key.match(line[5]), line[6]) for line in real.syslog(name)]
        # What a kill cuts off is no whole message; it comes again.
        whole = [(match[1], text) for match, text in lines if match]
        return [pair for pair in whole if name == "tcp" or pair[1].rstrip().endswith("}")]
    if name == "splunk":
        return [(event["fields"]["idempotency_key"], event["event"]["output"]) for event in list(doubles.splunk)]
    if name == "otel":
        uid = lambda record: next(one["value"]["stringValue"] for one in record["attributes"] if one["key"] == "log.record.uid")
        return [(uid(record), record["body"]["stringValue"]) for record in list(doubles.otlp)]
    if name == "search":
        return [(key, document["output"]) for key, document in real.documents("rows")]
    if name in ("lines", "parquet"):
        return [(path, of_object(path, body)) for path, body in list(unsteady["s3"].taken) if path.startswith(f"/lake/{name}/")]
    if name == "chat":
        return [(None, one["attachments"][0]["text"]) for one in list(doubles.slack)]
    if name == "team":
        return [(None, "\n".join(one[1:])) for one in list(doubles.teams)]
    if name == "pager":
        return [(one["dedup_key"], one["payload"]["summary"]) for one in list(doubles.pagerduty)]
    if name == "mail":
        return [(mail["message-id"], mail.get_content()) for _, mail in list(mails.got)]
    if name == "am":
        return [(None, one["annotations"]["summary"]) for one in real.alerts()]
    return list(kafka.got)


def judge(name, got, rows):
    """What is wrong with what a receiver got, for every row that it should have; how many came again."""
    numbers, texts, again, problems = {}, {}, 0, []
    last = dict.fromkeys(PRODUCERS, -1)
    for key, text in got:
        if key is not None and texts.setdefault(key, text) != text:
            problems.append(f"another content under the key {key}")
        for producer, number in found(text):
            again += number in numbers
            keys = numbers.setdefault(number, [])
            if not keys and name not in UNORDERED:
                if number < last[producer]:
                    problems.append(f"{number} of {producer} comes behind {last[producer]}")
                last[producer] = number
            keys.append(key)
    if missing := rows - set(numbers):
        problems.append(f"{len(missing)} of {len(rows)} are missing: {sorted(missing)[:10]}")
    if strangers := set(numbers) - rows:
        problems.append(f"rows that are in no table: {sorted(strangers)[:10]}")
    if name not in KEYLESS and (twice := [number for number, keys in numbers.items() if len(set(keys)) > 1]):
        problems.append(f"{len(twice)} under two keys: {twice[:10]}")
    return problems, again


def batch(producer, numbers):
    count, now = len(numbers), int(time.time() * 1e6)
    return pa.record_batch([pa.array([now] * count, SCHEMA.field(0).type), pa.array(["p"] * count), pa.array(["x"] * count),
                            pa.array([producer] * count), pa.array(numbers, pa.int64())], schema=SCHEMA)


@contextlib.contextmanager
def hanging(process, rng):
    """Meanwhile the process hangs now and then, for longer than an attempt of a channel to it may take."""
    is_over = threading.Event()

    def hang():
        while not is_over.wait(rng.uniform(1, 6)):
            process.send_signal(signal.SIGSTOP)
            is_over.wait(rng.uniform(1, 3))
            process.send_signal(signal.SIGCONT)

    thread = threading.Thread(target=hang)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


@contextlib.contextmanager
def bus(folder, args):
    """The topic of a broker, where it is wanted."""
    if not args.kafka:
        yield None
        return
    with broker(folder, TOPIC, PARTITIONS) as (address, process):
        with contextlib.closing(Topic(address)) as topic, hanging(process, random.Random(args.seed)):
            yield topic


class Load:
    """Sends from three producers until it cannot, and remembers what was acknowledged."""

    def __init__(self, rng):
        self.rng, self.acked, self.next = rng, set(), 0

    def send(self, server, incarnation, seconds):
        client = pyarrow.flight.connect(server.flight)
        lanes = {name: Lane(client, incarnation=incarnation, producer=f"test/{name}") for name in PRODUCERS}
        end, seq = time.monotonic() + seconds, 0
        while time.monotonic() < end:
            seq += 1
            for name, lane in lanes.items():
                numbers = list(range(self.next, self.next + self.rng.randrange(1, 30)))
                self.next = numbers[-1] + 1
                lane.send(seq, batch(name, numbers))
                self.acked.update(numbers)
            time.sleep(0.04)
            if self.rng.random() < 0.05:
                server.post("/api/v1/admin/flush")


def killed(server, load, incarnation, seconds):
    """The server dies while it is sent to: what it does at that moment is left to chance."""
    timer = threading.Timer(seconds, lambda: os.kill(server.pid, signal.SIGKILL))
    timer.start()
    try:
        load.send(server, incarnation, seconds + 30)
        raise AssertionError("the server was not killed")
    except (pa.ArrowException, OSError, AssertionError) as error:
        if server.child.wait(10) != -signal.SIGKILL:
            raise error
    finally:
        timer.join()
        server.stop()


def check(server, args, load, real, unsteady, receive):
    """Waits until nothing is on its way, then judges every receiver. Gives rows and what came again, by channel."""
    rows = {row[0] for row in server.sql("SELECT count FROM drops WHERE class = 'x'")}
    assert rows >= load.acked, f"acknowledged and not stored: {sorted(load.acked - rows)[:10]}"
    some = {number for number in rows if number % 50 == 0}
    again = {}
    for name in EVERY + SOME:
        if name not in receive:
            continue
        due = rows if name in EVERY else some
        deadline = time.monotonic() + args.deadline + 2 * args.kills
        while (seen := {number for _, text in receive[name]() for _, number in found(text)}) < due:
            assert time.monotonic() < deadline, f"{name}: {len(due - seen)} of {len(due)} are missing: {sorted(due - seen)[:10]}"
            time.sleep(0.2)
        problems, again[name] = judge(name, receive[name](), due)
        assert not problems, f"{name}: {problems[:5]}"
    stored = {f"/lake/{name}": body for kind in ("lines", "parquet") for name, body in real.objects(f"{kind}/").items()}
    wrong = [path for path, body in unsteady["s3"].taken if stored.get(path) != body]
    assert not wrong, f"objects that are not as they were put last: {wrong[:3]}"
    loud = {number for number in rows if number % 200 == 0}

    def told():
        keys = {}
        for key, body in receive["told"]():
            for alert in json.loads(body)["alerts"]:
                keys.setdefault(int(alert["labels"]["count"]), set()).add((key, alert["status"]))
        return keys
    until("alerts are not told", lambda: set(told()) >= loud, args.deadline)
    wrong = {number: keys for number, keys in told().items() if len(keys) != 1 or number not in loud}
    assert not wrong, f"alerts under two keys, or of no row: {list(wrong.items())[:3]}"
    dead = server.sql("SELECT channel, count(*), min(reason) FROM deliveries WHERE state = 'dead' GROUP BY channel")
    assert not dead, dead
    return rows, loud, again


def main():
    parser = harness.arguments(__doc__)
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--kafka", metavar="CODEC", help="a topic, too, of messages compressed like this")
    args = parser.parse_args()
    print(f"seed {args.seed}", flush=True)
    rng = random.Random(args.seed)
    doubles, mails, load = Doubles(Luck(args.seed)), Mails(Luck(args.seed + 1, 0.02, 0.02)), Load(rng)
    with harness.folder() as folder, receivers(folder, mails) as real, bus(folder, args) as kafka:
        # Real servers know no Retry-After of ours: each refusal costs a second.
        unsteady = {name: Unsteady(f"127.0.0.1:{real.ports[name]}", Luck(args.seed + 2, 0.02, 0.01)) for name in ("s3", "am", "es")}
        made = channels(folder, real, doubles, unsteady, kafka, args.kafka)
        receive = {name: lambda name=name: received(name, real, mails, doubles, unsteady, kafka) for name in made}
        path = os.path.join(folder, "config.yaml")
        with open(path, "w") as file:
            json.dump(configuration(made), file)
        started = time.monotonic()
        for kill in range(args.kills):
            with harness.running(harness.Server(args, folder, extra=["--config", path])) as server:
                killed(server, load, kill + 1, rng.uniform(0.05, 2.0))
        with harness.running(harness.Server(args, folder, extra=["--config", path])) as server:
            load.send(server, args.kills + 1, 0.5)
            rows, loud, again = check(server, args, load, real, unsteady, receive)
            status, _ = server.stop()
            assert status == 0, status
        assert not doubles.errors, doubles.errors[:3]
    print(f"{args.kills} kills in {time.monotonic() - started:.0f} s, {len(rows)} rows to {len(again)} channels, {len(loud)} alerts: none "
          f"is missing; came again: {', '.join(f'{name} {count}' for name, count in again.items())}")


if __name__ == "__main__":
    main()
