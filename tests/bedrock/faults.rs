//! What goes wrong, and what is made of it.

use outcrop::config::Secret;
use outcrop::turn::{FailureKind, FinishReason, Message, Role};

use crate::front::Front;
use crate::upstream::{HAIKU_3, LLAMA, SONNET_4, Talk, Upstream};

/// A turn of a model that goes wrong in this way.
async fn broken(talk: &mut Talk, fault: &str) -> crate::upstream::Said {
    talk.say(&format!("words: 20; outcrop-emulator-fault: {fault}")).await
}

#[tokio::test]
async fn every_refusal_has_its_kind() {
    let upstream = Upstream::start().await;
    for (fault, kind) in [
        ("throttle", FailureKind::UpstreamThrottled),
        ("validation", FailureKind::UpstreamRejected),
        ("access-denied", FailureKind::ModelNotFound),
        ("access-denied-streaming", FailureKind::UpstreamDenied),
        ("not-found", FailureKind::ModelNotFound),
        ("model-not-ready", FailureKind::UpstreamUnavailable),
        ("internal", FailureKind::UpstreamUnavailable),
        ("503", FailureKind::UpstreamUnavailable),
        ("quota", FailureKind::UpstreamThrottled),
        ("model-timeout", FailureKind::UpstreamTimeout),
        ("model-error", FailureKind::UpstreamDependency),
        ("context-overflow", FailureKind::ContextLengthExceeded),
    ] {
        let mut talk = upstream.talk(HAIKU_3);
        let failure = broken(&mut talk, fault).await.end.unwrap_err();
        assert_eq!(failure.kind, kind, "{fault}: {failure}");
        assert!(!failure.may_have_run, "a model has no side effects");
        talk.say("hello").await.ended(FinishReason::Stop);
    }
}

#[tokio::test]
async fn what_is_temporary_is_tried_again_before_anything_was_said() {
    let upstream = Upstream::start().await;
    for fault in ["throttle:2", "internal:1", "503:2", "model-not-ready:1"] {
        let mut talk = upstream.talk(HAIKU_3);
        broken(&mut talk, fault).await.ended(FinishReason::Stop);
        let page = talk.metrics.render();
        assert!(page.contains(r#"outcrop_upstream_retries_total{backend="bedrock"}"#), "{page}");
    }
    let failure = broken(&mut upstream.talk(HAIKU_3), "throttle:3").await.end.unwrap_err();
    assert_eq!(failure.kind, FailureKind::UpstreamThrottled);
}

#[tokio::test]
async fn a_stream_that_breaks_is_never_a_success() {
    let upstream = Upstream::start().await;
    for fault in ["cut", "end", "garbage", "error-frame", "exception:throttlingException"] {
        for after in [0, 1, 3] {
            let mut talk = upstream.talk(HAIKU_3);
            let said = broken(&mut talk, &format!("{fault}:{after}")).await;
            let failure = said.end.as_ref().unwrap_err();
            let expected = if fault.starts_with("exception") {
                FailureKind::UpstreamThrottled
            } else {
                FailureKind::UpstreamProtocol
            };
            assert_eq!(failure.kind, expected, "{fault}:{after}: {failure}");
            assert_eq!(said.text().is_empty(), after == 0, "{fault}:{after}: {said:?}");
            talk.say("hello").await.ended(FinishReason::Stop);
        }
    }
}

#[tokio::test]
async fn an_event_that_nobody_knows_and_a_slow_wire_change_nothing() {
    let upstream = Upstream::start().await;
    for fault in ["unknown-event", "slow"] {
        broken(&mut upstream.talk(HAIKU_3), fault).await.ended(FinishReason::Stop);
    }
}

#[tokio::test]
async fn an_answer_in_one_piece_fails_as_one_that_streams() {
    let upstream = Upstream::start().await;
    for (fault, kind) in [
        ("throttle", FailureKind::UpstreamThrottled),
        ("validation", FailureKind::UpstreamRejected),
        ("exception:modelErrorException", FailureKind::UpstreamDependency),
    ] {
        let mut talk = Talk::at(upstream.address, LLAMA, |model| model.stream = false);
        assert_eq!(broken(&mut talk, fault).await.end.unwrap_err().kind, kind, "{fault}");
        talk.say("hello").await.ended(FinishReason::Stop);
    }
}

#[tokio::test]
async fn a_conversation_that_is_too_long_says_so() {
    let upstream = Upstream::start().await;
    let mut talk = upstream.talk("amazon.titan-text-express-v1");
    let failure = talk.say(&"many words ".repeat(20_000)).await.end.unwrap_err();
    assert_eq!(failure.kind, FailureKind::ContextLengthExceeded, "{failure}");
    assert_eq!(failure.param.as_deref(), Some("messages"));
}

#[tokio::test]
async fn models_that_are_not_there_are_not_found() {
    let upstream = Upstream::start().await;
    let bare = SONNET_4.strip_prefix("us.").unwrap();
    let failure = upstream.talk(bare).say("hello").await.end.unwrap_err();
    assert_eq!(failure.kind, FailureKind::ModelNotFound);
    assert!(failure.message.contains("inference profile"), "{failure}");
    let failure = upstream.talk("nobody.knows-me").say("hello").await.end.unwrap_err();
    assert_eq!(failure.kind, FailureKind::ModelNotFound, "{failure}");
}

#[tokio::test]
async fn the_next_region_answers_where_one_throttles() {
    let upstream = Upstream::start().await;
    let front = Front::throttling("eu-west-1", upstream.address).await;
    let regions = ["eu-west-1", "eu-central-1"];
    let mut talk = Talk::at(front.address, HAIKU_3, |model| {
        model.text.regions = regions.map(str::to_owned).to_vec();
    });
    talk.say("hello").await.ended(FinishReason::Stop);
    assert_eq!(front.regions(), regions);
    talk.say("and again").await.ended(FinishReason::Stop);
    // The second region's connection is kept, so its requests pass unseen from then on.
    assert_eq!(front.regions(), ["eu-west-1", "eu-central-1", "eu-west-1"]);
}

#[tokio::test]
async fn regions_that_all_throttle_are_asked_again_after_a_while() {
    let upstream = Upstream::start().await;
    let front = Front::throttling("eu-west-1", upstream.address).await;
    let mut talk = Talk::at(front.address, HAIKU_3, |model| {
        model.text.regions = ["eu-west-1".to_owned()].to_vec();
    });
    let failure = talk.say("hello").await.end.unwrap_err();
    assert_eq!(failure.kind, FailureKind::UpstreamThrottled);
    assert_eq!(front.regions().len(), 3);
}

#[tokio::test]
async fn an_arn_is_asked_in_its_own_region() {
    let upstream = Upstream::start().await;
    let front = Front::throttling("nowhere", upstream.address).await;
    let arn = "arn:aws:bedrock:eu-north-1:123456789012:application-inference-profile/abcdef123456";
    Talk::at(front.address, arn, |_| {}).say("hello").await.ended(FinishReason::Stop);
    assert_eq!(
        front.regions(),
        ["eu-north-1"; 2],
        "about what is behind it, and then for the answer"
    );
}

#[tokio::test]
async fn a_models_own_key_stands_in_for_credentials() {
    let upstream = Upstream::start().await;
    let front = Front::throttling("nowhere", upstream.address).await;
    let mut talk = Talk::at(front.address, HAIKU_3, |model| {
        model.text.api_key = Some(Secret::new("bedrock-api-key-1"));
    });
    talk.say("hello").await.ended(FinishReason::Stop);
    assert_eq!(front.authorizations(), ["Bearer bedrock-api-key-1"]);
}

#[tokio::test]
async fn urls_that_lead_inside_are_refused_before_anybody_is_asked() {
    let upstream = Upstream::start().await;
    let url = format!("http://{}/picture.png", upstream.address);
    let part = serde_json::json!({"type": "image_url", "image_url": {"url": url}});
    let kind = "image_url".to_owned();
    let part = outcrop::turn::Part::Attachment { kind, value: std::sync::Arc::new(part) };
    let message = Message { parts: vec![part], ..Message::text(Role::User, "") };
    let refused = async |fetches: bool| {
        let mut talk = Talk::at(upstream.address, HAIKU_3, |model| {
            model.text.fetch_urls = fetches;
        });
        talk.send(vec![message.clone()]).await.end.unwrap_err()
    };
    let failure = refused(true).await;
    assert!(failure.message.contains("not public"), "{failure}");
    assert_eq!(failure.param.as_deref(), Some("messages"));
    assert_eq!(refused(false).await.kind, FailureKind::UnsupportedParameter);
}
