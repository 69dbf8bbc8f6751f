"""Intervals of paired differences: by hand where that can be done, by simulation elsewhere."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import t, ttest_1samp

from modicum.errors import InputError, OptionError
from modicum.evaluation.paired import (
    Interval,
    compare_paired,
    paired_bootstrap,
    seeds_and_examples,
)

both = pytest.mark.parametrize("interval_of", [paired_bootstrap, seeds_and_examples])
each = pytest.mark.parametrize(
    "interval_of", [paired_bootstrap, seeds_and_examples, compare_paired]
)
LINE = np.arange(40) / 10.0  # 0 to 3.9


def normal(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


@both
def test_differences_that_are_all_the_same_leave_no_doubt(interval_of):
    assert interval_of(np.full((3, 20), 0.5)) == pytest.approx(Interval(0.5, 0.5, 0.5, 3, 0.95))
    assert interval_of(np.zeros(20)) == Interval(0, 0, 0, 1, 0.95)


@each
def test_a_higher_level_gives_a_wider_interval_around_the_same_mean(interval_of):
    narrow, wide = (interval_of(LINE, level=level) for level in (0.5, 0.99))
    assert narrow.mean == wide.mean == pytest.approx(1.95)
    assert wide.low < narrow.low < narrow.mean < narrow.high < wide.high


@both
def test_the_order_of_seeds_makes_no_difference(interval_of):
    found = normal((3, 30))
    assert interval_of(found[::-1]) == pytest.approx(interval_of(found))


def test_one_seed_gives_the_t_interval_of_the_rows():
    low, high = ttest_1samp(LINE, 0).confidence_interval(0.95)
    found = seeds_and_examples(LINE)
    assert (found.low, found.high) == pytest.approx((low, high))
    assert found.seeds == 1


def test_rows_that_are_all_the_same_leave_the_t_interval_of_the_seeds():
    seeds = np.array([0.1, 0.3, 0.8])
    low, high = ttest_1samp(seeds, 0).confidence_interval(0.95)
    found = seeds_and_examples(np.repeat(seeds[:, None], 50, axis=1))
    assert (found.low, found.high) == pytest.approx((low, high))


def test_seeds_that_are_all_the_same_leave_the_t_interval_of_the_rows():
    assert seeds_and_examples(np.stack([LINE] * 3))[:3] == pytest.approx(
        seeds_and_examples(LINE)[:3]
    )


def test_the_bootstrap_is_near_the_t_interval_and_the_same_for_the_same_seed():
    found = paired_bootstrap(normal((400,)))
    assert found[:3] == pytest.approx(seeds_and_examples(normal((400,)))[:3], abs=0.01)
    assert found == paired_bootstrap(normal((400,)), seed=0)
    assert found != paired_bootstrap(normal((400,)), seed=1)


@each
def test_equal_weights_that_sum_to_one_are_the_mean(interval_of):
    found = normal((3, 50))
    weighted = interval_of(found, weights_N=np.full(50, 1 / 50))
    assert weighted == pytest.approx(interval_of(found))


@each
def test_weights_scale_the_interval(interval_of):
    found = normal((2, 50))
    plain, scaled = (interval_of(found, weights_N=np.full(50, w / 50)) for w in (1, 100))
    assert scaled[:3] == pytest.approx([100 * bound for bound in plain[:3]])


@each
def test_how_far_tasks_lie_apart_is_not_chance(interval_of):
    noise = normal((1, 60))
    weights = np.repeat([2 / 20, 1 / 40], [20, 40])  # 2 × the mean of task one + that of task two
    near, far = (
        interval_of(noise + np.repeat([0.0, apart], [20, 40]), weights_N=weights)
        for apart in (0, 50)
    )
    assert far.mean == pytest.approx(near.mean + 50)
    assert far.high - far.low == pytest.approx(near.high - near.low)


@both
@pytest.mark.parametrize("names", [["sums", "colours"], [7.5, 2.0]])
def test_tasks_of_equal_weight_are_told_apart_by_name(interval_of, names):
    noise = normal((2, 40))
    tasks = np.repeat(names, 20)
    near = interval_of(noise, tasks_N=tasks)
    far = interval_of(noise + np.repeat([0.0, 50.0], 20), tasks_N=tasks)
    assert far.mean == pytest.approx(near.mean + 25)
    assert far.high - far.low == pytest.approx(near.high - near.low)
    mixed = interval_of(noise + np.repeat([0.0, 50.0], 20))
    assert mixed.high - mixed.low > 3 * (far.high - far.low)


def test_two_rows_are_drawn_as_far_apart_as_their_variance_says():
    # Half of the draws take one row twice: ½ ± ½ as rows are, and √(n / (n − 1)) = √2 times that.
    found = paired_bootstrap(np.array([0.0, 1.0]))
    assert found[:3] == pytest.approx((0.5, 0.5 - 0.5**0.5, 0.5 + 0.5**0.5))


def test_of_five_rows_the_bootstrap_covers_nearly_what_it_says():
    rng, hits = np.random.default_rng(14), 0
    for seed in range(1500):
        found = paired_bootstrap(rng.normal(size=5), draws=300, seed=seed)
        hits += found.low <= 0 <= found.high
    assert 0.85 <= hits / 1500 <= 0.89  # 87 % in many more runs; 83 % if rows are not spread


def test_two_tasks_add_their_variances_by_hand():
    first, second = np.array([0.0, 1.0] * 5), np.array([0.0, 4.0] * 10)
    found = seeds_and_examples(
        np.concatenate([first, second]), weights_N=np.repeat([1 / 10, 1 / 20], [10, 20])
    )
    one, two = first.var(ddof=1) / 10, second.var(ddof=1) / 20
    freedom = (one + two) ** 2 / (one**2 / 9 + two**2 / 19)
    assert found.mean == pytest.approx(0.5 + 2.0)
    assert 20 < freedom < 24
    reach = 2.074 * (one + two) ** 0.5  # t of 22 degrees at 97.5 %
    assert found.high - found.mean == pytest.approx(reach, rel=0.01)


def test_rows_of_weight_0_do_not_count():
    weights = np.array([0.0] + [1 / 40] * 40)
    found = seeds_and_examples(np.append(1e6, LINE), weights_N=weights)
    assert found == pytest.approx(seeds_and_examples(LINE))


@pytest.mark.parametrize(
    ("seeds", "rows", "noise"),
    [(0.3, 1, 1), (0.1, 1, 1), (1, 0, 1), (0, 1, 0), (0.2, 0, 3)],
)
def test_with_3_seeds_the_interval_covers_the_truth(seeds: float, rows: float, noise: float):
    rng, runs, hits = np.random.default_rng(7), 600, 0
    for _ in range(runs):
        shared = 0.2 + rows * rng.normal(size=100)
        found = seeds_and_examples(
            shared + seeds * rng.normal(size=(3, 1)) + noise * rng.normal(size=(3, 100))
        )
        hits += found.low <= 0.2 <= found.high
    assert 0.92 - 0.01 <= hits / runs <= 0.98  # one standard error of 600 runs is 0.01


def test_the_bootstrap_of_skewed_rows_covers_the_truth():
    rng, hits = np.random.default_rng(3), 0
    for _ in range(200):  # three in four differences of exact matches are 0
        found = paired_bootstrap(rng.choice([-1, 0, 1], 100, p=[0.05, 0.75, 0.2]), draws=500)
        hits += found.low <= 0.15 <= found.high
    assert 0.90 <= hits / 200 <= 0.99


@each
@pytest.mark.parametrize(
    ("differences", "options", "message"),
    [
        ([], {}, "give rows"),
        ([0.5], {}, "at least 2"),
        ([[0.1, 0.2], [0.1, np.nan]], {}, "row 1, seed 1, is nan"),
        ([0.1, 0.2], {"weights_N": np.ones(3)}, "a number for each row"),
        (
            [0.1, 0.2, 0.3],
            {"weights_N": np.array([1, 1, 2])},
            "row 2 is the only one of its task .weight 2",
        ),
        ([0.1, 0.2], {"weights_N": np.zeros(2)}, "every row weighs 0"),
        ([0.1, 0.2, 0.3], {"tasks_N": ["a", "a", "b"]}, "row 2 is the only one of its task"),
        ([0.1, 0.2, 0.3], {"tasks_N": ["a", "a"]}, r"tasks are \(2,\); .* each of 3 rows"),
    ],
)
def test_what_says_nothing_about_chance_is_refused(interval_of, differences, options, message):
    with pytest.raises(InputError, match=message):
        interval_of(np.array(differences), **options)


def test_options_that_give_no_interval_are_refused():
    with pytest.raises(OptionError, match="level=95"):
        seeds_and_examples(LINE, level=95)
    for interval_of in (paired_bootstrap, compare_paired):
        with pytest.raises(OptionError, match="draws=10"):
            interval_of(LINE, draws=10)


@pytest.mark.parametrize("seeds", [1, 2, 3, 5])
def test_with_few_seeds_the_comparison_has_the_t_interval(seeds: int):
    found = normal((seeds, 40))
    assert compare_paired(found)[:3] == seeds_and_examples(found)[:3]
    assert compare_paired(found).seeds == seeds


def test_the_p_of_one_seed_is_that_of_the_t_test():
    found = compare_paired(LINE - 1.6)
    assert found.p == pytest.approx(ttest_1samp(LINE - 1.6, 0).pvalue)


def test_differences_that_are_all_the_same_show_as_much_as_their_signs():
    assert compare_paired(np.zeros((8, 20))) == (0, 0, 0, 1, 8, 0.95, None)
    assert compare_paired(np.full((8, 16), 0.5)) == (0.5, 0.5, 0.5, 2.0**-15, 8, 0.95, None)


@pytest.mark.parametrize("seeds", [1, 2, 3, 5, 6, 9])
@pytest.mark.parametrize("level", [0.8, 0.95, 0.999])
def test_p_is_below_what_the_level_leaves_where_0_is_out_of_bounds(seeds: int, level: float):
    noise, out = normal((seeds, 30)) + 0.3 * normal((seeds, 1), 1), 0
    for shift in np.sinh(np.linspace(-8, 8, 41)):
        found = compare_paired(noise + shift, level=level, draws=500)
        assert (found.p < 1 - level) == (not found.low <= 0 <= found.high)
        out += found.p < 1 - level
    assert 0 < out < 41


def test_p_does_not_depend_on_the_sign():
    few, many = normal((3, 30)) + 0.2, normal((8, 30)) + 0.2
    assert compare_paired(-few).p == pytest.approx(compare_paired(few).p)
    assert compare_paired(-many).p == pytest.approx(compare_paired(many).p, rel=0.2)


def test_many_arms_do_not_hide_what_six_seeds_show_clearly():
    found = compare_paired(1.0 + 0.05 * normal((6, 100)) + 0.05 * normal((6, 1), 1))
    assert found.p < 0.0001  # of 10,000 draws none is below 0: that alone would be p = 0.01


@pytest.mark.parametrize(
    ("seeds", "rows", "noise"), [(1, 0, 0), (0, 1, 0), (0, 0, 1), (0.1, 1, 0), (0.1, 1, 2)]
)
def test_draws_of_12_seeds_reach_as_far_as_the_t_interval(seeds: float, rows: float, noise: float):
    # Cells drawn crosswise count noise three times, rows drawn within seeds divide theirs by 12.
    reaches = []
    for n in range(20):
        found = (
            rows * normal((1, 100), n)
            + seeds * normal((12, 1), 100 + n)
            + noise * normal((12, 100), 200 + n)
        )
        drawn, told = compare_paired(found, draws=2000), seeds_and_examples(found)
        reaches.append((drawn.high - drawn.low) / (told.high - told.low))
    assert 0.92 <= np.mean(reaches) <= 1.05


def test_draws_are_the_same_for_the_same_seed():
    found = normal((6, 40))
    assert compare_paired(found, seed=3) == compare_paired(found, seed=3)
    assert compare_paired(found, seed=3) != compare_paired(found, seed=4)


def test_with_few_rows_of_a_task_nothing_is_drawn():
    found, tasks = normal((8, 25)), ["a"] * 20 + ["b"] * 5
    assert compare_paired(found, tasks_N=tasks)[:3] == seeds_and_examples(found, tasks_N=tasks)[:3]


def test_the_smallest_difference_is_by_hand():
    found = compare_paired(LINE)
    error = LINE.std(ddof=1) / 40**0.5
    assert found.smallest == pytest.approx(error * (t.ppf(0.975, 39) + t.ppf(0.8, 39)))


@pytest.mark.parametrize("seeds", [1, 5, 8])
def test_the_smallest_difference_is_shown_four_times_in_five(seeds: int):
    rng, shown, runs = np.random.default_rng(5), 0, 200
    for _ in range(runs):
        noise = 0.5 * rng.normal(size=(1, 40)) + rng.normal(size=(seeds, 40))
        true = (2.0 + 0.85) * (0.25 / 40 + 1 / 40 / seeds) ** 0.5
        found = compare_paired(noise + true, draws=500)
        shown += found.p < 0.05
    assert 0.8 - 0.07 <= shown / runs <= 0.8 + 0.07  # one standard error of 200 runs is 0.03


@pytest.mark.parametrize("share", [0.25, 0.5, 0.75, 0.95])
def test_with_2_seeds_the_interval_covers_the_truth(share: float):
    rng, runs, hits = np.random.default_rng(9), 1000, 0
    for _ in range(runs):
        rows = rng.normal(size=(1, 100)) * (100 * (1 - share)) ** 0.5
        found = seeds_and_examples(rows + rng.normal(size=(2, 1)) * (2 * share) ** 0.5)
        hits += found.low <= 0 <= found.high
    assert 0.94 - 0.014 <= hits / runs <= 0.98 + 0.014  # two standard errors of 1,000 runs


@pytest.mark.parametrize("seeds", [2, 3])
@pytest.mark.parametrize("rows", [*range(2, 16), 40])
def test_p_is_below_five_per_cent_exactly_where_zero_is_outside(seeds: int, rows: int):
    rng = np.random.default_rng(rows)
    for shift in (0.0, 0.3, 1.0):
        found = compare_paired(rng.normal(shift, 1.0, (seeds, rows)))
        assert (found.p < 0.05) == (not found.low <= 0 <= found.high)
        assert found.p > 0


@pytest.mark.parametrize(("rows", "p"), [(2, 0.5), (5, 1 / 16), (20, 2.0**-19)])
def test_where_nothing_varies_few_rows_show_little(rows: int, p: float):
    found = compare_paired(np.ones((1, rows)))
    assert found.p == p and found.smallest is None
    assert compare_paired(np.zeros((3, rows))).p == 1.0


@pytest.mark.parametrize("seeds", [2, 6])
def test_wins_on_other_rows_under_each_seed_are_not_certain_for_being_as_many(seeds: int):
    found = np.zeros((seeds, 50))
    for seed in range(seeds):
        found[seed, 3 * seed] = 1
    told = compare_paired(found)
    assert told.mean == pytest.approx(1 / 50)
    assert told.low < 0 < told.high
    assert told.p > 0.05
    assert told.smallest is not None
