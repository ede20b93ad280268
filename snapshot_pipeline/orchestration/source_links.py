"""Links from the assets to the lines of code that make them, for "Open in editor".

Put here: which links there are. Do not put here: the assets.
See https://docs.dagster.io/guides/build/assets/metadata-and-tags#source-code.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import dagster as dg

_CHECKOUT = Path(__file__).parents[2]


def linked_to_source(assets: Sequence[dg.AssetsDefinition | dg.AssetSpec]) -> list[dg.AssetsDefinition | dg.AssetSpec]:
    """The assets with a link each, in a checkout; as they are in an installed package, whose files nobody edits."""
    if not (_CHECKOUT / "pyproject.toml").is_file():
        return list(assets)
    return list(dg.with_source_code_references(assets))  # type: ignore[arg-type]
