"""Training as a whole: 100 steps on the real MNIST from PyTorch's initial weights follow PyTorch's run, for the
four named optimizers and two networks; the same program on the stand-in for CUDA; and examples/mnist.py as a
person would run it."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import standin_kernels

import tinygrad_m as tg
from tinygrad_m import nn, optim
from tinygrad_m.data import DataLoader, load_mnist
from tinygrad_m.nn import functional as F

ROOT = Path(__file__).resolve().parent.parent
OPTIMIZERS: dict[str, tuple[str, dict[str, Any]]] = {
    "sgd": ("SGD", {"lr": 0.1}),
    "momentum": ("SGD", {"lr": 0.05, "momentum": 0.9, "weight_decay": 1e-4}),
    "nesterov": ("SGD", {"lr": 0.05, "momentum": 0.9, "nesterov": True}),
    "rmsprop-momentum": ("RMSprop", {"lr": 1e-4, "alpha": 0.99, "momentum": 0.9}),
}


def mlp(nn: Any) -> Any:
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 32), nn.ReLU(), nn.Linear(32, 10))


def cnn(nn: Any) -> Any:
    return nn.Sequential(
        nn.Conv2d(1, 4, 5, stride=2), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 6, 3, padding=1),
        nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(54, 10),
    )  # fmt: skip


@pytest.fixture(scope="module")
def batches() -> list[tuple[np.ndarray, np.ndarray]]:
    """100 batches of 32 real digits, float64."""
    images, labels = load_mnist("train")
    order = np.random.default_rng(0).permutation(len(labels))[:3200].reshape(100, 32)
    return [(images[k].astype("float64"), labels[k]) for k in order]


@pytest.mark.parametrize("build", [mlp, cnn])
@pytest.mark.parametrize("name", list(OPTIMIZERS))
def test_100_steps_follow_torch(build: Callable[[Any], Any], name: str, batches: Any) -> None:
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    theirs = build(torch.nn).double()
    ours = build(nn).to("float64")
    ours.load_state_dict({key: value.numpy() for key, value in theirs.state_dict().items()})
    kind, settings = OPTIMIZERS[name]
    step = getattr(optim, kind)(ours.parameters(), **settings)
    their_step = getattr(torch.optim, kind)(theirs.parameters(), **settings)
    first = last = 0.0
    for k, (x, y) in enumerate(batches):
        loss = F.cross_entropy(ours(tg.Tensor(x)), tg.Tensor(y))
        step.zero_grad()
        loss.backward()
        step.step()
        their_loss = torch.nn.functional.cross_entropy(theirs(torch.tensor(x)), torch.tensor(y))
        their_step.zero_grad()
        their_loss.backward()
        their_step.step()
        first, last = (loss.item(), last) if k == 0 else (first, loss.item())
        assert abs(loss.item() - their_loss.item()) < 1e-9
    assert last < 0.8 * first  # it learns
    for key, value in theirs.state_dict().items():
        np.testing.assert_allclose(ours.state_dict()[key], value.numpy(), rtol=0, atol=1e-9, err_msg=key)


@pytest.mark.parametrize("build", [mlp, cnn])
def test_the_device_trains_the_same(build: Callable[[Any], Any], batches: Any, cuda: Any) -> None:
    """10 steps on the stand-in's cuda:1 equal the CPU's, and not one of them waits for the device."""
    runs = []
    for device in ("cpu", "cuda:1"):
        tg.manual_seed(1)
        model = build(nn).to("float64").to(device)
        opt = optim.RMSprop(model.parameters(), lr=1e-3, momentum=0.9)
        images = np.concatenate([x for x, _ in batches[:10]])
        labels = np.concatenate([y for _, y in batches[:10]])
        before = cuda.syncs
        losses = []
        for x, y in DataLoader(images, labels, batch_size=32, shuffle=True, seed=2, device=device):
            loss = F.cross_entropy(model(x), y)
            opt.zero_grad()
            loss.backward()
            opt.step()
            losses.append(loss.detach())
        assert cuda.syncs == before, "a training step waited for the device"
        assert all(p.device == device for p in model.parameters())
        runs.append((tg.stack(losses).tolist(), model.state_dict()))
    np.testing.assert_allclose(runs[0][0], runs[1][0], rtol=1e-9)
    for key, value in runs[0][1].items():  # the two add up convolutions in different orders
        np.testing.assert_allclose(runs[1][1][key], value, rtol=1e-9, atol=1e-9, err_msg=key)


# -- the example ------------------------------------------------------------------------------------


@pytest.fixture
def example() -> Iterator[Any]:
    threads = tg.get_num_threads()
    spec = importlib.util.spec_from_file_location("mnist_example", ROOT / "examples" / "mnist.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    tg.set_num_threads(threads)


@pytest.fixture
def little(tmp_path: Path) -> Path:
    """The first 1,500 training and 500 test digits, as IDX files of the user's own."""
    for part, split, n in (("train", "train", 1500), ("t10k", "test", 500)):
        images, labels = load_mnist(split, normalize=False)
        head = (0x803).to_bytes(4, "big") + b"".join(k.to_bytes(4, "big") for k in (n, 28, 28))
        (tmp_path / f"{part}-images-idx3-ubyte").write_bytes(head + images[:n].tobytes())
        head = (0x801).to_bytes(4, "big") + n.to_bytes(4, "big")
        (tmp_path / f"{part}-labels-idx1-ubyte").write_bytes(head + labels[:n].astype("uint8").tobytes())
    return tmp_path


def test_the_same_seed_gives_the_same_numbers(example: Any, little: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def run(seed: int) -> list[str]:
        example.main(["--data", str(little), "--epochs", "2", "--seed", str(seed), "--plot", ""])
        return [line.split(" s")[0].rpartition(",")[0] for line in capsys.readouterr().out.splitlines()]

    first, second, other = run(3), run(3), run(4)
    assert first == second and first != other and len(first) > 5


def test_every_optimizer_and_both_models_run(example: Any, little: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in example.OPTIMIZERS:
        accuracy = example.main(["--data", str(little), "--optimizer", name, "--epochs", "3", "--plot", ""])
        assert accuracy > 70.0, name
    weights = little / "weights.npz"
    flags = ["--data", str(little), "--model", "cnn", "--epochs", "1", "--save", str(weights)]
    accuracy = example.main([*flags, "--plot", ""])
    out = capsys.readouterr().out
    assert out.strip().endswith(f"test accuracy {accuracy:.2f} %")
    model = example.build("cnn")
    model.load(weights)
    x, y = load_mnist("test", directory=str(little))
    assert example.accuracy(model, DataLoader(x, y, batch_size=100)) == pytest.approx(accuracy)


@pytest.mark.parametrize("flags", [[], ["--model", "cnn", "--epochs", "1"]])
def test_the_example_on_cuda_and_captured(
    flags: list[str], example: Any, little: Path, cuda: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    if standin_kernels.COMPILER is None:
        pytest.skip("g++ runs the kernels without a GPU")

    def run(*more: str) -> list[float]:
        example.main(["--data", str(little), "--epochs", "2", "--plot", "", *flags, *more])
        lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("epoch")]
        return [float(word.rstrip(",")) for line in lines for word in line.split()[4:8:3]]  # loss, accuracy

    on_cpu = run("--device", "cpu")
    assert len(on_cpu) >= 2
    np.testing.assert_allclose(run("--device", "cuda"), on_cpu, rtol=0.02)
    waits = cuda.syncs
    np.testing.assert_allclose(run("--device", "cuda:1", "--capture"), on_cpu, rtol=0.02)
    assert 0 < waits < 12 and cuda.syncs - waits == waits  # for an epoch's losses and accuracy, not for a step


def test_the_figure(example: Any, little: Path) -> None:
    pytest.importorskip("matplotlib")
    file = little / "figure.png"
    example.main(["--data", str(little), "--epochs", "1", "--plot", str(file)])
    assert file.read_bytes()[:4] == b"\x89PNG" and file.stat().st_size > 20_000


def test_wrong_flags(little: Path) -> None:
    def run(*flags: str) -> str:
        command = [sys.executable, str(ROOT / "examples" / "mnist.py"), "--plot", "", *flags]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode != 0
        return done.stderr

    assert "invalid choice: 'svm'" in run("--model", "svm")
    assert "adam has none" in run("--optimizer", "adam", "--momentum", "0.5")
    assert "--batch-size 0" in run("--batch-size", "0") and "--threads 0" in run("--threads", "0")
    assert "no-such-folder" in run("--data", "no-such-folder")
    assert "lr must be in [0, inf), got -1.0" in run("--data", str(little), "--lr", "-1")
    if tg.device_count() == 0:
        assert "device='cpu'" in run("--data", str(little), "--device", "cuda")
