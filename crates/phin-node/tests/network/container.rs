//! The container image of `deploy/container`: its files, assembled as the build does, and processes that run in them.
//!
//! Stands in for a container runtime, which these machines lack: namespaces, a read-only root, no rights.

use std::{
    fs,
    io::{self, Read, Write},
    os::unix::fs::{MetadataExt, PermissionsExt, chown},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::Instant,
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::{
    cluster::{note_skipped, skip},
    node::{KEY, PATIENCE},
};

/// The files of the image.
pub(crate) struct Image {
    directory: TempDir,
}

/// A file or folder of this machine at a path in the container.
pub(crate) struct Mount {
    pub(crate) from: PathBuf,
    pub(crate) at: String,
    pub(crate) is_writable: bool,
}

impl Image {
    /// Assembles the files with the binary of these tests, stripped.
    pub(crate) fn assemble() -> io::Result<Self> {
        let directory = tempfile::tempdir()?;
        // Users of containers get to the files.
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o755))?;
        let image = Self { directory };
        let program = image.directory.path().join("phin");
        let mut strip = Command::new("strip");
        let stripped = strip.arg("-o").arg(&program).arg(env!("CARGO_BIN_EXE_phin")).status();
        if !stripped.is_ok_and(|status| status.success()) {
            fs::copy(env!("CARGO_BIN_EXE_phin"), &program)?;
        }
        let mut assemble = Command::new(deploy("rootfs"));
        let output = assemble.arg(&program).arg(image.root()).output()?;
        fs::remove_file(program)?;
        for device in ["null", "random", "urandom", "zero"] {
            fs::write(image.root().join("dev").join(device), "")?;
        }
        match output.status.success() {
            true => Ok(image),
            false => Err(io::Error::other(String::from_utf8_lossy(&output.stderr).into_owned())),
        }
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.directory.path().join("rootfs")
    }

    /// The arguments of `sh` which run a command in the image: as a user without rights, on a read-only root.
    ///
    /// A runtime creates the places of its mounts.
    pub(crate) fn arguments(&self, mounts: &[Mount], command: &[String]) -> Vec<String> {
        let root = self.root();
        let text = |path: &Path| path.to_str().unwrap().to_owned();
        let mut arguments = vec!["-c".to_owned(), RUN.to_owned(), "sh".to_owned(), text(&root)];
        for mount in mounts {
            let place = root.join(mount.at.trim_start_matches('/'));
            fs::create_dir_all(place.parent().unwrap()).unwrap();
            if mount.from.is_dir() {
                fs::create_dir_all(&place).unwrap();
            } else if !place.exists() {
                fs::write(&place, "").unwrap();
            }
            let mode = if mount.is_writable { "rw" } else { "ro" };
            arguments.extend([mode.to_owned(), text(&mount.from), mount.at.clone()]);
        }
        arguments.push("--".to_owned());
        arguments.extend(command.iter().cloned());
        arguments
    }
}

/// Makes the image the root, and becomes the command.
const RUN: &str = r#"set -e
root=$1
shift
mount --bind "$root" "$root"
while [ "$1" != -- ]; do
    mount --bind "$2" "$root$3"
    [ "$1" = rw ] || mount -o remount,ro,bind "$root$3"
    shift 3
done
shift
for device in null random urandom zero; do
    mount --bind "/dev/$device" "$root/dev/$device"
done
mount -o remount,ro,bind "$root"
mount -t proc proc "$root/proc"
cd "$root"
exec setpriv --no-new-privs chroot --userspec=65532:65532 --groups=65532 "$root" "$@"
"#;

/// A file of `deploy/container`.
fn deploy(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/container").join(name)
}

/// The instructions of the last stage of the Containerfile with this name.
fn instructions(name: &str) -> Vec<String> {
    let file = fs::read_to_string(deploy("Containerfile")).unwrap();
    let stage = file.rsplit("\nFROM ").next().unwrap();
    let lines = stage.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    lines.map(str::to_owned).collect()
}

/// A user namespace, in which nobody has rights on this machine.
struct Users {
    holder: Child,
}

/// The user of this machine that is root in the namespace.
const FIRST_USER: u32 = 200_000;

impl Users {
    fn new() -> io::Result<Self> {
        let mut unshare = Command::new("unshare");
        unshare.args(["--user", "cat"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut holder = unshare.spawn()?;
        let id = holder.id();
        // It answers once it is in its namespace.
        holder.stdin.as_mut().unwrap().write_all(b"?")?;
        holder.stdout.as_mut().unwrap().read_exact(&mut [0])?;
        let users = Self { holder };
        for map in ["uid_map", "gid_map"] {
            fs::write(format!("/proc/{id}/{map}"), format!("0 {FIRST_USER} 65536"))?;
        }
        Ok(users)
    }

    fn path(&self) -> String {
        format!("/proc/{}/ns/user", self.holder.id())
    }
}

impl Drop for Users {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

/// A node as process 1 of a container with namespaces of its own.
struct Container {
    runtime: Child,
    /// Process 1, by its number on this machine.
    init: Pid,
}

impl Container {
    fn start(image: &Image, users: &Users, mounts: &[Mount], variables: &[(&str, &str)]) -> Self {
        let words = |name: &str| {
            let list = instructions(name).pop().unwrap();
            serde_json::from_str::<Vec<String>>(&list).unwrap()
        };
        assert_eq!(instructions("USER"), ["65532:65532"]);
        let mut line = [words("ENTRYPOINT"), words("CMD")].concat();
        // So that it ends with the test.
        line.push("--exit-with-stdin".into());
        let mut command = Command::new("nsenter");
        command.arg(format!("--user={}", users.path())).args(["--", "unshare"]);
        command.args(["--mount", "--pid", "--net", "--ipc", "--uts", "--fork"]);
        command.args([
            "--kill-child=KILL",
            "sh",
            "-c",
            "ip link set lo up && exec sh \"$@\"",
            "sh",
        ]);
        command.args(image.arguments(mounts, &line)).env_clear();
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        for variable in instructions("ENV") {
            let (name, value) = variable.split_once('=').unwrap();
            command.env(name, value);
        }
        command.envs(variables.iter().copied()).stdin(Stdio::piped());
        let mut runtime = command.spawn().unwrap();
        let init = await_some("process 1", || match runtime.try_wait().unwrap() {
            Some(status) => panic!("the container ended: {status}"),
            None => children(Pid::from_child(&runtime)).pop(),
        });
        Self { runtime, init }
    }

    /// Runs a program of the image in the container, as `podman exec` does.
    fn exec(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.init.as_raw_pid().to_string()]);
        command.args(["--user", "--mount", "--pid", "--net", "--root", "--wd=/"]);
        command.arg("/usr/bin/phin").args(arguments).env_clear();
        for variable in instructions("ENV") {
            let (name, value) = variable.split_once('=').unwrap();
            command.env(name, value);
        }
        command
    }

    fn output(&self, arguments: &[&str]) -> Output {
        self.exec(arguments).output().unwrap()
    }

    /// The processes whose parent is process 1.
    fn children(&self) -> Vec<Pid> {
        children(self.init)
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let _ = self.runtime.kill();
        let _ = self.runtime.wait();
    }
}

/// The children of a process, by its first thread and all others.
fn children(of: Pid) -> Vec<Pid> {
    let threads = fs::read_dir(format!("/proc/{}/task", of.as_raw_pid()));
    let threads = threads.into_iter().flatten().map_while(Result::ok);
    let lists =
        threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    let lists: String = lists.collect();
    lists.split_whitespace().filter_map(|pid| Pid::from_raw(pid.parse().ok()?)).collect()
}

fn await_some<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(start.elapsed() < PATIENCE, "no {what}");
        // tidy: allow sleep: between two looks, for there is no event to wait for
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

/// Copies a shell, and writes a program for it that leaves an orphan behind.
fn hook_with_orphan(directory: &Path) {
    fs::copy("/bin/sh", directory.join("sh")).unwrap();
    let text = "#!/opt/sh\n( ( : ) & )\n: >/var/lib/phin/hook-has-run\n";
    fs::write(directory.join("hook"), text).unwrap();
    fs::set_permissions(directory.join("hook"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(directory, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn the_image_runs_a_node_as_process_1() {
    let is_possible = rustix::process::getuid().is_root();
    let prepared = Users::new().and_then(|users| Ok((users, Image::assemble()?)));
    let (users, image) = match prepared {
        Ok(prepared) if is_possible => prepared,
        Ok(_) => return skip(&"not root"),
        Err(error) => return skip(&error),
    };
    let [data, programs] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    chown(&data, Some(FIRST_USER + 65_532), Some(FIRST_USER + 65_532)).unwrap();
    hook_with_orphan(programs.path());
    let mounts = [
        Mount { from: data.path().into(), at: "/var/lib/phin".into(), is_writable: true },
        Mount { from: programs.path().into(), at: "/opt".into(), is_writable: false },
    ];
    let variables = [
        // There is only loopback.
        ("PHIN_BIND", "127.0.0.1:7646"),
        ("PHIN_CLUSTER_KEY", KEY),
        ("PHIN_ON", "joined=/opt/hook"),
    ];
    let mut container = Container::start(&image, &users, &mounts, &variables);
    await_some("readiness", || container.output(&["ready"]).status.success().then_some(()));
    assert!(data.path().join("identity.key").exists());
    let status =
        fs::read_to_string(format!("/proc/{}/status", container.init.as_raw_pid())).unwrap();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(field("NSpid:").last().unwrap(), "1");
    assert_eq!(field("Uid:")[0], (FIRST_USER + 65_532).to_string());
    assert_eq!((field("CapEff:"), field("NoNewPrivs:")), (vec!["0".repeat(16)], vec!["1".into()]));
    // Nothing but the data directory can be written.
    let refused = container.output(&["key", "new", "--out", "/tmp/key"]);
    assert!(
        String::from_utf8_lossy(&refused.stderr).contains("Read-only file system"),
        "{refused:?}"
    );

    // Another member runs its program, whose orphan is reaped.
    let mut other = container.exec(&["run", "--bind", "127.0.0.1:0", "--join", "127.0.0.1:7646"]);
    other.env_remove("PHIN_HTTP").env_remove("PHIN_DATA_DIR").env("PHIN_CLUSTER_KEY", KEY);
    let mut other = other.arg("--exit-with-stdin").stdin(Stdio::piped()).spawn().unwrap();
    await_some("run of the hook", || data.path().join("hook-has-run").exists().then_some(()));
    await_some("end of all children", || container.children().is_empty().then_some(()));
    other.kill().unwrap();
    other.wait().unwrap();

    kill_process(container.init, Signal::TERM).unwrap();
    assert_eq!(container.runtime.wait().unwrap().code(), Some(0));
}

#[test]
fn the_image_can_be_built_without_a_registry() {
    let storage = tempfile::tempdir().unwrap();
    let path = |name: &str| storage.path().join(name).to_str().unwrap().to_owned();
    let (root, runroot, policy) = (path("root"), path("run"), path("policy.json"));
    let buildah = |arguments: &[&str]| {
        let storage = ["--storage-driver", "vfs", "--root", &root, "--runroot", &runroot];
        Command::new("buildah").args(storage).args(arguments).output()
    };
    if let Err(error) = buildah(&["images"]) {
        return note_skipped(&format!("it needs buildah: {error}"));
    }
    let image = match Image::assemble() {
        Ok(image) => image,
        Err(error) => return skip(&error),
    };
    let said = |arguments: &[&str]| {
        let output = buildah(arguments).unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    fs::write(&policy, r#"{"default":[{"type":"insecureAcceptAnything"}]}"#).unwrap();
    let file = deploy("Containerfile");
    let (file, folder) = (file.to_str().unwrap(), image.directory.path().to_str().unwrap());
    let prebuilt = ["--build-arg", "FILES=prebuilt", "--signature-policy", &policy];
    let build = ["build", "--isolation=chroot", "--tag", "phin", "--file", file, folder];
    said(&[&build[..1], &prebuilt, &build[1..]].concat());

    let config = ".OCIv1.Config";
    let format =
        format!("{{{{{config}.User}}}} {{{{{config}.Entrypoint}}}} {{{{{config}.StopSignal}}}}");
    let inspected = said(&["inspect", "--type=image", "--format", &format, "phin"]);
    assert_eq!(inspected, "65532:65532 [/usr/bin/phin] SIGTERM");
    // The node can write its data directory, and nothing else is its own.
    let container = said(&["from", "--signature-policy", &policy, "--pull-never", "phin"]);
    let files = PathBuf::from(said(&["mount", &container]));
    let owner = |path: &str| fs::metadata(files.join(path)).unwrap().uid();
    assert_eq!((owner("var/lib/phin"), owner("var/lib"), owner("usr/bin/phin")), (65_532, 0, 0));
    said(&["umount", &container]);
    said(&["rm", &container]);
}
