"""Books: the files in them."""

import re
import zipfile
from pathlib import Path
from typing import Final

from lxml import etree

_LANGUAGE: Final = re.compile(
    rb"""\s(?:xml:)?lang="[^"]*"|<dc:language[^>]*>[^<]*</dc:language>\s*"""
)


def differences(before: Path, after: Path) -> list[str]:
    """Names of the files whose canonical XML, or bytes, differ but for the language they name."""
    with zipfile.ZipFile(before) as old, zipfile.ZipFile(after) as new:
        names = {*old.namelist(), "mimetype"}
        if names != {*new.namelist()}:
            return ["(names)"]
        return [
            name
            for name in sorted(names - {"mimetype"})
            if _canonical(old.read(name)) != _canonical(new.read(name))
        ]


def _canonical(data: bytes) -> bytes:
    parser = etree.XMLParser(resolve_entities=False, recover=True, no_network=True)
    try:
        root = etree.fromstring(data, parser)
    except etree.XMLSyntaxError:
        root = None
    return _LANGUAGE.sub(b"", etree.tostring(root, method="c14n") if root is not None else data)
