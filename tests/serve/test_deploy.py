"""The files of docs/deploy: they load, and name what is there."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from depictqa.config import load_serve_config

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "docs" / "deploy"
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())


@pytest.fixture
def serve(tmp_path):
    """The parts' serve.yaml as it loads in the place where compose.yaml puts it."""
    (tmp_path / "_base_").mkdir()
    (tmp_path / "Nano").mkdir()
    shutil.copy(ROOT / "experiments/_base_/serve.yaml", tmp_path / "_base_")
    shutil.copy(DEPLOY / "serve.yaml", tmp_path / "Nano")
    return load_serve_config(tmp_path / "Nano/serve.yaml")


def test_parts_reach_each_other_by_the_names_of_their_services(serve):
    services = set(COMPOSE["services"])
    assert services == {"controller", "worker", "page"}
    for url, port in (
        (serve.gradio.controller_url, serve.controller.port),
        (serve.worker.controller, serve.controller.port),
        (serve.worker.worker_url, serve.worker.port),
    ):
        host, found = url.removeprefix("http://").split(":")
        assert host in services and int(found) == port
    assert serve.controller.worker_hosts == ["worker"]
    assert {serve.controller.host, serve.gradio.host, serve.worker.host} == {"0.0.0.0"}


def test_keys_are_the_secrets_that_the_services_get(serve):
    given = {f"/run/secrets/{name}" for name in COMPOSE["secrets"]}
    assert {serve.controller.keys_file, serve.gradio.key_file, serve.secret_file} == given
    for service in COMPOSE["services"].values():
        assert set(service["secrets"]) == set(COMPOSE["secrets"])
        assert (ROOT / "experiments/Nano" / service["command"].split()[1]).exists()


def test_only_this_machine_sees_the_published_ports(serve):
    published = [port for service in COMPOSE["services"].values() for port in service.get("ports", ())]
    assert published == [f"127.0.0.1:{port}:{port}" for port in (serve.controller.port, serve.gradio.port)]


def test_the_unit_starts_the_scripts(serve):
    unit = (DEPLOY / "depictqa@.service").read_text()
    for part in re.search(r"enable --now (.*)", unit)[1].split():
        assert (ROOT / f"experiments/Nano/launch_{part.removeprefix('depictqa@')}.sh").exists()
    assert int(re.search(r"TimeoutStopSec=(\d+)", unit)[1]) > 30  # what the parts take at most


def test_nginx_lets_through_what_the_server_takes(serve):
    from depictqa.serve.protocol import MAX_BODY_BYTES

    text = (DEPLOY / "nginx.conf").read_text()
    assert int(re.search(r"client_max_body_size (\d+)m", text)[1]) * 2**20 > MAX_BODY_BYTES
    assert text.count("{") == text.count("}")


def compose_command() -> list[str] | None:
    """docker compose, or docker-compose, where one of them works."""
    for command in ["docker", "compose"], ["docker-compose"]:
        if shutil.which(command[0]) and subprocess.run([*command, "version"], capture_output=True).returncode == 0:
            return command
    return None


@pytest.mark.slow
def test_compose_accepts_the_file(tmp_path):
    if not (command := compose_command()):
        pytest.skip("no docker compose here")
    (tmp_path / "docs/deploy").mkdir(parents=True)
    (tmp_path / "secrets").mkdir()
    shutil.copy(DEPLOY / "compose.yaml", tmp_path / "docs/deploy")
    for name in "keys", "worker":
        (tmp_path / "secrets" / name).write_text("key\n")
    done = subprocess.run(
        [*command, "-f", tmp_path / "docs/deploy/compose.yaml", "config"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert set(yaml.safe_load(done.stdout)["services"]) == set(COMPOSE["services"])
