//! The programs of the operator that a node runs: on events, and to answer queries.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use futures::future::join_all;
use phin::Cluster;

use super::cluster_name;
use crate::{
    answers::{self, Answer, Answers},
    hooks::{self, Hook, Hooks},
    http::Addr,
    settings::{self, Settings},
};

/// The programs of a running node. Dropping it ends them.
pub(crate) struct Programs {
    cluster: Cluster,
    variables: Vec<(&'static str, String)>,
    hooks: Vec<Running<Hook, Hooks>>,
    answers: Vec<Running<Answer, Answers>>,
    counters: Arc<ProgramCounters>,
}

/// A program with its limit of time, as the settings have it, and its task.
struct Running<T, Task> {
    setting: T,
    limit: Duration,
    task: Task,
}

/// The counters of the programs that run now.
#[derive(Debug, Default)]
pub(crate) struct ProgramCounters {
    hooks: RwLock<Vec<Arc<hooks::Counters>>>,
    answers: RwLock<Vec<Arc<answers::Counters>>>,
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
        let mut programs = Self {
            cluster: cluster.clone(),
            variables,
            hooks: Vec::new(),
            answers: Vec::new(),
            counters: Arc::default(),
        };
        programs.start_new(&settings.hooks);
        programs
    }

    /// Runs these programs from now on. Those that are the same go on. The others are given a short time to end, as when the
    /// node stops.
    pub(super) async fn replace(&mut self, settings: &settings::Hooks) {
        let limit = settings.limit;
        let stays = |(number, running): &(usize, Running<Hook, Hooks>)| {
            let same = settings.hooks.get(*number);
            running.limit == limit && same.is_some_and(|hook| hook.is_same(&running.setting))
        };
        let hooks = std::mem::take(&mut self.hooks).into_iter().enumerate();
        // Their numbers are their places.
        let (kept, mut ended): (Vec<_>, Vec<_>) = hooks.partition(stays);
        let stays = |running: &Running<Answer, Answers>| {
            let is_same = |answer: &Answer| answer.is_same(&running.setting);
            running.limit == limit && settings.answers.iter().any(is_same)
        };
        let answers = std::mem::take(&mut self.answers).into_iter();
        let (kept_answers, mut ended_answers): (Vec<_>, Vec<_>) = answers.partition(stays);
        join_all(ended.iter_mut().map(|(_, hook)| hook.task.finish())).await;
        // A topic has one program at a time.
        join_all(ended_answers.iter_mut().map(|answer| answer.task.kill())).await;
        drop((ended, ended_answers));
        self.answers = kept_answers;
        let mut kept: Vec<_> =
            kept.into_iter().map(|(number, hook)| (number, Some(hook))).collect();
        for (number, hook) in settings.hooks.iter().enumerate() {
            let found = kept.iter_mut().find(|(kept, _)| *kept == number);
            let running = found.and_then(|(_, hook)| hook.take());
            let running = running.unwrap_or_else(|| self.start_hook(number, hook, limit));
            self.hooks.push(running);
        }
        self.start_answers(settings);
        self.show_counters();
    }

    fn start_new(&mut self, settings: &settings::Hooks) {
        for (number, hook) in settings.hooks.iter().enumerate() {
            let running = self.start_hook(number, hook, settings.limit);
            self.hooks.push(running);
        }
        self.start_answers(settings);
        self.show_counters();
    }

    fn start_hook(&self, number: usize, hook: &Hook, limit: Duration) -> Running<Hook, Hooks> {
        let program = hook.program.clone().with_variables(&self.variables);
        let started = Hook { trigger: hook.trigger.clone(), program };
        let task = Hooks::start(number + 1, [started], limit, &self.cluster);
        Running { setting: hook.clone(), limit, task }
    }

    /// Starts the programs of topics that have none.
    fn start_answers(&mut self, settings: &settings::Hooks) {
        let limit = settings.limit;
        for answer in &settings.answers {
            if self.answers.iter().any(|running| running.setting.topic == answer.topic) {
                continue;
            }
            let program = answer.program.clone().with_variables(&self.variables);
            let started = Answer { topic: answer.topic.clone(), program };
            let task = Answers::start([started], limit, &self.cluster);
            self.answers.push(Running { setting: answer.clone(), limit, task });
        }
    }

    fn show_counters(&self) {
        let hooks = self.hooks.iter().flat_map(|hook| hook.task.counters()).collect();
        *self.counters.hooks.write().unwrap_or_else(PoisonError::into_inner) = hooks;
        let answers = self.answers.iter().flat_map(|answer| answer.task.counters()).collect();
        *self.counters.answers.write().unwrap_or_else(PoisonError::into_inner) = answers;
    }

    pub(super) fn counters(&self) -> Arc<ProgramCounters> {
        Arc::clone(&self.counters)
    }

    /// Starts no further run on events. Gives those under way a short time, then kills them.
    pub(super) async fn finish_hooks(&mut self) {
        join_all(self.hooks.iter_mut().map(|hook| hook.task.finish())).await;
    }

    /// Kills all runs under way.
    pub(super) async fn kill(&mut self) {
        let hooks = join_all(self.hooks.iter_mut().map(|hook| hook.task.kill()));
        let answers = join_all(self.answers.iter_mut().map(|answer| answer.task.kill()));
        tokio::join!(hooks, answers);
    }
}

impl ProgramCounters {
    pub(crate) fn hooks(&self) -> Vec<Arc<hooks::Counters>> {
        self.hooks.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn answers(&self) -> Vec<Arc<answers::Counters>> {
        self.answers.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    #[cfg(test)]
    pub(crate) fn of(
        hooks: Vec<Arc<hooks::Counters>>,
        answers: Vec<Arc<answers::Counters>>,
    ) -> Arc<Self> {
        Arc::new(Self { hooks: RwLock::new(hooks), answers: RwLock::new(answers) })
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
