"""A tuning in several processes that this one starts, by `accelerate launch`, and waits for.

What is to be tuned is handed over in a folder of its own: the tokens as safetensors, the rest as
JSON. The processes train as those of a launch by hand do. What goes wrong in the first of them
comes back as the error that it is.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modicum import errors
from modicum.errors import ModicumError, TrainingError
from modicum.held import held
from modicum.models import Model
from modicum.render import Rendered
from modicum.runs import write_json
from modicum.training.options import Recipe

if TYPE_CHECKING:
    import numpy as np

_TASK, _TOKENS, _WRONG = "task.json", "tokens.safetensors", "wrong.json"
_LAST = 1000  # characters of what a process said in the end


def tune_apart(
    rendered: Rendered, model: Model, folder: Path, recipe: Recipe, *, seed: int, what: str
) -> None:
    """`tune` in `recipe.processes` processes; a `TrainingError` where they end without a word."""
    from safetensors.numpy import save_file

    model.release()
    with tempfile.TemporaryDirectory(prefix="modicum-") as name:
        place = Path(name)
        tokens = {"ids": rendered.ids, "kinds": rendered.kinds, "starts": rendered.starts}
        save_file(tokens, place / _TOKENS)
        about = {
            "model": [model.name, str(model.folder.absolute()), model.dtype_name],
            "trust_remote_code": model.trust_remote_code,
            "errors": {str(i): why for i, why in rendered.errors.items()},
            "given": recipe.to_json(),
            "folder": str(folder.absolute()),
            "seed": seed,
            "what": what,
        }
        write_json(place / _TASK, about)
        ran = subprocess.run(
            [*_launch(recipe.processes), "-m", "modicum.training.apart", name],
            stdout=subprocess.DEVNULL,
            stderr=None if sys.stderr.isatty() else subprocess.PIPE,
            text=True,
            check=False,
        )
        if (place / _WRONG).exists():
            told = json.loads((place / _WRONG).read_text(encoding="utf-8"))
            raise getattr(errors, told["kind"])(told["said"])
        if ran.returncode:
            said = " ".join((ran.stderr or "").split())[-_LAST:]
            raise TrainingError(
                f"{recipe.processes} processes ended with status {ran.returncode}: {said}; the "
                "same line goes on from the last checkpoint"
            )


def main(place: Path) -> None:
    """One of the processes."""
    from modicum.training.together import Processes
    from modicum.training.tune import tune

    first = Processes().first
    about: dict[str, Any] = json.loads((place / _TASK).read_text(encoding="utf-8"))
    name, model_folder, precision = about["model"]
    folder = Path(about["folder"])
    model = Model(name, Path(model_folder), precision, about["trust_remote_code"])
    recipe = Recipe(about["given"])
    try:
        # A line that was killed leaves processes behind, which go on until they are done.
        with held(folder) if first else nullcontext():
            rows = _rendered(place, about["errors"])
            tune(rows, model, folder, recipe, seed=about["seed"], what=about["what"])
    except ModicumError as error:
        if first:
            write_json(place / _WRONG, {"kind": type(error).__name__, "said": str(error)})
        sys.exit(2)


def _rendered(place: Path, why: dict[str, str]) -> Rendered:
    from safetensors.numpy import load_file

    held: dict[str, np.ndarray] = load_file(place / _TOKENS)
    reasons = {int(i): reason for i, reason in why.items()}
    return Rendered(held["ids"], held["kinds"], held["starts"], reasons)


def _launch(processes: int) -> list[str]:
    """As the user configured accelerate, or else all on this machine."""
    from accelerate.commands.config.config_args import default_config_file

    line = [sys.executable, "-m", "accelerate.commands.launch", "--num_processes", str(processes)]
    if Path(default_config_file).exists():
        return line
    # Without a GPU, too, this starts several; --cpu wants MPI for it, and else starts one.
    line += ["--multi_gpu", "--num_machines", "1", "--mixed_precision", "no"]
    return [*line, "--dynamo_backend", "no", "--main_process_port", "0"]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
