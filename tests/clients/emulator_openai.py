"""The emulated OpenAI upstream, as OpenAI's SDK sees it. See emulator_boto3.py for how to run it."""

import openai
import pytest
from pydantic import BaseModel

from emulator_boto3 import state, url  # noqa: F401 (fixtures)

MODEL = "gpt-4o"
PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNk+A8AAQUBAScY"
    "42YAAAAASUVORK5CYII="
)


@pytest.fixture(scope="module")
def upstream(url):  # noqa: F811
    with openai.OpenAI(base_url=f"{url}/v1", api_key="any", max_retries=0) as found:
        yield found


def user(content):
    return {"role": "user", "content": content}


def ask(upstream, *messages, **more):
    found = [user(message) if isinstance(message, str) else message for message in messages]
    return upstream.chat.completions.create(model=MODEL, messages=found, **more)


def function(name):
    parameters = {"type": "object", "properties": {"city": {"type": "string"}}}
    function = {"name": name, "description": f"Tell the {name} of a city", "parameters": parameters}
    return {"type": "function", "function": function}


def test_a_transcript_is_all_that_it_knows(upstream):
    answer = ask(upstream, "I am Ann", {"role": "assistant", "content": "Hi"}, "What is my name?")
    assert answer.choices[0].message.content == "Your name is Ann."
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


def test_a_stream_is_put_together_by_the_helper(upstream):
    with upstream.chat.completions.stream(
        model=MODEL,
        messages=[user("say: Sure; call: weather city=Oslo; call: time")],
        tools=[function("weather"), function("time")],
        stream_options={"include_usage": True},
    ) as stream:
        for _ in stream:
            pass
        answer = stream.get_final_completion()
    message = answer.choices[0].message
    assert message.content == "Sure"
    names = [(call.function.name, call.function.arguments) for call in message.tool_calls]
    assert names == [("weather", '{"city":"Oslo"}'), ("time", "{}")]
    assert answer.choices[0].finish_reason == "tool_calls"
    assert answer.usage.completion_tokens > 0


def test_a_fitting_tool_is_called_and_its_result_told(upstream):
    question = user("What's the weather in Paris?")
    tools = [function("weather"), function("time")]
    asked = ask(upstream, question, tools=tools).choices[0].message
    (call,) = asked.tool_calls
    assert call.function.arguments == '{"city":"Paris"}'
    result = {"role": "tool", "tool_call_id": call.id, "content": "rain"}
    answer = ask(upstream, question, asked, result, tools=tools)
    assert answer.choices[0].message.content == "weather says: rain"


def test_a_schema_is_parsed(upstream):
    class Trip(BaseModel):
        city: str
        days: int

    answer = upstream.chat.completions.parse(
        model=MODEL, messages=[user("Plan 5 days")], response_format=Trip
    )
    assert answer.choices[0].message.parsed.days == 5


def test_pictures_files_and_thoughts(upstream):
    content = [{"type": "text", "text": "Look"}, {"type": "image_url", "image_url": {"url": PIXEL}}]
    answer = ask(upstream, user(content))
    assert answer.choices[0].message.content.startswith("I see image (png, ")
    file = {"filename": "a.txt", "file_data": "data:text/plain;base64,aGk="}
    content = [{"type": "text", "text": "Read"}, {"type": "file", "file": file}]
    answer = ask(upstream, user(content))
    assert answer.choices[0].message.content == 'I see document "a.txt" (txt, 2 bytes).'
    answer = ask(upstream, "think: step by step; say: Done", reasoning_effort="high")
    assert answer.choices[0].message.reasoning_content == "step by step"
    chunks = ask(upstream, "think: step by step; say: Done", reasoning_effort="low", stream=True)
    deltas = [chunk.choices[0].delta for chunk in chunks]
    thought = "".join(getattr(delta, "reasoning_content", None) or "" for delta in deltas)
    assert thought == "step by step"


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ("throttle", openai.RateLimitError),
        ("context-overflow", openai.BadRequestError),
        ("access-denied", openai.PermissionDeniedError),
        ("not-found", openai.NotFoundError),
        ("internal", openai.InternalServerError),
        ("503", openai.InternalServerError),
    ],
)
def test_refusals_are_typed(upstream, fault, kind):
    with pytest.raises(kind):
        ask(upstream, "hello", extra_headers={"x-outcrop-emulator-fault": fault})


def test_a_refusal_may_meet_the_first_attempts_alone(url):  # noqa: F811
    patient = openai.OpenAI(base_url=f"{url}/v1", api_key="any", max_retries=2)
    answer = ask(patient, "count to 2; outcrop-emulator-fault: 503:1")
    assert answer.choices[0].message.content == "1 2 "


@pytest.mark.parametrize("fault", ["cut:2", "garbage:2", "error-frame:2", "exception:overloaded:2"])
def test_a_broken_stream_is_noticed(upstream, fault):
    chunks = ask(upstream, "count to 9", stream=True, metadata={"outcrop-emulator-fault": fault})
    with pytest.raises(Exception):
        list(chunks)


def test_a_key_is_checked_where_one_is_expected(url):  # noqa: F811
    keyed = f"{url}/key/s3cret/v1"
    right = openai.OpenAI(base_url=keyed, api_key="s3cret", max_retries=0)
    assert ask(right, "hello").choices[0].finish_reason == "stop"
    wrong = openai.OpenAI(base_url=keyed, api_key="other", max_retries=0)
    with pytest.raises(openai.AuthenticationError):
        ask(wrong, "hello")


def test_models_and_embeddings(upstream, url):  # noqa: F811
    assert MODEL in [model.id for model in upstream.models.list()]
    with pytest.raises(openai.NotFoundError):
        upstream.models.retrieve("missing-model")
    found = upstream.embeddings.create(model="e", input=["a home loan", "weather"], dimensions=64)
    assert [len(entry.embedding) for entry in found.data] == [64, 64]
    assert found.usage.prompt_tokens == 4
    assert state(url)["models"]["calls"][-1]["api"] == "embeddings"
