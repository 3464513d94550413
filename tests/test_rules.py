"""Numbered rules and the tests that carry their ids belong to each other (docs/protocols/rules.md)."""

from rules_without_tests import Rule, all_rules, ids_in, named_by_tests, rules_in, tests_in, untested


def test_rules_are_numbered_once_and_in_order() -> None:
    ids = [rule.id for rule in all_rules()]
    assert len(ids) > 100
    assert len(set(ids)) == len(ids)
    for family in {rule_id[:2] for rule_id in ids}:
        members = [rule_id for rule_id in ids if rule_id.startswith(family)]
        assert members == sorted(members)


def test_every_id_in_a_test_name_is_a_rule() -> None:
    known = {rule.id for rule in all_rules()}
    assert {rule_id: tests for rule_id, tests in named_by_tests().items() if rule_id not in known} == {}


def test_every_rule_has_a_test() -> None:
    assert [rule.id for rule in untested(all_rules(), named_by_tests())] == []


def test_the_reader_sees_rules_waivers_and_names() -> None:
    text = (
        "# x\n- **EN-07** A code is long. (2.3)\n- **AU-07** Hybrid. (no test: not in this version)\nEN-99 in prose\n"
    )
    rules = rules_in(text)
    assert rules == [Rule("EN-07", "A code is long. (2.3)", ""), Rule("AU-07", rules[1].text, "not in this version")]
    source = "class A:\n    async def test_EN07_x(self): ...\ndef helper_EN08(): ...\n"
    assert list(tests_in(source)) == ["test_EN07_x"]
    assert ids_in("test_EN07_PW12_both_SHA25_x") == {"EN-07", "PW-12"}
    assert untested(rules, ["EN-08"]) == [rules[0]]
    assert untested(rules, ["EN-07"]) == []
