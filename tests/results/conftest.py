import pytest

from tests.results.runs import experiment


@pytest.fixture(scope="session")
def reference(tmp_path_factory):
    """A run from start to end; leave it as you found it."""
    path = tmp_path_factory.mktemp("reference") / "name" / "run"
    experiment(path)
    return path
