"""``export --output``: a GGUF file or a model's folder becomes a Pack that says what it was made from."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from cli_said import Run

from hedgerow import files
from hedgerow.kinds import decoder_lm, foreign
from hedgerow.pack import open_pack

KIN = Path(__file__).parents[1] / "kinds"


def loaded(name: str) -> ModuleType:
    """A helper of the tests of kinds."""
    spec = importlib.util.spec_from_file_location(f"cli_export_{name}", KIN / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


tiny: Any = loaded("tiny")


def file_of(folder: Path, tokenizer: str) -> Path:
    """A tiny decoder with that tokenizer as a q8_0 file; written by our own export."""
    pack = decoder_lm.save_decoder(folder / "p", tiny.info("made", "decoder-lm"), tiny.llama(), tokenizer)
    return Path(decoder_lm.KIND.export(pack, "gguf-q8_0").variant_folder("gguf-q8_0") / "model.gguf")


@pytest.fixture(scope="module")
def gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its tokenizer has one merge, whose token takes the place of the last byte."""
    told = json.loads(tiny.tokenizer(encoder=False))
    *kept, last = told["model"]["vocab"].items()
    told["model"] |= {"vocab": dict(kept) | {"ab": last[1]}, "merges": [["a", "b"]]}
    return file_of(tmp_path_factory.mktemp("decoder"), json.dumps(told))


def test_a_gguf_file_becomes_a_pack(run: Run, gguf: Path) -> None:
    said = run("export", gguf, "--output", "packs/small")
    assert said.code == 0, said
    assert "packs/small" in said.out and "gguf-q8_0" in said.out and "unknown" in said.err
    pack = open_pack("packs/small")
    (source,) = pack.info.data
    assert (source.name, source.sha256, source.licence) == ("model.gguf", files.sha256(gguf), "unknown")
    assert not pack.info.shareable and not source.shareable and pack.info.name == "small"
    assert "Not to be shared" in run("show", "packs/small").out
    for form in ("torch", "gguf-q8_0"):
        answered = run("use", "packs/small", "growing of rice", "--form", form)
        assert answered.code == 0 and answered.out.startswith("growing of rice"), answered
    run("export", gguf, "--output", "packs/small").failed("packs/small exists", "--output")
    run("use", gguf, "rice").failed("no Pack but a GGUF file", f"hedgerow export {gguf} --output")
    run("weigh", gguf, "--suite", "commonsense").failed("hedgerow export FILE.gguf --output")


def test_a_licence_is_noted_and_sharing_is_said_apart(run: Run, gguf: Path) -> None:
    made = run("export", gguf, "-o", "p", "--licence", "Apache-2.0", "--json").json
    assert made["kind"] == "decoder-lm" and made["forms"] == ["torch", "gguf-q8_0"]
    info = open_pack("p").info
    assert info.data[0].licence == "Apache-2.0" and not info.shareable
    run("export", gguf, "-o", "q", "--licence", "MIT", "--shareable")
    assert open_pack("q").info.shareable
    run("export", gguf, "-o", "r", "--shareable").failed("--licence", code=2)
    run("export", gguf, "-o", "r", "--to", "onnx").failed("--output", code=2)
    run("export", "p", "--licence", "MIT", "--to", "onnx").failed("--output", code=2)
    run("export", "p").failed("--to", code=2)


def test_folders_become_packs_of_their_kind(run: Run, tmp_path: Path) -> None:
    for name, net, encoder, kind in (("lm", tiny.llama(), False, "decoder-lm"), ("en", tiny.bert(), True, "encoder")):
        net.save_pretrained(tmp_path / name)
        (tmp_path / name / "tokenizer.json").write_text(tiny.tokenizer(encoder=encoder), encoding="utf-8")
        made = run("export", name, "--output", f"packs/{name}", "--json").json
        assert made["kind"] == kind
        (source,) = open_pack(f"packs/{name}").info.data
        assert source.name == name and len(source.sha256) == 64
        run("export", name, "--to", "onnx").failed("no Pack yet", f"hedgerow export {name} --output")


def test_what_cannot_become_a_pack_is_one_line(run: Run, gguf: Path, tmp_path: Path, monkeypatch: Any) -> None:
    (tmp_path / "text.gguf").write_text("not it")
    run("export", "text.gguf", "-o", "p").failed("text.gguf", "no GGUF file")
    run("export", "nowhere.gguf", "-o", "p").failed("nowhere.gguf is missing")
    (tmp_path / "cut.gguf").write_bytes(gguf.read_bytes()[:2000])
    run("export", "cut.gguf", "-o", "p").failed("cut.gguf")
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "config.json").write_text('{"model_type": "mamba"}')
    run("export", "odd", "-o", "p").failed("mamba")
    monkeypatch.setattr(foreign, "find_spec", lambda name: None)
    run("export", gguf, "-o", "p").failed("hedgerow[build]")
    assert not (tmp_path / "p").exists()


def test_a_tokenizer_at_which_the_library_panics_is_one_line(run: Run, tmp_path: Path) -> None:
    """Without merges transformers guesses some, and Rust's panic is no Exception of Python."""
    said = run("export", file_of(tmp_path / "made", tiny.tokenizer(encoder=False)), "-o", "q")
    assert said.code == 1 and "none can be made" in said.err.splitlines()[-1]
    assert not (tmp_path / "q").exists()
