use std::sync::Arc;

use super::*;
use crate::{
    MemberState, News, Source, Timer,
    member::record::tests::{CaKeys, assign, ca_keys, id, id_of, record, statement, version},
    testing::{Rooms, at, ms},
};

fn reconfigure(rooms: &mut Rooms, config: Config) -> Result<(), ConfigError> {
    Operating { core: rooms }.reconfigure(config)
}

#[test]
fn settings_that_cannot_change_or_are_out_of_bounds_change_nothing() {
    let mut rooms = Rooms::of(3);
    let present = Config::lan();
    let (mut period, mut reuse, mut members) = (present.clone(), present.clone(), present.clone());
    period.period = present.period / 2;
    period.max_members = 3;
    reuse.flap_reuse = reuse.flap_suppress;
    reuse.max_members = 3;
    for (config, setting) in [(period, "config"), (reuse, "flap_reuse")] {
        assert_eq!(reconfigure(&mut rooms, config).unwrap_err().setting, setting);
        assert_eq!(*rooms.ctx.params, present);
    }
    members.max_members = 3;
    reconfigure(&mut rooms, members).unwrap();
    assert_eq!(rooms.ctx.params.max_members, 3);
    let newcomer = crate::Entry { state: MemberState::Alive, record: record(9, version(0, 0)) };
    rooms.records().handle_entry(Source::Ourselves, newcomer);
    assert_eq!(rooms.ctx.stats.members_refused, 1);
}

#[test]
fn a_shorter_retention_counts_for_members_that_are_gone_already() {
    let mut rooms = Rooms::of(4);
    rooms.put(1, MemberState::Dead, 0);
    rooms.at(20_000);
    reconfigure(&mut rooms, Config { retention: ms(10_000), ..Config::lan() }).unwrap();
    let timers = &mut rooms.ctx.timers;
    let due = std::iter::from_fn(|| {
        let next = timers.next()?;
        Some((next, timers.pop_due(next)?))
    });
    let (due, _) = due.into_iter().find(|(_, timer)| *timer == Timer::Sweep).unwrap();
    assert!(due <= at(25_000), "{due:?}");
    rooms.now(due);
    rooms.forgotten.sweep(&mut rooms.ctx, &rooms.list);
    rooms.run();
    assert!(rooms.list.get(id(1)).is_none());
}

#[test]
fn a_suppression_ends_when_the_penalty_has_decayed_by_the_new_settings() {
    let config = Config { flap_suppress: 2.0, flap_reuse: 1.0, ..Config::lan() };
    let mut rooms = Rooms::with(4, config.clone());
    for incarnation in 1..4 {
        rooms.apply(News::State(id(1), MemberState::Dead), Source::Ourselves);
        let record = record(1, version(0, incarnation));
        rooms.apply(News::Record { record, state: MemberState::Alive }, Source::Ourselves);
    }
    let until = |rooms: &Rooms| rooms.list.snapshot().suppression(id(1)).unwrap().until;
    assert!(until(&rooms) > rooms.ctx.now + config.flap_half_life);
    let half_life = ms(2_000);
    reconfigure(&mut rooms, Config { flap_half_life: half_life, ..config.clone() }).unwrap();
    let soon = until(&rooms);
    assert!(soon > rooms.ctx.now + half_life && soon <= rooms.ctx.now + half_life * 2, "{soon:?}");
    let off = Config { flap_suppress: f64::INFINITY, flap_half_life: half_life, ..config };
    reconfigure(&mut rooms, off).unwrap();
    assert!(until(&rooms) > rooms.ctx.now, "reuse is as it was");
}

#[test]
fn a_renewed_statement_of_the_ca_is_announced_once_in_a_later_version() {
    let params: crate::Params = Config::lan().try_into().unwrap();
    let keys = |assigned_at_ms| Arc::new(ca_keys(0, 77, assigned_at_ms));
    let said = statement(0, version(3, 0));
    let mut rooms = Core::new(at(0), said, params, keys(5), 1);
    assert_eq!(rooms.list.me().id(), id_of(77));
    let mut renew = |keys: Arc<CaKeys>| {
        rooms.ctx.keys = keys;
        Operating { core: &mut rooms }.renew_id();
        let me = rooms.list.me();
        assert_eq!(me.id(), id_of(77));
        (me.version(), me.record.assigned_id().unwrap().assigned_at_ms)
    };
    assert_eq!(renew(keys(5)), (version(3, 0), 5));
    assert_eq!(renew(keys(6)), (version(3, 1), 6));
    // An id that is not that of the node is not announced, nor that it has none any more.
    let other = Some(assign(1_000, 0, 78, 9));
    for assigned in [other, None] {
        let keys = CaKeys { assigned, ..ca_keys(0, 77, 6) };
        assert_eq!(renew(Arc::new(keys)), (version(3, 1), 6));
    }
}
