"""Files that come with answers, fetched with the official Python SDK, unmodified."""

import openai
import pytest
from conftest import BROKER, MODEL, PRESENTED_KEY


@pytest.fixture
def client():
    with openai.OpenAI(
        base_url=f"{BROKER}/v1", api_key=PRESENTED_KEY, timeout=30, max_retries=0
    ) as client:
        yield client


def ask(mark):
    return {
        "model": MODEL,
        "messages": [
            {"role": "user", "content": f"say: Two files. {mark}; file: plan.csv 120; file: chart.png"}
        ],
    }


def whole(client, mark):
    answer = client.chat.completions.create(**ask(mark))
    return answer.choices[0].message.outcrop["files"]


def streamed(client, mark):
    deltas = [
        chunk.choices[0].delta.model_extra
        for chunk in client.chat.completions.create(**ask(mark), stream=True)
    ]
    (told,) = [delta["outcrop"] for delta in deltas if "outcrop" in delta]
    return told["files"]


@pytest.mark.parametrize("told", [whole, streamed])
def test_the_files_of_an_answer_can_be_fetched_and_deleted(client, told, mark):
    plan, chart = told(client, mark)
    assert (plan["filename"], chart["filename"]) == ("plan.csv", "chart.png")
    file = client.files.retrieve(plan["id"])
    assert (file.id, file.filename, file.bytes) == (plan["id"], "plan.csv", 120)
    assert (file.object, file.purpose) == ("file", "assistants_output")
    content = client.files.content(plan["id"])
    assert len(content.read()) == 120
    assert content.response.headers["content-type"] == plan["media_type"]
    listed = [file.id for file in client.files.list(limit=1)]
    assert listed.index(chart["id"]) < listed.index(plan["id"]), "the newest come first"
    assert client.files.delete(plan["id"]).deleted
    with pytest.raises(openai.NotFoundError) as refused:
        client.files.content(plan["id"])
    assert refused.value.code == "file_not_found"
    assert client.files.retrieve(chart["id"]).filename == "chart.png"


def test_files_cannot_be_uploaded(client):
    with pytest.raises(openai.APIStatusError) as refused:
        client.files.create(file=("plan.csv", b"1,2\n"), purpose="assistants")
    assert (refused.value.status_code, refused.value.code) == (405, "method_not_allowed")
