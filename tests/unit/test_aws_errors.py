"""What botocore raises, in words."""

import pytest
from botocore.parsers import ResponseParserError

from cloud.aws_errors import is_passing, told
from training_job.errors import AccountCannot


def test_a_page_that_is_no_answer_is_waited_out_and_told_in_a_line() -> None:
    error = ResponseParserError("Unable to parse response (syntax error: line 1), invalid XML received:\nb'<html>…'")

    with (
        pytest.raises(
            AccountCannot, match=r"describing stack x: AWS does not answer in us-west-2: Unable to"
        ) as refused,
        told("describing stack x", "us-west-2"),
    ):
        raise error

    assert is_passing(error)
    assert "\n" not in str(refused.value)
