"""The Pack: one model as a plain folder, with its lineage, its scores and its measured costs.

::

    pack.toml            what it is: kind, recipe, parents, data with licences, task        (Info)
    model.json           which net, with which arguments                                   (read by the kind)
    weights.safetensors  arrays
    *.json               labels, vocabulary, preprocessing
    manifest.json        SHA-256 and size of every file above, and the digest
    variants/NAME/       the same weights in another form; its variant.json lists its own files, so that a form
                         appears, and is replaced, in one step
    trunk/               the frozen trunk, a Pack of its own; absent in a thin Pack
    scores.jsonl costs.jsonl   the evidence, which only grows and is outside the digest

The **digest** of a Pack covers every file but the evidence and the variants, and the trunk by its digest. A variant has
a digest of its own that names the Pack it was made from. So adding a form does not orphan the evidence of the others,
and an evidence line, which names the digest and the variant, never speaks for other weights than it measured.

This module knows no model. Everything in a Pack is data: opening one runs none of its content.
"""

from __future__ import annotations

from hedgerow.pack.making import add_variant, copy_pack, create, keep_evidence, keep_trunk
from hedgerow.pack.opened import Pack, open_pack, read_arrays, trunk_cache, write_arrays
from hedgerow.pack.records import EVIDENCE, FORMAT, Info, Parent, Scored, Source, VariantInfo
from hedgerow.pack.whole import finite, write_manifest

__all__ = [
    "EVIDENCE",
    "FORMAT",
    "Info",
    "Pack",
    "Parent",
    "Scored",
    "Source",
    "VariantInfo",
    "add_variant",
    "copy_pack",
    "create",
    "finite",
    "keep_evidence",
    "keep_trunk",
    "open_pack",
    "read_arrays",
    "trunk_cache",
    "write_arrays",
    "write_manifest",
]
