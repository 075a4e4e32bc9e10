"""What holds of names beside a file holds with PostgreSQL."""

from tests.serve.test_names import *  # noqa: F403
