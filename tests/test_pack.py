"""The Pack as a format: made whole or not at all, opened safely, with forms and evidence that stay true to it."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hedgerow import files, pack
from hedgerow.errors import HedgerowError
from hedgerow.pack import Info, Pack, Parent, Scored, Source, VariantInfo, open_pack

INFO = Info(name="tiny", kind="thing", config={"depth": 2, "rate": 0.1}, data=(Source(name="d", licence="MIT"),))


def make(path: Path, info: Info = INFO, **more: Any) -> Pack:
    with pack.create(path, info, **more) as folder:
        files.write_json(folder / "model.json", {"net": "line"})
        pack.write_arrays(folder / "weights.safetensors", {"w": np.arange(6, dtype=np.float32).reshape(2, 3)})
    return open_pack(path)


def form(made: Pack, name: str = "onnx", data: bytes = b"graph") -> Pack:
    info = VariantInfo(runtime="onnx", of=made.digest, made_with={"lib": "1"}, details={"largest": 0.5})
    return pack.add_variant(made, name, info, lambda folder: files.write_bytes(folder / "sub" / "model.onnx", data))


def one_line(path: Path, *words: str, verify: bool = True) -> None:
    with pytest.raises(HedgerowError) as caught:
        open_pack(path, verify=verify)
    text = str(caught.value)
    assert "\n" not in text and all(word in text for word in words), text


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def hidden(folder: Path) -> list[str]:
    return [p.name for p in folder.iterdir() if p.name.startswith(".")]


# --- numbers ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_weights_that_are_no_numbers_are_refused_when_a_pack_is_verified(tmp_path: Path, dtype: str) -> None:
    made = make(tmp_path / "p")
    for value in (np.nan, np.inf, -np.inf):
        pack.write_arrays(made.path / "weights.safetensors", {"i": np.arange(3), "w": np.array([1, value], dtype)})
        pack.write_manifest(made.path, None)
        one_line(made.path, "weights.safetensors", "'w'", "not finite numbers")
        open_pack(made.path, verify=False)
    largest = np.finfo(dtype).max  # whose sum overflows, though each is a number
    pack.write_arrays(made.path / "weights.safetensors", {"w": np.array([largest, largest], dtype)})
    pack.write_manifest(made.path, None)
    open_pack(made.path)


# --- making -----------------------------------------------------------------------------------------------------------
def test_what_goes_in_comes_out(tmp_path: Path) -> None:
    parent = Parent(role="teacher", name="big", digest="0" * 64, licence="MIT")
    task = Scored(name="rows", options={"seed": 3, "parts": ["a", "b"]}, digest="1" * 64)
    config = {"depth": 2, "rate": 0.1, "deep": {"names": ["ä", "b"], "none": None, "on": True}}
    info = INFO.model_copy(update={"config": config, "parents": (parent,), "task": task, "shareable": False})
    made = make(tmp_path / "p", info)
    assert made.info.config == {"depth": 2, "rate": 0.1, "deep": {"names": ["ä", "b"], "on": True}}
    assert made.info.parents == (parent,) and made.info.task == task and not made.info.shareable
    assert made.info.made_by and made.info.format == pack.FORMAT
    assert made.json("model.json") == {"net": "line"} and made.has("model.json") and not made.has("labels.json")
    assert np.array_equal(made.arrays()["w"], np.arange(6).reshape(2, 3))
    assert made.bytes == sum(
        (tmp_path / "p" / n).stat().st_size for n in ("model.json", "weights.safetensors", "pack.toml")
    )
    for missing in ("labels.json", "scores.jsonl", "manifest.json", "../p/model.json"):
        with pytest.raises(HedgerowError, match="holds no"):
            made.file(missing)


def test_the_same_content_has_the_same_digest(tmp_path: Path) -> None:
    first = make(tmp_path / "a")
    assert make(tmp_path / "b").digest == first.digest
    shutil.copytree(tmp_path / "a", tmp_path / "deep" / "c")
    assert open_pack(tmp_path / "deep" / "c").digest == first.digest
    assert make(tmp_path / "d", INFO.model_copy(update={"seed": 1})).digest != first.digest


def test_the_digest_is_the_one_that_is_written_down(tmp_path: Path) -> None:
    """Computed a second way, so that Packs of today can be opened tomorrow."""
    import hashlib

    made = make(tmp_path / "p")
    names = ("model.json", "pack.toml", "weights.safetensors")
    sums = {n: hashlib.sha256((made.path / n).read_bytes()).hexdigest() for n in names}
    text = json.dumps({"files": sums, "trunk": None}, sort_keys=True, separators=(",", ":"))
    assert made.digest == hashlib.sha256(text.encode()).hexdigest()


class Stop(BaseException):
    pass


@pytest.mark.parametrize("stop", [ValueError, KeyboardInterrupt, Stop, HedgerowError])
def test_an_exception_leaves_nothing(tmp_path: Path, stop: type[BaseException]) -> None:
    with pytest.raises(stop), pack.create(tmp_path / "p", INFO) as folder:
        files.write_json(folder / "model.json", {})
        raise stop
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("stop", [ValueError, KeyboardInterrupt, HedgerowError])
def test_an_exception_leaves_the_older_pack(tmp_path: Path, stop: type[BaseException]) -> None:
    before = make(tmp_path / "p")
    with pytest.raises(stop), pack.create(tmp_path / "p", INFO) as folder:
        files.write_json(folder / "model.json", {"net": "other"})
        raise stop
    assert open_pack(tmp_path / "p").digest == before.digest and names(tmp_path) == ["p"]


class _File:
    """A file that accepts some bytes and then says that the disk is full."""

    def __init__(self, inner: Any, room: int) -> None:
        self._inner, self._room = inner, room

    def __enter__(self) -> _File:
        return self

    def __exit__(self, *_: object) -> None:
        self._inner.close()

    def write(self, data: bytes) -> int:
        self._inner.write(data[: self._room])
        if len(data) > self._room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return len(data)

    def flush(self) -> None:
        self._inner.flush()

    def fileno(self) -> int:
        return int(self._inner.fileno())


@pytest.mark.parametrize("room", [0, 20, 60])
def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int) -> None:
    real = os.fdopen
    monkeypatch.setattr(os, "fdopen", lambda handle, mode: _File(real(handle, mode), room))
    with pytest.raises(HedgerowError, match="No space left on device") as caught:
        make(tmp_path / "p")
    assert "\n" not in str(caught.value) and list(tmp_path.iterdir()) == []


LIMITED = """
import resource, sys
from pathlib import Path
import numpy as np
from hedgerow import pack
from hedgerow.errors import HedgerowError
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    with pack.create(Path(sys.argv[1]) / "p", pack.Info(name="x", kind="thing")) as folder:
        pack.write_arrays(folder / "weights.safetensors", {"w": np.zeros(10_000)})
except HedgerowError as e:
    print(e)
    sys.exit(2)
"""


def test_the_system_refuses_to_write_more(tmp_path: Path) -> None:
    """A real refusal of the operating system, not a pretended one."""
    done = subprocess.run([sys.executable, "-c", LIMITED, str(tmp_path)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and len(done.stdout.splitlines()) == 1 and done.stderr == "", done.stderr
    assert "cannot save" in done.stdout and list(tmp_path.iterdir()) == []


WAITING = """
import sys, time
from pathlib import Path
from hedgerow import files, pack
with pack.create(Path(sys.argv[1]) / "p", pack.Info(name="x", kind="thing")) as folder:
    files.write_json(folder / "model.json", {})
    print("ready", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_stopped_process_leaves_no_pack(tmp_path: Path, how: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", WAITING, str(tmp_path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as run:
        assert run.stdout is not None and run.stdout.readline() == b"ready\n"
        run.send_signal(how)
        assert run.wait(timeout=30) != 0
    assert not (tmp_path / "p").exists()
    if how == signal.SIGINT:
        assert list(tmp_path.iterdir()) == []
    make(tmp_path / "p")  # what a killed process left is in nobody's way


def test_only_a_pack_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    (tmp_path / "file").write_text("too")
    for name in ("mine", "file"):
        with pytest.raises(HedgerowError, match="no Pack"):
            make(tmp_path / name)
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"
    (tmp_path / "empty").mkdir()
    make(tmp_path / "empty")


# --- opening ----------------------------------------------------------------------------------------------------------
@pytest.fixture
def made(tmp_path: Path) -> Pack:
    return form(make(tmp_path / "p"))


def all_files(path: Path) -> list[str]:
    return sorted(p.relative_to(path).as_posix() for p in path.rglob("*") if p.is_file())


def test_each_file_cut_flipped_or_gone(made: Pack, tmp_path: Path) -> None:
    assert len(all_files(made.path)) == 6
    for name in all_files(made.path):
        for damage in ("cut", "flip", "gone", "longer"):
            path = tmp_path / "copy"
            shutil.copytree(made.path, path)
            data = bytearray((path / name).read_bytes())
            if damage == "cut":
                (path / name).write_bytes(data[:-1] if name != "pack.toml" else data[: len(data) // 2])
            elif damage == "flip":
                data[len(data) // 2] ^= 1
                (path / name).write_bytes(data)
            elif damage == "gone":
                (path / name).unlink()
            else:
                (path / name).write_bytes(bytes(data) + b" ")
            if name.endswith(("manifest.json", "variant.json")) and damage in ("longer", "cut"):
                open_pack(path)  # a space after JSON, or no newline, changes nothing that it says
            else:
                one_line(path)
            shutil.rmtree(path)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_flipped_bit_goes_unseen(made: Pack, data: st.DataObject) -> None:
    """Any one bit of any listed file."""
    name = data.draw(
        st.sampled_from([n for n in all_files(made.path) if not n.endswith(("manifest.json", "variant.json"))])
    )
    whole = (made.path / name).read_bytes()
    at, bit = data.draw(st.integers(0, len(whole) - 1)), data.draw(st.integers(0, 7))
    broken = bytearray(whole)
    broken[at] ^= 1 << bit
    (made.path / name).write_bytes(broken)
    try:
        one_line(made.path)
    finally:
        (made.path / name).write_bytes(whole)
    assert open_pack(made.path).digest == made.digest


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(max_size=60) | st.binary(max_size=60).map(lambda b: b.decode("latin-1")), which=st.integers(0, 2))
def test_small_files_full_of_nonsense(made: Pack, text: str, which: int) -> None:
    name = ("pack.toml", "manifest.json", "variants/onnx/variant.json")[which]
    whole = (made.path / name).read_bytes()
    (made.path / name).write_text(text, encoding="utf-8", errors="surrogatepass")
    try:
        one_line(made.path)
    finally:
        (made.path / name).write_bytes(whole)


NAMES = [
    "../p/model.json", "/etc/passwd", "sub/../../x", "a//b", "./model.json", "", ".", "..", "a\\b", "model.json/",
    "a\0b", "a\nb", "x" * 300, ".hidden", "sub/.hidden", "scores.jsonl", "costs.jsonl", "manifest.json",
    "trunk/pack.toml", "variants/onnx/model.onnx", "C:\\x",
]  # fmt: skip


@pytest.mark.parametrize("odd", ["NaN", '"\\ud800"', "[" * 900 + "]" * 900, "1e999", "-0.0", "9" * 400])
def test_odd_values_in_the_free_part_of_a_form(made: Pack, odd: str) -> None:
    file = made.path / "variants" / "onnx" / "variant.json"
    text = file.read_text()
    assert '"largest": 0.5' in text
    file.write_text(text.replace('"largest": 0.5', f'"largest": {odd}'))
    one_line(made.path)


@pytest.mark.parametrize("name", NAMES)
def test_names_that_lead_elsewhere(made: Pack, name: str) -> None:
    """In the manifest, and in the list of a form, with everything else right."""
    manifest = json.loads((made.path / "manifest.json").read_text())
    manifest["files"][name] = {"sha256": "0" * 64, "bytes": 3}
    sums = {n: e["sha256"] for n, e in manifest["files"].items()}
    changed = {**manifest, "digest": files.digest({"files": sums, "trunk": None})}
    whole = (made.path / "manifest.json").read_text()
    (made.path / "manifest.json").write_text(json.dumps(changed))
    one_line(made.path)
    (made.path / "manifest.json").write_text(whole)
    if name in ("scores.jsonl", "costs.jsonl", "manifest.json", "trunk/pack.toml", "variants/onnx/model.onnx"):
        return  # ordinary names inside a form
    record = made.variant("onnx")
    entry = next(iter(record.files.values()))
    record = pack.records.sealed(record.model_copy(update={"files": {**record.files, name: entry}}))
    (made.path / "variants/onnx/variant.json").write_text(record.model_dump_json())
    one_line(made.path, "no plain path")


@pytest.mark.parametrize(
    "name", ["model.json", "pack.toml", "manifest.json", "scores.jsonl", "costs.jsonl", "variants", "trunk"]
)
def test_symbolic_links_are_refused(made: Pack, tmp_path: Path, name: str) -> None:
    outside, inside = tmp_path / "outside", made.path / name
    if inside.exists():
        inside.rename(outside)
    elif name == "trunk":
        outside.mkdir()
    else:
        outside.write_text("")
    inside.symlink_to(outside)
    one_line(made.path)
    (made.path / "variants" / "onnx" / "more").symlink_to(tmp_path) if name != "variants" else None


def test_links_inside_a_form_are_refused(made: Pack, tmp_path: Path) -> None:
    link = made.path / "variants" / "onnx" / "more"
    link.symlink_to(tmp_path)
    one_line(made.path, "more")
    link.unlink()
    graph = made.path / "variants" / "onnx" / "sub" / "model.onnx"
    graph.rename(tmp_path / "graph")
    graph.symlink_to(tmp_path / "graph")
    one_line(made.path, "model.onnx")
    shutil.rmtree(made.path / "variants" / "onnx")
    (tmp_path / "elsewhere").mkdir()
    (made.path / "variants" / "onnx").symlink_to(tmp_path / "elsewhere")
    one_line(made.path)


def test_files_too_many(made: Pack) -> None:
    for extra in ("more.json", "sub/run.py", "variants/onnx/more.onnx", "variants/more.txt", "trunk/pack.toml"):
        file = made.path / extra
        file.parent.mkdir(exist_ok=True, parents=True)
        file.write_text("x")
        one_line(made.path)
        file.unlink()
        if file.parent.name in ("sub", "trunk"):
            file.parent.rmdir()
    (made.path / ".DS_Store").write_text("x")  # never read by anybody
    open_pack(made.path)


@pytest.mark.parametrize(
    ("version", "word"), [(2, "update"), (99, "update"), (0, "not made"), ("1", "not made"), (None, "not made")]
)
def test_another_version(made: Pack, version: Any, word: str) -> None:
    text = (made.path / "pack.toml").read_text()
    assert "format = 1\n" in text
    new = "" if version is None else f"format = {json.dumps(version)}\nsomething_new = [1, 2]\n"
    (made.path / "pack.toml").write_text(text.replace("format = 1\n", new))
    one_line(made.path, word)


def test_no_pack_at_all(tmp_path: Path, made: Pack) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("x")
    for name in ("nowhere", "empty", "file", "x" * 300, "p/model.json"):
        one_line(tmp_path / name, "no Pack")
    (made.path / "manifest.json").unlink()
    one_line(made.path, "manifest.json is missing")


def test_quick_opening_sees_sizes_only(made: Pack) -> None:
    file = made.path / "model.json"
    data = file.read_bytes()
    file.write_bytes(data.replace(b"line", b"lime"))
    open_pack(made.path, verify=False)
    one_line(made.path, "was changed")
    file.write_bytes(data + b" ")
    one_line(made.path, "bytes instead of", verify=False)


def test_opening_runs_nothing_of_it(made: Pack) -> None:
    """Whatever a Pack holds is read as data: no import of it, no pickle, no format string."""
    info = made.info.model_copy(update={"name": "{0.__class__} %s $(touch here)", "summary": "__import__('os')"})
    again = make(made.path.parent / "q", info)
    assert again.info.name == "{0.__class__} %s $(touch here)"
    assert not list(made.path.parent.rglob("here"))


# --- forms ------------------------------------------------------------------------------------------------------------
def test_a_form_does_not_change_the_digest(tmp_path: Path) -> None:
    bare = make(tmp_path / "p")
    manifest = (bare.path / "manifest.json").read_bytes()
    one = form(bare)
    two = form(one, "onnx-int8", b"smaller")
    assert bare.digest == one.digest == two.digest == open_pack(bare.path).digest
    assert bare.variants == () and one.variants == ("onnx",) and two.variants == ("onnx", "onnx-int8")
    assert (bare.path / "manifest.json").read_bytes() == manifest
    assert two.variant_bytes("onnx-int8") == 7 and two.variant_folder("onnx-int8").is_dir()
    assert two.variant("onnx").details == {"largest": 0.5} and two.bytes == bare.bytes
    for ask in (two.variant, two.variant_bytes, two.variant_folder):
        with pytest.raises(HedgerowError, match="onnx, onnx-int8"):
            ask("gguf")


def test_a_form_is_replaced_whole_or_not_at_all(made: Pack) -> None:
    with pytest.raises(KeyboardInterrupt):
        info = VariantInfo(runtime="onnx", of=made.digest)
        pack.add_variant(made, "onnx", info, lambda folder: (_ for _ in ()).throw(KeyboardInterrupt))
    assert open_pack(made.path).variant("onnx") == made.variant("onnx") and hidden(made.path / "variants") == []
    again = form(made, data=b"another graph")
    assert (again.variant_folder("onnx") / "sub" / "model.onnx").read_bytes() == b"another graph"


def test_a_form_while_the_disk_is_full(made: Pack, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.fdopen
    monkeypatch.setattr(os, "fdopen", lambda handle, mode: _File(real(handle, mode), 10))
    with pytest.raises(HedgerowError, match="No space left"):
        form(made, "onnx-int8", b"x" * 100)
    monkeypatch.undo()
    assert open_pack(made.path).variants == ("onnx",)


def test_a_pack_opens_while_a_form_is_being_made(made: Pack) -> None:
    """Also after the process that made it was killed."""

    def fill(folder: Path) -> None:
        files.write_bytes(folder / "model.onnx", b"half")
        assert open_pack(made.path).variants == ("onnx",)
        shutil.copytree(folder, folder.parent / ".onnx-int8.left-behind")

    pack.add_variant(made, "onnx-int8", VariantInfo(runtime="onnx", of=made.digest), fill)
    assert open_pack(made.path).variants == ("onnx", "onnx-int8")


def test_a_form_of_other_weights(made: Pack, tmp_path: Path) -> None:
    other = make(tmp_path / "other", INFO.model_copy(update={"seed": 9}))
    with pytest.raises(HedgerowError, match="other weights"):
        pack.add_variant(other, "onnx", VariantInfo(runtime="onnx", of=made.digest), lambda folder: None)
    shutil.copytree(made.path / "variants", other.path / "variants")
    one_line(other.path, "other weights")


@pytest.mark.parametrize("name", ["", "..", "../x", "a/b", ".x", "a b", "ONNX", "a\n", "-", "a-", "x\0"])
def test_names_that_no_form_may_have(made: Pack, name: str) -> None:
    with pytest.raises(HedgerowError, match="cannot name a variant"):
        pack.add_variant(made, name, VariantInfo(runtime="onnx", of=made.digest), lambda folder: None)
    assert names(made.path / "variants") == ["onnx"]


# --- evidence ---------------------------------------------------------------------------------------------------------
def test_evidence_only_grows_and_speaks_of_its_digest(made: Pack) -> None:
    for n in range(3):
        assert made.add_evidence("scores.jsonl", {"variant": "torch", "n": n}).parent == made.path
    files.append_jsonl(made.path / "scores.jsonl", {"pack": "f" * 64, "n": 7})
    files.append_jsonl(made.path / "scores.jsonl", {"n": 8})
    assert [row["n"] for row in open_pack(made.path).scores] == [0, 1, 2] and made.costs == []
    assert open_pack(made.path).digest == made.digest
    with pytest.raises(HedgerowError, match="no evidence file"):
        made.add_evidence("notes.jsonl", {})
    assert len((made.path / "scores.jsonl").read_text().splitlines()) == 5


def test_evidence_of_an_older_export_of_a_form_is_left_out(made: Pack) -> None:
    made.add_evidence("costs.jsonl", {"variant": "onnx", "n": 1})
    made.add_evidence("costs.jsonl", {"variant": "torch", "n": 2})
    again = form(made)  # the same form
    assert [r["n"] for r in again.costs] == [1, 2] and again.outdated() == {}
    other = form(made, data=b"another graph")
    assert other.costs == [{"pack": made.digest, "variant": "torch", "n": 2}] and other.outdated() == {"onnx": 1}
    other.add_evidence("costs.jsonl", {"variant": "onnx", "n": 3})
    assert [r["n"] for r in open_pack(made.path).costs] == [2, 3]
    assert [r["n"] for r in form(made).costs] == [1, 2]  # the first one, back again


def test_lines_from_before_forms_were_named_count_unless_the_form_was_made_later(made: Pack) -> None:
    for when in ("2020-01-01T00:00:00+00:00", "2999-01-01T00:00:00+00:00"):
        files.append_jsonl(made.path / "costs.jsonl", {"pack": made.digest, "variant": "onnx", "when": when})
    assert [r["when"][:4] for r in made.costs] == ["2999"]
    record = made.variant_folder("onnx") / "variant.json"
    old = {k: v for k, v in files.read_json(record).items() if k != "made"}  # as forms were made before: no time
    files.write_json(record, old)
    assert [r["when"][:4] for r in open_pack(made.path).costs] == ["2020", "2999"]


def test_evidence_of_a_rebuilt_pack_stays(tmp_path: Path) -> None:
    first = make(tmp_path / "p")
    first.add_evidence("costs.jsonl", {"n": 1})
    other = make(tmp_path / "p", INFO.model_copy(update={"seed": 4}))
    assert other.costs == []
    other.add_evidence("costs.jsonl", {"n": 2})
    assert [row["n"] for row in make(tmp_path / "p").costs] == [1]
    assert len(files.read_jsonl(tmp_path / "p" / "costs.jsonl")) == 2


def test_evidence_of_a_read_only_pack(made: Pack, monkeypatch: pytest.MonkeyPatch, own_cache: Path) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    where = made.add_evidence("costs.jsonl", {"n": 1})
    assert own_cache in where.parents and [r["n"] for r in open_pack(made.path).costs] == [1]
    monkeypatch.undo()
    monkeypatch.setenv("HEDGEROW_CACHE", str(own_cache))
    made.add_evidence("costs.jsonl", {"n": 2})
    assert sorted(r["n"] for r in open_pack(made.path).costs) == [1, 2]


@pytest.mark.parametrize(("number", "kept"), [(errno.EROFS, True), (errno.EACCES, True), (errno.ENOSPC, False)])
def test_a_write_that_is_refused(made: Pack, monkeypatch: pytest.MonkeyPatch, number: int, kept: bool) -> None:
    """A read-only file system says so only when written to; a full disk is no reason to go elsewhere."""
    real = os.open

    def refuse(path: Any, *more: Any) -> int:
        if Path(path).parent == made.path:
            raise OSError(number, os.strerror(number))
        return real(path, *more)

    monkeypatch.setattr(os, "open", refuse)
    if kept:
        assert made.path not in made.add_evidence("costs.jsonl", {"n": 1}).parents and len(made.costs) == 1
    else:
        with pytest.raises(HedgerowError, match="cannot save"):
            made.add_evidence("costs.jsonl", {"n": 1})


def test_broken_evidence_is_one_line(made: Pack) -> None:
    (made.path / "costs.jsonl").write_text('{"pack": "x"}\nnot json\n')
    with pytest.raises(HedgerowError, match="line 2"):
        _ = made.costs
