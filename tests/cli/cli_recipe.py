"""A recipe that is quick, can be stopped and resumes: it counts its steps in the run's folder."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cli_echo
from pydantic import Field

from hedgerow import files
from hedgerow.errors import HedgerowError
from hedgerow.pack import Pack, Parent, create, open_pack
from hedgerow.run import Run
from hedgerow.schema import Record
from hedgerow.task import Example, Task


class Config(Record):
    steps: int = Field(default=3, ge=1, description="how many steps to take")
    sleep: float = Field(default=0.0, ge=0, description="seconds a step")
    examples: str = Field(default="", description="a file of coded examples")
    fails: bool = Field(default=False, description="fail after the Pack is saved")
    trunk: bool = Field(default=False, description="stand on a trunk")


def build(config: Config, out: Path, run: Run) -> Pack:
    done = run.folder / "done.jsonl"
    for step in range(len(files.read_jsonl(done)), config.steps):
        time.sleep(config.sleep)
        files.append_jsonl(done, {"step": step})
    trunk = open_pack(cli_echo.save(run.folder / "trunk", name="trunk")) if config.trunk else None
    cli_echo.save(
        out, trunk, system="isic", preset=run.config["preset"], config=config.model_dump(), seed=run.seed,
        summary=f"built in {len(files.read_jsonl(done))} steps",
    )  # fmt: skip
    if config.fails:
        raise HedgerowError("the scoring failed")
    return open_pack(out)


def extend(parent: Pack, config: Config, out: Path, run: Run) -> Pack:
    if not config.examples:
        raise HedgerowError("give the coded examples: --set examples=FILE")
    if "bad" in config.examples:
        run.mark([(3, "it has no code")])
    parents = (Parent(role="base", name=parent.info.name, digest=parent.digest),)
    with create(out, parent.info.model_copy(update={"parents": parents, "config": config.model_dump()})) as folder:
        files.write_json(folder / "echo.json", {"examples": config.examples})
    return open_pack(out)


class OwnTask:
    """Rows of ``text,code``: right when the first word is the code."""

    name = "isic/own"

    def __init__(self, options: Mapping[str, Any]) -> None:
        from hedgerow.data.rows import read_rows

        self.options = options
        rows = list(read_rows(options["file"], ("text", "code")))
        self.splits = {
            "test": [
                Example(str(r.line), r.values, frozenset([r.values["code"]]), "g", {"line": str(r.line)})
                for r in rows
                if r.values["code"]
            ]
        }
        self.digest = files.digest([r.values for r in rows])

    def ask(self, example: Example) -> Any:
        return example.input["text"]

    def score(self, examples: Any, answers: Any) -> dict[str, dict[str, float]]:
        right = [a["code"] in e.gold for e, a in zip(examples, answers, strict=True)]
        value = sum(right) / len(right)
        return {"accuracy": {"value": value, "low": value / 2, "high": 1.0, "n": len(right)}}


def task(name: str, options: Mapping[str, Any]) -> Task:
    if name != "own":
        raise HedgerowError(f"no Task is called {name}")
    return OwnTask(options)
