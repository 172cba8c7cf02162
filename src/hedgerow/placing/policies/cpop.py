"""CPOP (Topcuoglu, Hariri & Wu 2002) on each request as it arrives."""

from __future__ import annotations

from hedgerow.placing.policies.whole import Whole, cpop_plan

POLICY = Whole("cpop", "planned whole by CPOP", cpop_plan)
