//! A DNS server that answers for a headless service as that of Kubernetes does: late, and from a cache.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, UdpSocket},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use crate::namespace::Namespace;

/// The server, and the addresses that it knows.
pub(super) struct Dns {
    zone: Arc<Mutex<Zone>>,
}

#[derive(Default)]
struct Zone {
    /// The domain of the service.
    domain: String,
    /// The address of each pod.
    pods: BTreeMap<String, Ipv4Addr>,
    /// The answers given lately, the denials among them.
    cache: BTreeMap<(String, u16), Cached>,
    queries: usize,
}

/// The records of a name, or `None` if there is no such name, and how long that is repeated.
struct Cached {
    records: Option<Vec<Data>>,
    until: Instant,
}

/// The data of a record.
#[derive(Clone)]
enum Data {
    Addr(Ipv4Addr),
    /// A service at this name.
    Service(String),
}

impl Dns {
    /// Serves the domain of a service at port 53 of an address of this host, until the process of the tests ends.
    pub(super) fn start(host: &Namespace, ip: IpAddr, domain: &str) -> Self {
        let socket = host.run(|| UdpSocket::bind((ip, 53))).unwrap();
        let zone = Zone { domain: domain.to_owned(), ..Zone::default() };
        let zone = Arc::new(Mutex::new(zone));
        let server = Self { zone: Arc::clone(&zone) };
        thread::spawn(move || {
            let mut query = [0; 512];
            while let Ok((length, from)) = socket.recv_from(&mut query) {
                let mut zone = zone.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(answer) = zone.answer(&query[..length]) {
                    // A resolver that got no answer asks again.
                    let _ = socket.send_to(&answer, from);
                }
            }
        });
        server
    }

    /// Publishes the address of a pod, or removes it.
    pub(super) fn set(&self, pod: &str, ip: Option<IpAddr>) {
        let mut zone = self.zone.lock().unwrap_or_else(PoisonError::into_inner);
        match ip {
            Some(IpAddr::V4(ip)) => zone.pods.insert(pod.to_owned(), ip),
            Some(IpAddr::V6(_)) => panic!("it answers with IPv4 alone"),
            None => zone.pods.remove(pod),
        };
    }

    /// The number of questions so far.
    pub(super) fn queries(&self) -> usize {
        self.zone.lock().unwrap_or_else(PoisonError::into_inner).queries
    }
}

impl Zone {
    /// Answers a question; none for what is no question.
    fn answer(&mut self, query: &[u8]) -> Option<Vec<u8>> {
        self.queries += 1;
        let (name, end) = name(query)?;
        let kind = u16::from_be_bytes([*query.get(end)?, *query.get(end + 1)?]);
        let now = Instant::now();
        let key = (name.to_ascii_lowercase(), kind);
        self.cache.retain(|_, cached| cached.until > now);
        let data = match self.cache.get(&key) {
            Some(cached) => cached.records.clone(),
            None => {
                let records = self.look_up(&key.0, kind);
                self.cache.insert(key, Cached { records: records.clone(), until: now + TTL });
                records
            }
        };
        // An answer with authority, to one question; "no such name" is code 3.
        let code = if data.is_some() { 0 } else { 3 };
        let data = data.unwrap_or_default();
        let mut answer = query[..2].to_vec();
        answer.extend([0x84 | (query[2] & 1), code, 0, 1]);
        answer.extend(u16::try_from(data.len()).ok()?.to_be_bytes());
        answer.extend([0; 4]);
        answer.extend(&query[12..end + 4]);
        for data in &data {
            // The name is that of the question.
            answer.extend([0xc0, 12]);
            answer.extend(kind.to_be_bytes());
            answer.extend([0, 1]);
            answer.extend(u32::try_from(TTL.as_secs()).ok()?.to_be_bytes());
            let data = data.encode();
            answer.extend(u16::try_from(data.len()).ok()?.to_be_bytes());
            answer.extend(data);
        }
        Some(answer)
    }

    /// The records of a name, or `None` if there is no such name.
    fn look_up(&self, name: &str, kind: u16) -> Option<Vec<Data>> {
        let name = name.trim_end_matches('.');
        let first = name.strip_suffix(&self.domain)?.trim_end_matches('.');
        let (found, of_kind) = match first {
            "" => (self.pods.values().copied().map(Data::Addr).collect(), A),
            "_gossip._udp" => {
                let names = self.pods.keys().map(|pod| format!("{pod}.{}", self.domain));
                (names.map(Data::Service).collect(), SRV)
            }
            pod => (self.pods.get(pod).copied().map(Data::Addr).into_iter().collect(), A),
        };
        let found: Vec<_> = found;
        let exists = !found.is_empty();
        // A name without records of this kind exists all the same.
        exists.then(|| if kind == of_kind { found } else { Vec::new() })
    }
}

impl Data {
    fn encode(&self) -> Vec<u8> {
        match self {
            Self::Addr(ip) => ip.octets().to_vec(),
            Self::Service(target) => {
                let [high, low] = 7_646_u16.to_be_bytes();
                let mut data = vec![0, 0, 0, 100, high, low];
                for label in target.split('.') {
                    data.push(u8::try_from(label.len()).unwrap_or(63));
                    data.extend(label.as_bytes());
                }
                data.push(0);
                data
            }
        }
    }
}

/// The name of a question, and where it ends.
fn name(query: &[u8]) -> Option<(String, usize)> {
    let mut at = 12;
    let mut labels = Vec::new();
    loop {
        let length = usize::from(*query.get(at)?);
        at += 1;
        if length == 0 {
            return Some((labels.join("."), at));
        }
        labels.push(String::from_utf8_lossy(query.get(at..at + length)?).into_owned());
        at += length;
    }
}

/// How long an answer is repeated, as CoreDNS does for services of Kubernetes: a name that was denied, and an address that has
/// gone, for as long.
const TTL: Duration = Duration::from_secs(5);
const A: u16 = 1;
const SRV: u16 = 33;

#[test]
fn a_service_is_answered_as_by_kubernetes() {
    let zone = Zone { domain: "phin.phin.svc.cluster.local".into(), ..Zone::default() };
    let mut zone = Zone { pods: BTreeMap::from([("phin-0".into(), [10, 0, 0, 1].into())]), ..zone };
    let mut ask = |name: &str, kind: u16| {
        let mut query = vec![7, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        for label in name.split('.') {
            query.push(u8::try_from(label.len()).unwrap());
            query.extend(label.as_bytes());
        }
        query.extend([0, 0, u8::try_from(kind).unwrap(), 0, 1]);
        let answer = zone.answer(&query).unwrap();
        // The code and the number of answers.
        (answer[3], answer[7], answer)
    };
    let (code, answers, answer) = ask("phin.phin.svc.cluster.local", A);
    assert_eq!((code, answers), (0, 1));
    assert!(answer.ends_with(&[0, 4, 10, 0, 0, 1]), "{answer:?}");
    assert_eq!(ask("phin-0.phin.phin.svc.cluster.local", A).1, 1);
    let (code, answers, answer) = ask("_gossip._udp.phin.phin.svc.cluster.local", SRV);
    assert_eq!((code, answers), (0, 1));
    assert!(answer.windows(6).any(|name| name == b"phin-0"), "{answer:?}");
    // There are no IPv6 addresses, but the name exists; the others do not.
    assert_eq!(ask("phin.phin.svc.cluster.local", 28).0, 0);
    assert_eq!(ask("phin-1.phin.phin.svc.cluster.local", A).0, 3);
    assert_eq!(ask("phin.svc.cluster.local", A).0, 3);
}
