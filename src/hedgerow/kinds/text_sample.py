"""Invented business phrases, from which ``weigh`` and ``place`` make texts of a given length."""

from __future__ import annotations

import numpy as np

_PHRASES = (
    "growing of rice and barley on rented land",
    "repair of bicycles and electric scooters",
    "wholesale of frozen fish to restaurants",
    "manufacture of wooden window frames",
    "retail sale of second-hand books online",
    "software development for hospital laboratories",
    "road transport of refrigerated goods",
    "bakery with its own café and delivery service",
    "installation of solar panels on private houses",
    "collection and sorting of scrap metal",
    "accounting services for small companies",
    "dental practice with two treatment rooms",
    "printing of labels and folding boxes",
    "dyeing and finishing of cotton fabrics",
    "quarrying of gravel for concrete production",
    "evening courses in foreign languages",
    "rental of agricultural machinery with operator",
    "dairy farm producing raw cow milk and cheese",
    "maintenance of lifts in office buildings",
    "extraction of vegetable oil from rapeseed",
)


def sample_text(words: int, seed: int) -> str:
    """A text of exactly that many words in the style of a business description; the same for the same seed."""
    rng = np.random.default_rng([seed, words])
    found: list[str] = []
    while len(found) < words:
        found.extend(_PHRASES[rng.integers(len(_PHRASES))].split())
    return " ".join(found[:words])
