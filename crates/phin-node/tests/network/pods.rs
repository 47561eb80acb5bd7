//! Plays the manifests of `deploy/kubernetes` without Kubernetes: pods as processes in the files of the image, each on a host of
//! its own, with the arguments, variables and volumes that the manifests give them, and a DNS server as that of a cluster.

mod dns;
mod fields;
mod manifests;

use std::{
    collections::BTreeMap,
    fs,
    io::Write,
    net::{SocketAddr, TcpStream},
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    cluster::skip,
    container::{Image, Mount},
    lan::{Family, Lan},
    node::{KEY, Node, PATIENCE, get},
};
use dns::Dns;
use manifests::{Manifests, Pod};

/// The pods of the StatefulSet, and what Kubernetes does for them.
struct Play {
    manifests: Manifests,
    image: Image,
    lan: Lan,
    dns: Dns,
    /// The volumes of the pods, the Secret, and the files of the resolver.
    files: TempDir,
    pods: Vec<Running>,
}

/// A pod that runs.
struct Running {
    name: String,
    /// The number of its host, which is another one after a restart.
    host: usize,
    node: Node,
}

/// The host of the DNS server and the kubelet.
const CONTROL: usize = 1;
const NAMESPACE: &str = "phin";
const TOKEN: &str = "101112131415161718191a1b1c1d1e1f101112131415161718191a1b1c1d1e1f";
/// The group of the volumes, `fsGroup`.
const GROUP: u32 = 65_532;

impl Play {
    /// Prepares everything but the pods. Returns `None` and prints a note if this machine cannot.
    fn new() -> Option<Self> {
        let prepared = Lan::new(Family::V4, 1).and_then(|lan| Ok((lan, Image::assemble()?)));
        let (lan, image) = match prepared {
            Ok(prepared) => prepared,
            Err(error) => {
                skip(&error);
                return None;
            }
        };
        let manifests = Manifests::read();
        let service = manifests.of("Service")["metadata"]["name"].as_str().unwrap();
        let domain = format!("{service}.{NAMESPACE}.svc.cluster.local");
        let dns = Dns::start(lan.host(CONTROL), lan.ip(CONTROL), &domain);
        let files = tempfile::tempdir().unwrap();
        fs::set_permissions(&files, fs::Permissions::from_mode(0o755)).unwrap();
        let play = Self { manifests, image, lan, dns, files, pods: Vec::new() };
        play.write_secret();
        play.write_resolver();
        Some(play)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.files.path().join(name)
    }

    /// Writes the Secret as a kubelet does: root owns it, and the group of the pod may read it.
    fn write_secret(&self) {
        let directory = self.path("secret");
        fs::create_dir(&directory).unwrap();
        for (name, text) in [("cluster.key", KEY), ("http.token", TOKEN)] {
            let file = directory.join(name);
            fs::write(&file, text).unwrap();
            chown(&file, Some(0), Some(GROUP)).unwrap();
            let mode = fs::Permissions::from_mode(self.manifests.secret_mode());
            fs::set_permissions(&file, mode).unwrap();
        }
    }

    fn write_resolver(&self) {
        let search = format!("{NAMESPACE}.svc.cluster.local svc.cluster.local cluster.local");
        let server = self.lan.ip(CONTROL);
        let resolver = format!("nameserver {server}\nsearch {search}\noptions ndots:5\n");
        fs::write(self.path("resolv.conf"), resolver).unwrap();
        fs::write(self.path("hosts"), "127.0.0.1 localhost\n").unwrap();
    }

    /// The claim of a pod, which outlives it. A kubelet gives its root to the group of the pod.
    fn volume(&self, pod: &str) -> PathBuf {
        let directory = self.path(&format!("data-{pod}"));
        if !directory.exists() {
            fs::create_dir(&directory).unwrap();
            chown(&directory, Some(0), Some(GROUP)).unwrap();
            fs::set_permissions(&directory, fs::Permissions::from_mode(0o2_775)).unwrap();
        } else if self.manifests.pod_spec()["securityContext"]["fsGroupChangePolicy"]
            != "OnRootMismatch"
        {
            share_with_group(&directory);
        }
        directory
    }

    /// Starts a pod on a new host, and so at a new address.
    fn start(&mut self, number: usize) -> Running {
        self.lan.add_host().unwrap();
        let host = self.lan.hosts().last().unwrap();
        let name = format!("phin-{number}");
        let zone = [("topology.kubernetes.io/zone", format!("zone-{}", number % 3))];
        let ip = self.lan.ip(host).to_string();
        let pod = Pod { name: &name, ip, labels: zone.into() };
        let environment = self.manifests.environment(&pod);
        let mut line = vec!["/usr/bin/phin".to_owned()];
        line.extend(self.manifests.arguments(&environment));
        // So that it ends with the test.
        line.push("--exit-with-stdin".to_owned());
        let mount = |from: PathBuf, (at, is_writable): (&str, bool)| Mount {
            from,
            at: at.to_owned(),
            is_writable,
        };
        let mounts = [
            mount(self.volume(&name), self.manifests.mount("data")),
            mount(self.path("secret"), self.manifests.mount("keys")),
            mount(self.path("resolv.conf"), ("/etc/resolv.conf", false)),
            mount(self.path("hosts"), ("/etc/hosts", false)),
        ];
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh"]).args(self.image.arguments(&mounts, &line)).env_clear();
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        // The events are what this test looks at.
        command.envs(environment).env("PHIN_EVENTS", "json");
        let node = Node::spawn(self.lan.host(host), &name, command);
        Running { name, host, node }
    }

    /// Publishes the address of a pod, at once or when it is ready, as the Service has it.
    fn publish(&self, pod: &Running) {
        if self.manifests.of("Service")["spec"]["publishNotReadyAddresses"] != true {
            self.await_ready(pod);
        }
        self.dns.set(&pod.name, Some(self.lan.ip(pod.host)));
    }

    /// Waits for the readiness probe.
    fn await_ready(&self, pod: &Running) {
        let probe = &self.manifests.container()["readinessProbe"]["httpGet"];
        let path = probe["path"].as_str().unwrap();
        until(&format!("{} is ready", pod.name), || self.get(pod, path, None).0 == 200);
    }

    /// Sends a request to the port `http` of a pod, from another host.
    fn get(&self, pod: &Running, path: &str, token: Option<&str>) -> (u16, String) {
        let ports = self.manifests.container()["ports"].as_sequence().unwrap();
        let port = ports.iter().find(|port| port["name"] == "http").unwrap();
        let port = port["containerPort"].as_u64().unwrap().try_into().unwrap();
        let addr = SocketAddr::from((self.lan.ip(pod.host), port));
        match self.lan.host(CONTROL).run(|| TcpStream::connect(addr)) {
            Ok(stream) => get(stream, &addr.to_string(), path, token),
            Err(_) => (0, String::new()),
        }
    }

    /// The members that a pod considers alive: the address and the id by name.
    fn alive(&self, pod: &Running) -> BTreeMap<String, (String, String)> {
        let (status, body) = self.get(pod, "/v1/members", Some(TOKEN));
        assert_eq!(status, 200, "{body}");
        let list: Value = serde_json::from_str(&body).unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let members = list["members"].as_array().unwrap().iter();
        let alive = members.filter(|member| member["state"] == "alive");
        alive.map(|m| (text(&m["name"]), (text(&m["addr"]), text(&m["id"])))).collect()
    }

    /// Waits until every pod sees every pod at its address. Returns their ids.
    fn await_all_see_all(&self) -> BTreeMap<String, String> {
        let addr = |pod: &Running| SocketAddr::from((self.lan.ip(pod.host), 7_646)).to_string();
        let all: BTreeMap<_, _> = self.pods.iter().map(|p| (p.name.clone(), addr(p))).collect();
        for pod in &self.pods {
            let seen = || self.alive(pod).into_iter().map(|(name, (addr, _))| (name, addr));
            until(&format!("{} sees all", pod.name), || seen().collect::<BTreeMap<_, _>>() == all);
        }
        self.alive(&self.pods[0]).into_iter().map(|(name, (_, id))| (name, id)).collect()
    }

    /// Replaces a pod as a rolling update does: it is asked to end, and is killed after the time that it has.
    fn replace(&mut self, number: usize) {
        let grace = self.manifests.pod_spec()["terminationGracePeriodSeconds"].as_u64().unwrap();
        let mut pod = self.pods.remove(number);
        pod.node.signal(Signal::TERM);
        let code =
            pod.node.wait_at_most(Duration::from_secs(grace)).and_then(|status| status.code());
        assert_eq!(code, Some(0), "{} left in time", pod.name);
        assert_none_dead(&pod);
        // The old address stays for as long as the server repeats its answers.
        self.dns.set(&pod.name, None);
        let replacement = self.start(number);
        self.publish(&replacement);
        self.await_ready(&replacement);
        self.pods.insert(number, replacement);
    }
}

/// Gives each file of a volume to the group, as a kubelet does at each start unless the pod forbids it.
fn share_with_group(directory: &Path) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let mode = fs::metadata(&path).unwrap().permissions().mode() | 0o660;
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
}

#[track_caller]
fn assert_none_dead(pod: &Running) {
    let dead: Vec<_> =
        pod.node.since(0).into_iter().filter(|line| line["event"] == "dead").collect();
    assert!(dead.is_empty(), "{}: {dead:#?}", pod.name);
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE, "not: {what}");
        // tidy: allow sleep: between two looks, as a kubelet probes
        thread::sleep(Duration::from_millis(100));
    }
}

/// Prints a measurement although the test passes.
fn report(text: &str) {
    let _ = std::io::stderr().write_all(format!("{text}\n").as_bytes());
}

#[test]
fn pods_that_start_at_once_form_one_cluster_and_a_rolling_restart_loses_nobody() {
    let Some(mut play) = Play::new() else { return };
    let began = Instant::now();
    let size = 5;
    for number in 0..size {
        let pod = play.start(number);
        play.pods.push(pod);
    }
    // All have asked for the name before it leads anywhere, and the server repeats that for a while.
    until("the name was asked for", || play.dns.queries() > 0);
    for pod in &play.pods {
        play.publish(pod);
    }
    let ids = play.await_all_see_all();
    report(&format!("{size} pods formed one cluster in {:?}", began.elapsed()));
    for pod in &play.pods {
        play.await_ready(pod);
    }
    // Without the token, only the probes are answered.
    assert_eq!(play.get(&play.pods[0], "/v1/members", None).0, 401);
    assert_zones(&play);

    let began = Instant::now();
    // In the order of a StatefulSet.
    for number in (0..size).rev() {
        play.replace(number);
    }
    report(&format!("{size} pods were replaced in {:?}", began.elapsed()));
    assert_eq!(play.await_all_see_all(), ids, "they are the same members");
    play.pods.iter().for_each(assert_none_dead);
}

/// The tags say in which zone each pod runs.
fn assert_zones(play: &Play) {
    let (_, body) = play.get(&play.pods[0], "/v1/members", Some(TOKEN));
    let list: Value = serde_json::from_str(&body).unwrap();
    for member in list["members"].as_array().unwrap() {
        let number: usize =
            member["name"].as_str().unwrap().rsplit('-').next().unwrap().parse().unwrap();
        assert_eq!(member["tags"]["zone"], format!("zone-{}", number % 3), "{member}");
    }
}
