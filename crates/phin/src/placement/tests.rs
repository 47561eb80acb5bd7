use std::{collections::BTreeMap, net::Ipv4Addr, path::Path};

use phin_swim::{
    Config, Generation, Instant, Keys, Local, MemberId, Name, PublicKey, Signature, Swim, Template,
};

use twox_hash::XxHash64;

use super::*;

/// Keys of a member with this id.
struct Stand(MemberId);

impl Keys for Stand {
    fn public_key(&self) -> PublicKey {
        let mut key = [0; 32];
        key[..16].copy_from_slice(&self.0.0);
        PublicKey(key)
    }

    fn member_id(&self, key: &PublicKey) -> MemberId {
        MemberId(*key.0.first_chunk().unwrap())
    }

    fn sign(&self, _message: &[u8]) -> Signature {
        Signature([0; 64])
    }

    fn verify(&self, _key: &PublicKey, _message: &[u8], _signature: &Signature) -> bool {
        true
    }
}

/// An id as random as that of a real member.
fn id(number: u64) -> MemberId {
    let halves = [1, 2].map(|half| XxHash64::oneshot(half, &number.to_be_bytes()).to_be_bytes());
    MemberId(halves.concat().try_into().unwrap())
}

/// Members with these tags, such as `zone=a,weight=50`.
fn members<T: AsRef<str>>(all: impl IntoIterator<Item = (MemberId, T)>) -> Members {
    let all: Vec<_> =
        all.into_iter().map(|(id, tags)| (local(id, tags.as_ref()), Stand(id))).collect();
    let (me, keys) = (all[0].0.clone(), Arc::new(Stand(all[0].1.0)));
    let template = Template::new(&Config::lan(), all).unwrap();
    let mut swim = Swim::new(Instant::START, me, Config::lan(), keys, 0).unwrap();
    template.give_to(&mut swim);
    swim.members()
}

fn local(id: MemberId, tags: &str) -> Local {
    let name = Name::try_from(&*id.to_string()).unwrap();
    let addr = (Ipv4Addr::LOCALHOST, 7_646).into();
    let mut local = Local::new(name, vec![addr], Generation(1));
    for (key, value) in tags.split(',').filter_map(|tag| tag.split_once('=')) {
        local.profile.tags.set(key, value).unwrap();
    }
    local
}

fn placement<T: AsRef<str>>(all: impl IntoIterator<Item = (MemberId, T)>) -> Placement {
    Placement::of(&members(all), &Filter::default())
}

fn equal(numbers: impl IntoIterator<Item = u64>) -> Placement {
    placement(numbers.into_iter().map(|number| (id(number), "")))
}

fn keys() -> impl Iterator<Item = String> {
    (0..KEYS).map(|key| format!("key-{key}"))
}

fn owner(placement: &Placement, key: &str) -> MemberId {
    placement.choose(key).unwrap().id()
}

/// Checks that so many of all keys are as likely as not, if each is one of them with this probability. The limit of six standard
/// deviations is exceeded once in 500 million runs, and each run is the same.
fn assert_share(found: usize, probability: f64, what: &str) {
    let expected = f64::from(KEYS) * probability;
    let deviation = (expected * (1.0 - probability)).sqrt();
    let difference = (found as f64 - expected).abs();
    assert!(difference < 6.0 * deviation, "{what}: {found}, expected {expected} ± {deviation}");
}

#[test]
fn the_reference_has_the_scores_and_the_rankings() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/placement.md");
    let page = std::fs::read_to_string(path).unwrap();
    let rows = |heading: &str| {
        let (_, section) = page.split_once(heading).expect(heading);
        let rows = section.lines().skip_while(|line| !line.starts_with("|---")).skip(1);
        let rows = rows.take_while(|line| line.starts_with('|'));
        let cells = |row: &str| row.split('|').map(|cell| cell.trim().replace('`', "")).collect();
        rows.map(cells).collect::<Vec<Vec<String>>>()
    };
    let listed = rows("### Members of the examples");
    let tags = |row: &[String]| format!("weight={},zone={}", row[3], row[4]);
    let all = listed.iter().map(|row| (row[2].parse().unwrap(), tags(row)));
    let (placement, by_zone) = (placement(all.clone()), placement(all).spread_by("zone"));
    let letters: BTreeMap<_, _> =
        listed.iter().map(|row| (row[2].parse::<MemberId>().unwrap(), row[1].as_str())).collect();
    let text = |found: Vec<&Arc<Member>>| {
        found.into_iter().map(|member| letters[&member.id()]).collect::<Vec<_>>().join(" ")
    };
    let rankings = rows("### Rankings");
    assert!(rankings.len() >= 8 && listed.len() >= 6);
    for row in rankings {
        let key = match row[1].strip_prefix("0x") {
            Some(digits) => (0..digits.len() / 2)
                .map(|byte| u8::from_str_radix(&digits[2 * byte..2 * byte + 2], 16).unwrap())
                .collect(),
            None => row[1].trim_matches('"').as_bytes().to_vec(),
        };
        assert_eq!(format!("{:016x}", KeyHash::of(&key).0), row[2], "{row:?}");
        assert_eq!(text(placement.rank(&key).collect()), row[3], "{row:?}");
        assert_eq!(text(placement.choose(&key).into_iter().collect()), row[3][..1], "{row:?}");
        assert_eq!(text(by_zone.replicas(&key, 3)), row[4], "{row:?}");
    }
    for row in rows("### Scores") {
        let key = KeyHash::of(row[1].trim_matches('"').as_bytes());
        let score = Candidate::new(of(&listed, &row[2]), 1).score(key, 0);
        assert_eq!([format!("{:016x}", score.hash), score.log.to_string()], row[3..5], "{row:?}");
    }
}

fn of(listed: &[Vec<String>], letter: &str) -> MemberId {
    listed.iter().find(|row| row[1] == letter).unwrap()[2].parse().unwrap()
}

#[test]
fn a_death_moves_the_keys_of_the_dead_and_no_other() {
    let (before, after) = (equal(0..100), equal((0..100).filter(|&number| number != 7)));
    let moved: Vec<_> = before.moved(&after, 1, keys()).collect();
    assert_share(moved.len(), 1.0 / 100.0, "moved");
    for moved in &moved {
        assert_eq!(moved.lost[0].id(), id(7), "{}", moved.key);
        let next = before.rank(&moved.key).nth(1).unwrap().id();
        assert_eq!(moved.gained[0].id(), next, "the next of the ranking takes it");
    }
    // The keys of the dead go to all others: none has far more of them than another.
    let heirs = moved.iter().filter(|moved| moved.gained[0].id() == id(8)).count();
    assert_share(heirs, 1.0 / 100.0 / 99.0, "those that one member takes");
}

#[test]
fn a_newcomer_takes_its_share_from_all_and_nothing_else_moves() {
    let (before, after) = (equal(0..100), equal(0..101));
    let moved: Vec<_> = before.moved(&after, 1, keys()).collect();
    assert_share(moved.len(), 1.0 / 101.0, "moved");
    assert!(moved.iter().all(|moved| moved.gained[0].id() == id(100)));
    // With three replicas, a change of one member replaces at most one of them.
    let moved: Vec<_> = before.moved(&after, 3, keys()).collect();
    assert_share(moved.len(), 3.0 / 101.0, "moved with replicas");
    assert!(moved.iter().all(|moved| (moved.gained.len(), moved.lost.len()) == (1, 1)));
}

#[test]
fn members_hold_keys_by_their_weights() {
    let weights = [1, 50, 100, 100, 349, 400];
    let all =
        weights.iter().zip(0..).map(|(weight, number)| (id(number), format!("weight={weight}")));
    let placement = placement(all.chain([(id(6), "weight=0".to_owned())]));
    assert_eq!(placement.len(), 6, "a weight of 0 holds nothing");
    for (weight, number) in weights.iter().zip(0..) {
        let held = keys().filter(|key| owner(&placement, key) == id(number)).count();
        assert_share(held, f64::from(*weight) / 1_000.0, &format!("weight {weight}"));
    }
}

#[test]
fn a_change_of_weight_moves_keys_to_or_from_that_member_alone() {
    let all = |weight: u16| {
        placement((0..10).map(|number| {
            (id(number), if number == 3 { format!("weight={weight}") } else { String::new() })
        }))
    };
    let moved: Vec<_> = all(100).moved(&all(200), 1, keys()).collect();
    assert_share(moved.len(), 2.0 / 11.0 - 1.0 / 10.0, "moved");
    assert!(moved.iter().all(|moved| moved.gained[0].id() == id(3)));
}

#[test]
fn a_ranking_has_each_member_once_and_the_chosen_one_first() {
    let placement =
        placement((0..40).map(|number| (id(number), format!("weight={}", 1 + number * 25))));
    for key in keys().take(200) {
        let ranking: Vec<_> = placement.rank(&key).map(|member| member.id()).collect();
        let mut sorted = ranking.clone();
        sorted.sort();
        sorted.dedup();
        assert_eq!(sorted.len(), 40);
        assert_eq!(ranking[0], owner(&placement, &key));
        let replicas: Vec<_> =
            placement.replicas(&key, 3).iter().map(|member| member.id()).collect();
        assert_eq!(replicas, ranking[..3]);
    }
    assert_eq!(placement.replicas("key", 50).len(), 40);
}

#[test]
fn replicas_are_in_different_zones_as_long_as_there_are_some() {
    let zone = |number: u64| ["zone=a", "zone=b", "zone=c", ""][(number % 4) as usize];
    let placement = placement((0..40).map(|number| (id(number), zone(number)))).spread_by("zone");
    for key in keys().take(2_000) {
        let replicas = placement.replicas(&key, 6);
        assert_eq!(replicas[0].id(), owner(&placement, &key), "the first holds the key");
        let mut counts = BTreeMap::new();
        replicas.iter().for_each(|member| *counts.entry(member.tag("zone")).or_insert(0) += 1);
        let mut counts: Vec<_> = counts.into_values().collect();
        counts.sort();
        assert_eq!(counts, [1, 1, 2, 2]);
    }
}

/// The replicas by the words of the reference.
fn specified<'a>(placement: &'a Placement, key: &str, n: usize, tag: Option<&str>) -> Vec<&'a str> {
    let mut before = BTreeMap::new();
    let ranking = placement.rank(key).map(|member| {
        let round = before.entry(tag.and_then(|tag| member.tag(tag))).or_insert(0);
        *round += 1;
        (*round, member.name())
    });
    let mut ranking: Vec<_> = ranking.collect();
    if tag.is_some() {
        ranking.sort_by_key(|(round, _)| *round);
    }
    ranking.into_iter().take(n).map(|(_, name)| name).collect()
}

#[test]
fn replicas_are_those_of_the_reference_however_many() {
    // How many members are in each zone. The first zone is that of the members without the tag.
    let layouts: [&[u64]; 6] = [&[], &[1], &[40], &[1, 2, 60], &[9, 9, 9], &[1; 50]];
    for (layout, sizes) in layouts.into_iter().enumerate() {
        let zones = sizes.iter().zip(0..).flat_map(|(&size, zone)| (0..size).map(move |_| zone));
        let all = zones.zip(0..).map(|(zone, number): (u32, u64)| {
            let weight = 1 + number * 37 % 200;
            let zone = if zone == 0 { String::new() } else { format!(",zone=z{zone}") };
            (id(number), format!("weight={weight}{zone}"))
        });
        let one = members(all.chain([(id(1_000), "weight=0".to_owned())]));
        let plain = Placement::of(&one, &Filter::default());
        let spread = plain.clone().spread_by("zone");
        for (key, n) in keys().take(60).flat_map(|key| (0..=FEW + 2).map(move |n| (key.clone(), n)))
        {
            for (placement, tag) in [(&plain, None), (&spread, Some("zone"))] {
                let replicas = placement.replicas(&key, n);
                let found: Vec<_> = replicas.iter().map(|member| member.name()).collect();
                let expected = specified(placement, &key, n, tag);
                assert_eq!(found, expected, "{n} for {key} in layout {layout} by {tag:?}");
            }
        }
    }
}

#[test]
fn a_change_of_one_member_replaces_at_most_one_replica_also_across_zones() {
    // The last member is the only one of its zone, or one of many.
    for zones in [["zone=a", "zone=b", "zone=c"], ["zone=a", "zone=b", "zone=b"]] {
        let all =
            |count: u64| (0..count).map(|number| (id(number), zones[(number / 4).min(2) as usize]));
        let [before, after] = [8, 9].map(|count| placement(all(count)).spread_by("zone"));
        let moved: Vec<_> = before.moved(&after, 3, keys()).collect();
        assert!(!moved.is_empty());
        for Moved { key, gained, lost } in moved {
            assert_eq!((gained.len(), lost.len()), (1, 1), "{key}");
            assert_eq!(gained[0].id(), id(8), "{key}");
        }
    }
}

#[test]
fn a_filter_selects_who_holds_keys() {
    let all =
        members((0..10).map(|number| (id(number), ["role=web", "role=db"][(number % 2) as usize])));
    let placement = Placement::of(&all, &"role=db".parse().unwrap());
    assert_eq!(placement.len(), 5);
    assert!(keys().take(500).all(|key| placement.choose(key).unwrap().tag("role") == Some("db")));
    let none = Placement::of(&all, &"role=none".parse().unwrap());
    assert!(none.is_empty() && none.choose("key").is_none() && none.replicas("key", 2).is_empty());
}

/// How many keys a test places.
const KEYS: u32 = 10_000;
