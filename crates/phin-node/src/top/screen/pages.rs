//! Pages of text: the evidence about a member, and the help.

use phin::MemberId;

use super::wrapped;
use crate::top::model::Model;

/// The evidence for or against a member, as `phin why` shows it.
pub(super) fn why_lines(model: &Model, id: MemberId, width: usize) -> Vec<String> {
    let text = match model.why_of(id) {
        None => "asking the node …".to_owned(),
        Some(Err(error)) => error.to_owned(),
        Some(Ok(why)) => why.to_plain_text(),
    };
    text.lines().flat_map(|line| wrapped(line, width)).collect()
}

pub(super) fn help_lines(width: usize) -> Vec<String> {
    HELP.lines().flat_map(|line| wrapped(line, width)).collect()
}

const HELP: &str = "\
Keys
  up, down, page up, page down, home, end     select a member (also k, j, g, G)
  enter or w    why the member is dead, suspect or alive, as phin why shows it
  e, m, tab     the panel: events, or the selected member with its rings
  /             show only members with this part in their name
  f             show only members with these tags, such as role=web,zone!=b
  esc           remove both, or go back
  s, r          the next order; reverse it
  a             show or hide earlier runs of members
  ctrl-l        request the list, and draw the screen again
  ctrl-z        suspend; fg continues
  q, ctrl-c     quit

Columns
  PHI      evidence that the member is dead: -log10 of the probability that a live member would be as
           silent. The node declares it dead at the threshold, 8 by default, all observers together.
  RTT      the typical round trip to the member
  LOSS     the estimated share of pings that are lost, with their replies
  FOR      how long it is in this state
  SERVING  what the member says of itself: yes, draining, or NO with the reason in the notes

PHI, RTT and LOSS are those of the queried node, so they are there only for members that it observes.

The order by trouble
  suspect; dead for less than 10 minutes; degraded; not reached by some observers; phi of 1 or more;
  suppressed because it flaps; name not unique; not serving; loss of 5 % or more; draining; all others;
  dead for longer; left.";
