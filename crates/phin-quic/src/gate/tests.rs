use std::net::IpAddr;

use super::*;

fn gate() -> Arc<Gate> {
    Gate::new(Arc::default())
}

fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// A long header with these IDs, and what follows.
fn long(first: u8, version: u32, ids: [&[u8]; 2], rest: &[u8]) -> Vec<u8> {
    let mut packet = vec![first];
    packet.extend(version.to_be_bytes());
    for id in ids {
        packet.push(u8::try_from(id.len()).unwrap());
        packet.extend(id);
    }
    packet.extend(rest);
    packet
}

fn initial() -> Vec<u8> {
    long(0xc0, VERSION, [b"12345678", b"me"], &[0; 100])
}

fn answer_to_retry(id: &[u8]) -> Vec<u8> {
    long(0xc0, VERSION, [id, b"me"], &[40; 100])
}

/// How many of so many copies are admitted.
fn admitted(gate: &Gate, from: &str, packet: &[u8], copies: usize) -> usize {
    let from = addr(from);
    (0..copies).filter(|_| gate.admits(from, packet, Duration::ZERO)).count()
}

#[test]
fn packets_that_cost_nothing_pass_in_any_number() {
    let packets = [
        vec![],
        vec![0x40; 50],                                             // short header
        vec![0xc0, 0, 0],                                           // cut off
        long(0xc0, VERSION, [b"12345678", b""], &[])[..9].to_vec(), // cut off in an ID
        long(0xe0, VERSION, [b"12345", b"me"], &[0; 50]),           // Handshake
        long(0xf0, VERSION, [b"12345", b"me"], &[0; 50]),           // Retry
        long(0xc0, 0, [b"12345", b"me"], &[0; 50]),                 // version negotiation
    ];
    let gate = gate();
    for packet in packets {
        assert_eq!(admitted(&gate, "192.0.2.1:7", &packet, 10_000), 10_000, "{packet:?}");
    }
}

#[test]
fn initials_and_unknown_versions_have_one_budget() {
    let gate = gate();
    let unknown = long(0xc0, 0x0a0a_0a0a, [b"12345678", b"me"], &[0; 50]);
    let burst = 32;
    assert_eq!(admitted(&gate, "192.0.2.1:7", &initial(), 20), 20);
    assert_eq!(admitted(&gate, "192.0.2.1:7", &unknown, 10_000), burst - 20);
    assert_eq!(admitted(&gate, "192.0.2.1:7", &initial(), 10_000), 0);
    assert_eq!(admitted(&gate, "192.0.2.2:7", &initial(), 10_000), burst, "others are served");
    let dropped = gate.counters.snapshot().first_packets_dropped_unproven;
    assert_eq!(dropped, 3 * 10_000 - 2 * 32 + 20);
}

#[test]
fn forged_addresses_leave_the_budgets_of_proven_and_known_ones_alone() {
    let gate = gate();
    for n in 0..20_000_u32 {
        let from = SocketAddr::new(IpAddr::V4((0x0a00_0000 + n).into()), 7);
        gate.admits(from, &initial(), Duration::ZERO);
    }
    assert_eq!(admitted(&gate, "192.0.2.1:7", &initial(), 100), 0, "the total is spent");
    gate.know(addr("192.0.2.1:7"));
    assert_eq!(admitted(&gate, "192.0.2.1:7", &initial(), 100), 32);
    assert_eq!(gate.counters.snapshot().first_packets_dropped_known, 68);

    let (to, retry) = ("192.0.2.2:7", long(0xf0, VERSION, [b"me", b"retry"], b"token"));
    let destination = addr(to);
    gate.sent(&Transmit {
        destination,
        ecn: None,
        contents: &retry,
        segment_size: None,
        src_ip: None,
    });
    assert_eq!(admitted(&gate, to, &answer_to_retry(b"other"), 100), 0, "it answers no Retry");
    assert_eq!(
        admitted(&gate, "192.0.2.3:7", &answer_to_retry(b"retry"), 100),
        0,
        "sent to another"
    );
    assert_eq!(admitted(&gate, to, &answer_to_retry(b"retry"), 100), 32);
    assert_eq!(gate.counters.snapshot().first_packets_dropped_proven, 68);
}

#[test]
fn of_a_received_buffer_what_is_admitted_remains() {
    let gate = gate();
    admitted(&gate, "192.0.2.1:7", &initial(), 32);
    let short = vec![0x41; initial().len()];
    let last = vec![0x42; 30];
    let mut buf = [initial(), short.clone(), initial(), last.clone(), vec![9; 50]].concat();
    let mut meta = RecvMeta::default();
    (meta.addr, meta.stride) = (addr("[::ffff:192.0.2.1]:7"), short.len());
    meta.len = 3 * meta.stride + last.len();
    gate.filter(&mut buf, &mut meta, Duration::ZERO);
    assert_eq!(buf[..meta.len], [short, last].concat());
}

#[test]
fn completed_handshakes_cost_nothing_and_failed_ones_a_budget_of_their_own() {
    let (gate, one) = (gate(), addr("192.0.2.1:7"));
    let begun = |source| (0..100).filter(|_| gate.begin_handshake(source, one)).count();
    assert!((32..40).contains(&begun(Source::Unproven)));
    assert!((32..40).contains(&begun(Source::Proven)));
    assert_eq!(begun(Source::Known), 100);
    let other = addr("192.0.2.2:7");
    for _ in 0..1000 {
        assert!(gate.begin_handshake(Source::Proven, other));
        gate.complete_handshake(Source::Proven, other);
    }
    assert_eq!(gate.source(other, true), Source::Proven, "it may be a watcher's");
    gate.know(other);
    assert_eq!(gate.source(other, false), Source::Known);
    assert_eq!(gate.source(one, true), Source::Proven);
    assert_eq!(gate.source(one, false), Source::Unproven);
}
