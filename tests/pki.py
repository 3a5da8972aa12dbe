"""Certificate authorities that live as long as a test, and what they sign."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import trustme


class Shown(NamedTuple):
    """The files of one side: its certificate and its key."""

    cert: Path
    key: Path


class Authority:
    """A CA with its certificate in `ca`, a file of `folder`."""

    def __init__(self, folder: Path, name: str = "ca") -> None:
        self._signer = trustme.CA()
        self._folder = folder
        self.ca = folder / f"{name}.pem"
        self._signer.cert_pem.write_to_path(str(self.ca))

    def issue(
        self, file: str, *names: str, starts: timedelta = timedelta(), ends: timedelta | None = None
    ) -> Shown:
        """Sign a certificate for `names`, valid from and until so long after now, into files."""
        now = datetime.now(UTC)
        made = self._signer.issue_cert(
            *(names or (file,)),
            not_before=now + starts if starts else now - timedelta(days=2),
            not_after=now + (ends or timedelta(days=2)),
        )
        shown = Shown(self._folder / f"{file}.crt", self._folder / f"{file}.key")
        made.private_key_pem.write_to_path(str(shown.key))
        chain = b"".join(blob.bytes() for blob in made.cert_chain_pems)
        draft = shown.cert.with_suffix(".new")
        draft.write_bytes(chain)
        draft.replace(shown.cert)
        return shown
