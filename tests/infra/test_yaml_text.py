"""Our YAML: what a YAML reader reads from it is what was written, whatever it is."""

from __future__ import annotations

import yaml
from hypothesis import given
from hypothesis import strategies as st

from infra.yaml_text import Value, dump

odd = st.sampled_from([
    "", "null", "~", "yes", "on", "1.5", "1e3", "0x1f", "a: b", "a #b", "- a", "*a", "&a", "a:", "x\ny\n", "\n", " a\n", ".inf",
    "2001-01-01", "1:30", "=", "<<", "NULL", "y", "a\n\nb\n", "a\n \nb\n", "\ta\n", "!x", "a\u2028b\n",
])  # fmt: skip
text = odd | st.text(max_size=12)
values = st.recursive(
    text | st.integers(-(10**6), 10**6) | st.booleans() | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=12,
)


@given(values)
def test_it_is_read_back_as_it_was(value: Value) -> None:
    assert yaml.safe_load(dump(value)) == value


def test_it_reads_as_a_person_would_write_it() -> None:
    task = {
        "name": "corpusmill-words",
        "num_nodes": 2,
        "setup": "set -e\necho hello\n",
        "any_of": [{"infra": "aws/us-east-1"}],
    }
    assert dump(task) == (
        "name: corpusmill-words\nnum_nodes: 2\nsetup: |\n  set -e\n  echo hello\nany_of:\n  - infra: aws/us-east-1\n"
    )
