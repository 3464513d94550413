"""How to take away each guard: with it gone, the very same attack must succeed.

`GUARDS` maps (attack, attempt) to a function that disables exactly what stops that attempt: the check that raises its
error, or, for a property, the construction that gives it. Tests only; nothing here is reachable from the product.
"""

from collections.abc import Callable

import guards_of_enrolment as enrolment
import guards_of_libraries as libraries
import pytest

Guard = Callable[[pytest.MonkeyPatch], None]

GUARDS: dict[tuple[str, str], Guard] = {
    ("A-05", "suite number for a cusp"): enrolment.suite_from_hello,
    ("A-05", "curve beside the OFFER"): enrolment.any_number_of_elements,
    ("A-06", "small orders by tagR"): enrolment.careless_decompression,
    ("A-09", "E2 exchanged at the manager"): enrolment.no_proof,
    ("A-09", "E2 exchanged on the air"): enrolment.no_tags_no_proof,
    ("A-10", "JOIN without the code"): enrolment.no_tags,
    ("A-11", "all codes on one OFFER"): enrolment.diffie_hellman_for_cpace,
    ("A-11", "short code in suite 17"): enrolment.short_codes_everywhere,
    ("A-12", "identity key in SHARE"): libraries.any_ed25519_key,
    ("A-20", "clone at another manager"): enrolment.register_without_uniqueness,
    ("A-23", "JOIN again after DONE"): enrolment.codes_for_ever,
    ("A-23", "JOIN again before DONE"): enrolment.codes_for_ever,
    ("A-23", "CRED lost"): enrolment.forgotten_credential,
    ("A-13", "invalid encoding as a share"): libraries.unguarded_points,
    ("A-13", "identity as a share"): libraries.unguarded_points,
    ("I-01", "invalid encoding as a share"): libraries.unguarded_points,
    ("I-01", "identity as a share"): libraries.unguarded_points,
    ("I-02", "identity key"): libraries.any_ed25519_key,
    ("I-02", "key of order 8"): libraries.any_ed25519_key,
    ("I-03", "an indefinite length"): libraries.any_cbor,
    ("I-03", "a longer integer"): libraries.any_cbor,
    ("I-03", "trailing bytes"): libraries.any_cbor,
    ("I-03", "a key that stands twice"): libraries.any_cbor,
    ("I-04", "second kid by q - s"): libraries.both_values_of_s,
    ("I-06", "s + q in a proof"): libraries.unreduced_scalars,
    ("I-07", "prefix of a tag"): libraries.early_exit,
    ("I-08", "twin of the source"): libraries.buffered_randomness,
    ("I-08", "twin proves twice"): libraries.unhedged_proofs,
    ("I-09", "look-alike at start-up"): libraries.no_known_answers,
    ("I-10", "HMAC as a signature"): libraries.agile_signatures,
    ("I-10", "deprecated algorithm"): libraries.agile_signatures,
    ("I-11", "log of a whole world"): libraries.talkative_secrets,
    ("I-12", "keys exchanged behind the mirror"): libraries.mirrored_signatures,
}
