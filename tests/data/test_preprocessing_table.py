import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from primum.data.preprocessing_table import TablePreprocessing
from primum.errors import InputError

COLUMNS = [
    {"name": "BMI", "mean": 28, "std": 4, "missing": 30.0, "indicator": True},
    {"name": "Sex", "levels": ["Female", "Male"]},
    {"name": "Age", "mean": 50, "std": 10},
]
ROW = {"BMI": "24", "Sex": "Male", "Age": 70}


def table(*columns):
    return TablePreprocessing.model_validate({"columns": columns or COLUMNS})


def test_each_column_becomes_its_features_in_turn():
    got = table()(ROW)
    assert got.tolist() == [-1.0, 0.0, 0.0, 1.0, 2.0] and got.dtype == np.float32
    assert table().features == ("BMI", "BMI missing", "Sex=Female", "Sex=Male", "Age")
    assert table().names == ("BMI", "Sex", "Age")


@pytest.mark.parametrize("blank", ["", "  ", None, float("nan"), np.nan])
def test_a_blank_becomes_the_value_for_missing_ones_and_is_indicated(blank):
    assert table()({**ROW, "BMI": blank}).tolist() == [0.5, 1.0, 0.0, 1.0, 2.0]
    with pytest.raises(InputError, match="'Age' is blank"):
        table()({**ROW, "Age": blank})
    with pytest.raises(InputError, match="'Sex' holds a level"):
        table()({**ROW, "Sex": blank})


@pytest.mark.parametrize("cell", ["nan", "inf", "-Infinity", "NA", "12 kg", "1_0", "2,5", float("inf"), True, [1]])
def test_cells_that_are_no_finite_number_are_refused_without_their_value(cell):
    with pytest.raises(InputError, match="column 'Age' holds a cell that is no finite number") as caught:
        table()({**ROW, "Age": cell})
    assert str(cell) not in str(caught.value)


def test_a_number_too_large_for_the_network_is_refused():
    with pytest.raises(InputError, match="'Age' holds a number beyond"):
        table()({**ROW, "Age": "1e300"})


def test_an_unknown_level_is_refused_without_its_value_or_is_all_zeros():
    with pytest.raises(InputError, match="column 'Sex' holds a level") as caught:
        table()({**ROW, "Sex": "Ms Smith"})
    assert "Smith" not in str(caught.value)
    lenient = table({"name": "Sex", "levels": ["Female", "Male"], "unknown": "zeros"})
    assert lenient({"Sex": "other"}).tolist() == [0.0, 0.0]


def test_a_row_without_the_column_or_that_is_no_row():
    with pytest.raises(InputError, match="no column 'Sex'"):
        table()({"BMI": 1, "Age": 2})
    for item in ([1, 2, 3], np.zeros(3), "24"):
        with pytest.raises(InputError, match="maps columns to cells"):
            table()(item)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ([], "at least 1"),
        ([{"name": "a", "std": 0}], "greater than 0"),
        ([{"name": "a", "mean": float("nan")}], "finite"),
        ([{"name": "a", "indicator": True}], "indicator needs missing"),
        ([{"name": "a"}, {"name": "a", "levels": ["x"]}], "'a' is listed more than once"),
        ([{"name": "a", "levels": ["x", " x"]}], "a level is listed more than once"),
        ([{"name": "a", "levels": []}], "at least 1"),
        ([{"name": "a", "levels": [True, False]}], "quotes around levels"),
        ([{"name": "a", "levels": ["x"], "mean": 1}], "Extra inputs"),
        ([{"name": "a", "levels": ["x"], "unknown": "ignore"}], "refuse"),
        ([{"name": "a", "colour": 1}], "Extra inputs"),
        ([3], "valid dict"),
    ],
)
def test_declarations_that_make_no_sense(columns, message):
    with pytest.raises(ValidationError, match=message):
        TablePreprocessing.model_validate({"columns": columns})


def test_levels_may_be_numbers():
    chosen = table({"name": "grade", "levels": [1, 2, 3]})
    assert chosen({"grade": 2}).tolist() == chosen({"grade": "2"}).tolist() == [0.0, 1.0, 0.0]


def test_json_gives_back_an_equal_value():
    assert TablePreprocessing.model_validate_json(table().model_dump_json()) == table()


def rows(n, seed=0):
    generator = np.random.default_rng(seed)
    return [{"x": f"{generator.normal(5, 2)}", "site": "ABC"[generator.integers(3)]} for _ in range(n)]


@given(st.integers(2, 40), st.integers(0, 99))
@settings(deadline=None, max_examples=30)
def test_fitted_features_of_the_training_rows_are_standardised(n, seed):
    training = rows(n, seed)
    chosen = TablePreprocessing.fit(training, numeric=["x"], categorical=["site"])
    got = np.stack([chosen(row) for row in training])
    assert got[:, 0].mean() == pytest.approx(0, abs=1e-5) and got[:, 0].std() == pytest.approx(1, abs=1e-4)
    assert (got[:, 1:].sum(axis=1) == 1).all() and (got[:, 1:].sum(axis=0) >= 1).all()


def test_fit_stands_the_mean_in_for_blanks_where_training_has_some():
    training = [{"x": "1"}, {"x": "3"}, {"x": ""}]
    chosen = TablePreprocessing.fit(training, numeric=["x"], indicator=True)
    assert chosen({"x": None}).tolist() == [0.0, 1.0] and chosen({"x": 3}).tolist() == [1.0, 0.0]
    whole = TablePreprocessing.fit(training[:2], numeric=["x"], indicator=True)
    assert whole.features == ("x",)
    with pytest.raises(InputError, match="blank"):
        whole({"x": ""})


def test_fit_takes_a_constant_and_a_blank_level():
    chosen = TablePreprocessing.fit([{"x": 2, "s": ""}, {"x": 2, "s": "a"}], numeric=["x"], categorical=["s"])
    assert chosen({"x": 2, "s": None}).tolist() == [0.0, 1.0, 0.0]


@pytest.mark.parametrize(
    ("training", "message"),
    [
        ([], "no column 'x'"),
        ([{"y": 1}], "no column 'x'"),
        ([{"x": ""}], "blank in every"),
        ([{"x": "tall"}], "no finite"),
    ],
)
def test_fit_refuses_what_it_cannot_fit(training, message):
    with pytest.raises(InputError, match=message):
        TablePreprocessing.fit(training, numeric=["x"])


@given(st.integers(1, 20), st.integers(0, 99))
@settings(deadline=None, max_examples=30)
def test_invented_inputs_are_such_as_rows_become(count, seed):
    got = table().synthetic(count, (5,), seed)
    assert got.shape == (count, 5) and got.dtype == np.float32
    assert np.array_equal(got, table().synthetic(count, (5,), seed))
    assert (got[:, 2] + got[:, 3] == 1).all() and set(got[:, 1]) <= {0.0, 1.0} and (np.abs(got[:, [0, 4]]) <= 3).all()
