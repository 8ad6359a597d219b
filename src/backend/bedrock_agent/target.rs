//! What an input of a hand-over asks for, and what a result answers: the same members name it.

use serde_json::Value;

use crate::turn::Confirmation;

/// What an input asks for, and a result answers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Target<'a> {
    is_api: bool,
    fields: &'a Value,
}

impl<'a> Target<'a> {
    /// From an input or a result in the service's spelling.
    pub(super) fn read(value: &'a Value) -> Option<Self> {
        let members = [
            ("functionInvocationInput", false),
            ("functionResult", false),
            ("apiInvocationInput", true),
            ("apiResult", true),
        ];
        let (fields, is_api) =
            members.iter().find_map(|(name, is_api)| Some((value.get(name)?, *is_api)))?;
        fields.get("actionGroup")?.as_str()?;
        Some(Self { is_api, fields })
    }

    /// Whether it is an operation of an API schema, else a function.
    pub(super) fn is_api(&self) -> bool {
        self.is_api
    }

    /// A member, where it is a text.
    pub(super) fn text(&self, name: &str) -> Option<&'a str> {
        self.fields.get(name)?.as_str()
    }

    /// The action group.
    pub(super) fn group(&self) -> &'a str {
        self.text("actionGroup").unwrap_or_default()
    }

    /// Whether a result for this target answers the one that was asked. A result need not
    /// name the collaborator.
    pub(super) fn answers(&self, asked: &Target<'_>) -> bool {
        let same = |name| self.text(name) == asked.text(name);
        let method = |target: &Target<'_>| target.text("httpMethod").map(str::to_lowercase);
        self.is_api == asked.is_api
            && same("actionGroup")
            && same("function")
            && same("apiPath")
            && method(self) == method(asked)
            && (self.text("agentId").is_none() || same("agentId"))
    }

    /// Whether a person has to agree.
    pub(super) fn confirmation(&self) -> Confirmation {
        match self.text("actionInvocationType") {
            Some("USER_CONFIRMATION") => Confirmation::Decision,
            Some("USER_CONFIRMATION_AND_RESULT") => Confirmation::DecisionAndResult,
            _ => Confirmation::None,
        }
    }

    /// For messages; bounded, since clients write it.
    pub(super) fn name(&self) -> String {
        let action = match (self.text("function"), self.text("httpMethod"), self.text("apiPath")) {
            (Some(function), ..) => function.to_owned(),
            (None, method, path) => {
                format!("{} {}", method.unwrap_or_default(), path.unwrap_or_default())
            }
        };
        let name = format!("{}.{action}", self.group());
        format!("{:?}", name.chars().take(100).collect::<String>())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_result_answers_the_input_that_its_members_name() {
        let input = json!({ "apiInvocationInput": { "actionGroup": "Orders", "apiPath": "/o",
            "httpMethod": "GET", "agentId": "A1", "actionInvocationType": "USER_CONFIRMATION" } });
        let asked = Target::read(&input).unwrap();
        assert_eq!(asked.confirmation(), Confirmation::Decision);
        let answers = |result| Target::read(&result).is_some_and(|result| result.answers(&asked));
        let result = |fields: Value| json!({ "apiResult": fields });
        let same = json!({ "actionGroup": "Orders", "apiPath": "/o", "httpMethod": "get" });
        assert!(answers(result(same.clone())));
        assert!(!answers(json!({ "functionResult": same })));
        for (name, value) in [("apiPath", "/p"), ("httpMethod", "PUT"), ("agentId", "A2")] {
            let mut other =
                json!({ "actionGroup": "Orders", "apiPath": "/o", "httpMethod": "GET" });
            other[name] = value.into();
            assert!(!answers(result(other)), "{name}");
        }
        assert!(Target::read(&json!({ "apiResult": {} })).is_none());
    }
}
