"""What each test would do anew, and is the same in all of them: it is done once in a process."""

from __future__ import annotations

import os
import ssl
import tempfile
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import certifi
import pytest
from fastapi._compat import v2
from pydantic import TypeAdapter

END = "-----END CERTIFICATE-----\n"


def trust_one_authority(patch: pytest.MonkeyPatch) -> Path:
    """Let clients trust one authority instead of 140. Returns the file in which it is.

    To read all of them takes 15 ms for each client, and no test but a live one talks to anybody else over TLS. A test
    that sets SSL_CERT_FILE gets what is in it. What the machine has set there counts for programs that tests start.
    """
    bundle = Path(certifi.where()).read_text(encoding="utf-8")
    with tempfile.NamedTemporaryFile("w", prefix="authority-", suffix=".pem", delete=False) as file:
        file.write(bundle[: bundle.index(END) + len(END)])
    load = ssl.SSLContext.load_default_certs
    machines = os.environ.get("SSL_CERT_FILE")

    def load_given(context: ssl.SSLContext, purpose: ssl.Purpose = ssl.Purpose.SERVER_AUTH) -> None:
        if os.environ.get("SSL_CERT_FILE") != machines:
            load(context, purpose)

    patch.setattr(certifi, "where", lambda: file.name)
    patch.setattr(ssl.SSLContext, "load_default_certs", load_given)
    return Path(file.name)


def build_validators(patch: pytest.MonkeyPatch) -> None:
    """Let applications of FastAPI have the validators of their routes in common.

    It builds one for each parameter and each answer of each route of each application, which is half of what starting
    the API or localdaytona takes. A validator depends on its type and on what its field says, and on nothing else.
    """
    built: dict[object, TypeAdapter[Any]] = {}

    def validator(kind: Any, *, config: Any = None) -> TypeAdapter[Any]:
        *metadata, field = kind.__metadata__
        said = frozenset((name, *_keyed(value)) for name, value in field._attributes_set.items())
        key = kind.__origin__, tuple(map(_keyed, metadata)), said
        found = None if config else built.get(key)
        if found is None:
            found = built[key] = TypeAdapter(kind, config=config)
        return found

    patch.setattr(v2, "TypeAdapter", validator)


def _keyed(value: object) -> tuple[type, object]:
    """The value with its type, for 1 is True. An example is a list, which its text tells apart."""
    return type(value), value if isinstance(value, Hashable) else repr(value)
