"""Regenerates tests/cases/parquet: rows of data as Parquet, as pyarrow writes it, and as JSON Lines.

    python3 -m venv golden-venv
    golden-venv/bin/pip install pyarrow==26.0.1
    golden-venv/bin/python tools/golden_parquet.py --out tests/cases/parquet

Each NAME.jsonl has the rows that its .parquet files hold. Those of `types` are written by hand here, column for
column; those of `verl` are what Python makes of the rows, in the shape of verl's preprocessed data sets. The
Parquet files name the version that made them (created_by), and cases.json names it too. All inputs are fixed.
"""

import argparse
import datetime
import json
import platform
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

ROWS = 40


def verl_rows():
    rows = []
    for i in range(ROWS):
        question = f"Natalia sold {i} clips in April, and half as many in May. How many is that? «{'é' * (i % 3)}»"
        chat = [{"content": question, "role": "user"}]
        if i % 4 == 0:
            chat.insert(0, {"content": 'Answer with "#### N".\n', "role": "system"})
        rows.append({
            "data_source": None if i % 11 == 5 else ["openai/gsm8k", "lighteval/MATH"][i % 2],
            "prompt": chat,
            "ability": "math",
            "reward_model": {"ground_truth": str(i + i // 2), "style": "rule"},
            "extra_info": None if i == 17 else {
                "index": i,
                "split": "train",
                "answer": None if i % 5 == 0 else f"{i}+{i // 2}\n#### {i + i // 2}",
                "tags": None if i % 7 == 3 else ["a\\b", None, "\u0001"][: i % 4],
                "need_tools_kwargs": i % 2 == 0,
            },
            "difficulty": None if i % 6 == 1 else i / 8,
        })
    return rows


def verl_schema():
    text = pa.string()
    return pa.schema([
        ("data_source", pa.dictionary(pa.int32(), text)),
        ("prompt", pa.list_(pa.struct([("content", text), ("role", text)]))),
        ("ability", text),
        ("reward_model", pa.struct([("ground_truth", text), ("style", text)])),
        ("extra_info", pa.struct([("index", pa.int64()), ("split", text), ("answer", text), ("tags", pa.list_(text)),
                                  ("need_tools_kwargs", pa.bool_())])),
        ("difficulty", pa.float64()),
    ])


def utc(*parts):
    return datetime.datetime(*parts, tzinfo=datetime.timezone.utc)


# Name, type, two values, and their JSON. Integers stand for the counts that a type stores.
TYPES = [
    ("bool", pa.bool_(), [True, False], [True, False]),
    ("int8", pa.int8(), [-128, 127], [-128, 127]),
    ("int16", pa.int16(), [-32768, 32767], [-32768, 32767]),
    ("int32", pa.int32(), [-2**31, 2**31 - 1], [-2**31, 2**31 - 1]),
    ("int64", pa.int64(), [-2**63, 2**63 - 1], [-2**63, 2**63 - 1]),
    ("uint8", pa.uint8(), [0, 255], [0, 255]),
    ("uint16", pa.uint16(), [0, 65535], [0, 65535]),
    ("uint32", pa.uint32(), [0, 2**32 - 1], [0, 2**32 - 1]),
    ("uint64", pa.uint64(), [0, 2**64 - 1], [0, 2**64 - 1]),
    ("half", pa.float16(), [-1.5, 65504.0], [-1.5, 65504.0]),
    ("single", pa.float32(), [0.25, 0.1], [0.25, 0.10000000149011612]),
    ("double", pa.float64(), [0.1, float("nan")], [0.1, None]),
    ("text", pa.string(), ["", "π \"x\""], ["", "π \"x\""]),
    ("large_text", pa.large_string(), ["a", None], ["a", None]),
    ("text_view", pa.string_view(), ["a", "longer than twelve bytes"], ["a", "longer than twelve bytes"]),
    ("binary", pa.binary(), ["é".encode(), b""], ["é", ""]),
    ("large_binary", pa.large_binary(), [b"a", b"b"], ["a", "b"]),
    ("fixed_binary", pa.binary(4), [b"abcd", b"efgh"], ["abcd", "efgh"]),
    ("json", pa.json_(), ['{"a": 1}', "2"], ['{"a": 1}', "2"]),
    ("date32", pa.date32(), [datetime.date(2024, 2, 29), datetime.date(1, 1, 1)], ["2024-02-29", "0001-01-01"]),
    ("date64", pa.date64(), [datetime.date(1969, 12, 31), datetime.date(9999, 12, 31)], ["1969-12-31", "9999-12-31"]),
    ("time32", pa.time32("ms"), [0, 86_399_999], ["00:00:00", "23:59:59.999"]),
    ("time64", pa.time64("ns"), [1, 3_600_000_000_000], ["00:00:00.000000001", "01:00:00"]),
    ("timestamp_ms", pa.timestamp("ms"), [-1, 86_400_000], ["1969-12-31T23:59:59.999", "1970-01-02T00:00:00"]),
    ("timestamp_us", pa.timestamp("us", tz="Europe/Berlin"), [utc(2024, 7, 1, 12), utc(2024, 7, 1, 12, 0, 0, 5)],
     ["2024-07-01T12:00:00Z", "2024-07-01T12:00:00.000005Z"]),
    ("timestamp_ns", pa.timestamp("ns"), [1, None], ["1970-01-01T00:00:00.000000001", None]),
    ("decimal", pa.decimal128(5, 2), [Decimal("1.50"), Decimal("-999.99")], [1.5, -999.99]),
    ("decimal_whole", pa.decimal128(18, 0), [Decimal(10**18 - 1), Decimal(-1)], [10**18 - 1, -1]),
    ("decimal_long", pa.decimal128(25, 3), [Decimal("0.500"), Decimal(10**20)], ["0.500", "100000000000000000000.000"]),
    ("decimal_longer", pa.decimal256(40, 1), [Decimal("7.0"), None], ["7.0", None]),
    ("dictionary", pa.dictionary(pa.int8(), pa.string()), ["b", "b"], ["b", "b"]),
    ("list", pa.list_(pa.list_(pa.int32())), [[[1], [], None], []], [[[1], [], None], []]),
    ("large_list", pa.large_list(pa.string()), [["x"], None], [["x"], None]),
    ("pair", pa.list_(pa.int16(), 2), [[1, 2], [3, 4]], [[1, 2], [3, 4]]),
    ("map", pa.map_(pa.string(), pa.float64()), [[("k", 0.5), ("l", None)], []], [{"k": 0.5, "l": None}, {}]),
    ("struct", pa.struct([("a", pa.struct([("b", pa.int8())])), ("c", pa.null())]), [{"a": {"b": 1}, "c": None}, None],
     [{"a": {"b": 1}, "c": None}, None]),
    ("null", pa.null(), [None, None], [None, None]),
]


def column(type_, values):
    counts = all(isinstance(v, int) or v is None for v in values)
    if counts and (pa.types.is_time(type_) or pa.types.is_timestamp(type_)):
        return pa.array(values, pa.int32() if pa.types.is_time32(type_) else pa.int64()).cast(type_)
    return pa.array(values, type_)


def write_rows(path, rows):
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)

    rows = verl_rows()
    table = pa.Table.from_pylist(rows, verl_schema())
    write_rows(out / "verl.jsonl", rows)
    pq.write_table(table, out / "verl_snappy.parquet", row_group_size=7, compression="snappy")
    # Without Arrow's own schema: what other writers leave, dictionaries as plain texts.
    pq.write_table(table, out / "verl_zstd.parquet", row_group_size=16, compression="zstd", store_schema=False,
                   data_page_version="2.0", data_page_size=256, write_page_checksum=True)

    table = pa.table({name: column(type_, values) for name, type_, values, _ in TYPES})
    pq.write_table(table, out / "types.parquet")
    write_rows(out / "types.jsonl", [{name: wanted[i] for name, _, _, wanted in TYPES} for i in range(2)])

    prompts = pa.array(["one", "two", "three"])
    pq.write_table(pa.table({"prompt": prompts, "extra": pa.array(
        [{"took": datetime.timedelta(1)}] * 3, pa.struct([("took", pa.duration("ms"))]))}), out / "duration.parquet")
    pq.write_table(pa.table({
        "prompt": prompts,
        "answer": pa.array([b"1", b"\xff", b"3"], pa.binary()),
        "extra": pa.array([{"x": 0.5}, {"x": 0.5}, {"x": float("inf")}]),
    }), out / "bad_rows.parquet")

    versions = {"python": platform.python_version(), "pyarrow": pa.__version__}
    (out / "cases.json").write_text(json.dumps({
        "versions": versions,
        "same": {"verl.jsonl": ["verl_snappy.parquet", "verl_zstd.parquet"], "types.jsonl": ["types.parquet"]},
        "row_groups": {name: pq.ParquetFile(out / name).num_row_groups for name in ("verl_snappy.parquet", "verl_zstd.parquet")},
        "refused": {"duration.parquet": "extra: took: the type duration[ms] has no JSON"},
        "bad_rows": {"bad_rows.parquet": {"2": "answer: bytes that are not UTF-8", "3": "extra: x: an infinity has no JSON"}},
    }, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
