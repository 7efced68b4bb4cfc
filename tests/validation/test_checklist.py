from primum.validation.checklist import ItemStatus, Record, checklist


def status(items, framework, word):
    (found,) = [item for item in items if item.framework == framework and word in item.item]
    return found


def test_without_records_everything_is_missing_or_a_persons():
    items = checklist({})
    assert {item.status for item in items} == {ItemStatus.MISSING, ItemStatus.SIGN_OFF, ItemStatus.NOT_APPLICABLE}
    assert "modification record" in status(items, "FDA PCCP", "description").where
    assert status(items, "EU AI Act Art. 12", "event").status is ItemStatus.NOT_APPLICABLE


def test_records_are_named_where_they_lie():
    records = {Record.MODIFICATION: "modification.json", Record.HASHES: "manifest.json"}
    found = status(checklist(records), "FDA PCCP", "description")
    assert found.status is ItemStatus.PRESENT and found.where == "modification.json, manifest.json"
    half = status(checklist({Record.MODIFICATION: "modification.json"}), "FDA PCCP", "description")
    assert half.status is ItemStatus.MISSING and "SHA-256" in half.where and "modification" not in half.where


def test_what_a_person_must_sign_stays_so_however_much_is_written():
    every = {record: "evidence" for record in Record if record is not Record.SIGNATURE}
    items = checklist(every)
    assert {item.status for item in items} == {ItemStatus.PRESENT, ItemStatus.SIGN_OFF}
    assert status(items, "EU AI Act Annex IV 2(g)", "signed").status is ItemStatus.SIGN_OFF
    signed = status(checklist(every | {Record.SIGNATURE: "report.sig"}), "EU AI Act Annex IV 2(g)", "signed")
    assert signed.status is ItemStatus.PRESENT and "report.sig" in signed.where
    assert status(checklist(every | {Record.SIGNATURE: "x"}), "FDA PCCP", "authorisation").status is ItemStatus.SIGN_OFF


def test_the_forbidden_word_is_nowhere():
    for records in ({}, dict.fromkeys(Record, "here")):
        text = " ".join(f"{i.framework} {i.item} {i.status} {i.where}" for i in checklist(records))
        assert "compliant" not in text.lower()
