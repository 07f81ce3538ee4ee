"""The rollup ladder of a server: samples late, repeated and out of order, the server killed in the middle; every tier is a batch
SQL over the samples, and PromQL and SQL answer the same from tiers as from samples (LATE-1)."""

import http.client
import json
import math
import os
import random
import signal
import struct
import threading
import time
import urllib.parse
import urllib.request

import harness
import remote_write_wire as wire

STALE = struct.unpack("<d", struct.pack("<Q", 0x7FF0000000000002))[0]
HOUR_MS, DAY_MS = 3_600_000, 86_400_000
BASE_MS = 1_767_225_600_000  # 2026-01-01T00:00:00Z
TIERS = {"rollup_1m": "1 minute", "rollup_10m": "10 minutes", "rollup_1h": "1 hour", "rollup_1d": "1 day"}
# Bit for bit; sums and what is divided by them differ by the rounding of their parts.
EXACT = {"count_over_time", "min_over_time", "max_over_time", "first_over_time", "last_over_time", "present_over_time", "resets",
         "ts_of_first_over_time", "ts_of_last_over_time"}
ROUNDED = {"sum_over_time", "avg_over_time", "rate", "increase", "delta"}
BOUND = 1e-9


def history(args, dice):
    """Counters with resets and gauges; of half of the series every sample lies on a border of windows."""
    series = []
    for number in range(args.series):
        kind = "counter" if number % 3 else "gauge"
        labels = {"__name__": f"ladder_{kind}{'_total' if kind == 'counter' else ''}", "instance": f"i-{number}", "job": "ab"[number % 2]}
        offset, value, points = 0 if number % 2 else dice.randrange(1, args.interval * 1000), float(dice.randrange(500)), []
        for at in range(0, args.days * DAY_MS, args.interval * 1000):
            if dice.random() < 0.02:
                continue  # a gap
            if kind == "gauge":
                value = dice.gauss(50, 20)
            else:
                value = float(dice.randrange(5)) if dice.random() < 0.003 else value + dice.randrange(40)
            points.append((BASE_MS + at + offset, STALE if dice.random() < 0.002 else value))
        series.append((labels, points))
    return series


def write(server, body):
    headers = {"Content-Encoding": "snappy", "Content-Type": "application/x-protobuf"}
    request = urllib.request.Request(server.http + "/prometheus/api/v1/write", body, headers)
    with urllib.request.urlopen(request, timeout=120) as answer:
        assert answer.status == 204, answer.status


def deliveries(series, args, dice):
    """The samples in pieces: about a third comes late, a third of the pieces comes again in another company."""
    pieces = []
    for labels, points in series:
        size = max(1, len(points) // args.pieces)
        pieces += [(labels, points[at:at + size]) for at in range(0, len(points), size)]
    pieces.sort(key=lambda piece: piece[1][0][0] + (dice.random() < 0.3) * dice.randrange(10 * DAY_MS))
    pieces += dice.sample(pieces, len(pieces) * 3 // 10)
    return [pieces[at:at + args.series] for at in range(0, len(pieces), args.series)]


def roll_up(server, timeout=600):
    return server.post("/api/v1/admin/rollup", timeout=timeout)


def tiers_equal_batches(server):
    """Every tier against SQL over the samples. The only NaNs are stale markers; repeated samples count once."""
    for tier, length in TIERS.items():
        batch = f"""
            SELECT series_id, w, count(*) AS n, min(value) AS lo, max(value) AS hi, sum(value) AS s, min(ts) AS first_ts, max(ts) AS last_ts,
                   sum(CASE WHEN p IS NULL THEN 0 WHEN value < p THEN value ELSE value - p END) AS grown,
                   sum(CASE WHEN value < p THEN 1 ELSE 0 END) AS fell
            FROM (SELECT *, lag(value) OVER (PARTITION BY series_id, w ORDER BY ts) AS p
                  FROM (SELECT DISTINCT series_id, ts, value, date_bin(INTERVAL '{length}', ts) AS w FROM samples WHERE NOT isnan(value)))
            GROUP BY series_id, w"""
        wrong = f"""
            SELECT count(*), count(b.w), count(t.ts),
                   sum(CASE WHEN b.w IS NULL OR t.ts IS NULL OR n <> count OR lo <> min OR hi <> max OR b.first_ts <> t.first_ts
                             OR b.last_ts <> t.last_ts OR fell <> resets OR abs(s - sum) > {BOUND} * (1 + abs(s))
                             OR abs(grown - increase) > {BOUND} * (1 + abs(grown)) THEN 1 ELSE 0 END)
            FROM ({batch}) b FULL JOIN {tier} t ON b.series_id = t.series_id AND b.w = t.ts"""
        rows, of_batch, of_tier, bad = server.sql(wrong)[0]
        assert rows == of_batch == of_tier and bad == 0, f"LATE-1: {tier}: {rows} rows, {of_batch} and {of_tier}, {bad} differ"
        print(f"{tier}: {of_tier} rows equal a batch over the samples")


def ask(server, path, **params):
    url = f"{server.http}/prometheus/api/v1/{path}?{urllib.parse.urlencode(params)}"
    started = time.monotonic()
    with urllib.request.urlopen(url, timeout=120) as answer:
        return json.load(answer), time.monotonic() - started


def numbers(answer):
    """Values by labels and time."""
    found = {}
    for series in answer["data"]["result"]:
        labels = json.dumps(series["metric"], sort_keys=True)
        for at, value in series.get("values") or [series["value"]]:
            found[labels, at] = float(value)
    return found


def equal(one, other, bound):
    if one == other or (math.isnan(one) and math.isnan(other)):
        return True
    return bound > 0 and abs(one - other) <= bound * max(abs(one), abs(other), 1e-3)


def queries(args, dice):
    """Range functions over aligned windows, bare and inside other things, as range and as instant queries."""
    for number in range(args.queries):
        function = dice.choice(sorted(EXACT | ROUNDED))
        metric = dice.choice(["ladder_counter_total", "ladder_gauge"]) if function not in {"rate", "increase", "resets"} else "ladder_counter_total"
        length = dice.choice(["10m", "30m", "1h", "2h", "6h", "1d", "2d"])
        matcher, offset = dice.choice(["", '{job="a"}']), dice.choice(["", " offset 1h", " offset 1d"])
        inner = f"{function}({metric}{matcher}[{length}]{offset})"
        text = dice.choice(["{}", "{} * 2", "sum by (job) ({})", "max({})", "-{}", "topk(1, {})"]).format(inner)
        is_exact = function in EXACT and not text.startswith("sum")
        step = dice.choice([600, 1800, 3600, 21600, 86400])
        end = BASE_MS // 1000 + dice.randrange(2, args.days * 24) // 24 * 86400 + step * dice.randrange(3)
        yield text, is_exact, step, end - min(step * dice.randrange(1, 300), args.days * 86400), end, number % 5 == 0


def answers_equal(server, args, dice):
    tiered = 0
    for text, is_exact, step, start, end, is_instant in queries(args, dice):
        params = {"query": text, "time": end} if is_instant else {"query": text, "start": start, "end": end, "step": step}
        path = "query" if is_instant else "query_range"
        fast, _ = ask(server, path, **params)
        slow, _ = ask(server, path, exact="true", **params)
        tiered += any("rollup_" in info for info in fast.get("infos", []))
        assert not any("rollup_" in info for info in slow.get("infos", [])), slow["infos"]
        one, other = numbers(fast), numbers(slow)
        assert one.keys() == other.keys(), (params, sorted(one.keys() ^ other.keys())[:4])
        for key, value in one.items():
            assert equal(value, other[key], 0 if is_exact else BOUND), (params, key, value, other[key], fast.get("infos"))
    assert tiered > args.queries // 2, f"{tiered} of {args.queries} used a tier"
    print(f"{args.queries} PromQL queries: equal from tiers and from samples; {tiered} read a tier")


def sql_equal(server, args, dice):
    sources = set()
    for _ in range(args.queries // 5):
        step = dice.choice(["1 minute", "10 minutes", "30 minutes", "1 hour", "6 hours", "1 day", "7 days"])
        since = BASE_MS // 1000 + dice.randrange(args.days) * 86400
        span = dice.choice([6, 24, 24 * 5]) * 3600
        call = f"rollup('ladder_counter_total', {since}, {since + span}, INTERVAL '{step}'"
        columns = "series_id, ts, count, min, max, first, last, first_ts, last_ts, increase, resets"
        fast = server.sql(f"SELECT {columns} FROM {call}) ORDER BY 1, 2")
        slow = server.sql(f"SELECT {columns} FROM {call}, true) ORDER BY 1, 2")
        assert fast == slow and fast, (call, len(fast), len(slow))
        sources |= {row[0] for row in server.sql(f"SELECT DISTINCT source FROM {call})")}
    print(f"{args.queries // 5} SQL queries: equal from {sorted(sources)}")
    assert any("rollup_1h" in source for source in sources) and any("rollup_1m" in source for source in sources), sources


def sketches_are_near(server):
    """Quantiles of the gauges, whose tiers have sketches, against those of the samples."""
    values = {}
    asked = ("SELECT DISTINCT s.series_id, s.ts, s.value FROM samples s JOIN series l ON s.series_id = l.series_id "
             "WHERE l.name = 'ladder_gauge' AND NOT isnan(s.value)")
    for series, _, value in server.sql(asked):
        values.setdefault(series, []).append(value)
    for tier in TIERS:
        for share in (0, 0.5, 0.99):
            found = server.sql(f"SELECT series_id, sketch_quantile(sketch, {share}) FROM {tier} WHERE sketch IS NOT NULL GROUP BY series_id")
            assert {row[0] for row in found} == values.keys(), (tier, len(found))
            for series, quantile in found:
                exact = sorted(values[series])[int(share * (len(values[series]) - 1))]
                assert abs(quantile - exact) <= 0.0101 * abs(exact), (tier, share, quantile, exact)
    print(f"quantiles of {len(values)} series from sketches are within 1 %")


def named_later_has_sketches(server, labels, late_ms):
    """A metric that is named while the server runs: windows that are made afterwards have sketches."""
    of_metric = "metric_id = (SELECT metric_id FROM series WHERE name = 'ladder_counter_total' LIMIT 1)"
    for later in range(1, 200):
        write(server, wire.body([(labels, [(late_ms + later, 2.0)])]))
        roll_up(server)
        if server.sql(f"SELECT count(*) FROM rollup_1m WHERE sketch IS NOT NULL AND {of_metric}")[0][0]:
            return
    raise AssertionError("no window has a sketch")


def main():
    parser = harness.arguments(__doc__)
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--series", type=int, default=24)
    parser.add_argument("--interval", type=int, default=60, help="seconds between samples of a series")
    parser.add_argument("--pieces", type=int, default=40)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    dice = random.Random(args.seed)
    series = history(args, dice)
    sent = deliveries(series, args, dice)
    count = len({(labels["instance"], labels["__name__"], at) for labels, points in series for at, _ in points})
    with harness.folder() as folder:
        path = os.path.join(folder, "bodkin.yaml")
        with open(path, "w") as file:
            file.write("metrics: {sketches: [ladder_gauge]}\n")
        extra = ("--config", path)
        server = harness.Server(args, folder, extra=extra)
        for number, pieces in enumerate(sent):
            write(server, wire.body(pieces))
            if number in (len(sent) // 3, len(sent) // 2, len(sent) * 4 // 5):
                # It dies while tiers are made, and again after some of them were.
                making = threading.Thread(target=lambda: try_roll_up(server))
                making.start()
                time.sleep(dice.random())
                server.stop(signal.SIGKILL)
                making.join()
                server = harness.Server(args, folder, extra=extra)
        with harness.running(server):
            assert server.sql("SELECT count(*) FROM samples")[0][0] >= count
            done = roll_up(server)
            assert done["units_pending"] == 0 and done["units_made"] > 0, done
            tiers_equal_batches(server)
            sketches_are_near(server)
            answers_equal(server, args, dice)
            sql_equal(server, args, dice)
            # One late sample: at once in the answer, in the tiers after they are made again.
            labels, points = next((labels, points) for labels, points in series if labels["__name__"] == "ladder_counter_total")
            late_ms = points[len(points) // 2][0] + 1
            text = 'count_over_time(ladder_counter_total{instance="%s"}[1d])' % labels["instance"]
            at = (late_ms // DAY_MS + 1) * DAY_MS // 1000
            before = numbers(ask(server, "query", query=text, time=at)[0])
            write(server, wire.body([(labels, [(late_ms, 1.0)])]))
            after, _ = ask(server, "query", query=text, time=at)
            assert list(numbers(after).values()) == [value + 1 for value in before.values()], (before, after)
            assert server.post("/api/v1/admin/compact?vacuum=now", timeout=600)
            assert numbers(ask(server, "query", query=text, time=at)[0]) == numbers(after), "compaction hides no late sample"
            assert roll_up(server)["units_pending"] == 0
            again, _ = ask(server, "query", query=text, time=at)
            assert numbers(again) == numbers(after) and any("rollup_1d" in info for info in again["infos"]), again
            tiers_equal_batches(server)
            with open(path, "w") as file:
                file.write("metrics: {sketches: [ladder_gauge, ladder_counter_total]}\n")
            server.child.send_signal(signal.SIGHUP)
            named_later_has_sketches(server, labels, late_ms)
            status, seconds = server.stop()
            assert status == 0, status
    print("the ladder holds")


def try_roll_up(server):
    try:
        roll_up(server)
    except (OSError, http.client.HTTPException):
        pass  # it was killed


if __name__ == "__main__":
    main()
