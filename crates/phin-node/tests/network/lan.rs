//! Hosts on one network segment, each a namespace, and the faults of the segment.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use crate::namespace::Namespace;

/// A bridge in a namespace of its own, and the hosts on it, numbered from 1.
pub(crate) struct Lan {
    bridge: Namespace,
    hosts: Vec<Namespace>,
    family: Family,
    faults: RefCell<Faults>,
}

/// The address family of the hosts; never both.
#[derive(Clone, Copy)]
pub(crate) enum Family {
    V4,
    V6,
}

#[derive(Default)]
struct Faults {
    /// The cut directions, as pairs of sender and receiver.
    cuts: BTreeSet<(usize, usize)>,
    /// The percentage of packets lost everywhere.
    loss_percent: u32,
    /// Hosts that lose this percentage of what they send.
    lossy: BTreeMap<usize, u32>,
    /// Hosts from and to which longer packets are lost.
    narrow: BTreeMap<usize, u32>,
}

impl Lan {
    /// Creates this many hosts, which can reach each other.
    ///
    /// # Errors
    /// If rights or tools are missing.
    pub(crate) fn new(family: Family, hosts: usize) -> io::Result<Self> {
        let bridge = Namespace::new()?;
        let lines = "link add lan type bridge forward_delay 0 mcast_snooping 0\nlink set lan up\n";
        bridge.try_command("ip", &["-batch", "-"], lines)?;
        bridge.try_command("nft", &["-f", "-"], "add table bridge phin\n")?;
        let mut lan = Self { bridge, hosts: Vec::new(), family, faults: RefCell::default() };
        for _ in 0..hosts {
            lan.add_host()?;
        }
        Ok(lan)
    }

    /// Adds a host.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub(crate) fn add_host(&mut self) -> io::Result<()> {
        let host = Namespace::new()?;
        let number = self.hosts.len() + 1;
        let link = format!(
            "link add h{number} type veth peer name eth0 netns {}\n\
             link set h{number} master lan up\n",
            host.path()
        );
        self.bridge.try_command("ip", &["-batch", "-"], &link)?;
        let addr = match self.family {
            Family::V4 => format!("addr add {}/16 dev eth0\n", self.ip(number)),
            Family::V6 => format!("addr add {}/64 dev eth0 nodad\n", self.ip(number)),
        };
        let links = format!("link set lo up\nlink set eth0 up\n{addr}");
        host.try_command("ip", &["-batch", "-"], &links)?;
        self.hosts.push(host);
        Ok(())
    }

    /// Makes the hosts refuse every packet to a closed port. By default Linux refuses one per second and sender, so a
    /// death within a second after another question may count as that of a silent host.
    pub(crate) fn lift_refusal_quota(&self) {
        for host in &self.hosts {
            host.run(|| {
                std::fs::write("/proc/sys/net/ipv4/icmp_ratelimit", "0").unwrap();
                std::fs::write("/proc/sys/net/ipv6/icmp/ratelimit", "0").unwrap();
            });
        }
    }

    /// The address of a host.
    pub(crate) fn ip(&self, number: usize) -> IpAddr {
        let number = u16::try_from(number).unwrap();
        let [high, low] = number.to_be_bytes();
        match self.family {
            Family::V4 => Ipv4Addr::new(10, 77, high, low).into(),
            Family::V6 => Ipv6Addr::new(0xfd00, 0x77, 0, 0, 0, 0, 0, number).into(),
        }
    }

    pub(crate) fn host(&self, number: usize) -> &Namespace {
        &self.hosts[number - 1]
    }

    pub(crate) fn hosts(&self) -> impl Iterator<Item = usize> + use<> {
        1..=self.hosts.len()
    }

    /// Cuts one direction between two hosts. The other direction stays open.
    pub(crate) fn cut_one_way(&self, from: usize, to: usize) {
        self.change(|faults| {
            faults.cuts.insert((from, to));
        });
    }

    /// Cuts all packets between a group and all other hosts.
    pub(crate) fn split(&self, group: &[usize]) {
        let others: Vec<usize> = self.hosts().filter(|host| !group.contains(host)).collect();
        self.change(|faults| {
            for &one in group {
                faults.cuts.extend(others.iter().flat_map(|&other| [(one, other), (other, one)]));
            }
        });
    }

    /// Cuts a host off from all but one other host.
    pub(crate) fn leave_one_path(&self, host: usize, to: usize) {
        let others: Vec<usize> =
            self.hosts().filter(|&other| other != host && other != to).collect();
        self.change(|faults| {
            faults.cuts.extend(others.iter().flat_map(|&other| [(host, other), (other, host)]));
        });
    }

    /// Drops all packets to a host. Its own packets arrive.
    pub(crate) fn deafen(&self, host: usize) {
        let others: Vec<usize> = self.hosts().filter(|&other| other != host).collect();
        self.change(|faults| faults.cuts.extend(others.iter().map(|&other| (other, host))));
    }

    /// Drops all packets of a host. Those to it arrive.
    pub(crate) fn mute(&self, host: usize) {
        let others: Vec<usize> = self.hosts().filter(|&other| other != host).collect();
        self.change(|faults| faults.cuts.extend(others.iter().map(|&other| (host, other))));
    }

    /// Loses this percentage of all packets.
    pub(crate) fn lose(&self, percent: u32) {
        self.change(|faults| faults.loss_percent = percent);
    }

    /// Loses this percentage of the packets that a host sends.
    pub(crate) fn lose_from(&self, host: usize, percent: u32) {
        self.change(|faults| _ = faults.lossy.insert(host, percent));
    }

    /// Loses the packets from and to a host that are longer than so many bytes.
    pub(crate) fn narrow(&self, host: usize, bytes: u32) {
        self.change(|faults| _ = faults.narrow.insert(host, bytes));
    }

    /// Removes all faults.
    pub(crate) fn heal(&self) {
        self.change(|faults| *faults = Faults::default());
    }

    /// Applies all changes at one moment.
    fn change(&self, change: impl FnOnce(&mut Faults)) {
        let mut faults = self.faults.borrow_mut();
        change(&mut faults);
        self.bridge.command("nft", &["-f", "-"], &faults.rules());
    }
}

impl Faults {
    fn rules(&self) -> String {
        let mut rules = "delete table bridge phin\ntable bridge phin {\n\
                         chain forward {\ntype filter hook forward priority 0\n"
            .to_owned();
        for &(from, to) in &self.cuts {
            // Neighbour entries stay valid unless both directions are cut. Otherwise ARP would turn a one-way cut of
            // IPv4 into a full one.
            let what = match self.cuts.contains(&(to, from)) {
                true => "",
                false => "ether type != arp ",
            };
            let _ = writeln!(rules, "iifname \"h{from}\" oifname \"h{to}\" {what}drop");
        }
        for (host, percent) in &self.lossy {
            let what = format!("numgen random mod 100 < {percent} drop");
            let _ = writeln!(rules, "iifname \"h{host}\" ether type != arp {what}");
        }
        for (host, bytes) in &self.narrow {
            for side in ["iifname", "oifname"] {
                let _ = writeln!(rules, "{side} \"h{host}\" meta length > {bytes} drop");
            }
        }
        if self.loss_percent > 0 {
            let _ = writeln!(
                rules,
                "ether type != arp numgen random mod 100 < {} drop",
                self.loss_percent
            );
        }
        rules + "}\n}\n"
    }
}
