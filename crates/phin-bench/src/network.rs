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
            Ok(()) => Network::Own { given: 0 },
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
        if let Self::Own { given } = self {
            *given = 0;
        }
    }

    /// Addresses for further nodes.
    pub(crate) fn addresses(&mut self, count: usize) -> io::Result<Vec<IpAddr>> {
        let Self::Own { given } = self else {
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
        if !self.is_own() {
            return None;
        }
        let text = fs::read_to_string("/proc/self/net/dev").ok()?;
        let line = text.lines().find_map(|line| line.trim_start().strip_prefix("lo:"))?;
        let mut numbers = line.split_whitespace().map_while(|word| word.parse().ok());
        let bytes = numbers.next()?;
        Some((numbers.next()?, bytes))
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
