"""Weigh: what a Pack costs on this machine and how good it is, each number beside what it rests on.

``weigh`` measures, ``score`` runs a Task that the caller gives, ``compare`` sets several Packs side by side. What they
find is appended to the Pack's evidence; ``place`` reads it there. Needs the device installation only.
"""

from __future__ import annotations

from hedgerow.weighing.device import measured_device, probe
from hedgerow.weighing.measure import Step, weigh
from hedgerow.weighing.rivals import compare
from hedgerow.weighing.scores import score

__all__ = ["Step", "compare", "measured_device", "probe", "score", "weigh"]
