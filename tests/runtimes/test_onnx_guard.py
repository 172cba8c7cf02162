"""Graphs that may not be opened: tensors outside the file, operators of others, broken bytes; at any depth."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from hedgerow.errors import HedgerowError
from hedgerow.runtimes.onnx import open_graph
from hedgerow.runtimes.onnx_guard import check_graph

FLOAT = TensorProto.FLOAT


def model(nodes: list[onnx.NodeProto], initial: list[onnx.TensorProto] = [], **more: object) -> onnx.ModelProto:  # noqa: B006
    graph = helper.make_graph(
        nodes, "g",
        [helper.make_tensor_value_info("x", FLOAT, [2]), helper.make_tensor_value_info("c", TensorProto.BOOL, [])],
        [helper.make_tensor_value_info("y", FLOAT, [2])],
        initial,
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("evil", 1), helper.make_opsetid("own", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8, **more)  # type: ignore[arg-type]


def branch(node: onnx.NodeProto) -> onnx.GraphProto:
    return helper.make_graph([node], "b", [], [helper.make_tensor_value_info(node.output[0], FLOAT, [2])])


def choose(then: onnx.NodeProto) -> onnx.NodeProto:
    other = helper.make_node("Identity", ["x"], ["o"])
    return helper.make_node("If", ["c"], ["y"], then_branch=branch(then), else_branch=branch(other))


def outside() -> onnx.TensorProto:
    tensor = numpy_helper.from_array(np.ones(2, np.float32), "w")
    onnx.external_data_helper.set_external_data(tensor, "../../../etc/passwd", 0, 8)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    return tensor


def put(path: Path, proto: onnx.ModelProto) -> Path:
    (path / "m.onnx").write_bytes(proto.SerializeToString())
    return path / "m.onnx"


def refused(path: Path, word: str) -> None:
    with pytest.raises(HedgerowError) as caught:
        check_graph(path)
    assert word in str(caught.value) and "\n" not in str(caught.value)


def test_an_ordinary_graph_runs(tmp_path: Path) -> None:
    weight = numpy_helper.from_array(np.array([1, 2], np.float32), "w")
    path = put(
        tmp_path,
        model(
            [helper.make_node("Add", ["x", "w"], ["a"]), choose(helper.make_node("Identity", ["a"], ["t"]))], [weight]
        ),
    )
    check_graph(path)
    graph = open_graph(path, 1, ("x", "c"))
    assert graph.run({"x": np.array([3, 4], np.float32), "c": np.array(True)})[0].tolist() == [4, 6]
    assert graph.describe()["library"] == "onnxruntime" and graph.bytes == path.stat().st_size
    with pytest.raises(HedgerowError, match="cannot be run"):
        graph.run({"x": np.ones(3, np.float32), "c": np.array(True)})
    with pytest.raises(HedgerowError, match="asks for the inputs x, c instead of images"):
        open_graph(path, 1, ("images",))


def test_tensors_outside_the_file(tmp_path: Path) -> None:
    add = helper.make_node("Add", ["x", "w"], ["y"])
    refused(put(tmp_path, model([add], [outside()])), "another file")
    constant = helper.make_node("Constant", [], ["w"], value=outside())
    refused(put(tmp_path, model([constant, add])), "another file")
    refused(put(tmp_path, model([choose(helper.make_node("Constant", [], ["t"], value=outside()))])), "another file")
    sparse = model([add])
    sparse.graph.sparse_initializer.add().values.CopyFrom(outside())
    refused(put(tmp_path, sparse), "another file")


def test_a_location_without_a_path_and_a_path_without_a_location(tmp_path: Path) -> None:
    add = helper.make_node("Add", ["x", "w"], ["y"])
    for field in ("data_location", "external_data"):
        tensor = outside()
        tensor.ClearField(field)  # type: ignore[arg-type]
        refused(put(tmp_path, model([add], [tensor])), "another file")


def test_operators_of_others(tmp_path: Path) -> None:
    evil = helper.make_node("Run", ["x"], ["y"], domain="evil")
    refused(put(tmp_path, model([evil])), "'evil'")
    refused(put(tmp_path, model([choose(helper.make_node("Run", ["x"], ["t"], domain="evil"))])), "'evil'")
    refused(put(tmp_path, model([choose(choose(helper.make_node("Run", ["x"], ["y"], domain="evil")))])), "'evil'")
    inner = helper.make_function(
        "own",
        "F",
        ["a"],
        ["b"],
        [helper.make_node("Run", ["a"], ["b"], domain="evil")],
        [helper.make_opsetid("evil", 1)],
    )
    refused(put(tmp_path, model([helper.make_node("F", ["x"], ["y"], domain="own")], functions=[inner])), "'evil'")


def test_functions_of_the_graph_itself_are_allowed(tmp_path: Path) -> None:
    inner = helper.make_function(
        "own", "F", ["a"], ["b"], [helper.make_node("Neg", ["a"], ["b"])], [helper.make_opsetid("", 17)]
    )
    path = put(tmp_path, model([helper.make_node("F", ["x"], ["y"], domain="own")], functions=[inner]))
    check_graph(path)
    assert open_graph(path, 1, ("x", "c")).run({"x": np.ones(2, np.float32), "c": np.array(True)})[0].tolist() == [
        -1,
        -1,
    ]


def test_a_tower_of_graphs(tmp_path: Path) -> None:
    node = helper.make_node("Identity", ["x"], ["y"])
    for _ in range(20):
        node = choose(node)
    refused(put(tmp_path, model([node])), "deep")


@pytest.mark.parametrize("data", [b"", b"\xff" * 40, b"not a graph", b"\x3a\xff\xff\xff\xff\x7f", b"\x08", b"\x0b"])
def test_bytes_that_are_no_graph(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "m.onnx").write_bytes(data)
    with pytest.raises(HedgerowError):
        open_graph(tmp_path / "m.onnx", 1, ("x",))


def test_no_file_at_all(tmp_path: Path) -> None:
    refused(tmp_path / "m.onnx", "not a readable ONNX file")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_damage_is_one_line_or_harmless(tmp_path: Path, data: st.DataObject) -> None:
    weight = numpy_helper.from_array(np.array([1, 2], np.float32), "w")
    whole = model([helper.make_node("Add", ["x", "w"], ["y"])], [weight]).SerializeToString()
    broken = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 3))):
        broken[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(whole)))
    (tmp_path / "m.onnx").write_bytes(bytes(broken[:cut]) if data.draw(st.booleans()) else bytes(broken))
    try:
        open_graph(tmp_path / "m.onnx", 1, ("x", "c")).run({"x": np.ones(2, np.float32), "c": np.array(True)})
    except HedgerowError as e:
        assert "\n" not in str(e)
