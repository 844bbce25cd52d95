"""Variables of the environment that cannot be used: one line with the name, or no harm."""

import gc
import os
import sys

import pytest

from depictqa import environment
from depictqa.environment import (
    check_key_log,
    check_outside,
    check_temporary_folder,
    importing_torch,
    prepare_page,
    resting_collector,
)
from depictqa.errors import InputError

NAMES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR", "SSLKEYLOGFILE")


@pytest.fixture(autouse=True)
def variables(monkeypatch, tmp_path):
    """An environment of its own, in which nothing of ours is set."""
    for name in [name for name in os.environ if name.upper() in NAMES or name.startswith("GRADIO_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "gradio"))
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.mark.parametrize("name", ["HTTP_PROXY", "https_proxy", "all_proxy", "ALL_PROXY"])
@pytest.mark.parametrize(
    "value", ["ftp://a:1", "http://", "http://a:port", "http://[::1", "http://a:99999", "http://a b:1"]
)
def test_a_proxy_that_is_none_is_named(name, value, monkeypatch):
    monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=f"^{name}: not the address of a proxy; expected http://"):
        check_outside()


def test_a_message_holds_no_password(monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "ftp://user:secret@proxy:1")
    with pytest.raises(InputError) as error:
        check_outside()
    assert "secret" not in str(error.value)


@pytest.mark.parametrize("value", ["http://proxy:3128", "proxy:3128", "http://user:word@proxy:3128/"])
def test_a_proxy_that_can_be_used(value, monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", value)
    check_outside()


def test_socks_without_its_package(monkeypatch):
    monkeypatch.setattr(environment.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setenv("ALL_PROXY", "socks5://proxy:1080")
    with pytest.raises(InputError, match="^ALL_PROXY: a socks5:// proxy needs the package socksio"):
        check_outside()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("SSL_CERT_FILE", "no certificates can be read .No such file"),
        ("SSL_CERT_DIR", "no such folder"),
        ("SSLKEYLOGFILE", "cannot be written .No such file"),
    ],
)
def test_certificates_that_are_nowhere(name, message, monkeypatch, tmp_path):
    monkeypatch.setenv(name, str(tmp_path / "absent" / "file"))
    with pytest.raises(InputError, match=f"^{name}=.*absent/file: {message}"):
        check_outside()


def test_a_file_without_certificates(monkeypatch, tmp_path):
    (tmp_path / "empty.pem").write_text("")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "empty.pem"))
    with pytest.raises(InputError, match="^SSL_CERT_FILE=.*empty.pem: no certificates can be read"):
        check_outside()


@pytest.mark.parametrize("name", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_variables_that_nothing_of_ours_reads(name, monkeypatch):
    monkeypatch.setenv(name, "/nowhere")
    check_outside()


def test_the_page_needs_no_proxy_and_no_certificate(monkeypatch):
    for name in ("http_proxy", "ALL_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.setenv(name, "socks5://nowhere:port")
    prepare_page("127.0.0.1", asks_outside=False)
    assert not {"http_proxy", "ALL_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR"} & set(os.environ)


def test_a_page_that_moderates_asks_this_machine_directly(monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy:3128")
    monkeypatch.setenv("NO_PROXY", "example.org")
    prepare_page("127.0.0.1", asks_outside=True)
    assert os.environ["HTTPS_PROXY"] == "http://proxy:3128"
    assert os.environ["no_proxy"] == os.environ["NO_PROXY"] == "example.org,localhost,127.0.0.1,::1"


def test_settings_of_gradio_come_from_serve_yaml(monkeypatch):
    for name in ("GRADIO_SHARE", "GRADIO_NUM_WORKERS", "GRADIO_DEBUG", "GRADIO_ALLOWED_PATHS", "GRADIO_SERVER_PORT"):
        monkeypatch.setenv(name, "true")
    monkeypatch.setenv("GRADIO_ROOT_PATH", "/demo")
    prepare_page("127.0.0.1", asks_outside=False)
    left = {name for name in os.environ if name.startswith("GRADIO_") and "ANALYTICS" not in name}
    assert left == {"GRADIO_ROOT_PATH", "GRADIO_TEMP_DIR"}


def test_a_folder_that_the_page_cannot_write_to(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "file" / "uploads"))
    with pytest.raises(InputError, match="^GRADIO_TEMP_DIR: .*file/uploads cannot be written to .Not a directory"):
        prepare_page("127.0.0.1", asks_outside=False)


def test_no_temporary_folder_at_all(monkeypatch):
    monkeypatch.setattr(environment.tempfile, "tempdir", None)
    monkeypatch.setattr(environment.tempfile, "_candidate_tempdir_list", lambda: ["/nowhere"])
    with pytest.raises(InputError, match="^TMPDIR: no temporary folder can be written to"):
        check_temporary_folder()


def test_a_log_of_keys_that_can_be_written(monkeypatch, tmp_path):
    monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "keys.log"))
    check_key_log()


@pytest.fixture
def before_torch(monkeypatch):
    """A process that has not loaded torch, with nothing said about threads that wait."""
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    for name in environment.WAITING:
        monkeypatch.delenv(name, raising=False)


@pytest.mark.usefixtures("before_torch")
def test_threads_that_wait_spin_only_briefly(monkeypatch):
    monkeypatch.setenv("GOMP_SPINCOUNT", "")  # so that it is unset again after the test
    del os.environ["GOMP_SPINCOUNT"]
    with importing_torch():
        assert os.environ["GOMP_SPINCOUNT"] == "1000"


@pytest.mark.usefixtures("before_torch")
@pytest.mark.parametrize(("name", "value"), [("OMP_WAIT_POLICY", "ACTIVE"), ("GOMP_SPINCOUNT", "5")])
def test_how_threads_wait_is_the_users_choice(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    with importing_torch():
        assert {one: os.environ.get(one) for one in environment.WAITING if one in os.environ} == {name: value}


@pytest.mark.usefixtures("before_torch")
def test_the_collector_rests_during_imports_also_failing_ones(monkeypatch):
    monkeypatch.setenv("GOMP_SPINCOUNT", "5")
    with pytest.raises(ImportError), importing_torch():
        assert not gc.isenabled()
        raise ImportError
    assert gc.isenabled() and gc.get_freeze_count() > 0


@pytest.mark.parametrize("is_on", [True, False])
def test_the_collector_is_afterwards_as_it_was(is_on):
    (gc.enable if is_on else gc.disable)()
    try:
        with pytest.raises(ValueError), resting_collector():
            assert not gc.isenabled()
            raise ValueError
        assert gc.isenabled() == is_on
    finally:
        gc.enable()


def test_a_process_that_has_torch_is_left_as_it_is(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", sys)
    before = dict(os.environ)
    with importing_torch():
        assert gc.isenabled()
    assert os.environ == before
