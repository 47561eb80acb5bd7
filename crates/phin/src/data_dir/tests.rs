use super::*;

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).expect("the directory is there");
    let mut names: Vec<_> = entries
        .map(|entry| entry.expect("it can be read").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[test]
fn each_start_is_a_later_generation_of_the_same_identity() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a/b");
    let mut ids = Vec::new();
    for start in 1..=3 {
        let data_dir = DataDir::open(path.clone()).unwrap();
        ids.push(data_dir.identity().unwrap().id());
        assert_eq!(data_dir.next_generation().unwrap(), Generation(start));
    }
    assert!(ids.iter().all(|id| *id == ids[0]));
    assert_eq!(names(&path), ["generation", "identity.key", "lock"]);
}

#[test]
fn a_generation_that_was_kept_is_exceeded_by_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let data_dir = DataDir::open(dir.path().to_owned()).unwrap();
    assert_eq!(data_dir.next_generation().unwrap(), Generation(1));
    data_dir.keep_generation(Generation(41)).unwrap();
    assert_eq!(data_dir.next_generation().unwrap(), Generation(42));
}

#[test]
fn the_last_generation_ends_the_start_and_says_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let data_dir = DataDir::open(dir.path().to_owned()).unwrap();
    data_dir.keep_generation(Generation(u32::MAX - 1)).unwrap();
    assert_eq!(data_dir.next_generation().unwrap(), Generation(u32::MAX));
    let error = data_dir.next_generation().unwrap_err();
    assert!(
        matches!(&error, StartError::LastGeneration { path } if *path == data_dir.generation_path())
    );
    assert!(error.to_string().contains("remove"), "{error}");
}

#[test]
fn any_single_damage_is_found() {
    let whole = encode_generation(Generation(7_041)).into_bytes();
    assert_eq!(decode_generation(&whole), Some(Generation(7_041)));
    for end in 0..whole.len() {
        assert_eq!(decode_generation(&whole[..end]), None, "torn after {end} bytes");
    }
    for place in 0..whole.len() {
        for byte in 0..=u8::MAX {
            let mut damaged = whole.clone();
            damaged[place] = byte;
            let expected = (damaged == whole).then_some(Generation(7_041));
            assert_eq!(decode_generation(&damaged), expected, "byte {place} is {byte}");
        }
    }
}

#[test]
fn damaged_files_are_set_aside() {
    let dir = tempfile::tempdir().unwrap();
    let data_dir = DataDir::open(dir.path().to_owned()).unwrap();
    for garbage in [&b""[..], b"\xff\xfe", b"phin-generation 1 12"] {
        fs::write(data_dir.generation_path(), garbage).unwrap();
        assert_eq!(data_dir.next_generation().unwrap(), Generation(1));
    }
    let id = data_dir.identity().unwrap().id();
    let key = dir.path().join("identity.key");
    fs::write(&key, "half a k").unwrap();
    assert_ne!(data_dir.identity().unwrap().id(), id);
    let expected = [
        "generation",
        "generation.corrupt-1",
        "generation.corrupt-2",
        "generation.corrupt-3",
        "identity.key",
        "identity.key.corrupt-1",
        "lock",
    ];
    assert_eq!(names(dir.path()), expected);
    assert_eq!(fs::read(dir.path().join("generation.corrupt-2")).unwrap(), b"\xff\xfe");
}

#[cfg(unix)]
#[test]
fn a_generation_without_end_is_not_read_to_it() {
    let dir = tempfile::tempdir().unwrap();
    let data_dir = DataDir::open(dir.path().to_owned()).unwrap();
    std::os::unix::fs::symlink("/dev/zero", data_dir.generation_path()).unwrap();
    assert_eq!(data_dir.next_generation().unwrap(), Generation(1));
    fs::write(data_dir.generation_path(), [b'1'; 1_000_000]).unwrap();
    assert_eq!(data_dir.next_generation().unwrap(), Generation(1));
}

#[test]
fn known_peers_are_kept_and_damaged_ones_set_aside() {
    let dir = tempfile::tempdir().unwrap();
    let data_dir = DataDir::open(dir.path().to_owned()).unwrap();
    assert_eq!(data_dir.peers(), []);
    let addrs = vec![([10, 0, 0, 1], 7_646).into()];
    let peers = [KnownPeer { id: phin_swim::MemberId([7; 16]), is_dead: true, addrs }];
    data_dir.keep_peers(&peers).unwrap();
    assert_eq!(data_dir.peers(), peers);
    let too_long = vec![b'a'; usize::try_from(peers::MAX_FILE_BYTES).unwrap() + 2];
    for garbage in [&b""[..], b"phin-peers 1\n", b"phin-peers 2\n0000000000000000\n", &too_long] {
        fs::write(data_dir.peers_path(), garbage).unwrap();
        assert_eq!(data_dir.peers(), []);
        assert!(!data_dir.peers_path().exists());
    }
    fs::create_dir(data_dir.peers_path()).unwrap();
    assert_eq!(data_dir.peers(), []);
    assert!(dir.path().join("peers.corrupt-5").is_dir());
    data_dir.keep_peers(&peers).unwrap();
    assert_eq!(data_dir.peers(), peers);
    data_dir.keep_peers(&[]).unwrap();
    assert_eq!(data_dir.peers(), []);
}

#[test]
fn a_directory_has_one_user() {
    let dir = tempfile::tempdir().unwrap();
    let first = DataDir::open(dir.path().to_owned()).unwrap();
    let error = DataDir::open(dir.path().to_owned()).unwrap_err();
    assert!(matches!(&error, StartError::DataDirInUse { path } if path == dir.path()));
    drop(first);
    DataDir::open(dir.path().to_owned()).unwrap();
}

#[test]
fn what_cannot_be_used_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    let error = DataDir::open(file.clone()).unwrap_err();
    assert!(error.to_string().contains(&*file.to_string_lossy()), "{error}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_an_error_and_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let data_dir = DataDir::open(dir.path().to_owned()).unwrap();
    assert_eq!(data_dir.next_generation().unwrap(), Generation(1));
    // The next write goes to a device that is always full.
    let new = dir.path().join(GENERATION_NEW);
    std::os::unix::fs::symlink("/dev/full", &new).unwrap();
    let error = data_dir.next_generation().unwrap_err();
    let StartError::DataDir { path, source } = &error else {
        panic!("{error}");
    };
    assert_eq!(*path, data_dir.generation_path());
    assert_eq!(source.kind(), io::ErrorKind::StorageFull);
    fs::remove_file(&new).unwrap();
    assert_eq!(data_dir.next_generation().unwrap(), Generation(2));
}

#[test]
fn promises_are_kept_and_damaged_ones_set_aside() {
    let dir = tempfile::tempdir().unwrap();
    let data_dir = DataDir::open(dir.path().to_owned()).unwrap();
    assert_eq!(data_dir.promises().unwrap(), Promises::default());
    let promises = Promises { floor: phin_swim::Term(7), of: Vec::new() };
    data_dir.keep_promises(&promises).unwrap();
    assert_eq!(data_dir.promises().unwrap(), promises);
    fs::write(data_dir.promises_path(), "phin-promises 1\nfloor 8\n0000000000000000\n").unwrap();
    assert_eq!(data_dir.promises().unwrap(), Promises::default());
    assert_eq!(names(dir.path()), ["lock", "promises.corrupt-1"]);
}
