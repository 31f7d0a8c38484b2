"""Accesses to sandboxes by SSH, as the control plane hands them out. In memory: there is no gateway that takes them."""

import re
import secrets
import uuid
from dataclasses import dataclass

from localdaytona.model import iso, now_s
from localdaytona.types import JSONObject

MINUTES = 60
ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
TOKEN_LENGTH = 32
DEFAULT_PORT = "22"

_IN_QUERY = re.compile(r"(?<=[?&]token=)[^&]+")


@dataclass(frozen=True, slots=True)
class SshAccess:
    """One access. The token is the user name at the gateway."""

    id: str
    sandbox_id: str
    token: str
    created_at: float
    expires_at: float

    def shown(self, gateway: str) -> JSONObject:
        """Return the access as the API shows it, with the command that uses it."""
        host, _, port = gateway.partition(":")
        at = "" if port in {"", DEFAULT_PORT} else f"-p {port} "
        return {
            "id": self.id, "sandboxId": self.sandbox_id, "token": self.token, "expiresAt": iso(self.expires_at),
            "createdAt": iso(self.created_at), "updatedAt": iso(self.created_at),
            "sshCommand": f"ssh {at}{self.token}@{host}",
        }  # fmt: skip


class SshAccesses:
    """The accesses that are valid: one for a sandbox, as on the real server."""

    def __init__(self) -> None:
        self._by_sandbox: dict[str, SshAccess] = {}

    def grant(self, sandbox_id: str, minutes: float) -> SshAccess:
        """Return a new access, and end the earlier one of this sandbox."""
        now = now_s()
        token = "".join(secrets.choice(ALPHABET) for _ in range(TOKEN_LENGTH))
        access = SshAccess(str(uuid.uuid4()), sandbox_id, token, now, now + 60.0 * minutes)
        self._by_sandbox[sandbox_id] = access
        return access

    def revoke(self, sandbox_id: str, token: str | None) -> None:
        """End the access of a sandbox: the one with this token, or any."""
        access = self._by_sandbox.get(sandbox_id)
        if access is not None and token in {None, "", access.token}:
            del self._by_sandbox[sandbox_id]

    def sandbox_of(self, token: str) -> str | None:
        """Return the ID of the sandbox to which the token leads now; None when it leads nowhere."""
        for access in self._by_sandbox.values():
            if access.token == token and access.expires_at > now_s():
                return access.sandbox_id
        return None


def without_token(url: str) -> str:
    """Return the URL for the journal."""
    return _IN_QUERY.sub("***", url)
