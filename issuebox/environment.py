"""Reads the settings from the process environment. Reports all mistakes at once, each with its variable and what fits.

Only the process environment is read, never a ``.env`` in the working directory, which may be somebody else's
repository. The settings themselves are in `issuebox.settings`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, SecretStr, ValidationError
from pydantic.fields import FieldInfo

from issuebox.settings import ApiSettings, CommonSettings, WorkerSettings

PREFIX = "ISSUEBOX_"
FILE = "_FILE"
"""Suffix of a variable that names the file of a secret, as Docker and Kubernetes mount it."""

OTHERS = frozenset({"ISSUEBOX_TEMPORAL_BINARY", "ISSUEBOX_API_URL", "ISSUEBOX_CHAOS_SEED"})
"""Variables of ours that are not settings: those of `issuebox dev`, `temporal` and `open`, and of the tests."""

SHOWN_MAX = 60
"""Characters of a wrong value that a message repeats."""

_KUBERNETES = re.compile(r"ISSUEBOX(_\w+)?_(SERVICE_(HOST|PORT(_\w+)?)|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)")
_KUBERNETES_PORT = re.compile(r"(tcp|udp|sctp)://.*")
_SIMILARITY_MIN = 0.75
"""`ALLOWED_REPOS` is that close to `ALLOWED_REPOSITORIES`, in difflib's measure."""

Settings = TypeVar("Settings", bound=CommonSettings)


class SettingsError(Exception):
    """Wrong settings: one sentence for each mistake, none with a secret."""

    def __init__(self, mistakes: tuple[str, ...]) -> None:
        super().__init__("; ".join(mistakes))
        self.mistakes = mistakes


@dataclass(slots=True)
class _Read:
    """What was read. `shown` is each value as a message may repeat it, '' for a secret."""

    values: dict[str, str] = field(default_factory=dict)
    shown: dict[str, str] = field(default_factory=dict)
    mistakes: list[str] = field(default_factory=list)


def load(
    model: type[Settings], environ: Mapping[str, str] | None = None, *, required: Collection[str] = ()
) -> Settings:
    """The settings of one kind of process; those in `required` must not be empty. Raises SettingsError."""
    environ = os.environ if environ is None else environ
    read = _read(model, environ)
    settings, wrong = _validated(model, read)
    read.mistakes += [f"{variable_of(name)} is not set" for name in required if not read.values.get(name, "").strip()]
    read.mistakes += [sentence for names, sentence in settings.contradictions() if not names & wrong]
    read.mistakes += [
        f"{name} is not a setting: did you mean {meant}?" for name, meant in _unknown(environ).items() if meant
    ]
    if read.mistakes:
        raise SettingsError(tuple(read.mistakes))
    return settings


def load_both(environ: Mapping[str, str] | None = None) -> tuple[ApiSettings, WorkerSettings]:
    """The settings of API and workers. Raises SettingsError with the mistakes of both, each once."""
    found: list[Any] = []
    mistakes: dict[str, None] = {}
    for model in (ApiSettings, WorkerSettings):
        try:
            found.append(load(model, environ))
        except SettingsError as error:
            mistakes |= dict.fromkeys(error.mistakes)
    if mistakes:
        raise SettingsError(tuple(mistakes))
    return found[0], found[1]


def unknown(environ: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """The variables with our prefix that are neither settings nor misspelt ones."""
    return tuple(name for name, meant in _unknown(os.environ if environ is None else environ).items() if not meant)


def variable_of(name: str) -> str:
    """The environment variable of a setting."""
    return name.upper() if name.startswith("daytona_") else PREFIX + name.upper()


def is_secret(info: FieldInfo) -> bool:
    """Whether the setting is a secret, which may come from a file and is never shown."""
    return SecretStr in _types(info.annotation)


def secrets_of(*models: type[CommonSettings]) -> frozenset[str]:
    """The variables of the secrets that these processes need, and of the files that may hold them."""
    names = {variable_of(name) for model in models for name, info in model.model_fields.items() if is_secret(info)}
    return frozenset(names | {name + FILE for name in names})


def variables() -> dict[str, FieldInfo]:
    """Every setting of API and workers by its variable."""
    models: tuple[type[BaseModel], ...] = (ApiSettings, WorkerSettings)
    return {variable_of(name): info for model in models for name, info in model.model_fields.items()}


def _read(model: type[CommonSettings], environ: Mapping[str, str]) -> _Read:
    """The values of the model's settings, from the environment or from the files that it names."""
    read = _Read()
    for name, info in model.model_fields.items():
        variable, text = variable_of(name), environ.get(variable_of(name))
        if is_secret(info):
            path = environ.get(variable + FILE, "").strip()
            if path and text:
                read.mistakes.append(f"{variable} and {variable}{FILE} are both set: set one of them")
            elif path:
                text = _contents(variable + FILE, path, read)
        if text is not None:
            read.values[name] = text
            read.shown[name] = "" if is_secret(info) or ("//" in text and "@" in text) else _short(text)
    return read


def _contents(variable: str, path: str, read: _Read) -> str | None:
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        read.mistakes.append(f"{variable}={path!r} cannot be read: {reason}")
        return None


def _validated(model: type[Settings], read: _Read) -> tuple[Settings, frozenset[str]]:
    """The settings, with defaults in place of wrong values, and the names of the wrong ones."""
    try:
        return model.model_validate(read.values), frozenset()
    except ValidationError as error:
        wrong: dict[str, str] = {}
        for detail in error.errors(include_input=False, include_url=False):
            name = str(detail["loc"][0])
            wrong.setdefault(name, _sentence(name, read.shown[name], detail))
        read.mistakes += wrong.values()
        rest = {name: value for name, value in read.values.items() if name not in wrong}
        return model.model_validate(rest), frozenset(wrong)


def _sentence(name: str, shown: str, detail: Any) -> str:
    """What is wrong with a value. Every setting is text, and each check raises WrongValueError: nothing else is."""
    return f"{variable_of(name)}{f'={shown}' if shown else ''} has to be {detail['ctx']['error']}"


def _short(text: str) -> str:
    return repr(text if len(text) <= SHOWN_MAX else f"{text[:SHOWN_MAX]}…")


def _unknown(environ: Mapping[str, str]) -> dict[str, str]:
    """Each unknown variable with our prefix, with the setting that it resembles, '' for none."""
    known = set(_known())
    return {
        name: next(iter(get_close_matches(name.upper(), known, n=1, cutoff=_cutoff(name))), "")
        for name, value in environ.items()
        if name.upper().startswith(PREFIX) and name not in known | OTHERS and not _is_injected(name, value)
    }


def _known() -> Iterator[str]:
    for variable, info in variables().items():
        yield variable
        if is_secret(info):
            yield variable + FILE


def _cutoff(name: str) -> float:
    """The minimum for the whole names: `_SIMILARITY_MIN` is for names without the prefix that all share."""
    own, common = len(name) - len(PREFIX), len(PREFIX)
    return (_SIMILARITY_MIN * own + common) / (own + common)


def _is_injected(name: str, value: str) -> bool:
    """Whether Kubernetes set it: a Service named issuebox-… adds such variables to each container of its namespace."""
    return _KUBERNETES.fullmatch(name) is not None or (
        name.endswith("_PORT") and _KUBERNETES_PORT.fullmatch(value) is not None
    )


def _types(annotation: Any) -> set[object]:
    """All types in an annotation."""
    found: set[object] = {annotation}
    for part in getattr(annotation, "__args__", ()):
        found |= _types(part)
    return found
