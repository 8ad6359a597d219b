//! How long things take in a large file: to be run by hand.

use std::time::Instant;

use super::super::super::contract::{key, running, saying, session};
use super::*;

/// Sessions in the file; fifty messages are in every thousandth.
const SESSIONS: u64 = 1_000_000;
/// Sessions that are read.
const READ: u64 = 1_000;
const MESSAGES: usize = 50;

fn fill(path: &Path) {
    let mut db = file::open_to_write(path, Synchronous::Normal).unwrap();
    let text = "What a person says in one message, which is some hundred bytes long. ".repeat(2);
    let rich: Vec<&str> = vec![&text; MESSAGES];
    let mut number = 0;
    while number < SESSIONS {
        let transaction = db.transaction().unwrap();
        for number in number..number + 10_000 {
            let texts = if number % (SESSIONS / READ) == 0 { &rich[..] } else { &rich[..2] };
            let tenant = format!("tenant-{}", number % 100);
            let record = saying(session(&tenant, &number.to_string(), number), texts);
            let save = Save { record: Arc::new(record), unchanged: 0 };
            sessions::save(&transaction, &save, 0).unwrap();
        }
        transaction.commit().unwrap();
        number += 10_000;
    }
}

fn report(what: &str, mut took: Vec<Duration>) -> Duration {
    took.sort();
    let percentile = |part: usize| took[(took.len() * part / 100).min(took.len() - 1)];
    println!(
        "{what}: p50 {:?}, p99 {:?}, most {:?}",
        percentile(50),
        percentile(99),
        percentile(100)
    );
    percentile(99)
}

#[tokio::test]
#[ignore = "makes a file of a gigabyte; run it with --release --nocapture"]
async fn a_session_is_read_in_five_milliseconds_among_a_million() {
    let folder = Folder::new();
    let began = Instant::now();
    fill(&folder.file());
    let size = fs::metadata(folder.file()).unwrap().len() >> 20;
    println!("filled in {:?}: {size} MiB", began.elapsed());
    let began = Instant::now();
    let store = SqliteStore::open(&folder.file(), Options::default()).unwrap();
    println!("opened in {:?}", began.elapsed());
    let step = SESSIONS / READ;
    let mut reads = Vec::new();
    for number in (0..READ).map(|number| number * step) {
        let key = key(&format!("tenant-{}", number % 100), &number.to_string());
        let began = Instant::now();
        let found = store.load(key).await.unwrap().unwrap();
        reads.push(began.elapsed());
        assert_eq!(found.messages.len(), MESSAGES);
    }
    let p99 = report("load of 50 messages", reads);
    let mut censuses = Vec::new();
    for number in 0..READ {
        let began = Instant::now();
        let tenant = format!("tenant-{}", number % 100).parse().unwrap();
        assert_eq!(store.census(tenant).await.unwrap().sessions as u64, SESSIONS / 100);
        censuses.push(began.elapsed());
    }
    report("census", censuses);
    assert!(p99 < Duration::from_millis(5), "{p99:?}");
}

#[tokio::test]
#[ignore = "waits for the disk; run it with --release --nocapture"]
async fn many_turns_become_durable_together() {
    const ROUNDS: usize = 40;
    for at_once in [1, 64] {
        let folder = Folder::new();
        let store = folder.open();
        let began = Instant::now();
        let mut took = Vec::new();
        for round in 0..ROUNDS {
            let asked = (0..at_once).map(|number| {
                let turn = running("acme", "s", &format!("turn_{round}_{number}"));
                let record = saying(session("acme", &format!("{number}"), 1), &["a"]);
                let save = Save { record: Arc::new(record), unchanged: 0 };
                store.begin(turn.begin(Some(save)))
            });
            let asked: Vec<_> = asked.collect();
            let round = Instant::now();
            for outcome in futures_util::future::join_all(asked).await {
                outcome.unwrap();
            }
            took.push(round.elapsed());
        }
        let rate = (ROUNDS * at_once) as f64 / began.elapsed().as_secs_f64();
        report(&format!("{at_once} at once, {rate:.0} a second"), took);
    }
}
