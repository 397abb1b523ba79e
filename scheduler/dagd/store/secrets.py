"""Connections at rest: sealed with a key that is not in the database (XSalsa20-Poly1305, by PyNaCl's SecretBox)."""

from __future__ import annotations

import base64
import os
from collections.abc import Callable
from pathlib import Path

from dagd.model.errors import DagdError, InvalidSettings

KEY_BYTES = 32
PREFIX = "v1:"


class Sealer:
    """Seals and unseals texts. Keys are tried newest first; sealing uses the newest.

    `reread` gives the keys anew when none fits: they may have been rotated since.
    """

    def __init__(self, keys: list[bytes], reread: Callable[[], list[bytes]] | None = None) -> None:
        self._keys, self._reread = keys, reread

    def seal(self, text: str) -> str:
        """The sealed form of `text`."""
        from nacl.secret import SecretBox

        box = SecretBox(self._keys[0]).encrypt(text.encode("utf-8"))
        return PREFIX + base64.b64encode(bytes(box)).decode("ascii")

    def unseal(self, sealed: str) -> str:
        """The text of a sealed form. Raises DagdError when no key fits."""
        found = self._open(sealed)
        if found is None and self._reread is not None:
            self._keys = self._reread()
            found = self._open(sealed)
        if found is None:
            raise DagdError(
                "a connection cannot be unsealed with the keys at hand",
                remedy="Put the key that sealed it behind the newest in secrets.connection_key.",
            )
        return found[1]

    def reseal(self, sealed: str) -> str | None:
        """The same text sealed with the newest key; None when it is. Raises DagdError when no key fits."""
        text = self.unseal(sealed)
        found = self._open(sealed)
        return None if found is not None and found[0] == 0 else self.seal(text)

    def _open(self, sealed: str) -> tuple[int, str] | None:
        from nacl.exceptions import CryptoError
        from nacl.secret import SecretBox

        raw = base64.b64decode(sealed.removeprefix(PREFIX))
        for place, key in enumerate(self._keys):
            try:
                return place, bytes(SecretBox(key).decrypt(raw)).decode("utf-8")
            except CryptoError:
                continue
        return None


def open_sealer(home: Path, configured: str) -> Sealer:
    """The sealer of a home: keys from the setting (base64, comma-separated, newest first), else `<home>/keys`."""
    if configured:
        return Sealer(_keys_in(configured))
    return Sealer(_keys_in(_home_keys(home)), lambda: _keys_in(_home_keys(home)))


def _keys_in(text: str) -> list[bytes]:
    try:
        keys = [base64.b64decode(part.strip(), validate=True) for part in text.split(",") if part.strip()]
    except ValueError as error:
        raise InvalidSettings(f"secrets.connection_key is not base64: {error}") from error
    if not keys or any(len(key) != KEY_BYTES for key in keys):
        raise InvalidSettings(f"secrets.connection_key needs keys of {KEY_BYTES} bytes in base64")
    return keys


def _new_key() -> str:
    return base64.b64encode(os.urandom(KEY_BYTES)).decode("ascii")


def _home_keys(home: Path) -> str:
    path = home / "keys"
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except FileExistsError:
        return path.read_text("ascii").strip()
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        text = _new_key()
        file.write(text)
    return text


def add_home_key(home: Path) -> int:
    """A new key before those of `<home>/keys`; returns how many there are now. Whole, or not at all."""
    keys = [_new_key(), *_home_keys(home).split(",")]
    _replace_keys(home, keys)
    return len(keys)


def drop_old_home_keys(home: Path) -> int:
    """Forget all keys of `<home>/keys` but the newest; returns how many are gone. What they sealed cannot be read."""
    newest, *old = _home_keys(home).split(",")
    _replace_keys(home, [newest])
    return len(old)


def _replace_keys(home: Path, keys: list[str]) -> None:
    fresh = home / "keys.new"
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w", encoding="ascii") as file:
        file.write(",".join(keys))
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(home / "keys")
