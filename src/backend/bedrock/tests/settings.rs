//! How models are named and set.

use super::super::{check, direct_settings};
use crate::config::Model;

fn model() -> Model {
    Model::new("m".parse().unwrap(), "bedrock")
}

fn direct(rest: &str) -> Option<(Option<String>, String)> {
    let mut model = model();
    direct_settings(&mut model, rest).ok()?;
    Some((model.region, model.text.model_id?))
}

#[test]
fn direct_names_may_hold_a_region_or_an_operation() {
    let id = "us.anthropic.claude-sonnet-4-20250514-v1:0";
    assert_eq!(direct(id), Some((None, id.to_owned())));
    assert_eq!(direct(&format!("converse/{id}")), Some((None, id.to_owned())));
    let region = Some("us-gov-west-1".to_owned());
    assert_eq!(direct(&format!("us-gov-west-1/{id}")), Some((region, id.to_owned())));
    let arn = "arn:aws:bedrock:us-east-1:123456789012:inference-profile/x";
    assert_eq!(direct(arn), Some((None, arn.to_owned())));
    for other in ["", "agent/ABCDEF1234/TSTALIASID", "agentcore/arn:x", "us-east-1/"] {
        assert_eq!(direct(other), None, "{other}");
    }
}

#[test]
fn settings_that_make_no_sense_are_mistakes() {
    let wrong = |set: fn(&mut Model)| {
        let mut model = model();
        model.text.model_id = Some("amazon.nova-lite-v1:0".to_owned());
        set(&mut model);
        check(&model).into_iter().map(|mistake| mistake.setting).collect::<Vec<_>>()
    };
    assert!(wrong(|_| {}).is_empty());
    assert_eq!(wrong(|model| model.text.model_id = None), ["model_id"]);
    assert_eq!(wrong(|model| model.text.model_id = Some("two words".to_owned())), ["model_id"]);
    let version = wrong(|model| model.guardrail.version = Some("1".to_owned()));
    assert_eq!(version, ["guardrail_version"]);
    let tier = wrong(|model| model.text.service_tier = Some("golden".to_owned()));
    assert_eq!(tier, ["service_tier"]);
    let abroad = wrong(|model| {
        let arn = "arn:aws:bedrock:us-east-1:123456789012:inference-profile/x";
        model.text.model_id = Some(arn.to_owned());
        model.text.regions = vec!["eu-west-1".to_owned()];
    });
    assert_eq!(abroad, ["regions"]);
}
