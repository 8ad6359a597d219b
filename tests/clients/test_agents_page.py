"""The examples of docs/agents.md, as they stand there but for the address and the key."""

import contextlib
import io
import pathlib
import re

from conftest import BROKER, PRESENTED_KEY

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "agents.md"
EXAMPLES = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)


def run(example):
    """What an example prints."""
    example = example.replace("http://127.0.0.1:8000", BROKER).replace("YOUR_KEY", PRESENTED_KEY)
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(compile(example, str(PAGE), "exec"), {})
    return said.getvalue()


def test_all_examples_are_tried():
    assert len(EXAMPLES) == 2


def test_the_tool_loop():
    said = run(EXAMPLES[0])
    for told in ["3 days of rain in Oslo", "SK 4167 to Oslo", "book was confirmed"]:
        assert told in said
    assert said.endswith("Have a good flight.\n")


def test_a_file_for_the_agent():
    assert "fees.csv (text/csv, 13 bytes, CODE_INTERPRETER)" in run(EXAMPLES[1])
