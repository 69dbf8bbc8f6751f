"""How fast is tuning? The same rows through Modicum and through TRL as it comes, in turns.

trl      SFTTrainer, rows unpacked and padded, bfloat16 autocast over float32 weights, gradient
         checkpointing off, its own loss, which projects answer tokens only
modicum  `modicum train`: the same trainer on packs, with its own loss on a processor

Both learn about as many real tokens a step. The first steps, in which memory is first asked for,
are left out of the rates. The share of the limit counts six operations a weight a token, and none
of the head's.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # for both ways, as the command line does
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from scoring import EXAMPLE, matmul_limit, spread

from modicum import find_model
from modicum.compiled import operations
from modicum.models import Model, quiet
from modicum.render import Rendered
from modicum.training import Recipe, tune
from modicum.training.rows import dataset
from modicum.training.trainer import SETTLING

PACK = 1024


def main() -> None:
    options = _options()
    if options.steps < SETTLING + 2:
        raise SystemExit(f"--steps {options.steps}: the first {SETTLING} are not timed; give more")
    model = find_model(options.model)
    rows = spread(options.pool, options.rows, model, PACK)
    batch = max(1, round(PACK / float(rows.lengths_N.mean())))
    ways = {"trl": [], "modicum": []}  # type: dict[str, list[tuple[float, float]]]
    limits = []
    for repeat in range(options.repeats):
        with tempfile.TemporaryDirectory() as folder:
            ways["trl"].append(trl_way(rows, model, Path(folder), batch, options.steps, repeat))
        with tempfile.TemporaryDirectory() as folder:
            ways["modicum"].append(modicum_way(rows, model, Path(folder), options.steps, repeat))
        limits.append(matmul_limit(model))
    rates = {name: float(np.median([rate for rate, _ in runs])) for name, runs in ways.items()}
    limit = float(np.median(limits))
    result = {
        "rows": len(rows),
        "rows_a_batch_unpacked": batch,
        "steps": options.steps,
        "repeats": options.repeats,
        "model": model.name,
        "threads": torch.get_num_threads(),
        "tokens_per_second": rates,
        "ratio_to_trl": rates["modicum"] / rates["trl"],
        "last_losses": {name: [loss for _, loss in runs] for name, runs in ways.items()},
        "matmul_limit_gflops": limit / 1e9,
        "share_of_matmul_limit": 3 * operations(model.network, 1) * rates["modicum"] / limit,
    }
    print(json.dumps(result, indent=1)) if options.json else show(result)


def trl_way(
    rows: Rendered, model: Model, folder: Path, batch: int, steps: int, seed: int
) -> tuple[float, float]:
    """Real tokens a second, and the mean loss of the later half of the steps."""
    from transformers import AutoModelForCausalLM, TrainerCallback
    from trl.trainer.sft_config import SFTConfig
    from trl.trainer.sft_trainer import SFTTrainer

    ends: list[tuple[float, int]] = []

    class Timed(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            ends.append((time.perf_counter(), trainer.seen))

    class Counting(SFTTrainer):
        seen = 0

        def compute_loss(self, model: Any, inputs: Any, *given: Any, **more: Any) -> Any:
            self.seen += int(inputs["attention_mask"].sum())
            theirs: Any = super().compute_loss
            return theirs(model, inputs, *given, **more)

    args = SFTConfig(
        output_dir=str(folder),
        max_steps=steps,
        per_device_train_batch_size=batch,
        gradient_checkpointing=False,
        bf16=model.dtype == torch.bfloat16,
        learning_rate=2e-5,
        logging_steps=1,
        report_to=[],
        save_strategy="no",
        disable_tqdm=True,
        use_cpu=model.device.type == "cpu",
        seed=seed,
        dataset_kwargs={"skip_prepare_dataset": True},
    )
    with quiet():
        network = AutoModelForCausalLM.from_pretrained(model.folder, dtype=torch.float32)
        trainer = Counting(
            network, args, train_dataset=dataset(rows), processing_class=model.tokenizer
        )
        trainer.add_callback(Timed())
        trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    return _rate(ends), float(np.mean(losses[steps // 2 :]))


def modicum_way(
    rows: Rendered, model: Model, folder: Path, steps: int, seed: int
) -> tuple[float, float]:
    """The same of `modicum train`."""
    given = {
        "max_steps": steps,
        "per_device_train_batch_size": 1,
        "gradient_accumulation_steps": 1,
        "learning_rate": 2e-5,
        "logging_steps": 1,
    }
    record = tune(rows, model, folder / "tuned", Recipe(given), seed=seed).record
    entries = [entry for entry in record["loss_curve"] if "loss" in entry]
    rate = _rate([(entry["seconds"], entry["tokens"]) for entry in entries])
    return rate, float(np.mean([entry["loss"] for entry in entries[steps // 2 :]]))


def _rate(ends: list[tuple[float, int]]) -> float:
    """Tokens a second after the first steps; of a list of seconds and tokens until then."""
    (began, before), (ended, after) = ends[SETTLING - 1], ends[-1]
    return (after - before) / (ended - began)


def show(result: dict[str, Any]) -> None:
    out = Console(highlight=False, width=100)
    out.print(
        f"{result['steps']} steps on {result['rows']} rows, medians of {result['repeats']}, "
        f"{result['model']}, {result['threads']} threads, "
        f"{result['rows_a_batch_unpacked']} rows a batch unpacked"
    )
    table = Table("way", "tokens/s", "last losses")
    for name, rate in result["tokens_per_second"].items():
        losses = ", ".join(f"{loss:.3f}" for loss in result["last_losses"][name])
        table.add_row(name, f"{rate:.0f}", losses)
    out.print(table)
    out.print(
        f"Modicum is {result['ratio_to_trl']:.2f} × as fast, and at "
        f"{result['share_of_matmul_limit']:.0%} of {result['matmul_limit_gflops']:,.0f} GFLOP/s"
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--pool", default=str(EXAMPLE), help="rows to learn")
    parser.add_argument("--rows", type=int, default=200, help="how many of them")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--model", default=None)
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
