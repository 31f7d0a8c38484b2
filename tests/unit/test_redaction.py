"""Redaction: no secret in any of its forms passes, however the output is cut, and nothing else changes."""

from __future__ import annotations

import base64
import json
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from issuebox.domain.redaction import PIECE_BYTES, Redaction

SECRET = 's3cr3t/+ value&"quoted"'
REDACTION = Redaction.of([SECRET])
TOKEN = "ghp_" + "a1B2" * 9


def copied(redaction: Redaction, output: bytes, slices: list[int]) -> bytes:
    """The output as a follower copies it: slice by slice, each with what came before it in reach."""
    written = bytearray()
    end = 0
    for size in [*slices, len(output)]:
        end = min(len(output), end + size)
        start = max(0, len(written) - redaction.reach)
        window = output[start:end]
        upto = end if end == len(output) else end - redaction.held(window)
        written += redaction.masked(window)[len(written) - start : max(upto, len(written)) - start]
    return bytes(written)


@pytest.mark.parametrize("before", ["", "x", "xy", "xyz"])
@pytest.mark.parametrize(
    "form",
    [
        SECRET,
        quote(SECRET, ""),
        quote(SECRET, "").lower(),
        quote(SECRET),
        quote(SECRET, "").replace("%20", "+"),
        json.dumps(SECRET)[1:-1],
        TOKEN,
        "github_pat_" + "A" * 82,
        "sk-ant-api03-" + "Z-z_9" * 20,
    ],
)
def test_secret_is_masked_in_each_of_its_forms(before: str, form: str) -> None:
    """With as many asterisks as it has bytes, and what stands around it stays."""
    text = f"{before} [{form}] after"
    assert REDACTION.text(text) == f"{before} [{'*' * len(form)}] after"


@pytest.mark.parametrize("before", [b"", b"x", b"xy", b"x-access-token:"])
@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
def test_secret_within_base64_is_masked_wherever_it_begins(before: bytes, encode: object) -> None:
    """At most the digits that it shares with its neighbours stay: less than a byte of it on either side."""
    assert callable(encode)
    whole = encode(before + SECRET.encode() + b"more").decode()
    masked = REDACTION.text(whole)
    alone = base64.b64encode(SECRET.encode()).decode()
    assert masked.count("*") >= len(alone) - 4
    assert len(masked) == len(whole)


@pytest.mark.parametrize("text", ["ghp_ is a prefix", "sk-ant-", "plain", "ghp_short", ""])
def test_what_only_resembles_a_secret_stays(text: str) -> None:
    """A word that begins like a token is none."""
    assert REDACTION.text(text) == text


def test_short_value_is_a_setting() -> None:
    """Otherwise each 1 in the output would be an asterisk."""
    assert Redaction.of(["1", "opus"]).text("1 opus") == "1 opus"


def test_each_line_of_a_key_is_a_secret() -> None:
    """A PEM text is printed line by line."""
    key = "-----BEGIN KEY-----\nabcdefghijkl\nmnopqrstuvwx\n-----END KEY-----\n"
    assert Redaction.of([key]).text("got mnopqrstuvwx!") == "got ************!"


def test_long_value_is_masked_whole() -> None:
    """In pieces, the last of which is not too short to be looked for."""
    value = "".join(chr(33 + n * 7 % 90) for n in range(3 * PIECE_BYTES + 2))
    assert set(Redaction.of([value]).text(value)) == {"*"}


SECRETS = st.lists(st.text("abAB+/ %", min_size=6, max_size=12), min_size=1, max_size=3)


@given(data=st.data(), secrets=SECRETS)
def test_slices_do_not_change_what_is_written(data: st.DataObject, secrets: list[str]) -> None:
    """A secret that a slice's end cuts does not slip through, and two followers write the same bytes."""
    redaction = Redaction.of(secrets)
    parts = st.sampled_from([*secrets, TOKEN, TOKEN[:9], "ab", "ghp_", "\n", secrets[0][:-1]])
    output = "".join(data.draw(st.lists(parts, max_size=12))).encode()
    slices = data.draw(st.lists(st.integers(0, 30), max_size=12))
    assert copied(redaction, output, slices) == redaction.masked(output)
    assert len(redaction.masked(output)) == len(output)


@given(secrets=SECRETS, before=st.text(max_size=5), after=st.text(max_size=5))
def test_secret_is_never_in_what_is_written(secrets: list[str], before: str, after: str) -> None:
    """Wherever it stands."""
    values = [secret.strip() for secret in secrets]
    redaction = Redaction.of(values)
    for value in values:
        if len(value) >= 6:
            assert value not in redaction.text(f"{before}{value}{after}")
