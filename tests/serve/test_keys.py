"""Keys: 401 everywhere but liveness, at the controller and at its workers; who may register."""

import httpx
import pytest
from fastapi.testclient import TestClient

from depictqa.errors import InputError
from depictqa.serve.controller import ORDERS, Controller, build_app
from depictqa.serve.keys import bearer, read_keys
from depictqa.serve.protocol import WorkerInfo
from processes import GIVE_UP_SECONDS
from tests.serve.stack import PICTURE, QUESTION, Stack, get, until

KEYS, SECRET = ("key-one", "key-two"), ("the-secret",)
WORKER = {"name": "Tiny", "url": "http://127.0.0.1:1"}


def routes(app) -> list[tuple[str, str]]:
    """Every (method, path) of an app, those of the documentation included."""
    return sorted((method, route.path) for route in app.routes for method in getattr(route, "methods", ()))


def new_app(**settings):
    return build_app(Controller(ORDERS["shortest_queue"], 60, secret=SECRET), KEYS, SECRET, **settings)


ROUTES = [(method, path) for method, path in routes(new_app()) if path != "/health"]


def test_all_routes_are_known():
    paths = {path for _, path in ROUTES}
    assert paths >= {
        "/v1/assess",
        "/v1/chat/completions",
        "/v1/models",
        "/v1/score",
        "/status",
        "/metrics",
        "/workers",
        "/assess",
        "/docs",
        "/openapi.json",
    }


@pytest.mark.parametrize(("method", "path"), ROUTES)
@pytest.mark.parametrize(
    "header", [None, "", "Bearer", "Bearer wrong", "Bearer key-on", "Basic key-one", "key-one", "Bearer key-one2"]
)
def test_every_route_wants_a_right_key(method, path, header):
    headers = {} if header is None else {"authorization": header}
    with TestClient(new_app()) as client:
        response = client.request(method, path, headers=headers, content=b"x" * 1000)
    assert response.status_code == 401 and response.headers["www-authenticate"] == "Bearer"
    if method != "HEAD":
        error = response.json()["error"]
        assert error["code"] == "invalid_key" and "Authorization: Bearer KEY" in error["message"]


@pytest.mark.parametrize("key", KEYS)
def test_any_of_the_keys_will_do_but_not_for_the_routes_of_workers(key):
    with TestClient(new_app()) as client:
        headers = {"authorization": f"Bearer {key}"}
        assert client.get("/status", headers=headers).json() == {"workers": []}
        assert client.get("/metrics", headers=headers).status_code == 200
        assert client.post("/workers", headers=headers, json=WORKER).status_code == 401
        assert client.post("/workers", headers=bearer(SECRET), json=WORKER).status_code == 200
        assert client.get("/status", headers=bearer(SECRET)).status_code == 401
        assert client.delete("/workers", headers=headers).status_code == 401


def test_liveness_is_open_and_without_keys_so_is_all():
    with TestClient(new_app()) as client:
        assert client.get("/health").json() == {"ok": True}
    with TestClient(build_app(Controller(ORDERS["lottery"], 60))) as client:
        assert client.get("/status").status_code == 200 and client.post("/workers", json=WORKER).status_code == 200


@pytest.mark.parametrize(
    "url",
    ["http://10.0.0.1:80", "http://169.254.169.254/latest", "http://127.0.0.1.evil.org", "http://user@evil.org:1"],
)
def test_workers_register_from_allowed_hosts_only(url):
    with TestClient(build_app(Controller(ORDERS["lottery"], 60))) as client:
        response = client.post("/workers", json=WORKER | {"url": url})
        assert response.status_code == 403 and "no worker is allowed on" in response.json()["error"]["message"]
        assert client.get("/status").json() == {"workers": []}
    controller = Controller(ORDERS["lottery"], 60, worker_hosts=["gpu1"])
    controller.register(WorkerInfo(name="Tiny", url="http://gpu1:22222"))
    assert controller.models() == ["Tiny"]


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "gopher://127.0.0.1",
        "http://",
        "127.0.0.1:80",
        "http://127.0.0.1?x=1",
        "http://127.0.0.1#x",
        "http://a b",
        "http://[",
        "http://127.0.0.1:99999",
        "http://127.0.0.1:x",
    ],
)
def test_what_is_no_address_is_no_worker(url):
    with TestClient(build_app(Controller(ORDERS["lottery"], 60))) as client:
        assert client.post("/workers", json=WORKER | {"url": url}).status_code in (400, 403)


def test_other_origins_are_refused_unless_named():
    preflight = {"origin": "https://my.org", "access-control-request-method": "POST"}
    with TestClient(build_app(Controller(ORDERS["lottery"], 60))) as client:
        assert "access-control-allow-origin" not in client.options("/v1/assess", headers=preflight).headers
    with TestClient(new_app(cors_origins=["https://my.org"])) as client:
        assert (
            client.options("/v1/assess", headers=preflight).headers["access-control-allow-origin"] == "https://my.org"
        )
        evil = client.options("/v1/assess", headers=preflight | {"origin": "https://evil.org"})
        assert "access-control-allow-origin" not in evil.headers
        assert client.get("/status", headers={"origin": "https://my.org"}).status_code == 401


def test_files_of_keys(tmp_path):
    (tmp_path / "keys").write_text("# ours\nkey-one\n\n  key-two  \n")
    assert read_keys(str(tmp_path / "keys"), "controller.keys_file") == KEYS
    assert read_keys(None, "x") == () and bearer(()) == {} and bearer(KEYS) == {"authorization": "Bearer key-one"}
    for text in ("", "# none\n", "two words\n", "schlüssel\n"):
        (tmp_path / "keys").write_text(text)
        with pytest.raises(
            InputError, match="controller.keys_file: .*keys: expected keys of letters, digits and signs, one a line"
        ):
            read_keys(str(tmp_path / "keys"), "controller.keys_file")
    with pytest.raises(InputError, match="secret_file: .*none: cannot be read"):
        read_keys(str(tmp_path / "none"), "secret_file")


@pytest.mark.slow
def test_a_stack_with_keys(tmp_path):
    """Controller and worker as processes: the worker takes the secret only, the secret lets it register."""
    stack = Stack(tmp_path)
    (tmp_path / "keys").write_text("key-one\n")
    (tmp_path / "secret").write_text("the-secret\n")
    stack.settings = {"secret_file": str(tmp_path / "secret"), "controller": {"keys_file": str(tmp_path / "keys")}}
    shown = {"authorization": "Bearer key-one"}
    try:
        stack.start_controller()
        path, url = stack.start_worker(wait=False)
        until(lambda: get(f"{stack.url}/v1/models", shown).get("data"))
        files, fields = {"a": ("a", PICTURE)}, {"question": QUESTION, "max_tokens": "4"}
        assert (
            httpx.post(
                f"{stack.url}/v1/assess", data=fields, files=files, trust_env=False, timeout=GIVE_UP_SECONDS
            ).status_code
            == 401
        )
        assert (
            httpx.post(
                f"{stack.url}/v1/assess",
                data=fields,
                files=files,
                headers=shown,
                trust_env=False,
                timeout=GIVE_UP_SECONDS,
            ).status_code
            == 200
        )
        for headers in {}, shown:
            assert (
                httpx.post(
                    f"{url}/assess", data=fields, files=files, headers=headers, trust_env=False, timeout=GIVE_UP_SECONDS
                ).status_code
                == 401
            )
            assert (
                httpx.get(f"{url}/status", headers=headers, trust_env=False, timeout=GIVE_UP_SECONDS).status_code == 401
            )
        assert httpx.get(f"{url}/health", trust_env=False, timeout=GIVE_UP_SECONDS).status_code == 200
        assert (
            httpx.get(f"{url}/status", headers=bearer(SECRET), trust_env=False, timeout=GIVE_UP_SECONDS).status_code
            == 200
        )
    finally:
        stack.close()
