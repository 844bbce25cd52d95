"""Figures of a server for Prometheus: requests by route and status, their seconds, those in work."""

import time

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from starlette.responses import Response

SECONDS = (0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    """The figures of one process, and a place for more (`registry`)."""

    def __init__(self):
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "depictqa_requests", "Requests that have ended.", ["route", "status"], registry=self.registry
        )
        self.seconds = Histogram(
            "depictqa_request_seconds",
            "From a request to the end of its answer.",
            ["route"],
            buckets=SECONDS,
            registry=self.registry,
        )
        self.in_work = Gauge("depictqa_requests_in_work", "Requests in work.", registry=self.registry)

    def gauge(self, name: str, help: str, labels: tuple[str, ...] = ()) -> Gauge:
        return Gauge(f"depictqa_{name}", help, labels, registry=self.registry)

    def response(self) -> Response:
        """Everything in the text format of Prometheus."""
        return Response(generate_latest(self.registry), media_type=CONTENT_TYPE_PLAIN_0_0_4)


class Measured:
    """ASGI middleware: counts what passes. Routes are counted by their pattern, unknown ones as one."""

    def __init__(self, app, metrics: Metrics):
        self.app, self.metrics = app, metrics

    async def __call__(self, scope, receive, send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        status, began = 0, time.monotonic()

        async def watched(message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        self.metrics.in_work.inc()
        try:
            await self.app(scope, receive, watched)
        finally:
            self.metrics.in_work.dec()
            route = getattr(scope.get("route"), "path", "other")
            self.metrics.requests.labels(route, status).inc()
            self.metrics.seconds.labels(route).observe(time.monotonic() - began)
