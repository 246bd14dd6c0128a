"""Certificates for servers of tests, made with the openssl program; tests that need them are skipped without it."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

_CONFIG = """
[ca]
default_ca = this
[this]
database = {folder}/index.txt
new_certs_dir = {folder}
serial = {folder}/serial
default_md = sha256
policy = any
unique_subject = no
x509_extensions = server
[any]
commonName = supplied
[req]
distinguished_name = name
[name]
[server]
subjectAltName = {names}
"""


class Certificate(NamedTuple):
    """A certificate that signs itself, and its key.

    Attributes:
        file: of the certificate; who trusts it names this file.
        key: file of the private key.
    """

    file: Path
    key: Path

    def server_context(self) -> ssl.SSLContext:
        """Return what a server needs to show it."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.file, self.key)
        return context


def make_certificate(
    folder: Path, names: str = "DNS:localhost,IP:127.0.0.1", years: tuple[int, int] = (2020, 2099)
) -> Certificate:
    """Make a certificate.

    Args:
        folder: for its files.
        names: that it is for, as OpenSSL writes them.
        years: in which it begins and ends to be valid.
    """
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("the openssl program is not installed")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "index.txt").touch()
    (folder / "serial").write_text("01")
    config, request = folder / "openssl.cnf", folder / "request.pem"
    config.write_text(_CONFIG.format(folder=folder, names=names))
    certificate = Certificate(folder / "certificate.pem", folder / "key.pem")
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]  # RSA takes ten times as long
    key = [*curve, "-nodes", "-keyout", certificate.key, "-subj", "/CN=localhost"]
    dates = ["-startdate", f"{years[0]}0101000000Z", "-enddate", f"{years[1]}0101000000Z"]
    sign = ["-selfsign", "-keyfile", certificate.key, "-in", request, "-out", certificate.file]
    for words in (
        ["req", "-new", "-config", config, *key, "-out", request],
        ["ca", "-config", config, "-batch", "-notext", *sign, *dates],
    ):
        subprocess.run([openssl, *map(str, words)], check=True, capture_output=True)
    return certificate
