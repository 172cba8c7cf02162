"""What one request costs a form of a Pack on a device of the fleet, looked up in the rows that ``weigh`` measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Literal

from hedgerow import cost, files
from hedgerow.cost import Cost, predict
from hedgerow.errors import HedgerowError
from hedgerow.pack import Pack
from hedgerow.placing.dag import Work
from hedgerow.placing.fleet import THIS, Device, Fleet
from hedgerow.schema import check

Source = Literal["measured", "predicted", "assumed"]


@dataclass(frozen=True)
class Timing:
    """Times of one request on an idle device, in ms; bytes; and what they rest on."""

    p50_ms: float
    p95_ms: float
    load_ms: float
    memory_bytes: int
    disk_bytes: int
    threads: int
    source: Source
    note: str = ""


@dataclass(frozen=True)
class Evidence:
    """The measured cost rows of some Packs, newest of each, and which machine ``this`` is."""

    rows: Mapping[tuple[str, str, str | None], Sequence[Cost]]  # by digest, variant, fingerprint
    this: str | None

    def forms(self, pack: str) -> set[str]:
        """Forms of a Pack that anybody weighed."""
        return {variant for digest, variant, _ in self.rows if digest == pack}

    def phases(self, pack: Pack) -> set[str]:
        """What a request to the Pack consists of: the phases of its base form, if anybody weighed that."""
        base = [rows for (digest, v, _), rows in self.rows.items() if digest == pack.digest and v not in pack.variants]
        return {r.phase for rows in base for r in rows} - {"load"}

    def of(self, pack: str, variant: str, device: Device, fleet: Fleet) -> Sequence[Cost] | str:
        """Rows of one form for one device: measured there, else scaled along ``like``; or why there are none."""
        own = self.rows.get((pack, variant, device.fingerprint))
        if own:
            return own
        if (likely := self.predicted(pack, variant, device)) is not None:
            return likely
        if device.like is None:
            return f"nobody weighed it on {device.name}: run hedgerow weigh there, or state like, factor and source"
        if device.like == THIS:
            base: Sequence[Cost] | str = self.rows.get((pack, variant, self.this), ())
            if not base:
                return "nobody weighed it: run hedgerow weigh first"
            name = base[0].device.name  # type: ignore[union-attr]
        else:
            base, name = self.of(pack, variant, _known(fleet, device.like), fleet), device.like
        if isinstance(base, str):
            return f"{device.name} is like {device.like}, and {base}"
        return [_scaled(c, device, name) for c in base]

    def predicted(self, pack: str, variant: str, device: Device) -> Sequence[Cost] | None:
        """Rows by formula for a probed device where the form never ran; None without rates or a decoder's geometry.

        Sizes, memory and bytes are those that were measured elsewhere, for as many threads as the device has rates of.
        Its loading is taken as it was measured there when the rates hold no rate of it.
        """
        rates = device.probed.rates if device.probed is not None else ()
        counts = [r.threads for r in rates if r.decode and r.prefill and r.threads <= device.usable_cores]
        elsewhere = [r for (p, v, _), rows in self.rows.items() if (p, v) == (pack, variant) for r in rows]
        known = [r for r in elsewhere if r.geometry is not None and r.weights is not None]
        sizes = {(r.size["prompt"], r.size["new"]) for r in known if set(r.size) == {"prompt", "new"}}
        if not counts or not sizes or device.probed is None:
            return None
        base = max(known, key=lambda r: r.when)
        peak = max((r.peak_bytes for r in elsewhere if r.peak_bytes is not None), default=None)
        rows: list[Cost] = []
        for prompt, new in sorted(sizes):
            rows += predict.predict_rows(
                base.geometry, base.weights, device.probed, pack=pack, variant=variant,  # type: ignore[arg-type]
                threads=min(counts), prompt=prompt, new=new, memory_bytes=peak, disk_bytes=base.disk_bytes,
            )  # fmt: skip
        if all(r.phase != "load" for r in rows):
            update = {"device": rows[0].device, "threads": rows[0].threads, "runtime": rows[0].runtime}
            loads = [r for r in elsewhere if r.phase == "load"][-1:]
            rows += [r.model_copy(update={**update, "source": "assumed", "note": "loads as elsewhere"}) for r in loads]
        return rows


def _known(fleet: Fleet, name: str) -> Device:
    return next(d for d in (*fleet.devices, *fleet.unplugged) if d.name == name)


def _scaled(row: Cost, device: Device, base: str) -> Cost:
    stated = {"name": device.name, "machine": "", "cpu": "", "cores": device.cores, "memory_bytes": device.memory}
    stand_in = cost.Device(**stated, fingerprint=files.digest(stated)[:12])  # type: ignore[arg-type]
    note = f"{base} × {device.factor:g} ({device.source})"
    return cost.scaled(row, stand_in, device.factor or 1.0, f"{note}; {row.note}" if row.source != "measured" else note)


def gather(packs: Sequence[Pack], fleet: Fleet, this: str | None = None) -> Evidence:
    """The Packs' cost rows. ``this`` (a fingerprint) or the fleet's own statement decides between several machines.

    Raises HedgerowError for a broken row, and when ``like = "this"`` could mean several machines.
    """
    rows = [check(Cost, r, f"{p.path}/costs.jsonl") for p in packs for r in p.costs]
    measured = {c.device.fingerprint: c.device.name for c in rows if c.source == "measured"}
    this = this or fleet.this
    if this is not None:
        full = [f for f in measured if f.startswith(this)]
        this = full[0] if len(full) == 1 else this
    elif len(measured) == 1:
        this = next(iter(measured))
    elif measured and any(d.like == THIS for d in (*fleet.devices, *fleet.unplugged)):
        names = ", ".join(f"{f} ({n})" for f, n in sorted(measured.items()))
        raise HedgerowError(
            f'the Packs were weighed on several machines: {names}; say in the fleet file which one is this: this = "…"'
        )
    kept: dict[tuple[str, str, str | None], list[Cost]] = {}
    for row in cost.latest(r for r in rows if r.source == "measured"):
        kept.setdefault((row.pack, row.variant, row.device.fingerprint), []).append(row)
    return Evidence(kept, this)


def timing_of_pack(
    pack: Pack, variant: str, device: Device, work: Work, fleet: Fleet, evidence: Evidence
) -> Timing | str:
    """The Timing of a request of ``work``, or why it is not known."""
    found = evidence.of(pack.digest, variant, device, fleet)
    if isinstance(found, str):
        return found
    return timing_of_rows(found, work, device.usable_cores, evidence.phases(pack))


def timing_of_work(work: Work, device: Device, fleet: Fleet, evidence: Evidence) -> Timing | str:
    """The Timing of a plain program: its seconds on ``this``, scaled along ``like``."""
    factor, notes, at = 1.0, [work.source], device
    while not (at.fingerprint is not None and at.fingerprint == evidence.this):
        if at.like is None:
            return f"its time is known on this machine only, and {device.name} is not said to be like it"
        factor *= at.factor or 1.0
        notes.append(f"{at.like} × {at.factor:g} ({at.source})")
        if at.like == THIS:
            break
        at = _known(fleet, at.like)
    ms = (work.seconds or 0.0) * 1e3 * factor
    measured = len(notes) == 1 and work.source.startswith("measured:")
    return Timing(ms, ms, 0.0, work.memory, 0, 1, "measured" if measured else "assumed", "; ".join(reversed(notes)))


def timing_of_rows(rows: Sequence[Cost], work: Work, cores: int, wanted: Set[str] = frozenset()) -> Timing | str:
    """Sum of the ``wanted`` phases (empty: all but ``load``) of one request, from rows of one form and device.

    Rows of one runtime build and thread count are taken together: the fewest threads, then the newest build. A size
    that was not measured is rounded up to the next that was. The p95 of a sum is taken as the sum of the p95, which
    is never too little.
    """
    builds: dict[tuple[int, str], list[Cost]] = {}
    for row in rows:
        builds.setdefault((row.threads, files.canonical(row.runtime)), []).append(row)
    fitting = [key for key in builds if key[0] <= cores]
    if not fitting:
        return f"it was weighed with {min(builds)[0]} threads or more, and only {cores} cores may be used"
    fewest = min(key[0] for key in fitting)
    chosen = max((key for key in fitting if key[0] == fewest), key=lambda k: (max(r.when for r in builds[k]), k))
    rows = builds[chosen]
    phases = {r.phase for r in rows} - {"load"}
    if not phases:
        return "only its loading was weighed"
    for missing in sorted(wanted - phases):
        return f"this form has no phase '{missing}': it cannot do the whole request"
    sized = _sized(rows, work.size)
    if isinstance(sized, str):
        return sized
    size, note = sized
    p50 = p95 = 0.0
    used: list[Cost] = []
    for phase in sorted(wanted or phases):
        same = [r for r in rows if r.phase == phase and r.size == size]
        middle, high = cost.latency_at(same, work.batch), cost.latency_at(same, work.batch, "p95")
        if middle is None or high is None:
            return f"its phase '{phase}' was not weighed at this size"
        calls = size.get("new", 1) if phase == "decode" else 1  # a decode row is one step of one token
        p50, p95 = p50 + calls * middle, p95 + calls * high
        ordered = sorted(same, key=lambda r: r.batch)
        used.append(next((r for r in ordered if r.batch >= work.batch), ordered[-1]))
    load = [r for r in rows if r.phase == "load"]
    if not load:
        return "its load time was not weighed"
    peaks = [r.peak_bytes for r in [*used, *load] if r.peak_bytes is not None]
    if not peaks:
        return "its memory was not measured"
    disks = [r.disk_bytes for r in [*used, *load] if r.disk_bytes is not None]
    sources = {r.source for r in used} - {"measured"}
    source: Source = "assumed" if "assumed" in sources else "predicted" if sources else "measured"
    far = min(r.batch for r in used)
    beyond = f"extrapolated from batches of up to {far}" if far < work.batch else ""
    noisy = "noisy" if any(r.noisy for r in used) else ""
    notes = [n for n in (used[0].note if sources else "", note, beyond, noisy) if n]
    return Timing(p50, max(p50, p95), load[-1].p50_ms, max(peaks), max(disks, default=0), fewest,
                  source, "; ".join(notes))  # fmt: skip


def _sized(rows: Sequence[Cost], wanted: Mapping[str, int]) -> tuple[dict[str, int], str] | str:
    """The smallest measured size that is at least the wanted one in every number."""
    known: list[dict[str, int]] = []
    for row in rows:
        if row.phase != "load" and row.size not in known and set(row.size) == set(wanted):
            known.append(row.size)
    large = [s for s in known if all(s[k] >= v for k, v in wanted.items())]
    if not large:
        words = " or ".join(_words(s) for s in known) or "other units"
        return f"it was weighed at {words} only, not at {_words(wanted)}"
    size = min(large, key=lambda s: sorted(s.values()))
    return size, "" if size == wanted else f"measured at {_words(size)}"


def _words(size: Mapping[str, int]) -> str:
    return " ".join(f"{v} {k}" for k, v in size.items()) or "the usual size"
