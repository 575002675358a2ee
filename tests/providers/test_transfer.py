"""What is unpacked is bounded, whatever it would become, and who is trusted is the system's to say, or the user's."""

import gzip
import ssl
import tracemalloc
import zlib
from pathlib import Path

import httpx
import pytest

from greenrun.providers.transfer import Unpacked, trusted_by

TEXT = b'{"value": 3}' * 1000
MIB = 1 << 20


def deflated(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


@pytest.mark.parametrize(
    ("encoding", "packed"),
    [
        ("", TEXT), ("identity", TEXT), ("gzip", gzip.compress(TEXT, mtime=0)), ("GZIP", gzip.compress(TEXT, mtime=0)),
        ("deflate", zlib.compress(TEXT)), ("deflate", deflated(TEXT)),
    ],
    ids=["none", "identity", "gzip", "GZIP", "zlib", "deflate"],
)  # fmt: skip
@pytest.mark.parametrize("size", [7, 100_000])
def test_every_encoding_that_is_asked_for_comes_back_whole(encoding: str, packed: bytes, size: int) -> None:
    unpacked = Unpacked(encoding, MIB)
    for at in range(0, len(packed), size):
        assert not unpacked.add(packed[at : at + size])
    assert unpacked.body == TEXT


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "identity"])
def test_no_more_is_unpacked_than_may_be_used(encoding: str) -> None:
    flood = b" " * (64 * MIB)
    packed = {"gzip": gzip.compress(flood), "deflate": zlib.compress(flood), "identity": flood}[encoding]
    tracemalloc.start()
    try:
        unpacked = Unpacked(encoding, MIB)
        assert unpacked.add(packed)
        assert len(unpacked.body) == MIB
        assert tracemalloc.get_traced_memory()[1] < 8 * MIB
    finally:
        tracemalloc.stop()


def test_what_cannot_be_unpacked_is_an_error_in_words() -> None:
    with pytest.raises(OSError, match="cannot be unpacked"):
        Unpacked("gzip", MIB).add(b"not gzip at all")


def bundle(folder: Path) -> Path:
    """A list of authorities, which is one alone."""
    found = httpx.create_ssl_context(trust_env=False).get_ca_certs(binary_form=True)
    file = folder / "own.pem"
    file.write_text(ssl.DER_cert_to_PEM_cert(found[0]), encoding="ascii")
    return file


@pytest.mark.parametrize("name", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_the_bundle_that_the_environment_names_is_trusted_and_nobody_else(tmp_path: Path, name: str) -> None:
    assert len(trusted_by({name: str(bundle(tmp_path))}).get_ca_certs()) == 1


def test_without_a_word_of_the_environment_somebody_is_trusted() -> None:
    context = trusted_by({})
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname


@pytest.mark.parametrize("name", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR"])
def test_a_bundle_that_is_not_there_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(OSError, match=f"{name} names .*gone.pem"):
        trusted_by({name: str(tmp_path / "gone.pem")})


def test_a_bundle_without_certificates_is_named(tmp_path: Path) -> None:
    file = tmp_path / "empty.pem"
    file.write_text("nothing", encoding="ascii")
    with pytest.raises(OSError, match=r"REQUESTS_CA_BUNDLE names .*empty.pem, which holds no certificates"):
        trusted_by({"REQUESTS_CA_BUNDLE": str(file)})
