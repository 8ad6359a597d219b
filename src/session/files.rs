//! Files that came with answers, for clients to fetch while their session lives.
//!
//! They are held in memory alone, all sessions' together within a bound; beyond it the oldest go.
//! A file's content is shared with the turn's log, so it is held once.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use crate::turn::{FileId, OutputFile, SessionKey, TenantId, TurnEvent};

/// What a file takes beside its name, its media type and its content: bounds the number of
/// empty ones.
const FIXED: usize = 512;

/// A file that came with an answer.
#[derive(Debug, Clone)]
pub struct SessionFile {
    /// The session whose answer it came with; nobody else's tenant is shown it.
    pub session: SessionKey,
    /// The file.
    pub file: Arc<OutputFile>,
    /// When it came.
    pub created_at: SystemTime,
}

impl SessionFile {
    fn weight(&self) -> usize {
        let OutputFile { name, media_type, bytes, .. } = &*self.file;
        FIXED + name.len() + media_type.len() + bytes.len()
    }
}

/// Some of a tenant's files.
#[derive(Debug)]
pub struct FilePage {
    /// The files, the newest first.
    pub files: Vec<Arc<SessionFile>>,
    /// Whether there are older ones.
    pub has_more: bool,
}

/// The files of all sessions.
#[derive(Debug)]
pub(super) struct Files {
    shelf: Mutex<Shelf>,
    bytes: usize,
}

/// What is held, by age and by all that it is asked for by.
#[derive(Debug, Default)]
struct Shelf {
    /// Numbered as they came.
    held: BTreeMap<u64, Arc<SessionFile>>,
    next: u64,
    bytes: usize,
    by_id: HashMap<FileId, u64>,
    by_tenant: HashMap<TenantId, BTreeSet<u64>>,
    by_session: HashMap<SessionKey, BTreeSet<u64>>,
}

impl Files {
    /// Holds files of so many bytes together.
    pub(super) fn new(bytes: usize) -> Self {
        Self { shelf: Mutex::default(), bytes }
    }

    /// Takes in the files among the events of a session's turn.
    pub(super) fn take_in(&self, session: &SessionKey, events: &[TurnEvent]) {
        for event in events {
            let TurnEvent::File(file) = event else { continue };
            self.add(SessionFile {
                session: session.clone(),
                file: Arc::clone(file),
                created_at: SystemTime::now(),
            });
        }
    }

    fn add(&self, file: SessionFile) {
        let weight = file.weight();
        if weight > self.bytes {
            // It would push all others out and still have no room.
            tracing::warn!(
                session = %file.session.id,
                bytes = file.file.bytes.len(),
                "a file is larger than session.files_bytes and cannot be fetched"
            );
            return;
        }
        let mut shelf = self.shelf();
        while shelf.bytes + weight > self.bytes {
            let Some((&oldest, _)) = shelf.held.first_key_value() else { break };
            shelf.remove(oldest);
        }
        shelf.put(file, weight);
    }

    /// A tenant's file of this id.
    pub(super) fn get(&self, tenant: &TenantId, id: &FileId) -> Option<Arc<SessionFile>> {
        self.shelf().find(tenant, id).map(|(_, file)| file)
    }

    /// At most `limit` of a tenant's files that are older than `after`, the newest first; `None`
    /// when the tenant has no file `after`.
    pub(super) fn page(
        &self,
        tenant: &TenantId,
        after: Option<&FileId>,
        limit: usize,
    ) -> Option<FilePage> {
        let shelf = self.shelf();
        let before = match after {
            Some(id) => shelf.find(tenant, id)?.0,
            None => shelf.next,
        };
        let numbers = shelf.by_tenant.get(tenant).into_iter().flat_map(|all| all.range(..before));
        let mut older = numbers.rev().filter_map(|number| shelf.held.get(number));
        let files = older.by_ref().take(limit).cloned().collect();
        Some(FilePage { files, has_more: older.next().is_some() })
    }

    /// Forgets a tenant's file; says whether there was one.
    pub(super) fn remove(&self, tenant: &TenantId, id: &FileId) -> bool {
        let mut shelf = self.shelf();
        let found = shelf.find(tenant, id);
        found.is_some_and(|(number, _)| shelf.remove(number))
    }

    /// A session is over: forgets its files.
    pub(super) fn forget(&self, session: &SessionKey) {
        let mut shelf = self.shelf();
        for number in shelf.by_session.remove(session).unwrap_or_default() {
            shelf.remove(number);
        }
    }

    /// A lock whose holder panicked guards plain data; at worst a file is found under one name
    /// and not under another.
    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shelf {
    fn find(&self, tenant: &TenantId, id: &FileId) -> Option<(u64, Arc<SessionFile>)> {
        let number = *self.by_id.get(id)?;
        let file = self.held.get(&number).filter(|file| file.session.tenant == *tenant)?;
        Some((number, Arc::clone(file)))
    }

    fn put(&mut self, file: SessionFile, weight: usize) {
        let number = self.next;
        self.next += 1;
        self.bytes += weight;
        self.by_id.insert(file.file.id.clone(), number);
        self.by_tenant.entry(file.session.tenant.clone()).or_default().insert(number);
        self.by_session.entry(file.session.clone()).or_default().insert(number);
        self.held.insert(number, Arc::new(file));
    }

    fn remove(&mut self, number: u64) -> bool {
        let Some(file) = self.held.remove(&number) else { return false };
        self.bytes -= file.weight();
        self.by_id.remove(&file.file.id);
        if let Some(theirs) = self.by_tenant.get_mut(&file.session.tenant) {
            theirs.remove(&number);
            if theirs.is_empty() {
                self.by_tenant.remove(&file.session.tenant);
            }
        }
        if let Some(its) = self.by_session.get_mut(&file.session) {
            its.remove(&number);
            if its.is_empty() {
                self.by_session.remove(&file.session);
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn key(tenant: &str, session: &str) -> SessionKey {
        SessionKey { tenant: tenant.parse().unwrap(), id: session.parse().unwrap() }
    }

    fn file(id: &str, length: usize) -> TurnEvent {
        TurnEvent::File(Arc::new(OutputFile {
            id: id.parse().unwrap(),
            name: "plan.csv".to_owned(),
            media_type: "text/csv".to_owned(),
            bytes: Bytes::from(vec![b'x'; length]),
        }))
    }

    fn ids(page: FilePage) -> Vec<String> {
        page.files.iter().map(|held| held.file.id.to_string()).collect()
    }

    fn is_held(files: &Files, tenant: &str, id: &str) -> bool {
        files.get(&tenant.parse().unwrap(), &id.parse().unwrap()).is_some()
    }

    fn is_empty(files: &Files) -> bool {
        let shelf = files.shelf();
        shelf.bytes == 0
            && shelf.held.is_empty()
            && shelf.by_id.is_empty()
            && shelf.by_tenant.is_empty()
            && shelf.by_session.is_empty()
    }

    #[test]
    fn a_file_is_found_by_its_id_and_by_nobody_elses_tenant() {
        let files = Files::new(1 << 20);
        let events = [TurnEvent::Started, file("file-1", 3), TurnEvent::Text("done".into())];
        files.take_in(&key("acme", "s1"), &events);
        let found = files.get(&"acme".parse().unwrap(), &"file-1".parse().unwrap()).unwrap();
        assert_eq!((&*found.file.bytes, found.session.id.as_str()), (&b"xxx"[..], "s1"));
        assert!(!is_held(&files, "globex", "file-1"));
        assert!(!files.remove(&"globex".parse().unwrap(), &"file-1".parse().unwrap()));
        assert!(files.remove(&"acme".parse().unwrap(), &"file-1".parse().unwrap()));
        assert!(!files.remove(&"acme".parse().unwrap(), &"file-1".parse().unwrap()));
        assert!(is_empty(&files));
    }

    #[test]
    fn beyond_the_bound_the_oldest_go_whosever_they_are() {
        let files = Files::new(3_000);
        files.take_in(&key("acme", "s1"), &[file("file-1", 500), file("file-2", 100)]);
        files.take_in(&key("globex", "s1"), &[file("file-3", 1_000)]);
        assert!(!is_held(&files, "acme", "file-1"));
        assert!(is_held(&files, "acme", "file-2") && is_held(&files, "globex", "file-3"));
        assert!(files.shelf().bytes <= 3_000);
    }

    #[test]
    fn a_file_that_never_fits_pushes_no_other_out() {
        let files = Files::new(3_000);
        files.take_in(&key("acme", "s1"), &[file("file-1", 500), file("file-2", 3_000)]);
        assert!(is_held(&files, "acme", "file-1") && !is_held(&files, "acme", "file-2"));
    }

    #[test]
    fn a_session_that_is_over_takes_its_own_files_along() {
        let files = Files::new(1 << 20);
        files.take_in(&key("acme", "s1"), &[file("file-1", 3), file("file-2", 3)]);
        files.take_in(&key("acme", "s2"), &[file("file-3", 3)]);
        files.forget(&key("acme", "s1"));
        files.forget(&key("acme", "nobody"));
        assert!(!is_held(&files, "acme", "file-1") && !is_held(&files, "acme", "file-2"));
        assert!(is_held(&files, "acme", "file-3"));
        files.forget(&key("acme", "s2"));
        assert!(is_empty(&files));
    }

    #[test]
    fn pages_go_from_the_newest_to_the_oldest_of_a_tenant() {
        let files = Files::new(1 << 20);
        for number in 1..=5 {
            let tenant = if number == 3 { "globex" } else { "acme" };
            files.take_in(&key(tenant, "s1"), &[file(&format!("file-{number}"), 3)]);
        }
        let acme = "acme".parse().unwrap();
        let first = files.page(&acme, None, 2).unwrap();
        assert!(first.has_more);
        assert_eq!(ids(first), ["file-5", "file-4"]);
        let rest = files.page(&acme, Some(&"file-4".parse().unwrap()), 2).unwrap();
        assert!(!rest.has_more);
        assert_eq!(ids(rest), ["file-2", "file-1"]);
        assert!(files.page(&acme, Some(&"file-3".parse().unwrap()), 2).is_none());
        assert!(ids(files.page(&"nobody".parse().unwrap(), None, 2).unwrap()).is_empty());
    }
}
