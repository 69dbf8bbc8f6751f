"""Which model, and what is refused."""

from __future__ import annotations

import importlib.util
import json
import platform
import shutil
import subprocess
import sys

import huggingface_hub
import pytest
import torch
from huggingface_hub.errors import LocalEntryNotFoundError
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoTokenizer, BertConfig, BertModel

from modicum import models
from modicum.errors import ModelError
from modicum.models import DEFAULT_HUB_ID, DEFAULT_INSTALL, Model, find_model
from modicum.render import template_fingerprint
from modicum.render.load import PLAIN_TYPES
from tiny_tokenizers import SHAPES, byte_level, metaspace


@pytest.fixture
def folder(tiny_model, tmp_path):
    """A copy of the tiny model that a test may spoil."""
    return shutil.copytree(tiny_model.folder, tmp_path / "model")


def change(path, **values):
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_a_folder_is_a_model(folder):
    model = find_model(folder, precision="float32")
    network = model.network
    assert model.name == str(folder)
    assert model.window == 512
    assert not network.training
    assert {p.dtype for p in network.parameters()} == {torch.float32}


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_weights_come_in_the_precision_asked_for(folder, precision):
    network = find_model(folder, precision=precision).network
    assert {p.dtype for p in network.parameters()} == {getattr(torch, precision)}


def test_what_is_neither_here_nor_on_the_hub_is_named(monkeypatch):
    with pytest.raises(ModelError, match="no/such/model is neither a folder, nor"):
        find_model("no/such/model")

    def offline(name, **_):
        raise LocalEntryNotFoundError("no connection")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    with pytest.raises(ModelError, match=r"mine/model is not a folder here, .*: no connection"):
        find_model("mine/model")


def test_a_missing_gguf_file_is_named(tmp_path):
    with pytest.raises(ModelError, match=r"no model file .*absent\.gguf"):
        find_model(tmp_path / "absent.gguf")


@pytest.mark.parametrize("content", [b"", b"not a model", b"GGUF, and no more"])
def test_a_file_that_is_no_gguf_leaves_nothing_behind(content, tmp_path, monkeypatch):
    monkeypatch.setenv("MODICUM_CACHE", str(tmp_path / "cache"))
    (tmp_path / "odd.gguf").write_bytes(content)
    with pytest.raises(ModelError, match="cannot be read as a GGUF language model"):
        find_model(tmp_path / "odd.gguf")
    assert list((tmp_path / "cache" / "models").iterdir()) == []


def test_pickled_weights_are_refused(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"only pytorch_model\.bin; .*safetensors or GGUF"):
        find_model(folder)


def test_a_folder_without_weights_or_configuration_is_refused(folder):
    (folder / "config.json").unlink()
    with pytest.raises(ModelError, match=r"no config\.json"):
        find_model(folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="no weights"):
        find_model(folder)


def test_a_configuration_that_is_not_json_is_named(folder):
    (folder / "config.json").write_text("{")
    with pytest.raises(ModelError, match=r"config\.json is not JSON"):
        find_model(folder)


def test_code_that_comes_with_a_model_does_not_run_unless_trusted(folder, tmp_path):
    change(folder / "config.json", auto_map={"AutoModelForCausalLM": "mine.Model"})
    (folder / "mine.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    with pytest.raises(ModelError, match="--trust-remote-code if you trust it"):
        find_model(folder)
    assert not (tmp_path / "ran").exists()
    assert find_model(folder, trust_remote_code=True).trust_remote_code


def test_truncated_weights_are_refused(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ModelError, match="cannot be loaded"):
        _ = find_model(folder).network


def test_missing_weights_are_not_made_up(folder):
    path = folder / "model.safetensors"
    weights = load_file(path)
    save_file({k: v for k, v in weights.items() if "lm_head" not in k}, path, {"format": "pt"})
    with pytest.raises(ModelError, match=r"lacks 1 weights .*lm_head\.weight"):
        _ = find_model(folder).network


def test_an_encoder_is_no_language_model(tmp_path):
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_attention_heads": 1}
    network = BertModel(BertConfig(vocab_size=20, num_hidden_layers=1, **sizes))
    network.save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="is it a causal language model"):
        _ = find_model(tmp_path).network


def test_a_folder_without_a_tokenizer_is_named(folder):
    for path in folder.glob("token*"):
        path.unlink()
    with pytest.raises(ModelError, match="no readable tokenizer"):
        _ = find_model(folder).tokenizer


def test_the_fingerprint_does_not_depend_on_the_place(folder, tiny_model):
    assert find_model(folder).fingerprint == tiny_model.fingerprint


def test_the_fingerprint_follows_a_single_weight(folder, tiny_model):
    weights = load_file(folder / "model.safetensors")
    weights["model.norm.weight"][3] += 0.5
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    assert find_model(folder).fingerprint != tiny_model.fingerprint


def test_the_fingerprint_follows_the_template_and_the_configuration(folder, tiny_model):
    template = folder / "chat_template.jinja"
    template.write_text(template.read_text().replace("<|im_end|>", "<|im_end|> "))
    with_template = find_model(folder).fingerprint
    change(folder / "config.json", rope_theta=5.0)
    assert len({tiny_model.fingerprint, with_template, find_model(folder).fingerprint}) == 3


def test_the_fingerprint_follows_code_that_comes_with_the_model(folder, tiny_model):
    (folder / "mine.py").write_text("scale = 2\n")
    assert find_model(folder).fingerprint != tiny_model.fingerprint


def test_the_window_is_found_under_the_names_of_the_architecture(folder):
    (folder / "config.json").write_text(json.dumps({"model_type": "gpt2", "n_positions": 77}))
    assert find_model(folder).window == 77


def test_the_window_is_the_smaller_of_what_model_and_tokenizer_read(folder):
    change(folder / "tokenizer_config.json", model_max_length=100)
    assert find_model(folder).window == 100


def test_without_a_default_the_message_says_how_to_install_it(monkeypatch):
    def offline(name, **_):
        assert name == DEFAULT_HUB_ID
        raise LocalEntryNotFoundError("no connection")

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    with pytest.raises(ModelError) as refused:
        find_model(None)
    assert DEFAULT_INSTALL in str(refused.value)


def test_a_hub_id_that_is_here_is_not_fetched(monkeypatch, tiny_model):
    asked = []

    def here(name, *, local_files_only=False, **_):
        asked.append((name, local_files_only))
        return str(tiny_model.folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", here)
    assert find_model("mine/model").folder == tiny_model.folder
    assert asked == [("mine/model", True)]


def test_a_hub_id_that_is_here_in_part_is_fetched(monkeypatch, tiny_model, tmp_path):
    def partly(name, *, local_files_only=False, **_):
        return str(tmp_path if local_files_only else tiny_model.folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", partly)
    assert find_model("mine/model").folder == tiny_model.folder


@pytest.mark.parametrize("lost", ["config.json", "tokenizer", "model-00002-of-00002.safetensors"])
def test_a_download_that_was_cut_off_goes_on(monkeypatch, folder, tmp_path, lost):
    partly, names = tmp_path / "partly", [f"model-0000{n}-of-00002.safetensors" for n in (1, 2)]
    shutil.copytree(folder, partly)
    for name in names:
        shutil.copy(partly / "model.safetensors", partly / name)
    index = json.dumps({"weight_map": {f"w{i}": name for i, name in enumerate(names)}})
    (partly / "model.safetensors.index.json").write_text(index)
    places = {True: partly, False: folder}

    def download(name, *, local_files_only=False, **_):
        return str(places[local_files_only])

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert find_model("mine/model").folder == partly
    for path in partly.glob(f"{lost}*"):
        path.unlink()
    assert find_model("mine/model").folder == folder


# --- without torch --------------------------------------------------------------------------------

SAID = [
    {"role": "user", "content": "Name  a colour.\n"},
    {"role": "assistant", "content": "Bleu é"},
]
KINDS = {"byte-level": byte_level, "metaspace": metaspace}


def same_tokenizer(model: Model) -> None:
    """The model's is what `AutoTokenizer` gives."""
    ours, auto = model.tokenizer, AutoTokenizer.from_pretrained(model.folder, local_files_only=True)
    assert type(ours) is type(auto)
    assert ours.backend_tokenizer.to_str() == auto.backend_tokenizer.to_str()
    assert ours.special_tokens_map == auto.special_tokens_map
    assert ours.model_max_length == auto.model_max_length
    assert template_fingerprint(ours) == template_fingerprint(auto)
    assert ours("Name a colour.")["input_ids"] == auto("Name a colour.")["input_ids"]
    if auto.chat_template:
        ids = [each.apply_chat_template(SAID, return_dict=False) for each in (ours, auto)]
        assert ids[0] == ids[1]


@pytest.fixture
def no_auto(monkeypatch):
    """A function after which `AutoTokenizer` and `AutoConfig` say that they were asked."""

    def asked(*_, **__):
        raise OSError("asked")

    def forbid():
        for each in (AutoTokenizer, AutoConfig):
            monkeypatch.setattr(each, "from_pretrained", asked)

    return forbid


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", KINDS)
def test_a_tokenizer_of_the_general_class_is_the_same_without_torch(kind, shape, folder, no_auto):
    for path in (*folder.glob("token*"), *folder.glob("chat_template*")):
        path.unlink()
    KINDS[kind](shape).save_pretrained(folder)
    same_tokenizer(find_model(folder))
    no_auto()
    assert find_model(folder).tokenizer.is_fast
    assert find_model(folder).window == 512


@pytest.mark.parametrize("kind", sorted(PLAIN_TYPES))
def test_types_that_are_read_without_torch_are_the_same_with_it(kind, folder):
    path = folder / "config.json"
    path.write_text(json.dumps({"model_type": kind, "max_position_embeddings": 77}))
    same_tokenizer(find_model(folder))
    assert find_model(folder).window == 77
    assert AutoConfig.from_pretrained(folder).max_position_embeddings == 77
    path.write_text(json.dumps({"model_type": kind}))  # left to the type's default
    assert find_model(folder).window == AutoConfig.from_pretrained(folder).max_position_embeddings


@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json"])
def test_a_tokenizer_of_another_class_is_left_to_transformers(file, folder, no_auto):
    kind, value = ("model_type", "qwen2"), ("tokenizer_class", "GPT2Tokenizer")
    change(folder / file, **dict([kind if file == "config.json" else value]))
    same_tokenizer(find_model(folder))
    no_auto()
    with pytest.raises(ModelError, match="asked"):
        _ = find_model(folder).tokenizer


def test_a_tokenizer_that_brings_code_is_left_to_transformers(folder, no_auto):
    change(folder / "tokenizer_config.json", auto_map={"AutoTokenizer": [None, "mine.Mine"]})
    no_auto()
    with pytest.raises(ModelError, match="asked"):
        _ = find_model(folder).tokenizer


def test_device_and_precision_are_those_that_torch_finds(folder):
    model, here = find_model(folder), torch.device("cuda" if torch.cuda.is_available() else "cpu")
    assert (model.device, str(model.device)) == (here, model.device_name)
    assert str(model.dtype) == f"torch.{model.dtype_name}"
    if here.type == "cpu" and platform.machine() == "x86_64":
        fast = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
        assert model.dtype == (torch.bfloat16 if fast else torch.float32)


@pytest.mark.skipif("+cpu" not in torch.__version__, reason="torch is asked for a CUDA device")
def test_rows_are_tokenised_without_importing_torch(folder, tiny_file):
    code = (
        "import sys; from modicum import Pool, find_model, meter;"
        f"model, pool = find_model({str(folder)!r}), Pool.read({str(tiny_file)!r});"
        "made = meter.Meter(model).rendered(pool);"
        "print(len(made), model.window, model.fingerprint, model.dtype_name, model.device_name);"
        "sys.exit('torch' in sys.modules)"
    )
    made = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (made.returncode, made.stdout.split()[:2]) == (0, ["12", "512"]), made.stderr


@pytest.mark.real
def test_the_embedded_model_is_converted_once(cache, monkeypatch):
    first = find_model(None)
    assert "embedded" in first.name
    monkeypatch.setattr(models.durable, "new_folder", None)  # what a conversion ends with
    before = {path: path.stat().st_mtime_ns for path in cache.glob("models/*/*")}
    assert find_model(None).folder == first.folder
    assert {path: path.stat().st_mtime_ns for path in cache.glob("models/*/*")} == before
    assert [p.name for p in cache.glob("models/*")] == [first.folder.name]
    assert first.tokenizer.chat_template
    same_tokenizer(first)
