"""One test that every kind passes, on a tiny random-weight Pack of each: whatever the floor promises, it keeps for all.

A new kind adds a maker, a row and a reader of numbers to ``tiny.py``; nothing here names a kind.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
import tiny

import hedgerow as hr
from hedgerow import files
from hedgerow import pack as packs
from hedgerow.errors import HedgerowError
from hedgerow.kinds import KINDS, Model, kind
from hedgerow.pack.records import VariantInfo, sealed
from hedgerow.pack.whole import entry_of

# Forms in float32 differ by the order of their sums only. Dynamic int8 of random weights is coarse; that of a trained
# net is told by its accuracy, which `weigh` measures.
LARGEST_DIFFERENCE = 2e-5
LEAST_COSINE_INT8 = 0.95


@pytest.fixture(scope="module", autouse=True)
def one_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Packs are made once for this module, so their trunks must outlive one test."""
    before = os.environ.get("HEDGEROW_CACHE")
    os.environ["HEDGEROW_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    yield
    os.environ.pop("HEDGEROW_CACHE")
    if before is not None:
        os.environ["HEDGEROW_CACHE"] = before


@pytest.fixture(autouse=True)
def same_cache(one_cache: None, own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Undo the fresh cache of each test: here the module's is the right one."""
    monkeypatch.undo()


@pytest.fixture(scope="module", params=sorted(KINDS))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def plain(name: str, tmp_path_factory: pytest.TempPathFactory, one_cache: None) -> packs.Pack:
    """The tiny Pack in its base form."""
    return tiny.MAKERS[name](tmp_path_factory.mktemp(name))


@pytest.fixture(scope="module")
def full(plain: packs.Pack, tmp_path_factory: pytest.TempPathFactory) -> packs.Pack:
    """A copy with every form that its kind can export."""
    path = copied(plain.path, tmp_path_factory.mktemp("full") / "pack")
    which = kind(plain.info.kind)
    for form in ("onnx", "onnx-int8"):
        try:
            which.export(packs.open_pack(path), form)
        except HedgerowError:
            assert form not in which.variants(packs.open_pack(path))
    return packs.open_pack(path)


def copied(source: Path, target: Path) -> Path:
    shutil.copytree(source, target)
    return target


def remade(path: Path) -> Path:
    """Write the manifest again behind changed content, as somebody would to pass a broken Pack off as whole."""
    packs.write_manifest(path, files.read_toml(path / "pack.toml").get("trunk"))
    digest = json.loads((path / "manifest.json").read_text())["digest"]
    for file in path.glob("variants/*/variant.json"):
        listed = {f.name: entry_of(f) for f in file.parent.iterdir() if f != file}
        try:
            info = VariantInfo.model_validate_json(file.read_text())
        except ValueError:  # broken itself: nothing can be made to fit
            continue
        info = sealed(info.model_copy(update={"of": digest, "files": listed}))
        file.write_text(info.model_dump_json())
    return path


def samples(model: Model, count: int = 3) -> list[Any]:
    return [model.kind.unit.make(model.kind.unit.usual, seed) for seed in range(count)]


def one_line(caught: pytest.ExceptionInfo[HedgerowError]) -> None:
    text = str(caught.value)
    assert text.strip() and "\n" not in text and "Traceback" not in text, text


def refused(path: Path) -> None:
    """Opening and asking ends in one clear line."""
    with pytest.raises(HedgerowError) as caught:
        model = hr.open(path)
        model.predict(samples(model, 2))
    one_line(caught)


def refused_or_answered(path: Path, variant: str | None = None) -> bool:
    """Any change is either refused in one line or harmless; never another exception. Tells which."""
    try:
        model = hr.open(path, variant=variant)
        look(model, samples(model, 1))
    except HedgerowError as e:
        assert "\n" not in str(e)
        return True
    return False


def look(model: Model, inputs: list[Any]) -> np.ndarray:
    return np.asarray(tiny.NUMBERS[model.pack.info.kind](model.engine, inputs))


# --- declared ---------------------------------------------------------------------------------------------------------
def test_declares_all_that_a_kind_must(name: str) -> None:
    which = kind(name)
    assert which.name == name and which.summary and which.needs and which.columns and which.metrics
    assert len(set(which.columns)) == len(which.columns) and not set(which.columns) & {*which.needs, "line", "error"}
    jsonschema.Draft202012Validator.check_schema(which.schema)
    json.dumps(which.options)
    assert which.explains.keys() <= which.options.keys()


def test_unit_makes_inputs_of_each_size(name: str, plain: packs.Pack) -> None:
    unit = kind(name).unit
    assert len(unit.sizes) >= 2 and unit.usual in unit.sizes
    for size in unit.sizes:
        one, again, other = unit.make(size, 1), unit.make(size, 1), unit.make(size, 2)
        assert np.array_equal(one, again) and not np.array_equal(one, other)
        assert unit.bytes_in(size) > 0 and unit.bytes_out(size) > 0
    sizes = [unit.bytes_in(size) for size in unit.sizes]
    assert sizes == sorted(sizes)


# --- asked ------------------------------------------------------------------------------------------------------------
def test_predicts_what_its_schema_says(name: str, plain: packs.Pack) -> None:
    model = hr.open(plain.path)
    answers = [*model.predict(samples(model, 4)), *model.predict(samples(model, 1), **model.kind.explains)]
    assert len(answers) == 5
    validator = jsonschema.Draft202012Validator(model.kind.schema)
    for answer in answers:
        validator.validate(json.loads(json.dumps(answer, allow_nan=False)))
        cells = model.kind.cells(answer)
        assert tuple(cells) == model.kind.columns
        assert all(value is None or isinstance(value, str | int | float) for value in cells.values())
        line = model.kind.line(answer)
        assert line.strip() and len(line.splitlines()) <= 5
    assert model.predict([]) == []


def test_order_and_company_do_not_matter(name: str, plain: packs.Pack) -> None:
    """An answer depends on its input only, not on what else is in the batch (inputs of all sizes mixed)."""
    model = hr.open(plain.path)
    unit = model.kind.unit
    inputs = [unit.make(size, seed) for seed in range(3) for size in unit.sizes[:2]]
    alone = [look(model, [i])[0] for i in inputs]
    if len({a.shape for a in alone}) > 1:  # dense answers come one by one
        return
    together = look(model, inputs)
    assert np.allclose(together, np.stack(alone), atol=LARGEST_DIFFERENCE)
    assert np.allclose(look(model, inputs[::-1]), together[::-1], atol=LARGEST_DIFFERENCE)


def test_reads_a_row_and_refuses_a_bad_one(name: str, plain: packs.Pack, tmp_path: Path) -> None:
    model = hr.open(plain.path)
    row = tiny.ROWS[name](tmp_path)
    assert set(model.kind.needs) <= set(row)
    assert len(model.predict([model.kind.read(row, tmp_path)])) == 1
    for bad in ({}, {"other": "x"}, dict.fromkeys(row, ""), dict.fromkeys(row, "  "), dict.fromkeys(row)):
        with pytest.raises(HedgerowError) as caught:
            model.kind.read(bad, tmp_path)
        one_line(caught)


def test_unknown_option_and_form_are_one_line(name: str, plain: packs.Pack) -> None:
    model = hr.open(plain.path)
    with pytest.raises(HedgerowError) as caught:
        model.predict(samples(model, 1), no_such_option=1)
    one_line(caught)
    for variant in ("onnz", "../..", ""):
        with pytest.raises(HedgerowError) as caught:
            hr.open(plain.path, variant=variant)
        one_line(caught)


def test_bad_inputs_are_one_line(name: str, plain: packs.Pack) -> None:
    model = hr.open(plain.path)
    for bad in (None, 3, "", "   ", "x" * 1_000_000, b"\xff", ["a"], np.array(["a"]), np.full((4, 4), np.nan)):
        with pytest.raises(HedgerowError) as caught:
            model.predict([bad])
        one_line(caught)


def test_says_what_it_runs_on_and_counts_its_work(name: str, full: packs.Pack) -> None:
    which = kind(name)
    for form in which.variants(full):
        engine = which.load(full, form, 1)
        assert {"library", "version", "cpu_features"} <= set(engine.runtime)
        assert engine.weights_bytes > 0 and which.disk_bytes(full, form) > 0
        for size in which.unit.sizes[:2]:
            for batch in (1, 2):
                phases = engine.phases([which.unit.make(size, seed) for seed in range(batch)], size)
                assert phases and len({p.name for p in phases}) == len(phases)
                for phase in phases:
                    assert phase.units > 0
                    for _ in range(2):
                        phase.prepare()
                        phase.run()
                    flops = engine.flops(phase.name, size, batch)
                    assert flops is not None and flops.cover and flops.count > 0
                    twice = engine.flops(phase.name, size, 2 * batch)
                    assert twice is not None and twice.count >= 1.9 * flops.count


# --- forms ------------------------------------------------------------------------------------------------------------
def test_every_form_gives_the_same_answers(name: str, full: packs.Pack) -> None:
    which = kind(name)
    forms = which.variants(full)
    inputs = [which.unit.make(which.unit.usual, seed) for seed in range(4)]
    base = np.asarray(tiny.NUMBERS[name](which.load(full, forms[0], 1), inputs), dtype=np.float64).reshape(4, -1)
    for form in forms[1:]:
        found = np.asarray(tiny.NUMBERS[name](which.load(full, form, 1), inputs), dtype=np.float64).reshape(4, -1)
        if form.endswith("int8"):
            cosine = (base * found).sum(1) / np.linalg.norm(base, axis=1) / np.linalg.norm(found, axis=1)
            assert cosine.min() >= LEAST_COSINE_INT8, form
            assert np.abs(base - found).max() > 0, "the int8 form is the float form"
        else:
            assert np.abs(base - found).max() <= LARGEST_DIFFERENCE, form


def test_export_keeps_digest_and_evidence(name: str, plain: packs.Pack, full: packs.Pack, tmp_path: Path) -> None:
    assert full.digest == plain.digest
    which, path = kind(name), copied(full.path, tmp_path / "p")
    pack = packs.open_pack(path)
    pack.add_evidence("scores.jsonl", {"variant": "x", "metrics": {}})
    for form in [f for f in pack.variants if "int8" in f] or list(pack.variants)[:1]:
        pack = which.export(pack, form)  # once more: replaces the form, and nothing else
    assert pack.digest == plain.digest and len(pack.scores) == 1
    packs.open_pack(path)
    for unknown in ("gguf", "", "../x", "onnx-int9"):
        with pytest.raises(HedgerowError) as caught:
            which.export(pack, unknown)
        one_line(caught)
    assert not list(path.rglob(".*")), "something half-made was left"


def test_exported_files_hold_no_path_of_this_machine(full: packs.Pack) -> None:
    for file in full.path.rglob("*"):
        if file.is_file():
            data = file.read_bytes()
            assert str(Path(hr.__file__).parent).encode() not in data and str(Path.home()).encode() not in data
            assert b".py" not in data or file.suffix != ".onnx", f"{file.name} holds a stack trace"


BUILD_ONLY = ("torch", "transformers", "onnx", "onnxscript", "sklearn", "scipy", "peft", "accelerate", "threadpoolctl")


def test_runs_without_what_only_building_needs(name: str, full: packs.Pack, tmp_path: Path) -> None:
    """The device size: torch and its company cannot be imported, and a form that runs gives the same numbers."""
    which = kind(name)
    light = [form for form in which.variants(full) if not form.startswith("torch")]
    assert light, "no form of this kind runs on a device"
    code = f"""
import sys, json
sys.modules.update(dict.fromkeys({BUILD_ONLY!r}))
sys.path.insert(0, {str(Path(tiny.__file__).parent)!r})
import hedgerow as hr, numpy as np, tiny
model = hr.open({str(full.path)!r})
inputs = [model.kind.unit.make(model.kind.unit.usual, seed) for seed in range(2)]
np.save({str(tmp_path / "numbers.npy")!r}, tiny.NUMBERS[{name!r}](model.engine, inputs))
print(model.variant)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    form = done.stdout.split()[-1]
    assert form in light
    inputs = [which.unit.make(which.unit.usual, seed) for seed in range(2)]
    here = np.asarray(tiny.NUMBERS[name](which.load(full, form, 1), inputs))
    assert np.allclose(np.load(tmp_path / "numbers.npy"), here, atol=1e-6)


# --- damaged ----------------------------------------------------------------------------------------------------------
def content(path: Path) -> list[Path]:
    return sorted(p for p in path.rglob("*") if p.is_file() and p.name not in packs.EVIDENCE)


def test_a_damaged_copy_is_one_line(name: str, full: packs.Pack, tmp_path: Path) -> None:
    """Each file truncated, with one byte flipped, removed; and a file too many."""
    for number, file in enumerate(content(full.path)):
        inside = file.relative_to(full.path)
        for damage in ("cut", "flip", "gone", "empty"):
            path = copied(full.path, tmp_path / f"{number}-{damage}")
            victim, data = path / inside, bytearray(file.read_bytes())
            if damage == "cut":
                victim.write_bytes(data[: len(data) * 2 // 3])
            elif damage == "flip":
                data[len(data) // 2] ^= 0x10
                victim.write_bytes(data)
            elif damage == "gone":
                victim.unlink()
            else:
                victim.write_bytes(b"")
            refused(path)
            shutil.rmtree(path)
    extra = copied(full.path, tmp_path / "extra")
    (extra / "model.py").write_text("import os")
    refused(extra)


def json_leaves(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if isinstance(value, dict):
        for key in value:
            yield from json_leaves(value[key], (*at, key))
    elif isinstance(value, list) and value and not isinstance(value[0], str | dict):
        yield from json_leaves(value[0], (*at, 0))
    else:
        yield at


def changed(value: Any, at: tuple[Any, ...], new: Any) -> Any:
    copy = json.loads(json.dumps(value))
    inner = copy
    for key in at[:-1]:
        inner = inner[key]
    inner[at[-1]] = new
    return copy


def test_model_json_of_a_stranger(name: str, plain: packs.Pack, tmp_path: Path) -> None:
    """Each value of model.json made absurd behind a right digest: one line, or harmless; and no huge allocation."""
    path = copied(plain.path, tmp_path / "p")
    good = json.loads((path / "model.json").read_text())
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refusals = 0
    for at in json_leaves(good):
        for absurd in (10**9, -1, 0, 1.5, "evil", None, [], {}):
            (path / "model.json").write_text(json.dumps(changed(good, at, absurd)))
            refusals += refused_or_answered(remade(path))
    assert refusals > 10
    for text in ("", "null", "[]", "{}", "3", '"x"', "{", json.dumps({**good, "run": "rm -rf"})):
        (path / "model.json").write_text(text)
        refused(remade(path))
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert grown < 500, f"{grown:.0f} MiB were allocated for absurd sizes"


def array_files(path: Path) -> list[Path]:
    return [p for p in content(path) if p.suffix == ".safetensors" and "variants" not in p.parts]


def test_arrays_of_a_stranger(name: str, plain: packs.Pack, tmp_path: Path) -> None:
    """Wrong shape, type, number of arrays, and values that are no numbers, behind right digests: one line each."""
    path = copied(plain.path, tmp_path / "p")
    for file in array_files(path):
        good = packs.read_arrays(file)
        for key, array in list(good.items())[:: max(1, len(good) // 12)]:
            floats = array.dtype.kind == "f"
            broken = {
                "transposed and longer": np.concatenate([array, array]),
                "shorter": array[:-1] if array.ndim and len(array) > 1 else np.zeros((0, 7), array.dtype),
                "another rank": array[None],
                "text as numbers": array.astype(np.int64),
            } | (
                {"not a number": np.full_like(array, np.nan), "infinite": np.full_like(array, np.inf)} if floats else {}
            )
            for new in broken.values():
                packs.write_arrays(file, {**good, key: new})
                refused(remade(path))
            packs.write_arrays(file, {k: v for k, v in good.items() if k != key})
            refused(remade(path))
        packs.write_arrays(file, {**good, "one.too.many": np.zeros(3, np.float32)})
        refused(remade(path))
        for data in (b"", b"not safetensors", (1 << 62).to_bytes(8, "little") + b"{}"):
            file.write_bytes(data)
            refused(remade(path))
        packs.write_arrays(file, good)
        assert not refused_or_answered(remade(path))


def test_other_files_of_a_stranger(name: str, plain: packs.Pack, tmp_path: Path) -> None:
    """Each remaining file emptied, replaced or removed behind right digests."""
    for file in content(plain.path):
        if file.name in ("pack.toml", "manifest.json", "model.json") or file.suffix == ".safetensors":
            continue
        path = copied(plain.path, tmp_path / "p")
        victim = path / file.relative_to(plain.path)
        if "trunk" in victim.relative_to(path).parts:  # a Pack of its own, whose digest this one names
            victim.write_text("{}")
            refused(path)
        else:
            for text in ("", "null", "{}", '["one"]', "3", "{"):
                victim.write_text(text)
                refused(remade(path))
            victim.unlink()
            refused(remade(path))
        shutil.rmtree(path)


def test_form_files_of_a_stranger(name: str, full: packs.Pack, tmp_path: Path) -> None:
    """Graphs cut, emptied, or with flipped bytes behind right digests: one line, or harmless."""
    path = copied(full.path, tmp_path / "p")
    rng = np.random.default_rng(0)
    for form in full.variants:
        for file in content(full.variant_folder(form)):
            victim = path / file.relative_to(full.path)
            data = file.read_bytes()
            for new in (b"", b"x", data[: len(data) // 2], data[:-1], data + b"\x07"):
                victim.write_bytes(new)
                refused_or_answered(remade(path), form)
            for _ in range(25 if victim.suffix == ".onnx" else 0):
                flipped = bytearray(data)
                flipped[int(rng.integers(len(data)))] ^= 1 << int(rng.integers(8))
                victim.write_bytes(flipped)
                refused_or_answered(remade(path), form)
            victim.write_bytes(data)
            remade(path)


def test_a_form_whose_numbers_are_none_is_one_line(name: str, full: packs.Pack, tmp_path: Path) -> None:
    """A graph of NaN behind right digests cannot be seen from outside; it is refused when asked."""
    import onnx
    from onnx import numpy_helper

    path = copied(full.path, tmp_path / "p")
    for graph in path.rglob("*.onnx"):
        model = onnx.load(graph)
        for tensor in model.graph.initializer:
            values = numpy_helper.to_array(tensor)
            if values.dtype.kind == "f":
                tensor.CopyFrom(numpy_helper.from_array(np.full_like(values, np.nan), tensor.name))
        graph.unlink()  # it may be a hard link
        onnx.save(model, graph)
    for manifest in sorted(path.rglob("manifest.json"), reverse=True):  # a trunk before what stands on it
        remade(manifest.parent)
    asked = hr.open(path)
    for form in [f for f in asked.kind.variants(asked.pack) if f.startswith("onnx")]:
        with pytest.raises(HedgerowError, match="not finite") as caught:
            look(hr.open(path, form), samples(asked, 2))
        one_line(caught)


def test_a_pack_of_another_kind_is_one_line(name: str, plain: packs.Pack, tmp_path: Path) -> None:
    """A Pack that says it is of another kind, or of one that does not exist."""
    for other in [*(k for k in KINDS if k != name), "no-such-kind"]:
        path = copied(plain.path, tmp_path / other)
        text = (path / "pack.toml").read_text()
        (path / "pack.toml").write_text(text.replace(f'kind = "{name}"', f'kind = "{other}"'))
        refused(remade(path))


# --- evidence ---------------------------------------------------------------------------------------------------------
def test_a_read_only_pack_keeps_its_evidence_in_the_cache(
    name: str, plain: packs.Pack, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack = packs.open_pack(plain.path)
    monkeypatch.setattr(os, "access", lambda *_: False)
    where = pack.add_evidence("costs.jsonl", {"variant": "x"})
    assert plain.path not in where.parents and packs.open_pack(plain.path).costs == [
        {"pack": pack.digest, "variant": "x"}
    ]
    assert not (plain.path / "costs.jsonl").exists()


# --- through the command line -----------------------------------------------------------------------------------------
# show, use, weigh, compare and place of each tiny Pack: added by the rooms that hold those verbs, below this line, with
# the fixtures `plain` (base form) and `full` (all forms).
