"""A thousand requests that are made up from the API's own description: no answer is a failure of the server."""

import json

import pytest
import requests
import schemathesis
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings

from depictqa.serve.controller import ORDERS, Controller, build_app
from depictqa.serve.protocol import WorkerInfo
from tests.serve.test_controllers import DONE, FakeWorker, http_200

EXAMPLES = 120  # of each route


def new_app() -> tuple:
    controller = Controller(ORDERS["lottery"], 3600)
    return controller, build_app(controller)


SCORED = {"score": 3.5, "score_std": 0.5, "levels": {"good": 0.5, "fair": 0.5}}
DONE_AND_SCORED = json.dumps(json.loads(DONE) | {"scored": SCORED}).encode()
OPERATIONS = {
    result.ok().label: result.ok()
    for result in schemathesis.openapi.from_dict(new_app()[1].openapi()).get_all_operations()
}


def test_the_description_has_every_route():
    paths = {label.split()[1] for label in OPERATIONS}
    assert paths == {
        "/health",
        "/status",
        "/metrics",
        "/workers",
        "/assess",
        "/v1/models",
        "/v1/assess",
        "/v1/score",
        "/v1/chat/completions",
    }


@pytest.mark.slow
@pytest.mark.parametrize("label", OPERATIONS)
def test_made_up_requests(label):
    """With a worker that answers at once."""
    controller, app = new_app()
    with FakeWorker(http_200(DONE_AND_SCORED)) as worker, TestClient(app) as client:

        @given(case=OPERATIONS[label].as_strategy())
        @settings(
            max_examples=EXAMPLES,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            derandomize=True,
            database=None,
        )
        def send(case):
            controller.register(WorkerInfo(name="Tiny", url=worker.url))
            made_up = requests.Request(**case.as_transport_kwargs(base_url="http://testserver")).prepare()
            response = client.request(made_up.method, made_up.url, headers=made_up.headers, content=made_up.body)
            assert response.status_code < 500, response.text
            if response.status_code >= 400:
                message = response.json()["error"]["message"]
                assert message and "\n" not in message and "Traceback" not in message
            if label.endswith("/workers"):
                assert all(entry.info.url.startswith("http") for entry in controller.workers())

        send()
