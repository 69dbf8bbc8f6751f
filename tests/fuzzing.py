"""How many cases the fuzzers try, and what they try them with."""

from __future__ import annotations

import json
import os
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

# `make fuzz` tries more. Cases are the same in every run, unless more of them are asked for.
TIMES = int(os.environ.get("MODICUM_FUZZ", "1"))


def cases(number: int) -> settings:
    """So many cases, or as many times as many as are asked for."""
    return settings(
        max_examples=number * TIMES,
        deadline=None,
        derandomize=TIMES == 1,
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )


TEXTS = st.text(st.characters(exclude_categories=()), max_size=30)  # halves of surrogates, too
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)
NAMES = """
instruction input output system messages conversations prompt history completion id source task
tags choices answer label chosen rejected text train role content from value weight
"""
COLUMNS = st.sampled_from(NAMES.split())
ROLES = st.sampled_from(["user", "assistant", "system", "human", "gpt", "tool", "", "User"])
TURNS = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            "role": ROLES | VALUES,
            "content": TEXTS | VALUES,
            "from": ROLES,
            "value": TEXTS,
            "train": VALUES,
            "weight": st.sampled_from([0, 1, 0.5, "1", None]),
        },
    ),
    max_size=5,
)
ROWS = st.dictionaries(COLUMNS | TEXTS, VALUES | TEXTS | TURNS, max_size=6)
GOOD = [
    {"id": "a", "instruction": "Say hello.", "output": "Hello.", "source": "x"},
    {"id": "b", "instruction": "Ünïcode? \ud83d\ude00", "input": "yes, \u2028", "output": "世界"},
    {"id": "c", "instruction": "Count.", "output": "1\n2\n3", "task": "t"},
]


def as_lines(rows: list[Any]) -> bytes:
    """Rows as JSON lines."""
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


@st.composite
def mutated(draw: st.DrawFn, data: bytes) -> bytes:
    """A good file with a few bytes changed, cut out, put in or doubled."""
    for _ in range(draw(st.integers(1, 4))):
        at, end = sorted((draw(st.integers(0, len(data))), draw(st.integers(0, len(data)))))
        end = min(end, at + 40)
        how = draw(st.sampled_from(["change", "cut", "insert", "double", "end"]))
        put = draw(st.binary(max_size=12)) if how in ("change", "insert") else b""
        if how == "change":
            data = data[:at] + put + data[at + len(put) :]
        elif how == "cut":
            data = data[:at] + data[end:]
        elif how == "insert":
            data = data[:at] + put + data[at:]
        elif how == "double":
            data = data[:end] + data[at:end] + data[end:]
        else:
            data = data[:at]
    return data
