"""The listener for other machines: by TLS alone, with a certificate that can be renewed, and told to nobody unknown."""

import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from greenrun.api.serving.certificates import Certificates
from greenrun.api.serving.server import bind_tcp, serve_in_thread
from greenrun.api.serving.unix_socket import bind_unix
from greenrun.cli.app import main
from greenrun.config import load_config
from greenrun.core.errors import ConfigError
from tests.api.sign_in.tcp import TcpWorld, bearer
from tests.conftest import require
from tests.patience import HANGS_S


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two certificates of this machine, and a key for each."""
    folder = tmp_path_factory.mktemp("tls")
    for name in ("first", "second"):
        subprocess.run(
            [
                require("openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                "-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2",
                "-keyout", folder / f"{name}.key", "-out", folder / f"{name}.pem",
            ],
            check=True, capture_output=True, timeout=HANGS_S,
        )  # fmt: skip
        (folder / f"{name}.key").chmod(0o600)
    return folder


@pytest.fixture
def files(made: Path, tmp_path: Path) -> tuple[Path, Path]:
    """The first certificate and its key, in a folder of its own."""
    pair = tmp_path / "cert.pem", tmp_path / "key.pem"
    put(made, "first", pair)
    return pair


def put(made: Path, name: str, pair: tuple[Path, Path]) -> None:
    for ending, path in zip(("pem", "key"), pair, strict=True):
        shutil.copy(made / f"{name}.{ending}", path)


def name_shown(port: int, made: Path) -> str:
    """The name of the certificate that a server shows to a client that trusts both."""
    trust = ssl.create_default_context()
    for name in ("first", "second"):
        trust.load_verify_locations(made / f"{name}.pem")
    with (
        socket.create_connection(("127.0.0.1", port), HANGS_S) as plain,
        trust.wrap_socket(plain, server_hostname="127.0.0.1") as wrapped,
    ):
        shown = wrapped.getpeercert()
        assert shown is not None
        return str(dict(pair for row in shown["subject"] for pair in row)["commonName"])


def test_the_api_is_served_by_tls_with_a_certificate_that_is_renewed(
    made: Path, files: tuple[Path, Path], tmp_path: Path
) -> None:
    world, certificates = TcpWorld(), Certificates(*files)
    listener = bind_tcp("127.0.0.1:0", loopback_only=False)
    handle = serve_in_thread(
        world.app, bind_unix(tmp_path / "run" / "s"), world.tcp, None, others=(listener, certificates.context)
    )
    try:
        port = handle.others_port or 0
        trust = ssl.create_default_context(cafile=str(files[0]))
        told = bearer(world.token("read"))
        answer = httpx.get(f"https://127.0.0.1:{port}/v1/jobs", headers=told, verify=trust, timeout=HANGS_S)
        assert (answer.status_code, answer.json()) == (200, [])
        signed_in = httpx.get(
            f"https://127.0.0.1:{port}/sign-in?ticket={world.ticket()}", verify=trust, timeout=HANGS_S
        )
        assert "Secure" in signed_in.headers["set-cookie"]
        assert name_shown(port, made) == "first"
        put(made, "second", files)
        certificates.reload()
        assert name_shown(port, made) == "second"
        shutil.copy(made / "first.pem", files[0])  # not yet with its key
        with pytest.raises(ConfigError, match="key values mismatch"):
            certificates.reload()
        assert name_shown(port, made) == "second"
    finally:
        handle.stop()


def test_files_that_are_none_of_tls_are_refused_with_why(made: Path, files: tuple[Path, Path], tmp_path: Path) -> None:
    certificate, key = files
    for pair, said in (
        ((tmp_path / "none.pem", key), "No such file"), ((key, key), "both must be PEM"),
        ((made / "second.pem", key), "key values mismatch"),
    ):  # fmt: skip
        with pytest.raises(ConfigError, match=said):
            Certificates(*pair)
    key.chmod(0o644)
    with pytest.raises(ConfigError, match="everybody on this machine may read the key"):
        Certificates(certificate, key)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ('tcp = "0.0.0.0:9754"', "without TLS whoever is between could read tokens"),
        ('tcp = "10.1.2.3:9754"', "without TLS whoever is between could read tokens"),
        ('tcp = "[::]:9754"\ntls_key = "k"', "belong together"),
        ('tls_key = "k"\ntls_certificate = "c"', "which is not set"),
    ],
)
def test_no_other_machine_is_served_without_tls(tmp_path: Path, settings: str, said: str) -> None:
    file = tmp_path / "greenrun.toml"
    file.write_text(f"[api]\n{settings}\n")
    with pytest.raises(ConfigError, match=said):
        load_config(file)


@pytest.mark.parametrize(
    "settings",
    [
        'tcp = ""', 'tcp = "127.0.0.1:9754"', 'tcp = "[::1]:9754"',
        'tcp = "0.0.0.0:1"\ntls_key = "k"\ntls_certificate = "c"',
    ],
)  # fmt: skip
def test_what_nobody_can_listen_to_is_taken(tmp_path: Path, settings: str) -> None:
    file = tmp_path / "greenrun.toml"
    file.write_text(f"[api]\n{settings}\n")
    api = load_config(file).api
    assert api.tls_key in (None, tmp_path / "k")


@pytest.mark.parametrize("path", ["/metrics", "/", "/openapi.json", "/v1/jobs", "/nowhere"])
def test_another_machine_is_told_nothing_before_it_is_known(path: str) -> None:
    """Metrics ask nobody on this machine, where all its users are; from elsewhere they do."""
    world = TcpWorld()
    answer = world.over_tcp("GET", path, place="10.1.2.3")
    assert (answer.status_code, answer.json()["title"]) == (401, "not signed in")
    assert world.over_tcp("GET", "/healthz", place="10.1.2.3").status_code == 200
    assert world.over_tcp("GET", path, bearer(world.token("read")), place="10.1.2.3").status_code in (200, 404)


def test_the_address_that_was_connected_to_is_a_name_of_this_machine() -> None:
    world = TcpWorld()
    told = {"host": "10.0.0.1:9754", **bearer(world.token("read"))}
    for server, status in (("10.0.0.1", 200), ("10.0.0.2", 421)):
        asked = world.over_tcp("GET", f"http://{server}:9754/v1/jobs", told, place="10.1.2.3")
        assert asked.status_code == status


def test_a_port_that_is_taken_names_its_setting() -> None:
    with closing(bind_tcp("127.0.0.1:0")) as first, pytest.raises(ConfigError, match=r"set \[api\] tcp"):
        bind_tcp(f"127.0.0.1:{first.getsockname()[1]}", setting="tcp")


@pytest.fixture
def far(files: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TcpWorld]:
    """A daemon that this machine's commands ask by its address, as ada with a token to submit."""
    world = TcpWorld()
    listener = bind_tcp("127.0.0.1:0", loopback_only=False)
    others = (listener, Certificates(*files).context)
    handle = serve_in_thread(world.app, bind_unix(tmp_path / "run" / "s"), world.tcp, None, others=others)
    token = tmp_path / "token"
    token.write_text(f"{world.token()}\n")
    token.chmod(0o600)
    monkeypatch.setenv("GREENRUN_URL", f"https://127.0.0.1:{handle.others_port}")
    monkeypatch.setenv("GREENRUN_TOKEN_FILE", str(token))
    monkeypatch.setenv("SSL_CERT_FILE", str(files[0]))
    monkeypatch.delenv("GREENRUN_SOCKET", raising=False)
    yield world
    handle.stop()


def test_commands_ask_a_daemon_by_its_address_and_a_token(
    far: TcpWorld, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert main(["submit", "--quiet", "--workdir", "/", "--", "/bin/true"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "1"  # behind the line of the server in this process
    assert far.store.kept[1].user == "41001"
    assert main(["hold", "1"]) == 0
    assert far.store.kept[1].held
    assert main(["drain"]) == 4
    assert main(["web", "--print"]) == 4
    assert "without GREENRUN_URL" in capsys.readouterr().err
    (tmp_path / "token").write_text("greenrun_another")
    assert main(["list"]) == 4
    monkeypatch.setenv("SSL_CERT_FILE", "/dev/null")
    assert main(["list"]) == 5
    assert "self-signed certificate" in capsys.readouterr().err.replace("self signed", "self-signed")


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://gpu1:9754", "whoever is between could read the token"), ("gpu1:9754", "is not like https://"),
        ("https://", "is not like https://"), ("https://ada@gpu1:9754", "is not like https://"),
        ("https://gpu1:x", "is no address"), ("https://gpu1:9754/v1", "is not like https://"),
    ],
)  # fmt: skip
def test_an_address_that_would_tell_the_token_to_others_is_refused(
    far: TcpWorld, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, url: str, said: str
) -> None:
    monkeypatch.setenv("GREENRUN_URL", url)
    assert main(["list"]) == 78
    assert said in capsys.readouterr().err


def test_a_token_that_everybody_may_read_is_not_sent(
    far: TcpWorld, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "token").chmod(0o644)
    assert main(["list"]) == 78
    assert "everybody on this machine may read the token" in capsys.readouterr().err
    monkeypatch.delenv("GREENRUN_TOKEN_FILE")
    assert main(["list"]) == 78
    assert "GREENRUN_TOKEN_FILE is not" in capsys.readouterr().err
