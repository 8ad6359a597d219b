use std::sync::Arc;

use crate::turn::Logprobs;

use super::*;

#[test]
fn likelihoods_are_asked_for_in_the_words_of_the_chat() {
    let asked = |members: Value| {
        let mut body = json!({"input": "x"});
        body.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        Value::from(decoded(&body).generation.extra)
    };
    let include = json!(["message.output_text.logprobs"]);
    assert_eq!(asked(json!({"include": include})), json!({"logprobs": true}));
    let both = asked(json!({"include": include, "top_logprobs": 3}));
    assert_eq!(both, json!({"logprobs": true, "top_logprobs": 3}));
    assert_eq!(asked(json!({"top_logprobs": 3})), json!({}));
}

#[test]
fn likelihoods_follow_the_text_that_they_are_of() {
    let told = |token: &str| json!({"token": token, "logprob": -0.5, "bytes": null, "rank": 1});
    let logprobs = |content: Vec<Value>| {
        let told = Logprobs { content, refusal: Vec::new(), weight: 0 };
        TurnEvent::Logprobs(Arc::new(told))
    };
    let entry = r#"{"token":"é","logprob":-0.5,"bytes":[195,169],"top_logprobs":[]}"#;
    let events = [
        TurnEvent::Started,
        // Nothing that these could be of.
        logprobs(vec![told("x")]),
        text("é"),
        logprobs(vec![told("é"), json!("no entry")]),
        logprobs(vec![json!(null)]),
        text("é"),
        logprobs(vec![told("é")]),
        finished(),
    ];
    let stream = streamed(&head(), None, &events);
    let deltas: Vec<_> = documents(&stream)
        .iter()
        .filter(|it| it["type"] == "response.output_text.delta")
        .map(|it| (it["delta"].as_str().unwrap().to_owned(), it["logprobs"].to_string()))
        .collect();
    let one = format!("[{}]", serde_json::from_str::<Value>(entry).unwrap());
    let none = "[]".to_owned();
    let expected = [("é", &none), ("", &one), ("é", &none), ("", &one)];
    assert_eq!(deltas, expected.map(|(text, told)| (text.to_owned(), told.clone())));
    let part = format!(r#""text":"éé","annotations":[],"logprobs":[{entry},{entry}]"#);
    assert!(stream.contains(&part), "{stream}");
    assert!(stream.contains(&format!(r#""text":"éé","logprobs":[{entry},{entry}]"#)), "{stream}");
}
