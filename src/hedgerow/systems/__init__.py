"""The ten systems: which there are, what each has today, and how any of them is built.

A system that works is a folder here with ``presets.toml`` and ``recipe.py``, a module of the shape :class:`Recipe`.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.resources import files as resources
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from hedgerow.errors import HedgerowError, did_you_mean

if TYPE_CHECKING:
    from hedgerow.config import Preset
    from hedgerow.pack import Pack, Scored
    from hedgerow.run import Run
    from hedgerow.schema import Record
    from hedgerow.task import Task

SYSTEMS = {
    "isic": "hedgerow.systems.isic.recipe",
}


class Recipe(Protocol):
    """What ``systems/NAME/recipe.py`` holds. Importing it imports nothing heavy."""

    Config: type[Record]

    def build(self, config: Any, out: Path, run: Run) -> Pack:
        """Load the Task, make nets, train, evaluate, save the Pack at ``out``; resumes from ``run``'s folder.

        ``out`` lies in the run's folder and has the name that the Pack shall have; it is moved when this returns.
        """
        ...

    def extend(self, parent: Pack, config: Any, out: Path, run: Run) -> Pack:
        """``build --from``: a new Pack at ``out`` from ``parent`` and what its config was changed by, untrained."""
        ...

    def task(self, name: str, options: Mapping[str, Any]) -> Task:
        """The Task of that name (without ``SYSTEM/``); ``own`` with ``{"file": path}`` is the user's own rows.

        ``Task.name`` is ``SYSTEM/NAME``, so that whoever reads a score line can find the system again.
        """
        ...


def names() -> list[str]:
    """All ten systems, those that work first."""
    known = _catalogue()
    return sorted(known, key=lambda name: ("today" not in known[name], list(known).index(name)))


def describe() -> list[dict[str, Any]]:
    """One record per system: name, paper, what, data, today, later, and presets ``[{name, about, minutes}]``."""
    known = _catalogue()
    return [
        {
            "name": name,
            "paper": known[name]["paper"],
            "what": known[name]["what"],
            "data": known[name]["data"],
            "today": known[name].get("today", ""),
            "later": known[name].get("later", "") if "today" in known[name] else "not yet",
            "presets": [p.model_dump(include={"name", "about", "minutes"}) for p in presets(name).values()],
        }
        for name in names()
    ]


def presets(system: str) -> dict[str, Preset]:
    """Presets of a system in their order; none for a system that cannot be built."""
    from hedgerow import config

    return config.presets(_presets_file(system)) if system in SYSTEMS else {}


def recipe(system: str) -> Recipe:
    """The recipe of a system; HedgerowError for an unknown one, and for one that has nothing to build yet."""
    known = _catalogue()
    if system not in known:
        raise HedgerowError(f"no system is called '{system}'{did_you_mean(system, known)}")
    if system not in SYSTEMS:
        why = known[system].get("today", "not yet there")
        raise HedgerowError(f"{system} has nothing to build ({why}); these can be built: {', '.join(SYSTEMS)}")
    return cast(Recipe, import_module(SYSTEMS[system]))


def settings(system: str) -> list[dict[str, str]]:
    """What ``--set`` can change: key, type, default, meaning."""
    from hedgerow import config

    return config.describe(recipe(system).Config)


def build(
    system: str,
    preset: str = "tiny",
    sets: Sequence[str] = (),
    out: str | Path | None = None,
    *,
    seed: int = 0,
    thin: bool = False,
    fresh: bool = False,
    parent: str | Path | Pack | None = None,
    runs: str | Path = "runs",
    quiet: bool = False,
    marked: list[tuple[int, str]] | None = None,
) -> Pack:
    """Build a Pack at ``out`` (default ``packs/SYSTEM``); the same call goes on where a stopped one left off.

    ``sets`` are 'key=value' texts. ``fresh`` throws away what an earlier run of the same config and seed left.
    ``thin`` keeps a trunk only in the user's cache. ``parent`` is a Pack to extend without training: its own config is
    the start and ``preset`` is not used. ``marked`` receives (line, why) of every row of the user's own file that was
    left out; without it they are in the run's events. Raises HedgerowError for an unknown system, preset or setting,
    and when ``[build]`` is not installed.
    """
    from hedgerow import config as configs
    from hedgerow import files
    from hedgerow import run as running
    from hedgerow.pack import Pack, copy_pack, keep_evidence, open_pack
    from hedgerow.schema import check

    chosen = recipe(system)
    target = Path(out) if out is not None else Path("packs") / system
    if parent is None:
        base = None
        config = configs.load(chosen.Config, _presets_file(system), preset, sets)
    else:
        base = parent if isinstance(parent, Pack) else open_pack(parent)
        if base.info.system != system:
            raise HedgerowError(f"{base.path} was built by '{base.info.system or 'hand'}', not by {system}")
        config = configs.change(check(chosen.Config, base.info.config, f"{base.path}/pack.toml"), sets)
    _check_target(target, base)
    if base is None and find_spec("torch") is None:
        raise HedgerowError("building needs the larger installation: pip install 'hedgerow[build]'")
    # What the recipe writes into pack.toml beside its config; the run's folder is named after all of it.
    settings = {"preset": preset if base is None else "", "parent": base.digest if base else "", "config": config}
    run = running.open_run(Path(runs), system, settings, seed, quiet)
    if fresh:
        shutil.rmtree(run.folder)
        run = running.open_run(Path(runs), system, settings, seed, quiet)
    # A recipe goes on after its Pack is saved: it scores, exports, adds. Only when all is done does the Pack appear.
    aside = run.folder / "pack" / target.name
    try:
        built = chosen.build(config, aside, run) if base is None else chosen.extend(base, config, aside, run)
    except HedgerowError:
        running.forget_if_empty(run)  # a file that was missing or of the wrong columns leaves nothing to go on with
        raise
    if thin and (built.path / "trunk").is_dir():
        shutil.rmtree(built.path / "trunk")  # its digest stays in pack.toml and the trunk itself in the cache
    with files.new_folder(target, replace=True) as folder:
        copy_pack(open_pack(built.path), folder)
        keep_evidence(target, folder)
    shutil.rmtree(aside.parent)
    if marked is not None:
        marked.extend(run.marked)
    return open_pack(target, verify=False)


def resolve_task(scored: Scored) -> Task:
    """The Task that a Pack was scored on, made again; HedgerowError when its data is no longer the same."""
    system, _, name = scored.name.partition("/")
    task = recipe(system).task(name, scored.options)
    if task.digest != scored.digest:
        raise HedgerowError(
            f"the Task {scored.name} is not the one that the Pack was scored on: its data has changed since "
            f"(digest {task.digest[:12]} instead of {scored.digest[:12]})"
        )
    return task


def own_task(system: str, file: str | Path) -> Task:
    """The user's own rows as a Task of that system; all of them are the split ``test``."""
    return recipe(system).task("own", {"file": str(file)})


def _catalogue() -> dict[str, dict[str, str]]:
    import tomllib

    found: dict[str, dict[str, str]] = tomllib.loads(resources(__name__).joinpath("catalogue.toml").read_text("utf-8"))
    return found


def _presets_file(system: str) -> Path:
    """Beside the recipe, which is found and not imported: listing systems needs nothing that recipes need."""
    found = find_spec(SYSTEMS[system])
    if found is None or found.origin is None:
        raise HedgerowError(f"the recipe of {system} is missing; install hedgerow again")
    return Path(found.origin).with_name("presets.toml")


def _check_target(target: Path, parent: Pack | None) -> None:
    """Refuse a target that would not become the Pack, before an hour of training rather than after it."""
    if target.name in ("", ".."):
        raise HedgerowError(f"'{target}' gives the Pack no name; name a folder of its own with -o")
    if target.exists() and not (target / "pack.toml").is_file() and (target.is_file() or any(target.iterdir())):
        raise HedgerowError(f"{target} exists and is no Pack; choose another name with -o or remove it first")
    if parent is not None and target.exists() and target.resolve() == parent.path.resolve():
        raise HedgerowError(f"{target} is the Pack to start from; give the new one another name with -o")
