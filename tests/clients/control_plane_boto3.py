"""The emulated control plane of agents as boto3 sees it.

Needs what emulator_boto3.py needs, and an emulator whose fleet nobody else changes meanwhile.

    EMULATOR_URL=http://127.0.0.1:4566 pytest tests/clients/control_plane_boto3.py
"""

import json
import time
from urllib.request import Request, urlopen

import pytest
from botocore.exceptions import ClientError
from emulator_boto3 import client, state, url  # noqa: F401 (url is a fixture)


@pytest.fixture(scope="session")
def plane(url):
    return client("bedrock-agent", url)


@pytest.fixture
def set_up(url):
    """Sets the fleet up for one test."""

    def set_up(**settings):
        body = json.dumps(settings).encode()
        with urlopen(Request(f"{url}/_emulator/control-plane", data=body), timeout=20) as reply:
            assert reply.status == 200

    yield set_up
    set_up()


def listed(plane, **wanted):
    pages = plane.get_paginator("list_agents").paginate(**wanted)
    return [agent for page in pages for agent in page["agentSummaries"]]


def test_the_fleet_is_listed_with_what_each_agent_is(plane):
    agents = {agent["agentId"]: agent for agent in listed(plane)}
    assert agents["LOANAGENT1"]["agentName"] == "loan-advisor"
    assert agents["LOANAGENT1"]["agentStatus"] == "PREPARED"
    assert agents["DRAFTAGENT"]["agentStatus"] == "NOT_PREPARED"
    assert agents["CARDAGENT1"]["updatedAt"].year == 2026


def test_pages_hold_every_agent_once(plane, set_up):
    first = plane.list_agents(maxResults=3)
    assert len(first["agentSummaries"]) == 3 and first["nextToken"]
    second = plane.list_agents(maxResults=3, nextToken=first["nextToken"])
    assert len(second["agentSummaries"]) == 1 and "nextToken" not in second
    set_up(agents=25)
    ids = [agent["agentId"] for agent in listed(plane, PaginationConfig={"PageSize": 7})]
    assert len(ids) == len(set(ids)) == 25


def test_a_token_of_no_list_is_refused(plane):
    with pytest.raises(ClientError) as refused:
        plane.list_agents(nextToken="nonsense")
    assert refused.value.response["Error"]["Code"] == "ValidationException"


def test_an_agent_tells_its_idle_time(plane, set_up):
    agent = plane.get_agent(agentId="LOANAGENT1")["agent"]
    assert agent["idleSessionTTLInSeconds"] > 0 and agent["agentVersion"] == "DRAFT"
    assert agent["agentArn"].endswith(":agent/LOANAGENT1")
    set_up(idle_session_ttl_seconds=60)
    assert plane.get_agent(agentId="ANYAGENT01")["agent"]["idleSessionTTLInSeconds"] == 60


def test_aliases_tell_whether_they_take_turns(plane):
    reply = plane.list_agent_aliases(agentId="LOANAGENT1")
    states = {
        alias["agentAliasId"]: alias["aliasInvocationState"]
        for alias in reply["agentAliasSummaries"]
    }
    assert states == {
        "LIVEALIAS1": "ACCEPT_INVOCATIONS",
        "PAUSEDALI1": "REJECT_INVOCATIONS",
        "TSTALIASID": "ACCEPT_INVOCATIONS",
    }


def test_action_groups_tell_their_functions(plane):
    of = {"agentId": "LOANAGENT1", "agentVersion": "DRAFT"}
    [group] = plane.list_agent_action_groups(**of)["actionGroupSummaries"]
    found = plane.get_agent_action_group(**of, actionGroupId=group["actionGroupId"])
    found = found["agentActionGroup"]
    assert found["actionGroupExecutor"] == {"customControl": "RETURN_CONTROL"}
    [function] = found["functionSchema"]["functions"]
    assert function["parameters"]["days"]["type"] == "integer"


def test_agents_that_do_not_exist_are_not_found(plane):
    with pytest.raises(ClientError) as refused:
        plane.get_agent(agentId="MISSING404")
    assert refused.value.response["Error"]["Code"] == "ResourceNotFoundException"


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ("access-denied", "AccessDeniedException"),
        ("throttle", "ThrottlingException"),
        ("internal", "InternalServerException"),
    ],
)
def test_one_operation_can_be_made_to_fail(plane, set_up, fault, code):
    set_up(fault=fault, operation="GetAgent")
    with pytest.raises(ClientError) as refused:
        plane.get_agent(agentId="LOANAGENT1")
    assert refused.value.response["Error"]["Code"] == code
    assert listed(plane)


def test_a_refusal_may_be_for_the_first_calls_only(plane, set_up):
    set_up(fault="throttle:1")
    with pytest.raises(ClientError):
        plane.list_agents()
    assert plane.list_agents()["agentSummaries"]


def test_an_answer_can_come_late(plane, set_up):
    set_up(fault="thinking:300")
    began = time.monotonic()
    plane.list_agents()
    assert time.monotonic() - began >= 0.3


def test_a_denied_access_key_is_told_which_grant_is_missing(plane):
    denied = client("bedrock-agent", plane.meta.endpoint_url, access_key="AKIADENIED")
    with pytest.raises(ClientError, match="bedrock:ListAgents"):
        denied.list_agents()


def test_the_state_counts_the_calls(plane, url):
    before = state(url)["control_plane"].get("ListAgents", 0)
    plane.list_agents()
    assert state(url)["control_plane"]["ListAgents"] == before + 1
