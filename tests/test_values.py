import numpy as np
import pytest

from jaxmia import design, recipes
from jaxmia.data import digits, first
from jaxmia.models import mlp
from jaxmia.values import describe, parse

FACTORIES = {"poisson": design.poisson, "complementary_halves": design.complementary_halves,
         "first": first, "digits": digits}  # fmt: skip


def test_values_print_as_they_were_written_and_compare_by_what_they_mean():
    assert repr(mlp(128, 64)) == "mlp(128, 64)"
    assert design.poisson(0.5) == design.poisson(p=0.5) == design.poisson()
    assert design.poisson(0.5) != design.poisson(0.4)
    assert hash(mlp(3)) == hash(mlp(3))
    p = np.linspace(0, 1, 5)
    assert design.poisson(p) == design.poisson(p.copy()) != design.poisson(p / 2)
    assert recipes.sgd(mlp(3)) == recipes.sgd(mlp(3)) != recipes.sgd(mlp(3), rate=0.2)


def test_described_values_can_be_parsed_again():
    for value in (design.poisson(0.3), design.complementary_halves, first(digits(), 20)):
        assert parse(describe(value), FACTORIES) == value
        name = value.__name__ if value is FACTORIES["complementary_halves"] else repr(value)
        assert parse(name, FACTORIES) == value


@pytest.mark.parametrize(
    "text",
    ["", "gauss(1)", "poisson(open('x'))", "poisson(0.5", "__import__('os')", "poisson(0.5).x",
     "poisson(x)", "1", "(" * 500, "poisson(*[1])"],
)  # fmt: skip
def test_nothing_else_is_parsed(text):
    with pytest.raises(ValueError, match="--design: "):
        parse(text, FACTORIES, "--design")


def test_a_lambda_has_no_name_to_compare_by():
    with pytest.raises(ValueError, match="no name to compare by"):
        describe({"model": lambda data: None})
