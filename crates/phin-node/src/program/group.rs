//! The process group of a program.

use std::thread;

use rustix::process::{Pid, Signal, WaitOptions, kill_process_group, waitpgid};
use tokio::process::Child;

/// The process group of a program, which is killed on drop.
pub(crate) struct Group {
    /// `None` once nothing is left to kill.
    id: Option<Pid>,
}

impl Group {
    /// The group of a child process that leads one.
    pub(crate) fn of(child: &Child) -> Self {
        let id = child.id().and_then(|id| i32::try_from(id).ok());
        Self { id: id.and_then(Pid::from_raw) }
    }

    /// Kills all processes of the group.
    pub(crate) fn kill(&mut self) {
        self.id = self.id.filter(|id| kill_process_group(*id, Signal::KILL).is_ok());
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
        let Some(id) = self.id else {
            return;
        };
        // As process 1 of a container, this process inherits orphans and must reap them. Without a thread, they remain.
        let reap = move || while waitpgid(id, WaitOptions::empty()).is_ok() {};
        let _ = thread::Builder::new().name("reap".into()).spawn(reap);
    }
}
