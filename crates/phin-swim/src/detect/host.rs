//! Answers of a member's host, or its network: its port is refused, the host is there, a connection ended.

use crate::{
    Ctx, Disconnection, HostAnswer, MemberId, MembershipList, Step, Unreachable,
    detect::{case::Cases, reports::Silence, rules::Detect},
};

/// No connection to a member could be made.
pub(crate) fn handle_unreachable(ctx: &mut Ctx, id: MemberId, reason: Unreachable) {
    match reason {
        Unreachable::Refused => ctx.then(Step::PortFree(id)),
        Unreachable::OtherIdentity => {
            ctx.then(Step::HostSays { id, silence: Silence::Gone });
            ctx.then(Step::Gone(id));
        }
        Unreachable::NoAnswer | Unreachable::NotAdmitted => {}
    }
}

/// No process has the port of this member: all silent members that were at its address are gone. Hosts limit such
/// answers (Linux to one in a second), while a process that crashes in a loop leaves many identities.
pub(crate) fn record_port_free(ctx: &mut Ctx, list: &MembershipList, cases: &Cases, id: MemberId) {
    let addr = list.peer(id).map(|peer| peer.addr);
    for other in cases.subjects() {
        if other == id || list.peer(other).map(|peer| peer.addr) == addr {
            ctx.then(Step::HostSays { id: other, silence: Silence::Gone });
        }
    }
}

/// The kind of silence that a host's answer shows, given whether the host ever answered before.
const fn silence_by(answer: HostAnswer, is_port_taken: bool, has_answered: bool) -> Silence {
    match answer {
        HostAnswer::PortRefused => Silence::Gone,
        HostAnswer::Answers if is_port_taken => Silence::Gone,
        HostAnswer::Answers => Silence::Hung,
        HostAnswer::Nothing if has_answered => Silence::Silent,
        HostAnswer::Nothing | HostAnswer::Unknown => Silence::Unknown,
    }
}

impl Detect<'_> {
    /// The host of a member answered.
    pub(crate) fn handle_host_answer(&mut self, id: MemberId, answer: HostAnswer) {
        let is_refused = answer == HostAnswer::PortRefused;
        // Finding that takes a look at the whole list, and only a silent member is judged by it.
        let is_port_taken = answer == HostAnswer::Answers
            && self.own.cases.is_open(id)
            && self.list.is_address_taken(id);
        let Some(link) = self.senses.links.get_mut(id) else {
            if is_refused {
                self.ctx.then(Step::PortFree(id));
            }
            return;
        };
        let silence = silence_by(answer, is_port_taken, link.host_answers);
        if matches!(answer, HostAnswer::PortRefused | HostAnswer::Answers) {
            link.host_answers = true;
            self.senses.health.record_answer(self.ctx.now);
        }
        if is_refused {
            self.handle_refusal(id);
        }
        self.ctx.then(Step::HostSays { id, silence });
    }

    fn handle_refusal(&mut self, id: MemberId) {
        self.senses.health.record_refusal(self.ctx.now);
        // A refused packet may come before any reply is overdue: the member is looked at, at once.
        if self.ctx.params.ask_hosts {
            self.open_case(id);
        }
        self.ctx.then(Step::PortFree(id));
    }

    /// The connection to a member ended.
    pub(crate) fn handle_disconnected(&mut self, id: MemberId, reason: Disconnection) {
        self.senses.links.disconnect(id);
        match reason {
            Disconnection::Reset | Disconnection::Closed => {
                // Its process ended, or is another one now; if it is there, it answers.
                self.verify(id);
                self.ctx.then(Step::HostSays { id, silence: Silence::Gone });
            }
            Disconnection::Idle | Disconnection::Lost => {}
        }
    }

    /// The answer of the subject's host, or its network.
    pub(crate) fn record_silence(&mut self, subject: MemberId, silence: Silence) {
        let is_waiting = self.view().waiting_since(subject).is_some();
        let Some(case) = self.own.cases.get_mut(subject) else {
            return;
        };
        if !case.record_host(silence) {
            return;
        }
        // A ping that is under way need not be sent again.
        if !case.misses.is_empty() || !is_waiting {
            self.escalate(subject, None);
        }
    }
}

#[cfg(test)]
mod tests;
