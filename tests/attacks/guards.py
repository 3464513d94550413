"""How to take away each guard: with it gone, the very same attack must succeed.

`GUARDS` maps (attack, attempt) to a function that disables exactly what stops that attempt: the check that raises its
error, or, for a property, the construction that gives it. Tests only; nothing here is reachable from the product.
"""

from collections.abc import Callable

import guards_of_enrolment as enrolment
import guards_of_libraries as libraries
import guards_of_sessions as sessions
import pytest

Guard = Callable[[pytest.MonkeyPatch], None]

GUARDS: dict[tuple[str, str], Guard] = {
    ("A-01", "every four points on the air"): enrolment.no_tags,
    ("A-02", "normal path"): sessions.printed_deliveries,
    ("A-03", "adaptive queries"): sessions.echoed_nonce,
    ("A-03b", "challenge (P, O)"): libraries.unguarded_points,
    ("A-04", "answer from another session"): sessions.any_answer,
    ("A-05", "suite number for a cusp"): enrolment.suite_from_hello,
    ("A-05", "curve beside the OFFER"): enrolment.any_number_of_elements,
    ("A-06", "small orders by tagR"): enrolment.careless_decompression,
    ("A-07", "S forced twice"): sessions.bare_sum,
    ("A-08", "W = O in SHARE"): libraries.unguarded_points,
    ("A-08", "e_D = O in SHARE"): libraries.unguarded_points,
    ("A-08", "V = O in VPT"): libraries.unguarded_points,
    ("A-08", "O in A4"): libraries.unguarded_points,
    ("A-08", "O in SHRESP"): libraries.unguarded_points,
    ("A-09", "E2 exchanged at the manager"): enrolment.no_proof,
    ("A-09", "E2 exchanged on the air"): enrolment.no_tags_no_proof,
    ("A-10", "JOIN without the code"): enrolment.no_tags,
    ("A-11", "all codes on one OFFER"): enrolment.diffie_hellman_for_cpace,
    ("A-11", "short code in suite 17"): enrolment.short_codes_everywhere,
    ("A-12", "identity key in SHARE"): libraries.any_ed25519_key,
    ("A-14", "every long-term secret"): sessions.no_ephemeral_secret,
    ("A-15", "A1 after CLOSE"): sessions.sessions_for_ever,
    ("A-15", "A1 after a reboot"): sessions.sessions_for_ever,
    ("A-15", "old A3 in a new session"): enrolment.no_tags,
    ("A-15", "old FIN1 in a new session"): sessions.any_fin,
    ("A-15", "old CLOSE in a new session"): sessions.any_fin,
    ("A-15", "SHREQ again"): sessions.no_window,
    ("A-15", "SHRESP again"): sessions.no_window,
    ("A-16", "forged by the own manager"): sessions.unsigned_credentials,
    ("A-16", "credential of another device"): sessions.any_peer,
    ("A-17", "forged report"): enrolment.no_tags,
    ("A-17", "replayed report"): sessions.no_window_no_counter,
    ("A-17", "lying report"): sessions.evicted_on_one_report,
    ("A-18", "answer of another session"): sessions.any_answer,
    ("A-18", "share of another session"): sessions.unbound_shares,
    ("A-19", "introduced to itself"): sessions.any_peer,
    ("A-19", "A1 reflected"): sessions.symmetric_roles,
    ("A-19", "A1 turned into A2"): sessions.any_answer,
    ("A-20", "clone at another manager"): enrolment.register_without_uniqueness,
    ("A-21", "spoofed sources"): sessions.any_cookie,
    ("A-21", "one source"): sessions.no_buckets,
    ("A-22", "guessed psids"): sessions.any_psid,
    ("A-22", "contexts of one psid"): sessions.contexts_without_limit,
    ("A-22", "contexts in all"): sessions.contexts_without_limit,
    ("A-23", "JOIN again after DONE"): enrolment.codes_for_ever,
    ("A-23", "JOIN again before DONE"): enrolment.codes_for_ever,
    ("A-23", "CRED lost"): enrolment.forgotten_credential,
    ("A-24", "answers made with d_D1"): sessions.any_answer,
    ("A-25", "SHREQ after revocation"): sessions.shares_for_everybody,
    ("A-27", "more than sixteen forged SREC"): sessions.impatient_sessions,
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
    ("I-05", "lossy air"): enrolment.repeated_by_encrypting,
    ("I-06", "s + q in a proof"): libraries.unreduced_scalars,
    ("I-07", "prefix of a tag"): libraries.early_exit,
    ("I-08", "restarts and a backup"): sessions.counters_from_zero,
    ("I-08", "twin of the source"): libraries.buffered_randomness,
    ("I-08", "twin proves twice"): libraries.unhedged_proofs,
    ("I-09", "look-alike at start-up"): libraries.no_known_answers,
    ("I-10", "HMAC as a signature"): libraries.agile_signatures,
    ("I-10", "deprecated algorithm"): libraries.agile_signatures,
    ("I-11", "log of a whole world"): libraries.talkative_secrets,
    ("I-12", "keys exchanged behind the mirror"): libraries.mirrored_signatures,
}
