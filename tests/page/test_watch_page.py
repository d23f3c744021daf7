"""A training that is watched from the page: steered, ended, drawn for, held against blind nudges; and teaching."""

from __future__ import annotations

import json
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from command_line import PATIENCE, document, refusal, started
from pages import FOUR, Server, ask, request, serving
from test_draw_page import CONTRAST, choose, draw, opened, settle

import backprop_cli as backprop
from backprop_cli.api.blind import blind_result_of
from backprop_cli.api.watching import MAX_POINTS, Watch
from backprop_cli.page.report import run_page


def quick(n_epochs: int, **overrides: Any) -> Watch:
    return Watch(backprop.training("quick", overrides={"training.epochs": n_epochs, **overrides}))


@pytest.fixture
def server(work: Path) -> Iterator[Server]:
    with serving(None, work / "mine", quick(3)) as found:
        yield found


def until_over(server: Server) -> dict[str, Any]:
    while not (found := ask(server, "train", do="go"))["is_over"]:
        pass
    return found


def test_it_is_moved_as_far_as_is_asked_and_a_look_moves_nothing(server: Server) -> None:
    first = ask(server, "train")
    assert (first["epoch"], first["n_epochs"], first["history"], first["train_loss"]) == (0, 3, [], None)
    assert (len(first["units"]), len(first["units"][0]), len(first["digit"]["pixels"])) == (32, 8, 8)
    step = ask(server, "train", do="step")
    assert (step["epoch"], step["n_finished"]) == (1, 0)
    assert step["units"] != first["units"]
    assert ask(server, "train", do="look") == step
    while not (found := ask(server, "train", do="epoch"))["n_finished"]:
        pass
    assert (found["n_finished"], found["is_over"], found["has_model"]) == (1, False, True)
    assert set(found["history"][0]) == {"epoch", "member", "seconds", "train_loss", "val_loss", "val_accuracy"}
    assert found["digit"]["label"] in found["digit"]["probabilities"]


def test_watching_changes_nothing_in_what_is_learned_and_a_rate_set_by_hand_is_recorded(server: Server) -> None:
    found = until_over(server)
    assert found["is_repeatable"]
    assert "trained to its end" in found["said"]
    assert server.desk.watch is not None
    sha256 = server.desk.watch.close().parameters_sha256
    assert sha256 == backprop.train("quick", overrides={"training.epochs": 3}, run_dir=False).parameters_sha256
    with serving(None, Path("mine"), quick(2)) as other:
        assert ask(other, "train", do="step", learning_rate=0.5)["learning_rate"] == 0.5
        found = until_over(other)
    rows = [json.loads(line) for line in (Path(found["run"]) / "metrics.jsonl").read_text().splitlines()]
    assert rows[0]["learning_rates_set"] == [[0, 0.5]]
    assert not found["is_repeatable"]


@pytest.mark.parametrize("question", [{"do": "run"}, {"do": 3}, {"learning_rate": "x"}, {"learning_rate": True}])
def test_other_moves_are_refused(server: Server, question: dict[str, Any]) -> None:
    assert request(server, "POST", "/api/train", json.dumps(question).encode())[0] == 400
    assert "learning_rate 0.0" in ask(server, "train", learning_rate=0)["error"]


def test_before_its_end_nobody_draws_for_it_and_then_they_do(server: Server) -> None:
    for kind in ("model", "look"):
        assert "no model to draw for yet" in ask(server, kind, picture=FOUR)["error"]
    assert "end it first" in ask(server, "draw")["error"]
    assert "let the training end first" in ask(server, "blind")["error"]
    assert "is running" in ask(server, "teach")["error"]
    while not ask(server, "train", do="epoch")["n_finished"]:
        pass
    ended = ask(server, "train", do="end")
    assert (ended["is_over"], "can be resumed" in ended["said"]) == (True, True)
    assert ask(server, "draw") == {}
    assert ask(server, "model")["is_watched"]
    assert ask(server, "look", picture=FOUR)["predicted"] in "0123456789"
    assert document("train", "--resume", ended["run"])["epochs"] == 3


def test_a_training_that_leaves_the_finite_numbers_is_told(work: Path) -> None:
    wild = {"optimizer": {"name": "sgd", "learning_rate": 1e9}, "training.gradient_clip": None}
    with serving(None, work, quick(3, **wild)) as server:
        assert "training diverged in epoch 1" in until_over(server)["said"]
        assert "diverged" in ask(server, "draw")["error"]


def test_curves_are_bounded(work: Path) -> None:
    with serving(None, work, quick(MAX_POINTS + 50, **{"training.batch_size": 2000})) as server:
        history = until_over(server)["history"]
    assert len(history) <= MAX_POINTS + 1
    assert history[-1]["epoch"] > MAX_POINTS


def test_the_blind_sculptor_gets_the_same_time_and_is_saved(server: Server) -> None:
    ended = until_over(server)
    while not (found := ask(server, "blind"))["is_over"]:
        pass
    assert found["trained_seconds"] == pytest.approx(ended["seconds"])
    assert found["seconds"] >= found["trained_seconds"]
    assert found["val_accuracy"] < found["trained_val_accuracy"] == ended["history"][-1]["val_accuracy"]
    losses = [loss for _, _, loss in found["curve"]]
    assert losses == sorted(losses, reverse=True)
    saved = blind_result_of(Path(ended["run"]))
    assert saved is not None
    assert saved.guesses == found["guesses"]
    assert ask(server, "blind") == found
    page = run_page(backprop.report(ended["run"])).decode()
    assert f"nudged at random {found['guesses']:,} times" in page


def test_a_model_is_taught_the_drawings_that_were_kept(work: Path) -> None:
    backprop.train("quick", overrides={"training.epochs": 3}, run_dir="own")
    with serving("own", work / "mine") as server:
        assert "there are no drawings yet" in ask(server, "teach")["error"]
        for _ in range(3):
            ask(server, "keep", picture=FOUR, label="9")  # as somebody might who writes it so
        assert not ask(server, "model")["is_watched"]
        assert ask(server, "teach") == {}
        assert ask(server, "train")["taught"] == {"n": 3, "before": 0, "after": None, "others": None}
        found = until_over(server)
        taught = found["taught"]
        assert "begins with random weights" in ask(server, "blind")["error"]
        ask(server, "draw")
        now = ask(server, "look", picture=FOUR)["predicted"]
        assert taught["after"] == (3 if now == "9" else 0)
        accuracies = [backprop.load(run).evaluate().accuracy for run in ("own", found["run"])]
        assert [taught["others"]["before"], taught["others"]["now"]] == accuracies
        assert "mine" in (Path(found["run"]) / "config.yaml").read_text()
        server.desk.can_teach = False
        assert "where the page was started" in ask(server, "teach")["error"]


def test_the_command_ends_as_an_interrupted_run(work: Path) -> None:
    assert "cannot be used with --model" in refusal("draw", "--train", "-m", "pretrained", "--no-browser")
    assert "need --train" in refusal("draw", "-c", "quick", "--no-browser")
    running = started("draw", "--train", "-c", "quick", "--set", "training.epochs=9", "--no-browser", cwd=work)
    assert running.stdout is not None
    address, _, token = running.stdout.readline().decode().split()[1].partition("#")
    host, _, port = address.removeprefix("http://").removesuffix("/watch").rpartition(":")
    body = b'{"do": "epoch"}'
    with socket.create_connection((host, int(port)), timeout=PATIENCE) as connection:
        head = f"POST /api/train HTTP/1.0\nHost: {host}:{port}\nX-Token: {token}\nContent-Length: {len(body)}\n\n"
        connection.sendall(head.replace("\n", "\r\n").encode() + body)
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert b" 200 " in answer.partition(b"\r\n")[0]
    running.send_signal(signal.SIGINT)
    _, stderr = running.communicate(timeout=PATIENCE)
    assert (running.returncode, b"Traceback" in stderr) == (0, False), stderr
    assert b"train --resume runs/quick-1" in stderr
    assert document("train", "--resume", "runs/quick-1")["epochs"] == 9


def test_it_is_watched_in_a_browser(new_page: Callable[..., Any], work: Path) -> None:
    with serving(None, work / "mine", quick(6)) as server:
        page = opened(new_page(), server)
        assert page.url.endswith("/watch")
        page.keyboard.press("s")
        page.locator("#status", has_text="epoch 1 of 6").wait_for()
        page.locator("#epoch").click()
        page.wait_for_selector("#curves polyline", state="attached")
        assert page.inner_text("#go") == "Go"
        page.locator("#rate").press("ArrowRight")
        page.locator("#status", has_text="set by hand").wait_for()
        page.evaluate("document.activeElement.blur()")
        page.keyboard.press(" ")
        page.wait_for_selector("#said:not([hidden])")
        assert "trained to its end" in page.inner_text("#said")
        page.locator("#blind").click()
        page.wait_for_selector("#blind-curves polyline", state="attached")
        settle(page)
        assert "of the validation digits read, with the gradient" in page.inner_text("#blind-text")
        found = page.evaluate(CONTRAST)
        assert found[0][0] >= 4.5, found[:5]
        assert page.evaluate("() => document.documentElement.scrollHeight") == 720
        page.set_viewport_size({"width": 390, "height": 844})
        assert page.evaluate("() => document.documentElement.scrollWidth") == 390
        page.locator("#draw").click()
        page.wait_for_selector("#pad")
        page.wait_for_selector("body[data-ready]")
        assert page.locator("#watch").is_visible()


def test_where_the_port_is_taken_no_run_is_left_behind(work: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = refusal("draw", "--train", "-c", "quick", "--no-browser", "--port", port)
    taken_said = f"error: --host 127.0.0.1 --port {port}: Address already in use; without --port, a free one is used"
    assert said.strip() == taken_said
    assert list(work.iterdir()) == []


def test_teaching_is_begun_by_a_button(new_page: Callable[..., Any], work: Path) -> None:
    backprop.train("quick", overrides={"training.epochs": 2}, run_dir="own")
    with serving("own", Path("mine")) as server:
        page = opened(new_page(), server)
        draw(page, "7")
        choose(page, "7")
        page.locator("#keep").click()
        page.wait_for_selector("#kept[open]")
        assert page.inner_text("#kept-command").endswith("own/model.safetensors --set data.extra=mine")
        page.locator("#teach").click()
        page.wait_for_selector("#filters canvas")
        assert "Of your 1 drawing," in page.inner_text("#taught")
        page.locator("#slowly").uncheck()
        page.locator("#go").click()
        page.wait_for_selector("#said:not([hidden])")
        assert "after it. Of 360 others (the test part of its own data)" in page.inner_text("#taught")
