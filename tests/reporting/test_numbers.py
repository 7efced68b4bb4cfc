from math import nan

import pytest

from primum.reporting import numbers as n


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (n.percent(0.9123), "91.2%"),
        (n.percent(nan), "–"),
        (n.difference("sensitivity", -0.00412), "−0.41 pp"),
        (n.difference("auroc", 0.0012), "+0.0012"),
        (n.difference("specificity", -0.000001), "0.00 pp"),
        (n.interval("sensitivity", -0.0199, 0.004), "−1.99 to +0.40 pp"),
        (n.interval("brier", nan, 0.1), "–"),
        (n.margin("sensitivity", 0.02), "2 pp"),
        (n.level("accuracy", 0.9123), "91.2%"),
        (n.difference("sensitivity[melanoma]", -0.00412), "−0.41 pp"),
        (n.difference("kappa", -0.00412), "−0.0041"),
        (n.level("error[age]", 5.5432), "5.543"),
        (n.difference("error", -0.05451), "−0.0545"),
        (n.interval("error", -0.08397, 0.00251), "−0.0840 to +0.0025"),
        (n.interval("agreement", -1236.7, 0), "−1237 to 0"),
        (n.margin("error", 0.5), "0.5"),
        (n.amount(114_601.3), "114,601"),
        (n.amount(-0.00001234), "−1.234e−05"),
        (n.amount(0.0), "0"),
        (n.p_value(0.00004), "<0.001"),
        (n.between(-0.1, 0.2), "−0.100 to +0.200"),
        (n.within(0.1, nan), "–"),
        (n.threshold(0.394251), "0.3943"),
        (n.ratio(9.214), "9.2×"),
        (n.ratio(1.042), "1.04×"),
        (n.span(8.8, 9.7), "8.8 to 9.7×"),
        (n.milliseconds(0.4123), "0.412\u00a0ms"),
        (n.milliseconds(nan, n.TOO_FEW), "n too small"),
        (n.size(44_710_152), "44.7\u00a0MB"),
        (n.size(0), "–"),
        (n.probability(0.9999), ">99%"),
        (n.probability(1.0), "100%"),
        (n.plural(1, "case"), "1 case"),
        (n.plural(1248, "case"), "1,248 cases"),
        (n.shorten("abcdefghijkl", 8), "abcd…jkl"),
    ],
)
def test_as_a_reader_sees_it(shown: str, expected: str) -> None:
    assert shown == expected


def test_scores_show_their_side_of_the_threshold() -> None:
    assert n.scores(0.49999, 0.61, 0.5) == ("0.49999", "0.61000")
    assert n.scores(0.4, nan, 0.5) == ("0.4000", "not a number")


def test_clean_keeps_letters_of_all_scripts_and_drops_control() -> None:
    assert n.clean("Zürich 東京\n") == "Zürich 東京 "
    assert n.clean("a\x1b[31m\x00\u202eb\udc80") == "a\ufffd[31m\ufffd\ufffdb\ufffd"
