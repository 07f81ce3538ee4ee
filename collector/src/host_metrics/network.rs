//! Network devices, sockets and protocols.

use super::{Emit, number, text};
use rustix::param::page_size;
use std::fs;
use std::path::Path;

/// Columns of `/proc/net/dev`, received ones first.
const DEV_COLUMNS: [&str; 16] = [
    "node_network_receive_bytes_total",
    "node_network_receive_packets_total",
    "node_network_receive_errs_total",
    "node_network_receive_drop_total",
    "node_network_receive_fifo_total",
    "node_network_receive_frame_total",
    "node_network_receive_compressed_total",
    "node_network_receive_multicast_total",
    "node_network_transmit_bytes_total",
    "node_network_transmit_packets_total",
    "node_network_transmit_errs_total",
    "node_network_transmit_drop_total",
    "node_network_transmit_fifo_total",
    "node_network_transmit_colls_total",
    "node_network_transmit_carrier_total",
    "node_network_transmit_compressed_total",
];

/// `/proc/net/dev`.
pub(crate) fn dev(text: &str, emit: Emit<'_>) {
    for line in text.lines() {
        // An alias such as `eth0:1` holds a colon itself.
        let Some((device, counters)) = line.rsplit_once(": ").or_else(|| line.rsplit_once(':')) else { continue };
        for (name, field) in DEV_COLUMNS.iter().zip(counters.split_ascii_whitespace()) {
            if let Ok(value) = field.parse() {
                emit(name, &[("device", device.trim())], value);
            }
        }
    }
}

/// `/sys/class/net`: state of each device.
pub(crate) fn interfaces(dir: &Path, emit: Emit<'_>) {
    const NUMBERS: [(&str, &str, f64); 7] = [
        ("carrier", "node_network_carrier", 1.0),
        ("carrier_changes", "node_network_carrier_changes_total", 1.0),
        ("carrier_up_count", "node_network_carrier_up_changes_total", 1.0),
        ("carrier_down_count", "node_network_carrier_down_changes_total", 1.0),
        ("mtu", "node_network_mtu_bytes", 1.0),
        ("speed", "node_network_speed_bytes", 1e6 / 8.0),
        ("tx_queue_len", "node_network_transmit_queue_length", 1.0),
    ];
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        let (path, device) = (entry.path(), entry.file_name());
        let device = device.to_string_lossy();
        // Devices are links; bonding's `bonding_masters` is a file.
        let Some(operstate) = text(&path.join("operstate")) else { continue };
        let read = |name: &str| text(&path.join(name)).map(|value| value.trim().to_owned()).unwrap_or_default();
        emit("node_network_up", &[("device", &device)], f64::from(u8::from(operstate.trim() == "up")));
        let info = [
            ("device", &*device),
            ("address", &read("address")),
            ("broadcast", &read("broadcast")),
            ("duplex", &read("duplex")),
            ("operstate", operstate.trim()),
            ("ifalias", &read("ifalias")),
        ];
        emit("node_network_info", &info, 1.0);
        for (file, name, factor) in NUMBERS {
            // A device without a speed says -1.
            if let Some(value) = number(&path.join(file)).filter(|value| *value >= 0.0) {
                emit(name, &[("device", &device)], value * factor);
            }
        }
    }
}

/// `/proc/net/sockstat` and `sockstat6`: `TCP: inuse 5 mem 1` is `node_sockstat_TCP_inuse`; pages as bytes too.
pub(crate) fn sockstat(text: &str, emit: Emit<'_>) {
    for line in text.lines() {
        let Some((protocol, pairs)) = line.split_once(':') else { continue };
        let mut fields = pairs.split_ascii_whitespace();
        while let (Some(key), Some(value)) = (fields.next(), fields.next()) {
            let Ok(value) = value.parse::<f64>() else { continue };
            emit(&format!("node_sockstat_{protocol}_{key}"), &[], value);
            if key == "mem" {
                emit(&format!("node_sockstat_{protocol}_mem_bytes"), &[], value * page_size() as f64);
            }
        }
    }
}

/// `/proc/net/snmp` and `netstat`: pairs of lines, names and values.
pub(crate) fn counters(text: &str, emit: Emit<'_>) {
    let mut lines = text.lines();
    while let (Some(names), Some(values)) = (lines.next(), lines.next()) {
        let (Some((protocol, names)), Some((_, values))) = (names.split_once(':'), values.split_once(':')) else {
            continue;
        };
        for (name, value) in names.split_ascii_whitespace().zip(values.split_ascii_whitespace()) {
            counter(protocol, name, value, &mut *emit);
        }
    }
}

/// `/proc/net/snmp6`: `Ip6InOctets 12`.
pub(crate) fn counters6(text: &str, emit: Emit<'_>) {
    for line in text.lines() {
        let mut fields = line.split_ascii_whitespace();
        let (Some(key), Some(value)) = (fields.next(), fields.next()) else { continue };
        if let Some((protocol, name)) = key.find('6').and_then(|at| key.split_at_checked(at + 1)) {
            counter(protocol, name, value, &mut *emit);
        }
    }
}

fn counter(protocol: &str, name: &str, value: &str, emit: Emit<'_>) {
    if let (true, Ok(value)) = (is_wanted(protocol, name), value.parse()) {
        emit(&format!("node_netstat_{protocol}_{name}"), &[], value);
    }
}

/// node_exporter's default fields.
fn is_wanted(protocol: &str, name: &str) -> bool {
    if matches!(name, "InErrors" | "InErrs") {
        return true;
    }
    match protocol {
        "Ip" => name == "Forwarding",
        "Ip6" | "IpExt" => matches!(name, "InOctets" | "OutOctets"),
        "Icmp" | "Icmp6" => matches!(name, "InMsgs" | "OutMsgs"),
        "TcpExt" => {
            name.starts_with("Listen")
                || name.starts_with("Syncookies")
                || matches!(name, "TCPSynRetrans" | "TCPTimeouts")
        }
        "Tcp" => matches!(
            name,
            "ActiveOpens" | "InSegs" | "OutSegs" | "OutRsts" | "PassiveOpens" | "RetransSegs" | "CurrEstab"
        ),
        "Udp" | "Udp6" => {
            matches!(name, "InDatagrams" | "OutDatagrams" | "NoPorts" | "RcvbufErrors" | "SndbufErrors")
        }
        _ => false,
    }
}

/// `/proc/net/softnet_stat`: hexadecimal counters, one line per processor.
pub(crate) fn softnet(text: &str, emit: Emit<'_>) {
    const NAMES: [&str; 3] =
        ["node_softnet_processed_total", "node_softnet_dropped_total", "node_softnet_times_squeezed_total"];
    for (line, index) in text.lines().zip(0_usize..) {
        let fields: Vec<u32> = line.split_ascii_whitespace().map_while(|f| u32::from_str_radix(f, 16).ok()).collect();
        // The processor's number is the 13th column since Linux 5.10; offline ones have no line.
        let cpu = fields.get(12).map_or(index.to_string(), u32::to_string);
        for (name, value) in NAMES.iter().zip(fields) {
            emit(name, &[("cpu", &cpu)], f64::from(value));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::lines;
    use super::*;

    #[test]
    fn devices() {
        let text = "Inter-|   Receive  |  Transmit\n face |bytes    packets errs\n    lo: 10 2 0 0 0 0 0 0 10 2 0 0 0 0 0 0\n\
                    eth0:99 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15\n";
        let lines = lines(|emit| dev(text, emit));
        assert_eq!(lines.len(), 32);
        assert_eq!(lines[0], "node_network_receive_bytes_total{device=\"lo\"} 10");
        assert_eq!(lines[16], "node_network_receive_bytes_total{device=\"eth0\"} 99");
        assert_eq!(lines[23], "node_network_receive_multicast_total{device=\"eth0\"} 7");
        assert_eq!(lines[24], "node_network_transmit_bytes_total{device=\"eth0\"} 8");
        assert_eq!(lines[31], "node_network_transmit_compressed_total{device=\"eth0\"} 15");
    }

    #[test]
    fn interface_folders() {
        let dir = tempfile::tempdir().unwrap();
        let eth0 = dir.path().join("eth0");
        fs::create_dir(&eth0).unwrap();
        fs::write(dir.path().join("bonding_masters"), "bond0").unwrap();
        for (file, value) in [("operstate", "up\n"), ("mtu", "1500\n"), ("speed", "1000\n"), ("carrier", "-1\n")] {
            fs::write(eth0.join(file), value).unwrap();
        }
        let lines = lines(|emit| interfaces(dir.path(), emit));
        assert_eq!(lines[0], "node_network_up{device=\"eth0\"} 1");
        assert!(lines[1].starts_with("node_network_info{device=\"eth0\""));
        let mtu_and_speed =
            ["node_network_mtu_bytes{device=\"eth0\"} 1500", "node_network_speed_bytes{device=\"eth0\"} 125000000"];
        assert_eq!(&lines[2..], mtu_and_speed);
    }

    #[test]
    fn sockets_and_protocols() {
        let text = "sockets: used 5\nTCP: inuse 3 orphan 0 mem 2\n";
        let bytes = 2 * page_size();
        let expected = ["sockets_used{} 5", "TCP_inuse{} 3", "TCP_orphan{} 0", "TCP_mem{} 2"];
        let mut expected: Vec<String> = expected.iter().map(|line| format!("node_sockstat_{line}")).collect();
        expected.push(format!("node_sockstat_TCP_mem_bytes{{}} {bytes}"));
        assert_eq!(lines(|emit| sockstat(text, emit)), expected);

        let text = "Ip: Forwarding DefaultTTL\nIp: 1 64\nTcp: RtoMin MaxConn CurrEstab InErrs\nTcp: 200 -1 4 5\n\
                    TcpExt: SyncookiesSent ListenDrops Pruned\nTcpExt: 6 7 8\n";
        let names = ["Ip_Forwarding{} 1", "Tcp_CurrEstab{} 4", "Tcp_InErrs{} 5", "TcpExt_SyncookiesSent{} 6"];
        let mut expected: Vec<String> = names.iter().map(|line| format!("node_netstat_{line}")).collect();
        expected.push("node_netstat_TcpExt_ListenDrops{} 7".into());
        assert_eq!(lines(|emit| counters(text, emit)), expected);
        let text = "Ip6InReceives 1\nIp6InOctets 2\nUdp6NoPorts 3\nnothing 4\n";
        let expected = ["node_netstat_Ip6_InOctets{} 2", "node_netstat_Udp6_NoPorts{} 3"];
        assert_eq!(lines(|emit| counters6(text, emit)), expected);
    }

    #[test]
    fn softnet_is_hexadecimal() {
        let line = "0000000a 00000001 00000002 0 0 0 0 0 0 0 0 0 00000003 0 0";
        let expected = [
            "node_softnet_processed_total{cpu=\"3\"} 10",
            "node_softnet_dropped_total{cpu=\"3\"} 1",
            "node_softnet_times_squeezed_total{cpu=\"3\"} 2",
        ];
        assert_eq!(lines(|emit| softnet(line, emit)), expected);
        assert!(lines(|emit| softnet("0000000a", emit))[0].contains("cpu=\"0\""));
    }
}
