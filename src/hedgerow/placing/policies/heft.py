"""HEFT (Topcuoglu, Hariri & Wu 2002) on each request as it arrives."""

from __future__ import annotations

from hedgerow.placing.policies.whole import Whole, heft_plan

POLICY = Whole("heft", "planned whole by HEFT", heft_plan)
