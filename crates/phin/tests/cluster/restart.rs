//! A data directory keeps state from run to run.

use std::fs;

use phin::{Change, Cluster, Generation, MemberState, Notice, StartError};

use crate::nodes::{GUARD, Killable, Nodes, all_hold, all_know, until, within};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_node_is_the_same_member_in_the_next_generation() {
    let nodes = Nodes::new();
    let dir = tempfile::tempdir().unwrap();
    let others = nodes.start(3).await;
    let seed = others[0].local_addr().to_string();
    let builder = || nodes.builder("node").data_dir(dir.path()).seeds([&*seed]);
    let node = Killable::start(builder()).await;
    let (id, addr) = (node.cluster.id(), node.cluster.local_addr());
    all_know(&others, 4).await;
    assert_eq!(node.cluster.members().me().generation(), Generation(1));
    let mut changes = others[1].subscribe();
    node.kill().await;
    all_hold(&others, id, MemberState::Dead).await;

    let node = builder().bind(addr).start().await.unwrap();
    assert_eq!(node.id(), id);
    all_hold(&others, id, MemberState::Alive).await;
    for other in &others {
        let members = other.members();
        assert_eq!(members.get(id).unwrap().generation(), Generation(2));
        assert_eq!(members.len(), 4, "one member, not two");
    }
    within("leaving", node.leave(GUARD)).await.unwrap();
    let mut returns = 0;
    loop {
        let notice = within("its departure", changes.next()).await.expect("the node runs");
        let Notice::Event { event, .. } = notice else { continue };
        match event.change {
            Change::Alive if event.member.id() == id => returns += 1,
            Change::Left => break,
            _ => {}
        }
    }
    assert_eq!(returns, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_generation_is_learnt_from_the_others_and_kept() {
    let nodes = Nodes::new();
    let dir = tempfile::tempdir().unwrap();
    let generation = dir.path().join("generation");
    let other = nodes.builder("other").start().await.unwrap();
    let seed = other.local_addr().to_string();
    let start = || nodes.builder("node").data_dir(dir.path()).start();
    for run in 1..=3 {
        let node = start().await.unwrap();
        assert_eq!(node.members().me().generation(), Generation(run));
        if run == 3 {
            within("joining", node.join(&seed)).await.unwrap();
            all_know(&[other.clone(), node.clone()], 2).await;
        }
        node.shutdown().await;
    }
    fs::write(&generation, "phin-generation 1 4").unwrap();
    // It would meet the other before it is looked at.
    fs::remove_file(dir.path().join("peers")).unwrap();

    let node = start().await.unwrap();
    assert!(dir.path().join("generation.corrupt-1").exists());
    assert_eq!(node.members().me().generation(), Generation(1));
    within("joining", node.join(&seed)).await.unwrap();
    let exceeds = |members: &phin::Members| members.me().generation() >= Generation(4);
    until(&node, "a generation after the third", exceeds).await;
    let taken = node.members().me().generation();
    within("the shutdown", node.shutdown()).await;
    let node = start().await.unwrap();
    assert_eq!(node.members().me().generation(), Generation(taken.0 + 1));
}

#[tokio::test]
async fn a_data_directory_has_one_node() {
    let nodes = Nodes::new();
    let dir = tempfile::tempdir().unwrap();
    let node = nodes.builder("one").data_dir(dir.path()).start().await.unwrap();
    let error = nodes.builder("two").data_dir(dir.path()).start().await.unwrap_err();
    assert!(matches!(&error, StartError::DataDirInUse { path } if path == dir.path()), "{error}");
    assert_eq!(node.members().me().generation(), Generation(1));
}

#[tokio::test]
async fn an_unusable_data_directory_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    let path = file.join("below");
    let error = Nodes::new().builder("node").data_dir(&path).start().await.unwrap_err();
    assert!(matches!(&error, StartError::DataDir { path: named, .. } if *named == path), "{error}");
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_is_full_later_stops_nobody() {
    let nodes = Nodes::new();
    let dir = tempfile::tempdir().unwrap();
    let other = nodes.builder("other").start().await.unwrap();
    let seed = other.local_addr().to_string();
    let start = || nodes.builder("node").data_dir(dir.path()).start();
    let node = start().await.unwrap();
    within("joining", node.join(&seed)).await.unwrap();
    all_know(&[other.clone(), node.clone()], 2).await;
    node.shutdown().await;
    // It starts as the same generation once more, and cannot write down the one it then takes. It does not know its peers any
    // more, or it could take that too soon.
    for file in ["generation", "peers"] {
        fs::remove_file(dir.path().join(file)).unwrap();
    }
    let node = start().await.unwrap();
    std::os::unix::fs::symlink("/dev/full", dir.path().join("generation.new")).unwrap();
    within("joining", node.join(&seed)).await.unwrap();
    let exceeds = |members: &phin::Members| members.me().generation() >= Generation(2);
    until(&node, "a later generation", exceeds).await;
    let counted = async {
        while node.stats().await.unwrap().driver.generations_not_kept == 0 {
            tokio::task::yield_now().await;
        }
    };
    within("the failure to be counted", counted).await;
    all_know(&[other, node], 2).await;
}

/// Two nodes with one identity: the second runs on a copy of the first's data directory.
#[expect(clippy::unwrap_used, reason = "what helps a test may fail as a test does")]
async fn twins(nodes: &Nodes, seed: Option<&str>) -> ([Cluster; 2], [tempfile::TempDir; 2]) {
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    nodes.builder("twin").data_dir(dirs[0].path()).start().await.unwrap().shutdown().await;
    for entry in fs::read_dir(dirs[0].path()).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, dirs[1].path().join(path.file_name().unwrap())).unwrap();
    }
    let start = |dir: &tempfile::TempDir, seed: Option<String>| {
        nodes.builder("twin").data_dir(dir.path()).seeds(seed).start()
    };
    let first = start(&dirs[0], seed.map(str::to_owned)).await.unwrap();
    let seed = seed.map_or_else(|| first.local_addr().to_string(), str::to_owned);
    let second = start(&dirs[1], Some(seed)).await.unwrap();
    ([first, second], dirs)
}

async fn find_each_other(twins: &[Cluster; 2]) {
    for (twin, other) in [(0, 1), (1, 0)].map(|(a, b)| (&twins[a], &twins[b])) {
        let found = async {
            while twin.identity_conflict().is_none() {
                tokio::task::yield_now().await;
            }
        };
        within("the other twin", found).await;
        // Connections come from where the twin listens; a record has the address that it advertises.
        assert_eq!(twin.identity_conflict(), Some(other.local_addr()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_seed_with_this_nodes_key_is_no_part_of_this_node() {
    let (twins, _dirs) = twins(&Nodes::new(), None).await;
    find_each_other(&twins).await;
    assert!(!twins[1].is_joined());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_with_one_key_find_out_through_a_third() {
    let nodes = Nodes::new();
    let third = nodes.builder("third").start().await.unwrap();
    let (twins, _dirs) = twins(&nodes, Some(&third.local_addr().to_string())).await;
    find_each_other(&twins).await;
    let noticed = async {
        while third.stats().await.unwrap().driver.addresses_alternating == 0 {
            tokio::task::yield_now().await;
        }
    };
    within("the alternation at the third", noticed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_at_another_address_is_no_twin() {
    let nodes = Nodes::new();
    let dir = tempfile::tempdir().unwrap();
    let other = nodes.builder("other").start().await.unwrap();
    for _ in 0..3 {
        let seed = other.local_addr().to_string();
        let node = nodes.builder("node").data_dir(dir.path()).seeds([seed]).start().await.unwrap();
        // A count that was lost is learnt from the other, at a new port.
        fs::remove_file(dir.path().join("generation")).unwrap();
        all_know(&[other.clone(), node.clone()], 2).await;
        until(&other, "the new address", |members| {
            members.get(node.id()).is_some_and(|member| member.addr() == node.local_addr())
        })
        .await;
        assert_eq!(node.identity_conflict(), None);
        node.shutdown().await;
    }
}
