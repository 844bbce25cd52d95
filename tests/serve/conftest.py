"""What the tests of the servers share."""

import pytest

from tests.serve import promises
from tests.serve.stack import Stack


@pytest.fixture
def own_stack(tmp_path):
    """A controller, for tests that break things."""
    stack = Stack(tmp_path)
    try:
        stack.start_controller()
        yield stack
    finally:
        stack.close()


def pytest_terminal_summary(terminalreporter):
    if lines := promises.table():
        terminalreporter.section("promises of the server, measured")
        terminalreporter.write_line("\n".join(lines))
