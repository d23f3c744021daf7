"""The server of the drawing page: who gets an answer, what the answers are, and that nothing is remembered."""

from __future__ import annotations

import json
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import PATIENCE, SAMPLES, document, process, refusal, started
from pages import FOUR, Server, ask, request, serving
from PIL import Image

from backprop_cli.api import keeping
from backprop_cli.api.drawing import KEPT_BYTES
from backprop_cli.api.models import Model
from backprop_cli.engine.layers import LayerSpec
from backprop_cli.engine.network import Network
from backprop_cli.page import server as page_server
from backprop_cli.page.server import FILES
from backprop_cli.predictor import Predictor
from backprop_cli.store.model_file import Model as ModelFile

STEP = {"picture": FOUR, "label": "9", "learning_rate": 0.02}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving("pretrained", tmp_path_factory.mktemp("page") / "mine") as found:
        yield found


@pytest.fixture
def quick(trained: Path) -> Iterator[Server]:
    with serving("quick-1", trained / "mine") as found:
        yield found


# ---- who gets an answer --------------------------------------------------------------------------------------------


def test_the_page_and_its_files_come_with_headers_that_let_nothing_else_in(server: Server) -> None:
    for path in FILES:
        status, headers, body = request(server, "GET", path, X_Token=None, Origin=None)
        assert (status, len(body) > 500) == (200, True)
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "http:" not in policy
        assert headers["Server"] == "backprop"
        assert server.token not in body.decode()
    assert request(server, "GET", "/../server.py")[0] == 404
    assert request(server, "GET", "/api/model")[0] == 404
    assert request(server, "PUT", "/")[0] == 501


def test_without_the_token_there_is_no_answer(server: Server) -> None:
    for token in (None, "", "x" * len(server.token), server.token[:-1], server.token + "\xe9"):
        assert request(server, "POST", "/api/model", b"{}", X_Token=token)[0] == 403
    assert request(server, "POST", "/api/model", b"{}")[0] == 200


def test_the_token_is_compared_in_constant_time(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(page_server.hmac, "compare_digest", lambda *both: bool(asked.append(both)))
    assert request(server, "POST", "/api/model", b"{}")[0] == 403
    assert asked == [(server.token.encode(), server.token.encode())]


@pytest.mark.parametrize("path", ["/", "/api/model"])
def test_a_name_that_only_points_here_is_refused(server: Server, path: str) -> None:
    port = server.server_address[1]
    for host in (None, "evil.example", f"evil.example:{port}", "127.0.0.1", f"127.0.0.1:{port + 1}", f"0.0.0.0:{port}"):
        assert request(server, "GET" if path == "/" else "POST", path, b"{}", Host=host)[0] == 421
    assert request(server, "GET", "/", Host=f"localhost:{port}", Origin=None)[0] == 200


def test_other_sites_are_refused(server: Server) -> None:
    for origin in (
        "http://evil.example",
        "null",
        f"https://127.0.0.1:{server.server_address[1]}",
        "http://127.0.0.1:1",
    ):
        assert request(server, "POST", "/api/model", b"{}", Origin=origin)[0] == 403
    for site in ("cross-site", "same-site"):
        assert request(server, "POST", "/api/model", b"{}", Origin=None, Sec_Fetch_Site=site)[0] == 403
        assert request(server, "POST", "/api/model", b"{}", Sec_Fetch_Site=site, Sec_Fetch_Mode="navigate")[0] == 403
        assert request(server, "GET", "/page.js", Origin=None, Sec_Fetch_Site=site)[0] == 403
    link = {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "navigate"}
    assert request(server, "GET", "/", Origin=None, **link)[0] == 200


def test_questions_are_bounded(server: Server) -> None:
    for length, status in (("8000001", 413), ("9" * 40, 413), ("-1", 411), ("1e3", 411), (None, 411)):
        assert request(server, "POST", "/api/look", None, Content_Length=length)[0] == status
    assert request(server, "POST", "/api/picture", None, Content_Length="20000001")[0] == 413
    assert request(server, "POST", "/api/look", b"", Content_Length=None, Transfer_Encoding="chunked")[0] == 411
    assert "error" in json.loads(request(server, "POST", "/api/picture", bytes(8_000_001))[2])


@pytest.mark.parametrize(
    "question",
    [
        b"",
        b"[]",
        b"{",
        b"\xff",
        b'{"picture": 3}',
        b'{"picture": {"png": "***"}}',
        b'{"picture": {"sample": true}}',
        b'{"picture": {"sample": 1e3}}',
        b'{"picture": {"sample": 1}, "steps": {}}',
        b'{"picture": {"sample": 1}, "steps": [1]}',
        b'{"picture": {"sample": 1}, "steps": [{"picture": {"sample": 1}, "label": 1, "learning_rate": 1}]}',
        b'{"picture": {"sample": 1}, "steps": [{"picture": {"sample": 1}, "label": "1", "learning_rate": NaN}]}',
        b'{"picture": {"sample": 1}, "picture": {"sample": 1}}',
        b'{"picture": ' + b"[" * 100_000,
    ],
)
def test_what_the_page_never_asks_is_a_bad_request(server: Server, question: bytes) -> None:
    assert request(server, "POST", "/api/look", question)[0] == 400


def test_what_a_person_can_mend_is_said_in_words(server: Server) -> None:
    sample = {"sample": 1}
    assert "counted from 0 to 1796" in ask(server, "look", picture={"sample": 1797})["error"]
    assert ask(server, "look", picture={"png": ""})["error"].startswith("empty file")
    steps = [{"picture": sample, "label": "1", "learning_rate": 1}]
    assert "more than 50" not in ask(server, "look", picture=sample, steps=steps * 50).get("error", "")
    assert request(server, "POST", "/api/look", json.dumps({"picture": sample, "steps": steps * 51}).encode())[0] == 400
    for label, rate, said in (("x", 1, 'label: "x"'), ("1", 0, "learning_rate 0"), ("1", 1e9, "learning_rate 1e+09")):
        assert said in ask(server, "correct", picture=sample, label=label, learning_rate=rate)["error"]
    assert "no such unit" in ask(server, "unit", picture=sample, layer=9, unit=0)["error"]


def test_who_is_too_slow_is_cut_off_and_nobody_else_waits(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_server, "SECONDS_TO_ASK", 0.3)
    head = f"POST /api/look HTTP/1.0\r\nHost: 127.0.0.1:{server.server_address[1]}\r\nX-Token: {server.token}\r\n"
    slow = []
    for beginning in (b"", b"GET / HT", f"{head}Content-Length: 99\r\n\r\n".encode() + b"{"):
        slow.append(socket.create_connection(("127.0.0.1", server.server_address[1]), timeout=PATIENCE))
        slow[-1].sendall(beginning)
    assert request(server, "POST", "/api/model", b"{}")[0] == 200
    for connection in slow:
        with connection:
            connection.recv(65536)  # at the latest when it is cut off
    monkeypatch.setattr(page_server, "SECONDS_TO_ASK", 15.0)


def test_too_many_connections_are_not_taken_on(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_server, "MAX_CONNECTIONS", 0)
    with pytest.raises(OSError, match=r"."):
        request(server, "GET", "/")
    monkeypatch.undo()
    assert request(server, "GET", "/", Origin=None)[0] == 200


# ---- what the answers are ------------------------------------------------------------------------------------------


def test_a_look_says_what_predict_says(server: Server) -> None:
    found, wanted = ask(server, "look", picture=FOUR), Model.load("pretrained").predict(SAMPLES / "4-1419.png")
    assert found["probabilities"] == wanted.probabilities
    assert (found["sentence"], found["warnings"]) == (wanted.sentence(), list(wanted.warnings))
    assert wanted.pixels is not None
    assert np.allclose(found["pixels"], wanted.pixels, atol=1e-4)
    assert [len(layer["values"]) for layer in found["layers"]] == [160, 128, 80, 10]


@pytest.mark.parametrize("reference", [pytest.param("pretrained", marks=pytest.mark.slow), "quick-1"])
def test_a_correction_has_the_numbers_of_explain(trained: Path, reference: str) -> None:
    wanted = document("explain", "digits:1628", "-m", reference, "--label", "3", "--learning-rate", "0.02")
    with serving(reference, trained) as server:
        found = ask(server, "correct", picture={"sample": 1628}, label="3", learning_rate=0.02)
        others = ask(server, "others", steps=[STEP]) if reference == "quick-1" else None
    (step,) = wanted["steps"]
    assert found["loss"] == pytest.approx(wanted["loss"], rel=1e-12)
    assert [layer["blame_share"] for layer in found["layers"]] == pytest.approx(
        [layer["blame_share"] for layer in wanted["layers"]]
    )
    assert found["input_gradient"] == pytest.approx(np.array(wanted["input_gradient"]))
    assert (found["forecast_loss"], found["new_loss"]) == pytest.approx((step["forecast_loss"], step["loss"]))
    for here, there in zip(found["weights"], wanted["top_weights"], strict=True):
        assert (here["layer"], here["source"], str(here["target"])) == (
            there["layer"],
            there["from"],
            str(there["to"]),
        )
        assert here["input"] * here["delta"] == pytest.approx(here["gradient"])
        assert here["new_weight"] == pytest.approx(there["new_weight"])
    if others is not None:  # one network: what explain measures
        assert found["probabilities"] == pytest.approx(step["probabilities"])
        assert others["before"] == wanted["test_accuracy"]
        assert others["about"] == "the test part of its own data"


def test_a_step_is_plain_gradient_descent_and_its_forecast_comes_true(server: Server) -> None:
    step = STEP | {"learning_rate": 1e-5}
    told = ask(server, "correct", **step)
    then = ask(server, "correct", **step, steps=[step])
    assert then["loss"] == pytest.approx(told["new_loss"], rel=1e-12)
    assert told["new_loss"] == pytest.approx(told["forecast_loss"], abs=1e-5)
    assert ask(server, "look", picture=FOUR, steps=[step])["probabilities"] == pytest.approx(told["probabilities"])


def test_a_unit_tells_its_sum(server: Server) -> None:
    model = Model.load("pretrained").predictor
    look = ask(server, "look", picture=FOUR)
    inputs = model.scaling.apply(np.array(look["pixels"])[None] * model.scaling.max_value)[0]
    for k, layer in enumerate(model.networks[0].layers):
        unit = ask(server, "unit", picture=FOUR, layer=k, unit=3)
        assert unit["total"] == pytest.approx(float(inputs @ layer.weight[:, 3] + layer.bias[3]), abs=5e-3)
        assert unit["output"] == pytest.approx(look["layers"][k]["values"][3], abs=5e-5)
        source, entering, weight = unit["parts"][0]
        assert (weight, entering) == pytest.approx((float(layer.weight[source, 3]), float(inputs[source])), abs=5e-3)
        if unit["is_direct"]:
            assert np.ravel(unit["weights"]) == pytest.approx(layer.weight[:, 3], abs=5e-5)
        inputs = np.array(look["layers"][k]["values"])


def test_nothing_is_remembered_of_a_visitor(server: Server) -> None:
    untouched = Model.load("pretrained").path
    assert untouched is not None
    before, bytes_before = ask(server, "look", picture=FOUR), untouched.read_bytes()
    steps = [STEP | {"learning_rate": 0.001 * k} for k in range(1, 51)]
    after = [ask(server, "look", picture=FOUR, steps=steps[:k]) for k in (50, 3, 49)]
    assert after[0] != before
    assert ask(server, "look", picture=FOUR) == before
    board = server.desk.board
    board._kept.clear()  # as if many others had asked since
    board._seen.cache_clear()
    assert [ask(server, "look", picture=FOUR, steps=steps[:k]) for k in (50, 3, 49)] == after
    assert untouched.read_bytes() == bytes_before


def test_the_kept_networks_are_bounded(server: Server) -> None:
    board = server.desk.board
    for k in range(board._n_kept + 5):
        ask(server, "look", picture=FOUR, steps=[STEP | {"learning_rate": 1e-4 * (k + 1)}])
    assert len(board._kept) <= board._n_kept
    assert board._n_kept * 8 * board.model.n_parameters <= KEPT_BYTES


def test_too_long_a_step_is_said_not_sent_as_no_number(server: Server) -> None:
    steps = [STEP | {"learning_rate": 100}] * 10
    told = ask(server, "correct", **STEP | {"learning_rate": 100}, steps=steps[:1])
    assert "error" in told or told["overshoots"] or told["new_loss"] is not None
    assert "no longer finite" in ask(server, "look", picture=FOUR, steps=steps).get("error", "no longer finite")


def test_the_lesson_has_four_lines_with_the_true_numbers(server: Server) -> None:
    found = ask(server, "correct", **STEP)
    lines = {line["key"]: line for line in found["lesson"]}
    assert list(lines) == ["GUESS", "LOSS", "BLAME", "CORRECTION"]
    assert f"{found['loss']:.4g}" in lines["LOSS"]["formula"]
    assert "t = 0.955 for 9, 0.005 for the others" in lines["LOSS"]["formula"]  # labels are smoothed
    assert f"{found['weights'][0]['gradient']:.4g}" in lines["BLAME"]["formula"]
    assert f"{found['new_loss']:.4g}" in lines["CORRECTION"]["text"]


def test_the_others_and_the_hardest_digit(quick: Server) -> None:
    found = ask(quick, "others", steps=[])
    assert found["n"] == 360
    assert found["now"] == found["before"] == document("eval", "-m", "quick-1")["accuracy"]
    spoiled = ask(quick, "others", steps=[STEP | {"learning_rate": 3}])
    assert spoiled["now"] < spoiled["before"]
    hardest = ask(quick, "hardest")["sample"]
    assert f"digits:{hardest}" == document("eval", "-m", "quick-1")["worst"][0]["sample"]
    assert ask(quick, "look", picture={"sample": hardest})["name"] == f"digits:{hardest}"


# ---- drawings kept -------------------------------------------------------------------------------------------------


def test_a_drawing_is_kept_as_a_folder_that_training_reads(server: Server, tmp_path: Path) -> None:
    paths = [ask(server, "keep", picture=FOUR, label=label)["path"] for label in ("4", "4", "9")]
    folder = server.desk.folder
    assert [str(Path(path).relative_to(folder)) for path in paths] == ["4/0001.png", "4/0002.png", "9/0001.png"]
    with Image.open(paths[0]) as here, Image.open(SAMPLES / "4-1419.png") as there:
        assert (here.mode, here.format, max(here.size) <= 320) == ("L", "PNG", True)
        assert there.size[0] / there.size[1] == pytest.approx(here.size[0] / here.size[1], rel=0.02)
    found = document("train", "-c", "quick", "--epochs", "1", "--run-dir", str(tmp_path / "run"), "--set",
                     f"data.extra={folder}")  # fmt: skip
    assert found["epochs"] == 1


def test_what_is_kept_is_never_overwritten_nor_endless(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture = (SAMPLES / "4-1419.png").read_bytes()
    (tmp_path / "4").mkdir()
    (tmp_path / "4/0007.png").write_text("mine")
    assert keeping.keep_picture(tmp_path, "4", picture).name == "0008.png"
    assert (tmp_path / "4/0007.png").read_text() == "mine"
    monkeypatch.setattr(keeping, "MAX_KEPT", 2)
    with pytest.raises(ValueError, match="holds 2 pictures, the most it may"):
        keeping.keep_picture(tmp_path, "4", picture)
    for label in ("..", ".", "", "a/b", "a\\b", "\0", ".hidden", "x" * 200, "Thumbs.db"):
        with pytest.raises(ValueError, match="cannot be the name of a folder"):
            keeping.keep_picture(tmp_path, label, picture)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["4"]


def test_only_drawings_of_a_class_are_kept(server: Server) -> None:
    for question in ({"picture": {"sample": 1}, "label": "1"}, {"picture": FOUR, "label": "../x"}, {"picture": FOUR}):
        assert request(server, "POST", "/api/keep", json.dumps(question).encode())[0] == 400


def test_any_picture_file_comes_back_small_and_gray(server: Server) -> None:
    status, _, body = request(server, "POST", "/api/picture", (SAMPLES / "3-1428.jpg").read_bytes())
    assert (status, list(json.loads(body))) == (200, ["png"])
    assert ask(server, "look", picture=json.loads(body))["predicted"] == "3"
    said = json.loads(request(server, "POST", "/api/picture", b"%PDF-1.4")[2])["error"]
    assert "PDF" in said


# ---- any model, and the command -------------------------------------------------------------------------------------


def model_of(classes: tuple[str, ...], loss: dict[str, Any]) -> Model:
    """Return a model that no file holds: one network, its weights drawn at random."""
    network = Network([LayerSpec(6, "tanh")], 64, len(classes), rng=np.random.default_rng(0))
    content = ModelFile(
        classes=classes,
        config={},
        layers=({"units": 6, "activation": "tanh", "dropout": 0.0},),
        loss=loss,
        members=(network.params,),
        mean=np.zeros(64, np.float32),
        n_inputs=64,
        preprocessing={"picture": [8, 8], "max_value": 16.0, "scale": 1.0, "slant": "edges"},
        summary={},
        temperature=1.0,
    )
    return Model(Predictor(content))


@pytest.mark.parametrize("loss", [{"name": "cross_entropy"}, {"name": "mse", "output": "sigmoid"}, {"name": "mse"}])
def test_a_model_of_other_classes_and_losses(tmp_path: Path, loss: dict[str, Any]) -> None:
    with serving(model_of(("<b>", "a & b"), loss), tmp_path) as server:
        about = ask(server, "model")
        assert (about["classes"], about["has_samples"]) == (["<b>", "a & b"], False)
        found = ask(server, "correct", picture=FOUR, label="<b>", learning_rate=0.1)
        assert len(found["lesson"]) == 4
        assert found["new_loss"] < found["loss"]
        assert "error" in ask(server, "others", steps=[])
        assert "error" in ask(server, "hardest")
        assert Path(ask(server, "keep", picture=FOUR, label="<b>")["path"]).parent.name == "<b>"


def test_others_are_let_in_only_where_that_is_meant(work: Path) -> None:
    for host in ("0.0.0.0", "192.0.2.7", "::"):
        said = refusal("draw", "--no-browser", "--host", host)
        assert "add --allow-others if you want that" in said
        assert "nothing is encrypted" in said
    assert "an address" in refusal("draw", "--no-browser", "--host", "example.org", "--allow-others")
    said = refusal("draw", "--no-browser", "--host", "192.0.2.7", "--allow-others", "-m", "pretrained")
    assert "--host 192.0.2.7 --port 0" in said


@pytest.mark.parametrize("options", [(), ("--host", "0.0.0.0", "--allow-others")], ids=["loopback", "others"])
def test_the_command_prints_the_address_and_ctrl_c_ends_it_at_once(tmp_path: Path, options: tuple[str, ...]) -> None:
    running = started("draw", "-m", "pretrained", "--no-browser", *options, cwd=tmp_path)
    assert running.stdout is not None
    line = running.stdout.readline().decode()
    address, _, token = line.split()[1].partition("/#")
    host, _, port = address.removeprefix("http://").rpartition(":")
    with socket.create_connection((host, int(port)), timeout=PATIENCE) as connection:
        head = f"POST /api/model HTTP/1.0\r\nHost: {host}:{port}\r\nX-Token: {token}\r\nContent-Length: 2\r\n\r\n{{}}"
        connection.sendall(head.encode())
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert b" 200 " in answer.partition(b"\r\n")[0]
    begin = time.monotonic()
    running.send_signal(signal.SIGINT)
    _, stderr = running.communicate(timeout=PATIENCE)
    assert running.returncode == 0, stderr
    assert b"Traceback" not in stderr
    assert token.encode() not in stderr
    assert (b"anyone with this address" in stderr) == bool(options)
    assert time.monotonic() - begin < PATIENCE


def test_a_port_that_is_taken_is_said(work: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = process("draw", "-m", "pretrained", "--no-browser", "--port", port, cwd=work)
    assert done.returncode == 2
    assert f"--port {port}".encode() in done.stderr
