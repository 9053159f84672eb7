"""The hub's token: from a setting, or from a file that is read again when it changes.

Rotating a token needs no restart: write the file anew. It is looked at before each hub request (one
``stat``) and read anew when it changed; and once more, whatever ``stat`` says, after the hub refused
the token.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Collection
from pathlib import Path
from typing import Final

from proxy import secret_file
from proxy.redis_keys import credential_id
from proxy.secret import Secret
from proxy.secret_file import Reloaded
from proxy.settings import CredentialSettings, HubSettings

DEFAULT_NAME: Final = "default"
"""The name of the credential that serves what no other does."""
MAX_TOKEN: Final = 4096
"""Characters of a token."""
_TOKEN: Final = re.compile(r"[\x21-\x7e]+", re.ASCII)
_log: Final = logging.getLogger("proxy.credential")


class TokenFault(ValueError):
    """The token, or the file that should hold it, cannot be used; the text never shows it."""


def check_token(token: Secret) -> None:
    """Raise TokenFault unless the token can stand in an Authorization header (RFC 9110 §11.6.2)."""
    text = token.reveal()
    if not text or len(text) > MAX_TOKEN or not _TOKEN.fullmatch(text):
        raise TokenFault(
            f"is no token: it has {len(text)} characters, among them spaces, control or non-ASCII ones"
            if 0 < len(text) <= MAX_TOKEN
            else f"is no token: it has {len(text)} characters, allowed are 1 to {MAX_TOKEN}"
        )


def read_token(path: Path) -> Secret:
    """Read the token from a file, without the white space around it.

    Raises:
        TokenFault: the file cannot be read, or holds no token.
    """
    try:
        token = Secret(secret_file.read(path, MAX_TOKEN + 1024).decode("ascii").strip())
    except UnicodeDecodeError:
        raise TokenFault(f"{str(path)!r} holds no token: it is not ASCII text") from None
    except ValueError as fault:
        raise TokenFault(str(fault)) from None
    try:
        check_token(token)
    except TokenFault as fault:
        raise TokenFault(f"the content of {str(path)!r} {fault}") from None
    return token


class Credential:
    """A hub token that may change while the process runs.

    ``id`` names what the token may see and is part of every key, in memory and in Redis. It is derived
    from the hub's URL and the token, so that two deployments with different ones on one Redis never share a page,
    without anybody having to think of it.

    ``name`` is what people call it; it stays when the token changes.

    Raises:
        TokenFault: on construction, if there is no usable token.
    """

    def __init__(self, settings: HubSettings | CredentialSettings, hub_url: str) -> None:
        self._hub_url = hub_url
        self.name = settings.name if isinstance(settings, CredentialSettings) else DEFAULT_NAME
        path = settings.api_key_file
        self._file = None if path is None else Reloaded(Path(path), read_token, "token", _log)
        self._token = settings.api_key or Secret("") if self._file is None else self._file.value
        check_token(self._token)
        self.id = credential_id(hub_url, self._token.reveal())

    def token(self) -> Secret:
        """The token to use now."""
        if self._file is not None and self._file.reload_if_changed():
            self._renew(self._file.value)
        return self._token

    def refused(self, token: Secret) -> bool:
        """The hub refused ``token``: look again, and say whether there is another one to try."""
        if self._file is not None and token == self._token and self._file.reload():
            self._renew(self._file.value)
        return token != self._token

    def _renew(self, token: Secret) -> None:
        self._token, self.id = token, credential_id(self._hub_url, token.reveal())


class Credentials:
    """All tokens of the hub: some for namespaces of their own, and one for everything else.

    Raises:
        TokenFault: on construction, if one of them cannot be used.
    """

    def __init__(self, settings: HubSettings) -> None:
        self.all = [Credential(settings, settings.url)]
        self._by_namespace: dict[str, Credential] = {}
        for one in settings.credentials:
            self.all.append(Credential(one, settings.url))
            self._by_namespace |= dict.fromkeys(one.namespaces, self.all[-1])

    def serving(self, namespace: str | None) -> Credential:
        """The credential for a question that names this namespace, or none."""
        return self.all[0] if namespace is None else self._by_namespace.get(namespace, self.all[0])

    def serving_any(self, namespaces: Collection[str], *, every: bool) -> list[Credential]:
        """The credentials that may serve one of these namespaces."""
        some = {self.serving(namespace).name for namespace in namespaces}
        return [one for one in self.all if every or one.name in some]
