"""Every operation in the registry: derivatives to second order against differences and against PyTorch, float32
kept, empty and size-one shapes, both backends. samples.py says what each is tried on."""

from __future__ import annotations

import numpy as np
import pytest
import samples
from samples import ELEMENTWISE, NO_GRADIENT, SAMPLES, Sample

import tinygrad_m as tg
from tinygrad_m.operation import REGISTRY

every_sample = pytest.mark.parametrize("sample", SAMPLES, ids=[str(s) for s in SAMPLES])


def leaves(sample: Sample, dtype: str = "float64", device: str = "cpu") -> list[tg.Tensor]:
    return [tg.Tensor(a, dtype=dtype, device=device, requires_grad=True) for a in sample.make()]


def test_every_operation_has_a_sample() -> None:
    tried = {s.name for s in SAMPLES} | NO_GRADIENT
    assert {n for n in REGISTRY if not n.startswith("_")} <= tried
    assert len(tried) > 90
    for name in NO_GRADIENT:
        assert not REGISTRY[name].op.rules, f"{name} has rules: give it a sample"


def test_public_operations_are_exported_and_documented() -> None:
    for name, function in REGISTRY.items():
        if not name.startswith("_") and name not in ("assign", "getitem", "scatter", "one_hot"):
            assert getattr(tg, name) is function
            assert function.__doc__ and len(function.__doc__) > 2, name


@every_sample
def test_derivatives_by_differences(sample: Sample) -> None:
    assert tg.gradcheck(sample.f, leaves(sample), order=1)
    assert tg.gradcheck(sample.f, leaves(sample), order=2, atol=1e-5) or not sample.second


@every_sample
def test_equal_to_torch(sample: Sample) -> None:
    torch = pytest.importorskip("torch")
    if sample.torch is None:
        pytest.skip("PyTorch has no such function")
    xs = leaves(sample)
    ts = [torch.tensor(a, requires_grad=True) for a in sample.make()]
    out, ref = sample.f(*xs), sample.torch(*ts)
    assert out.shape == tuple(ref.shape) and str(out.dtype) == str(ref.dtype).split(".")[1]
    np.testing.assert_allclose(out.numpy(), ref.detach().numpy(), rtol=1e-10, atol=1e-10)
    rng = np.random.default_rng(1)
    weight = rng.uniform(0.5, 1.5, out.shape)
    grads = tg.grad(out, xs, tg.Tensor(weight), create_graph=True)
    refs = torch.autograd.grad(ref, ts, torch.tensor(weight), create_graph=True)
    for g, r in zip(grads, refs, strict=True):
        np.testing.assert_allclose(g.numpy(), r.detach().numpy(), rtol=1e-10, atol=1e-10)
    probes = [rng.uniform(0.5, 1.5, g.shape) for g in grads]
    ours = sum((g * p).sum() for g, p in zip(grads, probes, strict=True))
    theirs = sum((r * torch.tensor(p)).sum() for r, p in zip(refs, probes, strict=True))
    if not theirs.requires_grad:  # a linear operation
        return
    seconds = tg.grad(ours, xs, allow_unused=True) if ours.requires_grad else [None] * len(xs)
    for x, g, r in zip(xs, seconds, torch.autograd.grad(theirs, ts, allow_unused=True), strict=True):
        mine = np.zeros(x.shape) if g is None else g.numpy()
        np.testing.assert_allclose(mine, 0.0 if r is None else (r + 0.0).numpy(), rtol=1e-9, atol=1e-10)


@every_sample
def test_first_order_is_the_same_text(sample: Sample) -> None:
    """Rules on plain arrays and rules on Tensors give the same numbers."""
    xs = leaves(sample)
    plain = tg.grad(sample.f(*xs).sum(), xs)
    recorded = tg.grad(sample.f(*xs).sum(), xs, create_graph=True)
    for a, b in zip(plain, recorded, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-13, atol=1e-14)


@every_sample
def test_float32_stays_float32(sample: Sample) -> None:
    if sample.name == "astype":
        pytest.skip("its purpose is another dtype")
    xs = leaves(sample, "float32")
    out = sample.f(*xs)
    assert out.dtype == np.float32
    exact = sample.f(*leaves(sample))
    np.testing.assert_allclose(out.numpy(), exact.numpy(), rtol=2e-5, atol=2e-5)
    for g in tg.grad(out.sum(), xs, create_graph=True):
        assert g.dtype == np.float32
    sample.f(*xs).sum().backward()
    for x in xs:
        assert x.grad is not None and x.grad.dtype == np.float32 and x.grad.shape == x.shape


@every_sample
def test_inputs_are_left_alone(sample: Sample) -> None:
    xs = leaves(sample)
    before = [x.numpy() for x in xs]
    grads = tg.grad(sample.f(*xs).sum(), xs, create_graph=True)
    total = sum((g * g).sum() for g in grads)
    if total.requires_grad:
        total.backward()
    for x, b in zip(xs, before, strict=True):
        np.testing.assert_array_equal(x.numpy(), b)


@every_sample
def test_other_memory_orders_give_the_same(sample: Sample) -> None:
    plain = leaves(sample)
    odd = [tg.Tensor(a, requires_grad=True) for a in sample.make()]
    for x in odd:  # Fortran order, and a view with negative strides
        back = (slice(None, None, -1),) * x.ndim
        x.data = x.data.copy("F")[back].copy("K")[back] if x.ndim else x.data
    np.testing.assert_allclose(sample.f(*odd).numpy(), sample.f(*plain).numpy(), rtol=1e-13)
    sample.f(*plain).sum().backward()
    sample.f(*odd).sum().backward()
    for a, b in zip(plain, odd, strict=True):
        np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", sorted(ELEMENTWISE))
@pytest.mark.parametrize("shape", [(), (1,), (1, 1), (0,), (2, 0), (0, 3, 1)], ids=str)
def test_empty_and_size_one(name: str, shape: tuple[int, ...]) -> None:
    function = REGISTRY[name]
    count = len(function.op.inputs) if hasattr(function, "op") else 1
    xs = [tg.Tensor(np.full(shape, 0.3 + 0.2 * k), dtype="float32", requires_grad=True) for k in range(count)]
    out = function(*xs)
    assert out.shape == shape and out.dtype == np.float32
    out.sum().backward()
    for x in xs:
        assert x.grad is not None and x.grad.shape == shape and x.grad.dtype == np.float32


@pytest.mark.parametrize(
    "name", ["sum", "prod", "softmax", "log_softmax", "cumsum", "sort", "flip", "tril", "norm", "var"]
)
def test_size_one_reductions(name: str) -> None:
    x = tg.Tensor([[0.7]], requires_grad=True)
    out = REGISTRY[name](x)
    out.sum().backward()
    assert x.grad is not None and x.grad.shape == (1, 1) and out.dtype == np.float32


def test_empty_reductions() -> None:
    x = tg.zeros(0, 3, requires_grad=True)
    assert tg.sum(x).item() == 0.0 and tg.prod(x).item() == 1.0 and tg.sum(x, axis=0).tolist() == [0.0] * 3
    tg.sum(x, axis=1).sum().backward()
    assert x.grad is not None and x.grad.shape == (0, 3)
    assert (tg.zeros(2, 0) @ tg.zeros(0, 3)).tolist() == [[0.0] * 3] * 2
    assert tg.concat([tg.zeros(0, 2), tg.ones(1, 2)]).tolist() == [[1.0, 1.0]]
    for bad in (tg.mean, tg.max, tg.min):
        with pytest.raises(ValueError, match="0"):
            bad(x)


@pytest.mark.parametrize("name", sorted({s.name for s in SAMPLES} - {"astype", "to_device"}))
def test_both_backends_agree(name: str, there: str) -> None:
    for sample in [s for s in SAMPLES if s.name == name]:
        host, far = leaves(sample), leaves(sample, device=there)
        a, b = sample.f(*host), sample.f(*far)
        assert b.device == there
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-12, atol=1e-12)
        for create in (False, True):
            ga = tg.grad(sample.f(*host).sum(), host, create_graph=create)
            gb = tg.grad(sample.f(*far).sum(), far, create_graph=create)
            for p, q in zip(ga, gb, strict=True):
                assert q.device == there
                np.testing.assert_allclose(p.numpy(), q.numpy(), rtol=1e-12, atol=1e-12)


def test_ties_and_kinks_follow_torch() -> None:
    torch = pytest.importorskip("torch")
    x = np.array([[1.0, 1.0, 0.0], [-1.0, 0.0, 0.0]])
    other = np.array([[1.0, 0.0, 0.0], [-1.0, 2.0, 0.0]])
    pairs = [
        (lambda t: tg.max(t), lambda t: t.amax()), (lambda t: tg.max(t, axis=1), lambda t: t.amax(1)),
        (lambda t: tg.min(t, axis=0), lambda t: t.amin(0)), (tg.relu, torch.relu), (tg.abs, torch.abs),
        (tg.norm, torch.linalg.vector_norm), (lambda t: tg.norm(t * 0.0), lambda t: torch.linalg.vector_norm(t * 0.0)),
        (lambda t: tg.norm(t * 0.0, 3), lambda t: torch.linalg.vector_norm(t * 0.0, 3)),
        (lambda t: tg.maximum(t, tg.Tensor(other)), lambda t: torch.maximum(t, torch.tensor(other))),
        (lambda t: tg.minimum(t, tg.Tensor(other)), lambda t: torch.minimum(t, torch.tensor(other))),
        (lambda t: tg.clip(t, -1.0, 1.0), lambda t: t.clip(-1.0, 1.0)), (tg.sign, torch.sign),
        (lambda t: tg.sqrt(tg.abs(t) * 0.0 + 0.0), lambda t: torch.sqrt(t.abs() * 0.0 + 0.0)),
        (lambda t: tg.leaky_relu(t), torch.nn.functional.leaky_relu), (lambda t: tg.elu(t), torch.nn.functional.elu),
        (lambda t: tg.std(t * 0.0), lambda t: torch.std(t * 0.0)), (lambda t: t**2, lambda t: t**2),
        (lambda t: t**0, lambda t: t**0), (lambda t: tg.prod(t), torch.prod),
        (lambda t: tg.prod(t, axis=1), lambda t: t.prod(1)),
        (lambda t: t ** tg.Tensor(other * 0 + 2), lambda t: t ** torch.tensor(other * 0 + 2)),
    ]  # fmt: skip
    for k, (ours, theirs) in enumerate(pairs):
        a, b = tg.Tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
        ours(a).sum().backward()
        theirs(b).sum().backward()
        np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), err_msg=f"pair {k}")


def test_product_with_zeros_to_second_order() -> None:
    torch = pytest.importorskip("torch")
    for values in ([2.0, 0.0, 3.0], [0.0, 0.0, 5.0], [0.0, 0.0, 0.0]):
        a, b = (
            tg.Tensor(values, dtype="float64", requires_grad=True),
            torch.tensor(values, dtype=torch.float64, requires_grad=True),
        )
        (g,), (r,) = tg.grad(tg.prod(a), [a], create_graph=True), torch.autograd.grad(b.prod(), [b], create_graph=True)
        np.testing.assert_allclose(g.numpy(), r.detach().numpy())
        w = np.array([1.0, 2.0, 4.0])
        (h,) = tg.grad((g * w).sum(), [a])
        (s,) = torch.autograd.grad((r * torch.tensor(w)).sum(), [b])
        np.testing.assert_allclose(h.numpy(), s.numpy())


def test_stable_where_the_naive_form_overflows() -> None:
    big = tg.Tensor([-1e4, -100.0, 0.0, 100.0, 1e4], requires_grad=True)
    for f in (
        tg.sigmoid,
        tg.softplus,
        tg.tanh,
        tg.silu,
        tg.gelu,
        tg.elu,
        lambda x: tg.softmax(x),
        lambda x: tg.log_softmax(x),
        tg.logsumexp,
    ):
        big.grad = None
        out = f(big)
        out.sum().backward()
        assert np.isfinite(out.numpy()).all() and np.isfinite(big.grad.numpy()).all()
    assert tg.sigmoid(tg.Tensor(-100.0)).item() == pytest.approx(np.exp(-100.0), rel=1e-5)
    assert tg.softplus(tg.Tensor(-50.0)).item() == pytest.approx(np.exp(-50.0), rel=1e-5)
    assert tg.logsumexp(tg.Tensor([-np.inf, -np.inf])).item() == -np.inf
    assert tg.log_softmax(tg.Tensor([1000.0, 0.0])).tolist() == [0.0, -1000.0]


def test_erf_to_the_last_digits() -> None:
    import math

    x = np.concatenate([np.linspace(-7, 7, 4001), np.logspace(-300, 0, 200), [np.inf, -np.inf, 0.0]])
    exact = np.array([math.erf(v) for v in x])
    np.testing.assert_allclose(tg.erf(tg.Tensor(x)).numpy(), exact, rtol=5e-15, atol=0)
    assert np.isnan(tg.erf(tg.Tensor(np.nan)).item())


def test_integers_meet_floats() -> None:
    k, x = tg.Tensor([1, 2, 3]), tg.Tensor([0.5, 0.5, 0.5])
    assert (k * x).dtype == np.float32 and (k / 2).dtype == np.float32 and (k * 0.5).dtype == np.float32
    assert (k + 1).dtype == np.int64 and tg.mean(k).dtype == np.float32 and tg.exp(k).dtype == np.float32
    assert (x * np.float64(2.0)).dtype == np.float32 and (np.float64(2.0) * x).dtype == np.float32
    assert (x * tg.Tensor([1.0], dtype="float64")).dtype == np.float64
    assert (x * (x > 0)).dtype == np.float32 and tg.sum(x > 0).dtype == np.int64 and ((x > 0) * 0.5).dtype == np.float32
    assert tg.where(x > 0, x, 0.0).dtype == np.float32 and tg.maximum(x, 0).dtype == np.float32
    assert (tg.Tensor([1.0], dtype="float16") * 2.5).dtype == np.float16


def test_comparisons_and_counts() -> None:
    a, b = tg.Tensor([1.0, 2.0, 3.0]), tg.Tensor([3.0, 2.0, 1.0])
    assert (a < b).tolist() == [True, False, False] and (a <= b).tolist() == [True, True, False]
    assert (a > b).tolist() == [False, False, True] and (a >= 2).tolist() == [False, True, True]
    assert (a == b).tolist() == [False, True, False] and (a != b).tolist() == [True, False, True]
    assert ((a > 1) & (b > 1)).tolist() == [False, True, False] and ((a > 2) | (b > 2)).tolist() == [True, False, True]
    assert (~(a > 1)).tolist() == [True, False, False]
    assert a.argmax().item() == 2 and a.argmin(axis=0).item() == 0 and 2.0 in a and 9.0 not in a
    assert (a > 0).all().item() is True and (a > 5).any().item() is False
    assert tg.isnan(tg.Tensor([np.nan, 1.0])).tolist() == [True, False]
    assert tg.isfinite(tg.Tensor([np.inf, 1.0])).tolist() == [False, True]
    assert tg.argsort(tg.Tensor([2.0, 1.0, 2.0]), descending=True).tolist() == [0, 2, 1]


def test_a_new_operation_is_tested_without_writing_a_test() -> None:
    from tinygrad_m.operation import op

    @op(x=lambda g, x: g * 3.0 * x * x)
    def cube_for_the_test(xp, x):  # type: ignore[no-untyped-def]
        return x * x * x

    try:
        x = tg.Tensor([0.5, -2.0], dtype="float64", requires_grad=True)
        assert tg.gradcheck(cube_for_the_test, x, order=2)
    finally:
        del REGISTRY["cube_for_the_test"]
    with pytest.raises(TypeError, match="reads"):

        @op(x=lambda g, nonsense: g)
        def bad(xp, x):  # type: ignore[no-untyped-def]
            return x

    assert samples.SAMPLES
