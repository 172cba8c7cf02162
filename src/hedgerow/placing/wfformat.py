"""Workflows in WfFormat (WfCommons, schema 1.5): real ones in, ours out.

A workflow's tasks become plain programs of known length; a task's output, for each consumer, is the sum of the files
that it writes, and what a source takes from home is the sum of those that nobody wrote.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from hedgerow import files
from hedgerow.errors import HedgerowError
from hedgerow.placing.dag import App, Work, app_of
from hedgerow.schema import check

SCHEMA = "1.5"


class _Loose(BaseModel):
    """Other people's files hold more than we read; what we read is checked."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class _Task(_Loose):
    id: str = Field(min_length=1)
    name: str = ""
    parents: tuple[str, ...] = ()
    inputFiles: tuple[str, ...] = ()
    outputFiles: tuple[str, ...] = ()


class _File(_Loose):
    id: str
    sizeInBytes: int = Field(ge=0)


class _Specification(_Loose):
    tasks: tuple[_Task, ...] = Field(min_length=1)
    files: tuple[_File, ...] = ()


class _Run(_Loose):
    id: str
    runtimeInSeconds: float = Field(gt=0)
    memoryInBytes: int | None = Field(default=None, ge=0)


class _Execution(_Loose):
    tasks: tuple[_Run, ...] = ()


class _Workflow(_Loose):
    specification: _Specification
    execution: _Execution = _Execution()


class _Document(_Loose):
    name: str = "workflow"
    schemaVersion: str
    workflow: _Workflow


def open_workflow(path: str | Path) -> App:
    """An App from a WfFormat file. Raises HedgerowError for another schema, an unknown file or parent, a task without
    a run time, and a cycle."""
    read = check(_Document, files.read_json(Path(path)), str(path))
    if read.schemaVersion != SCHEMA:
        raise HedgerowError(f"{path}: schemaVersion is {read.schemaVersion}; {SCHEMA} is what can be read")
    spec = read.workflow.specification
    size = {f.id: f.sizeInBytes for f in spec.files}
    ran = {r.id: r for r in read.workflow.execution.tasks}
    written = {name for t in spec.tasks for name in t.outputFiles}
    works, jobs = [], []
    for i, t in enumerate(spec.tasks):
        for name in (*t.inputFiles, *t.outputFiles):
            if name not in size:
                raise HedgerowError(f"{path}: task '{t.id}': file '{name}' has no entry under files")
        if t.id not in ran:
            raise HedgerowError(f"{path}: task '{t.id}' has no runtimeInSeconds under execution")
        taken = sum(size[name] for name in t.inputFiles if name not in written)
        works.append(
            Work(
                t.id, bytes_in=taken, bytes_out=sum(size[name] for name in t.outputFiles),
                seconds=ran[t.id].runtimeInSeconds, memory=ran[t.id].memoryInBytes or 1,
                source=f"published: run time in the workflow {read.name}",
            )
        )  # fmt: skip
        jobs.append((t.id, i, t.parents))
    return app_of(read.name, works, jobs, str(path))


def workflow_of(app: App) -> dict[str, Any]:
    """An App of plain programs as a WfFormat document. Raises HedgerowError for a job that runs Packs."""
    tasks, runs, sizes = [], [], []
    children: dict[int, list[str]] = {j: [] for j in range(len(app.jobs))}
    for job in app.jobs:
        for d in job.deps:
            children[d].append(job.name)
    for j, job in enumerate(app.jobs):
        work = app.works[job.work]
        if work.seconds is None:
            raise HedgerowError(f"job '{job.name}' runs Packs; WfFormat knows programs of one known length only")
        inputs = [f"out-{app.jobs[d].name}" for d in job.deps] or [f"in-{job.name}"]
        if not job.deps:
            sizes.append({"id": f"in-{job.name}", "sizeInBytes": work.bytes_in})
        sizes.append({"id": f"out-{job.name}", "sizeInBytes": work.bytes_out})
        tasks.append({"id": job.name, "name": work.name, "parents": [app.jobs[d].name for d in job.deps],
                      "children": children[j], "inputFiles": inputs, "outputFiles": [f"out-{job.name}"]})  # fmt: skip
        runs.append({"id": job.name, "runtimeInSeconds": work.seconds, "memoryInBytes": work.memory})
    return {
        "name": app.name,
        "schemaVersion": SCHEMA,
        "workflow": {"specification": {"tasks": tasks, "files": sizes}, "execution": {"tasks": runs}},
    }
