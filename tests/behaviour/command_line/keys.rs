//! `outcrop keys` and `outcrop config`, on files; and what needs no server at all.

use std::fs;

use super::super::broker::new_folder;
use super::{run, run_with};

#[tokio::test]
async fn keys_come_and_go_and_the_comments_stay() {
    let path = new_folder().join("o.toml");
    let before = "# ours\n[turn]\nqueue = 3  # enough\n";
    fs::write(&path, before).unwrap();
    let path = path.to_str().unwrap();
    let made =
        run(&["keys", "create", "--tenant", "acme", "--concurrent-turns", "5", "--config", path])
            .await;
    assert_eq!(made.code, Some(0), "{made:?}");
    assert!(made.out.starts_with("oc_") && made.out.trim_end().len() == 67, "{made:?}");
    assert!(!made.err.contains("oc_"), "the key is on standard output alone");
    let text = fs::read_to_string(path).unwrap();
    assert!(text.starts_with(before) && text.contains("concurrent_turns = 5"), "{text}");
    assert!(!text.contains(made.out.trim_end()), "only its hash is kept");
    let list = run(&["keys", "list", "--config", path]).await.well();
    let hash = list.lines().nth(1).unwrap().split(' ').next().unwrap();
    assert!(text.contains(&format!("sha256:{hash}")) && list.contains("5 turns"), "{list}");
    let unknown = run(&["keys", "revoke", "ffffffffffff", "--config", path]).await;
    assert!(unknown.code == Some(2) && unknown.err.contains("no key fits"), "{unknown:?}");
    let revoked = run(&["keys", "revoke", hash, "--config", path]).await;
    assert_eq!((revoked.code, fs::read_to_string(path).unwrap().as_str()), (Some(0), before));
    assert!(revoked.err.contains("no key is left"), "{revoked:?}");
}

#[tokio::test]
async fn a_new_configuration_is_in_order_and_replaces_none() {
    let path = new_folder().join("o.toml");
    let path = path.to_str().unwrap();
    let init = ["config", "init", "--yes", "--config", path];
    let made = run(&init).await;
    assert!(made.code == Some(0) && made.err.contains("the API key"), "{made:?}");
    let check = run(&["config", "check", "--config", path]).await.well();
    assert!(check.contains("is in order: 1 model, 1 key"), "{check}");
    let again = run(&init).await;
    assert!(again.code == Some(2) && again.err.contains("--force"), "{again:?}");
    let answers = "openai\nlocal\n\n\n\nno\n";
    let forced = ["config", "init", "--force", "--config", path];
    assert_eq!(run_with(&forced, answers).await.code, Some(0));
    let models = run(&["models", "--config", path]).await.well();
    assert!(models.contains("llama3 at http://127.0.0.1:11434/v1"), "{models}");
}

#[tokio::test]
async fn shells_and_man_are_told_every_verb() {
    for shell in ["bash", "zsh", "fish"] {
        let script = run(&["completions", shell]).await.well();
        assert!(script.contains("compare"), "{shell}");
    }
    let folder = new_folder().join("man");
    run(&["man", folder.to_str().unwrap()]).await.well();
    let page = fs::read_to_string(folder.join("outcrop-compare.1")).unwrap();
    assert!(page.contains(".TH outcrop-compare 1") || page.contains(".TH "), "{page}");
    assert!(folder.join("outcrop.1").exists());
}
