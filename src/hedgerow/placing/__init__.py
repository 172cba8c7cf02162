"""Place: which form of which Pack runs on which device of a fleet, why, and what becomes of it when devices fail.

``place`` plans, ``simulate`` lets the same policy meet a fleet that dies and errs. Both read the Packs' measured costs
and scores, and mark whatever rests on an assumption. Needs the device installation only.
"""

from __future__ import annotations

from hedgerow.placing.dag import App, open_app
from hedgerow.placing.fleet import Fleet
from hedgerow.placing.outcome import Outcome, simulate
from hedgerow.placing.plan import Explanation, Plan, place
from hedgerow.placing.policies import POLICIES
from hedgerow.placing.world import World

__all__ = ["POLICIES", "App", "Explanation", "Fleet", "Outcome", "Plan", "World", "open_app", "place", "simulate"]
