from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import made_tour
import pytest


@pytest.fixture(scope="module")
def tour(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """A whole tour, hostile texts in every place where a text of somebody else may stand."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HEDGEROW_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield made_tour.make(tmp_path_factory.mktemp("tour"), patch, seeds=2, hostile=made_tour.HOSTILE)
