"""The header of a GGUF file: read whole without a weight, and never believed further than the file reaches."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from gguf_made import llama, raw, tensor, text

from hedgerow.errors import HedgerowError
from hedgerow.runtimes import gguf_header


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return llama(tmp_path_factory.mktemp("gguf") / "tiny.gguf")


def test_the_reference_reader_finds_the_same(whole: Path) -> None:
    from gguf import GGUFReader

    held, other = gguf_header.read(whole), GGUFReader(whole)
    assert held.shapes == {t.name: tuple(int(n) for n in reversed(t.shape)) for t in other.tensors}
    assert held.fields["llama.block_count"] == other.fields["llama.block_count"].contents() == 2
    assert held.fields["tokenizer.ggml.tokens"] == 96  # of texts, how many
    assert held.bytes == whole.stat().st_size


HUGE = 10**15


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "no GGUF file"),
        (b"hello, this is a text file of some length", "no GGUF file"),
        (raw(version=1), "version 1"),
        (raw(version=0x03000000), "another byte order"),
        (raw(tensors=HUGE), "promises 1,000,000,000,000,000 tensors"),
        (raw(fields=HUGE), "promises 1,000,000,000,000,000 fields"),
        (raw(tensors=90_000), "do not fit in it"),
        (raw(fields=1, body=struct.pack("<Q", HUGE) + b"a" * 30), "bytes of one text"),
        (raw(fields=1, body=text("k") + struct.pack("<IIQ", 9, 4, HUGE)), "promises"),
        (raw(fields=1, body=text("k") + struct.pack("<IIQ", 9, 4, 1_000_000)), "do not fit"),
        (raw(fields=1, body=text("k") + struct.pack("<IIQ", 9, 8, 1_000_000)), "do not fit"),
        (raw(fields=1, body=text("k") + struct.pack("<IIQ", 9, 9, 3)), "list of lists"),
        (raw(fields=1, body=text("k") + struct.pack("<IQ", 77, 3)), "type that GGUF does not know"),
        (raw(tensors=1, body=tensor("t", (10**8, 10**7))), "promises 1,000,000,000,000,000 elements"),
        (raw(tensors=1, body=tensor("t", (4, 4), kind=99)), "element type 99"),
        (raw(tensors=1, body=tensor("t", (33, 4), kind=2) + b"\0" * 999), "no whole blocks of q4_0"),
        (raw(tensors=1, body=text("t") + struct.pack("<I", 4_000_000_000)), "do not fit|dimensions"),
        (raw(body=b"\0" * 64), "holds no tensor"),
        (raw(1, 0, tensor("a\n\x1b[2J", (4, 4), kind=99)), r"tensor 'a\?\?\[2J'"),
        (raw(1, 1, text("general.architecture") + struct.pack("<I", 8) + text("x\ny") + tensor("t", (4,))), "no arch"),
        (raw(1, 1, text("general.architecture") + struct.pack("<II", 4, 7) + tensor("t", (4,))), "no architecture"),
        (raw(1, 1, text("general.alignment") + struct.pack("<II", 4, 0) + tensor("t", (4, 4))), "alignment' is 0"),
        (raw(1, 1, text("general.alignment") + struct.pack("<I", 8) + text("x") + tensor("t", (4, 4))), "alignment"),
    ],
)  # fmt: skip
def test_a_header_that_cannot_be_true_is_one_line(tmp_path: Path, data: bytes, says: str) -> None:
    file = tmp_path / "bad.gguf"
    file.write_bytes(data)
    with pytest.raises(HedgerowError, match=says) as caught:
        gguf_header.read(file)
    assert str(caught.value).isprintable()


def test_a_part_of_a_split_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(HedgerowError, match="one of 3 parts"):
        gguf_header.read(llama(tmp_path / "part.gguf", split__count=3))


def test_a_file_cut_off_anywhere_is_one_line(whole: Path, tmp_path: Path) -> None:
    data, file = whole.read_bytes(), tmp_path / "cut.gguf"
    for length in [*range(0, 3000, 37), *range(3000, len(data), 9973), len(data) - 33]:
        file.write_bytes(data[:length])
        with pytest.raises(HedgerowError, match=r"cut off|no GGUF file|do not fit"):
            gguf_header.read(file)
