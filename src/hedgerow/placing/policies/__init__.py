"""Policies by name. Each is one file with one final class; a name is looked up here and nowhere else."""

from __future__ import annotations

from importlib import import_module

from hedgerow.errors import HedgerowError, did_you_mean
from hedgerow.placing.view import Policy

POLICIES = {
    "earliest-finish": "hedgerow.placing.policies.earliest_finish",
    "local-only": "hedgerow.placing.policies.local_only",
    "random": "hedgerow.placing.policies.random",
}


def policy(name: str) -> Policy:
    """The policy of that name; HedgerowError with the nearest name otherwise."""
    if name not in POLICIES:
        raise HedgerowError(f"no policy is called '{name}'{did_you_mean(name, POLICIES)}")
    found: Policy = import_module(POLICIES[name]).POLICY
    return found
