//! `outcrop keys` and `outcrop config`, on files; and what needs no server at all.

use std::fs;

use serde_json::Value;

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
    assert!(models.contains("llama3 at 127.0.0.1:11434"), "{models}");
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

#[tokio::test]
async fn scripts_can_read_what_was_made_and_what_is_wrong() {
    let path = new_folder().join("o.toml");
    fs::write(&path, "# ours\n[turn]\nqueue = 3\n").unwrap();
    let path = path.to_str().unwrap();
    let made = run(&["keys", "create", "--tenant", "acme", "--config", path, "--json"]).await;
    let made: Value = serde_json::from_str(&made.well()).unwrap();
    let text = fs::read_to_string(path).unwrap();
    assert!(text.contains(made["hash"].as_str().unwrap()) && made["tenant"] == "acme", "{made}");
    let check = async || {
        let done = run(&["config", "check", "--config", path, "--json"]).await;
        (done.code, serde_json::from_str::<Value>(&done.out).unwrap())
    };
    let (code, told) = check().await;
    assert_eq!((code, &told["is_in_order"], &told["keys"]), (Some(0), &true.into(), &1.into()));
    fs::write(path, "[turn]\nqueu = 3\n").unwrap();
    let (code, told) = check().await;
    assert_eq!((code, &told["problems"][0]["line"]), (Some(2), &2.into()), "{told}");
    assert_eq!(told["problems"][0]["setting"], "turn.queu");
}

#[cfg(unix)]
#[tokio::test]
async fn a_file_is_changed_whole_or_not_at_all_and_secrets_are_watched_over() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = new_folder();
    let file = folder.join("o.toml");
    let path = file.to_str().unwrap();
    let mode = |mode| fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
    let before = "# ours\n[turn]\nqueue = 3  # enough\n";
    fs::write(&file, before).unwrap();
    mode(0o644);
    let set = async |setting: &str, value: &str| {
        run(&["config", "set", setting, value, "--config", path]).await
    };
    let secret = set("openai.api_key", "sk-very-secret").await;
    assert_eq!(secret.code, Some(0), "{secret:?}");
    let told = format!("{}{}", secret.out, secret.err);
    assert!(!told.contains("sk-very-secret") && told.contains("chmod 600"), "{told}");
    assert!(fs::read_to_string(&file).unwrap().starts_with(before));
    mode(0o600);
    assert_eq!(set("openai.api_key", "sk-other-secret").await.err, "");
    let kept = fs::read_to_string(&file).unwrap();
    mode(0o400);
    let create = ["keys", "create", "--tenant", "acme", "--config", path];
    let init = ["config", "init", "--yes", "--force", "--config", path];
    for done in [set("turn.queue", "4").await, run(&create).await, run(&init).await] {
        assert!(done.code == Some(1) && done.err.contains("read-only"), "{done:?}");
        assert!(!done.out.contains("oc_"), "a key that is kept nowhere: {done:?}");
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), kept);
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 1, "no draft is left");
    let nowhere = folder.join("no/such/o.toml");
    let done = run(&["config", "init", "--yes", "--config", nowhere.to_str().unwrap()]).await;
    assert!(done.code == Some(1) && done.err.contains("cannot be written"), "{done:?}");
}
