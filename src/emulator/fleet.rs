//! The agents that the control plane tells of, as the documents it tells them in.
//!
//! They are always the same: the first ones are those of [`FLEET`], all further ones are numbered.

use serde_json::{Value, json};

/// When everything here was made and last changed.
const MADE: &str = "2026-01-05T09:00:00Z";
/// An agent or alias that can be asked.
const PREPARED: &str = "PREPARED";
/// The alias that stands for the working draft.
const DRAFT_ALIAS: &str = "TSTALIASID";
/// What the ids of numbered agents begin with.
const NUMBERED: &str = "FLEET";
/// The id of each agent's action group.
pub(super) const ACTION_GROUP: &str = "DEMOGROUP1";

/// An agent as it is listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Agent {
    pub(super) id: String,
    name: String,
    status: &'static str,
    description: String,
}

/// Id, name, status and description of the agents that are not numbered.
pub(super) const FLEET: &[(&str, &str, &str, &str)] = &[
    ("LOANAGENT1", "loan-advisor", PREPARED, "Advises on personal, home and auto loans."),
    ("CARDAGENT1", "card-support", PREPARED, "Blocks cards and explains their bills."),
    ("DRAFTAGENT", "branch-finder", "NOT_PREPARED", "Finds a branch; still being written."),
    ("DEMOAGENT1", "demo", PREPARED, "The banking assistant of the demonstration."),
];

/// Id, name and invocation state of the aliases that each prepared agent has.
const ALIASES: &[(&str, &str, &str)] = &[
    ("LIVEALIAS1", "live", "ACCEPT_INVOCATIONS"),
    ("PAUSEDALI1", "paused", "REJECT_INVOCATIONS"),
    (DRAFT_ALIAS, "AgentTestAlias", "ACCEPT_INVOCATIONS"),
];

impl Agent {
    /// The agent of this place in the fleet, counted from 0.
    pub(super) fn of_fleet(place: usize) -> Self {
        if let Some((id, name, status, description)) = FLEET.get(place) {
            let [id, name, description] = [id, name, description].map(|text| (*text).to_owned());
            return Self { id, name, status, description };
        }
        let number = place + 1;
        Self {
            id: format!("{NUMBERED}{number:05}"),
            name: format!("fleet-{number}"),
            status: PREPARED,
            description: format!("Number {number} of a large fleet."),
        }
    }

    /// A prepared agent that is not listed.
    pub(super) fn unlisted(id: &str) -> Self {
        Self {
            id: id.to_owned(),
            name: id.to_ascii_lowercase(),
            status: PREPARED,
            description: "An agent that is not listed.".to_owned(),
        }
    }

    /// As `GetAgent` tells it: the working draft.
    pub(super) fn whole(&self, account: &str, idle_seconds: u64) -> Value {
        let Self { id, name, status, description } = self;
        json!({
            "agentId": id,
            "agentName": name,
            "agentArn": format!("arn:aws:bedrock:us-east-1:{account}:agent/{id}"),
            "agentVersion": "DRAFT",
            "agentStatus": status,
            "description": description,
            "foundationModel": "amazon.nova-lite-v1:0",
            "instruction": "You are a banking assistant. Answer in short sentences, and truly.",
            "idleSessionTTLInSeconds": idle_seconds,
            "agentResourceRoleArn": format!("arn:aws:iam::{account}:role/outcrop-emulator"),
            "createdAt": MADE,
            "updatedAt": MADE,
            "preparedAt": MADE,
        })
    }

    /// As `ListAgents` tells it.
    pub(super) fn summary(&self) -> Value {
        json!({
            "agentId": self.id,
            "agentName": self.name,
            "agentStatus": self.status,
            "description": self.description,
            "latestAgentVersion": "1",
            "updatedAt": MADE,
        })
    }

    /// Its aliases, as `ListAgentAliases` tells them. One that is not prepared has its draft only.
    pub(super) fn aliases(&self) -> Vec<Value> {
        let written = |(id, name, state): &(&str, &str, &str)| {
            let version = if *id == DRAFT_ALIAS { "DRAFT" } else { "1" };
            json!({
                "agentAliasId": id,
                "agentAliasName": name,
                "agentAliasStatus": PREPARED,
                "aliasInvocationState": state,
                "routingConfiguration": [{ "agentVersion": version }],
                "createdAt": MADE,
                "updatedAt": MADE,
            })
        };
        let is_prepared = self.status == PREPARED;
        let is_there = |(id, ..): &&(&str, &str, &str)| is_prepared || *id == DRAFT_ALIAS;
        ALIASES.iter().filter(is_there).map(written).collect()
    }

    /// Its action group, as `GetAgentActionGroup` tells it.
    pub(super) fn action_group(&self) -> Value {
        let parameters = json!({
            "city": { "type": "string", "description": "Where.", "required": true },
            "days": { "type": "integer", "description": "How many days ahead.", "required": false },
        });
        json!({
            "agentId": self.id,
            "agentVersion": "DRAFT",
            "actionGroupId": ACTION_GROUP,
            "actionGroupName": "demo",
            "actionGroupState": "ENABLED",
            "actionGroupExecutor": { "customControl": "RETURN_CONTROL" },
            "functionSchema": { "functions": [{
                "name": "get_forecast",
                "description": "Tells the weather of the next days.",
                "parameters": parameters,
                "requireConfirmation": "DISABLED",
            }] },
            "createdAt": MADE,
            "updatedAt": MADE,
        })
    }
}

/// The one action group of each agent, as `ListAgentActionGroups` tells it.
pub(super) fn action_group_summary() -> Value {
    json!({
        "actionGroupId": ACTION_GROUP,
        "actionGroupName": "demo",
        "actionGroupState": "ENABLED",
        "description": "What the caller is asked to run.",
        "updatedAt": MADE,
    })
}
