//! Members whose address changes, and paths that are lost while both ends live.

use socket2::{Domain, Protocol, Socket, Type};

use crate::{
    cluster::Cluster,
    lan::Family,
    namespace::Namespace,
    node::{KEY, Node},
};

/// The hosts have no default route, and one address each, which the node advertises.
#[test]
fn a_host_whose_address_changes_is_reached_at_the_new_one() {
    // The profile `lan`, with enough time to notice the change.
    let arguments = ["--profile", "lan", "--bind", "0.0.0.0:7646"];
    let Some(mut cluster) = Cluster::start(Family::V4, 4, &arguments) else { return };
    let (mark, others, all) = (cluster.mark(), [1, 2, 3], [1, 2, 3, 4]);
    cluster.lan.host(4).run(|| {
        // Otherwise removing the old address removes the new one too.
        std::fs::write("/proc/sys/net/ipv4/conf/all/promote_secondaries", "1").unwrap();
    });
    let change = "addr add 10.77.1.4/16 dev eth0\naddr del 10.77.0.4/16 dev eth0\n";
    cluster.lan.host(4).command("ip", &["-batch", "-"], change);
    // On a busy machine the member may be suspect first. Then the refutation brings the address, without an `updated`.
    cluster.until("listing n4 at its new address", &others, |number| {
        let members = cluster.json(number, "/v1/members");
        let mut members = members["members"].as_array().unwrap().iter();
        members.any(|member| member["name"] == "n4" && member["addr"] == "10.77.1.4:7646")
    });
    // A newcomer finds it at the new address too.
    cluster.lan.add_host().unwrap();
    let newcomer = cluster.process(5, KEY);
    cluster.adopt(newcomer);
    let joined = cluster.await_event(&[5], "joined", 4, &cluster.beginning());
    assert_eq!(joined[0]["member"]["addr"], "10.77.1.4:7646", "{joined:?}");
    let is_alive = |number| {
        let members = cluster.json(number, "/v1/members");
        members["members"].as_array().unwrap().iter().all(|member| member["state"] == "alive")
    };
    cluster.until("without a suspect", &all, is_alive);
    cluster.until("ready", &[4], |number| cluster.get(number, "/readyz").0 == 200);
    cluster.assert_never(&all, "dead", &all, &mark);
}

/// A node behind a gateway that maps its port, and rewrites its source ports.
#[test]
fn a_gateway_that_forgets_its_flows_ends_no_member() {
    let Some(mut cluster) = Cluster::start(Family::V4, 4, &["--profile", "local"]) else { return };
    let (inside, gateway) = behind_gateway(
        &mut cluster,
        "chain in { type nat hook prerouting priority -100; iif eth0 udp dport 7646 dnat to 10.88.0.2; }",
    );
    let flows = FlowTable(
        (cluster.lan.host(gateway))
            .run(|| Socket::new(Domain::from(NETLINK), Type::RAW, Some(Protocol::from(NETFILTER))))
            .unwrap(),
    );
    let arguments =
        ["--profile", "local", "--advertise", "10.77.0.5:7646", "--join", "10.77.0.1:7646"];
    let node = Node::start(&inside, [10, 88, 0, 2].into(), "n5", KEY, &arguments);
    cluster.adopt(node);
    let (others, all) = ([1, 2, 3, 4], [1, 2, 3, 4, 5]);
    cluster.await_all("joined", &all, &cluster.beginning());

    let mark = cluster.mark();
    let pings = |number| cluster.metric(number, "phin_swim_pings_sent_total");
    for _ in 0..3 {
        let sent = others.map(pings);
        flows.forget_all();
        cluster.until("probing on", &others, |number| pings(number) > sent[number - 1] + 10.0);
        // The side that sends first decides which connections are lost. None may stay lost.
        cluster.until("reaching all", &others, |number| {
            let members = cluster.json(number, "/v1/members");
            members["members"].as_array().unwrap().iter().all(|member| {
                member["state"] == "alive" && member["failing_links"].as_array().unwrap().is_empty()
            })
        });
    }
    let lost = others.map(|number| cluster.metric(number, "phin_transport_paths_lost_total"));
    assert!(lost.iter().sum::<f64>() > 0.0, "no connection was lost: nothing was tested");
    cluster.assert_never(&all, "dead", &all, &mark);
}

/// No port is mapped to it: members outside see it at the gateway's address, and cannot reach its advertised address.
#[test]
fn a_node_behind_a_gateway_is_told_where_it_is_seen() {
    let Some(mut cluster) = Cluster::start(Family::V4, 2, &["--profile", "local"]) else { return };
    let (inside, _) = behind_gateway(&mut cluster, "");
    let arguments = ["--profile", "local", "--join", "10.77.0.1:7646"];
    let node = Node::start(&inside, [10, 88, 0, 2].into(), "n3", KEY, &arguments);
    let warning = node.log("this node is behind a NAT");
    assert_eq!(warning["advertised"], "10.88.0.2:7646", "{warning}");
    assert!(warning["observed"].as_str().unwrap().starts_with("10.77.0.3:2"), "{warning}");
    node.event_of(0, "joined", "n2");
    let (status, why) = node.get(&inside, "/v1/members/n3/why");
    assert_eq!((status, why.contains("\"nat_addr\":\"10.77.0.3:2")), (200, true), "{why}");
    // The others are at their advertised addresses, and report no NAT.
    for number in [1, 2] {
        let why = cluster.json(number, &format!("/v1/members/n{number}/why"));
        assert!(why["nat_addr"].is_null(), "n{number}: {why}");
    }
}

/// Creates a host with the address 10.88.0.2 behind the last host of the segment, which rewrites its source ports.
/// Returns it and its gateway.
fn behind_gateway(cluster: &mut Cluster, chain: &str) -> (Namespace, usize) {
    let inside = Namespace::new().unwrap();
    cluster.lan.add_host().unwrap();
    let number = cluster.lan.hosts().max().unwrap();
    let gateway = cluster.lan.host(number);
    let link = format!(
        "link add in0 type veth peer name eth0 netns {}\nlink set in0 up\naddr add 10.88.0.1/24 dev in0\n",
        inside.path()
    );
    gateway.command("ip", &["-batch", "-"], &link);
    let inner = "link set lo up\nlink set eth0 up\naddr add 10.88.0.2/24 dev eth0\n\
                 route add default via 10.88.0.1\n";
    inside.command("ip", &["-batch", "-"], inner);
    gateway.run(|| std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap());
    let rules = format!(
        "table ip nat {{\n\
         {chain}\n\
         chain out {{ type nat hook postrouting priority 100; oif eth0 meta l4proto udp masquerade to :20000-29999 random; }}\n\
         }}\n"
    );
    gateway.command("nft", &["-f", "-"], &rules);
    (inside, number)
}

/// The connections that a gateway's kernel tracks, reached by netlink.
struct FlowTable(Socket);

impl FlowTable {
    /// Deletes all flows like `conntrack -F`: a message IPCTNL_MSG_CT_DELETE that names no flow.
    fn forget_all(&self) {
        let (length, kind, flags) = (20_u32, 0x0102_u16, 1_u16);
        let mut message = Vec::new();
        message.extend(length.to_ne_bytes());
        message.extend(kind.to_ne_bytes());
        message.extend(flags.to_ne_bytes());
        // Sequence 0, port 0, and nfgenmsg: AF_INET, version 0, no resource.
        message.extend([0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0]);
        self.0.send(&message).unwrap();
    }
}

/// AF_NETLINK, NETLINK_NETFILTER.
const NETLINK: i32 = 16;
const NETFILTER: i32 = 12;
