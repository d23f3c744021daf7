"""Further sources that only training sees, and the pens: strokes, copies, shares, and that no test ever meets them."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import backprop, document, refusal
from foreign import labels, large, save
from hypothesis import given
from hypothesis import strategies as st

import backprop_cli as library
from backprop_cli.config.config import load_config
from backprop_cli.data.copies import Copies, pen_copies
from backprop_cli.data.dataset import ChunkLoader, Dataset, Scaling, load_digits
from backprop_cli.data.extra import Mixture
from backprop_cli.data.readers import pens
from backprop_cli.data.readers.shared import Wanted
from backprop_cli.data.regions import regions_of
from backprop_cli.data.sources import DataSettings, load_data
from backprop_cli.data.strokes import LEAST_WIDTH, distances, even_strokes, skeletons, thickened
from backprop_cli.experiment.experiment import Experiment
from backprop_cli.experiment.split_data import SplitData
from backprop_cli.experiment.training_part import TrainingPart, training_part

FOLDER = Path(__file__).parents[2] / "data" / "pens"
PENS = pens.load("pens", Wanted())
INKS = (PENS.pictures[:200] / 255).astype(np.float32)
QUICK = ("train", "-c", "quick", "--progress", "none")


def families() -> list[str]:
    return FOLDER.joinpath("families.txt").read_text("utf-8").split()


def loaded(**changes: Any) -> SplitData:
    return SplitData.load(load_config("quick", {f"data.{key}": value for key, value in changes.items()}))


def part_of(config_changes: dict[str, Any], name: str = "pictures") -> TrainingPart:
    """Return what the first network of a config is trained on."""
    config = load_config(name, config_changes)
    making = training_part(config, SplitData.load(config), 0, None)  # type: ignore[arg-type]
    while True:
        try:
            next(making)
        except StopIteration as done:
            part: TrainingPart = done.value
            return part


# ---- the pens --------------------------------------------------------------------------------------------------------


def test_every_family_of_the_list_is_there_with_all_digits() -> None:
    names = families()
    assert PENS.groups is not None
    assert sorted(set(PENS.groups.tolist())) == list(range(len(names)))
    for family in range(len(names)):
        counts = np.bincount(PENS.labels[PENS.groups == family], minlength=10)
        assert counts.min() == counts.max() > 0
    assert set(np.unique(PENS.pictures).tolist()) == {0, 85, 170, 255}
    assert (FOLDER / "pens.npz").stat().st_size < 400_000


def test_whose_fonts_they_are_is_said_of_every_family() -> None:
    text = FOLDER.joinpath("LICENSES.md").read_text()
    for name in families():
        assert f"| {name} | " in text
    assert "SIL OPEN FONT LICENSE" in text
    assert "Apache License" in text


def test_the_pens_are_a_source_like_any_other() -> None:
    found = load_data(DataSettings("pens"))
    assert (len(found), found.name, found.row_name(3)) == (1090, "pens", "pens:3")
    assert found.picture_size == (48, 48)


# ---- strokes ---------------------------------------------------------------------------------------------------------


def n_pieces_and_holes(drawn: np.ndarray) -> tuple[int, int]:
    """Return how many pieces of ink there are, and how many of paper that ink shuts in (those joined at corners)."""
    paper = regions_of(~np.pad(drawn, 1))
    return len(regions_of(drawn)), len(paper) - 1


def test_skeletons_lie_within_the_ink_are_thin_and_keep_its_pieces() -> None:
    drawn = INKS >= 0.5
    thin = skeletons(drawn)
    assert not (thin & ~drawn).any()
    blocks = thin[:, :-1, :-1] & thin[:, 1:, :-1] & thin[:, :-1, 1:] & thin[:, 1:, 1:]
    assert blocks.sum() <= 0.01 * thin.sum()
    same = [n_pieces_and_holes(a)[0] == n_pieces_and_holes(b)[0] for a, b in zip(drawn, thin, strict=True)]
    assert np.mean(same) > 0.98


def test_the_skeleton_of_a_bar_is_its_middle() -> None:
    bar = np.zeros((1, 20, 30), np.bool_)
    bar[0, 8:13, 3:27] = True
    rows, columns = np.nonzero(skeletons(bar)[0])
    assert set(rows.tolist()) == {10}
    assert columns.max() - columns.min() >= 18


def test_even_strokes_are_as_wide_as_their_pens() -> None:
    bar = np.zeros((50, 48, 48), np.float32)
    bar[:, 20:27, 4:44] = 1
    strokes = even_strokes(distances(bar), np.random.default_rng(0))
    widths = strokes[:, :, 24].sum(axis=1)
    assert 1.2 <= widths.min() < 2.5
    assert 5.0 < widths.max() <= 8.6


def test_hairlines_become_thick_enough_and_nothing_loses_ink() -> None:
    thick = thickened(INKS, distances(INKS))
    assert (thick >= INKS).all()
    hair = np.zeros((1, 48, 48), np.float32)
    hair[0, 24, 4:44] = 1
    assert thickened(hair, distances(hair))[0, :, 24].sum() == pytest.approx(LEAST_WIDTH + 1, abs=1)


def test_no_ink_has_no_stroke() -> None:
    blank = np.zeros((2, 48, 48), np.float32)
    away = distances(blank)
    assert not even_strokes(away, np.random.default_rng(0)).any()
    assert not thickened(blank, away).any()


@pytest.mark.parametrize("kind", ["proportions", "even_stroke"])
def test_copies_of_pens_are_counts_that_the_generator_decides(kind: Any) -> None:
    warps, away = Copies(rotation=12, log_scale=0.15, shear=0.3, elastic=3.5, thickness=0.4), distances(INKS[:40])
    one, again, other = (
        pen_copies(INKS[:40], kind, (16, 16), warps, np.random.default_rng(seed), away) for seed in (0, 0, 1)
    )
    assert one.shape == (40, 16, 16)
    assert one.dtype == np.uint8
    assert one.max() <= 16
    assert one.any(axis=(1, 2)).all()
    np.testing.assert_array_equal(one, again)
    assert (one != other).any(axis=(1, 2)).mean() > 0.9


# ---- shares ----------------------------------------------------------------------------------------------------------


@given(
    n_first=st.integers(1, 200),
    sizes=st.lists(st.integers(1, 30), min_size=1, max_size=6),
    share=st.none() | st.floats(0.05, 0.9),
    seed=st.integers(0, 100),
)
def test_a_pass_takes_the_first_source_once_and_of_the_others_their_share(
    n_first: int, sizes: list[int], share: float | None, seed: int
) -> None:
    groups = np.repeat(np.arange(len(sizes)), sizes)
    mixture = Mixture(n_first, [groups], [share])
    order = mixture.order(np.random.default_rng(seed))
    assert len(order) == mixture.n_rows
    assert np.array_equal(np.bincount(order[order < n_first], minlength=n_first), np.ones(n_first))
    assert order.max() < n_first + len(groups)
    n_others = int((order >= n_first).sum())
    wanted = len(groups) if share is None else share / (1 - share) * n_first
    assert n_others == pytest.approx(wanted, abs=1)


def test_groups_come_equally_often_however_large_they_are() -> None:
    groups = np.repeat([4, 7, 9], [1, 10, 989])
    mixture = Mixture(1000, [groups], [0.9])
    order = mixture.order(np.random.default_rng(0))
    shares = [np.isin(order, 1000 + np.flatnonzero(groups == k)).mean() / 0.9 for k in (4, 7, 9)]
    np.testing.assert_allclose(shares, 1 / 3, atol=0.02)


def test_sources_with_a_share_and_those_by_count_go_together() -> None:
    mixture = Mixture(600, [np.zeros(50, int), np.zeros(7, int)], [None, 0.35])
    order = mixture.order(np.random.default_rng(0))
    n_by_count, n_by_share = ((order >= low) & (order < high) for low, high in ((600, 650), (650, 657)))
    assert n_by_count.sum() == 50
    assert n_by_share.mean() == pytest.approx(0.35, abs=0.002)


@pytest.mark.slow
def test_the_training_part_holds_digits_and_pens_and_their_copies() -> None:
    part = part_of({"data.augment.copies": 2})
    n_train, n_pens = 1287, len(PENS)
    assert part.mixture is not None
    assert len(part.pictures) == len(part.labels) == 3 * (n_train + n_pens)
    np.testing.assert_array_equal(part.labels[3 * n_train :], np.tile(PENS.labels, 3))
    alone = part_of({"data.augment.copies": 2, "data.extra": []})
    assert alone.mixture is None
    np.testing.assert_array_equal(part.pictures[: 3 * n_train], alone.pictures)  # pens change nothing of the digits


def test_noise_is_drawn_anew_for_every_pass_and_as_large_as_said() -> None:
    pictures = np.zeros((300, 8, 8), np.uint8)
    scaling = Scaling(16.0, np.zeros(64, np.float32), 0.25)
    loader = ChunkLoader(
        pictures, np.zeros(300, int), np.arange(300), scaling, 32, warps_rng=np.random.default_rng(0), noise=0.06
    )
    first, second = (np.concatenate([inputs.copy() for inputs, _ in loader]) for _ in range(2))
    assert first[:, :-1].std() == pytest.approx(0.06 / 0.25, rel=0.03)
    assert (first[:, -1] == 1).all()  # the column of ones stays
    assert not np.array_equal(first, second)


# ---- only training sees them -----------------------------------------------------------------------------------------


def test_no_part_but_training_meets_further_sources(work: Path) -> None:
    plain, extra = loaded(), loaded(extra="pens")
    for name in ("train", "validation", "test"):
        for one, other in zip(plain.select(name), extra.select(name), strict=True):
            if isinstance(one, Dataset):
                assert isinstance(other, Dataset)
                np.testing.assert_array_equal(one.pictures, other.pictures)
            else:
                np.testing.assert_array_equal(one, other)
    with_pens = ("--set", "data.extra=pens", "--epochs", "2")
    assert backprop(*QUICK, *with_pens).exit_code == 0
    assert document("eval")["n"] == 360
    assert document("cv", "-c", "quick", "--folds", "2", *with_pens[:2], "--set", "training.epochs=1")["n"] == 1797


@pytest.mark.slow
def test_a_run_with_further_sources_is_resumed_and_verified_to_the_byte(work: Path) -> None:
    settings = ("--set", "data.extra=[{source: pens, share: 0.4}]", "--set", "data.picture=8x8")
    copies = ("--set", "data.augment={kind: copies, copies: 1, rotation: 9, noise: 0.1}", "--set", "ensemble=2")
    assert backprop(*QUICK, *settings, *copies, "--epochs", "2", "--run-dir", "a").exit_code == 0
    assert backprop(*QUICK, *settings, *copies, "--epochs", "4", "--run-dir", "b").exit_code == 0
    assert backprop("train", "--resume", "a", "--epochs", "4", "--progress", "none").exit_code == 0
    assert document("verify", "b")["verdict"] == "equal"
    a, b = (library.load(work / name) for name in "ab")
    np.testing.assert_array_equal(a.predictor.networks[1].params, b.predictor.networks[1].params)


def test_pens_teach_pens_that_were_never_seen(work: Path) -> None:
    assert PENS.groups is not None
    is_known = PENS.groups < 70
    known, others = (
        save(work / f"{name}.npz", PENS.pictures[rows], PENS.labels[rows])
        for name, rows in (("known", is_known), ("others", ~is_known))
    )
    accuracy = []
    for extra in ([], [{"source": known, "share": 0.5}]):
        run = library.train(load_config("quick", {"data.extra": extra}), run_dir=False)
        accuracy.append(run.model.evaluate(data=others).accuracy)
    assert accuracy[1] > accuracy[0] + 0.1


def test_a_diverse_mixture_is_shuffled_with_every_pass() -> None:
    config = load_config("quick", {"data.extra": [{"source": "pens", "share": 0.5}], "training.epochs": 1})
    experiment = Experiment(config)
    with closing(experiment.train()) as events:
        assert [event.stop_reason for event in events if hasattr(event, "stop_reason")] == ["completed"]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ("data.extra=nothing.npz", "nothing.npz: there is no such file"),
        ("data.extra=[{source: pens, share: 1.5}]", "data.extra[0].share: 1.5 is not between 0 and 1"),
        ("data.extra=[{source: pens, share: 0.5}, {source: digits, share: 0.5}]", "leave nothing of data.source"),
        ("data.extra=[{source: pens, kinds: [even_stroke]}]", "other kinds than normalized need augment.kind: copies"),
        ("data.extra=[{source: pens, kinds: []}]", "data.extra[0].kinds: expected at least one"),
        ("data.extra=[{source: pens, kinds: [wild]}]", '"wild" is not one of normalized, proportions, even_stroke'),
        ("data.extra=3", "data.extra: expected a list"),
    ],
)
def test_what_cannot_be_a_further_source_is_refused(change: str, problem: str, work: Path) -> None:
    assert problem in refusal("train", "-c", "quick", "--dry-run", "--set", change)


def test_a_further_source_has_no_class_that_the_data_lack(work: Path) -> None:
    digits = load_digits()
    few = save(work / "few.npz", digits.pictures[digits.labels < 5], digits.labels[digits.labels < 5])
    told = refusal("train", "-c", "quick", "--dry-run", "--set", f"data.source={few}", "--set", "data.extra=pens")
    assert 'data.extra: pens: the model does not know the classes "5"' in told


def test_rows_as_they_are_go_with_rows_of_their_size_whatever_their_range(work: Path) -> None:
    mine = save(work / "mine.npz", large(0, 300), labels(0, 300))
    raw = ("train", "-c", "quick", "--dry-run", "--set", f"data.source={mine}", "--set", "data.picture=raw")
    told = refusal(*raw, "--set", "data.extra=pens")
    assert "data.extra: pens: pictures of 48x48 as they are do not match those of 28x28; set data.picture=28x28" in told
    other = save(work / "other.npz", (large(300, 200) / 255).astype(np.float32), labels(300, 200))
    found = loaded(source=mine, picture="raw", extra=other)
    (extra,) = found.extra
    assert extra.dataset.max_value == found.dataset.max_value == 255
    np.testing.assert_allclose(extra.dataset.pictures, large(300, 200), atol=0.01)


def test_paths_of_further_sources_are_relative_to_the_config(work: Path) -> None:
    (work / "inner").mkdir()
    digits = load_digits()
    save(work / "inner" / "more.npz", digits.pictures[:50], digits.labels[:50])
    (work / "inner" / "my.yaml").write_text("data: {extra: [more.npz, {source: more.npz, share: 0.1}]}\n")
    config = load_config(str(work / "inner" / "my.yaml"))
    assert [one.source for one in config.data.extra] == [str(work / "inner" / "more.npz")] * 2
    assert len(SplitData.load(replace(config)).extra) == 2
