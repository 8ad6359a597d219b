"""What comes with an answer, as boto3 sees it. See emulator_boto3.py for how to run it."""

import pytest
from botocore.exceptions import EventStreamError

from emulator_boto3 import agents, events, session, state, url  # noqa: F401 (fixtures)

KINDS = {
    "preProcessingTrace",
    "orchestrationTrace",
    "postProcessingTrace",
    "routingClassifierTrace",
    "customOrchestrationTrace",
    "guardrailTrace",
    "failureTrace",
}


def parts(found, member):
    return [event[member] for event in found if member in event]


def text_of(found):
    return b"".join(chunk["bytes"] for chunk in parts(found, "chunk")).decode()


def spent(traces):
    """The tokens of every model call, as a careful client adds them."""
    total = [0, 0]
    for part in traces:
        for step in part["trace"].values():
            metadata = step.get("modelInvocationOutput", {}).get("metadata", {})
            if "usage" in metadata:
                total[0] += metadata["usage"]["inputTokens"]
                total[1] += metadata["usage"]["outputTokens"]
    return {"input_tokens": total[0], "output_tokens": total[1]}


def test_citations_with_references_to_every_type_of_place(agents, session):
    found = events(agents, session, "say: Well.; cite: all; cite: s3,web So.", stream=True)
    assert text_of(found) == "Well. Fees are waived in year one. So."
    citations = [
        citation
        for chunk in parts(found, "chunk")
        for citation in chunk.get("attribution", {}).get("citations", [])
    ]
    part = citations[0]["generatedResponsePart"]["textResponsePart"]
    assert part == {"text": "Fees are waived in year one.", "span": {"start": 6, "end": 33}}
    places = [reference["location"]["type"] for reference in citations[0]["retrievedReferences"]]
    assert set(places) == {
        "S3", "WEB", "CONFLUENCE", "SALESFORCE", "SHAREPOINT",
        "ONEDRIVE", "GOOGLEDRIVE", "CUSTOM", "KENDRA", "SQL",
    }  # fmt: skip
    assert citations[0]["retrievedReferences"][0]["metadata"]["page"] == 4
    assert len(citations[1]["retrievedReferences"]) == 2


def test_files_out(agents, session):
    found = events(agents, session, "file: a.csv 12; file: plot.png 100000; say: Here.")
    [event] = parts(found, "files")
    assert [(made["name"], made["type"], len(made["bytes"])) for made in event["files"]] == [
        ("a.csv", "text/csv", 12),
        ("plot.png", "image/png", 100_000),
    ]
    assert event["files"][0]["bytes"] == b"a.csv\na.csv\n"


@pytest.mark.parametrize(
    "policy", ["topic", "content", "word", "profanity", "pii", "regex"]
)
@pytest.mark.parametrize("side", ["block", "block-answer"])
def test_a_guardrail_blocks(agents, session, side, policy):
    found = events(agents, session, f"guardrail: {side} {policy}", enableTrace=True)
    assert text_of(found) == "Sorry, the model cannot answer this question."
    [trace] = [p["trace"]["guardrailTrace"] for p in parts(found, "trace") if "guardrailTrace" in p["trace"]]
    assert trace["action"] == "INTERVENED"
    assert "BLOCKED" in str(trace["inputAssessments" if side == "block" else "outputAssessments"])


def test_a_guardrail_that_only_masks(agents, session):
    found = events(agents, session, "guardrail: mask", enableTrace=True)
    [trace] = [p["trace"]["guardrailTrace"] for p in parts(found, "trace") if "guardrailTrace" in p["trace"]]
    assert trace["action"] == "INTERVENED"
    assert "ANONYMIZED" in str(trace) and "BLOCKED" not in str(trace)


def test_every_kind_of_trace_and_the_sum_of_its_tokens(agents, url, session):
    phrases = (
        "trace: pre routing lookup code action custom failure; guardrail: pass; think: It is late.;"
        " reason: Two and two.; ask: Researcher what is new?; say: Done.; trace: post"
    )
    found = events(agents, session, phrases, enableTrace=True, stream=True)
    traces = parts(found, "trace")
    assert {kind for part in traces for kind in part["trace"]} == KINDS
    own = [part for part in traces if part.get("collaboratorName") == "Researcher"]
    assert own and all(part["agentId"] == "RESEARCHER" for part in own)
    thoughts = [p["trace"]["orchestrationTrace"]["rationale"]["text"]
                for p in traces if "rationale" in p["trace"].get("orchestrationTrace", {})]  # fmt: skip
    assert "It is late." in thoughts and "I look into: what is new?" in thoughts
    assert "Two and two." in str(traces)
    [call] = [call for call in state(url)["calls"] if call["session"] == session]
    assert call["usage"] == spent(traces)
    assert call["collaborators"] == {"Researcher": spent(own)}


def test_traces_come_only_when_asked_for(agents, session):
    found = events(agents, session, "think: a; trace: pre; ask: Researcher b; say: Done.")
    assert [list(event) for event in found] == [["chunk"]]


@pytest.mark.parametrize(
    ("phrases", "before"),
    [
        ("fail: throttlingException", []),
        ("say: a; fail: throttlingException", ["chunk"]),
        ("think: a; fail: throttlingException", ["trace"]),
        ("cite: s3; file: a; fail: throttlingException", ["chunk", "files"]),
        ("call: a; fail: throttlingException", ["returnControl"]),
    ],
)
def test_an_exception_comes_where_it_stands(agents, session, phrases, before):
    heard = []
    with pytest.raises(EventStreamError) as broken:
        reply = agents.invoke_agent(
            agentId="ABCDEF1234",
            agentAliasId="TSTALIASID",
            sessionId=session,
            inputText=phrases,
            enableTrace="trace" in before,
        )
        for event in reply["completion"]:
            heard.extend(event)
    assert broken.value.response["Error"]["Code"] == "throttlingException"
    assert heard == before or (before == ["trace"] and set(heard) == {"trace"})
