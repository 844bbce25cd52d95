"""What the tests of the servers share."""

import pytest

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
