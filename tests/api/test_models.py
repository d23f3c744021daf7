"""What a loaded model answers: predictions, numbers, probabilities, figures, explanations; each a record."""

from __future__ import annotations

import json
from dataclasses import FrozenInstanceError
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import SAMPLES, answer, document

import backprop_cli as backprop
from backprop_cli.data.dataset import load_digits

PICTURE = SAMPLES / "4-1419.png"


def as_json(found: dict[str, Any]) -> Any:
    """Return a dict as it comes out of a JSON document."""
    return json.loads(json.dumps(found, allow_nan=False))


def same(found: dict[str, Any], told: dict[str, Any]) -> bool:
    times = {"seconds": 0, "backward_seconds": 0}
    return as_json(found) | times == told | times


def test_a_model_says_what_it_is(trained: Path) -> None:
    model = backprop.load("quick-1")
    assert (model.classes, model.picture_size) == (tuple("0123456789"), (8, 8))
    assert (model.n_parameters, model.config.name) == (2410, "quick")
    assert model.path == Path("runs/quick-1/model.safetensors")
    assert repr(model) == "<Model runs/quick-1/model.safetensors: 8x8 pictures to 10 classes, 2,410 parameters>"
    assert as_json(model.to_dict())["n_networks"] == 1
    assert backprop.load().path == backprop.load("latest").path == Path("runs/digits-1/model.safetensors")
    assert backprop.load(trained / "runs" / "quick-1").n_parameters == 2410


def test_what_is_no_model_is_refused(work: Path) -> None:
    with pytest.raises(backprop.ModelFileError, match=r"^no model yet; train one first$"):
        backprop.load()
    with pytest.raises(backprop.ModelFileError, match="no such model"):
        backprop.load("nothing")
    assert backprop.load(or_pretrained=True).picture_size == (16, 16)


def test_records_cannot_be_changed(trained: Path) -> None:
    model = backprop.load()
    for record, name in ((model, "path"), (model.predict("digits:3"), "predicted"), (model.evaluate(), "n")):
        with pytest.raises(FrozenInstanceError):
            setattr(record, name, None)


def test_each_record_is_the_document_of_its_command(trained: Path) -> None:
    model = backprop.load()
    (entry,) = document("predict", PICTURE)["predictions"]
    assert as_json(model.predict(PICTURE).to_dict()) == entry
    (entry,) = document("predict", PICTURE, "--digits", "many")["predictions"]
    assert as_json(model.predict_number(PICTURE).to_dict()) == entry
    validation = document("eval", "--split", "validation", "--errors", "3")
    assert same(model.evaluate("validation", n_worst=3).to_dict(), validation)
    assert same(model.evaluate(diagnose=True).to_dict(), document("eval", "--diagnose"))
    rates = ("--learning-rate", "0.1,1", "--top", "5")
    explained = model.explain("digits:1425", learning_rates=(0.1, 1), top=5)
    assert same(explained.to_dict(), document("explain", "digits:1425", *rates))
    small = backprop.load("quick-1")  # of a large one the check takes seconds
    assert same(backprop.check(small).to_dict(), document("check", "-m", "quick-1"))
    assert same(backprop.check("quick").to_dict(), document("check", "-c", "quick"))
    assert [run.to_dict() for run in backprop.runs()] == document("runs")["runs"]
    assert same(backprop.verify("quick-1").to_dict(), document("verify", "quick-1"))


def test_records_show_themselves_in_one_line(trained: Path) -> None:
    model = backprop.load()
    records = [model, model.predict(PICTURE), model.predict_number(PICTURE), model.evaluate(), *backprop.runs()]
    records += [model.explain("digits:3"), backprop.check("quick"), backprop.verify("quick-1")]
    for record in records:
        assert repr(record).startswith(f"<{type(record).__name__} ")
        assert len(repr(record).splitlines()) == 1
        assert len(repr(record)) < 250
    assert "I am " in repr(records[1])
    missing = next(model.predict_many(["none.png"]))
    assert repr(missing) == "<Prediction none.png: none.png: No such file or directory; give a picture file>"


def test_a_prediction_is_what_predict_says(trained: Path) -> None:
    found = backprop.load().predict(PICTURE)
    assert (found.predicted, found.error, found.path) == ("4", None, str(PICTURE))
    assert found.probabilities is not None
    assert found.probability == max(found.probabilities.values())
    assert sum(found.probabilities.values()) == pytest.approx(1.0)
    assert answer("predict", PICTURE).splitlines()[0] == found.sentence()
    assert found.pixels is not None
    assert found.pixels.shape == (8, 8)
    assert found.input_png().startswith(b"\x89PNG")


def test_many_pictures_come_one_after_the_other(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, read = backprop.load(), []

    def noted(source: Any, *arguments: Any) -> Any:
        read.append(source)
        return original(source, *arguments)

    from backprop_cli.api import prediction

    original = prediction.picture_input
    monkeypatch.setattr(prediction, "picture_input", noted)
    found = model.predict_many(SAMPLES)
    assert read == []
    first = next(found)
    assert (first.path, len(read)) == (str(SAMPLES / "0-1415.png"), 1)
    rest = list(found)
    assert len(rest) == len(read) - 1 == 29
    assert model.predict(rest[-1].path).to_dict() == rest[-1].to_dict()
    with_errors = list(model.predict_many([PICTURE, "none.png", b"", "digits:3"]))
    assert [one.error is None for one in with_errors] == [True, False, False, True]
    with pytest.raises(backprop.PictureError, match="No such file"):
        with_errors[1].sentence()
    with pytest.raises(backprop.PictureError):
        with_errors[1].input_png()


def test_numbers_are_read_from_left_to_right(trained: Path) -> None:
    from PIL import Image

    model = backprop.load("pretrained")
    tiles = [
        np.asarray(Image.open(SAMPLES / name).convert("L").resize((96, 96))) for name in ("4-1419.png", "1-1416.png")
    ]
    found = model.predict_number(np.hstack(tiles))
    assert found.text == "41"
    assert [digit.predicted for digit in found.digits] == ["4", "1"]
    assert found.digits[0].box[0] < found.digits[1].box[0]
    with pytest.raises(backprop.UsageError, match="the samples hold one digit each"):
        model.predict_number("digits:3")
    with pytest.raises(backprop.PictureError):
        model.predict_number(b"")
    texts = [one.text or one.error for one in model.predict_numbers([np.hstack(tiles), "none.png"])]
    assert texts[0] == "41"
    assert "No such file" in str(texts[1])


def test_predict_proba_takes_what_the_network_itself_sees(trained: Path) -> None:
    model, pictures = backprop.load(), load_digits().pictures[:5]
    found = model.predict_proba(pictures)
    assert found.shape == (5, 10)
    np.testing.assert_allclose(found.sum(axis=1), 1.0, rtol=1e-5)
    np.testing.assert_array_equal(found, model.predict_proba(pictures.reshape(5, 64)))
    np.testing.assert_array_equal(found, model.predict_proba(pictures.astype(float)))
    assert model.predict_proba(pictures[:0]).shape == (0, 10)
    assert list(found.argmax(axis=1)) == [int(str(model.predict(f"digits:{k}").predicted)) for k in range(5)]


@pytest.mark.parametrize(
    "grids",
    [
        np.zeros((8, 8)),
        np.zeros((5, 28, 28)),
        np.zeros((5, 63)),
        np.full((5, 8, 8), 255, np.uint8),
        np.linspace(0, 1, 320).reshape(5, 8, 8),
        np.full((5, 8, 8), -1.0),
        np.full((5, 8, 8), np.nan),
        np.full((5, 8, 8), "x"),
        np.zeros((5, 8, 8), complex),
    ],
)
def test_grids_that_do_not_fit_name_the_other_call(trained: Path, grids: Any) -> None:
    with pytest.raises(backprop.ArgumentError, match="predict takes pictures as a person sees them") as caught:
        backprop.load().predict_proba(grids)
    assert isinstance(caught.value, ValueError)


# ---- figures and explanations --------------------------------------------------------------------------------------


def test_an_evaluation_knows_what_its_rows_prove(trained: Path) -> None:
    model = backprop.load()
    kinds = {part: model.evaluate(part).part_kind for part in ("train", "validation", "test")}
    assert kinds == {"train": "train", "validation": "validation", "test": "writers"}
    found = model.evaluate()
    assert found.is_never_seen
    assert found.about == "written by people the network has never seen"
    assert found.confusion_matrix.sum() == found.n == 382
    assert not model.evaluate("train").warnings
    assert len({found, model.evaluate()}) == 2  # records are compared by identity
    other = model.evaluate(data="digits")
    assert (other.part_kind, other.n, other.split) == ("other", 1797, "digits")
    assert other.warnings[0].startswith("the model was trained on 1,2")
    (worst,) = model.evaluate(n_worst=1).worst_answers
    assert worst.pixels.shape == (8, 8)


def test_an_evaluation_of_nothing_is_refused(trained: Path) -> None:
    model = backprop.load()
    with pytest.raises(backprop.ArgumentError, match=r"^n_worst -1: expected a whole number from 0 to 10,000$"):
        model.evaluate(n_worst=-1)
    with pytest.raises(backprop.ArgumentError, match=r'^split "all": not one of train, validation, test$'):
        model.evaluate("all")  # type: ignore[arg-type]
    np.savez("others.npz", images=np.ones((20, 8, 9)), labels=np.arange(20) % 11)
    with pytest.raises(backprop.DataError, match=r'^data others.npz: the model does not know the class "10" '):
        model.evaluate(data="others.npz")
    Path("others.npz").unlink()
    with pytest.raises(backprop.ArgumentError, match=r"^split test: this model was trained without a test part$"):
        backprop.load("pretrained").evaluate()
    with pytest.raises(backprop.DataError, match="is not one of digits"):
        model.evaluate(data="nothing.xyz")


def test_an_explanation_has_every_number(trained: Path) -> None:
    model = backprop.load()
    found = model.explain(PICTURE, label="7", learning_rates=(0.01, 10.0))
    assert (found.label, found.label_source, found.predicted) == ("7", "given", "4")
    assert [delta.shape for delta in found.trace.deltas] == [(layer.fan_out,) for layer in found.layers]
    assert found.input_gradient.shape == (8, 8)
    assert found.loss == pytest.approx(-np.log(found.probabilities["7"]), rel=1e-9)
    assert [step.learning_rate for step in found.steps] == [0.01, 10.0]
    assert found.steps[0].loss < found.loss
    assert found.check.passed
    assert f"{found.loss:.4g}" in found.loss_formula
    sheet = found.worksheet()
    assert sheet.path[-1] == "7"
    assert found.worksheet(sheet.path).text == sheet.text
    assert found.worksheet([str(part) for part in sheet.path]).text == sheet.text


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"label": "x"}, '^label: "x" is not one of 0, 1, '),
        ({"top": -1}, "^top -1: expected a whole number from 1 to 10,000$"),
        ({"top": 2.5}, "^top 2.5: expected a whole number"),
        ({"invert": "banana"}, '^invert "banana": not one of auto, yes, no$'),
        ({"learning_rates": ["x"]}, "^learning_rates .*: 1 to 20 numbers above 0"),
        ({"learning_rates": ()}, r"^learning_rates \(\): 1 to 20 numbers above 0"),
        ({"learning_rates": (0.1, -1.0)}, r"^learning_rates \(0.1, -1.0\): 1 to 20 numbers above 0"),
    ],
)
def test_what_an_explanation_cannot_be_of_is_refused(trained: Path, arguments: Any, problem: str) -> None:
    with pytest.raises(backprop.ArgumentError, match=problem):
        backprop.load().explain("digits:3", **arguments)


def test_learning_rates_may_be_numbers_of_any_kind(trained: Path) -> None:
    model = backprop.load("quick-1")
    for rates in (0.1, np.float32(0.5), np.array([0.1, 0.2], np.float32), np.array([1, 2])):
        found = as_json(model.explain("digits:3", learning_rates=rates).to_dict())
        assert [step["learning_rate"] for step in found["steps"]] == pytest.approx(np.atleast_1d(rates).tolist())


def test_data_that_is_no_longer_what_it_was_is_not_measured_on(work: Path) -> None:
    rows = [f"{k % 3}," + ",".join(str((k * j) % 17) for j in range(16)) for k in range(60)]
    Path("a.csv").write_text("\n".join(rows))
    model = backprop.train(backprop.load_config("quick", {"data.source": "a.csv", "training.epochs": 1})).model
    assert model.evaluate().n == 12
    for change in ("abc", "012345"):
        Path("a.csv").write_text("\n".join(f"{change[k % len(change)]}{row[1:]}" for k, row in enumerate(rows)))
        with pytest.raises(backprop.DataError, match=r"no longer what .* was trained on"):
            model.evaluate()
        assert not model.explain(np.eye(30), label="0").check.passed or model.explain(np.eye(30), label="0").notes


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ((1, 2), "this network needs"),
        ((99, 0, 0, "3"), '"99" is not between 0 and 63'),
        ((1, 2, 3, "x"), '"x" is not one of'),
    ],
)
def test_a_path_that_is_none_is_refused(trained: Path, path: Any, problem: str) -> None:
    found = backprop.load("quick-1").explain("digits:3")
    path = path if len(path) < 4 else (*path[: len(found.layers)], path[-1])
    with pytest.raises(backprop.ArgumentError, match=problem):
        found.worksheet(path)
