use super::*;

fn member() -> MemberId {
    MemberId([1; 16])
}

#[test]
fn thresholds_are_positive_numbers_and_only_so_many() {
    let mut watches = PhiWatches::default();
    for threshold in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let refused = watches.add(member(), threshold).unwrap_err();
        assert!(matches!(refused, SubscribePhiError::Threshold { .. }), "{threshold}");
    }
    let mut held: Vec<_> =
        (0..MAX_PHI_SUBSCRIPTIONS).map(|_| watches.add(member(), 1.0).unwrap()).collect();
    assert!(matches!(watches.add(member(), 1.0), Err(SubscribePhiError::TooMany { limit: 256 })));
    held.pop();
    assert!(watches.add(member(), 1.0).is_ok(), "one that was dropped makes room");
}

#[tokio::test]
async fn a_subscriber_that_does_not_read_keeps_the_newest_and_is_told_what_it_missed() {
    let mut watches = PhiWatches::default();
    let mut subscription = watches.add(member(), 1.0).unwrap();
    let at = SystemTime::UNIX_EPOCH;
    for told in 0..20_u32 {
        let is_above = told % 2 == 0;
        let crossing = PhiCrossing { at, phi: told.into(), is_above, missed: 0 };
        watches.watches[0].crossings.send(crossing).unwrap();
    }
    let first = subscription.next().await.unwrap();
    assert_eq!((first.phi, first.missed), (4.0, 4));
    assert_eq!(subscription.next().await.unwrap().missed, 0);
    assert_eq!(watches.crossings_missed(), 4);
    drop(watches);
    let mut rest = 0;
    while subscription.next().await.is_some() {
        rest += 1;
    }
    assert_eq!(rest, 14, "what was told before the end is read after it");
}
