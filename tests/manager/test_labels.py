"""labels.csv: written, read back, and every kind of wrong line."""

import io
import time

import pytest

from keymote.crypto.entropy import SeededEntropy
from keymote.crypto.secret import Secret
from keymote.engine.label import Code
from keymote.errors import CallerFault
from keymote.manager.labels import BadLine, Label, new_labels, read_labels, write_labels

ENTROPY = SeededEntropy(b"labels.csv")
GOOD = new_labels(1, 1, ENTROPY)[0]
CODE = GOOD.code.printed()


def read(text: str) -> list[Label | BadLine]:
    return [entry for _, entry in read_labels(io.StringIO(text))]


def test_what_is_written_is_read_back() -> None:
    labels = new_labels(50, 17, ENTROPY)
    file = io.StringIO()
    write_labels(file, labels)
    assert file.getvalue().startswith("dev_id,code,suite\n")
    assert read(file.getvalue()) == labels


def test_columns_may_stand_in_any_order_with_others_between_and_suite_absent() -> None:
    text = f"\ufeffStreet, CODE ,dev_id\nElm,{CODE.lower()},{GOOD.dev_id.hex(':').upper()}\n\n , ,\n"
    assert read(text) == [GOOD]


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("xyz," + CODE + ",1", "dev_id"),
        ("00000000000000," + CODE + ",1", "dev_id"),
        (GOOD.dev_id.hex() + "," + CODE[:-1] + ",1", "code of"),
        (GOOD.dev_id.hex() + "," + CODE[:-1] + ("A" if CODE[-1] != "A" else "B") + ",1", "check character"),
        (GOOD.dev_id.hex() + "," + CODE + ",4", "suite"),
        (GOOD.dev_id.hex() + "," + CODE + ",one", "suite"),
        (GOOD.dev_id.hex() + ",12345678,17", "128 bits"),
        (GOOD.dev_id.hex() + "," + CODE, "columns"),
    ],
)
def test_a_wrong_line_is_named_with_its_reason_and_the_others_stand(line: str, why: str) -> None:
    other = "00000000000000ff," + CODE + ",1"
    bad, good = read(f"dev_id,code,suite\n{line}\n{other}\n")
    assert isinstance(bad, BadLine)
    assert bad.line == 2
    assert why in bad.why
    assert CODE not in bad.why
    assert isinstance(good, Label)


def test_a_device_twice_in_one_file_is_wrong_the_second_time() -> None:
    line = f"{GOOD.dev_id.hex()},{CODE},1\n"
    assert read("dev_id,code,suite\n" + line * 2) == [
        GOOD,
        BadLine(3, f"device {GOOD.dev_id.hex()} stands in line 2 already"),
    ]


@pytest.mark.parametrize("text", ["", "dev_id;code\n", f"{GOOD.dev_id.hex()},{CODE},1\n"])
def test_a_file_without_the_columns_is_refused_whole(text: str) -> None:
    with pytest.raises(CallerFault, match="columns"):
        read(text)


def test_digit_codes_are_labels_too() -> None:
    assert read("dev_id,code\n00000000000000aa,1234-5678\n") == [
        Label(bytes(7) + b"\xaa", Code(Secret(b"12345678"), weak=True))
    ]


def test_a_qr_text_stays_in_the_alphanumeric_alphabet() -> None:
    text = GOOD.qr_text()
    assert set(text) <= set("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ $%*+-./:")
    assert text == f"KEYMOTE:{GOOD.dev_id.hex().upper()}:{CODE.replace('-', '')}"


def test_ten_thousand_lines_are_read_well_within_a_minute() -> None:
    file = io.StringIO()
    write_labels(file, new_labels(10_000, 1, ENTROPY))
    began = time.process_time()
    assert len(read(file.getvalue())) == 10_000
    assert time.process_time() - began < 20
