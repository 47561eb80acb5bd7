//! The programs of the operator that a node runs: on events, and to answer queries.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

use phin::Cluster;

use super::cluster_name;
use crate::{
    answers::{self, Answer, Answers},
    hooks::{self, Hook, Hooks},
    http::Addr,
    settings::Settings,
};

/// The programs of a running node. Dropping it ends them.
pub(super) struct Programs {
    hooks: Hooks,
    answers: Answers,
}

impl Programs {
    /// Starts to run them. They receive the names of the node and its cluster, its HTTP address and the file of its token.
    pub(super) fn start(settings: &Settings, cluster: &Cluster, http: Option<&Addr>) -> Self {
        let mut variables = vec![
            ("PHIN_NODE", cluster.name().to_owned()),
            ("PHIN_NODE_ID", cluster.id().to_string()),
            ("PHIN_CLUSTER", cluster_name(settings).to_owned()),
        ];
        // Where the commands of these programs find the node.
        match http {
            Some(Addr::Tcp(addr)) => {
                variables.push(("PHIN_HTTP", format!("http://{}", from_this_machine(*addr))));
            }
            Some(socket @ Addr::Unix(_)) => variables.push(("PHIN_HTTP", socket.to_string())),
            None => {}
        }
        let token_file = settings.http.as_ref().and_then(|http| http.token_file.as_ref());
        if let Some(path) = token_file.and_then(|path| path.to_str()) {
            variables.push(("PHIN_HTTP_TOKEN_FILE", path.to_owned()));
        }
        let limit = settings.hooks.limit;
        let answers = settings.hooks.answers.iter().map(|answer| Answer {
            topic: answer.topic.clone(),
            program: answer.program.clone().with_variables(&variables),
        });
        let answers = Answers::start(answers, limit, cluster);
        let hooks = settings.hooks.hooks.iter().map(|hook| Hook {
            trigger: hook.trigger.clone(),
            program: hook.program.clone().with_variables(&variables),
        });
        Self { hooks: Hooks::start(hooks, limit, cluster), answers }
    }

    /// The counters of the programs on events.
    pub(super) fn hook_counters(&self) -> Vec<Arc<hooks::Counters>> {
        self.hooks.counters()
    }

    /// The counters of the programs that answer queries.
    pub(super) fn answer_counters(&self) -> Vec<Arc<answers::Counters>> {
        self.answers.counters()
    }

    /// Starts no further run on events. Gives those under way a short time, then kills them.
    pub(super) async fn finish_hooks(&mut self) {
        self.hooks.finish().await;
    }

    /// Kills all runs under way.
    pub(super) async fn kill(&mut self) {
        tokio::join!(self.hooks.kill(), self.answers.kill());
    }
}

/// The address at which this machine reaches a listener.
fn from_this_machine(addr: SocketAddr) -> SocketAddr {
    let ip = match addr.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, addr.port())
}
