"""Whether SNAPSHOT_UI_URL is the address of a Dagster UI, so that the links in messages open."""

from __future__ import annotations

import json
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import urlopen

_SECONDS = 5.0
_AUTHENTICATION = (401, 403, 407)


def find_ui_problem(ui_url: str) -> str | None:
    """Return in one line why links to the UI would not open, as seen from this machine; None if they would.

    A proxy that asks for authentication counts as the UI.
    """
    setting = f"SNAPSHOT_UI_URL={ui_url}"
    if urlsplit(ui_url).scheme not in ("http", "https") or not urlsplit(ui_url).hostname:
        return f"{setting} is not an address; expected one such as https://dagster.example.org"
    try:
        with urlopen(f"{ui_url.rstrip('/')}/server_info", timeout=_SECONDS) as answer:  # noqa: S310  # the scheme is checked
            is_dagster = "dagster_webserver_version" in json.loads(answer.read(100_000))
    except HTTPError as error:
        if error.code in _AUTHENTICATION:
            return None
        return f"{setting} answers with status {error.code} and is not the Dagster UI; the links in messages lead there"
    except (URLError, OSError) as error:
        reason = getattr(error, "reason", error)
        return (
            f"{setting} cannot be reached from this machine ({reason}); the links in messages lead there. Start the "
            "UI, or set the address that browsers use"
        )
    except ValueError:
        is_dagster = False
    return None if is_dagster else f"{setting} answers, but is not the Dagster UI; the links in messages lead there"
