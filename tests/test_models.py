"""Which model, and what is refused."""

from __future__ import annotations

import importlib.util
import json
import shutil

import huggingface_hub
import pytest
import torch
from huggingface_hub.errors import LocalEntryNotFoundError
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertModel

from modicum import models
from modicum.errors import ModelError
from modicum.models import DEFAULT_HUB_ID, DEFAULT_INSTALL, find_model


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


@pytest.mark.real
def test_the_embedded_model_is_converted_once(cache, monkeypatch):
    first = find_model(None)
    assert "embedded" in first.name
    monkeypatch.setattr(models.shutil, "rmtree", None)  # what a conversion ends with
    before = {path: path.stat().st_mtime_ns for path in cache.glob("models/*/*")}
    assert find_model(None).folder == first.folder
    assert {path: path.stat().st_mtime_ns for path in cache.glob("models/*/*")} == before
    assert [p.name for p in cache.glob("models/*")] == [first.folder.name]
    assert first.tokenizer.chat_template
