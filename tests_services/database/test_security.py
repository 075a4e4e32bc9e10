"""What holds of security beside a file holds with PostgreSQL."""

from tests.serve.test_security import *  # noqa: F403
