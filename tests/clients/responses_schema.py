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

DETAILS = {
    "input_tokens_details": {"cached_tokens": int},
    "output_tokens_details": {"reasoning_tokens": int},
}
ERROR_CODES = {"server_error", "rate_limit_exceeded", "invalid_prompt"}
INCOMPLETE_REASONS = {"max_output_tokens", "content_filter"}
FORMATS = {
    "text": {},
    "json_object": {},
    "json_schema": {"name": str, "schema": dict, "strict": (bool, None)},
}
TOOLS = {
    "function": {"name": str, "parameters": (dict, None), "strict": (bool, None)},
    "custom": {"name": str, "format": dict},
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
    "function_call_output": {
        "id": str,
        "call_id": str,
        "output": (str, list),
        "status": ITEM_STATUSES,
    },
    "custom_tool_call": {"id": str, "call_id": str, "name": str, "input": str},
    "reasoning": {"id": str, "summary": list, "status": ITEM_STATUSES},
}

PARTS = {
    "output_text": {"text": str, "annotations": list, "logprobs": list},
    "input_text": {"text": str},
    "input_image": {"detail": {"low", "high", "auto", "original"}},
    "input_file": {},
    "reasoning_text": {"text": str},
    "summary_text": {"text": str},
}
ANNOTATIONS = {
    "url_citation": {"url": str, "title": str, "start_index": int, "end_index": int},
    "file_citation": {"file_id": str, "filename": str, "index": int},
}
LIKELY = {"token": str, "logprob": NUMBER, "bytes": list}

PLACED = {"item_id": str, "output_index": int}
IN_PART = {**PLACED, "content_index": int}
IN_SUMMARY = {**PLACED, "summary_index": int}
# Every event that the broker sends, and no other.
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
    "response.custom_tool_call_input.delta": {**PLACED, "delta": str},
    "response.custom_tool_call_input.done": {**PLACED, "input": str},
    "response.reasoning_text.delta": {**IN_PART, "delta": str},
    "response.reasoning_text.done": {**IN_PART, "text": str},
    "response.reasoning_summary_part.added": {**IN_SUMMARY, "part": dict},
    "response.reasoning_summary_part.done": {**IN_SUMMARY, "part": dict},
    "response.reasoning_summary_text.delta": {**IN_SUMMARY, "delta": str},
    "response.reasoning_summary_text.done": {**IN_SUMMARY, "text": str},
}
LAST = {"response.completed", "response.incomplete", "response.failed"}

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


def of_kind(value, kinds, where):
    """The members that a value of this type must have; there is no type but these."""
    kind = value.get("type")
    assert kind in kinds, f"{where} is of no type that is known: {value}"
    return kinds[kind]


def check_likely(entries, where):
    for entry in entries:
        check(entry, {**LIKELY, "top_logprobs": list}, where)
        for other in entry["top_logprobs"]:
            check(other, LIKELY, f"{where}.top_logprobs")


def check_part(part, where="part"):
    check(part, of_kind(part, PARTS, where), where)
    for annotation in part.get("annotations", []):
        check(annotation, of_kind(annotation, ANNOTATIONS, where), f"{where}.annotations")
    check_likely(part.get("logprobs", []), f"{where}.logprobs")


def check_item(item, where="item"):
    check(item, of_kind(item, ITEMS, where), where)
    output = item.get("output") if isinstance(item.get("output"), list) else []
    for part in [*(item.get("content") or []), *(item.get("summary") or []), *output]:
        check_part(part, f"{where}.{item['type']}")
    return item


def check_usage(usage):
    check(usage, USAGE, "usage")
    for name, members in DETAILS.items():
        check(usage[name], members, name)
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]


def check_response(response):
    """A response, or what an SDK made of one."""
    value = response if isinstance(response, dict) else response.to_dict(mode="json")
    value.pop("output_parsed", None)
    check(value, RESPONSE, "response")
    for item in value["output"]:
        check_item(item)
    assert len({item["id"] for item in value["output"]}) == len(value["output"])
    if value["usage"] is not None:
        check_usage(value["usage"])
    for tool in value["tools"]:
        check(tool, of_kind(tool, TOOLS, "tools"), "tools")
    check(value["text"]["format"], of_kind(value["text"]["format"], FORMATS, "format"), "format")
    status = value["status"]
    assert (value["error"] is not None) == (status == "failed"), value
    assert (value["incomplete_details"] is not None) == (status == "incomplete"), value
    if status == "failed":
        check(value["error"], {"code": ERROR_CODES, "message": str}, "error")
    if status == "incomplete":
        check(value["incomplete_details"], {"reason": INCOMPLETE_REASONS}, "incomplete_details")
    assert status != "completed" or value["usage"]
    return response


def check_event(value):
    """One event, whatever stands before and behind it."""
    kind = value["type"]
    check(value, {"sequence_number": int, **of_kind(value, EVENTS, "event")}, kind)
    if "response" in value:
        check_response(value["response"])
    if "item" in value:
        check_item(value["item"], kind)
    if "part" in value:
        check_part(value["part"], kind)
    if "annotation" in value:
        check(value["annotation"], of_kind(value["annotation"], ANNOTATIONS, kind), kind)
    check_likely(value.get("logprobs", []), kind)


def check_events(events):
    """A whole stream: its order, its numbers and its ids."""
    values = [
        event if isinstance(event, dict) else event.to_dict(mode="json") for event in events
    ]
    assert [value["sequence_number"] for value in values] == list(range(len(values)))
    kinds = [value["type"] for value in values]
    assert kinds[0] == "response.created" and kinds.count("response.created") == 1
    assert kinds[-1] in LAST and len(LAST.intersection(kinds)) == 1
    ids = {value["response"]["id"] for value in values if "response" in value}
    assert len(ids) == 1
    open_items, done = {}, []
    for value in values:
        kind = value["type"]
        check_event(value)
        if "response" in value:
            continue
        if kind == "response.output_item.added":
            assert value["output_index"] == len(done) and not open_items
            open_items[value["output_index"]] = value["item"]["id"]
        elif kind == "response.output_item.done":
            assert open_items.pop(value["output_index"]) == value["item"]["id"]
            done.append(value["item"])
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
