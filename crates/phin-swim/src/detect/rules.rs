//! [`Detect`]: the rules of detection, with what they work on. Each rule is in the file that its name promises.

use crate::{
    Ctx, MemberId, MembershipList,
    detect::{case::Case, detector::Detector, view::View},
    senses::Senses,
};

/// The rules of detection, with what they work on.
pub(crate) struct Detect<'a> {
    pub(crate) ctx: &'a mut Ctx,
    pub(crate) list: &'a MembershipList,
    pub(crate) senses: &'a mut Senses,
    pub(crate) own: &'a mut Detector,
}

impl Detect<'_> {
    pub(crate) fn view(&self) -> View<'_> {
        View::new(self.ctx.now, self.ctx, self.list, self.senses, self.own)
    }

    /// The case of a live member, opened if there is room.
    pub(crate) fn open_case(&mut self, subject: MemberId) -> Option<&mut Case> {
        let now = self.ctx.now;
        let known = self.list.live(subject)?;
        let Some(case) = self.own.cases.open(now, subject, known.version()) else {
            self.ctx.stats.cases_refused += 1;
            return None;
        };
        if case.is_dormant() {
            case.reopen(now, self.ctx.params.pause_tolerance / 4);
        }
        Some(case)
    }
}
