//! Facts about the system on which a process runs, for a bundle of diagnostics.

use std::{collections::BTreeMap, fs::File, io::Read};

/// The content of each of these files of the kernel, by its path. A file that cannot be read has the error in its place: not
/// every system has them all.
pub(crate) fn facts() -> BTreeMap<String, String> {
    let content = |path: &str| read(path).unwrap_or_else(|error| format!("error: {error}\n"));
    FILES.iter().map(|&path| (path.to_owned(), content(path))).collect()
}

fn read(path: &str) -> std::io::Result<String> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_FILE_BYTES).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// None of them has arguments, variables or the content of a file.
const FILES: [&str; 20] = [
    "/proc/version",
    "/proc/uptime",
    "/proc/loadavg",
    "/proc/meminfo",
    "/proc/pressure/cpu",
    "/proc/pressure/io",
    "/proc/pressure/memory",
    "/proc/self/limits",
    "/proc/self/status",
    "/proc/self/schedstat",
    "/proc/self/cgroup",
    "/proc/net/snmp",
    "/proc/net/sockstat",
    "/proc/sys/net/core/rmem_default",
    "/proc/sys/net/core/rmem_max",
    "/proc/sys/net/core/wmem_default",
    "/proc/sys/net/core/wmem_max",
    "/proc/sys/net/ipv4/icmp_ratelimit",
    "/sys/fs/cgroup/cpu.max",
    "/sys/fs/cgroup/cpu.stat",
];
const MAX_FILE_BYTES: u64 = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_fact_is_there_or_says_why_it_is_not() {
        let facts = facts();
        assert_eq!(facts.len(), FILES.len());
        assert!(facts.values().all(|fact| !fact.is_empty()), "{facts:?}");
        assert!(facts["/proc/self/limits"].contains("open files"));
        let private = ["environ", "cmdline", "/etc/"];
        assert!(FILES.iter().all(|path| private.iter().all(|word| !path.contains(word))));
    }
}
