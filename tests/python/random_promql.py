"""Random PromQL asked of Bodkin and of a Prometheus with the same samples: the same answers, errors, warnings and infos.

  random_promql.py --bodkin B --agent A [--prometheus P] [--seed 1] [--queries 2000] [--show 20] [--only EXPR ...]

A query is asked at one time and over a range. What differs is shown with the seed that makes it again."""

import collections
import http.client
import json
import math
import random
import re
import urllib.parse

import harness
import random_promql_data as data
import random_promql_grammar
import prometheus_server
import remote_write_wire as wire

ANNOTATIONS_MAX = 10
BASE_MS = 1_700_000_100_000
# Which two of many series an error names is as the maps of Prometheus have it.
ANY_TWO = re.compile(r"for the match group \{.*?\} on the (?:left|right) hand-side of the operation: \[.*\](?=;many-to-many)", re.DOTALL)
# Numbers in annotations, whose last digits are a matter of the functions of a language.
NUMBER = re.compile(r"(?<=got )[-+0-9.e]+")
# What orders an instant answer.
ORDERING = re.compile(r"\s*(sort|sort_desc|topk|bottomk)\b")


class Client:
    """A connection that stays open."""

    def __init__(self, base):
        parts = urllib.parse.urlsplit(base)
        self.prefix, self.connection = parts.path, http.client.HTTPConnection(parts.hostname, parts.port, timeout=120)

    def post(self, path, body, headers):
        for attempt in range(2):
            try:
                self.connection.request("POST", self.prefix + path, body, headers)
                answer = self.connection.getresponse()
                return answer.status, answer.read()
            except (http.client.HTTPException, OSError):
                self.connection.close()
                if attempt:
                    raise

    def ask(self, path, form):
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        status, body = self.post(path, urllib.parse.urlencode(form, doseq=True), headers)
        return status, json.loads(body)


def write(client, series):
    for start in range(0, len(series), 20):
        body = wire.body(series[start:start + 20])
        status, said = client.post("/api/v1/write", body, {"Content-Encoding": "snappy", "Content-Type": "application/x-protobuf"})
        assert status // 100 == 2, (status, said)


def rounded(match):
    return f"{float(match[0]):.9g}"


def close(one, other, tolerance=1e-9):
    one, other = float(one), float(other)
    return one == other or math.isnan(one) and math.isnan(other) or math.isclose(one, other, rel_tol=tolerance, abs_tol=1e-300)


def same_histogram(one, other):
    plain = lambda h: [h["count"], h["sum"], *(value for bucket in h.get("buckets") or [] for value in bucket)]
    a, b = plain(one), plain(other)
    return len(a) == len(b) and all(close(x, y) for x, y in zip(a, b))


def same_points(one, other):
    return len(one) == len(other) and all(a[0] == b[0] and close(a[1], b[1]) for a, b in zip(one, other))


def same_row(one, other):
    if one["metric"] != other["metric"]:
        return False
    for kind in ("value", "values", "histogram", "histograms"):
        if (kind in one) != (kind in other):
            return False
    if "value" in one and not same_points([one["value"]], [other["value"]]) or "values" in one and not same_points(one["values"], other["values"]):
        return False
    histograms = lambda row: row.get("histograms") or ([row["histogram"]] if "histogram" in row else [])
    a, b = histograms(one), histograms(other)
    return len(a) == len(b) and all(x[0] == y[0] and same_histogram(x[1], y[1]) for x, y in zip(a, b))


def sorted_rows(rows):
    return sorted(rows, key=lambda row: json.dumps(row["metric"], sort_keys=True))


def rows_differ(one, other):
    """In what rows differ, as a kind and what each side has."""
    left, right = ([json.dumps(row["metric"], sort_keys=True) for row in rows] for rows in (one, other))
    if sorted(left) != sorted(right):
        return "series", sorted(set(left) - set(right)), sorted(set(right) - set(left))
    if left != right:
        values = [[row.get("value", [0, 0])[1] for row in rows] for rows in (one, other)]
        # Equal values have no order of their own.
        if any("value" not in row for row in one) or values[0] != values[1]:
            return "order", left, right
        return rows_differ(sorted_rows(one), sorted_rows(other))
    for mine, its in zip(one, other):
        if not same_row(mine, its):
            return "values", mine, its
    return None


def difference(query, path, ours, theirs):
    """In what two answers differ, as a kind and what each side has, or nothing."""
    (our_status, ours), (their_status, theirs) = ours, theirs
    if ours["status"] != theirs["status"]:
        return "status", ours, theirs
    if ours["status"] == "error":
        if (our_status, ours["errorType"]) != (their_status, theirs["errorType"]):
            return "error type", ours, theirs
        one, other = (ANY_TWO.sub("[...]", answer["error"]) for answer in (ours, theirs))
        return None if one == other else ("error text", one, other)
    one, other = ours["data"], theirs["data"]
    if one["resultType"] != other["resultType"]:
        return "result type", one, other
    if one["resultType"] in ("scalar", "string"):
        if one != other and not same_points([one["result"]], [other["result"]]):
            return "scalar", one, other
    else:
        is_ordered = path == "/api/v1/query_range" or ORDERING.match(query)
        found = rows_differ(*(rows["result"] if is_ordered else sorted_rows(rows["result"]) for rows in (one, other)))
        if found:
            return found
    for kind in ("warnings", "infos"):
        one, other = (sorted(NUMBER.sub(rounded, text) for text in answer.get(kind) or []) for answer in (ours, theirs))
        # Of more than ten, Prometheus lists any ten.
        if one != other and not len(one) == len(other) > ANNOTATIONS_MAX:
            return kind, one, other
    return None


def main():
    parser = harness.arguments(__doc__)
    parser.add_argument("--prometheus", default=prometheus_server.find())
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--queries", type=int, default=2000)
    parser.add_argument("--show", type=int, default=20)
    parser.add_argument("--all", action="store_true", help="also what differs on purpose")
    parser.add_argument("--only", action="append", help="this query alone")
    args = parser.parse_args()
    if not args.prometheus:
        print(f"no Prometheus {prometheus_server.RELEASE}x here: nothing is compared")
        return
    start_s, end_s = BASE_MS // 1000, (BASE_MS + data.SAMPLES * data.STEP_MS) // 1000
    with harness.folder() as folder:
        server, prometheus = harness.Server(args, folder), prometheus_server.Prometheus(args.prometheus, folder)
        try:
            with harness.running(server):
                ours, theirs = Client(server.http + "/prometheus"), Client(prometheus.base)
                series = data.series(args.seed, BASE_MS)
                for client in (ours, theirs):
                    write(client, series)
                different = run(args, ours, theirs, random_promql_grammar.Grammar(random.Random(args.seed), start_s, end_s), start_s, end_s)
                assert not different, f"{different} answers differ, seed {args.seed}"
                assert server.stop()[0] == 0
        finally:
            prometheus.stop()


def texts_and_labels(query, grammar, chance, start_s, end_s):
    """What else is asked of a query: its tree, its pretty form, and the series that a selector of the same kind finds."""
    yield "/api/v1/parse_query", {"query": query}
    yield "/api/v1/format_query", {"query": query}
    # Times at which all series have samples, or none: which chunk spans a gap is a matter of how samples are stored.
    begin, end = chance.choice([(start_s - 600, start_s - 60), (start_s - 600, start_s + 300), (start_s + 60, start_s + 600), (end_s - 300, end_s), (end_s + 300, end_s + 900), (start_s, end_s)])
    form = {"start": begin, "end": end, "match[]": [grammar.selector() for _ in range(chance.choice([1, 1, 2]))]}
    if chance.random() < 0.2:
        form["limit"] = chance.choice([1, 3])
    yield chance.choice(["/api/v1/series", "/api/v1/labels"]), form


def plain_difference(ours, theirs):
    """In what two answers differ that are not the value of a query."""
    (our_status, ours), (their_status, theirs) = ours, theirs
    if (our_status, ours["status"], ours.get("errorType")) != (their_status, theirs["status"], theirs.get("errorType")):
        return "status", ours, theirs
    for kind in ("error", "data", "warnings"):
        if ours.get(kind) != theirs.get(kind):
            return f"other {kind}", ours.get(kind), theirs.get(kind)
    return None


def is_on_purpose(query, path, found, theirs):
    """What is left, and why: see the documentation of the crate bodkin-promql."""
    kind = found[0]
    is_range = path == "/api/v1/query_range"
    return (
        # Which of equal values are picked, and all that follows from it.
        kind in ("series", "values", "order", "warnings", "infos", "error text", "status") and re.search(r"\b(topk|bottomk|limitk)\b", query)
        # In a range, `info` of 3.5 remembers labels and series of steps before.
        or is_range and "info(" in query and (kind in ("series", "values", "error text") or "info metric" in theirs[1].get("error", ""))
        # Buckets of no observations are a matter of how samples are stored; times infinity they show.
        or kind == "values" and re.search(r"\b(Inf|NaN)\b|/|-1,|2,", query) and "histogram" in json.dumps(found[1])
        or kind == "values" and re.search(r"\bchanges\(.*(size|duration|custom|mixed)", query)
        # Values as labels differ in their last digit where the functions of two languages do.
        or kind == "series" and "count_values" in query
        # Sums whose order is not defined: the variance of large numbers, counts of buckets that differ in their last digit.
        or kind == "values" and re.search(r"\bstd(dev|var)\b", query)
        or kind == "infos" and "monotonicity" in str(found[1:])
        # What 3.6 and later repaired: names behind `last_over_time` of a subquery, series that meet at different times.
        or kind in ("series", "status") and "last_over_time((" in query
        or is_range and "same labelset" in theirs[1].get("error", "")
        # Where parentheses and operators are nested, the place that an error names is another one; a panic is told as one.
        or "GROUP clause" in str(found[2]) or "unexpected error" in str(found[2])
        or kind == "error text" and "in subquery selector" in found[2]
        # `ignoring ()` with a group loses the group.
        or kind == "other data" and path == "/api/v1/format_query" and "ignoring ()" in query
    )


def run(args, ours, theirs, grammar, start_s, end_s):
    chance, kinds, shown = random.Random(args.seed + 1), collections.Counter(), 0
    asked = good = filled = on_purpose = 0
    for number in range(len(args.only) if args.only else args.queries):
        query = args.only[number] if args.only else grammar.expression()
        at = chance.choice([start_s + 1800, chance.randrange(start_s - 60, end_s + 400)])
        begin = chance.randrange(start_s - 100, end_s - 600)
        step = chance.choice([15, 60, 37, 120, 300])
        forms = {"/api/v1/query": {"query": query, "time": at}, "/api/v1/query_range": {"query": query, "start": begin, "end": begin + step * chance.randrange(1, 25), "step": step}}
        others = [] if args.only or number % 4 else texts_and_labels(query, grammar, chance, start_s, end_s)
        for path, form in [*forms.items(), *others]:
            mine, other = ours.ask(path, form), theirs.ask(path, form)
            asked += 1
            good += other[1]["status"] == "success"
            is_query = path in forms
            filled += is_query and bool(other[1].get("data", {}).get("result"))
            found = difference(query, path, mine, other) if is_query else plain_difference(mine, other)
            if found and not args.all and is_on_purpose(query, path, found, other):
                on_purpose += 1
            elif found:
                kinds[found[0]] += 1
                if kinds[found[0]] <= args.show:
                    sides = [json.dumps(side)[:1500] for side in found[1:]]
                    print(f"DIFFERENT {found[0]}: {path} {json.dumps(form)}\n  bodkin     {sides[0]}\n  prometheus {sides[1]}")
    print(f"random PromQL: {asked} answers, {good} of them no error, {filled} with data; {on_purpose} different on purpose; different: {dict(kinds) or 'none'}")
    return sum(kinds.values())


main()
