"""What a channel holds, from what a bucket lists or a manifest names."""

import json
from collections import Counter

import pytest

from local_mode.inputs.listing import (
    Attribute,
    Entry,
    ListingRefused,
    Manifest,
    laid_out,
    read_augmented,
    read_manifest,
    share,
    shuffled,
    sibling_manifest,
    under_prefix,
)
from local_mode.object_store import S3Object
from training_job.s3_uri import S3Uri


def _object(key: str) -> S3Object:
    return S3Object(key, 7, f"tag of {key}")


def _paths(prefix: str, *keys: str) -> dict[str, str]:
    return {entry.object.key: entry.path for entry in under_prefix(prefix, map(_object, keys))}


def _reasons(prefix: str, *keys: str) -> tuple[str, ...]:
    with pytest.raises(ListingRefused) as refused:
        under_prefix(prefix, map(_object, keys))
    return refused.value.reasons


@pytest.mark.parametrize(
    ("prefix", "key", "path"),
    [
        ("train/", "train/a", "a"),
        ("train/", "train/a/b/c", "a/b/c"),
        ("train", "train/a/b", "a/b"),
        ("train", "train-01/a", "-01/a"),
        ("train", "train.csv", ".csv"),
        ("", "train/a", "train/a"),
        ("train/a.csv", "train/a.csv", "a.csv"),
        ("a.csv", "a.csv", "a.csv"),
        ("train/tr", "train/train/x", "ain/x"),
        ("train/", "train/ a\n%20#é", " a\n%20#é"),
    ],
)
def test_a_keys_part_after_the_prefix_is_its_path(prefix: str, key: str, path: str) -> None:
    assert _paths(prefix, key) == {key: path}


def test_all_that_begins_alike_is_in_the_channel() -> None:
    assert _paths("train", "train", "train.csv", "train/a", "train-01/b") == {
        "train": "train",
        "train.csv": ".csv",
        "train/a": "a",
        "train-01/b": "-01/b",
    }


@pytest.mark.parametrize(
    ("key", "why"),
    [
        ("p/a//b", "key 'p/a//b' holds an empty part, . or ..: no file of a channel can"),
        ("p//a", "key 'p//a' begins with / after the prefix: no file of a channel can"),
        ("p/../a", "key 'p/../a' holds an empty part, . or ..: no file of a channel can"),
        ("p/a/..", "key 'p/a/..' holds an empty part, . or ..: no file of a channel can"),
        ("p/./a", "key 'p/./a' holds an empty part, . or ..: no file of a channel can"),
        ("p/a/", "key 'p/a/' holds an empty part, . or ..: no file of a channel can"),
        ("p/a\0b", "key 'p/a\\x00b' holds a NUL"),
        ("p/a\ud800b", "key 'p/a\\ud800b' holds half a character, which UTF-8 cannot say"),
    ],
)
def test_a_key_that_no_file_can_have_is_refused(key: str, why: str) -> None:
    assert _reasons("p/", "p/good", key) == (why,)


@pytest.mark.parametrize("name", ["n" * 300, "n" * 256, "é" * 128])
def test_a_name_that_is_too_long_is_refused(name: str) -> None:
    (reason,) = _reasons("p/", f"p/{name}")

    assert reason == f"key 'p/{name}' has a part of over 255 bytes, the most that a file name holds"


def test_a_path_that_is_too_long_is_refused() -> None:
    (reason,) = _reasons("p/", f"p/{'/'.join(['n' * 200] * 21)}")

    assert reason.endswith("is over 4013 bytes long, the most that a path holds")


def test_the_longest_names_are_taken() -> None:
    assert len(_paths("p/", f"p/{'n' * 255}", f"p/{'é' * 127}", f"p/{'/'.join(['n' * 200] * 19)}")) == 3


def test_every_reason_is_told_at_once() -> None:
    assert _reasons("p", "p//a", "p/b", "p/b/c", "pb", "p/x/..") == (
        "key 'p//a' begins with / after the prefix: no file of a channel can",
        "keys 'p/b' and 'pb' are both 'b' in the channel",
        "key 'p/x/..' holds an empty part, . or ..: no file of a channel can",
        "key 'p/b' is a file where 'p/b/c' needs a folder",
    )


def test_a_file_cannot_be_a_folder_too() -> None:
    assert _reasons("p/", "p/a", "p/a/b/c", "p/d/e", "p/d/e/f") == (
        "key 'p/a' is a file where 'p/a/b/c' needs a folder",
        "key 'p/d/e' is a file where 'p/d/e/f' needs a folder",
    )


def test_a_key_and_the_same_with_a_slash_are_refused() -> None:
    both = [S3Object("p/d/x", 1, "one"), S3Object("p/d/x", 2, "two")]

    with pytest.raises(ListingRefused) as refused:
        under_prefix("p/", both)

    assert refused.value.reasons == ("keys 'p/d/x' and 'p/d/x/' differ only in a trailing slash",)
    assert str(refused.value) == refused.value.reasons[0]


def test_an_object_that_is_named_twice_is_one_file() -> None:
    entry = Entry("a", _object("p/a"))

    assert laid_out([entry, entry]) == [entry]


def test_two_objects_cannot_have_one_path() -> None:
    with pytest.raises(ListingRefused, match="keys 'p/a' and 'q/a' are both 'a' in the channel"):
        laid_out([Entry("a", _object("p/a")), Entry("a", _object("q/a"))])


def test_an_empty_channel_is_one() -> None:
    assert under_prefix("p/", []) == []


@pytest.mark.parametrize(("items", "count"), [(10, 3), (2, 5), (0, 2), (7, 1)])
def test_each_object_goes_to_exactly_one_host(items: int, count: int) -> None:
    shares = [share(range(items), number, count) for number in range(count)]

    assert Counter(item for part in shares for item in part) == Counter(range(items))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_an_order_is_the_same_for_a_seed_and_an_epoch_and_no_other() -> None:
    items = list(range(50))

    orders = {(seed, epoch): tuple(shuffled(items, seed, epoch)) for seed in (0, 1) for epoch in (0, 1)}

    assert len({*orders.values()}) == 4
    assert all(sorted(order) == items for order in orders.values())
    assert shuffled(items, 1, 1) == list(orders[1, 1])
    assert shuffled(items, None, 5) == items == list(range(50))


@pytest.mark.parametrize(
    "text",
    [
        '[{"prefix": "s3://b/p/"}, "x", "y/z"]',
        '\n[\n  {"prefix":"s3://b/p/"}\n,\n"x" ,\t"y/z"\r\n]\n',
    ],
)
def test_a_manifest_is_a_prefix_and_names(text: str) -> None:
    assert read_manifest(text) == Manifest(S3Uri("b", "p/"), ("x", "y/z"))


def test_a_manifest_may_name_nothing() -> None:
    assert read_manifest('[{"prefix": "s3://b/p/"}]') == Manifest(S3Uri("b", "p/"), ())


@pytest.mark.parametrize(
    ("text", "reasons"),
    [
        ("", ("line 1: is no JSON: Expecting value",)),
        ('[\n"x",\n]', ("line 3: is no JSON: Expecting value",)),
        ("{}", ("line 1: must be a JSON array",)),
        ('"x"', ("line 1: must be a JSON array",)),
        ("[]", ('line 1: must begin with {"prefix": "s3://…"}, and is empty',)),
        ('\n["x"]', ('line 2: must be {"prefix": "s3://…"}, not "x"',)),
        ('[{"prefix": 5}]', ('line 1: must be {"prefix": "s3://…"}, not {"prefix": 5}',)),
        (
            '[{"prefix": "s3://b/", "more": 1}]',
            ('line 1: must be {"prefix": "s3://…"}, not {"prefix": "s3://b/", "more": 1}',),
        ),
        ('[{"prefix": "https://b/"}]', ("line 1: 'https://b/' must be s3://bucket/key",)),
        (
            '[{"prefix": "s3://b/"},\n5,\n"x",\n\n{"a": ["b"]}, ""]',
            (
                "line 2: must be a key's text, not 5",
                'line 5: must be a key\'s text, not {"a": ["b"]}',
                'line 5: must be a key\'s text, not ""',
            ),
        ),
        (
            "[" * 100_000,
            (
                "line 1: cannot be read: maximum recursion depth exceeded while decoding a JSON array"
                " from a unicode string",
            ),
        ),
    ],
)
def test_a_manifest_that_is_none_is_told_by_line(text: str, reasons: tuple[str, ...]) -> None:
    with pytest.raises(ListingRefused) as refused:
        read_manifest(text)

    assert refused.value.reasons == reasons


def test_a_number_too_long_to_be_read_is_told() -> None:
    with pytest.raises(ListingRefused, match="line 1: cannot be read: Exceeds the limit"):
        read_manifest(f"[{'9' * 5000}]")


def test_names_keep_what_json_says_of_their_characters() -> None:
    assert read_manifest('[{"prefix": "s3://b/"}, "caf\\u00e9, [\\"x\\"]", "日本語"]').names == (
        'café, ["x"]',
        "日本語",
    )


def test_each_line_of_an_augmented_manifest_is_its_attributes_in_the_order_asked() -> None:
    lines = [
        '{"source-ref": "s3://b/images/1.jpg", "class": 0, "name": "cat", "box": {"x": [1, 2.5]}, "more": null}',
        "",
        '{"name": "line\\u2028in a \u2028 name", "class": true, "box": null, "source-ref": "s3://b/2.jpg"}\r',
    ]

    assert read_augmented("\n".join(lines), ["name", "source-ref", "class", "box"]) == [
        (
            Attribute(text="cat"),
            Attribute(reference=S3Uri("b", "images/1.jpg")),
            Attribute(text="0"),
            Attribute(text='{"x":[1,2.5]}'),
        ),
        (
            Attribute(text="line\u2028in a \u2028 name"),
            Attribute(reference=S3Uri("b", "2.jpg")),
            Attribute(text="true"),
            Attribute(text="null"),
        ),
    ]


def test_every_bad_line_of_an_augmented_manifest_is_told() -> None:
    lines = [
        '{"source-ref": "s3://b/1.jpg", "class": 1}',
        '{"source-ref": "s3://b/1.jpg"',
        '["a"]',
        '{"class": 1}',
        '{"source-ref": "images/1.jpg", "class": 1}',
        '{"source-ref": 5, "class": 1}',
        '{"source-ref": "s3://b", "class": 1}',
        "[" * 100_000,
    ]

    with pytest.raises(ListingRefused) as refused:
        read_augmented("\n".join(lines), ["source-ref", "class"])

    assert refused.value.reasons == (
        "line 2: is no JSON: Expecting ',' delimiter",
        'line 3: must be a JSON object, not ["a"]',
        "line 4: has no attribute source-ref",
        "line 5: 'images/1.jpg' must be s3://bucket/key",
        "line 6: source-ref must be an s3:// URI, not 5",
        'line 7: source-ref "s3://b" names a bucket and no object',
        "line 8: maximum recursion depth exceeded while decoding a JSON array from a unicode string",
    )


def test_the_manifest_beside_a_channel_is_one_that_can_be_read() -> None:
    entries = under_prefix("p/", map(_object, ("p/a", "p/b/é")))

    manifest = sibling_manifest(S3Uri("b", "p/"), entries)

    assert json.loads(manifest) == [{"prefix": "s3://b/p/"}, "a", "b/é"]
    assert read_manifest(manifest.decode()) == Manifest(S3Uri("b", "p/"), ("a", "b/é"))
