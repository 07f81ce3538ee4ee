"""The queries: SQL for every engine that speaks it, the same question in polars' own words."""

import datetime
from dataclasses import dataclass
from typing import Callable

import polars as pl

import generate

UTC = datetime.timezone.utc


@dataclass
class Query:
    name: str
    sql: str
    polars: Callable
    is_dashboard: bool = False
    dialects: dict = None

    def text(self, engine):
        return (self.dialects or {}).get(engine, self.sql)


def at(hour, minute=0):
    return datetime.datetime(2026, 11, 24, hour, minute, tzinfo=UTC)


def stamp(hour, minute=0):
    return f"TIMESTAMP '2026-11-24 {hour:02}:{minute:02}:00'"


def percentile(engine):
    aggregate = {
        "duckdb": "quantile_cont(result, 0.99)",
        "clickhouse": "quantileExactInclusive(0.99)(result)",
        "datafusion": "percentile_cont(0.99) WITHIN GROUP (ORDER BY CAST(result AS DOUBLE))",
    }[engine]
    return f"SELECT evt_type, count(*) AS n, {aggregate} AS p99 FROM events WHERE result >= 0 GROUP BY evt_type ORDER BY evt_type"


def bucket(engine, unit):
    return {"clickhouse": f"date_trunc('{unit}', ts)"}.get(engine, f"date_trunc('{unit}', ts)")


def all_queries(seed):
    """Sixteen questions over `events`."""
    busy, quiet = generate.container(seed, 3), generate.container(seed, 60)
    c = pl.col

    def dashboard(f):
        rows = f.filter((c("container_id") == busy) & (c("ts") >= at(9)) & (c("ts") < at(12)))
        return rows.group_by(c("ts").dt.truncate("1m").alias("minute"), "evt_type").agg(pl.len().alias("n")).sort("minute", "evt_type")

    def sessions(f):
        gaps = f.select("container_id", "ts", "seq", "host").sort("container_id", "ts").with_columns(
            (c("ts") - c("ts").shift(1).over("container_id")).alias("gap"))
        return gaps.group_by("container_id").agg(
            (c("gap").is_null() | (c("gap") > pl.duration(seconds=60))).sum().cast(pl.Int64).alias("sessions"), pl.len().alias("n")
        ).sort(["sessions", "container_id"], descending=[True, False]).head(20)

    def joined(f):
        started = f.filter(c("evt_type") == "execve").group_by("host", "pid").agg(c("exe").max())
        connected = f.filter((c("evt_type") == "connect") & (c("remote_port") == 443)).select("host", "pid", "remote_addr")
        return connected.join(started, on=["host", "pid"]).group_by("exe").agg(
            pl.len().alias("n"), c("remote_addr").n_unique().alias("addrs")).sort(["n", "exe"], descending=[True, False]).head(20)

    def shared(f):
        one = f.filter((c("container_id") == busy) & c("path").is_not_null()).select("path").unique()
        other = f.filter((c("container_id") == quiet) & c("path").is_not_null()).select("path").unique()
        return one.join(other, on="path").select(pl.len().alias("n"))

    def first_seen(f):
        return f.filter(c("evt_type") == "execve").group_by("cmdline").agg(c("ts").min().alias("first"), pl.len().alias("n")).filter(
            c("first") >= at(18)).sort("first", "cmdline").head(50)

    def staged(f):
        denied = f.filter(c("path").str.starts_with("/etc/") & (c("result") == -13) & (c("uid") != 0)).group_by("container_id").agg(
            c("ts").min().alias("first"), pl.len().alias("denied"))
        dropped = f.filter((c("path").str.starts_with("/tmp/")) & (c("flags").str.contains("O_CREAT", literal=True)) & (c("result") >= 0)).group_by(
            "container_id").agg(pl.len().alias("dropped"), c("ts").max().alias("last"))
        return denied.join(dropped, on="container_id").filter(c("last") > c("first")).select(
            "container_id", "denied", "dropped").sort(["denied", "container_id"], descending=[True, False]).head(25)

    def buckets(f):
        return f.group_by(c("ts").dt.truncate("1m").alias("minute")).agg(
            pl.len().alias("n"), c("host").n_unique().alias("hosts"), (c("result") < 0).sum().cast(pl.Int64).alias("failed")).sort("minute")

    sessions_sql = (
        "SELECT container_id, CAST(sum(CASE WHEN before IS NULL OR ts > before + INTERVAL '60' SECOND THEN 1 ELSE 0 END) AS BIGINT) AS sessions, "
        "count(*) AS n FROM (SELECT container_id, ts, {lag} OVER (PARTITION BY container_id ORDER BY ts{frame}) AS before "
        "FROM events) AS gaps GROUP BY container_id ORDER BY sessions DESC, container_id LIMIT 20")
    return [
        Query("needle_path", f"SELECT ts, host, pid, comm FROM events WHERE path = '{generate.NEEDLE_PATH}' ORDER BY ts, host, pid",
              lambda f: f.filter(c("path") == generate.NEEDLE_PATH).select("ts", "host", "pid", "comm").sort("ts", "host", "pid")),
        Query("needle_addr", f"SELECT count(*) AS n, min(ts) AS first, max(ts) AS last FROM events WHERE remote_addr = '{generate.NEEDLE_ADDR}'",
              lambda f: f.filter(c("remote_addr") == generate.NEEDLE_ADDR).select(
                  pl.len().alias("n"), c("ts").min().alias("first"), c("ts").max().alias("last"))),
        Query("container_minutes", f"SELECT date_trunc('minute', ts) AS minute, evt_type, count(*) AS n FROM events "
              f"WHERE container_id = '{busy}' AND ts >= {stamp(9)} AND ts < {stamp(12)} GROUP BY 1, 2 ORDER BY 1, 2", dashboard, True,
              {"clickhouse": f"SELECT date_trunc('minute', ts) AS minute, evt_type, count(*) AS n FROM events WHERE container_id = '{busy}' "
               f"AND ts >= toDateTime64('2026-11-24 09:00:00', 6, 'UTC') AND ts < toDateTime64('2026-11-24 12:00:00', 6, 'UTC') GROUP BY 1, 2 ORDER BY 1, 2"}),
        Query("container_latest", f"SELECT ts, seq, evt_type, pid, comm, path FROM events WHERE container_id = '{quiet}' ORDER BY ts DESC, seq DESC LIMIT 100",
              lambda f: f.filter(c("container_id") == quiet).select("ts", "seq", "evt_type", "pid", "comm", "path").sort(
                  ["ts", "seq"], descending=True).head(100), True),
        Query("container_files", f"SELECT path, count(*) AS n FROM events WHERE container_id = '{quiet}' AND path IS NOT NULL "
              "GROUP BY path ORDER BY n DESC, path LIMIT 20",
              lambda f: f.filter((c("container_id") == quiet) & c("path").is_not_null()).group_by("path").agg(pl.len().alias("n")).sort(
                  ["n", "path"], descending=[True, False]).head(20), True),
        Query("top_exe", "SELECT exe, count(*) AS n FROM events GROUP BY exe ORDER BY n DESC, exe LIMIT 10",
              lambda f: f.group_by("exe").agg(pl.len().alias("n")).sort(["n", "exe"], descending=[True, False]).head(10)),
        Query("latest", "SELECT ts, host, seq, evt_type FROM events ORDER BY ts DESC, host, seq LIMIT 50",
              lambda f: f.select("ts", "host", "seq", "evt_type").sort(["ts", "host", "seq"], descending=[True, False, False]).head(50)),
        Query("p99", percentile("duckdb"),
              lambda f: f.filter(c("result") >= 0).group_by("evt_type").agg(
                  pl.len().alias("n"), c("result").quantile(0.99, "linear").alias("p99")).sort("evt_type"),
              dialects={"clickhouse": percentile("clickhouse"), "datafusion": percentile("datafusion"), "bodkin": percentile("datafusion")}),
        Query("like", "SELECT comm, count(*) AS n FROM events WHERE cmdline LIKE '%curl%example.com/artifacts/1%' GROUP BY comm ORDER BY comm",
              lambda f: f.filter(c("cmdline").str.contains("curl.*example\\.com/artifacts/1")).group_by("comm").agg(pl.len().alias("n")).sort("comm")),
        Query("join_started", "SELECT s.exe, count(*) AS n, count(DISTINCT c.remote_addr) AS addrs FROM events AS c JOIN "
              "(SELECT host, pid, max(exe) AS exe FROM events WHERE evt_type = 'execve' GROUP BY host, pid) AS s "
              "ON c.host = s.host AND c.pid = s.pid WHERE c.evt_type = 'connect' AND c.remote_port = 443 "
              "GROUP BY s.exe ORDER BY n DESC, s.exe LIMIT 20", joined),
        Query("join_shared", f"SELECT count(*) AS n FROM (SELECT DISTINCT path FROM events WHERE container_id = '{busy}' AND path IS NOT NULL) AS a "
              f"JOIN (SELECT DISTINCT path FROM events WHERE container_id = '{quiet}' AND path IS NOT NULL) AS b ON a.path = b.path", shared),
        Query("sessions", sessions_sql.format(lag="lag(ts)", frame=""), sessions, dialects={
            "clickhouse": sessions_sql.format(lag="lagInFrame(toNullable(ts))", frame=" ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING")}),
        Query("minutes", "SELECT date_trunc('minute', ts) AS minute, count(*) AS n, count(DISTINCT host) AS hosts, "
              "CAST(sum(CASE WHEN result < 0 THEN 1 ELSE 0 END) AS BIGINT) AS failed FROM events GROUP BY 1 ORDER BY 1", buckets),
        Query("forensic_process", "SELECT ts, seq, evt_type, comm, path FROM events WHERE host = 'host-007' AND pid IN (1000, 1013, 1026, 1039) "
              f"AND ts >= {stamp(13)} AND ts < {stamp(13, 20)} ORDER BY ts, seq LIMIT 1000",
              lambda f: f.filter((c("host") == "host-007") & c("pid").is_in([1000, 1013, 1026, 1039]) & (c("ts") >= at(13)) & (c("ts") < at(13, 20))).select(
                  "ts", "seq", "evt_type", "comm", "path").sort("ts", "seq").head(1000),
              dialects={"clickhouse": "SELECT ts, seq, evt_type, comm, path FROM events WHERE host = 'host-007' AND pid IN (1000, 1013, 1026, 1039) "
                        "AND ts >= toDateTime64('2026-11-24 13:00:00', 6, 'UTC') AND ts < toDateTime64('2026-11-24 13:20:00', 6, 'UTC') ORDER BY ts, seq LIMIT 1000"}),
        Query("forensic_staged", "SELECT d.container_id, d.denied, t.dropped FROM (SELECT container_id, min(ts) AS first, count(*) AS denied FROM events "
              "WHERE path LIKE '/etc/%' AND result = -13 AND uid <> 0 GROUP BY container_id) AS d JOIN "
              "(SELECT container_id, count(*) AS dropped, max(ts) AS last FROM events WHERE path LIKE '/tmp/%' AND flags LIKE '%O_CREAT%' AND result >= 0 "
              "GROUP BY container_id) AS t ON d.container_id = t.container_id WHERE t.last > d.first ORDER BY d.denied DESC, d.container_id LIMIT 25", staged),
        Query("forensic_new", f"SELECT cmdline, min(ts) AS first, count(*) AS n FROM events WHERE evt_type = 'execve' GROUP BY cmdline "
              f"HAVING min(ts) >= {stamp(18)} ORDER BY first, cmdline LIMIT 50", first_seen, dialects={
                  "clickhouse": "SELECT cmdline, min(ts) AS first, count(*) AS n FROM events WHERE evt_type = 'execve' GROUP BY cmdline "
                  "HAVING min(ts) >= toDateTime64('2026-11-24 18:00:00', 6, 'UTC') ORDER BY first, cmdline LIMIT 50"}),
    ]
