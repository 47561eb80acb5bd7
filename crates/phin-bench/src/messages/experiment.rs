//! Clusters whose members publish and ask.

use std::thread;

use rand::RngExt;

use crate::{
    Amid, Launcher, Machine, MessageOptions, MessageReport, MessageRow, Network, Queries, System,
    When,
    children::Child,
    cluster::Cluster,
    progress::say,
    protocol::{Asked, Command, Medium, Reply},
    spread::{SpreadBench, pause},
    systems,
};

/// Measures the messages of all systems at all sizes, one after the other, and reports the progress on standard error.
///
/// # Errors
/// One of the systems has no messages, or its traffic cannot be counted. Failures on the way are in the report.
pub fn measure_messages(
    systems: &[&'static dyn System],
    options: &MessageOptions,
    launcher: &Launcher,
    mut network: Network,
) -> Result<MessageReport, String> {
    let settings = systems::settings(systems, "messages", |system| system.message_settings())?;
    if let Some(port) = systems.iter().find_map(|system| system.control_port()) {
        network.exclude(port).map_err(|error| format!("cannot count packets: {error}"))?;
    }
    let mut machine = Machine::this(network.is_own());
    let spread =
        SpreadBench::new((launcher, network), &options.common, Medium::Messages, options.bytes);
    let mut bench = Bench { options, spread };
    let rows = systems::rows(systems, &options.sizes, |(system, size)| bench.row(system, size));
    machine.finish();
    let kill = options.kill.as_str().to_owned();
    let is_meanwhile = options.when == When::Meanwhile;
    let bytes = options.bytes;
    Ok(MessageReport { command: String::new(), bytes, kill, is_meanwhile, machine, settings, rows })
}

struct Bench<'a> {
    options: &'a MessageOptions,
    spread: SpreadBench<'a>,
}

impl Bench<'_> {
    fn row(&mut self, system: &str, members: usize) -> MessageRow {
        let mut row = MessageRow { system: system.to_owned(), members, ..MessageRow::default() };
        let measured = self.calm(&mut row).and_then(|()| self.amid_deaths(&mut row));
        if let Err(failure) = measured {
            say(system, members, &format!("failed: {failure}"));
            row.failure = Some(failure);
        }
        row
    }

    /// Measures messages and queries in a cluster in which nobody dies.
    fn calm(&mut self, row: &mut MessageRow) -> Result<(), String> {
        if self.options.messages + self.options.queries == 0 {
            return Ok(());
        }
        let (system, members) = (&*row.system.clone(), row.members);
        let mut cluster = self.spread.start(system, members, members)?;
        thread::sleep(self.options.common.settle);
        row.idle = Some(self.spread.idle(&cluster, members));
        say(system, members, "its cost without messages is known");
        let count = self.options.messages;
        let (single, faults) = self.spread.one_at_a_time(&mut cluster, (system, members), count)?;
        (row.single, row.faults) = (Some(single), faults);
        row.queries = Some(self.queries(&mut cluster, row)?);
        row.false_deaths += cluster.survivors.false_deaths()?;
        Ok(())
    }

    /// Has random members ask all at random moments.
    fn queries(&self, cluster: &mut Cluster, row: &MessageRow) -> Result<Queries, String> {
        let (mut queries, count) = (Queries::default(), self.options.queries);
        let before = self.spread.reading(cluster);
        for number in 1..=count {
            pause();
            self.ask(&mut cluster.survivors, self.spread.text(), row.members, &[])?;
            queries.add(&cluster.survivors.asked()?, row.members);
            say(&row.system, row.members, &format!("query {number} of {count}"));
        }
        queries.cost = self.spread.reading(cluster).since(&before, row.members);
        Ok(queries)
    }

    /// Has random members ask all, while some of these die.
    fn amid_deaths(&mut self, row: &mut MessageRow) -> Result<(), String> {
        if self.options.amid == 0 {
            return Ok(());
        }
        let (system, members) = (&*row.system.clone(), row.members);
        let deaths = usize::from(self.options.deaths);
        let rounds = (members / 8 / deaths).max(1);
        let survivors = members.checked_sub(rounds * deaths).filter(|&count| count > 0);
        let survivors = survivors.ok_or("more would die than there are")?;
        let mut cluster = self.spread.start(system, survivors, members)?;
        let mut amid = Amid::default();
        for number in 1..=self.options.amid {
            if cluster.victims() < deaths {
                cluster.add_victims(&mut self.spread.lab, rounds * deaths)?;
                self.spread.complete(&mut cluster, members)?;
                cluster.follow_with_victims(rounds * deaths)?;
                thread::sleep(self.options.common.settle);
            }
            pause();
            row.false_deaths += self.query_amid_deaths(&mut cluster, survivors, &mut amid)?;
            say(system, members, &format!("query amid deaths {number} of {}", self.options.amid));
        }
        row.amid = Some(amid);
        row.false_deaths += cluster.survivors.false_deaths()?;
        Ok(())
    }

    /// Has a random survivor ask. Returns how often the members that died had declared living ones dead.
    fn query_amid_deaths(
        &self,
        cluster: &mut Cluster,
        survivors: usize,
        amid: &mut Amid,
    ) -> Result<u64, String> {
        let members = survivors + cluster.victims();
        let dead = cluster.doom(self.options.deaths.into())?;
        let (mut last, mut false_deaths) = (0, 0);
        let mut kill = |cluster: &mut Cluster| -> Result<(), String> {
            let killed = cluster.kill(&self.spread.lab, self.options.kill)?;
            (last, false_deaths) = (killed.at, false_deaths + killed.false_deaths);
            Ok(())
        };
        match self.options.when {
            When::Before => {
                dead.iter().try_for_each(|_| kill(cluster))?;
                self.ask(&mut cluster.survivors, self.spread.text(), survivors, &dead)?;
            }
            When::Meanwhile => {
                self.ask(&mut cluster.survivors, dead.join(" "), survivors, &dead)?;
                for _ in &dead {
                    pause();
                    kill(cluster)?;
                }
            }
        }
        amid.add(&cluster.survivors.asked()?, members, &dead, last);
        for name in &dead {
            cluster.known(name, last, self.options.common.patience)?;
        }
        Ok(false_deaths)
    }

    /// Has a random node of these ask all.
    fn ask(
        &self,
        child: &mut Child,
        text: String,
        nodes: usize,
        doomed: &[String],
    ) -> Result<(), String> {
        let (node, within) = (rand::rng().random_range(0..nodes), self.options.common.patience);
        child.tell(&Command::Query { node, text, doomed: doomed.to_vec(), within })
    }
}

impl Child {
    /// Waits until its query has ended.
    fn asked(&mut self) -> Result<Asked, String> {
        match self.reply()? {
            Reply::Asked(asked) => Ok(asked),
            reply => Err(format!("unexpected: {reply:?}")),
        }
    }
}
