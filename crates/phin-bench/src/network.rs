//! The network of the nodes: a network namespace of their own, or the loopback that all processes share.

use std::{
    fs,
    io::{self, Write},
    net::{IpAddr, Ipv4Addr},
    os::unix::process::CommandExt,
    process::{Command, Stdio},
};

/// The network of the nodes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Network {
    /// A namespace that nobody else is in. Each node has an address of its own.
    Own {
        /// How many addresses were given so far.
        given: u32,
        /// Whether nftables counts traffic that is none of the nodes'.
        excludes: bool,
    },
    /// The loopback, with whatever else uses it; all nodes are at 127.0.0.1.
    Shared {
        /// Why there is no other.
        reason: String,
    },
}

/// Moves this process into a network namespace of its own, by starting it anew through `unshare` with the same
/// arguments; where that cannot be, leaves it where it is. To be called before anything else is done.
pub fn enter() -> Network {
    if std::env::var_os(ENTERED).is_some() {
        return match ip("link set lo up\nroute replace 10.99.0.0/16 dev lo\n") {
            Ok(()) => Network::Own { given: 0, excludes: false },
            Err(error) => Network::Shared { reason: error.to_string() },
        };
    }
    let quiet = |command: &mut Command| {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status()
    };
    let has_ip = quiet(Command::new("ip").arg("-V")).is_ok_and(|status| status.success());
    if !has_ip {
        return Network::Shared { reason: "there is no program `ip` (iproute2)".to_owned() };
    }
    let works = quiet(unshare().arg("true")).is_ok_and(|status| status.success());
    let program = std::env::current_exe();
    let (true, Ok(program)) = (works, program) else {
        return Network::Shared { reason: "`unshare` may not make a network namespace".to_owned() };
    };
    let error = unshare().arg(program).args(std::env::args_os().skip(1)).env(ENTERED, "1").exec();
    Network::Shared { reason: error.to_string() }
}

impl Network {
    /// Whether nobody else uses it.
    pub const fn is_own(&self) -> bool {
        matches!(self, Self::Own { .. })
    }

    /// The port that every node binds; 0 if each has to have another.
    pub(crate) const fn port(&self) -> u16 {
        match self {
            Self::Own { .. } => 7946,
            Self::Shared { .. } => 0,
        }
    }

    /// All nodes are gone: their addresses may be given again.
    pub(crate) const fn clear(&mut self) {
        if let Self::Own { given, .. } = self {
            *given = 0;
        }
    }

    /// Addresses for further nodes.
    pub(crate) fn addresses(&mut self, count: usize) -> io::Result<Vec<IpAddr>> {
        let Self::Own { given, .. } = self else {
            return Ok(vec![Ipv4Addr::LOCALHOST.into(); count]);
        };
        let mut commands = String::new();
        let mut addresses = Vec::new();
        for _ in 0..count {
            *given += 1;
            let [_, _, high, low] = given.to_be_bytes();
            let address = Ipv4Addr::new(10, 99, high, low);
            commands += &format!("addr replace {address}/32 dev lo\n");
            addresses.push(address.into());
        }
        ip(&commands)?;
        Ok(addresses)
    }

    /// Has a host fall silent: packets to its address vanish without an answer of any kind, and none can leave from it.
    pub(crate) fn silence(&self, address: IpAddr) -> io::Result<()> {
        ip(&format!("addr del {address}/32 dev lo\n"))
    }

    /// Packets and bytes that went over the network so far, headers of IP included; nothing where others use it, too.
    pub(crate) fn traffic(&self) -> Option<(u64, u64)> {
        let Self::Own { excludes, .. } = self else { return None };
        let (packets, bytes) = if *excludes { excluded().ok()? } else { (0, 0) };
        let text = fs::read_to_string("/proc/self/net/dev").ok()?;
        let line = text.lines().find_map(|line| line.trim_start().strip_prefix("lo:"))?;
        let mut numbers = line.split_whitespace().map_while(|word| word.parse().ok());
        let all_bytes: u64 = numbers.next()?;
        let all_packets: u64 = numbers.next()?;
        Some((all_packets.saturating_sub(packets), all_bytes.saturating_sub(bytes)))
    }

    /// Does not count, from now on, what is sent from and to this TCP port, by which this program controls nodes. Needs `nft`.
    pub(crate) fn exclude(&mut self, port: u16) -> io::Result<()> {
        let Self::Own { excludes, .. } = self else { return Ok(()) };
        nft(&format!(
            "table ip phin_bench_excluded {{\ncounter control {{ }}\nchain out {{\ntype filter hook output priority 0\n\
             tcp sport {port} counter name control\ntcp dport {port} counter name control\n}}\n}}\n"
        ))?;
        *excludes = true;
        Ok(())
    }

    /// Loses this percentage of all packets, from now on, where they arrive: a sender does not notice. Needs `nft`.
    pub(crate) fn lose(&self, percent: u8) -> io::Result<()> {
        nft(&format!(
            "table ip phin_bench_loss {{\ncounter arrived {{ }}\ncounter lost {{ }}\n\
             chain in {{\ntype filter hook input priority 0\ncounter name arrived\n\
             numgen random mod 100 < {percent} counter name lost drop\n}}\n}}\n"
        ))?;
        Ok(())
    }

    /// Loses no packets any more, and returns the share that was lost.
    pub(crate) fn heal(&self) -> io::Result<f64> {
        let [arrived, lost] =
            [counter("phin_bench_loss", "arrived")?, counter("phin_bench_loss", "lost")?];
        nft("delete table ip phin_bench_loss\n")?;
        Ok(lost.0 as f64 / arrived.0.max(1) as f64)
    }
}

/// Packets and bytes that are none of the nodes'.
fn excluded() -> io::Result<(u64, u64)> {
    counter("phin_bench_excluded", "control")
}

/// Packets and bytes that a counter of nftables has.
fn counter(table: &str, name: &str) -> io::Result<(u64, u64)> {
    let text = nft(&format!("list counter ip {table} {name}\n"))?;
    let after = |name| {
        let mut words = text.split_whitespace().skip_while(move |word| *word != name).skip(1);
        words.next()?.parse().ok()
    };
    let counted = after("packets").zip(after("bytes"));
    counted.ok_or_else(|| io::Error::other(format!("`nft` printed no counter: {text}")))
}

/// Runs commands of nftables, and returns what they print.
fn nft(commands: &str) -> io::Result<String> {
    let mut nft = Command::new("nft");
    nft.args(["-f", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut nft = nft.spawn()?;
    nft.stdin.take().ok_or(io::ErrorKind::BrokenPipe)?.write_all(commands.as_bytes())?;
    let output = nft.wait_with_output()?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Err(io::Error::other(format!("`nft` refused:\n{commands}"))),
    }
}

/// Runs commands of iproute2.
fn ip(commands: &str) -> io::Result<()> {
    let mut ip = Command::new("ip").args(["-batch", "-"]).stdin(Stdio::piped()).spawn()?;
    ip.stdin.take().ok_or(io::ErrorKind::BrokenPipe)?.write_all(commands.as_bytes())?;
    match ip.wait()?.success() {
        true => Ok(()),
        false => Err(io::Error::other(format!("`ip` refused one of:\n{commands}"))),
    }
}

fn unshare() -> Command {
    let mut command = Command::new("unshare");
    command.args(["--map-root-user", "--net"]);
    command
}

/// Set in a process that is in its own network namespace.
const ENTERED: &str = "PHIN_BENCH_OWN_NETWORK";
