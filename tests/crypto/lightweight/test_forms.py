"""One source, two forms: the compiled one computes what the plain one does, or it is not used."""

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from keymote.crypto.lightweight import ascon, compiled
from keymote.crypto.lightweight.ascon import AsconAead128
from keymote.crypto.lightweight.block import BLOCK_CIPHERS, HIGHT
from keymote.crypto.lightweight.kernel import PLAIN, Form, Kernel
from keymote.errors import Incompatible


def doubler(form: Form) -> object:
    @form.jit
    def double(x: int) -> int:
        return 2 * x

    return double


def form(name: str, wrong: int = 0) -> Form:
    return Form(name, lambda function: lambda x: function(x) + wrong, int)


def test_TK03_a_kernel_runs_the_last_form_that_agreed() -> None:
    kernel = Kernel(doubler, lambda double: bytes([double(3)]))
    assert (kernel.form, kernel.run(4)) == (PLAIN, 8)
    other = form("other")
    kernel.compile(other)
    assert kernel.form is other
    kernel.interpret()
    assert (kernel.form, kernel.run) == (PLAIN, kernel.plain)


def test_TK03_a_form_that_computes_something_else_is_not_used() -> None:
    kernel = Kernel(doubler, lambda double: bytes([double(3)]))
    with pytest.raises(Incompatible, match="wrong miscompiles"):
        kernel.compile(form("wrong", 1))
    assert (kernel.form, kernel.run(4)) == (PLAIN, 8)


def test_TK03_without_a_compiler_everything_runs_plain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "compiled_form", lambda: None)
    assert compiled.compile_all() is False
    assert ascon.KERNEL.form is PLAIN


@pytest.fixture(scope="module")
def everything_compiled() -> Iterator[None]:
    pytest.importorskip("numba", reason="the extra `fast` is not installed")
    assert compiled.compile_all() is True
    yield
    compiled.interpret_all()
    assert {kernel.form for kernel in (ascon.KERNEL, *(cipher.counter for cipher in BLOCK_CIPHERS.values()))} == {PLAIN}


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.usefixtures("everything_compiled")
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.binary(min_size=32, max_size=32), ad=st.binary(max_size=40), data=st.binary(max_size=70))
def test_TK03_compiled_ciphers_compute_what_the_plain_ones_do(seed: bytes, ad: bytes, data: bytes) -> None:
    assert ascon.KERNEL.form.name == "numba"
    out = bytearray(len(data) + 16)
    ascon.KERNEL.plain(seed[:16], seed[16:], ad, data, out, False)
    sealed = AsconAead128(seed[:16]).encrypt(seed[16:], data, ad)
    assert sealed == bytes(out)
    assert AsconAead128(seed[:16]).decrypt(seed[16:], sealed, ad) == data
    for cipher in BLOCK_CIPHERS.values():
        key = seed[: cipher.key_size]
        assert cipher.counter.form.name == "numba"
        plain = bytearray(len(data))
        cipher.counter.plain(key, seed[16:20] + bytes(4), data, plain)
        assert cipher.xor(key, seed[16:20], data) == bytes(plain)


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.usefixtures("everything_compiled")
def test_TK03_compiled_ciphers_give_the_published_answers() -> None:
    from keymote.selftest import examine_own

    assert examine_own().ok
    assert HIGHT.encrypt(bytes.fromhex("00112233445566778899aabbccddeeff"), bytes(8)).hex() == "00f418aed94f03f2"
