"""Every key is found on its line, however TOML lets it be written."""

import pytest

from training_job.toml_text import line_of

TEXT = """\
# a job
name = "x"                       # 2
"quoted.name" = 1
a.b = 1
'single' = 2
text = \"\"\"
name = "not here"
[inputs]
\"\"\"
literal = '''
other = 'not here' '''           # 11
list = [
    ["nested"],
    ["last"]                     # looks like a table
]
[hyperparameters]                # 16
epochs = 3
"lr.rate" = 0.1
inline = { a = 1, b = 2 }
pattern = 'val: ([0-9.]+) # "'   # 20
[ inputs . train ]
uri = "x"
[[metric_definitions]]           # 23
name = "a"
[[metric_definitions]]
name = "b"                       # 26
[local.file_systems."a b"]
path = "p"
"""


@pytest.mark.parametrize(
    ("key", "line"),
    [
        (("name",), 2),
        (("quoted.name",), 3),
        (("a", "b"), 4),
        (("a",), 4),
        (("single",), 5),
        (("text",), 6),
        (("literal",), 10),
        (("list",), 12),
        (("hyperparameters",), 16),
        (("hyperparameters", "epochs"), 17),
        (("hyperparameters", "lr.rate"), 18),
        (("hyperparameters", "inline"), 19),
        (("hyperparameters", "pattern"), 20),
        (("inputs", "train"), 21),
        (("inputs", "train", "uri"), 22),
        (("inputs",), 21),
        (("metric_definitions", 0, "name"), 24),
        (("metric_definitions", 1), 25),
        (("metric_definitions", 1, "name"), 26),
        (("local", "file_systems", "a b", "path"), 28),
    ],
)
def test_a_key_is_found_on_its_line(key: tuple[str | int, ...], line: int) -> None:
    assert line_of(TEXT, key) == line


@pytest.mark.parametrize(
    ("key", "line"),
    [
        (("hyperparameters", "missing"), 16),
        (("hyperparameters", "inline", "a"), 19),
        (("metric_definitions", 1, "regex"), 25),
        (("missing",), None),
        (("other",), None),
        ((), None),
    ],
)
def test_a_key_that_is_not_written_is_told_by_the_nearest_table(key: tuple[str | int, ...], line: int | None) -> None:
    assert line_of(TEXT, key) == line


def test_windows_line_ends_count_as_one() -> None:
    assert line_of('a = 1\r\n[b]\r\nc = "\u2028"\r\nd = 2\r\n', ("b", "d")) == 4
