//! A broker and the emulator behind it, for one test.

use std::fs::{self, File};
use std::future::Future;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use outcrop::{config, emulator};
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::ask::Ask;
use super::client::Request;

/// By then whatever a test waits for must have happened.
const DEADLINE: Duration = Duration::from_secs(10);
/// Between two looks at what a test waits for.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// Texts shorter than this may stand in a log by chance.
const SHORT: usize = 6;

/// What a broker is started with, beyond what all are.
#[derive(Debug, Default)]
pub(crate) struct Setup<'a> {
    /// Settings outside tables, as `session.resident_seconds = 1`.
    pub(crate) settings: &'a str,
    /// Settings of the model `agent`.
    pub(crate) model: &'a str,
    /// Further tables: `[[models]]`, `[[keys]]`.
    pub(crate) tables: &'a str,
    /// Further variables of the environment.
    pub(crate) variables: &'a [(&'a str, &'a str)],
    /// How long the emulated agent remembers a session; as long as real ones do unless told.
    pub(crate) agent_remembers: Option<Duration>,
    /// How the emulated control plane is set up before the broker starts.
    pub(crate) control_plane: Option<Value>,
    /// The broker whose upstream it shares; one of its own unless told.
    pub(crate) beside: Option<&'a Broker>,
}

/// A running broker, ended with the test.
#[derive(Debug)]
pub(crate) struct Broker {
    pub(crate) address: SocketAddr,
    emulator: Arc<Emulated>,
    process: Mutex<Child>,
    folder: PathBuf,
    /// Further variables of its environment.
    variables: Vec<(String, String)>,
    /// What must not stand in the log: what was said, and with which keys.
    secrets: Mutex<Vec<String>>,
}

/// A running emulator, ended with the test.
#[derive(Debug)]
pub(crate) struct Emulated {
    pub(crate) address: SocketAddr,
    _serving: AbortOnDropHandle<()>,
}

impl Emulated {
    pub(crate) async fn start(remembers: Option<Duration>) -> Self {
        let mut settings = config::Emulator::default();
        settings.idle_session_ttl = remembers.unwrap_or(settings.idle_session_ttl);
        Self::with(settings).await
    }

    /// One with a fault in every call.
    pub(crate) async fn faulty(fault: &str) -> Self {
        let fault = Some(fault.to_owned());
        Self::with(config::Emulator { fault, ..config::Emulator::default() }).await
    }

    async fn with(mut settings: config::Emulator) -> Self {
        settings.listen.set_port(0);
        let emulator = emulator::bind(&settings).await.unwrap();
        let address = emulator.address();
        let serving = tokio::spawn(emulator.serve(CancellationToken::new()));
        Self { address, _serving: AbortOnDropHandle::new(serving) }
    }

    async fn set_up_control_plane(&self, settings: &Value) {
        let set = Request::new(self.address, "POST", "/_emulator/control-plane").json(settings);
        assert_eq!(set.send().await.status, 200);
    }
}

impl Broker {
    /// One with every default.
    pub(crate) async fn start() -> Self {
        Self::with(Setup::default()).await
    }

    /// One that is set up so.
    pub(crate) async fn with(setup: Setup<'_>) -> Self {
        let emulator = match setup.beside {
            Some(other) => Arc::clone(&other.emulator),
            None => Arc::new(Emulated::start(setup.agent_remembers).await),
        };
        if let Some(settings) = &setup.control_plane {
            emulator.set_up_control_plane(settings).await;
        }
        let folder = new_folder();
        let config = folder.join("outcrop.toml");
        fs::write(&config, setup.file(emulator.address)).unwrap();
        let variables = setup.variables.iter();
        let variables: Vec<_> =
            variables.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let (process, address) = serve(&folder, &variables).await;
        Self {
            address,
            emulator,
            process: Mutex::new(process),
            folder,
            variables,
            secrets: Mutex::default(),
        }
    }

    /// Ends the process as a crash does, without a word to it.
    pub(crate) fn crash(&mut self) {
        let process = self.process.get_mut().unwrap();
        process.kill().unwrap();
        process.wait().unwrap();
    }

    /// Starts the program again where it was ended, on another address; what it keeps in its
    /// folder is there.
    pub(crate) async fn start_again(&mut self) {
        let (process, address) = serve(&self.folder, &self.variables).await;
        *self.process.get_mut().unwrap() = process;
        self.address = address;
    }

    /// A turn of one message.
    pub(crate) fn ask(&self, text: &str) -> Ask<'_> {
        Ask::new(self, &[("user", text)])
    }

    /// A turn of these messages, as pairs of role and content.
    pub(crate) fn send(&self, messages: &[(&str, &str)]) -> Ask<'_> {
        Ask::new(self, messages)
    }

    pub(crate) fn request(&self, method: &'static str, path: &str) -> Request {
        Request::new(self.address, method, path)
    }

    pub(crate) fn get(&self, path: &str) -> Request {
        self.request("GET", path)
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Request {
        self.request("POST", path).json(body)
    }

    /// What a session holds, for whoever may ask without a key.
    pub(crate) async fn session(&self, id: &str) -> Value {
        self.get(&format!("/v1/sessions/{id}")).send().await.json().await
    }

    /// From now on the log must not hold this.
    pub(crate) fn keep_secret(&self, text: &str) {
        if text.len() >= SHORT {
            self.secrets.lock().unwrap().push(text.to_owned());
        }
    }

    /// The sum of a metric's series with all of these labels, as `kind="upstream_denied"`.
    pub(crate) async fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        let page = self.get("/metrics").send().await.text().await;
        let series = page.lines().filter(|line| {
            let rest = line.strip_prefix(name);
            rest.is_some_and(|rest| rest.starts_with([' ', '{']))
                && labels.iter().all(|label| line.contains(label))
        });
        let value = |line: &str| line.rsplit_once(' ')?.1.parse::<f64>().ok();
        series.filter_map(value).sum()
    }

    /// Waits for a metric to have a value.
    pub(crate) async fn metric_becomes(&self, name: &str, expected: f64) {
        until(name, async || (self.metric(name, &[]).await - expected).abs() < 0.1).await;
    }

    /// Where the emulator behind it is.
    pub(crate) fn emulator(&self) -> SocketAddr {
        self.emulator.address
    }

    /// What the upstream saw.
    pub(crate) async fn upstream(&self) -> Value {
        let asked = Request::new(self.emulator.address, "GET", "/_emulator/state");
        asked.send().await.json().await
    }

    /// The calls that the upstream saw, oldest first.
    pub(crate) async fn calls(&self) -> Vec<Value> {
        self.upstream().await["calls"].as_array().unwrap().clone()
    }

    /// Has the upstream forget all that it saw.
    pub(crate) async fn forget_upstream(&self) {
        let reset = Request::new(self.emulator.address, "POST", "/_emulator/reset");
        assert_eq!(reset.send().await.status, 200);
    }

    /// From now on the upstream's control plane is set up so.
    pub(crate) async fn set_up_control_plane(&self, settings: &Value) {
        self.emulator.set_up_control_plane(settings).await;
    }

    /// From now on the service that signs people in is set up so.
    pub(crate) async fn set_up_sign_in(&self, settings: &Value) {
        let set = Request::new(self.emulator.address, "POST", "/_emulator/sign-in").json(settings);
        assert_eq!(set.send().await.status, 200);
    }

    /// Where the upstream is.
    pub(crate) fn upstream_address(&self) -> SocketAddr {
        self.emulator.address
    }

    /// How often an operation of the control plane was called.
    pub(crate) async fn control_plane_calls(&self, operation: &str) -> u64 {
        self.upstream().await["control_plane"][operation].as_u64().unwrap_or(0)
    }

    /// Waits until the upstream answers so many calls at this moment.
    pub(crate) async fn open_calls_become(&self, expected: u64) {
        let is_there = async || self.upstream().await["calls_open"] == expected;
        until("the number of open calls upstream", is_there).await;
    }

    /// Tells the process to stop, as an operator or an orchestrator does.
    pub(crate) fn terminate(&self) {
        let process = self.process.lock().unwrap().id().to_string();
        assert!(Command::new("kill").args(["-TERM", &process]).status().unwrap().success());
    }

    /// From now on no file of the process may grow beyond so many bytes, or each may.
    pub(crate) fn limit_files(&self, bytes: Option<u64>) {
        let process = self.process.lock().unwrap().id().to_string();
        let limit = bytes.map_or("unlimited".to_owned(), |bytes| bytes.to_string());
        let mut command = Command::new("prlimit");
        command.args(["--pid", &process, &format!("--fsize={limit}:unlimited")]);
        assert!(command.status().unwrap().success());
    }

    /// Waits for the process to exit.
    pub(crate) async fn exit(&self) -> ExitStatus {
        let mut exited = None;
        until("the broker to exit", async || {
            exited = self.process.lock().unwrap().try_wait().unwrap();
            exited.is_some()
        })
        .await;
        exited.unwrap()
    }

    /// What the broker has logged so far.
    pub(crate) fn log(&self) -> String {
        read(&self.folder.join("log"))
    }

    /// The secrets that stand in the log.
    fn leaks(&self) -> Vec<String> {
        let log = self.log();
        let mut secrets = self.secrets.lock().unwrap().clone();
        secrets.retain(|secret| log.contains(secret.as_str()));
        secrets
    }
}

impl Drop for Broker {
    /// Nothing that was said may be in the log, whatever the test was about.
    fn drop(&mut self) {
        let process = self.process.get_mut().unwrap();
        // It may have exited by itself.
        let _ = process.kill();
        process.wait().unwrap();
        if std::thread::panicking() {
            eprintln!("the broker's log:\n{}", self.log());
            return;
        }
        let leaks = self.leaks();
        assert!(leaks.is_empty(), "the log holds {leaks:?}:\n{}", self.log());
        assert!(!self.log().contains("panicked"), "the broker panicked:\n{}", self.log());
        fs::remove_dir_all(&self.folder).unwrap();
    }
}

impl Setup<'_> {
    fn file(&self, emulator: SocketAddr) -> String {
        let Self { settings, model, tables, .. } = self;
        // What a test says of the store counts; the file is then in the test's own folder.
        let store = if settings.contains("store.") { "" } else { "store.kind = \"memory\"\n" };
        format!(
            "server.listen = \"127.0.0.1:0\"\naws.endpoint_url = \"http://{emulator}\"\n\
             openai.base_url = \"http://{emulator}/v1\"\n\
             turn.retry_delay_seconds = 0.01\n{store}{settings}\n\n\
             [[models]]\nname = \"agent\"\nbackend = \"bedrock-agent\"\n\
             agent_id = \"AGENT12345\"\n{model}\n\n{tables}\n"
        )
    }
}

/// Starts a broker in its folder, and waits until it listens.
async fn serve(folder: &Path, variables: &[(String, String)]) -> (Child, SocketAddr) {
    let log = File::options().create(true).append(true).open(folder.join("log")).unwrap();
    let mut command = outcrop(folder, &["serve", "--config", "outcrop.toml"]);
    command.envs(variables.iter().map(|(name, value)| (name, value)));
    let mut process = command.stdout(Stdio::piped()).stderr(log).spawn().unwrap();
    let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
    // The emulator runs on this thread, and the broker may ask it before it listens.
    let said = tokio::task::spawn_blocking(move || {
        lines.find_map(|line| {
            line.unwrap().strip_prefix("outcrop listening on http://").map(str::to_owned)
        })
    });
    let said = said.await.unwrap();
    let address = said.unwrap_or_else(|| panic!("no broker: {}", read(&folder.join("log"))));
    (process, address.parse().unwrap())
}

/// The program, in a folder and an environment of its own.
pub(crate) fn outcrop(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_outcrop"));
    command
        .args(arguments)
        .current_dir(folder)
        .env_clear()
        .env("HOME", folder)
        .env("AWS_REGION", "us-east-1")
        .env("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
        .env("AWS_SECRET_ACCESS_KEY", "example")
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .stdin(Stdio::null());
    command
}

/// A fresh folder for one process.
pub(crate) fn new_folder() -> PathBuf {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let name = format!("behaviour-{}-{count}", std::process::id());
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::create_dir_all(&folder).unwrap();
    folder
}

fn read(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned()
}

/// Waits for something to be so.
pub(crate) async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let began = Instant::now();
    while !is_so().await {
        assert!(began.elapsed() < DEADLINE, "waited in vain for {what}");
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Waits for something that must happen, but not for ever.
pub(crate) async fn soon<T>(what: &str, work: impl Future<Output = T>) -> T {
    let done = tokio::time::timeout(DEADLINE, work).await;
    done.unwrap_or_else(|_| panic!("waited in vain for {what}"))
}
