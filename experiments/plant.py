"""A pool in which it is known which rows a model can learn from, as `planted.py` needs it.

learnable  rows of a real task of labels
known      Dolly prompts with the base model's own greedy answers
noise      Dolly prompts with the answers of other rows, permuted within tenths of their lengths
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pieces
from pieces import Row

from modicum.models import Model

KINDS = ("learnable", "known", "noise")
NEW_TOKENS = 64  # the longest greedy answer
ASKED = 900  # prompts that are tried at most
LONGEST = 150  # tokens of a prompt, and of an answer that is permuted
_BATCH = 30
_TENTHS = 10


def moderate(model: Model) -> list[Row]:
    """Dolly's rows of one short prompt and one short answer."""
    rows = []
    for row in pieces.real_rows("dolly_15k"):
        words = [turn["content"] for turn in row["messages"]]
        if len(words) == 2 and max(map(len, words)) < 8 * LONGEST:  # longer ones need no counting
            lengths = [len(ids) for ids in _ids(model, words)]
            if all(0 < length <= LONGEST for length in lengths):
                rows.append(row)
    return rows


def ask(model: Model, dolly: list[Row], known: int) -> dict[str, Any]:
    """Greedy answers that ended by themselves and, only if those are too few, ones cut short."""
    rows = [dolly[i] for i in np.random.default_rng(0).permutation(len(dolly))[:ASKED]]
    ended: list[Row] = []
    cut: list[Row] = []
    for start in range(0, len(rows), _BATCH):
        if len(ended) >= known:
            break
        batch = rows[start : start + _BATCH]
        for row, (answer, whole) in zip(batch, greedy(model, batch), strict=True):
            if answer:
                kept = {"id": row["id"], "answer": answer, "ended": whole}
                (ended if whole else cut).append(kept)
    if len(ended) + len(cut) < known:
        raise SystemExit(f"{known} known rows are wanted, and {len(ended) + len(cut)} were had")
    return {"tried": len(ended) + len(cut), "answers": (ended + cut)[:known]}


def greedy(model: Model, rows: list[Row]) -> list[tuple[str, bool]]:
    """The base model's own answer to each prompt, and whether it came to an end by itself."""
    import torch

    tokenizer: Any = model.tokenizer
    network: Any = model.network
    prompts = [
        tokenizer.apply_chat_template(
            row["messages"][:-1], tokenize=False, add_generation_prompt=True
        )
        for row in rows
    ]
    given = tokenizer(
        prompts, return_tensors="pt", padding=True, padding_side="left", add_special_tokens=False
    ).to(model.device)
    end = tokenizer.eos_token_id
    with torch.inference_mode():
        tokens_BT = network.generate(
            **given, do_sample=False, max_new_tokens=NEW_TOKENS, eos_token_id=end
        )
    new_BT = tokens_BT[:, given["input_ids"].shape[1] :]
    said = tokenizer.batch_decode(new_BT, skip_special_tokens=True)
    ended = (new_BT == end).any(dim=1).tolist()
    return [(words.strip(), whole) for words, whole in zip(said, ended, strict=True)]


def plant(dolly: list[Row], answers: list[Row], task: str, count: int, seed: int) -> list[Row]:
    """The pool of one seed: `count` rows of each kind in mixed order, `kind` beside the turns."""
    draw = np.random.default_rng(seed)
    prompts = {row["id"]: row for row in dolly}
    known = [
        _answered(prompts[each["id"]], each["answer"]) for each in _drawn(answers, count, draw)
    ]
    used = {each["id"] for each in answers}
    # One row per answer: of two rows that say "Yes", one could get its own words back.
    others = {answer_of(row): row for row in dolly if row["id"] not in used}
    noise = permuted(_drawn(list(others.values()), count, draw), draw)
    learnable = _drawn(pieces.real_rows("cls_train", task), count, draw)
    pool = [
        {**row, "kind": kind}
        for kind, rows in zip(KINDS, (learnable, known, noise), strict=True)
        for row in rows
    ]
    return [pool[i] for i in draw.permutation(len(pool))]


def permuted(rows: list[Row], draw: np.random.Generator) -> list[Row]:
    """Each row with the answer of another one, about as long as its own (of the same tenth)."""
    by_length = sorted(rows, key=lambda row: len(answer_of(row)))
    tenths = max(1, min(_TENTHS, len(rows) // 2))
    noise = []
    for tenth_M in np.array_split(np.arange(len(rows)), tenths):
        circle_M = draw.permutation(tenth_M)
        for i, j in zip(circle_M, np.roll(circle_M, 1), strict=True):
            noise.append(_answered(by_length[i], answer_of(by_length[j])))
    return noise


def answer_of(row: Row) -> str:
    """The last turn's words."""
    return str(row["messages"][-1]["content"])


def answer_lengths(model: Model, rows: list[Row]) -> np.ndarray:
    """Tokens of each row's answer, without the template's."""
    return np.array([len(ids) for ids in _ids(model, [answer_of(row) for row in rows])])


def _ids(model: Model, words: list[str]) -> list[list[int]]:
    ids: list[list[int]] = model.tokenizer(words, add_special_tokens=False)["input_ids"]
    return ids


def _drawn(rows: list[Row], count: int, draw: np.random.Generator) -> list[Row]:
    if count > len(rows):
        raise SystemExit(f"{count} rows of a kind are wanted, and there are {len(rows)}")
    return [rows[i] for i in draw.choice(len(rows), count, replace=False)]


def _answered(row: Row, answer: str) -> Row:
    return {
        "id": row["id"],
        "messages": [*row["messages"][:-1], {"role": "assistant", "content": answer}],
    }
