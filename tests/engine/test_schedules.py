import math
import re
from typing import Any

import pytest

from backprop_cli.engine.schedules import Constant, OneCycle, Schedule, Step, WarmupCosine


def factors(schedule: Schedule, n_steps: int) -> list[float]:
    return [schedule.factor_at(step, n_steps) for step in range(n_steps)]


def test_constant_is_1_throughout() -> None:
    assert factors(Constant(), 5) == [1.0] * 5


def test_warmup_cosine_goes_up_in_a_straight_line_then_down_half_a_cosine() -> None:
    assert factors(WarmupCosine(warmup=0.4), 10) == pytest.approx(
        [0.25, 0.5, 0.75, 1.0] + [0.5 * (1.0 + math.cos(math.pi * k / 6.0)) for k in range(6)]
    )


def test_warmup_cosine_without_warmup_starts_at_1_and_ends_near_0() -> None:
    values = factors(WarmupCosine(warmup=0.0), 1000)
    assert values[0] == 1.0
    assert 0.0 < values[-1] < 1e-5
    assert sorted(values, reverse=True) == values


def test_one_cycle_starts_at_a_25th_peaks_at_the_end_of_its_warmup_and_ends_near_0() -> None:
    values = factors(OneCycle(warmup=0.3), 1000)
    assert values[0] == pytest.approx(1.0 / 25.0)
    assert values[150] == pytest.approx((1.0 + 1.0 / 25.0) / 2.0)
    assert values[300] == 1.0
    assert values[-1] == pytest.approx(4e-6, abs=1e-5)
    assert sorted(values[:301]) == values[:301]
    assert sorted(values[300:], reverse=True) == values[300:]


def test_step_multiplies_by_gamma_each_time_another_share_is_done() -> None:
    assert factors(Step(every=0.25, gamma=0.5), 8) == [1.0, 1.0, 0.5, 0.5, 0.25, 0.25, 0.125, 0.125]


@pytest.mark.parametrize("schedule", [Constant(), WarmupCosine(), OneCycle(), Step()])
def test_a_single_step_has_a_factor(schedule: Schedule) -> None:
    assert 0.0 < schedule.factor_at(0, 1) <= 1.0


@pytest.mark.parametrize("schedule", [WarmupCosine(warmup=1.0), OneCycle(warmup=1.0)])
def test_warmup_all_the_way_keeps_going_up(schedule: Schedule) -> None:
    assert sorted(set(factors(schedule, 50))) == factors(schedule, 50)


@pytest.mark.parametrize("tiny", [5e-324, 1e-308, 1e-12])
@pytest.mark.parametrize("step", [0, 1, 99])
def test_the_smallest_share_is_a_share(tiny: float, step: int) -> None:
    for schedule in (WarmupCosine(warmup=tiny), OneCycle(warmup=tiny), Step(every=tiny)):
        assert 0.0 <= schedule.factor_at(step, 100) <= 1.0


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        (WarmupCosine, {"warmup": 1.5}, "warmup: 1.5 is not in [0, 1]"),
        (OneCycle, {"warmup": -0.5}, "warmup: -0.5 is not in [0, 1]"),
        (Step, {"every": 0.0}, "every: 0.0 is not in (0, 1]"),
        (Step, {"gamma": 1.5}, "gamma: 1.5 is not in (0, 1]"),
        (Step, {"gamma": math.nan}, "gamma: nan is not in (0, 1]"),
    ],
)
def test_settings_out_of_range_are_refused(kind: Any, settings: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        kind(**settings)
