//! `[store]`: where sessions live when no actor holds them.

use std::time::Duration;

/// `[store]`
#[derive(Debug, Clone)]
pub struct Store {
    /// `kind`: in a file, or in the memory of the process. Default: none; then `outcrop serve`
    /// takes a file and everybody else memory.
    pub kind: Option<StoreKind>,
    /// `path`: the file. Default: none; then [`load`](super::load()) says `sessions.db` in
    /// `STATE_DIRECTORY`, which systemd sets, else in `outcrop` below `XDG_STATE_HOME`, else in
    /// `.local/state/outcrop` below `HOME`, where one of them is set.
    pub path: Option<String>,
    /// `durable`: whether an answer is complete for its client only once it is in the file.
    /// Default: true, since what was seen whole should not be gone after a crash.
    pub durable: bool,
    /// `synchronous`: what is waited for before something counts as written. Default: full.
    pub synchronous: Synchronous,
    /// `flush_seconds`: how often the pieces of answers that are being given are saved: so much
    /// of one a crash may lose. Default: 0.5.
    pub flush: Duration,
    /// `readers`: threads that read. Default: 2, since a read takes less than a millisecond.
    pub readers: usize,
    /// `tenant_bytes`: what the sessions of a tenant may take together, roughly; the one idle
    /// the longest goes first. Default: no limit.
    pub tenant_bytes: Option<usize>,
}

impl Default for Store {
    fn default() -> Self {
        Self {
            kind: None,
            path: None,
            durable: true,
            synchronous: Synchronous::Full,
            flush: Duration::from_millis(500),
            readers: 2,
            tenant_bytes: None,
        }
    }
}

/// Where sessions live.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StoreKind {
    /// In the memory of the process, which they end with.
    #[default]
    Memory,
    /// In an SQLite file.
    Sqlite,
}

impl StoreKind {
    /// Every kind with its name.
    pub const NAMES: &'static [(&'static str, Self)] =
        &[("memory", Self::Memory), ("sqlite", Self::Sqlite)];
}

/// What is waited for before something counts as written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Synchronous {
    /// The disk: it survives a loss of power.
    #[default]
    Full,
    /// The operating system: it survives the end of the process in whatever way, and a loss of
    /// power may take the last moments, never more.
    Normal,
}

impl Synchronous {
    /// Every way with its name.
    pub const NAMES: &'static [(&'static str, Self)] =
        &[("full", Self::Full), ("normal", Self::Normal)];
}
