"""What a language model can do: the groups of the small-language-model survey, asked offline on this machine.

Needs the extra ``eval`` (lm-evaluation-harness, the engine) and a form that scores and writes text. Ours is what the
harness lacks: answers written as they come and resumed inside a test, intervals, chance and a random-weight model
beside each score, paired comparison item by item, and a real sandbox for programs.
"""

from __future__ import annotations

from hedgerow.weighing.suite.running import Found, gains, group_means, run_suite
from hedgerow.weighing.suite.sets import GROUPS, Asked, prepare, prepare_own, wanted

__all__ = ["GROUPS", "Asked", "Found", "gains", "group_means", "prepare", "prepare_own", "run_suite", "wanted"]
