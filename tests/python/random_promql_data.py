"""What random queries are asked of: series of every kind that has given somebody trouble, the same for the same seed."""

import math
import random
import struct

import remote_write_wire as wire

STEP_MS = 15_000
SAMPLES = 240
STALE = struct.unpack("<d", struct.pack("<Q", 0x7FF0000000000002))[0]
SPECIAL = [math.nan, math.inf, -math.inf, 0.0, -0.0, 1e308, -1e308, 1e-300, 1.0]


class Observed:
    """A native histogram that is filled as time goes."""

    def __init__(self, chance, schema, hint=0, bounds=(), is_float=False, with_negative=False):
        self.chance, self.schema, self.hint, self.bounds = chance, schema, hint, bounds
        self.is_float, self.with_negative = is_float, with_negative
        self.clear()

    def clear(self):
        # One on each side of zero at least: buckets without observations are kept or not as samples happen to be stored.
        self.positive, self.negative, self.zero, self.total = {0: 1}, {0: 1} if self.with_negative else {}, 0, 0.0

    def observe(self):
        for _ in range(self.chance.randrange(6)):
            if self.bounds:
                at, value = self.chance.randrange(len(self.bounds) + 1), self.chance.uniform(0, 10)
            else:
                at = self.chance.randrange(-6, 12)
                value = 2 ** (at / 2 ** self.schema)
            kind = self.chance.randrange(10)
            if kind == 0 and not self.bounds:
                self.zero += 1
            elif kind < 4 and self.with_negative:
                self.negative[at] = self.negative.get(at, 0) + 1
                self.total -= value
            else:
                self.positive[at] = self.positive.get(at, 0) + 1
                self.total += value

    def sample(self):
        half = 0.5 if self.is_float else 1
        of = lambda buckets: {at: count * half for at, count in buckets.items()}
        count = (sum(self.positive.values()) + sum(self.negative.values()) + self.zero) * half
        threshold = 0.0 if self.bounds else 0.001
        return wire.histogram(
            count, self.total, of(self.positive), self.schema, of(self.negative), self.zero * half, threshold, self.hint, self.bounds, self.is_float)


def times(chance, start_ms, jitter=0, missing=0.0, gap=None):
    """When a series has samples."""
    for at in range(SAMPLES):
        if chance.random() < missing or gap and gap[0] <= at < gap[1]:
            continue
        yield at, start_ms + at * STEP_MS + (chance.randrange(-jitter, jitter + 1) if jitter and at else 0)


def counters(chance, start_ms):
    for job in ("api", "web"):
        for instance in ("a:1", "b:1", "c:2"):
            for code in ("200", "404", "500"):
                labels = {"__name__": "requests_total", "job": job, "instance": instance, "code": code}
                value, points = 0.0, []
                slope = chance.choice([0, 1, 7, 0.25, 1e6])
                gap = chance.choice([None, None, (60, 70), (100, 140)])
                for at, ms in times(chance, start_ms, chance.choice([0, 0, 300]), chance.choice([0, 0.1]), gap):
                    value = 0.0 if chance.random() < 0.02 else value + slope * chance.randrange(4)
                    points.append((ms, value))
                yield labels, points


def gauges(chance, start_ms):
    for number, instance in enumerate(("a:1", "b:1", "c:2", "d:2")):
        labels = {"__name__": "temperature", "job": ("api", "web")[number % 2], "instance": instance}
        points, value = [], 20.0
        for at, ms in times(chance, start_ms, 0, 0.05, (90, 115) if number == 1 else None):
            value += chance.uniform(-1, 1)
            points.append((ms, STALE if number == 2 and at in (50, 51, 120) else round(value, number)))
        yield labels, points
        labels = {"__name__": "limit", "job": ("api", "web")[number % 2], "instance": instance, "zone": f"z{number % 2}"}
        yield labels, [(ms, float(10 + number)) for _, ms in times(chance, start_ms)]
        labels = {"__name__": "odd", "job": "odd", "instance": instance, "la bel": "x" if number else "\u00fc\"\\\n"}
        yield labels, [(ms, chance.choice(SPECIAL)) for _, ms in times(chance, start_ms, 0, 0.2)]
        labels = {"__name__": "same", "instance": instance, "zone": f"z{number}"}
        yield labels, [(ms, float(at // 60)) for at, ms in times(chance, start_ms)]
    yield {"__name__": "once"}, [(start_ms + 100 * STEP_MS + 1, 42.0)]
    yield {"__name__": "slow", "job": "api"}, [(start_ms + at * 11 * STEP_MS, float(at * at)) for at in range(SAMPLES // 11)]
    yield {"__name__": "dotted.name", "dotted.label": "v"}, [(ms, float(at)) for at, ms in times(chance, start_ms)]


def information(chance, start_ms):
    for number, instance in enumerate(("a:1", "b:1", "c:2")):
        job = ("api", "web")[number % 2]
        half = SAMPLES // 2
        base = {"__name__": "target_info", "job": job, "instance": instance, "region": f"r{number}"}
        all_times = list(times(chance, start_ms))
        if number == 1:
            yield {**base, "version": "1"}, [(ms, 1.0) for _, ms in all_times[:half]] + [(all_times[half][1], STALE)]
            yield {**base, "version": "2"}, [(ms, 1.0) for _, ms in all_times[half:]]
        else:
            yield {**base, "version": "1"}, [(ms, 1.0) for _, ms in all_times]
        yield {"__name__": "build_info", "job": job, "instance": instance, "revision": "r" * (number + 1)}, [(ms, 1.0) for _, ms in all_times]


def classic(chance, start_ms):
    for number, instance in enumerate(("a:1", "b:1")):
        counts = {le: 0 for le in ("0.1", "0.5", "1", "5", "+Inf")}
        points = {le: [] for le in counts}
        for _, ms in times(chance, start_ms):
            total = 0
            for le in counts:
                total += chance.randrange(5)
                counts[le] += total
                points[le].append((ms, float(counts[le] - (1 if number and le == "1" else 0))))
        for le, own in points.items():
            yield {"__name__": "latency_bucket", "job": "api", "instance": instance, "le": le}, own
        yield {"__name__": "latency_count", "job": "api", "instance": instance}, points["+Inf"]
        yield {"__name__": "latency_sum", "job": "api", "instance": instance}, [(ms, value * 0.3) for ms, value in points["+Inf"]]
    for le in ("1", "2", "x", ""):
        labels = {"__name__": "broken_bucket", "job": "api", "le": le} if le else {"__name__": "broken_bucket", "job": "api"}
        yield labels, [(ms, float(at)) for at, ms in times(chance, start_ms)]


def native(chance, start_ms):
    """Native histograms: counters and gauges, integers and floats, of several schemas, with custom bounds, mixed with floats."""
    kinds = [
        ("duration", "a:1", Observed(chance, 0)), ("duration", "b:1", Observed(chance, 2)), ("duration", "c:2", Observed(chance, 1, with_negative=True)),
        ("size", "a:1", Observed(chance, 0, hint=3)), ("size", "b:1", Observed(chance, 3, hint=3, is_float=True, with_negative=True)),
        ("custom", "a:1", Observed(chance, -53, bounds=(0.1, 1.0, 5.0))), ("custom", "b:1", Observed(chance, -53, bounds=(0.1, 2.0, 5.0))),
        ("mixed", "a:1", Observed(chance, 0)), ("mixed", "b:1", Observed(chance, 1, is_float=True)), ("mixed", "c:2", None),
    ]
    for name, instance, observed in kinds:
        points = []
        has_floats = name == "mixed"
        for at, ms in times(chance, start_ms, 0, 0.03, (130, 150) if instance == "b:1" else None):
            if observed is None or has_floats and at % 40 < 15:
                points.append((ms, float(at % 17)))
                continue
            if chance.random() < 0.02:
                observed.clear()
            observed.observe()
            if name == "duration" and instance == "a:1" and at == 77:
                points.append((ms, STALE))
            else:
                points.append((ms, observed.sample()))
        yield {"__name__": name, "job": "api" if instance < "b" else "web", "instance": instance}, points
    # A classic and a native histogram under one name.
    observed = Observed(chance, 0)
    points = []
    for _, ms in times(chance, start_ms):
        observed.observe()
        points.append((ms, observed.sample()))
    yield {"__name__": "latency_bucket", "job": "api", "instance": "n:1"}, points


def series(seed, start_ms):
    """All series in the order of their labels, so that a server that keeps the order of writing has this one, too."""
    chance = random.Random(seed)
    made = [one for kind in (counters, gauges, information, classic, native) for one in kind(chance, start_ms)]
    return sorted(made, key=lambda one: sorted(one[0].items()))
