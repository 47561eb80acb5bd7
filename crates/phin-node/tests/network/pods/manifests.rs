//! The manifests of `deploy/kubernetes`, as they are applied.

use std::{collections::BTreeMap, fs, path::PathBuf};

use serde::Deserialize;
use serde_yaml_ng::Value;

use super::fields::{Fields, octal};
use crate::cluster::note_skipped;

/// All objects, in the order in which they are applied.
pub(super) struct Manifests(Vec<Value>);

/// The part of a pod that its manifest does not have.
pub(super) struct Pod<'a> {
    pub(super) name: &'a str,
    pub(super) ip: String,
    pub(super) labels: BTreeMap<&'a str, String>,
}

fn deploy(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("deploy/kubernetes").join(name)
}

fn read(name: &str) -> Value {
    let text = fs::read_to_string(deploy(name)).unwrap();
    serde_yaml_ng::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"))
}

impl Manifests {
    pub(super) fn read() -> Self {
        let kustomization = read("kustomization.yaml");
        let names = kustomization["resources"].as_sequence().unwrap();
        Self(names.iter().map(|name| read(name.as_str().unwrap())).collect())
    }

    /// The object of this kind.
    pub(super) fn of(&self, kind: &str) -> &Value {
        self.0.iter().find(|object| object["kind"] == kind).unwrap_or_else(|| panic!("no {kind}"))
    }

    pub(super) fn pod_spec(&self) -> &Value {
        &self.of("StatefulSet")["spec"]["template"]["spec"]
    }

    pub(super) fn container(&self) -> &Value {
        let containers = self.pod_spec()["containers"].as_sequence().unwrap();
        assert_eq!(containers.len(), 1);
        &containers[0]
    }

    /// The environment of the container in this pod.
    pub(super) fn environment(&self, pod: &Pod<'_>) -> Vec<(String, String)> {
        let mut environment = Vec::<(String, String)>::new();
        for variable in self.container()["env"].as_sequence().unwrap() {
            let name = variable["name"].as_str().unwrap().to_owned();
            let value = match variable["value"].as_str() {
                Some(value) => expand(value, &environment),
                None => pod.field(variable["valueFrom"]["fieldRef"]["fieldPath"].as_str().unwrap()),
            };
            environment.push((name, value));
        }
        environment
    }

    /// The arguments of the container.
    pub(super) fn arguments(&self, environment: &[(String, String)]) -> Vec<String> {
        let arguments = self.container()["args"].as_sequence().unwrap();
        arguments.iter().map(|text| expand(text.as_str().unwrap(), environment)).collect()
    }

    /// The path at which the container sees the volume with this name, and whether it may write there.
    pub(super) fn mount(&self, volume: &str) -> (&str, bool) {
        let mounts = self.container()["volumeMounts"].as_sequence().unwrap();
        let mount = mounts.iter().find(|mount| mount["name"] == volume).unwrap();
        (mount["mountPath"].as_str().unwrap(), mount["readOnly"] != true)
    }

    /// The mode of the files of the Secret.
    pub(super) fn secret_mode(&self) -> u32 {
        let volumes = self.pod_spec()["volumes"].as_sequence().unwrap();
        octal(volumes[0]["secret"]["defaultMode"].as_str().unwrap()).unwrap()
    }
}

impl Pod<'_> {
    /// A field of the downward API. One of a label that the pod lacks is empty.
    fn field(&self, path: &str) -> String {
        let label = path.strip_prefix("metadata.labels['").and_then(|rest| rest.strip_suffix("']"));
        match (path, label) {
            ("metadata.name", _) => self.name.to_owned(),
            ("status.podIP", _) => self.ip.clone(),
            (_, Some(label)) => self.labels.get(label).cloned().unwrap_or_default(),
            _ => panic!("the downward API has no {path}"),
        }
    }
}

/// Replaces `$(NAME)` by the variables before it. Unknown ones stay.
fn expand(text: &str, environment: &[(String, String)]) -> String {
    environment
        .iter()
        .fold(text.to_owned(), |text, (name, value)| text.replace(&format!("$({name})"), value))
}

#[test]
fn kubernetes_knows_every_field() {
    let (manifests, fields) = (Manifests::read(), Fields::read());
    for object in &manifests.0 {
        let kind = object["kind"].as_str().unwrap();
        assert_eq!(fields.problems(object, kind, kind), [""; 0]);
    }
}

#[test]
fn kustomize_takes_them() {
    let mut kubectl = std::process::Command::new("kubectl");
    match kubectl.arg("kustomize").arg(deploy("")).output() {
        Ok(output) => {
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            let text = String::from_utf8(output.stdout).unwrap();
            let documents = serde_yaml_ng::Deserializer::from_str(&text);
            let objects: Vec<_> = documents.map(|d| Value::deserialize(d).unwrap()).collect();
            assert_eq!(objects.len(), Manifests::read().0.len());
            let namespaces = objects.iter().filter(|object| object["kind"] != "Namespace");
            assert!(namespaces.into_iter().all(|object| object["metadata"]["namespace"] == "phin"));
            assert!(text.contains("image: registry.example/phin:"), "{text}");
        }
        Err(error) => note_skipped(&format!("it needs kubectl: {error}")),
    }
}

/// The selectors, names and ports of the objects refer to each other.
#[test]
fn the_objects_belong_together() {
    let manifests = Manifests::read();
    let set = &manifests.of("StatefulSet")["spec"];
    let labels = &set["template"]["metadata"]["labels"];
    let service = manifests.of("Service");
    let selectors = [
        &set["selector"]["matchLabels"],
        &service["spec"]["selector"],
        &manifests.of("PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        &manifests.of("NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
    ];
    assert!(selectors.iter().all(|selector| *selector == labels), "{selectors:#?}");
    assert_eq!(set["serviceName"], service["metadata"]["name"]);
    let port = |port: &Value, number: &str| {
        format!(
            "{} {} {}",
            port["name"].as_str().unwrap(),
            port["protocol"].as_str().unwrap(),
            port[number].as_u64().unwrap()
        )
    };
    let list = |ports: &Value, number: &str| {
        ports.as_sequence().unwrap().iter().map(|p| port(p, number)).collect::<Vec<_>>()
    };
    let ports = list(&manifests.container()["ports"], "containerPort");
    assert_eq!(ports, ["gossip UDP 7646", "http TCP 7647"]);
    assert_eq!(list(&service["spec"]["ports"], "port"), ports);
    let claims = set["volumeClaimTemplates"].as_sequence().unwrap();
    assert_eq!((claims.len(), &claims[0]["metadata"]["name"]), (1, &"data".into()));
}

/// The standard "restricted" of Kubernetes for the security of pods, and what phin needs besides.
#[test]
fn the_pods_have_no_rights_and_time_to_leave() {
    let manifests = Manifests::read();
    let (spec, container) = (manifests.pod_spec(), manifests.container());
    let (pod, own) = (&spec["securityContext"], &container["securityContext"]);
    assert_eq!(
        (&pod["runAsNonRoot"], &pod["seccompProfile"]["type"]),
        (&true.into(), &"RuntimeDefault".into())
    );
    assert_eq!(
        (&own["allowPrivilegeEscalation"], &own["readOnlyRootFilesystem"]),
        (&false.into(), &true.into())
    );
    assert_eq!(own["capabilities"]["drop"], Value::from(vec!["ALL"]));
    // The user of the image, as which the play runs it.
    assert!(["runAsUser", "runAsGroup", "fsGroup"].iter().all(|id| pod[id] == 65_532));
    // The keys in the data directory stay as the node wrote them.
    assert_eq!(pod["fsGroupChangePolicy"], "OnRootMismatch");
    // Leaving takes up to 3 s and closing up to 4 s.
    assert!(spec["terminationGracePeriodSeconds"].as_u64().unwrap() >= 10);
    // The driver has 2 s to answer.
    for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
        assert!(container[probe]["timeoutSeconds"].as_u64().unwrap() > 2, "{probe}");
        let expected = if probe == "readinessProbe" { "/readyz" } else { "/livez" };
        assert_eq!(container[probe]["httpGet"]["path"], expected);
    }
    assert!(container["resources"]["limits"]["cpu"].is_null());
}

/// All that members send to each other is let through.
#[test]
fn the_network_policy_allows_gossip_and_questions_to_hosts() {
    let manifests = Manifests::read();
    let policy = &manifests.of("NetworkPolicy")["spec"];
    let pods = &policy["podSelector"];
    for (direction, peer) in [("ingress", "from"), ("egress", "to")] {
        let rules = policy[direction].as_sequence().unwrap();
        let among_pods = rules.iter().find(|rule| rule[peer][0]["podSelector"] == *pods).unwrap();
        let ports = among_pods["ports"].as_sequence().unwrap();
        for port in [7_646, 9] {
            let allows = |rule: &Value| rule["protocol"] == "UDP" && rule["port"] == port;
            assert!(ports.iter().any(allows), "{direction} {port}");
        }
    }
    let dns = policy["egress"]
        .as_sequence()
        .unwrap()
        .iter()
        .any(|rule| rule["to"].is_null() && rule["ports"][0]["port"] == 53);
    assert!(dns);
}

#[test]
fn variables_are_expanded_as_kubernetes_does() {
    let environment = [("A".to_owned(), "1".to_owned()), ("B".to_owned(), String::new())];
    assert_eq!(expand("x=$(A),y=$(B),$(C),$A", &environment), "x=1,y=,$(C),$A");
    let pod = Pod { name: "phin-0", ip: "fd00::1".into(), labels: BTreeMap::new() };
    let of = Manifests::read().environment(&pod);
    // On a cluster that does not label pods with their zone.
    assert!(of.contains(&("PHIN_TAGS".into(), "zone=".into())), "{of:?}");
    assert!(of.contains(&("PHIN_BIND".into(), "fd00::1".into())), "{of:?}");
}
