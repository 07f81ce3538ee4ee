//! Block devices and file systems.

use super::Emit;
use rustix::fs::{StatVfsMountFlags, statvfs};

/// Columns of `/proc/diskstats` after the device, with the factor to the metric's unit.
const DISK_COLUMNS: [(&str, f64); 17] = [
    ("node_disk_reads_completed_total", 1.0),
    ("node_disk_reads_merged_total", 1.0),
    ("node_disk_read_bytes_total", SECTOR_BYTES),
    ("node_disk_read_time_seconds_total", MILLISECOND),
    ("node_disk_writes_completed_total", 1.0),
    ("node_disk_writes_merged_total", 1.0),
    ("node_disk_written_bytes_total", SECTOR_BYTES),
    ("node_disk_write_time_seconds_total", MILLISECOND),
    ("node_disk_io_now", 1.0),
    ("node_disk_io_time_seconds_total", MILLISECOND),
    ("node_disk_io_time_weighted_seconds_total", MILLISECOND),
    ("node_disk_discards_completed_total", 1.0),
    ("node_disk_discards_merged_total", 1.0),
    ("node_disk_discarded_sectors_total", 1.0),
    ("node_disk_discard_time_seconds_total", MILLISECOND),
    ("node_disk_flush_requests_total", 1.0),
    ("node_disk_flush_requests_time_seconds_total", MILLISECOND),
];
const SECTOR_BYTES: f64 = 512.0;
const MILLISECOND: f64 = 1e-3;

/// File systems that hold no files of their own.
const FS_TYPES_LEFT_OUT: [&str; 24] = [
    "autofs",
    "binfmt_misc",
    "bpf",
    "cgroup",
    "cgroup2",
    "configfs",
    "debugfs",
    "devpts",
    "devtmpfs",
    "fusectl",
    "hugetlbfs",
    "iso9660",
    "mqueue",
    "nsfs",
    "overlay",
    "proc",
    "procfs",
    "pstore",
    "rpc_pipefs",
    "securityfs",
    "selinuxfs",
    "squashfs",
    "sysfs",
    "tracefs",
];

/// `/proc/diskstats`, whole disks only.
pub(crate) fn diskstats(text: &str, emit: Emit<'_>) {
    for line in text.lines() {
        let mut fields = line.split_ascii_whitespace().skip(2);
        let Some(device) = fields.next().filter(|device| !is_part_or_virtual(device)) else { continue };
        for ((name, factor), field) in DISK_COLUMNS.iter().zip(fields) {
            if let Ok(value) = field.parse::<f64>() {
                emit(name, &[("device", device)], value * factor);
            }
        }
    }
}

/// node_exporter's default: `^(z?ram|loop|fd|(h|s|v|xv)d[a-z]|nvme\d+n\d+p)\d+$`.
fn is_part_or_virtual(device: &str) -> bool {
    let stem = device.trim_end_matches(|c: char| c.is_ascii_digit());
    if stem.len() == device.len() {
        return false;
    }
    let is_disk = ["hd", "sd", "vd", "xvd"].iter().any(|kind| {
        stem.strip_prefix(kind)
            .is_some_and(|letter| letter.len() == 1 && letter.bytes().all(|b| b.is_ascii_lowercase()))
    });
    let is_nvme_part = stem.strip_prefix("nvme").and_then(|rest| rest.strip_suffix('p')).is_some_and(|rest| {
        rest.split_once('n').is_some_and(|(a, b)| [a, b].iter().all(|n| !n.is_empty() && n.parse::<u32>().is_ok()))
    });
    matches!(stem, "zram" | "ram" | "loop" | "fd") || is_disk || is_nvme_part
}

/// Every file system of `/proc/1/mounts`, as statvfs tells.
pub(crate) fn filesystems(mounts: &str, emit: Emit<'_>) {
    let mut seen = std::collections::HashSet::new();
    for mount in mounts.lines().filter_map(Mount::parse).filter(Mount::is_wanted) {
        // A mount over a mount hides the lower one.
        if !seen.insert((mount.device.clone(), mount.mountpoint.clone())) {
            continue;
        }
        let labels = [("device", &*mount.device), ("fstype", mount.fstype), ("mountpoint", &*mount.mountpoint)];
        let Ok(stat) = statvfs(&*mount.mountpoint) else {
            emit("node_filesystem_device_error", &labels, 1.0);
            continue;
        };
        let bytes = |blocks: u64| blocks as f64 * stat.f_frsize as f64;
        let is_readonly = mount.is_readonly || stat.f_flag.contains(StatVfsMountFlags::RDONLY);
        for (name, value) in [
            ("node_filesystem_size_bytes", bytes(stat.f_blocks)),
            ("node_filesystem_free_bytes", bytes(stat.f_bfree)),
            ("node_filesystem_avail_bytes", bytes(stat.f_bavail)),
            ("node_filesystem_files", stat.f_files as f64),
            ("node_filesystem_files_free", stat.f_ffree as f64),
            ("node_filesystem_readonly", f64::from(u8::from(is_readonly))),
            ("node_filesystem_device_error", 0.0),
        ] {
            emit(name, &labels, value);
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Mount<'a> {
    device: String,
    mountpoint: String,
    fstype: &'a str,
    is_readonly: bool,
}

impl<'a> Mount<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let mut fields = line.split(' ');
        Some(Self {
            device: unescape(fields.next()?),
            mountpoint: unescape(fields.next()?),
            fstype: fields.next()?,
            is_readonly: fields.next()?.split(',').any(|option| option == "ro"),
        })
    }

    /// node_exporter's default: not below these folders, and no pseudo file system.
    fn is_wanted(&self) -> bool {
        let is_at = |dir: &str| self.mountpoint.strip_prefix(dir).is_some_and(|r| r.is_empty() || r.starts_with('/'));
        let is_below = |dir: &str| self.mountpoint.strip_prefix(dir).is_some_and(|rest| !rest.is_empty());
        let below = ["/run/credentials/", "/var/lib/docker/", "/var/lib/containers/storage/"];
        !(["/dev", "/proc", "/sys"].into_iter().any(is_at)
            || below.into_iter().any(is_below)
            || FS_TYPES_LEFT_OUT.contains(&self.fstype))
    }
}

/// Blank, tab, newline and backslash stand as three octal digits.
fn unescape(field: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(field.to_owned(), |text, (code, character)| text.replace(code, character))
}

#[cfg(test)]
mod tests {
    use super::super::testing::lines;
    use super::*;

    #[test]
    fn whole_disks_only() {
        let parts = ["sda1", "hdb2", "vdc12", "xvda1", "nvme0n1p1", "loop0", "ram1", "zram0", "fd0"];
        let wholes = ["sda", "vdb", "xvda", "nvme0n1", "dm-0", "md127", "sr0", "sdaa1", "mmcblk0"];
        assert!(parts.iter().all(|device| is_part_or_virtual(device)));
        assert!(!wholes.iter().any(|device| is_part_or_virtual(device)));
    }

    #[test]
    fn columns_and_units() {
        let text =
            " 254 0 vda 10 11 2 3000 20 21 4 5000 6 7000 8000 1 2 3 4000 5 6000\n 254 1 vda1 1 1 1 1\n 8 0 sda 1\n";
        let lines = lines(|emit| diskstats(text, emit));
        assert_eq!(lines.len(), 18);
        assert_eq!(lines[0], "node_disk_reads_completed_total{device=\"vda\"} 10");
        assert_eq!(lines[2], "node_disk_read_bytes_total{device=\"vda\"} 1024");
        assert_eq!(lines[3], "node_disk_read_time_seconds_total{device=\"vda\"} 3");
        assert_eq!(lines[6], "node_disk_written_bytes_total{device=\"vda\"} 2048");
        assert_eq!(lines[10], "node_disk_io_time_weighted_seconds_total{device=\"vda\"} 8");
        assert_eq!(lines[16], "node_disk_flush_requests_time_seconds_total{device=\"vda\"} 6");
        assert_eq!(lines[17], "node_disk_reads_completed_total{device=\"sda\"} 1");
    }

    #[test]
    fn mounts_are_chosen_as_node_exporter_does() {
        let wanted = |line: &str| Mount::parse(line).unwrap().is_wanted();
        assert!(wanted("/dev/vda / ext4 rw,relatime 0 0"));
        assert!(wanted("tmpfs /run tmpfs rw 0 0"));
        assert!(wanted("/dev/vdb /devel ext4 rw 0 0"));
        for line in [
            "proc /proc proc rw 0 0",
            "tmpfs /dev/shm tmpfs rw 0 0",
            "overlay /var/lib/docker/overlay2/x/merged overlay rw 0 0",
            "tmpfs /var/lib/docker/x tmpfs rw 0 0",
            "cgroup2 /x cgroup2 rw 0 0",
        ] {
            assert!(!wanted(line), "{line}");
        }
        let mount = Mount::parse("/dev/sdb1 /mnt/a\\040b\\134c xfs ro,noatime 0 0").unwrap();
        assert_eq!((mount.mountpoint.as_str(), mount.is_readonly), ("/mnt/a b\\c", true));
        assert_eq!(Mount::parse("broken line"), None);
    }

    #[test]
    fn a_mount_that_cannot_be_read_is_an_error_sample() {
        let lines = lines(|emit| filesystems("/dev/x /nowhere/at/all ext4 rw 0 0\n", emit));
        let labels = "device=\"/dev/x\",fstype=\"ext4\",mountpoint=\"/nowhere/at/all\"";
        assert_eq!(lines, [format!("node_filesystem_device_error{{{labels}}} 1")]);
    }
}
