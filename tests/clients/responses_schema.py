"""What every reply of the Responses and Conversations APIs must hold: members and their types.

The SDKs read replies leniently; this does not. `None` in a set of types allows null.
"""

NUMBER = (int, float)
STATUSES = {"queued", "in_progress", "completed", "incomplete", "failed", "cancelled"}

RESPONSE = {
    "id": str,
    "object": "response",
    "created_at": NUMBER,
    "status": STATUSES,
    "background": bool,
    "error": (dict, None),
    "incomplete_details": (dict, None),
    "instructions": (str, list, None),
    "max_output_tokens": (int, None),
    "metadata": dict,
    "model": str,
    "output": list,
    "parallel_tool_calls": bool,
    "previous_response_id": (str, None),
    "reasoning": (dict, None),
    "store": bool,
    "temperature": (*NUMBER, None),
    "text": dict,
    "tool_choice": (str, dict),
    "tools": list,
    "top_p": (*NUMBER, None),
    "truncation": (str, None),
    "usage": (dict, None),
}

USAGE = {
    "input_tokens": int,
    "input_tokens_details": dict,
    "output_tokens": int,
    "output_tokens_details": dict,
    "total_tokens": int,
}

ITEM_STATUSES = {"in_progress", "completed", "incomplete"}
ITEMS = {
    "message": {
        "id": str,
        "role": {"user", "assistant", "system", "developer"},
        "status": ITEM_STATUSES,
        "content": list,
    },
    "function_call": {
        "id": str,
        "call_id": str,
        "name": str,
        "arguments": str,
        "status": ITEM_STATUSES,
    },
    "function_call_output": {"id": str, "call_id": str, "output": (str, list)},
    "custom_tool_call": {"id": str, "call_id": str, "name": str, "input": str},
    "reasoning": {"id": str, "summary": list},
}

PARTS = {
    "output_text": {"text": str, "annotations": list, "logprobs": list},
    "input_text": {"text": str},
    "refusal": {"refusal": str},
    "reasoning_text": {"text": str},
    "summary_text": {"text": str},
}

PLACED = {"item_id": str, "output_index": int}
IN_PART = {**PLACED, "content_index": int}
EVENTS = {
    "response.created": {"response": dict},
    "response.queued": {"response": dict},
    "response.in_progress": {"response": dict},
    "response.completed": {"response": dict},
    "response.incomplete": {"response": dict},
    "response.failed": {"response": dict},
    "response.output_item.added": {"output_index": int, "item": dict},
    "response.output_item.done": {"output_index": int, "item": dict},
    "response.content_part.added": {**IN_PART, "part": dict},
    "response.content_part.done": {**IN_PART, "part": dict},
    "response.output_text.delta": {**IN_PART, "delta": str, "logprobs": list},
    "response.output_text.done": {**IN_PART, "text": str, "logprobs": list},
    "response.output_text.annotation.added": {
        **IN_PART,
        "annotation_index": int,
        "annotation": dict,
    },
    "response.function_call_arguments.delta": {**PLACED, "delta": str},
    "response.function_call_arguments.done": {**PLACED, "arguments": str, "name": str},
    "response.reasoning_text.delta": {**IN_PART, "delta": str},
    "response.reasoning_text.done": {**IN_PART, "text": str},
    "response.reasoning_summary_part.added": {**PLACED, "summary_index": int, "part": dict},
    "response.reasoning_summary_part.done": {**PLACED, "summary_index": int, "part": dict},
    "response.reasoning_summary_text.delta": {**PLACED, "summary_index": int, "delta": str},
    "response.reasoning_summary_text.done": {**PLACED, "summary_index": int, "text": str},
}

PAGE = {"object": "list", "data": list, "first_id": str, "last_id": str, "has_more": bool}
CONVERSATION = {"id": str, "object": "conversation", "created_at": int, "metadata": dict}


def check(value, members, where):
    """Every member is there, and is of its type or one of its values."""
    for name, wanted in members.items():
        assert name in value, f"{where} has no {name}: {value}"
        held = value[name]
        if isinstance(wanted, str):
            fits = held == wanted
        elif isinstance(wanted, set):
            fits = held in wanted
        else:
            types = wanted if isinstance(wanted, tuple) else (wanted,)
            # A bool is an int to Python, and to nobody else.
            fits = any(held is None if kind is None else type(held) is kind for kind in types)
        assert fits, f"{where}.{name} is {held!r}"


def check_item(item, where="item"):
    check(item, {"type": str, **ITEMS[item["type"]]}, where)
    for part in item.get("content") or []:
        check(part, {"type": str, **PARTS[part["type"]]}, f"{where}.content")
    return item


def check_response(response):
    """A response, or what an SDK made of one."""
    value = response if isinstance(response, dict) else response.to_dict(mode="json")
    value.pop("output_parsed", None)
    check(value, RESPONSE, "response")
    for item in value["output"]:
        check_item(item)
    assert len({item["id"] for item in value["output"]}) == len(value["output"])
    if value["usage"] is not None:
        usage = value["usage"]
        check(usage, USAGE, "usage")
        check(usage["input_tokens_details"], {"cached_tokens": int}, "input_tokens_details")
        check(usage["output_tokens_details"], {"reasoning_tokens": int}, "output_tokens_details")
        assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]
    if value["status"] == "completed":
        assert value["usage"] and value["error"] is None and value["incomplete_details"] is None
    return response


def check_events(events):
    """A whole stream: its order, its numbers and its ids."""
    values = [event.to_dict(mode="json") for event in events]
    assert [value["sequence_number"] for value in values] == list(range(len(values)))
    kinds = [value["type"] for value in values]
    assert kinds[0] == "response.created" and kinds.count("response.created") == 1
    assert kinds[-1] in {"response.completed", "response.incomplete", "response.failed"}
    ids = {value["response"]["id"] for value in values if "response" in value}
    assert len(ids) == 1
    open_items, done = {}, []
    for value in values:
        kind = value["type"]
        check(value, EVENTS[kind], kind)
        if "response" in value:
            check_response(value["response"])
        elif kind == "response.output_item.added":
            assert value["output_index"] == len(done) and not open_items
            open_items[value["output_index"]] = value["item"]["id"]
        elif kind == "response.output_item.done":
            assert open_items.pop(value["output_index"]) == value["item"]["id"]
            done.append(check_item(value["item"]))
        else:
            assert open_items[value["output_index"]] == value["item_id"]
    if kinds[-1] == "response.completed":
        assert values[-1]["response"]["output"] == done
    return events


def check_page(page):
    check(page.to_dict(mode="json"), PAGE, "page")
    for item in page.to_dict(mode="json")["data"]:
        check_item(item)
    return page


def check_conversation(conversation):
    check(conversation.to_dict(mode="json"), CONVERSATION, "conversation")
    return conversation
