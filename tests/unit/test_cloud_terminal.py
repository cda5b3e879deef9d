"""What a person is asked while a job in the cloud is followed."""

import io
import signal

import pytest

from cloud.aws_errors import CredentialsExpired
from cloud.terminal import Terminal
from training_job.errors import Left

PROBLEM = CredentialsExpired("the AWS credentials have expired. Sign in: aws sso login")


def test_expired_credentials_are_asked_for(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("\n"))

    Terminal("job-1", interactive=True).renewed(PROBLEM)

    assert "aws sso login.\nThen press Enter to go on; l leaves the job running: " in capsys.readouterr().err


def test_who_has_none_may_leave_the_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("l\n"))

    with pytest.raises(Left, match=r"left job-1\. The job goes on"):
        Terminal("job-1", interactive=True).renewed(PROBLEM)


def test_without_a_terminal_nobody_is_asked() -> None:
    with pytest.raises(CredentialsExpired, match="homeport-cloud logs job-1 --follow"):
        Terminal("job-1", interactive=False).renewed(PROBLEM)


def test_a_second_ctrl_c_leaves_at_once_and_the_signal_is_given_back() -> None:
    before = signal.getsignal(signal.SIGINT)

    with Terminal("job-1", interactive=True):
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(Left):
            signal.raise_signal(signal.SIGINT)

    assert signal.getsignal(signal.SIGINT) is before
