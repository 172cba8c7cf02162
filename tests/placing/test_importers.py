"""Importers, on files written by hand for these tests: they are nobody's recording."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import fabricated as f
import pytest

from hedgerow.errors import HedgerowError
from hedgerow.placing import place
from hedgerow.placing.importers import fcc, fta, machine_events, mahimahi, read_traces
from hedgerow.placing.wfformat import open_workflow, workflow_of

FLEET = f.fleet([f.device("a"), f.device("b")], [f.link("a", "b")])


def test_a_mahimahi_log_gives_packets_per_second_and_repeats(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("0\n100\n900\n1500\n")
    found = mahimahi(path, FLEET, "a", "b", until_s=4.0)
    assert [(r["t"], r["mbps"]) for r in found.rows] == [(0, 0.036), (1, 0.012), (2, 0.036), (3, 0.012)]
    assert found.kind == "recorded"


def test_an_fcc_table_is_read_by_its_names(tmp_path: Path) -> None:
    path = tmp_path / "curr_httpgetmt.csv"
    path.write_text(
        "unit_id,dtime,target,bytes_sec\n7,2020-09-01 00:00:10,x,1250000\n7,2020-09-01 00:00:00,x,250000\n"
        "8,2020-09-01 00:00:00,x,9\n"
    )
    found = fcc(path, FLEET, "b", "a", unit="7")
    assert [(r["t"], r["src"], r["mbps"]) for r in found.rows] == [(0, "b", 2.0), (10, "b", 10.0)]
    with pytest.raises(HedgerowError, match="holds 2 units"):
        fcc(path, FLEET, "b", "a")


def test_failures_of_an_archive_and_of_machine_events(tmp_path: Path) -> None:
    path = tmp_path / "event_trace.tab"
    path.write_text(
        "# event_id node_id event_type event_start_time event_stop_time\n1 9 1 100 150\n2 9 0 150 160\n3 4 0 170 175\n"
        "4 77 0 180 190\n"
    )
    found = fta(path, FLEET, scale=2.0)
    assert [(r["t"], r["ev"], r["dev"]) for r in found.rows] == [
        (100, "down", "a"), (120, "up", "a"), (140, "down", "b"), (150, "up", "b"),
    ]  # fmt: skip
    path = tmp_path / "machine_events.csv"
    path.write_text("0,5,0,p,1,1\n0,6,0,p,1,1\n2000000,5,1,,,\n5000000,5,0,p,1,1\n6000000,6,1,,,\n7000000,5,2,p,1,1\n")
    found = machine_events(path, FLEET)
    assert [(r["t"], r["ev"], r["dev"]) for r in found.rows] == [(2, "down", "a"), (5, "up", "a"), (6, "down", "b")]


@pytest.mark.parametrize(
    ("how", "text", "says"),
    [
        ("mahimahi", "5\n3\n", "line 2: time in ms: 3 comes after 5"),
        ("mahimahi", "5\nx\n", "line 2: time in ms: 'x' is no whole number"),
        ("mahimahi", "\n", "holds no line"),
        ("fcc", "unit,dtime,bytes_sec\n", "line 1: no column is called 'unit_id'"),
        ("fcc", "unit_id,dtime,bytes_sec\n1,yesterday,5\n", "line 2: dtime: 'yesterday' is no date"),
        ("fcc", "unit_id,dtime,bytes_sec\n1,2020-09-01 00:00:00,-5\n", "line 2: bytes_sec: must be a finite number"),
        ("fcc", "unit_id,dtime,bytes_sec\n1,2020\n", "line 2: has 2 fields"),
        ("fta", "node_id event_type event_start_time event_stop_time\n1 3 0 1\n", "line 2: event_type: '3' is neither"),
        ("fta", "node_id event_type event_start_time event_stop_time\n1 0 5 1\n", "line 2: event_stop_time: 1 lies"),
        (
            "fta",
            "node_id event_type event_start_time event_stop_time\n1 0 0 9\n1 0 5 8\n",
            "node 1: is unavailable twice",
        ),
        ("machine", "1,2\n", "line 1: has 2 fields"),
        ("machine", "1,2,9\n", "line 1: event: '9' is none of"),
    ],
)
def test_a_faulty_file_names_line_and_field(how: str, text: str, says: str, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text(text)
    link = {"mahimahi": mahimahi, "fcc": fcc}
    with pytest.raises(HedgerowError) as caught:
        if how in link:
            link[how](path, FLEET, "a", "b")
        else:
            {"fta": fta, "machine": machine_events}[how](path, FLEET)
    assert says in str(caught.value) and "file" in str(caught.value)


def document() -> dict[str, Any]:
    tasks = [
        {
            "id": "s",
            "name": "split",
            "parents": [],
            "children": ["m"],
            "inputFiles": ["raw"],
            "outputFiles": ["p", "q"],
        },
        {"id": "m", "name": "map", "parents": ["s"], "children": [], "inputFiles": ["p", "ref"], "outputFiles": ["r"]},
    ]
    sizes = [{"id": n, "sizeInBytes": k} for n, k in (("raw", 10), ("p", 20), ("q", 30), ("r", 5), ("ref", 7))]
    runs = [
        {"id": "s", "runtimeInSeconds": 1.5, "cpu": 9},
        {"id": "m", "runtimeInSeconds": 2.0, "memoryInBytes": 9},
    ]
    flow = {"specification": {"tasks": tasks, "files": sizes}, "execution": {"makespanInSeconds": 4, "tasks": runs}}
    return {"name": "two", "schemaVersion": "1.5", "author": {}, "workflow": flow}


def test_a_workflow_comes_in_is_placed_and_goes_out(tmp_path: Path) -> None:
    path = tmp_path / "two.json"
    path.write_text(json.dumps(document()))
    app = open_workflow(path)
    assert [(w.seconds, w.bytes_in, w.bytes_out) for w in app.works] == [(1.5, 10, 50), (2.0, 7, 5)]
    assert [j.deps for j in app.jobs] == [(), (0,)]
    assert len(place(app, FLEET, requests=1, policy="heft").to_json()["placements"]) == 2
    out = tmp_path / "out.json"
    out.write_text(json.dumps(workflow_of(app)))
    again = open_workflow(out)
    assert again.jobs == app.jobs and [w.seconds for w in again.works] == [1.5, 2.0]
    assert [w.bytes_out for w in again.works] == [w.bytes_out for w in app.works]


def test_bad_workflows_are_one_line(tmp_path: Path) -> None:
    path = tmp_path / "two.json"
    for change, says in (
        (lambda d: d.update(schemaVersion="1.3"), "schemaVersion is 1.3"),
        (
            lambda d: d["workflow"]["specification"]["tasks"][0].update(parents=["m"]),
            "for one another in a circle",
        ),
        (lambda d: d["workflow"]["specification"]["tasks"][1].update(parents=["x"]), "unknown job 'x'"),
        (lambda d: d["workflow"]["specification"]["files"].pop(), "file 'ref' has no entry"),
        (lambda d: d["workflow"]["execution"]["tasks"].pop(), "task 'm' has no runtimeInSeconds"),
        (lambda d: d["workflow"]["execution"]["tasks"][0].update(runtimeInSeconds=-1), "greater than 0"),
    ):
        made = document()
        change(made)
        path.write_text(json.dumps(made))
        with pytest.raises(HedgerowError) as caught:
            open_workflow(path)
        assert says in str(caught.value)
    with pytest.raises(HedgerowError, match="runs Packs"):
        from hedgerow.placing.dag import app_of_packs

        workflow_of(app_of_packs([f.pack(tmp_path, "m", 1.0, 0.5)], unit=f.UNIT))


# --- by name, as the command line takes them --------------------------------------------------------------------------
def test_recordings_are_named_by_their_form_and_read_as_one(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("0\n100\n")
    (tmp_path / "nodes").write_text("node_id event_type event_start_time event_stop_time\n9 1 0 1\n9 0 1 2\n4 1 0 1\n")
    (tmp_path / "trace.jsonl").write_text('{"t":0.5,"ev":"busy","dev":"b","cpu":1}\n')
    (tmp_path / "fcc").write_text("unit_id,dtime,bytes_sec\n7,2020-09-01 00:00:10,125000\n8,2020-09-01 00:00:00,9\n")
    (tmp_path / "machines").write_text("0,5,1,,,\n")
    wishes = [f"fta={tmp_path}/nodes", f"mahimahi:a:b={tmp_path}/log", f"{tmp_path}/trace.jsonl"]
    found = read_traces([*wishes, f"fcc:b:a:7={tmp_path}/fcc", f"machine-events={tmp_path}/machines"], FLEET)
    assert [(r["t"], r["ev"]) for r in found.rows] == [
        (0, "bw"), (0, "bw"), (0, "down"), (0.5, "busy"), (1, "down"), (2, "up"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("wish", "says"),
    [
        ("ftta=x", "there is no form 'ftta' (did you mean 'fta'?)"),
        ("mahimahi=x", "say of which link it is, e.g. --trace mahimahi:phone1:edge=FILE"),
        ("mahimahi:a:b:c=x", "say of which link it is"),
        ("fcc:a:bb=x", "the fleet has no device 'bb'"),
        ("fta:a=x", "there is no form 'fta:a'"),
        ("nothing.jsonl", "nothing.jsonl: cannot be read"),
    ],
)
def test_a_wrong_name_of_a_recording_is_one_line(wish: str, says: str) -> None:
    with pytest.raises(HedgerowError) as caught:
        read_traces([wish], FLEET)
    assert says in str(caught.value)


def test_times_of_an_fcc_table_do_not_depend_on_this_machine_s_zone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In Berlin an hour was skipped between these two lines."""
    path = tmp_path / "fcc"
    path.write_text("unit_id,dtime,bytes_sec\n7,2020-03-29 01:30:00,1\n7,2020-03-29 03:30:00,1\n")
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    try:
        assert [r["t"] for r in fcc(path, FLEET, "a", "b").rows] == [0, 7200]
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize("text", ["\u00b2\n", "99999999999999\n"])
def test_a_mahimahi_time_that_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "log").write_text(text)
    with pytest.raises(HedgerowError, match=r"no whole number|too late"):
        mahimahi(tmp_path / "log", FLEET, "a", "b")
