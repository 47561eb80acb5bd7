//! A `p2c` balancer over a discovery in memory: requests go where services answer.

use std::{
    collections::BTreeSet,
    future::{Ready, ready},
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};

use phin::testing::TestCluster;
use phin_tower::ClusterExt;
use tokio::time::timeout;
use tower::{Service, ServiceExt, balance::p2c::Balance, load::Constant};

/// A service that answers with its name, unless it is broken: then its connection fails.
struct Named {
    name: String,
    broken: Arc<Mutex<BTreeSet<String>>>,
}

impl Service<()> for Named {
    type Response = String;
    type Error = String;
    type Future = Ready<Result<String, String>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), String>> {
        let is_broken = self.broken.lock().unwrap().contains(&self.name);
        Poll::Ready(if is_broken { Err(format!("{} fails", self.name)) } else { Ok(()) })
    }

    fn call(&mut self, (): ()) -> Self::Future {
        ready(Ok(self.name.clone()))
    }
}

#[tokio::test(start_paused = true)]
async fn a_failed_service_is_out_and_returns_once_it_works() {
    let builder = TestCluster::builder().configure(|number, builder| match number {
        0 => builder,
        _ => builder.tag("role", "web"),
    });
    let cluster = builder.start(4).await;
    let broken = Arc::new(Mutex::new(BTreeSet::new()));
    let of_services = Arc::clone(&broken);
    let services = cluster.node(0).discover("role=web".parse().unwrap(), move |member| {
        let (name, broken) = (member.name().to_owned(), Arc::clone(&of_services));
        Some(Constant::new(Named { name, broken }, 1))
    });
    let mut balance = Balance::new(services);
    let mut answers = async |calls: usize| {
        let mut answers = BTreeSet::new();
        for _ in 0..calls {
            let service = timeout(Duration::from_secs(30), balance.ready()).await;
            answers.insert(service.expect("a service is ready").unwrap().call(()).await.unwrap());
        }
        answers.into_iter().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(answers(100).await, "node-1 node-2 node-3");
    // A cut that only this client notices: the members are alive for all.
    broken.lock().unwrap().insert("node-2".into());
    assert_eq!(answers(100).await, "node-1 node-3");
    broken.lock().unwrap().clear();
    // tidy: allow sleep: the longest delay after one failure
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(answers(100).await, "node-1 node-2 node-3");
    // All fail, and one after the other returns.
    let all = ["node-1", "node-2", "node-3"].map(str::to_owned);
    broken.lock().unwrap().extend(all);
    let works = Arc::clone(&broken);
    tokio::spawn(async move {
        // tidy: allow sleep: a failure lasts for a span of time
        tokio::time::sleep(Duration::from_secs(5)).await;
        works.lock().unwrap().clear();
    });
    assert_ne!(answers(1).await, "");
}
