//! What an agent that comes with the call may hand over.

use std::collections::BTreeMap;

use super::actions::{Action, Argument, Target, Wanted};

/// A declared function.
#[derive(Debug)]
pub(super) struct Function {
    /// Its action group.
    pub(super) group: String,
    /// Its name.
    pub(super) name: String,
    /// The types of its parameters, by their names.
    pub(super) types: BTreeMap<String, String>,
    /// Whether the user is to be asked before it is run.
    pub(super) is_confirmed: bool,
}

/// A declared operation of an API.
#[derive(Debug)]
pub(super) struct Operation {
    /// Its action group.
    pub(super) group: String,
    /// `operationId`
    pub(super) id: Option<String>,
    /// Its method, in capitals.
    pub(super) method: String,
    /// Its path.
    pub(super) path: String,
    /// The types of its parameters, by their names.
    pub(super) parameters: BTreeMap<String, String>,
    /// The types of the properties of its body, by their names.
    pub(super) body: BTreeMap<String, String>,
    /// Whether it takes a body.
    pub(super) has_body: bool,
    /// Whether the user is to be asked before it is run.
    pub(super) is_confirmed: bool,
}

/// Everything that was declared.
#[derive(Debug, Default)]
pub(super) struct ToolBox {
    /// The functions.
    pub(super) functions: Vec<Function>,
    /// The operations.
    pub(super) operations: Vec<Operation>,
}

impl ToolBox {
    /// The action as it is declared, or `None` for one that is not. A call by the id of an
    /// operation is one of the operation, with its arguments put where they belong.
    pub(super) fn declared(&self, action: Action) -> Option<Action> {
        let fits = |group: &str| action.group.as_deref().is_none_or(|wanted| wanted == group);
        let (group, is_confirmed, action) = match &action.target {
            Target::Function(name) => {
                let is_meant = |known: &&Function| known.name == *name && fits(&known.group);
                match self.functions.iter().find(is_meant) {
                    Some(known) => (&known.group, known.is_confirmed, known.typed(action)),
                    None => {
                        let is_meant = |known: &&Operation| {
                            known.id.as_ref() == Some(name) && fits(&known.group)
                        };
                        let known = self.operations.iter().find(is_meant)?;
                        (&known.group, known.is_confirmed, known.called(action))
                    }
                }
            }
            Target::Api { method, path } => {
                let is_meant = |known: &&Operation| {
                    known.method == *method && known.path == *path && fits(&known.group)
                };
                let known = self.operations.iter().find(is_meant)?;
                (&known.group, known.is_confirmed, known.typed(action))
            }
        };
        let wanted = match action.wanted {
            Wanted::Result if is_confirmed => Wanted::ConfirmationAndResult,
            wanted => wanted,
        };
        Some(Action { group: Some(group.clone()), wanted, ..action })
    }
}

impl Function {
    fn typed(&self, mut action: Action) -> Action {
        give_types(&mut action.parameters, &self.types);
        action
    }
}

impl Operation {
    fn typed(&self, mut action: Action) -> Action {
        give_types(&mut action.parameters, &self.parameters);
        give_types(&mut action.body, &self.body);
        action
    }

    /// The call of a function as one of this operation.
    fn called(&self, action: Action) -> Action {
        let (body, parameters) = action
            .parameters
            .into_iter()
            .partition(|argument| self.has_body && !self.parameters.contains_key(&argument.name));
        let target = Target::Api { method: self.method.clone(), path: self.path.clone() };
        self.typed(Action { target, parameters, body, ..action })
    }
}

/// Types that a phrase says go before those that are declared.
fn give_types(arguments: &mut [Argument], types: &BTreeMap<String, String>) {
    for argument in arguments {
        if argument.declared.is_none() {
            argument.declared = types.get(&argument.name).cloned();
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::emulator::openapi;

    fn types(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, kind)| ((*name).to_owned(), (*kind).to_owned())).collect()
    }

    fn tools() -> ToolBox {
        let body = json!({"type": "object", "properties": {"stops": {"type": "array"}}});
        let route = json!({
            "operationId": "plan_route",
            "parameters": [{"name": "depth", "in": "query", "schema": {"type": "integer"}}],
            "requestBody": {"content": {"application/json": {"schema": body}}},
        });
        let schema = json!({"paths": {"/routes": {"post": route}}}).to_string();
        let forecast = Function {
            group: "Weather".to_owned(),
            name: "forecast".to_owned(),
            types: types(&[("days", "string")]),
            is_confirmed: true,
        };
        let operations = openapi::operations(&schema, "Routes").unwrap();
        ToolBox { functions: vec![forecast], operations }
    }

    #[test]
    fn a_declared_function_has_its_group_its_types_and_its_confirmation() {
        let action = Action::function("forecast days=3 hours=4").unwrap();
        let declared = tools().declared(action).unwrap();
        assert_eq!(declared.group.as_deref(), Some("Weather"));
        assert_eq!(declared.wanted, Wanted::ConfirmationAndResult);
        let kinds: Vec<_> = declared.parameters.iter().map(|a| a.declared.as_deref()).collect();
        assert_eq!(kinds, [Some("string"), None]);
        for unknown in ["weather", "forecast @group=Other"] {
            assert_eq!(tools().declared(Action::function(unknown).unwrap()), None);
        }
    }

    #[test]
    fn a_call_by_the_id_of_an_operation_is_one_of_the_operation() {
        let action = Action::function("plan_route depth=2 stops=[]").unwrap();
        let declared = tools().declared(action).unwrap();
        let target = Target::Api { method: "POST".to_owned(), path: "/routes".to_owned() };
        assert_eq!((declared.target, declared.group.as_deref()), (target, Some("Routes")));
        assert_eq!(declared.parameters[0].declared.as_deref(), Some("integer"));
        assert_eq!(declared.body[0].declared.as_deref(), Some("array"));
        let action = Action::api("POST /routes depth=2 body stops=[]").unwrap();
        assert!(tools().declared(action).is_some());
        assert!(tools().declared(Action::api("GET /routes").unwrap()).is_none());
        assert!(openapi::operations("openapi: 3.0.0", "Routes").is_err());
    }
}
