//! Clients that know nothing of sessions and resend all that was said.

use super::ask::{Answer, Stateless};
use super::broker::{Broker, Setup};

const TWO_TENANTS: &str = "[[keys]]\ntenant = \"acme\"\nkey = \"sk-acme-first-key\"\n\n\
                           [[keys]]\ntenant = \"globex\"\nkey = \"sk-globex-first-key\"\n";

/// The upstream session of each call, in order.
async fn upstream_sessions(broker: &Broker) -> Vec<String> {
    let calls = broker.calls().await;
    calls.iter().map(|call| call["session"].as_str().unwrap().to_owned()).collect()
}

fn has_seconds_session(first: &Answer, second: &Answer) -> bool {
    first.session() == second.session()
}

#[tokio::test]
async fn a_client_that_resends_everything_has_one_upstream_session_and_sends_up_what_is_new() {
    let broker = Broker::start().await;
    let mut client = Stateless::new(&broker);
    let first = client.say("Hello, my name is Ann").await;
    let second = client.say("what is my name?").await;
    let third = client.say("how many turns did we talk about?").await;
    assert_eq!(
        [first.origin(), second.origin(), third.origin()],
        ["new", "continued", "continued"]
    );
    assert!(has_seconds_session(&first, &second) && has_seconds_session(&second, &third));
    assert_eq!(second.text, "Your name is Ann.");
    assert!(third.text.contains("I hold 2 turns"), "{}", third.text);
    let calls = broker.calls().await;
    assert_eq!(calls[1]["input_text"], "what is my name?");
    assert!(calls.iter().all(|call| call["history_messages"] == 0));
    let sessions = upstream_sessions(&broker).await;
    assert!(sessions.iter().all(|session| *session == sessions[0]), "{sessions:?}");
    assert!(sessions[0].len() >= 33, "ours, and long enough not to be guessed");
}

#[tokio::test]
async fn a_transcript_edited_midway_forks_and_leaves_the_old_branch_as_it_was() {
    let broker = Broker::start().await;
    let mut original = Stateless::new(&broker);
    original.say("Hello, my name is Ann").await;
    let mut edited = original.clone();
    let second = original.say("I want to borrow $5,000").await;
    let forked = edited.say("I want to borrow $9,000").await;
    assert_eq!(forked.origin(), "forked");
    assert_ne!(forked.session(), second.session());
    let sessions = upstream_sessions(&broker).await;
    assert_eq!(sessions[0], sessions[1]);
    assert_ne!(sessions[1], sessions[2], "a fork is a new upstream session");
    assert_eq!(broker.calls().await[2]["history_messages"], 2, "seeded with what was before");
    let amount = "how much did I want to borrow, and what is my name?";
    let (on_old, on_new) = (original.say(amount).await, edited.say(amount).await);
    assert_eq!([on_old.origin(), on_new.origin()], ["continued", "continued"]);
    assert!(on_old.text.contains("$5,000") && on_old.text.contains("Ann"), "{}", on_old.text);
    assert!(on_new.text.contains("$9,000") && on_new.text.contains("Ann"), "{}", on_new.text);
    assert!((broker.metric("outcrop_sessions_forked_total", &[]).await - 1.0).abs() < 0.1);
}

#[tokio::test]
async fn an_answer_that_is_regenerated_does_not_see_the_one_it_replaces() {
    let broker = Broker::start().await;
    let mut client = Stateless::new(&broker);
    client.say("Hello, my name is Ann").await;
    let before = client.clone();
    client.say("how many turns did we talk about?").await;
    let again = before.next("how many turns did we talk about?").answer().await;
    assert_eq!(again.origin(), "forked");
    assert!(again.text.contains("I hold 1 turn "), "{}", again.text);
}

#[tokio::test]
async fn two_clients_that_begin_with_the_same_words_keep_a_session_each() {
    let broker = Broker::start().await;
    let (mut one, mut two) = (Stateless::new(&broker), Stateless::new(&broker));
    one.say("Hello there").await;
    two.say("Hello there").await;
    let first = one.say("my name is Ann").await;
    let second = two.say("my name is Bob").await;
    assert_eq!([first.origin(), second.origin()], ["continued", "continued"]);
    assert!(!has_seconds_session(&first, &second));
    assert_eq!(one.say("what is my name?").await.text, "Your name is Ann.");
    assert_eq!(two.say("what is my name?").await.text, "Your name is Bob.");
}

#[tokio::test]
async fn another_tenant_with_the_same_transcript_gets_a_session_of_its_own() {
    let broker = Broker::with(Setup { tables: TWO_TENANTS, ..Setup::default() }).await;
    let mut acme = Stateless::with_key(&broker, "sk-acme-first-key");
    let theirs = acme.say("Hello, my name is Ann").await;
    let mut globex = Stateless::with_key(&broker, "sk-globex-first-key");
    globex.transcript = acme.transcript.clone();
    let answer = globex.say("what is my name?").await;
    assert_eq!(answer.origin(), "rehydrated");
    assert!(!has_seconds_session(&theirs, &answer));
    let sessions = upstream_sessions(&broker).await;
    assert_ne!(sessions[0], sessions[1]);
}

#[tokio::test]
async fn a_transcript_that_nobody_holds_seeds_a_new_upstream_session() {
    let broker = Broker::start().await;
    let mut client = Stateless::new(&broker);
    for (role, text) in [("user", "my name is Ann"), ("assistant", "Hello Ann.")] {
        client.transcript.push((role.to_owned(), text.to_owned()));
    }
    let answer = client.say("what is my name?").await;
    assert_eq!(answer.origin(), "rehydrated");
    assert_eq!(answer.text, "Your name is Ann.");
    assert_eq!(broker.calls().await[0]["history_messages"], 2);
    assert_eq!(client.say("thanks for that").await.origin(), "continued");
}

#[tokio::test]
async fn a_system_prompt_and_space_around_answers_do_not_break_the_thread() {
    let broker = Broker::start().await;
    let prompt = ("system", "You are a helpful banker.");
    let first = broker.send(&[prompt, ("user", "my name is Ann")]).answer().await;
    let trimmed = format!("  {}\n", first.text);
    let messages =
        [prompt, ("user", "my name is Ann"), ("assistant", &trimmed), ("user", "who am I?")];
    let second = broker.send(&messages).answer().await;
    assert_eq!([first.origin(), second.origin()], ["new", "continued"]);
    assert_eq!(second.text, "Your name is Ann.");
    assert_eq!(broker.calls().await[1]["input_text"], "who am I?");
}

#[tokio::test]
async fn a_turn_that_failed_can_be_asked_again_in_the_same_session() {
    let broker = Broker::start().await;
    let mut client = Stateless::new(&broker);
    let first = client.say("my name is Ann").await;
    let failed = client.next("what is my name?").fault("internal").answer().await;
    assert_eq!(failed.status, 503, "{failed:?}");
    let again = client.say("what is my name?").await;
    assert_eq!(again.origin(), "continued");
    assert!(has_seconds_session(&first, &again));
    assert_eq!(again.text, "Your name is Ann.");
}

#[tokio::test]
async fn a_session_that_failed_a_turn_by_name_is_still_only_one_to_those_who_resend() {
    let broker = Broker::start().await;
    let mut client = Stateless::new(&broker);
    let first = client.say("Hello there").await;
    let named = broker.ask("are you there?").session(first.session()).fault("internal");
    assert_eq!(named.answer().await.status, 503);
    let mut twin = client.clone();
    let (one, two) = (client.say("my name is Ann").await, twin.say("my name is Bob").await);
    assert!(!has_seconds_session(&one, &two));
    assert_eq!([one.origin(), two.origin()], ["continued", "forked"]);
}
