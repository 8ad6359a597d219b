//! The measured programs: each a process of its own, so that its time and memory are its own.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Context as _;

/// The unit of times in `/proc/PID/stat`, the same on every Linux we run on (`USER_HZ`).
const TICK: Duration = Duration::from_millis(10);

/// A program that listens; killed when dropped.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// The file that it keeps its sessions in.
    kept: Option<PathBuf>,
    _stdout: BufReader<ChildStdout>,
}

impl Server {
    /// The emulator, with so long a pause between chunks.
    pub(crate) fn emulator(chunk_delay: Duration) -> anyhow::Result<Self> {
        let seconds = chunk_delay.as_secs_f64().to_string();
        let mut command = Command::new(env!("CARGO_BIN_EXE_outcrop"));
        command.args(["emulate", "--listen", "127.0.0.1:0", "--chunk-delay", &seconds]);
        Self::start(command)
    }

    /// The bare loop: this very program in another role.
    pub(crate) fn bare(upstream: SocketAddr) -> anyhow::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["bare", &format!("http://{upstream}")]);
        Self::start(command)
    }

    /// The broker; `settings` is the part of its configuration that differs.
    pub(crate) fn broker(upstream: SocketAddr, settings: &Settings) -> anyhow::Result<Self> {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("bench-{}-{count}.toml", std::process::id());
        let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::write(&file, settings.to_toml(&file)).context("write the broker's configuration")?;
        let mut command = Command::new(env!("CARGO_BIN_EXE_outcrop"));
        command
            .args(["serve", "--listen", "127.0.0.1:0", "--config"])
            .arg(&file)
            .env("AWS_ENDPOINT_URL", format!("http://{upstream}"))
            .env("AWS_REGION", "us-east-1")
            .env("AWS_ACCESS_KEY_ID", "bench")
            .env("AWS_SECRET_ACCESS_KEY", "bench")
            .env("AWS_EC2_METADATA_DISABLED", "true");
        let server = Self::start(command);
        fs::remove_file(&file).context("remove the broker's configuration")?;
        let mut server = server?;
        server.kept = settings.keeps.then(|| file.with_extension("db"));
        Ok(server)
    }

    /// Bytes of the file that a broker keeps its sessions in.
    pub(crate) fn kept(&self) -> anyhow::Result<u64> {
        let mut bytes = 0;
        for file in self.kept.iter().flat_map(|file| files(file)) {
            bytes += fs::metadata(&file).map_or(0, |file| file.len());
        }
        Ok(bytes)
    }

    fn start(mut command: Command) -> anyhow::Result<Self> {
        // No `.env` or `outcrop.toml` of the project may join in.
        command.current_dir(env!("CARGO_TARGET_TMPDIR"));
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("start {command:?}"))?;
        let stdout = child.stdout.take().context("the child has no standard output")?;
        let mut stdout = BufReader::new(stdout);
        let mut line = String::new();
        stdout.read_line(&mut line)?;
        let address = line.trim().rsplit_once("http://").and_then(|(_, at)| at.parse().ok());
        let address = address.with_context(|| format!("{command:?} said {line:?}, no address"));
        match address {
            Ok(address) => Ok(Self { child, address, kept: None, _stdout: stdout }),
            Err(error) => {
                // It may have ended by itself.
                let _ = child.kill();
                child.wait()?;
                Err(error)
            }
        }
    }

    /// Processor time so far, its own and the kernel's for it.
    pub(crate) fn cpu(&self) -> anyhow::Result<Duration> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        // The command's name, in parentheses, may hold anything; fields are counted after it.
        let (_, fields) = stat.rsplit_once(')').context("/proc/PID/stat has no name")?;
        let mut fields = fields.split_ascii_whitespace().skip(11);
        let mut ticks = || fields.next().and_then(|ticks| ticks.parse::<u32>().ok());
        let (user, system) = (ticks(), ticks());
        let total = user.zip(system).context("/proc/PID/stat has no times")?;
        Ok(TICK * (total.0 + total.1))
    }

    /// Resident bytes now.
    pub(crate) fn resident(&self) -> anyhow::Result<u64> {
        self.status("VmRSS:")
    }

    /// The most resident bytes there ever were.
    pub(crate) fn peak_resident(&self) -> anyhow::Result<u64> {
        self.status("VmHWM:")
    }

    fn status(&self, name: &str) -> anyhow::Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kibibytes = line.and_then(|line| line.split_ascii_whitespace().next()?.parse().ok());
        let kibibytes: u64 = kibibytes.with_context(|| format!("no {name} in the status"))?;
        Ok(kibibytes << 10)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // One that has ended already is just as well.
        let _ = self.child.kill();
        let _ = self.child.wait();
        for file in self.kept.iter().flat_map(|file| files(file)) {
            // Not all of them are there at all times.
            let _ = fs::remove_file(file);
        }
    }
}

/// What SQLite makes of a file: its log and its index of that stand beside it.
fn files(file: &Path) -> [PathBuf; 3] {
    ["db", "db-wal", "db-shm"].map(|ending| file.with_extension(ending))
}

/// How a broker under measurement differs from the default one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Settings {
    /// Whether the agent is asked for traces, as it is by default.
    pub(crate) traces: bool,
    /// Seconds for which an ended turn can be resumed.
    pub(crate) resume_seconds: u32,
    /// Seconds after which an idle session is put away.
    pub(crate) resident_seconds: u32,
    /// Whether sessions are kept in a file, which is made anew, and not in memory.
    pub(crate) keeps: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self { traces: true, resume_seconds: 60, resident_seconds: 3_600, keeps: false }
    }
}

impl Settings {
    /// Connections are opened before they are used, and rest while others are measured; sessions
    /// stay where they are looked at.
    fn to_toml(self, file: &Path) -> String {
        let Self { traces, resume_seconds, resident_seconds, keeps } = self;
        let store = if keeps {
            format!("kind = \"sqlite\"\npath = {:?}", file.with_extension("db"))
        } else {
            "kind = \"memory\"".to_owned()
        };
        format!(
            "[server]\n\
             header_timeout_seconds = 300\n\
             idle_timeout_seconds = 300\n\
             [session]\n\
             resident_seconds = {resident_seconds}\n\
             max_per_tenant = 1000000\n\
             [store]\n\
             {store}\n\
             [turn]\n\
             resume_seconds = {resume_seconds}\n\
             [[models]]\n\
             name = \"agent\"\n\
             backend = \"bedrock-agent\"\n\
             agent_id = \"AGENT12345\"\n\
             traces = {traces}\n"
        )
    }
}

/// Files that this process, and each of its children, may have open.
pub(crate) fn open_files_limit() -> anyhow::Result<usize> {
    let limits = fs::read_to_string("/proc/self/limits")?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    let soft = line.and_then(|line| line.split_ascii_whitespace().next()?.parse().ok());
    soft.context("no limit of open files in /proc/self/limits")
}
