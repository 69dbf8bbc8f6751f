"""What public code picks of 200 rows: the rows, and how `public_picks.json` was made.

The rows are drawn from a stream of whole numbers that numpy keeps as it is, so that they need not
be stored. The picks were made once, by the public code itself, and none of it is in this
repository:

    python tests/public_picks.py FOLDER

where FOLDER holds, from GitHub, these four at these commits, and `apricot-select` 0.6.1,
`submodlib-py` 0.0.3, `pandas`, `torch`, `datasets` and `transformers` can be imported:

hkust-nlp/deita b279f2c: `Combined_Filter.filter`, with batches of 1 and of 50 rows.
    `deita.pipeline` is loaded without its first lines, which want the package's scorers.
facebookresearch/SemDeDup 6b41945: `SemDeDupJob.semdedup` on each group of rows, best value first.
    A stand-in for `submitit`, which sends jobs to a cluster, is never called; the loop around it
    is left out, for it ends with an error after one group (`step_time.append_cluster`).
hamishivi/automated-instruction-selection df71a04: the scripts `get_top_influences.py` and
    `get_top_aggregated_influences.py`, `max`, on cosines. The tokenizer that they load, and do not
    use, is not loaded, and the keys of the cosines, which they read as text, are numbers.
tianyi-lab/Superfiltering f0764af: `do_fla`.

Nothing else was changed. apricot (lazy) was given the cosines, 0 where they are below, submodlib
(LazyGreedy) the vectors and `metric="cosine"`.
"""

from __future__ import annotations

import importlib
import json
import runpy
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, NamedTuple

import numpy as np

STORED = Path(__file__).with_suffix(".json")
ROWS, WIDTH, CENTRES = 200, 32, 25
GROUPS, PICKS = 2, 50
ALIKE = 0.85
COSINES = ".cosines.json"
BATCHES = (1, 50)
TASKS = ("one", "one", "other", "other", "third")  # of the first target rows
CROWDED = (0, 5, 6)  # target rows that lie together
Picks = list[int]


class Drawn(NamedTuple):
    """Rows around centres, what each is worth, a group that cuts across, and rows to aim at."""

    vectors_ND: np.ndarray
    values_N: np.ndarray
    groups_N: np.ndarray
    target_MD: np.ndarray


def drawn() -> Drawn:
    """Always the same, on every machine: the stream of `RandomState` is frozen."""
    rng = np.random.RandomState(2312)
    centres_CD = rng.randint(-1000, 1001, (CENTRES, WIDTH), dtype=np.int64)
    centre_N = rng.randint(0, CENTRES, ROWS, dtype=np.int64)
    vectors_ND = centres_CD[centre_N] + rng.randint(-400, 401, (ROWS, WIDTH), dtype=np.int64)
    target_MD = centres_CD[[0, 1, 2, 3, 4, 0, 0]]
    target_MD = target_MD + rng.randint(-400, 401, target_MD.shape, dtype=np.int64)
    values_N = rng.permutation(ROWS)
    made = (vectors_ND, values_N, np.arange(ROWS) % GROUPS, target_MD)
    return Drawn(*(array if i == 2 else array.astype(np.float32) for i, array in enumerate(made)))


def unit(vectors_ND: np.ndarray) -> np.ndarray:
    wide_ND = vectors_ND.astype(np.float64)
    return wide_ND / np.linalg.norm(wide_ND, axis=1, keepdims=True)


def stored() -> dict[str, Any]:
    """What public code picked."""
    return dict(json.loads(STORED.read_text(encoding="utf-8")))


def main() -> None:
    folder, rows = Path(sys.argv[1]), drawn()
    found = {
        "apricot": apricot(rows),
        "submodlib": submodlib(rows),
        "superfiltering": superfiltering(folder / "Superfiltering", rows),
        "deita": deita(folder / "deita", rows),
        "semdedup": semdedup(folder / "SemDeDup", rows),
        **rds(folder / "automated-instruction-selection" / "minimal_multitask", rows),
    }
    lines = (f' "{name}": {json.dumps(picks)}' for name, picks in found.items())
    STORED.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


def apricot(rows: Drawn) -> Picks:
    like_NN = np.maximum(unit(rows.vectors_ND) @ unit(rows.vectors_ND).T, 0)
    made = importlib.import_module("apricot").FacilityLocationSelection(
        PICKS, metric="precomputed", optimizer="lazy"
    )
    return [int(row) for row in made.fit(like_NN).ranking]


def submodlib(rows: Drawn) -> Picks:
    made = importlib.import_module("submodlib").FacilityLocationFunction(
        n=ROWS, mode="dense", data=rows.vectors_ND, metric="cosine"
    )
    return [int(row) for row, _ in made.maximize(budget=PICKS, optimizer="LazyGreedy")]


def superfiltering(folder: Path, rows: Drawn) -> Picks:
    script = runpy.run_path(str(folder / "code_diversity_fla" / "do_fla.py"))
    return [int(row) for row in script["do_fla"](unit(rows.vectors_ND), ROWS, PICKS)]


def deita(folder: Path, rows: Drawn) -> dict[str, Picks]:
    import pandas as pd

    source = folder / "src"
    sys.path.insert(0, str(source))
    bare = ModuleType("deita.pipeline")
    bare.__path__ = [str(source / "deita" / "pipeline")]
    sys.modules["deita.pipeline"] = bare
    made = importlib.import_module("deita.selection.filter")
    found = {}
    for batch in BATCHES:
        table = pd.DataFrame({"embedding": list(rows.vectors_ND), "worth": rows.values_N})
        table["worth"] = table["worth"].apply(lambda value: [value])
        options = {"threshold": ALIKE, "data_size": -1, "sort_key": ["worth"], "chunk_size": 64}
        kept = made.Combined_Filter(**options, batch_size=batch, device="cpu").filter(table)
        found[str(batch)] = [int(row) for row in kept.index]
    return found


def semdedup(folder: Path, rows: Drawn) -> Picks:
    import torch

    helpers = SimpleNamespace(Checkpointable=object)
    sys.modules["submitit"] = SimpleNamespace(helpers=helpers)  # type: ignore[assignment]
    sys.path.insert(0, str(folder))
    job = importlib.import_module("semdedup").SemDeDupJob(SimpleNamespace(seed=0), 0)
    kept: Picks = []
    for group in range(GROUPS):
        inside_M = np.flatnonzero(rows.groups_N == group)
        inside_M = inside_M[np.argsort(-rows.values_N[inside_M])]
        named = np.array([[f"row {row}", row] for row in inside_M])
        most_M = job.semdedup(named, torch.tensor(unit(rows.vectors_ND)[inside_M]), "cpu")
        kept += inside_M[~(most_M > ALIKE).numpy()].tolist()
    return sorted(kept)


def rds(scripts: Path, rows: Drawn) -> dict[str, Picks]:
    """One list for target rows in turn, far apart and crowded, and one for tasks in turn."""
    import transformers

    transformers.AutoTokenizer.from_pretrained = lambda *_, **__: None
    like_MN = unit(rows.target_MD) @ unit(rows.vectors_ND).T
    found = {}
    with tempfile.TemporaryDirectory() as work:
        pool = Path(work) / "pool.jsonl"
        pool.write_text("".join(f'{{"id": {row}}}\n' for row in range(ROWS)), encoding="utf-8")
        for name, some in (("rds", range(len(TASKS))), ("rds crowded", CROWDED)):
            influences = [written(like_MN[list(some)], Path(work) / f"{name}{COSINES}")]
            words = ["--train_datasets", str(pool)]
            found[name] = ran(scripts / "get_top_influences.py", influences, work, words)
        influences = []
        for task in sorted(set(TASKS)):
            of_task = like_MN[: len(TASKS)][np.array(TASKS) == task]
            influences.append(written(of_task, Path(work) / f"{task}{COSINES}"))
        found["rds tasks"] = ran(scripts / "get_top_aggregated_influences.py", influences, work, [])
    return found


def written(like_MN: np.ndarray, path: Path) -> Path:
    """Cosines as the scripts read them: for each target row those of all rows."""
    told = {m: dict(enumerate(like_N.tolist())) for m, like_N in enumerate(like_MN)}
    path.write_text(json.dumps(told), encoding="utf-8")
    return path


def read(file: Any, load: Any = json.load, **options: Any) -> Any:
    """JSON; of cosines the keys are numbers, as the scripts' other format would have them."""
    told = load(file, **options)
    if not str(file.name).endswith(COSINES):
        return told
    return {int(m): {int(row): like for row, like in told[m].items()} for m in told}


def ran(script: Path, influences: Sequence[Path], work: str, words: list[str]) -> Picks:
    out = Path(work) / "out.json"
    given = ["--input_files", *map(str, influences), "--output_file", str(out), *words]
    json.load = read
    sys.argv = [script.name, *given, "--selection_method", "max", "--output_size", str(PICKS)]
    runpy.run_path(str(script), run_name="__main__")
    return [int(row) for row in json.loads(out.read_text(encoding="utf-8"))]


if __name__ == "__main__":
    main()
