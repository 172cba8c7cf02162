"""``make tour``: one command that builds three rivals on shipped data, weighs them on this machine, places them on an
example fleet whose devices fail, unplugs the laptop, and tells it all on one page. A second run reuses what is there.

Everything is done through the public functions that a user has: ``build``, ``weigh``, ``score``, ``compare``,
``place``, ``simulate``.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hedgerow import files, kinds, systems
from hedgerow.errors import HedgerowError
from hedgerow.pack import Pack, open_pack
from hedgerow.report import page, story
from hedgerow.run import progress
from hedgerow.runtimes import runnable
from hedgerow.schema import check
from hedgerow.weighing import Step, compare, measured_device, score, show, weigh

SYSTEM = "isic"
RIVALS = (("linear", "tiny"), ("encoder", "encoder-small"), ("language-model", "lm-small"))  # name, preset
EXAMPLES = (  # written for the tour; they are in no data set
    "we grow rice in irrigated fields and sell it to mills",
    "repair of bicycles and e-scooters in a small workshop",
    "an app that shows farmers when to water their fields",
    "bakery with a small café attached",
)
SEEDS = 30
UNPLUGGED = "laptop"


@dataclass(frozen=True)
class Question:
    """What is asked of the fleet: requests that all arise at once, long enough that devices fail meanwhile."""

    need: tuple[str, ...] = ("accuracy>=0.45",)
    limit: tuple[str, ...] = ("p95<=10s",)
    requests: int = 300
    batch: int = 2000

    @property
    def arguments(self) -> dict[str, Any]:
        """As ``place`` and ``simulate`` take them."""
        return {"need": self.need, "limit": self.limit, "requests": self.requests, "batch": self.batch}


@dataclass
class Teller:
    """Prints to the screen and remembers what it printed, for ``tour.txt``."""

    quiet: bool = False
    lines: list[str] = field(default_factory=list)

    def say(self, text: str = "") -> None:
        """A line of text."""
        self.lines.append(text)
        if not self.quiet:
            print(text, flush=True)

    def draw(self, *parts: Any) -> None:
        """Tables and texts of rich, as wide as the screen; in the file, and where there is no screen, 120 columns."""
        from rich.console import Console

        from hedgerow.placing.show import as_text

        text = as_text(parts)
        self.lines.append(text)
        if self.quiet:
            return
        if sys.stdout.isatty():
            screen = Console(highlight=False, markup=False, emoji=False)
            for part in parts:
                screen.print(part)
        else:
            print(text, flush=True)

    def title(self, number: int, text: str) -> None:
        """Head of a step."""
        self.say(f"\n── {number} of 6 · {text} ".ljust(100, "─"))


def tour(
    packs: Path = Path("packs"),
    out: Path = Path("tour"),
    fleet: Path | None = None,
    question: Question | None = None,
    rivals: Sequence[tuple[str, str]] = RIVALS,
    sets: Sequence[str] = (),
    seeds: int = SEEDS,
    fresh: bool = False,
    quiet: bool = False,
) -> Path:
    """Run the whole tour; returns the page. Writes ``tour.html``, ``tour.json`` and ``tour.txt`` into ``out``.

    ``rivals`` are (name, preset) of the system isic, ``sets`` settings for all of them; ``fresh`` builds and weighs
    again what is there already.
    """
    from hedgerow.placing import Fleet, place, simulate
    from hedgerow.placing import show as placed

    began, tell, asked = time.monotonic(), Teller(quiet), question or Question()
    where = fleet or example_fleet()
    devices = Fleet.open(where)

    tell.title(1, "probe this machine")
    here = measured_device()
    tell.say(f"{here.name}, {here.memory_bytes / 2**30:.1f} GiB, {here.machine}, fingerprint {here.fingerprint}")

    tell.title(2, f"build {len(rivals)} rivals on shipped data")
    built = [_build(name, preset, packs, sets, fresh, tell) for name, preset in rivals]

    tell.title(3, "weigh them: each form in a fresh process, then what they get right")
    opened = [b.pack for b in built]
    _weigh(opened, fresh, tell)
    _score(opened, tell)
    compared = compare(opened, "run_ms", "accuracy")
    tell.draw(*show.compare_tables(compared))
    for left in compared["left_out"]:
        tell.say(f"{left['name']}, {left['variant']}: {left['why']}")

    tell.title(4, f"place {asked.requests} requests of {asked.batch} texts on {where.name}")
    plan = place(opened, devices, this=here.fingerprint, **asked.arguments)
    tell.draw(*placed.plan_tables(plan.to_json()))
    reason = plan.explain(f"request-{asked.requests // 2}")
    tell.draw(*placed.explanation_tables(reason.to_json()))

    tell.title(5, f"unplug the {UNPLUGGED}, let devices die, and set it beside local-only and random")
    later = place(opened, devices, this=here.fingerprint, without=[UNPLUGGED], **asked.arguments)
    more = {"this": here.fingerprint, "seeds": seeds, "quiet": quiet, **asked.arguments}
    outcome = simulate(opened, devices, without=[UNPLUGGED], **more)
    at = round(plan.to_json()["expected"]["makespan_s"] / 3, 1)  # in the middle of its work
    pulled = simulate(opened, devices, against=(), without={UNPLUGGED: at}, **more)
    tell.draw(*placed.outcome_tables(outcome.to_json(), plan=plan.to_json()))
    tell.draw(*placed.outcome_tables(pulled.to_json())[:1])

    tell.title(6, "one page")
    told = story.tell(
        packs=built,
        compared=compared,
        examples=_examples(opened),
        plan=plan.to_json(),
        explanation=reason.to_json(),
        later=later.to_json(),
        outcome=outcome.to_json(),
        pulled=pulled.to_json(),
        unplugged=UNPLUGGED,
        batch=asked.batch,
        seconds=time.monotonic() - began,
        device=here,
    )
    files.write_json(out / "tour.json", told)
    page.write(told, out / "tour.html")
    tell.say(f"{out / 'tour.html'}: open it in a browser. Everything on it is drawn from {out / 'tour.json'}.")
    tell.say(f"The tour took {time.monotonic() - began:.0f} s.")
    files.write_text(out / "tour.txt", "\n".join(line.rstrip() for line in tell.lines).strip() + "\n")
    return out / "tour.html"


def example_fleet() -> Path:
    """``examples/fleet.toml`` of the working directory, else of the checkout that this package runs from."""
    for root in (Path(), Path(__file__).parents[3]):
        if (root / "examples" / "fleet.toml").is_file():
            return root / "examples" / "fleet.toml"
    raise HedgerowError("examples/fleet.toml is not here: run the tour in a checkout, or name one with --fleet")


# --- build -----------------------------------------------------------------------------------------------------------
def _build(name: str, preset: str, packs: Path, sets: Sequence[str], fresh: bool, tell: Teller) -> story.Built:
    """The rival, built or found: a Pack of the same system, preset and settings is used as it is."""
    from hedgerow import config

    start, folder = time.monotonic(), packs / name
    about = systems.presets(SYSTEM)
    if preset not in about:
        raise HedgerowError(f"{SYSTEM} has no preset '{preset}'; the tour needs {', '.join(p for _, p in RIVALS)}")
    wanted = config.change(check(systems.recipe(SYSTEM).Config, about[preset].settings, f"preset '{preset}'"), sets)
    if not fresh and (folder / "pack.toml").is_file():
        pack = open_pack(folder)
        if (pack.info.system, pack.info.config_digest) == (SYSTEM, config.config_digest(wanted)):
            took = time.monotonic() - start
            tell.say(f"{name}: {folder} is there already, with the same settings; checked and reused in {took:.1f} s")
            return story.Built(pack, took, reused=True)
    tell.say(f"{name}: {about[preset].about} …")
    pack = systems.build(SYSTEM, preset, sets, folder, quiet=tell.quiet)
    took = time.monotonic() - start
    tell.say(f"{name}: {pack.info.summary}; built in {took:.0f} s")
    return story.Built(pack, took, reused=False)


# --- weigh and score -------------------------------------------------------------------------------------------------
def _weigh(packs: Sequence[Pack], fresh: bool, tell: Teller) -> None:
    """The quick grid of every Pack of which this machine has not weighed all forms yet."""
    here = measured_device().fingerprint
    todo = []
    for pack in packs:
        done = {c["variant"] for c in pack.costs if c["device"]["fingerprint"] == here and c["phase"] != "load"}
        if fresh or not set(_forms(pack)) <= done:
            todo.append(pack)
        else:
            tell.say(f"{pack.info.name}: weighed on this machine before, rows reused ({', '.join(_forms(pack))})")
    if todo:
        with progress("weigh", sum(len(_forms(p)) for p in todo), tell.quiet) as tick:
            weigh(todo, grid="quick", progress=_ticking(tick, tell))


def _forms(pack: Pack) -> list[str]:
    """Forms that run here."""
    return [f for f in kinds.kind(pack.info.kind).variants(pack) if runnable(f) is None]


def _ticking(tick: Callable[..., None], tell: Teller) -> Callable[[Step], None]:
    seen = 0

    def step(at: Step) -> None:
        nonlocal seen
        if at.problem:
            tell.say(f"{at.pack}, {at.variant}: {at.text}")
        tick(at.done - seen, what=f"{at.pack} {at.variant}: {at.text}")
        seen = at.done

    return step


def _score(packs: Sequence[Pack], tell: Teller) -> None:
    """Forms that were not scored yet answer the Task of their Pack, each set beside the base form."""
    for pack in packs:
        scored = {s["variant"] for s in pack.scores}
        todo = [form for form in _forms(pack) if form not in scored]
        if not todo:
            continue
        if pack.info.task is None:
            tell.say(f"{pack.info.name} names no Task: it is not scored")
            continue
        task, answers = systems.resolve_task(pack.info.task), dict[str, Any]()
        for form in todo:
            with progress(f"score {pack.info.name} {form}", len(task.splits["test"]), tell.quiet) as tick:
                line = score(pack, task, variant=form, progress=_moving(tick), known=answers)
            beside = show.against(line.get("against"))
            accuracy = show.interval(line["metrics"]["accuracy"])
            tell.say(f"{pack.info.name} {form}: accuracy {accuracy}{' · ' + beside if beside else ''}")


def _moving(tick: Callable[..., None]) -> Callable[[int, int], None]:
    done = 0

    def move(now: int, total: int) -> None:
        nonlocal done
        tick(now - done if now > done else now)  # a second form that is asked beside it begins again at 0
        done = now

    return move


def _examples(packs: Sequence[Pack]) -> list[dict[str, Any]]:
    """What each rival answers to the texts of the tour, in its base form."""
    rows: list[dict[str, Any]] = [{"text": text, "answers": []} for text in EXAMPLES]
    for pack in packs:
        model = kinds.open(pack)
        for row, answer in zip(rows, model.predict(list(EXAMPLES)), strict=True):
            row["answers"].append(_answer(pack.info.name, model.variant, answer))
    return rows


def _answer(name: str, form: str, answer: Mapping[str, Any]) -> dict[str, Any]:
    kept = {key: answer[key] for key in ("decision", "code", "title", "p")}
    return {"pack": name, "form": form, **kept, "guess": answer["candidates"][0]}


def main(arguments: Sequence[str] | None = None) -> int:
    """``python -m hedgerow.report.tour``."""
    import argparse

    parser = argparse.ArgumentParser(prog="python -m hedgerow.report.tour", description=__doc__.split("\n\n")[0])
    parser.add_argument("--packs", type=Path, default=Path("packs"), help="where the rivals are kept")
    parser.add_argument("--out", type=Path, default=Path("tour"), help="where the page goes")
    parser.add_argument("--fleet", type=Path, help="another fleet.toml (it must have a laptop)")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="simulated runs of each policy")
    parser.add_argument("--fresh", action="store_true", help="build and weigh again what is there already")
    parser.add_argument("--keep", action="store_true", help="also keep it in results/tour, for README and docs")
    given = parser.parse_args(arguments)
    try:
        tour(given.packs, given.out, given.fleet, seeds=given.seeds, fresh=given.fresh)
        if given.keep:
            for name in ("tour.json", "tour.txt"):
                files.write_text(Path("results") / "tour" / name, (given.out / name).read_text(encoding="utf-8"))
            print("kept in results/tour; make results draws README and docs from it")
    except HedgerowError as e:
        print(f"hedgerow: {e}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # whoever read along has gone; what was finished is kept
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        print("hedgerow: stopped; what is finished is kept, and the same command goes on from there", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
