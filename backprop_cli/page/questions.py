"""The questions that the drawing page may ask: each checked, put to the board, and answered as plain data."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from backprop_cli.api.drawing import MAX_STEPS, Board, Picture, Step
from backprop_cli.api.keeping import MAX_KEPT, keep_picture, n_kept, small_picture
from backprop_cli.api.watching import MOVES, Watch, teaching
from backprop_cli.errors import BackpropError, UsageError
from backprop_cli.files import parse_json

Answer = TypeVar("Answer")


class QuestionError(Exception):
    """What the page would never ask."""


class Desk:
    """Where questions are answered: one at a time is put to the networks, and beside it one measurement of the others.

    Each of the two has a thread of its own, which is a lock that also holds the memory together: arrays that came and
    went in a hundred threads would leave it full of holes. So has the training that is watched.

    Args:
        board: Knows the model; None: there is none before the training has ended.
        folder: Where drawings are kept.
        watch: The training that is watched.
        can_teach: Whether the page may begin a training.
    """

    def __init__(
        self, board: Board | None, folder: Path, watch: Watch | None = None, *, can_teach: bool = True
    ) -> None:
        self._board, self.folder, self.watch, self.can_teach = board, folder, watch, can_teach
        self._networks, self._measuring, self._training = (ThreadPoolExecutor(1) for _ in range(3))

    @property
    def board(self) -> Board:
        """Knows the model.

        Raises:
            UsageError: There is none yet.
        """
        if self._board is None:
            raise UsageError("there is no model to draw for yet: watch it train first")
        return self._board

    def watched(self, ask: Callable[[Watch], dict[str, Any]]) -> dict[str, Any]:
        """Put a question to the training that is watched.

        Raises:
            UsageError: There is none.
        """

        def answer() -> dict[str, Any]:
            if self.watch is None:
                raise UsageError("there is no training to watch")
            return ask(self.watch)

        return self._training.submit(answer).result()

    def teach(self) -> None:
        """Begin to teach the model the drawings that were kept.

        Raises:
            UsageError: Not now, or not here.
        """
        if not self.can_teach:
            raise UsageError("teaching is begun where the page was started, by the command that is shown")
        self._training.submit(self._teach).result()

    def _teach(self) -> None:
        if self.watch is not None and self.watch.run is None:
            raise UsageError("a training is running; let it end first")
        self.watch = teaching(self.board.model, self.folder)

    def take_trained(self) -> None:
        """Draw for the model that was trained.

        Raises:
            UsageError: It is still in training.
            ModelFileError: There is none.
        """
        if self.watch is not None:
            self._board = Board(self.watch.model)

    def close(self) -> None:
        """End the training that is watched: what it has learned stays in its directory."""
        if self.watch is not None:
            self.watch.training.close()  # before its next event
            self._training.submit(self.watch.close).result()

    def in_turn(self, work: Callable[[], Answer]) -> Answer:
        """Do what the networks, or that folder, are needed for."""
        return self._networks.submit(work).result()

    def measured(self, steps: tuple[Step, ...]) -> dict[str, Any]:
        """Return what some steps do to the others; all else goes on meanwhile."""
        return self._measuring.submit(self._measure, self.board, steps).result()

    def _measure(self, board: Board, steps: tuple[Step, ...]) -> dict[str, Any]:
        networks = self.in_turn(lambda: board.after(steps))  # nobody changes them any more
        return board.others.accuracy(networks)

    def read_others(self) -> None:
        """Read the model's own data."""
        with suppress(BackpropError):  # said to who asks for them
            self._measuring.submit(self.board.others.found).result()


class Question(NamedTuple):
    """One question: how its body is answered; whether that is a file's content instead of JSON; whether it may last."""

    answer: Callable[[Desk, bytes], dict[str, Any]]
    takes_bytes: bool = False
    is_slow: bool = False


def _model(desk: Desk, body: bytes) -> dict[str, Any]:
    kept = {"folder": str(desk.folder), "n_kept": n_kept(desk.folder), "max_kept": MAX_KEPT}
    return desk.board.about() | {
        "keeping": kept | {"can_teach": desk.can_teach},
        "is_watched": desk.watch is not None,
    }


def _look(desk: Desk, body: bytes) -> dict[str, Any]:
    asked = _Asked(body)
    desk.board.seen(asked.picture)  # read before it is its turn: most of the time goes there
    picture, steps = asked.picture, asked.steps
    return desk.in_turn(lambda: desk.board.look(picture, steps)).to_dict()


def _unit(desk: Desk, body: bytes) -> dict[str, Any]:
    asked = _Asked(body)
    picture, steps, layer, unit = asked.picture, asked.steps, asked.whole("layer"), asked.whole("unit")
    return desk.in_turn(lambda: desk.board.unit(picture, layer, unit, steps)).to_dict()


def _correct(desk: Desk, body: bytes) -> dict[str, Any]:
    asked = _Asked(body)
    step, steps = _step(asked.document, asked.picture), asked.steps
    return desk.in_turn(lambda: desk.board.correct(step.picture, step.label, step.learning_rate, steps)).to_dict()


def _others(desk: Desk, body: bytes) -> dict[str, Any]:
    return desk.measured(_Asked(body).steps)


def _hardest(desk: Desk, body: bytes) -> dict[str, Any]:
    return {"sample": desk.board.others.hardest()}


def _keep(desk: Desk, body: bytes) -> dict[str, Any]:
    asked = _Asked(body)
    label, png = asked.document.get("label"), asked.picture
    if not isinstance(label, str) or isinstance(png, int) or label not in desk.board.model.classes:
        raise QuestionError("expected a drawing and one of the classes")
    path = desk.in_turn(lambda: keep_picture(desk.folder, label, png))
    return {"path": path.as_posix(), "n_kept": n_kept(desk.folder)}


def _picture(desk: Desk, body: bytes) -> dict[str, Any]:
    return {"png": base64.b64encode(small_picture(body)).decode()}


def _train(desk: Desk, body: bytes) -> dict[str, Any]:
    document = _Asked(body).document
    move, rate = document.get("do", "look"), document.get("learning_rate")
    if move not in MOVES or isinstance(rate, bool) or not isinstance(rate, int | float | None):
        raise QuestionError("do and learning_rate: expected a move and a number")
    return desk.watched(lambda watch: watch.move(move, None if rate is None else float(rate)))


def _blind(desk: Desk, body: bytes) -> dict[str, Any]:
    return desk.watched(Watch.blind)


def _draw(desk: Desk, body: bytes) -> dict[str, Any]:
    desk.take_trained()
    return {}


def _teach(desk: Desk, body: bytes) -> dict[str, Any]:
    desk.teach()
    return {}


QUESTIONS = {
    "/api/model": Question(_model),
    "/api/look": Question(_look),
    "/api/unit": Question(_unit),
    "/api/correct": Question(_correct),
    "/api/others": Question(_others),
    "/api/hardest": Question(_hardest),
    "/api/keep": Question(_keep),
    "/api/picture": Question(_picture, takes_bytes=True),
    "/api/train": Question(_train, is_slow=True),
    "/api/blind": Question(_blind),
    "/api/draw": Question(_draw),
    "/api/teach": Question(_teach, is_slow=True),
}


class _Asked:
    """The body of a question.

    Attributes:
        document: All of it.
    """

    def __init__(self, body: bytes) -> None:
        try:
            found = parse_json(body.decode())
        except ValueError:
            raise QuestionError("no JSON") from None
        if not isinstance(found, dict):
            raise QuestionError("expected a mapping")
        self.document: dict[str, Any] = found

    @property
    def picture(self) -> Picture:
        """What it is about."""
        return _picture_of(self.document.get("picture"))

    @property
    def steps(self) -> tuple[Step, ...]:
        """The steps taken so far."""
        found = self.document.get("steps", [])
        if not isinstance(found, list) or len(found) > MAX_STEPS:
            raise QuestionError("steps: a list, and not too long")
        if not all(isinstance(one, dict) for one in found):
            raise QuestionError("steps: a list of mappings")
        return tuple(_step(one, _picture_of(one.get("picture"))) for one in found)

    def whole(self, key: str) -> int:
        """Return a whole number."""
        value = self.document.get(key)
        if type(value) is not int:
            raise QuestionError(f"{key}: expected a whole number")
        return value


def _step(document: dict[str, Any], picture: Picture) -> Step:
    label, rate = document.get("label"), document.get("learning_rate")
    if not isinstance(label, str) or isinstance(rate, bool) or not isinstance(rate, int | float):
        raise QuestionError("label and learning_rate: expected text and a number")
    return Step(picture, label, float(rate))


def _picture_of(value: Any) -> Picture:
    """Return a picture: `{"png": base64}`, which may be any picture file, or `{"sample": number}`."""
    if isinstance(value, dict) and type(value.get("sample")) is int:
        return int(value["sample"])
    if not isinstance(value, dict) or not isinstance(value.get("png"), str):
        raise QuestionError("picture: expected a png or a sample")
    try:
        return base64.b64decode(value["png"], validate=True)
    except (binascii.Error, ValueError):
        raise QuestionError("picture: not base64") from None
