"""PEFT (Arabnejad & Barbosa 2014) on each request as it arrives."""

from __future__ import annotations

from hedgerow.placing.policies.whole import Whole, peft_plan

POLICY = Whole("peft-list", "planned whole by PEFT", peft_plan)
