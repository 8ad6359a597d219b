"""LiteLLM, unmodified, as a client of a running broker: by OpenAI's chat and Anthropic's Messages.

It has an environment of its own (requirements-litellm.txt), and so a name that the other suites
do not collect. Agents are behind the broker as well as models.
"""

import json
import os

# It asks for prices on the internet otherwise, when it is imported.
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"

import litellm
import pytest
from conftest import BROKER, CLAUDE, GPT, KEY, MODEL, PICTURE, PRESENTED_KEY
from pydantic import BaseModel

litellm.suppress_debug_info = True

ONE_TO_FIVE = ["1", "2", "3", "4", "5"]
BASES = {"openai": f"{BROKER}/v1", "anthropic": BROKER}

# What it warns of is its own use of pydantic.
pytestmark = pytest.mark.filterwarnings("ignore")

each_provider = pytest.mark.parametrize("provider", BASES)
each_model = pytest.mark.parametrize("model", [CLAUDE, GPT], ids=["bedrock", "openai-upstream"])
each_backend = pytest.mark.parametrize(
    "model", [MODEL, CLAUDE, GPT], ids=["agent", "bedrock", "openai-upstream"]
)


class Night(BaseModel):
    city: str
    count: int


class Trip(BaseModel):
    title: str
    nights: list[Night]


def tool(name):
    parameters = {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
    }
    function = {"name": name, "description": f"{name} of a city", "parameters": parameters}
    return {"type": "function", "function": function}


TOOLS = [tool("get_weather"), tool("get_time")]


def ask(content):
    return [{"role": "user", "content": content}]


def complete(provider, model, messages, **more):
    request = {"api_base": BASES[provider], "api_key": PRESENTED_KEY, "max_retries": 0, **more}
    return litellm.completion(model=f"{provider}/{model}", messages=messages, **request)


def whole(provider, model, messages, **more):
    return complete(provider, model, messages, **more)


def gathered(provider, model, messages, **more):
    usage = {"include_usage": True}
    chunks = complete(provider, model, messages, stream=True, stream_options=usage, **more)
    return litellm.stream_chunk_builder(list(chunks), messages=messages)


both_ways = pytest.mark.parametrize("ask_once", [whole, gathered])


@each_provider
@each_backend
@both_ways
def test_an_answer_comes_with_its_usage(provider, model, ask_once, mark):
    answer = ask_once(provider, model, ask(f"count to 5 {mark}"))
    (choice,) = answer.choices
    assert choice.message.content.split() == ONE_TO_FIVE and choice.finish_reason == "stop"
    usage = answer.usage
    assert usage.prompt_tokens > 0 and usage.completion_tokens > 0
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens


@each_provider
@each_backend
def test_a_stream_comes_piece_by_piece(provider, model, mark):
    chunks = list(complete(provider, model, ask(f"count to 5 {mark}"), stream=True))
    assert sum(1 for chunk in chunks if chunk.choices[0].delta.content) == 5
    assert chunks[-1].choices[0].finish_reason == "stop"


@each_provider
@each_backend
@both_ways
def test_two_tools_are_called_and_their_results_are_used(provider, model, ask_once, mark):
    words = (
        f"say: Let me look.; call: get_weather city=Oslo; call: get_time city={mark};"
        " then say: Have a good trip."
    )
    messages = [{"role": "system", "content": "Be brief."}, *ask(words)]
    (choice,) = ask_once(provider, model, messages, tools=TOOLS).choices
    assert choice.finish_reason == "tool_calls" and choice.message.content == "Let me look."
    calls = choice.message.tool_calls
    arguments = [(call.function.name, json.loads(call.function.arguments)) for call in calls]
    assert arguments == [("get_weather", {"city": "Oslo"}), ("get_time", {"city": mark})]
    messages.append(choice.message)
    for call, told in zip(calls, ["rain", "noon"], strict=True):
        messages.append({"role": "tool", "tool_call_id": call.id, "content": told})
    (choice,) = ask_once(provider, model, messages, tools=TOOLS).choices
    assert choice.finish_reason == "stop" and not choice.message.tool_calls
    for told in ["get_weather says: rain", "get_time says: noon", "Have a good trip."]:
        assert choice.message.content.count(told) == 1


@each_provider
@each_backend
def test_a_transcript_that_is_sent_again_is_one_conversation(provider, model, mark):
    messages = ask(f"My name is Ann {mark}")
    messages.append(complete(provider, model, messages).choices[0].message)
    messages += ask("What is my name?")
    assert "Ann" in complete(provider, model, messages).choices[0].message.content


@each_provider
@each_model
def test_an_answer_fits_its_schema(provider, model, mark):
    answer = complete(provider, model, ask(f"Plan-{mark} 5 days"), response_format=Trip)
    trip = Trip.model_validate_json(answer.choices[0].message.content)
    assert trip.title == f"Plan-{mark}" and [night.count for night in trip.nights] == [5, 5]


@each_provider
@each_model
def test_a_picture_is_looked_at(provider, model, mark):
    picture = {"type": "image_url", "image_url": {"url": PICTURE}}
    messages = ask([{"type": "text", "text": f"Look {mark}"}, picture])
    answer = complete(provider, model, messages).choices[0].message.content
    assert "I see image (png, 68 bytes, 1x1)" in answer


@each_provider
@each_model
@both_ways
def test_thoughts_come_apart_from_the_answer(provider, model, ask_once, mark):
    """For a model that it does not know, LiteLLM wants to be told that Claude's member is fine."""
    thinking = {
        "openai": {"reasoning_effort": "low"},
        "anthropic": {
            "thinking": {"type": "enabled", "budget_tokens": 1024},
            "allowed_openai_params": ["thinking"],
        },
    }
    words = f"think: step by step; say: {mark}"
    answer = ask_once(provider, model, ask(words), **thinking[provider])
    message = answer.choices[0].message
    assert (message.reasoning_content, message.content) == ("step by step", mark)


@pytest.mark.parametrize("model", ["amazon.titan-embed-text-v2:0", "openai/text-embedding-3-small"])
def test_embeddings_come_in_the_order_of_the_texts(model):
    made = litellm.embedding(
        model=f"openai/{model}",
        input=["personal loans", "the weather in Oslo"],
        api_base=BASES["openai"],
        api_key=PRESENTED_KEY,
    )
    assert [item["index"] for item in made.data] == [0, 1]
    assert len(made.data[0]["embedding"]) == len(made.data[1]["embedding"]) > 100
    assert made.usage.prompt_tokens > 0


@each_provider
@pytest.mark.parametrize(
    ("fault", "error"),
    [("throttle", litellm.RateLimitError), ("validation", litellm.BadRequestError)],
)
def test_a_failure_of_the_upstream_is_an_error_of_its_class(provider, fault, error, mark):
    with pytest.raises(error):
        complete(provider, CLAUDE, ask(f"{mark}; outcrop-emulator-fault: {fault}"))


@each_provider
def test_an_unknown_model_is_not_found(provider):
    with pytest.raises(litellm.NotFoundError):
        complete(provider, "no-such-model", ask("Hello"))


@each_provider
@pytest.mark.skipif(not KEY, reason="the broker is open")
def test_a_wrong_key_is_refused(provider):
    with pytest.raises(litellm.AuthenticationError):
        complete(provider, MODEL, ask("Hello"), api_key="wrong")


@each_provider
@each_model
def test_a_stream_that_breaks_is_raised_after_the_text_that_came(provider, model, mark):
    words = f"count to 9 {mark}; outcrop-emulator-fault: cut:2"
    with pytest.raises(litellm.exceptions.MidStreamFallbackError) as caught:
        list(complete(provider, model, ask(words), stream=True))
    assert caught.value.generated_content.split() == ["1", "2"]
