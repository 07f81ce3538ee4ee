//! Processors, load and pressure.

use super::Emit;
use rustix::param::clock_ticks_per_second;

const MODES: [&str; 8] = ["user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal"];

/// `/proc/stat`: times per processor, and the kernel's totals.
pub(crate) fn stat(text: &str, emit: Emit<'_>) {
    let ticks_per_second = clock_ticks_per_second() as f64;
    for line in text.lines() {
        let mut fields = line.split_ascii_whitespace();
        let Some(key) = fields.next() else { continue };
        if let Some(cpu) = key.strip_prefix("cpu").filter(|cpu| !cpu.is_empty()) {
            let mut seconds = fields.map_while(|field| field.parse::<f64>().ok()).map(|ticks| ticks / ticks_per_second);
            for (mode, seconds) in MODES.iter().zip(seconds.by_ref()) {
                emit("node_cpu_seconds_total", &[("cpu", cpu), ("mode", mode)], seconds);
            }
            for (mode, seconds) in ["user", "nice"].iter().zip(seconds) {
                emit("node_cpu_guest_seconds_total", &[("cpu", cpu), ("mode", mode)], seconds);
            }
            continue;
        }
        let name = match key {
            "intr" => "node_intr_total",
            "ctxt" => "node_context_switches_total",
            "btime" => "node_boot_time_seconds",
            "processes" => "node_forks_total",
            "procs_running" => "node_procs_running",
            "procs_blocked" => "node_procs_blocked",
            _ => continue,
        };
        if let Some(value) = fields.next().and_then(|field| field.parse().ok()) {
            emit(name, &[], value);
        }
    }
}

/// `/proc/loadavg`.
pub(crate) fn loadavg(text: &str, emit: Emit<'_>) {
    for (name, load) in ["node_load1", "node_load5", "node_load15"].iter().zip(text.split_ascii_whitespace()) {
        if let Ok(load) = load.parse() {
            emit(name, &[], load);
        }
    }
}

/// `/proc/schedstat`: the last three numbers of a `cpuN` line are running time, waiting time and time slices.
pub(crate) fn schedstat(text: &str, emit: Emit<'_>) {
    for line in text.lines() {
        let mut fields = line.split_ascii_whitespace();
        let Some(cpu) = fields.next().and_then(|key| key.strip_prefix("cpu")) else { continue };
        let values: Vec<f64> = fields.filter_map(|field| field.parse().ok()).collect();
        let &[_, _, _, _, _, _, running_ns, waiting_ns, timeslices] = values.as_slice() else { continue };
        emit("node_schedstat_running_seconds_total", &[("cpu", cpu)], running_ns / 1e9);
        emit("node_schedstat_waiting_seconds_total", &[("cpu", cpu)], waiting_ns / 1e9);
        emit("node_schedstat_timeslices_total", &[("cpu", cpu)], timeslices);
    }
}

/// `/proc/pressure/RESOURCE`: `some` is waiting, `full` is stalled (of cpu there is no such thing).
pub(crate) fn pressure(resource: &str, text: &str, emit: Emit<'_>) {
    for line in text.lines() {
        let state = match line.split_once(' ') {
            Some(("some", _)) => "waiting",
            Some(("full", _)) if resource != "cpu" => "stalled",
            _ => continue,
        };
        let total_us = line.rsplit_once("total=").and_then(|(_, total)| total.trim().parse::<f64>().ok());
        if let Some(total_us) = total_us {
            emit(&format!("node_pressure_{resource}_{state}_seconds_total"), &[], total_us / 1e6);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::lines;
    use super::*;

    #[test]
    fn stat_of_two_processors() {
        let text = "cpu  300 0 0 0 0 0 0 0 0 0\ncpu0 100 200 300 400 500 600 700 800 900 1000\ncpu1 1 2\n\
                    intr 12 1 2\nctxt 34\nbtime 56\nprocesses 78\nprocs_running 2\nprocs_blocked 1\nsoftirq 9 9\n";
        let lines = lines(|emit| stat(text, emit));
        let ticks = clock_ticks_per_second() as f64;
        assert_eq!(lines[0], format!("node_cpu_seconds_total{{cpu=\"0\",mode=\"user\"}} {}", 100.0 / ticks));
        assert_eq!(lines[7], format!("node_cpu_seconds_total{{cpu=\"0\",mode=\"steal\"}} {}", 800.0 / ticks));
        assert_eq!(lines[9], format!("node_cpu_guest_seconds_total{{cpu=\"0\",mode=\"nice\"}} {}", 1000.0 / ticks));
        assert_eq!(lines[11], format!("node_cpu_seconds_total{{cpu=\"1\",mode=\"nice\"}} {}", 2.0 / ticks));
        let totals = [
            "node_intr_total{} 12",
            "node_context_switches_total{} 34",
            "node_boot_time_seconds{} 56",
            "node_forks_total{} 78",
            "node_procs_running{} 2",
            "node_procs_blocked{} 1",
        ];
        assert_eq!(&lines[12..], totals);
    }

    #[test]
    fn load_and_scheduler_and_pressure() {
        let load = lines(|emit| loadavg("0.52 1.02 0.91 1/123 4567\n", emit));
        assert_eq!(load, ["node_load1{} 0.52", "node_load5{} 1.02", "node_load15{} 0.91"]);
        let text = "version 15\ntimestamp 1\ncpu0 0 0 0 0 0 0 2000000000 500000000 7\ndomain0 3 1 2\n";
        assert_eq!(
            lines(|emit| schedstat(text, emit)),
            [
                "node_schedstat_running_seconds_total{cpu=\"0\"} 2",
                "node_schedstat_waiting_seconds_total{cpu=\"0\"} 0.5",
                "node_schedstat_timeslices_total{cpu=\"0\"} 7",
            ]
        );
        let text = "some avg10=0.00 avg60=0.00 avg300=0.00 total=1500000\nfull avg10=0.00 total=500000\n";
        assert_eq!(
            lines(|emit| pressure("io", text, emit)),
            ["node_pressure_io_waiting_seconds_total{} 1.5", "node_pressure_io_stalled_seconds_total{} 0.5"]
        );
        assert_eq!(lines(|emit| pressure("cpu", text, emit)), ["node_pressure_cpu_waiting_seconds_total{} 1.5"]);
    }
}
