"""What holds of studies beside a file holds with PostgreSQL."""

from tests.serve.test_studies import *  # noqa: F403
