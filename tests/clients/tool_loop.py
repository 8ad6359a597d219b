"""The tool loop that every client plays here: two calls at once, then a confirmation, then words.

The agent behind the broker does what the message says, in the emulator's phrases
(docs/emulator.md): it hands two calls over, with their results a third that a person has to agree
to, and in the end quotes all that it was told.
"""

FORECAST = "light rain, 7 degrees"
RATE = "1 EUR is 11.40 NOK"

# The arguments that the agent gives, by function; the types are those that it declares.
ARGUMENTS = {
    "get_forecast": {"city": "Oslo", "days": 3, "detailed": True},
    "get_rate": {"currency": "NOK"},
    "book_trip": {"city": "Oslo", "price": 129.5},
}

RESULTS = {"get_forecast": FORECAST, "get_rate": RATE, "book_trip": '{"confirmationState":"CONFIRM"}'}


def question(mark):
    """What the user says."""
    return (
        "call: get_forecast city=Oslo days:integer=3 detailed:boolean=true;"
        f" call: get_rate currency=NOK note={mark};"
        " then call: book_trip city=Oslo price:number=129.5 @confirm; then say: Have a good trip."
    )


def tool(name, properties):
    """A function as a client declares it."""
    return {
        "type": "function",
        "function": {
            "name": name,
            "description": name.replace("_", " "),
            "parameters": {
                "type": "object",
                "properties": {key: {"type": kind} for key, kind in properties.items()},
                "required": list(properties),
                "additionalProperties": False,
            },
        },
    }


TOOLS = [
    tool("get_forecast", {"city": "string", "days": "integer", "detailed": "boolean"}),
    tool("get_rate", {"currency": "string"}),
    tool("book_trip", {"city": "string", "price": "number"}),
]


def check_arguments(name, arguments, mark):
    """The agent's arguments, with the types that it declares."""
    expected = dict(ARGUMENTS[name])
    if name == "get_rate":
        expected["note"] = mark
    assert arguments == expected


def check_answer(text, denied=False):
    """The agent tells what it was told, once each."""
    assert text.count(FORECAST) == 1 and text.count(RATE) == 1, text
    assert ("denied" if denied else "confirmed") in text, text
    assert "Have a good trip." in text, text


def check_upstream(emulator, mark):
    """One call with the words, one with two results, one with the decision, in one session."""
    calls = emulator.calls_of_session_with(mark)
    assert [call["results"] for call in calls] == [0, 2, 1]
    assert [call["history_messages"] for call in calls] == [0, 0, 0]
