"""The templates of the package, which escape all text."""

from __future__ import annotations

from jinja2 import Environment, PackageLoader, StrictUndefined


def environment() -> Environment:
    """The environment of all templates; an unknown name in a template is an error."""
    return Environment(
        loader=PackageLoader("snapshot_pipeline.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
