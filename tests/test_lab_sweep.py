"""The MNIST experiment: what is run, what is measured in a run, that nothing is lost or done twice, that damage is
noticed, and that what it claims holds. Measures are compared with their definitions on numbers chosen here."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tinygrad_m import nn
from tinygrad_m.lab import analysis, journal, mnist, parallel, sweep
from tinygrad_m.lab.study import Claim, Figure, Options, Study, plain, write_json

TINY = sweep.Settings(images=320, tests=200, epochs=2, seeds=1, targets=(30.0, 60.0),
                      heat_rates=(0.001, 0.01, 0.1, 1.0), heat_epochs=1, heat_seeds=1)  # fmt: skip


def one(**changes: Any) -> dict[str, Any]:
    return {**sweep.job("momentum", 0.05, 0.9, 0, TINY, 2), **changes}


@pytest.fixture(scope="module")
def experiment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return sweep.run(TINY, tmp_path_factory.mktemp("tiny") / "sweep.jsonl", quiet=True)


# -- what is run ------------------------------------------------------------------------------------


def test_the_values_of_momentum_are_listed_and_none_is_lost_to_rounding() -> None:
    assert {0.5, 0.6, 0.7, 0.8, 0.9, 0.99} <= set(sweep.MOMENTA) and {0.0, 0.95} <= set(sweep.MOMENTA)


@pytest.mark.parametrize("settings", [sweep.FULL, sweep.QUICK])
def test_the_plan_has_every_setting_once(settings: sweep.Settings) -> None:
    jobs = sweep.plan(settings)
    keys = [sweep.key(job) for job in jobs]
    assert len(keys) == len(set(keys))
    for name in sweep.OPTIMIZERS:
        for protocol in sweep.PROTOCOLS:
            for mu in sweep.MOMENTA:
                for seed in range(settings.seeds):
                    job = sweep.job(name, sweep.rate(name, protocol, mu), mu, seed, settings, settings.epochs)
                    assert sweep.key(job) in keys
    assert settings.seeds >= 3 and sweep.FULL.seeds >= 5


def test_the_matched_protocol_keeps_the_effective_rate() -> None:
    for name in sweep.OPTIMIZERS:
        effective = [sweep.rate(name, "matched", mu) / (1 - mu) for mu in sweep.MOMENTA]
        np.testing.assert_allclose(effective, sweep.FIXED[name][1], rtol=1e-5)
        assert {sweep.rate(name, "large", mu) for mu in sweep.MOMENTA} == {sweep.FIXED[name][1]}


# -- one run ----------------------------------------------------------------------------------------


def test_a_run_is_the_same_every_time_and_seeds_are_paired() -> None:
    first, again, other = sweep.train(one()), sweep.train(one()), sweep.train(one(seed=1))
    for run in (first, again, other):
        run.pop("seconds")
    assert first == again and first != other
    still = sweep.train(one(lr=0.0))  # the same first batch and weights, whatever the rate
    assert still["curve"][0] == first["curve"][0]


def test_a_run_equals_a_loop_written_in_numpy() -> None:
    """The first batch's loss and its successor, from the same weights, with the gradient by hand."""
    job = one(epochs=1, images=128, momentum=0.9)
    run = sweep.train(job)
    x, y, _, _ = sweep.digits(128, 1)
    import tinygrad_m as tg

    tg.manual_seed(job["seed"])
    w1, b1, w2, b2 = (p.numpy().astype(float) for p in _network_parameters())
    order = np.random.default_rng([job["seed"], 0]).permutation(128)
    losses = []
    for rows in (order[:64], order[64:]):
        a, t = x[rows].astype(float), y[rows]
        h = np.maximum(a @ w1.T + b1, 0)
        z = h @ w2.T + b2
        p = np.exp(z - z.max(1, keepdims=True))
        p /= p.sum(1, keepdims=True)
        losses.append(-np.log(p[np.arange(64), t]).mean())
        d = (p - np.eye(10)[t]) / 64
        dh = d @ w2 * (h > 0)
        w2, b2 = w2 - job["lr"] * d.T @ h, b2 - job["lr"] * d.sum(0)  # the first step of momentum is SGD's
        w1, b1 = w1 - job["lr"] * dh.T @ a, b1 - job["lr"] * dh.sum(0)
    np.testing.assert_allclose(run["curve"], losses, rtol=1e-4)


def _network_parameters() -> list[Any]:
    model = sweep.network(128)
    assert isinstance(model, nn.Module)
    return list(model.parameters())


def test_a_diverging_run_is_said_to_have_diverged() -> None:
    run = sweep.train(one(lr=1e38, momentum=0.0))
    assert run["diverged"] is not None and 1 <= run["diverged"] <= 10
    assert run["test_accuracy"][-1] is None and run["test_loss"] == [None, None]
    assert run["curve"][-1] is None and len(run["curve"]) == len(sweep.curve_steps(10))
    assert analysis.final_accuracy(run) == 10.0
    json.dumps(run, allow_nan=False)


def test_a_run_that_overflows_in_its_last_step_has_diverged() -> None:
    run = sweep.train(one(lr=1e38, momentum=0.0, images=256, epochs=1, batch_size=64))
    last = sweep.train(one(lr=1e38, momentum=0.0, images=64, batch_size=16, epochs=1))
    for one_run in (run, last):
        assert one_run["diverged"] is not None and one_run["test_loss"] == [None]


def test_too_few_batches_for_four_evaluations_are_refused() -> None:
    with pytest.raises(ValueError, match=r"128 images .* fewer than 4 batches of 64"):
        replace(TINY, images=128)


def test_a_run_that_has_not_yet_learned_has_not_diverged() -> None:
    run = sweep.train(one(lr=1e-6))
    assert run["train_loss"][-1] > np.log(10) and run["diverged"] is None


def test_drawup() -> None:
    assert sweep.drawup([3.0, 2.0, 1.0]) == 0.0
    assert sweep.drawup([1.0, 5.0], keep=0.0) == 4.0
    # EMA(1/2), bias-corrected: 1, (1/4 + 2/2) / (3/4) = 5/3
    assert sweep.drawup([1.0, 2.0], keep=0.5) == pytest.approx(2 / 3)
    assert sweep.drawup([float("nan")]) is None
    assert sweep.drawup([2.0, 1.0, float("inf")], keep=0.0) == 0.0


def test_curve_bins() -> None:
    steps = sweep.curve_steps(1000)
    assert steps[0] == 1 and steps[-1] == 1000 and steps == sorted(set(steps))
    losses = np.arange(1000.0)
    means = sweep.curve(losses.tolist(), 1000)
    assert means[0] == 0.0
    assert means[-1] == pytest.approx(losses[steps[-2] :].mean(), rel=1e-4)
    cut = sweep.curve(losses[:500].tolist(), 1000)
    assert cut[-1] is None and cut[0] == 0.0


def test_directions_by_hand() -> None:
    import tinygrad_m as tg

    w = tg.Tensor([0.0, 0.0], requires_grad=True)
    watch = sweep.Directions()
    # steps 3 and 4 are watched: updates (1, 0) and (1, 1), gradients (1, 0) and (-1, 0)
    for step, (update, gradient) in enumerate([((9, 9), (9, 9))] * 3 + [((1, 0), (1, 0)), ((1, 1), (-1, 0))]):
        w.grad = tg.Tensor(np.array(gradient, dtype="float32"))
        watch.before(step, [w])
        with tg.no_grad():
            w += np.array(update, dtype="float32")
        watch.after(step, [w])
    assert watch.summary() == {"cosine": pytest.approx(0.5**0.5, rel=1e-4), "reversals": 0.0, "zigzag": 1.0}


# -- means and bands --------------------------------------------------------------------------------


def test_a_band_is_students_t() -> None:
    band = analysis.band([1.0, 2.0, 3.0, 4.0, 5.0])
    half = 2.776445105 * np.sqrt(2.5 / 5)  # the t of 4 degrees, from its table; s^2 = 2.5
    assert (band.mean, band.n) == (3.0, 5)
    np.testing.assert_allclose([band.low, band.high], [3 - half, 3 + half], rtol=1e-3)
    few = analysis.band([1.0, 4.0])
    assert (few.low, few.high) == (1.0, 4.0)  # with so few, the range itself


def test_nan_never_enters_a_mean_silently() -> None:
    for values in ([1.0, float("nan")], [float("inf")], []):
        with pytest.raises(ValueError, match="finite"):
            analysis.band(values)
    assert analysis.known([1.0, None, 3.0]).n == 2  # type: ignore[union-attr]
    assert analysis.known([None]) is None


def test_epochs_to_a_target_that_was_never_reached_is_none_and_not_the_last_epoch() -> None:
    run = {"test_accuracy": [80.0, 95.0, None]}
    assert analysis.epochs_to(run, 95.0) == 0.5
    assert analysis.epochs_to(run, 96.0) is None


def test_convergence_rate_of_a_geometric_loss() -> None:
    losses = [0.8**k for k in range(12)]
    assert analysis.convergence_rate({"train_loss": losses}) == pytest.approx(0.8)
    assert analysis.convergence_rate({"train_loss": [1.0, None]}) is None


def test_rank_correlation() -> None:
    assert analysis.rank_correlation([1, 2, 3], [10, 100, 1000]) == pytest.approx(1.0)
    assert analysis.rank_correlation([1, 2, 3], [3, 2, 1]) == pytest.approx(-1.0)
    # with ties: ranks 0 1.5 1.5 3 against 0 1 2 3
    a, b = [0, 1.5, 1.5, 3], [0, 1, 2, 3]
    assert analysis.rank_correlation([1, 2, 2, 3], [1, 2, 3, 4]) == pytest.approx(np.corrcoef(a, b)[0, 1])


# -- the journal ------------------------------------------------------------------------------------


def start(path: Path, settings: sweep.Settings = TINY, by: str = "1 process") -> journal.Journal:
    return journal.Journal(path, asdict(settings), by)


def written(path: Path, *keys: str) -> list[bytes]:
    """A journal with a run for each key, as lines."""
    with start(path) as book:
        for k, key in enumerate(keys):
            book.add(key, {"images": TINY.images, "accuracy": 90.5 + k})
    return path.read_bytes().splitlines(keepends=True)


def test_a_journal_gives_back_what_was_written(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "sweep.jsonl"
    with start(path, by="2 processes") as book:
        book.add("a", {"x": [1.0, None]})
        book.add("b", {"x": float("nan")})
    with start(path, by="Dask") as book:
        assert book.runs == {"a": {"x": [1.0, None]}, "b": {"x": None}}
        book.add("c", {"x": 3})
        found = book.result({})
    assert found["sittings"] == 2 and found["by"] == "2 processes, then Dask"
    with start(path) as book:
        assert set(book.runs) == {"a", "b", "c"}


@pytest.mark.parametrize("cut", [1, 10, 40])
def test_a_line_that_was_cut_off_is_done_again(tmp_path: Path, capsys: pytest.CaptureFixture[str], cut: int) -> None:
    path = tmp_path / "sweep.jsonl"
    written(path, "a", "b")
    path.write_bytes(path.read_bytes()[:-cut])
    with start(path) as book:
        assert set(book.runs) == ({"a", "b"} if cut == 1 else {"a"})  # of the second only the line's end was lost
        book.add("c", {"x": 3})
    assert ("cut off" in capsys.readouterr().err) == (cut != 1)
    with start(path) as book:
        assert {"a", "c"} <= set(book.runs)


@pytest.mark.parametrize(
    "damage",
    [
        lambda line: line.replace(b"90.5", b"99.5"),  # still JSON
        lambda line: line.replace(b"90.5", b"\xb9\xff.5"),  # not UTF-8
        lambda line: b"[" * 200_000 + b"\n",
        lambda line: b"\x00" * 50 + line[50:],
    ],
)
def test_a_damaged_line_is_noticed_and_costs_one_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: Any
) -> None:
    path = tmp_path / "sweep.jsonl"
    head, first, second = written(path, "a", "b")
    path.write_bytes(head + damage(first) + second)
    with start(path) as book:
        assert set(book.runs) == {"b"}
    assert "1 damaged, as line 2; 1 runs are sound" in capsys.readouterr().err


def test_a_damaged_first_line_costs_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "sweep.jsonl"
    head, *runs = written(path, "a", "b")
    path.write_bytes(head.replace(b"settings", b"sett\xeengs") + b"".join(runs))
    with start(path) as book:
        assert set(book.runs) == {"a", "b"}
    assert "as line 1" in capsys.readouterr().err
    other = replace(TINY, images=640)
    with pytest.raises(journal.ResultsError, match="images 320, not 640"), start(path, other):
        pass


def test_blank_lines_and_a_tail_of_zeros_are_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "sweep.jsonl"
    path.write_bytes(b"\n\n".join(written(path, "a", "b")) + b"\x00" * 100)
    with start(path) as book:
        assert set(book.runs) == {"a", "b"}
    assert capsys.readouterr().err == ""


def test_an_empty_or_half_begun_file_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "sweep.jsonl"
    head = written(path)[0]
    for start_of_file in (b"", head[:30]):
        path.write_bytes(start_of_file)
        with start(path) as book:
            book.add("a", {"x": 1})
        with start(path) as book:
            assert set(book.runs) == {"a"}


def test_another_experiments_journal_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "sweep.jsonl"
    with start(path):
        pass
    with pytest.raises(journal.ResultsError, match=r"epochs 2, not 3.*--out"), start(path, replace(TINY, epochs=3)):
        pass
    path.write_text("hello\n")
    with pytest.raises(journal.ResultsError, match="is not a journal"), start(path):
        pass
    assert path.read_text() == "hello\n"
    with pytest.raises(journal.ResultsError, match="cannot be written"), start(tmp_path):
        pass


def test_two_writers_are_refused(tmp_path: Path) -> None:
    pytest.importorskip("fcntl")
    path = tmp_path / "sweep.jsonl"
    program = f"from tinygrad_m.lab import journal; journal.Journal(__import__('pathlib').Path({str(path)!r}), {{}})"
    with start(path):
        done = subprocess.run([sys.executable, "-c", f"{program}.__enter__()"], capture_output=True, text=True)
    assert "is being written by another process" in done.stderr


def test_a_full_disk_is_said_and_what_is_written_is_safe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    path = tmp_path / "sweep.jsonl"
    with pytest.raises(journal.ResultsError, match="No space left on device.*make room"), start(path) as book:
        book.add("a", {"x": 1})
        monkeypatch.setattr(os, "fsync", full)
        book.add("b", {"x": 2})
    assert "sweep.jsonl: 1; the same command goes on" in capsys.readouterr().err


def test_the_finished_file_is_checked(tmp_path: Path, experiment: dict[str, Any]) -> None:
    path = tmp_path / "sweep.json"
    journal.save(path, experiment)
    assert journal.load(path)["runs"] == experiment["runs"]
    text = path.read_text()
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    path.write_text(text.replace('"seed":0', '"seed":7', 1))
    with pytest.raises(journal.ResultsError, match="changed"):
        journal.load(path)
    path.write_text(text[:-100])
    with pytest.raises(journal.ResultsError, match="not whole"):
        journal.load(path)
    path.write_text("[]")
    with pytest.raises(journal.ResultsError, match="not a finished experiment"):
        journal.load(path)
    with pytest.raises(FileNotFoundError, match="lab sweep"):
        journal.load(tmp_path / "none.json")


# -- the whole, and its interruptions ---------------------------------------------------------------


def test_a_finished_experiment_is_not_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = replace(TINY, images=64, batch_size=16, tests=50, epochs=1, seeds=1, heat_rates=(0.1,))
    calls: list[str] = []
    real = sweep.train

    def counted(job: dict[str, Any]) -> dict[str, Any]:
        calls.append(sweep.key(job))
        if len(calls) == 5:
            raise KeyboardInterrupt
        return real(job)

    monkeypatch.setattr(sweep, "train", counted)
    with pytest.raises(KeyboardInterrupt):
        sweep.run(small, tmp_path / "sweep.jsonl", quiet=True)
    whole = sweep.run(small, tmp_path / "sweep.jsonl", quiet=True)
    assert len(calls) == len(sweep.plan(small)) + 1 and len(set(calls)) == len(sweep.plan(small))
    sweep.run(small, tmp_path / "sweep.jsonl", quiet=True)
    assert len(calls) == len(sweep.plan(small)) + 1
    assert len(whole["runs"]) == len(sweep.plan(small)) and whole["sittings"] == 2


KILLED = """
from pathlib import Path
from dataclasses import replace
from tinygrad_m.lab import sweep
if __name__ == "__main__":
    small = replace(sweep.QUICK, images=64, batch_size=16, tests=50, epochs=1, seeds=1, heat_rates=(0.1,))
    sweep.run(small, Path("sweep.jsonl"), jobs=JOBS, quiet=True)
    print("finished")
"""


@pytest.mark.skipif(os.name == "nt", reason="no SIGKILL")
def test_a_killed_experiment_goes_on_where_it_stopped(tmp_path: Path) -> None:
    program = tmp_path / "run.py"
    program.write_text(KILLED.replace("JOBS", "1"))
    process = subprocess.Popen([sys.executable, program], cwd=tmp_path)
    path = tmp_path / "sweep.jsonl"
    deadline = time.monotonic() + 60
    while not (path.exists() and path.read_bytes().count(b"\n") > 5) and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = path.read_bytes().count(b"\n") - 1
    program.write_text(KILLED.replace("JOBS", "2"))
    done = subprocess.run([sys.executable, program], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "finished" in done.stdout and f"{before} runs are in" in done.stderr
    sealed = [journal.unseal(line) for line in path.read_bytes().splitlines()]
    keys = [line["key"] for line in sealed if line is not None and "key" in line]
    small = replace(sweep.QUICK, images=64, batch_size=16, tests=50, epochs=1, seeds=1, heat_rates=(0.1,))
    assert sorted(keys) == sorted(sweep.key(job) for job in sweep.plan(small))


def square(x: int) -> int:
    if x < 0:
        raise ValueError(f"negative: {x}")
    return x * x


def test_each_runs_on_any_executor() -> None:
    assert dict(parallel.each(square, [1, 2, 3])) == {0: 1, 1: 4, 2: 9}
    with ThreadPoolExecutor(2) as pool:
        assert dict(parallel.each(square, [1, 2, 3], executor=pool)) == {0: 1, 1: 4, 2: 9}
        assert pool.submit(square, 2).result() == 4  # not shut down: it is the caller's
    with pytest.raises(ValueError, match="negative"):
        list(parallel.each(square, [1, -1]))


def test_each_needs_no_more_of_an_executor_than_submit_and_callbacks() -> None:
    class Foreign:
        """What a cluster's executor may be like: no map(), and futures that finish in another order."""

        def __init__(self) -> None:
            self.waiting: list[tuple[Future[Any], Any]] = []

        def submit(self, function: Any, item: Any) -> Future[Any]:
            future: Future[Any] = Future()
            self.waiting.append((future, item))
            if len(self.waiting) == 3:
                threading.Timer(0.05, lambda: [one.set_result(function(x)) for one, x in self.waiting[::-1]]).start()
            return future

    assert list(parallel.each(square, [1, 2, 3], executor=Foreign())) == [(2, 9), (1, 4), (0, 1)]  # type: ignore[arg-type]


def test_what_has_finished_is_kept_when_a_run_fails() -> None:
    got = []
    with ThreadPoolExecutor(1) as pool, pytest.raises(ValueError, match="negative"):
        for _, value in parallel.each(slowly, [1, -1, 2, 3], executor=pool):
            got.append(value)
            time.sleep(0.3)  # meanwhile the others finish
    assert got == [1, 4, 9]


def slowly(x: int) -> int:
    time.sleep(0.02)
    return square(x)


STOPPED = """
import os, sys, time
from tinygrad_m.lab import parallel
def sleep(x):
    open(f"{os.getpid()}.pid", "w").close()
    time.sleep(0.1 if x == 0 else 600)
    return x
if __name__ == "__main__":
    try:
        for k, _ in parallel.each(sleep, [0, 1, 2, 3], jobs=2):
            print("got", k, flush=True)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
"""


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return "Z" not in Path(f"/proc/{pid}/stat").read_text().split()[2] if Path("/proc").exists() else True


@pytest.mark.skipif(os.name == "nt", reason="other signals")
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_processes_end_with_their_parent_and_at_once(tmp_path: Path, how: signal.Signals) -> None:
    program = tmp_path / "run.py"
    program.write_text(STOPPED)
    process = subprocess.Popen([sys.executable, program], cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and "got 0" in process.stdout.readline()
    workers = [int(file.stem) for file in tmp_path.glob("*.pid")]
    assert len(workers) == 2
    begun = time.monotonic()
    process.send_signal(how)
    rest, _ = process.communicate(timeout=20)
    assert ("interrupted" in rest) == (how == signal.SIGINT)
    while any(map(alive, workers)) and time.monotonic() - begun < 20:
        time.sleep(0.05)
    assert time.monotonic() - begun < 15


@pytest.mark.slow
def test_a_dask_cluster_runs_it(tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed")
    small = replace(TINY, images=64, batch_size=16, tests=50, epochs=1, seeds=1, heat_rates=(0.1,))
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        distributed.Client(cluster) as client,
    ):
        found = sweep.run(small, tmp_path / "sweep.jsonl", executor=client.get_executor(), quiet=True)
    here = sweep.run(small, tmp_path / "here.jsonl", quiet=True)
    for run in (*found["runs"], *here["runs"]):
        run.pop("seconds")
    assert found["runs"] == here["runs"]


# -- what it says -----------------------------------------------------------------------------------

DEFINITION = ("speeds up", "not without end", "0.99 overshoots", "depends on the learning rate", "effective rate",
              "smooths", "zigzag", "Nesterov", "RMSprop")  # fmt: skip


def test_the_published_experiment_is_whole_and_its_claims_hold() -> None:
    experiment = mnist.published()
    assert experiment["settings"] == json.loads(json.dumps(asdict(sweep.FULL)))
    assert sorted(map(sweep.key, experiment["runs"])) == sorted(map(sweep.key, sweep.plan(sweep.FULL)))
    study = mnist.study(experiment)
    assert [str(claim) for claim in study.claims if not claim.passed] == []
    for words in DEFINITION:
        assert any(words in claim.claim for claim in study.claims), words


def test_a_published_run_can_be_repeated() -> None:
    """The shortest kind that there is, on this machine: its first steps are those that were published."""
    run = next(r for r in mnist.published()["runs"] if r["epochs"] == 3 and r["lr"] == 0.01 and r["momentum"] == 0.9)
    job = {name: run[name] for name in sweep.job("momentum", 0.01, 0.9, 0, sweep.FULL, 3)}
    again = sweep.train(job)
    np.testing.assert_allclose(again["curve"][:20], run["curve"][:20], rtol=1e-3)  # another BLAS rounds otherwise
    assert again["test_accuracy"][-1] == pytest.approx(run["test_accuracy"][-1], abs=0.5)


def test_every_figure_is_drawn(experiment: dict[str, Any], tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    study = mnist.study(experiment)
    assert len(study.figures) >= 7
    for figure in study.figures:
        paths = figure.save(tmp_path)
        assert all(path.stat().st_size > 5000 for path in paths)
        assert figure.caption.endswith(".")


def test_a_missing_cell_is_said(experiment: dict[str, Any]) -> None:
    part = {**experiment, "runs": [run for run in experiment["runs"] if run["momentum"] != 0.9]}
    with pytest.raises(ValueError, match=r"0 of 1 runs of momentum .*momentum 0\.9"):
        analysis.summary(part)
    no_map = [run for run in experiment["runs"] if run["epochs"] != 1 or run["lr"] != 0.1]
    with pytest.raises(ValueError, match=r"the map's lr 0\.1"):
        analysis.heat({**experiment, "runs": no_map})


# -- claims, figures, studies -----------------------------------------------------------------------


def test_a_claim_needs_a_band_and_nan_fails() -> None:
    assert Claim("a", 0.5, 0, 1, "x").passed and not Claim("a", 1.5, 0, 1, "x").passed
    assert not Claim("a", float("nan"), 0, 1, "x").passed and not Claim("a", float("inf"), 0, 1, "x").passed
    for low, high in ((1, 0), (0, float("inf")), (float("nan"), 1)):
        with pytest.raises(ValueError, match="band"):
            Claim("a", 0.5, low, high, "x")
    row = Claim("a", np.float32(0.5), 0, 1, "x").as_dict()
    assert list(row) == ["claim", "value", "low", "high", "passed", "source"] and row["passed"] is True
    assert not Study("a", "b", "c", [Claim("a", 2, 0, 1, "x")]).passed


def test_json_is_strict(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    write_json(path, {"a": np.array([1.0, np.nan]), "b": np.float32(2), "c": (float("inf"), 1)})
    assert json.loads(path.read_text()) == {"a": [1.0, None], "b": 2.0, "c": [None, 1]}
    assert plain(np.bool_(True)) is True
    assert [p.name for p in tmp_path.iterdir()] == ["x.json"]


def test_a_figure_is_800_pixels_wide(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from tinygrad_m.lab.figures import style

    png, svg = Figure("x", "c", lambda: style.figure()).save(tmp_path)
    assert int.from_bytes(png.read_bytes()[16:20], "big") == 800 and svg.suffix == ".svg"
    small = Figure("x", "c", style.figure).of_small_run()
    assert small.name == "quick-x" and small.caption.startswith("A small run")


# -- the command line -------------------------------------------------------------------------------


def lab(*flags: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "tinygrad_m.lab", *flags], cwd=cwd, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["everything"], ["everything", "theory"]),
        (["theory", "--jobs", "0"], ["--jobs 0", "1 or more"]),
        (["theory", "--seed", "-1"], ["--seed -1"]),
        (["theory", "--out", "file"], ["file", "folder"]),
        (["theory", "--out", "file/deeper"], ["file", "folder"]),
        (["theory", "--fast"], ["--fast"]),
        ([], ["PART"]),
    ],
)
def test_wrong_flags(flags: list[str], words: list[str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = lab(*flags, cwd=tmp_path)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert all(word in done.stderr for word in words)


def test_options_reach_the_sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    def fake(settings: sweep.Settings, path: Path, jobs: int, executor: Any, quiet: bool) -> dict[str, Any]:
        seen.append((settings, path, jobs))
        return {"runs": [], "format": 1}

    monkeypatch.setattr(sweep, "run", fake)
    mnist.run(Options(quick=True, seed=7, jobs=3), tmp_path)
    settings, path, jobs = seen[0]
    assert settings.first_seed == 7 and settings.images == sweep.QUICK.images and jobs == 3
    assert path == tmp_path / "sweep.jsonl" and (tmp_path / "sweep.json").exists()


def test_the_sweeps_command_and_then_the_pages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from tinygrad_m.lab import __main__ as command

    monkeypatch.setattr(
        sweep, "QUICK", replace(TINY, images=64, batch_size=16, tests=50, epochs=1, heat_rates=(0.001, 0.1))
    )
    flags = ["--quick", "--out", str(tmp_path), "--jobs", "1", "--quiet"]
    monkeypatch.setattr(command.importlib.util, "find_spec", lambda name: None)  # no figures here
    assert command.main(["sweep", *flags]) == 1  # so small a run can show nothing
    assert journal.load(tmp_path / "sweep.json")["by"] == "1 process"
    assert command.main(["page", *flags[1:-1]]) == 0
    assert (tmp_path / "momentum.html").exists()
    assert "a small one" in capsys.readouterr().err  # the page shows the published experiment, and it says so


def test_an_error_has_another_status_than_a_claim(tmp_path: Path) -> None:
    (tmp_path / "sweep.json").write_text("{")
    done = lab("page", "--out", str(tmp_path), cwd=tmp_path)
    assert done.returncode == 2 and "not whole" in done.stderr and "Traceback" not in done.stderr
