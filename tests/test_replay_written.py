"""What a mix leaves on the disk: the file, its manifest, and nothing of anybody else's lost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import modicum.mixed
from modicum.errors import InputError, RunError
from modicum.mixed import manifest_of
from modicum.pool import Pool
from test_replay_mixing import COLOURS, NEW, SUMS, TALK, Blend, blend, manifest, said, save, shared

__all__ = ["blend", "shared"]


def test_the_manifest_says_which_row_of_the_file_is_which(blend: Blend, tmp_path: Path) -> None:
    made = blend("surprise", 5)
    path = made.write(tmp_path / "mix.jsonl")
    told, rows = manifest(path), said(Pool.read(path))
    assert sorted(map(repr, rows)) == sorted(map(repr, [*NEW, *said(made.old.take(made.picks))]))
    for each in told["replayed"]:
        file, _, line = each["where"].rpartition(":")
        source = {"sums": SUMS, "colours": COLOURS}[each["task"]]
        assert rows[each["row"] - 1] == source[int(line) - 1] and each["task"] in file
        assert each["gain"] > 0 and each["reason"]
    assert len({each["row"] for each in told["replayed"]}) == 5 == told["counts"]["replayed"]


def test_the_manifest_counts_rows_and_tokens_and_gives_every_task_its_share(
    blend: Blend, tmp_path: Path
) -> None:
    made = blend(budget=5)
    told = manifest(made.write(tmp_path / "mix.jsonl"))
    lengths_N = made.stage.meter.rendered(made.old).lengths_N
    sums, colours = told["tasks"]
    assert (sums["task"], sums["available"], sums["weight"], sums["share"]) == ("sums", 6, 6.0, 0.6)
    assert (sums["quota"], sums["replayed"], colours["replayed"]) == (3, 3, 2)
    assert sums["tokens"] + colours["tokens"] == lengths_N[made.picks].sum()
    counts = told["counts"]
    assert counts["tokens_replayed"] == lengths_N[made.picks].sum()
    assert (counts["new"], counts["replayed"], counts["rows"], counts["kept"]) == (2, 5, 7, 12)
    assert told["method"]["name"] == "random" and (told["budget"], told["seed"]) == ("5", 0)
    assert [each["rows"] for each in told["inputs"]["old"]] == [6, 4]


def test_the_same_seed_writes_the_same_bytes_and_another_seed_others(
    blend: Blend, tmp_path: Path
) -> None:
    written = [
        blend(seed=seed).write(tmp_path / f"{n}.jsonl").read_bytes()
        for n, seed in enumerate((0, 0, 1))
    ]
    assert written[0] == written[1] != written[2]


@pytest.mark.parametrize("ending", [".jsonl", ".parquet"])
@pytest.mark.parametrize(("old", "new"), [("alpaca", "messages"), ("messages", "alpaca")])
def test_old_rows_take_the_format_of_the_new_ones(
    blend: Blend, tmp_path: Path, old: str, new: str, ending: str
) -> None:
    olds = [save(tmp_path / f"old{ending}", SUMS, old)]
    news = save(tmp_path / f"new{ending}", NEW, new)
    made = blend(old=olds, new=news, budget=3, ending=ending)
    back = Pool.read(made.write(tmp_path / f"mix{ending}"))
    assert back.files[0].format == new and not back.rejected
    entries = [*NEW, *(SUMS[pick] for pick in made.picks)]
    assert said(back) == [entries[place] for place in made.order]


def test_a_mix_that_is_written_again_stays_as_it_is(blend: Blend, tmp_path: Path) -> None:
    path = blend().write(tmp_path / "mix.jsonl")
    before = path.read_bytes(), manifest_of(path).read_bytes()
    assert blend().write(path) == path
    assert (path.read_bytes(), manifest_of(path).read_bytes()) == before
    assert sorted(each.name for each in tmp_path.glob("*mix*")) == [
        "mix.jsonl",
        "mix.jsonl.manifest.json",
    ]


@pytest.mark.parametrize(
    "other", [{"budget": 3}, {"seed": 1}, {"method": "balanced"}, {"tasks": ["one"] * 10}]
)
def test_another_mix_does_not_take_the_place_of_one(
    blend: Blend, tmp_path: Path, other: dict[str, Any]
) -> None:
    path = blend().write(tmp_path / "mix.jsonl")
    before = path.read_bytes()
    with pytest.raises(RunError, match="written by another command"):
        blend(**other).write(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("name", ["mix.jsonl", "mix.jsonl.manifest.json"])
def test_a_file_of_anybody_elses_is_not_overwritten(
    blend: Blend, tmp_path: Path, name: str
) -> None:
    (tmp_path / name).write_text("mine\n")
    with pytest.raises(RunError, match=r"not written by Modicum|did not write it"):
        blend().write(tmp_path / "mix.jsonl")
    assert (tmp_path / name).read_text() == "mine\n"


def test_no_input_is_overwritten(blend: Blend, tmp_path: Path) -> None:
    made = blend()
    for name in ("new.jsonl", "sums.jsonl"):
        before = (tmp_path / name).read_bytes()
        with pytest.raises(RunError, match="did not write it"):
            made.write(tmp_path / name)
        assert (tmp_path / name).read_bytes() == before


@pytest.mark.parametrize("changed", ["gone", "edited"])
def test_a_file_that_is_not_as_it_was_written_is_told(
    blend: Blend, tmp_path: Path, changed: str
) -> None:
    path = blend().write(tmp_path / "mix.jsonl")
    path.unlink() if changed == "gone" else path.write_text("{}\n")
    with pytest.raises(RunError, match=r"mix\.jsonl is not as it was written; remove it and its"):
        blend().write(path)
    assert path.exists() == (changed == "edited")


def test_killed_between_the_file_and_its_manifest_it_goes_on(
    blend: Blend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, write_json = tmp_path / "mix.jsonl", modicum.mixed.write_json

    def killed(target: Path, content: Any) -> None:
        if target == manifest_of(path):
            raise KeyboardInterrupt
        write_json(target, content)

    with monkeypatch.context() as patch:
        patch.setattr(modicum.mixed, "write_json", killed)
        with pytest.raises(KeyboardInterrupt):
            blend().write(path)
    whole = path.read_bytes()
    assert not manifest_of(path).exists()
    with pytest.raises(RunError, match="did not write it"):
        blend(seed=1).write(path)
    assert blend().write(path).read_bytes() == whole and manifest_of(path).exists()


def test_a_mix_that_cannot_be_written_leaves_nothing(blend: Blend, tmp_path: Path) -> None:
    talk = save(tmp_path / "talk.jsonl", [TALK])
    made = blend(old=[talk], new=save(tmp_path / "new.jsonl", NEW, "alpaca"))  # no ending was said
    with pytest.raises(InputError, match=r"talk\.jsonl:1: "):
        made.write(tmp_path / "mix.jsonl")
    assert not [each.name for each in tmp_path.iterdir() if "mix" in each.name]


def test_bad_rows_are_set_aside_beside_the_mix(blend: Blend, tmp_path: Path) -> None:
    old = save(tmp_path / "old.jsonl", SUMS)
    with old.open("a") as file:
        file.write("{\n")
    path = blend(old=[old]).write(tmp_path / "mix.jsonl")
    (told,) = (tmp_path / "mix.jsonl.rejected.jsonl").read_text().splitlines()
    assert json.loads(told)["row"] == 7 and manifest(path)["counts"]["rejected"] == 1
