"""Where GitHub should send its deliveries: which addresses can work at all."""

from __future__ import annotations

import ipaddress
import re
from typing import Final
from urllib.parse import urlsplit

PATH: Final = "/webhooks/github"
NOWHERE: Final = f"https://example.com{PATH}"
"""The address of an App whose webhook is switched off. GitHub demands one even then.

Without an address GitHub refuses the manifest ("url" wasn't supplied); without a webhook at all, the App has no
secret, and its address cannot be set later by the API (404). example.com is reserved for such uses (RFC 2606).
"""


class AddressError(ValueError):
    """GitHub cannot deliver there; the text says why."""


def webhook_address(given: str) -> str:
    """The address for GitHub. One without a path gets the API's; a relay such as smee.io has a path of its own.

    Raises AddressError.
    """
    parts = urlsplit(given.strip())
    host = parts.hostname or ""
    if parts.scheme != "https" or not host or "@" in parts.netloc or re.search(r"\s", given.strip()):
        raise AddressError(f"{given!r} is no https URL: GitHub sends the texts of issues there")
    if is_local(host):
        raise AddressError(f"GitHub cannot reach {host}: give the public address of the API, or a --tunnel")
    path = parts.path.rstrip("/") or PATH
    return parts._replace(path=path, fragment="").geturl()


def is_local(host: str) -> bool:
    """Whether the name or address is only known on this machine or in this network."""
    if host == "localhost" or host.endswith((".localhost", ".local", ".internal")):
        return True
    try:
        return not ipaddress.ip_address(host).is_global
    except ValueError:
        return False
