"""No test touches the store of whoever runs it, nor needs to know who that is."""

from collections.abc import Iterator

import pytest

from tests.capabilities import anybody


@pytest.fixture(scope="session", autouse=True)
def _a_store_of_the_tests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        state = tmp_path_factory.mktemp("state")
        patch.setenv("HOMEPORT_STATE", str(state))
        # For those who take every HOMEPORT_… variable away.
        patch.setenv("XDG_STATE_HOME", str(state))
        yield


@pytest.fixture
def as_anybody() -> Iterator[None]:
    """Files' modes bind the test, whoever runs it."""
    with anybody():
        yield
