"""Policies by name. Each is one file with one final class; a name is looked up here and nowhere else."""

from __future__ import annotations

from importlib import import_module

from hedgerow.errors import HedgerowError, did_you_mean
from hedgerow.placing.view import Policy

POLICIES = {
    "earliest-finish": "hedgerow.placing.policies.earliest_finish",
    "mtec": "hedgerow.placing.policies.mtec",
    "lookahead": "hedgerow.placing.policies.lookahead",
    "ibdash": "hedgerow.placing.policies.ibdash",
    "lavea-sqlf": "hedgerow.placing.policies.lavea_sqlf",
    "lavea-sslf": "hedgerow.placing.policies.lavea_sslf",
    "petrel": "hedgerow.placing.policies.petrel",
    "lats": "hedgerow.placing.policies.lats",
    "dcc": "hedgerow.placing.policies.dcc",
    "round-robin": "hedgerow.placing.policies.round_robin",
    "random": "hedgerow.placing.policies.random",
    "heft": "hedgerow.placing.policies.heft",
    "cpop": "hedgerow.placing.policies.cpop",
    "peft-list": "hedgerow.placing.policies.peft_list",
    "min-completion": "hedgerow.placing.policies.min_completion",
    "condor-rank": "hedgerow.placing.policies.condor_rank",
    "local-only": "hedgerow.placing.policies.local_only",
    "cloud-only": "hedgerow.placing.policies.cloud_only",
}


def policy(name: str) -> Policy:
    """The policy of that name; HedgerowError with the nearest name otherwise."""
    if name not in POLICIES:
        raise HedgerowError(f"no policy is called '{name}'{did_you_mean(name, POLICIES)}")
    found: Policy = import_module(POLICIES[name]).POLICY
    return found
