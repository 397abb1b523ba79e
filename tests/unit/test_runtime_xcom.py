"""XCom values come back as they went, and what cannot is refused with its place."""
# ruff: noqa: E501 - a case of a table, or a line of a DAG file, is one line

from __future__ import annotations

import dataclasses
import enum
import json
import stat
import uuid
from collections import OrderedDict, namedtuple
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import Path, PurePosixPath
from zoneinfo import ZoneInfo

import hypothesis.strategies as st
import pendulum
import pytest
from hypothesis import given

from dagd.model.errors import XComRefused
from dagd.runtime.values import LazySequence, Outbox, read_entry, read_rows
from dagd.runtime.xcom import TAG, decode, encode, length_of, split_items, to_shown


@dataclasses.dataclass(frozen=True)
class Point:
    x: int
    y: list[int] = dataclasses.field(default_factory=list)
    doubled: int = dataclasses.field(init=False, default=0)

    def __post_init__(self) -> None:
        object.__setattr__(self, "doubled", self.x * 2)


class Colour(enum.Enum):
    RED = "r"


Pair = namedtuple("Pair", "a b")

VALUES = [
    None, True, False, 0, 1, -1, 2**63 - 1, 2**63, -(2**64), 10**5000, 1.5, float("inf"), "", "é\u2028", "\ud800", "a\0b",
    [], {}, [1, [2, {"a": None}]], {"a": {"b": [1]}}, {1: "a", (1, 2): "b"}, {TAG: "set", "v": [1]}, {"x": {TAG: 1}},
    (), (1, (2,)), {1, 2}, frozenset({"a"}), b"\0\xff", Decimal("1.10"), uuid.UUID(int=5), Path("/a/b"), PurePosixPath("c"),
    date(2024, 2, 29), time(1, 2, 3), timedelta(days=-1, microseconds=7), datetime(2024, 1, 1, tzinfo=UTC),
    datetime(2024, 1, 1, 5, tzinfo=timezone(timedelta(hours=5, minutes=30))), Point(3, [1]), Colour.RED, Pair(1, "b"),
    {"deep": [Point(1), {Colour.RED: (1,)}]},
]  # fmt: skip


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_a_value_comes_back_as_it_went(value):
    text = encode(value)
    text.encode("utf-8")
    back = decode(text)
    assert back == value
    assert type(back) is type(value) or isinstance(value, Path | PurePosixPath)


def test_a_tag_is_never_mistaken_for_a_dict_nor_a_dict_for_a_tag():
    plain = {TAG: "timedelta", "v": [1, 2, 3]}
    assert decode(encode(plain)) == plain
    assert decode(encode([plain, timedelta(1, 2, 3)])) == [plain, timedelta(1, 2, 3)]


def test_an_aware_datetime_keeps_its_offset_in_both_passes_of_a_repeated_hour():
    for fold, hours in ((0, 2), (1, 1)):
        value = datetime(2024, 10, 27, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"), fold=fold)
        back = decode(encode(value))
        assert back.utcoffset() == timedelta(hours=hours)
        assert back.astimezone(UTC) == value.astimezone(UTC)
        assert back.tzinfo == ZoneInfo("Europe/Berlin")


def test_a_pendulum_instant_comes_back_as_one():
    value = pendulum.datetime(2024, 6, 1, 12, tz="Europe/Paris")
    back = decode(encode(value))
    assert isinstance(back, pendulum.DateTime)
    assert back == value
    assert back.timezone_name == "Europe/Paris"


def test_nan_comes_back():
    assert decode(encode(float("nan"))) != decode(encode(float("nan")))


def test_subclasses_of_plain_types_come_back_as_those():
    assert decode(encode(OrderedDict(a=1))) == {"a": 1}
    assert decode(encode(LazySequence([(0, "1"), (2, "2")], ""))) == [1, 2]


def test_equal_sets_have_equal_texts():
    assert encode({"a", "b", "c"}) == encode({"c", "b", "a"})


def local_class():
    @dataclasses.dataclass
    class Inner:
        x: int

    return Inner(1)


def endless():
    value: list[object] = []
    value.append(value)
    return value


REFUSED = [
    ((i for i in range(3)), "value is a generator", "list(...)"),
    ({"a": [1, object()]}, "value['a'][1] is a object", "JSON"),
    (lambda: 1, "value is a function", "JSON"),
    (local_class(), "Inner", "module level"),
    (Point, "value is a type", "JSON"),
    (endless(), "contains itself", ""),
]


@pytest.mark.parametrize("value,what,remedy", REFUSED)
def test_what_has_no_json_form_is_refused_with_its_place(value, what, remedy):
    with pytest.raises(XComRefused) as caught:
        encode(value)
    assert what in str(caught.value)
    assert remedy in str(caught.value)


def test_a_class_is_never_imported_because_a_text_names_it():
    with pytest.raises(XComRefused, match="is not here"):
        decode(json.dumps({TAG: "dataclass", "of": "antigravity:X", "v": {}}))
    with pytest.raises(XComRefused, match="no field 'z'"):
        decode(encode(Point(1)).replace('"doubled"', '"z"'))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary() | st.decimals(allow_nan=False)
    | st.dates() | st.timedeltas() | st.uuids() | st.datetimes(timezones=st.just(UTC)),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers() | st.just(TAG), inner) | st.tuples(inner, inner),
    max_leaves=20,
)  # fmt: skip


@given(JSON)
def test_any_nesting_of_values_comes_back(value):
    assert decode(encode(value)) == value


@pytest.mark.parametrize(
    "value,length",
    [([1, 2], 2), ((1,), 1), ({"a": 1}, 1), ([], 0), ("text", None), (5, None), ({1}, None), (b"x", None)],
)
def test_only_lists_and_dicts_have_a_length_to_map_over(value, length):
    assert length_of(value) == length


@pytest.mark.parametrize(
    "value,items", [([1, "a"], [1, "a"]), ((1, 2), [1, 2]), ({"a": 1}, [("a", 1)]), ({1: 2}, [(1, 2)]), ([], [])]
)
def test_items_are_split_without_restoring_them(value, items):
    assert [decode(text) for text in split_items(encode(value))] == items


def test_text_has_no_items():
    with pytest.raises(ValueError, match="no list or dict"):
        split_items(encode("abc"))


def test_what_people_see_needs_no_class():
    value = {"p": Point(1), "s": {1}, "d": timedelta(hours=1), 5: b"x"}
    assert to_shown(encode(value)) == {"p": {"x": 1, "y": [], "doubled": 2}, "s": [1], "d": "1:00:00", "5": "eA=="}


def test_a_large_value_goes_to_a_private_file_by_its_content(tmp_path):
    outbox = Outbox({"xcom_folder": str(tmp_path), "inline_limit": 100, "xcom_limit": 10_000})
    outbox.push("a", "x" * 200)
    outbox.push("b", "x" * 200)
    entry = outbox.entries["a"]
    assert entry["text"] is None
    assert entry["file"] == outbox.entries["b"]["file"]
    files = list(tmp_path.iterdir())
    assert [file.name for file in files] == [entry["file"]]
    assert stat.S_IMODE(files[0].stat().st_mode) == 0o600
    assert read_entry({"kind": "file", "path": str(files[0])}, "") == "x" * 200


def test_a_value_over_the_limit_is_refused_with_its_size(tmp_path):
    outbox = Outbox({"xcom_folder": str(tmp_path), "inline_limit": 100, "xcom_limit": 1000})
    with pytest.raises(XComRefused, match=r"1,502 bytes; the limit is 1,000"):
        outbox.push("a", "x" * 1500)
    assert not list(tmp_path.iterdir())


def test_the_lazy_sequence_of_a_mapped_task_behaves_like_a_list(tmp_path):
    (tmp_path / "f").write_text("30")
    items = [[0, "10", None], [1, None, None], [2, "20", None], [5, None, "f"]]
    found = read_entry({"kind": "mapped", "items": items}, str(tmp_path))
    assert len(found) == 3
    assert list(found) == list(found) == [10, 20, 30]
    assert (found[0], found[-1], 20 in found, 99 in found) == (10, 30, True, False)
    assert found[1:] == [20, 30]
    assert found == [10, 20, 30]
    assert found.at_index(2) == 20
    with pytest.raises(IndexError):
        found[3]


def test_the_rows_of_an_unmapped_task_are_its_one_value():
    assert read_rows([[-1, "5", None]], "") == 5
    assert read_rows([[0, "5", None]], "") == [5]


@pytest.mark.parametrize("key", ["", "a\0", "\ud800", "k" * 513])
def test_a_key_that_no_database_can_hold_is_refused(tmp_path: Path, key: str) -> None:
    with pytest.raises(XComRefused):
        Outbox({"xcom_folder": str(tmp_path)}).push(key, 1)


def test_an_integer_too_long_for_json_readers_is_shown_as_hexadecimal_text() -> None:
    assert to_shown(encode(10**4000)) == 10**4000
    assert to_shown(encode(10**5000)) == hex(10**5000)
