"""A tiny model, a small pool, and a cache of the tests' own."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from modicum.meter import Meter
from modicum.models import Model, find_model
from modicum.pool import Pool, RawRow, Turn
from modicum.store import Store
from tiny_tokenizers import byte_level

ROWS = [
    ("What is two and two?", "It is four."),
    ("Name a colour.", "Blue is a colour."),
    ("Name another colour.", "Red."),
    ("Say hello.", "Hello there!"),
    ("Name a colour.", "Blue is a colour."),  # row 1 again
    ("What do cows eat?", "Cows eat grass, and hay in the winter, when the grass is under snow."),
    ("Spell cat.", "c-a-t"),
    ("How do you say yes in French?", "Oui"),
    ("Write one line about rain.", "The rain taps on the window, and nobody lets it in."),
    ("What is the opposite of hot?", "Cold is the opposite of hot."),
]
TWO_TURNS = [
    {"role": "user", "content": "Name a fruit."},
    {"role": "assistant", "content": "An apple."},
    {"role": "user", "content": "And a longer name?"},
    {"role": "assistant", "content": "A pomegranate is a fruit with a longer name."},
]
WITH_SYSTEM = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "What is a modicum?"},
    {"role": "assistant", "content": "A little of something good."},
]


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The cache folder of all tests, so that none touches the user's."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MODICUM_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """A Llama of 2 layers and width 32 with random weights, always the same, in float32."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("tiny-model")
    tokenizer = byte_level("chatml")
    torch.manual_seed(0)
    torch.set_num_threads(1)  # so tiny a model is only slowed down by more
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=512,
        initializer_range=0.3,  # far from uniform, so that rows differ
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return find_model(folder, precision="float32")


@pytest.fixture(scope="session")
def tiny_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve rows as a user's JSONL; row 4 is row 1 again, 10 has two turns, 11 a system turn."""
    pairs = [
        [{"role": "user", "content": asked}, {"role": "assistant", "content": answer}]
        for asked, answer in ROWS
    ]
    rows = [{"id": f"r{i}", "messages": m} for i, m in enumerate([*pairs, TWO_TURNS, WITH_SYSTEM])]
    path = tmp_path_factory.mktemp("pool") / "tiny.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def tiny_pool(tiny_file: Path) -> Pool:
    return Pool.read(tiny_file)


@pytest.fixture(scope="session")
def odd_pool(tiny_pool: Pool) -> Pool:
    """The small pool and two rows more: 12 has no answer to learn, 13 no word of a user."""
    silent = (Turn("user", "Say hello.", False), Turn("assistant", "No.", False))
    alone = (Turn("assistant", "I speak first.", True),)
    turns = [*(example.turns for example in tiny_pool), silent, alone]
    return Pool.build(RawRow(f"r{i}", "odd", "", t, 0, i, 0, 0) for i, t in enumerate(turns))


@pytest.fixture
def data() -> Path:
    """The folder of real data; tests that need it are skipped where there is none."""
    if not (folder := os.environ.get("MODICUM_DATA")):
        pytest.skip("MODICUM_DATA is not set")
    return Path(folder)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "measured")


@pytest.fixture
def meter(tiny_model: Model, store: Store) -> Meter:
    return Meter(tiny_model, store)
