"""Random expressions of PromQL: most of them right, some wrong in one place."""

NAMES = {
    "counter": ["requests_total", "latency_bucket", "latency_count", "latency_sum"],
    "gauge": ["temperature", "limit", "odd", "same", "once", "slow", "target_info", "build_info"],
    "histogram": ["duration", "size", "custom", "mixed"],
}
LABELS = ["job", "instance", "code", "zone", "le", "version", "none"]
VALUES = {"job": ["api", "web", "odd"], "instance": ["a:1", "b:1", "c:2", "n:1"], "code": ["200", "404", "500"], "zone": ["z0", "z1"],
          "le": ["0.1", "1", "+Inf", "x"], "version": ["1", "2"], "none": ["", "x"]}
PATTERNS = [".*", ".+", "a.*", "api|web", "[ab]:1", "(?i)API", "4..|5..", "", "z0|", "^api$", ".*:1"]
OVER_TIME = ["avg", "min", "max", "sum", "count", "last", "present", "absent", "stddev", "stdvar", "mad", "ts_of_min", "ts_of_max", "ts_of_last"]
OF_RANGE = ["rate", "increase", "delta", "irate", "idelta", "changes", "resets", "deriv"]
OF_VECTOR = ["abs", "ceil", "floor", "exp", "ln", "log2", "log10", "sqrt", "sgn", "sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "tanh", "asinh",
             "acosh", "atanh", "deg", "rad", "round", "timestamp", "minute", "hour", "day_of_week", "day_of_month", "day_of_year", "days_in_month", "month", "year",
             "histogram_count", "histogram_sum", "histogram_avg", "histogram_stddev", "histogram_stdvar", "absent", "sort", "sort_desc", "vector_of"]
ARITHMETIC = ["+", "-", "*", "/", "%", "^", "atan2"]
COMPARISON = ["==", "!=", "<", ">", "<=", ">="]
AGGREGATIONS = ["sum", "avg", "min", "max", "count", "group", "stddev", "stdvar"]
OF_INFO = ['version=~".+"', 'region="r0"', '__name__="target_info",version="1"', '__name__=~".+_info"', '__name__="build_info"']
DURATIONS = ["15s", "30s", "1m", "47s", "2m30s", "5m", "10m", "1h", "90", "1m1s1ms"]


class Grammar:
    def __init__(self, chance, start_s, end_s):
        self.chance, self.start_s, self.end_s = chance, start_s, end_s

    def expression(self):
        chance = self.chance
        kind = chance.randrange(20)
        if kind == 0:
            return self.scalar(3)
        if kind == 1:
            return self.broken()
        return self.vector(chance.choice([1, 2, 2, 3, 3, 4]))

    def one_of(self, *makers):
        return self.chance.choice(makers)()

    def name(self):
        kind = self.chance.choice(["counter", "gauge", "gauge", "histogram", "histogram"])
        return self.chance.choice(NAMES[kind])

    def matcher(self):
        chance = self.chance
        label = chance.choice(LABELS)
        if chance.random() < 0.5:
            return f'{label}{chance.choice(["=", "=", "!="])}"{chance.choice(VALUES[label])}"'
        return f'{label}{chance.choice(["=~", "!~"])}"{chance.choice(PATTERNS)}"'

    def selector(self, name=None):
        chance = self.chance
        form = chance.randrange(30)
        matchers = ",".join(self.matcher() for _ in range(chance.choice([0, 0, 1, 1, 2])))
        if form == 0 and name is None:
            return f'{{__name__=~"{chance.choice(["temp.*|limit", "requests_total|duration", ".*_total", "same|size|custom"])}"{"," if matchers else ""}{matchers}}}'
        if form == 1 and name is None:
            return chance.choice(['{"dotted.name"}', '{"dotted.name","dotted.label"="v"}', 'odd{"la bel"="x"}', '{"temperature",job="api"}', "nothing", 'odd{"la bel"!=""}'])
        name = name or self.name()
        return f"{name}{{{matchers}}}" if matchers or form == 2 else name

    def duration(self):
        chance = self.chance
        if chance.random() < 0.08:
            a, b = chance.choice(DURATIONS), chance.choice(DURATIONS)
            return chance.choice([f"{a}+{b}", f"({a}+{b})*2", f"{a}*2", f"2*{a}", f"{b}/3", f"-{a}+1h", "2^4", "100%31"])
        return chance.choice(DURATIONS)

    def modifiers(self):
        """Offset and `@`, in either order."""
        chance, out = self.chance, []
        if chance.random() < 0.12:
            sign = chance.choice(["", "", "-"])
            out.append(f"offset {sign}{chance.choice(DURATIONS)}" if chance.random() < 0.85 else f"offset ({self.duration()})")
        if chance.random() < 0.1:
            at = chance.choice(["start()", "end()", str(chance.randrange(self.start_s, self.end_s)), f"{self.start_s + 777}.25", "0"])
            out.append(f"@ {at}")
        chance.shuffle(out)
        return "".join(" " + one for one in out)

    def matrix(self, depth, name=None):
        chance = self.chance
        if depth > 0 and chance.random() < 0.2:
            step = chance.choice(["", "", "15s", "1m", "37s", self.duration()])
            inner = self.vector(depth - 1) if name is None else self.selector(name)
            return f"({inner})[{self.duration()}:{step}]{self.modifiers()}"
        return f"{self.selector(name)}[{self.duration()}]{self.modifiers()}"

    def number(self):
        return self.chance.choice(["0", "1", "2", "0.5", "-1", "3.7", "NaN", "Inf", "-Inf", "1e3", "0x1f", "1e-9", "5m", "1h30m", "-0", "1_000", "10"])

    def scalar(self, depth):
        chance = self.chance
        if depth <= 0 or chance.random() < 0.4:
            return chance.choice([self.number(), self.number(), "time()", "pi()"])
        a, b = (lambda: self.scalar(depth - 1)), (lambda: self.scalar(depth - 1))
        return self.one_of(
            lambda: f"({a()} {chance.choice(ARITHMETIC)} {b()})", lambda: f"({a()} {chance.choice(COMPARISON)} bool {b()})",
            lambda: f"-{a()}", lambda: f"scalar({self.vector(depth - 1)})", lambda: f"({a()})")

    def grouping(self):
        chance = self.chance
        labels = ", ".join(chance.sample(LABELS, chance.choice([0, 1, 1, 2])))
        return chance.choice(["", f" by ({labels})", f" by ({labels})", f" without ({labels})"])

    def vector(self, depth):
        chance = self.chance
        if depth <= 0:
            return self.selector() + self.modifiers()
        return chance.choices(
            [self.selected, self.of_range, self.over_time, self.elementwise, self.aggregation, self.picked, self.binary, self.set_operation, self.with_scalar,
             self.quantiles, self.labels, self.special, self.negated],
            [2, 5, 5, 4, 6, 3, 6, 2, 4, 4, 2, 2, 1])[0](depth - 1)

    def selected(self, _depth):
        return self.selector() + self.modifiers()

    def of_range(self, depth):
        chance = self.chance
        function = chance.choice(OF_RANGE)
        return f"{function}({self.matrix(depth, chance.choice([None, 'requests_total', 'duration', 'latency_bucket']))})"

    def over_time(self, depth):
        chance = self.chance
        if chance.random() < 0.25:
            return chance.choice([
                f"quantile_over_time({chance.choice(['0.5', '0.9', '1', '0', '-1', '1.1', 'NaN', self.scalar(1)])}, {self.matrix(depth)})",
                f"predict_linear({self.matrix(depth)}, {self.scalar(1)})",
                f"double_exponential_smoothing({self.matrix(depth)}, {chance.choice(['0.5', '0.1', '1', '2'])}, {chance.choice(['0.5', '0.3'])})"])
        return f"{chance.choice(OVER_TIME)}_over_time({self.matrix(depth)})"

    def elementwise(self, depth):
        chance, inner = self.chance, self.vector(depth)
        function = chance.choice(OF_VECTOR)
        if function == "vector_of":
            return f"vector({self.scalar(depth)})"
        if chance.random() < 0.15:
            return chance.choice([
                f"clamp({inner}, {self.scalar(1)}, {self.scalar(1)})", f"clamp_min({inner}, {self.scalar(1)})", f"clamp_max({inner}, {self.scalar(1)})",
                f"round({inner}, {self.number()})", chance.choice(["minute()", "hour()", "year()", "day_of_week()"])])
        return f"{function}({inner})"

    def aggregation(self, depth):
        grouping = self.grouping()
        if self.chance.random() < 0.3:
            return f"{self.chance.choice(AGGREGATIONS)}({self.vector(depth)}){grouping}"
        return f"{self.chance.choice(AGGREGATIONS)}{grouping}({self.vector(depth)})"

    def picked(self, depth):
        chance, grouping, inner = self.chance, self.grouping(), self.vector(depth)
        count = chance.choice(["1", "2", "3", "0", "-1", "100", "2.7", self.scalar(1)])
        return chance.choice([
            f"topk{grouping}({count}, {inner})", f"bottomk{grouping}({count}, {inner})", f"limitk{grouping}({count}, {inner})",
            f"limit_ratio{grouping}({chance.choice(['0.5', '-0.5', '0.1', '1', '-1', '1.5', '0'])}, {inner})",
            f"quantile{grouping}({chance.choice(['0.5', '0.9', '-1', '2', 'NaN', self.scalar(1)])}, {inner})",
            f"count_values{grouping}({chance.choice(['value', 'job'])!r}, {inner})".replace("'", '"')])

    def matching(self):
        chance = self.chance
        labels = lambda: ", ".join(chance.sample(LABELS, chance.choice([0, 1, 2])))
        kind = chance.randrange(6)
        if kind < 2:
            return ""
        on = f" {chance.choice(['on', 'ignoring'])} ({labels()})"
        if kind < 4:
            return on
        return f"{on} {chance.choice(['group_left', 'group_right'])}{chance.choice(['', f'({labels()})'])}"

    def binary(self, depth):
        chance = self.chance
        if chance.random() < 0.4:
            # What matches more often than two random vectors.
            left = self.chance.choice(["requests_total", "temperature", "duration", "custom", "mixed", "size", "same"])
            right = chance.choice([left, left, "limit", "target_info", "build_info"])
            inner = chance.choice(["{}", "{}", "rate({}[2m])", "sum by (job, instance) ({})", "last_over_time({}[1m])"])
            a, b = inner.format(left), inner.format(right)
        else:
            a, b = self.vector(depth), self.vector(depth)
        operator = chance.choice(ARITHMETIC + COMPARISON + [f"{one} bool" for one in COMPARISON])
        return f"({a} {operator}{self.matching()} {b})"

    def set_operation(self, depth):
        labels = ", ".join(self.chance.sample(LABELS, self.chance.choice([0, 1, 2])))
        on = self.chance.choice(["", f" on ({labels})", f" ignoring ({labels})"])
        return f"({self.vector(depth)} {self.chance.choice(['and', 'or', 'unless'])}{on} {self.vector(depth)})"

    def with_scalar(self, depth):
        chance = self.chance
        operator = chance.choice(ARITHMETIC + COMPARISON + [f"{one} bool" for one in COMPARISON])
        sides = [self.vector(depth), self.scalar(depth)]
        chance.shuffle(sides)
        return f"({sides[0]} {operator} {sides[1]})"

    def quantiles(self, depth):
        chance = self.chance
        inner = chance.choice([
            self.selector("duration"), "rate(duration[2m])", "sum by (job) (rate(duration[5m]))", self.selector("latency_bucket"), "rate(latency_bucket[2m])",
            "sum by (le) (rate(latency_bucket[5m]))", "broken_bucket", "custom", "rate(custom[3m])", "sum(custom)", "mixed", "size", "avg(size)", self.vector(depth)])
        q = chance.choice(["0.5", "0.9", "0", "1", "-1", "2", "NaN", self.scalar(1)])
        return chance.choice([
            f"histogram_quantile({q}, {inner})", f"histogram_quantile({q}, {inner})",
            f"histogram_fraction({chance.choice(['0', '-Inf', '0.2', '1'])}, {chance.choice(['1', '2', '+Inf', 'NaN', '0.1'])}, {inner})",
            f"histogram_{chance.choice(['count', 'sum', 'avg', 'stddev', 'stdvar'])}({inner})"])

    def labels(self, depth):
        chance, inner = self.chance, self.vector(depth)
        return chance.choice([
            f'label_replace({inner}, "{chance.choice(["new", "job", "instance", "__name__", "le"])}", "{chance.choice(["$1", "x", "", "${1}-y", "$2", "$name"])}", '
            f'"{chance.choice(LABELS)}", "{chance.choice(["(.*)", "(.*):(.*)", "(?P<name>a).*", "", "b.*"])}")',
            f'label_join({inner}, "{chance.choice(["new", "job", "__name__"])}", "{chance.choice(["-", ""])}", "job", "{chance.choice(LABELS)}")',
            f'sort_by_label({inner}, "instance", "{chance.choice(LABELS)}")', f'sort_by_label_desc({inner}, "{chance.choice(LABELS)}")'])

    def special(self, depth):
        chance = self.chance
        return chance.choice([
            f"info({self.vector(depth)})", f"info({self.selector()}, {{{chance.choice(OF_INFO)}}})",
            f"absent({self.vector(depth)})", f"absent_over_time({self.matrix(depth)})", f"scalar({self.vector(depth)})", f"timestamp({self.selector()}{self.modifiers()})",
            f"count(count by (__name__) ({self.vector(depth)}))", f"({self.vector(depth)})"])

    def negated(self, depth):
        return f"{self.chance.choice(['-', '+'])}{self.vector(depth)}"

    def broken(self):
        """Something that has to be refused, most of the time."""
        chance = self.chance
        good = self.vector(2)
        if chance.random() < 0.5:
            return chance.choice([
                f"rate({good})", f"sum({self.matrix(1)})", f"{good} + {self.matrix(0)}", f"topk({good}, {good})", f"abs({self.scalar(1)}, {good})", f"{good} and 1", "1 == 2",
                f"{good} on (job) {good}", f"{good} offset 5m offset 1m", f"histogram_quantile({good})", f"({good})[5m]", f"{self.selector()}[0s]", f"{self.selector()}[5m:0s]",
                f"label_replace({good}, 'a', 'b', 'c')", f"label_replace({good}, 'a', 'b', 'c', '(')", f"nosuch({good})", "{}", '{job=~".*"}', f"{good} + on (job) group_left group_right {good}",
                f"sum by (job) by (job) ({good})", f"count_values('0bad', {good})", f"{self.selector()}[5m] offset", f"{self.selector()} @ now()", f"-{self.matrix(0)}",
                f"'text' + {good}", f"sum_over_time({good}[5m])", f"{good} and on (job) group_left {good}", f"{self.selector()}{{a='b'}}", "temperature{__name__='x'}", "a{b='c'", "5 +",
                f"{good} bool {good}", f"{good} + bool {good}", f"scalar({self.scalar(1)})", f"info({good}, {good})", "temperature[5m] @ start() offset 1m", "topk(NaN, temperature)",
                "limit_ratio(temperature)", "label_join(temperature, 'a')", "sort_by_label(temperature)", "sum(temperature) by", "foo{bar=~\"*\"}", "1h + temperature", "temperature[-5m]"])
        at = chance.randrange(len(good) + 1)
        return chance.choice([good[:at] + good[at + 1:], good[:at] + chance.choice("(){}[]\",:;@#$~! 0a") + good[at:], good[:at]])
