"""Connections at rest: sealed with a key that is not in the database (XSalsa20-Poly1305, by PyNaCl's SecretBox)."""

from __future__ import annotations

import base64
import os
from pathlib import Path

from dagd.model.errors import DagdError, InvalidSettings

KEY_BYTES = 32
PREFIX = "v1:"


class Sealer:
    """Seals and unseals texts. Keys are tried newest first; sealing uses the newest."""

    def __init__(self, keys: list[bytes]) -> None:
        self._keys = keys

    def seal(self, text: str) -> str:
        """The sealed form of `text`."""
        from nacl.secret import SecretBox

        box = SecretBox(self._keys[0]).encrypt(text.encode("utf-8"))
        return PREFIX + base64.b64encode(bytes(box)).decode("ascii")

    def unseal(self, sealed: str) -> str:
        """The text of a sealed form. Raises DagdError when no key fits."""
        from nacl.exceptions import CryptoError
        from nacl.secret import SecretBox

        raw = base64.b64decode(sealed.removeprefix(PREFIX))
        for key in self._keys:
            try:
                return bytes(SecretBox(key).decrypt(raw)).decode("utf-8")
            except CryptoError:
                continue
        raise DagdError(
            "a connection cannot be unsealed with the keys at hand",
            remedy="Put the key that sealed it behind the newest in secrets.connection_key.",
        )


def open_sealer(home: Path, configured: str) -> Sealer:
    """The sealer of a home: keys from the setting (base64, comma-separated, newest first), else `<home>/keys`."""
    text = configured or _home_keys(home)
    try:
        keys = [base64.b64decode(part.strip(), validate=True) for part in text.split(",") if part.strip()]
    except ValueError as error:
        raise InvalidSettings(f"secrets.connection_key is not base64: {error}") from error
    if not keys or any(len(key) != KEY_BYTES for key in keys):
        raise InvalidSettings(f"secrets.connection_key needs keys of {KEY_BYTES} bytes in base64")
    return Sealer(keys)


def _home_keys(home: Path) -> str:
    path = home / "keys"
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except FileExistsError:
        return path.read_text("ascii").strip()
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        text = base64.b64encode(os.urandom(KEY_BYTES)).decode("ascii")
        file.write(text)
    return text
