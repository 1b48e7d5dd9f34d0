"""The files of a folder against the SHA-256 sums that lie beside them."""

import hashlib
from pathlib import Path

MANIFEST = "SHA256SUMS"
"""Lines as `sha256sum` writes and checks them."""


def write_checksums(folder: Path) -> None:
    """Write the manifest of every other file in `folder`."""
    files = sorted(path for path in folder.iterdir() if path.is_file() and path.name != MANIFEST)
    (folder / MANIFEST).write_text("".join(f"{sha256(path)}  {path.name}\n" for path in files), encoding="utf-8")


def verify(folder: Path, *, remedy: str) -> None:
    """Compare every file of the manifest with its sum.

    Raises:
        FileNotFoundError: The manifest or one of its files is missing; the message ends in `remedy`.
        ValueError: A file is not what it was; the message ends in `remedy`.
    """
    manifest = folder / MANIFEST
    if not manifest.is_file():
        raise FileNotFoundError(f"{manifest} is missing; {remedy}")
    for line in manifest.read_text(encoding="utf-8").splitlines():
        digest, _, name = line.partition("  ")
        if not (folder / name).is_file():
            raise FileNotFoundError(f"{folder / name} is missing; {remedy}")
        if sha256(folder / name) != digest:
            raise ValueError(f"{folder / name} is damaged: its SHA-256 sum is not that of {MANIFEST}; {remedy}")


def sha256(path: Path) -> str:
    """The sum of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
