"""fleet.toml: what is refused, and in which words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import fabricated as f
import pytest

from hedgerow import files
from hedgerow.errors import HedgerowError
from hedgerow.placing import Fleet

EXAMPLE = Path(__file__).parents[2] / "examples" / "fleet.toml"


def refused(devices: list[dict[str, Any]], links: list[dict[str, Any]] = (), home: Any = None, **more: Any) -> str:  # type: ignore[assignment]
    data = {"home": home or "a", "devices": devices, "links": list(links), **more}
    with pytest.raises(HedgerowError) as caught:
        Fleet.of(data, "my.toml")
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("my.toml")
    return str(caught.value)


def test_the_example_opens_and_says_that_everything_is_assumed() -> None:
    fleet = Fleet.open(EXAMPLE)
    assert [d.tier for d in fleet.devices] == ["phone", "phone", "laptop", "edge", "cloud"]
    said = fleet.assumptions()
    for device in fleet.devices:
        assert device.failure is not None
        assert any(line.startswith(f"{device.name}: speed") and "assumed:" in line for line in said)
        assert any(line.startswith(f"{device.name}: up") for line in said)
    assert sum("↔" in line for line in said) == len(fleet.links) / 2


def test_like_in_a_circle_names_the_circle() -> None:
    two = [f.device("a", like="b"), f.device("b", like="c"), f.device("c", like="b")]
    assert "b → c → b" in refused(two, [f.link("a", "b"), f.link("b", "c")])


def test_unknown_devices_are_named_with_a_hint() -> None:
    a, b = f.device("a"), f.device("laptop")
    assert "unknown device 'labtop' (did you mean 'laptop'?)" in refused([a, b], [f.link("a", "labtop")])
    assert "is like 'lapto', which is no device (did you mean 'laptop'?)" in refused([f.device("a", like="lapto"), b])
    assert "home 'laptob' is no device of this fleet (did you mean 'laptop'?)" in refused([a, b], home="laptob")


def test_everything_states_what_it_rests_on() -> None:
    link = f.link("a", "b")
    del link["source"]
    assert "'source' is missing" in refused([f.device("a"), f.device("b")], [link])
    assert "like needs a source" in refused([f.device("a", source=None)])
    assert "like needs a factor" in refused([f.device("a", factor=None)])
    assert "a source begins with" in refused([f.device("a", source="because")])
    assert "a source begins with" in refused([f.device("a", source="assumed:  ")])
    assert "nothing says how fast it is" in refused([{"name": "a", "tier": "edge", "memory": "1GB", "cores": 1}])
    failing = f.device("a", failure={"mean_up_s": 1, "mean_down_s": 1})
    assert "failure.source" in refused([failing])


def test_duplicates_are_refused() -> None:
    a, b = f.device("a"), f.device("b")
    assert "two devices are called 'a'" in refused([a, a])
    assert "link b→a is given twice" in refused([a, b], [f.link("a", "b"), f.link("b", "a", both=False)])
    assert "leads from a device to itself" in refused([a, b], [f.link("a", "a")])
    assert "home names a device twice" in refused([a], home=["a", "a"])


def test_every_device_needs_a_way_there_and_back() -> None:
    a, b, c = f.device("a"), f.device("b"), f.device("c")
    assert "no path leads from home (a) to 'c'" in refused([a, b, c], [f.link("a", "b")])
    one_way = [f.link("a", "b"), f.link("b", "c", both=False)]
    assert "no path leads from 'c' back to home" in refused([a, b, c], one_way)
    relayed = Fleet.of({"home": "a", "devices": [a, b, c], "links": [f.link("a", "b"), f.link("b", "c")]})
    assert relayed.names == ("a", "b", "c")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"memory": "-1GB"}, "memory: a size must be a positive number"),
        ({"memory": "8XB"}, "unknown unit 'XB'"),
        ({"cores": 0}, "cores"),
        ({"factor": -2.0}, "factor: input should be greater than 0"),
        ({"price_per_s": -1}, "price_per_s"),
        ({"tier": "fone"}, "tier"),
        ({"colour": "red"}, "unknown key 'colour'"),
        ({"rules": {"max_memroy": "1GB"}}, "unknown key 'rules.max_memroy' (did you mean 'max_memory'?)"),
        ({"failure": {"mean_up_s": 0, "mean_down_s": 1, "source": "assumed: x"}}, "failure.mean_up_s"),
        ({"energy_w": 3}, "energy_w"),
    ],
)
def test_bad_numbers_and_keys_name_the_device(change: dict[str, Any], says: str) -> None:
    said = refused([{**f.device("a"), **change}])
    assert "device 'a'" in said
    assert says in said


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"mbps": -5}, "mbps: input should be greater than 0"),
        ({"rtt_ms": -1}, "rtt_ms"),
        ({"mpbs": 1}, "did you mean 'mbps'?"),
    ],
)
def test_bad_links_name_the_link(change: dict[str, Any], says: str) -> None:
    said = refused([f.device("a"), f.device("b")], [{**f.link("a", "b"), **change}])
    assert "link a→b" in said
    assert says in said


def test_this_is_not_the_name_of_a_device() -> None:
    assert "call the device something else" in refused(
        [f.device("this", like=None, factor=None, source=None, fingerprint="abcdef")]
    )


def test_a_missing_or_broken_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(HedgerowError, match="is missing"):
        Fleet.open(tmp_path / "none.toml")
    (tmp_path / "broken.toml").write_text("home = [")
    with pytest.raises(HedgerowError, match="not readable TOML"):
        Fleet.open(tmp_path / "broken.toml")


def test_a_profile_without_memory_is_named(tmp_path: Path) -> None:
    """Such as `weigh --import` makes: llama-bench's file says nothing of it."""
    files.write_json(tmp_path / "phone.json", {**f.OTHER.model_dump(mode="json"), "memory_bytes": 0})
    data = {"home": "a", "devices": [{"name": "a", "tier": "edge", "profile": "phone.json"}]}
    with pytest.raises(HedgerowError, match=r"phone\.json states no memory: add memory_bytes"):
        Fleet.of(data, "x.toml", tmp_path)


def test_a_profile_gives_fingerprint_memory_and_cores(tmp_path: Path) -> None:
    files.write_json(tmp_path / "device.json", f.OTHER.model_dump(mode="json"))
    data = {"home": "a", "devices": [{"name": "a", "tier": "edge", "profile": "device.json"}]}
    (device,) = Fleet.of(data, "x.toml", tmp_path).devices
    assert (device.fingerprint, device.memory, device.cores) == (f.OTHER.fingerprint, f.OTHER.memory_bytes, 4)


def test_unplugging_keeps_what_others_are_like() -> None:
    fleet = f.fleet([f.device("a", like="b"), f.device("b")], [f.link("a", "b")])
    smaller = fleet.without(["b"])
    assert smaller.names == ("a",)
    assert [d.name for d in smaller.unplugged] == ["b"]
    with pytest.raises(HedgerowError, match="no home is left"):
        fleet.without(["a"])
    with pytest.raises(HedgerowError, match="did you mean 'bb'"):
        f.fleet([f.device("a"), f.device("bb")], [f.link("a", "bb")]).without(["bbb"]).digest  # noqa: B018
