"""The state of pcg-rand from its outputs, with stream known and unknown, and what follows and went before."""

from keymote.crypto.entropy import SeededEntropy
from keymote.lab.attacks.pcg_recovery import reduced, states, visible, walks
from keymote.lab.published.pcg import MASK64, MULTIPLIER, Pcg32, output

LOW = (1 << 27) - 1


def generators(count: int) -> list[Pcg32]:
    entropy = SeededEntropy(b"pcg")
    numbers = [int.from_bytes(entropy.draw(8), "big") for _ in range(2 * count)]
    return [Pcg32.seeded(*pair) for pair in zip(numbers[::2], numbers[1::2], strict=True)]


def test_one_rotation_shows_all_but_27_bits() -> None:
    for made in generators(20):
        seen = visible(output(made.state))
        assert made.state & ~LOW in seen and len(set(seen)) == 32
        assert all(output(state) == output(made.state) for state in seen if state >> 59 == made.state >> 59)


def test_the_basis_spans_the_lattice() -> None:
    x1, y1, x2, y2, sign = reduced(MULTIPLIER)
    assert x1 * y2 - x2 * y1 == sign << 64
    assert all((y - MULTIPLIER * x) & MASK64 == 0 for x, y in ((x1, y1), (x2, y2)))
    assert max(map(abs, (x1, y1, x2, y2))) < 1 << 33


def test_two_outputs_of_a_known_stream_give_the_state() -> None:
    for made in generators(12):
        state, increment = made.state, made.increment
        found = list(states((made.draw(), made.draw()), increment))
        assert state in found and len(found) < 8


def test_four_outputs_give_the_next_key_and_the_one_before_whatever_the_stream() -> None:
    (made,) = generators(1)
    before = [made.draw(), made.draw()]
    (walk,) = walks((made.draw(), made.draw(), made.draw(), made.draw()))
    after = [made.draw(), made.draw()]
    for count, wanted in ((-2, before[0]), (-1, before[1]), (4, after[0]), (5, after[1])):
        assert wanted in walk.outputs(count) and len(walk.outputs(count)) <= 2
    assert walk.confirmed(1, 0) is None, "an output that was not there"
