"""Every loss against float64 numpy or a closed form, its gradient, and what it does with nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hedgerow.errors import HedgerowError
from hedgerow.objectives import (
    Loss,
    Objective,
    cross_entropy,
    feature_mse,
    kl_on_logits,
    supervised_contrastive,
    token_cross_entropy,
)

torch.set_num_threads(1)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def log_softmax(x: np.ndarray) -> np.ndarray:
    x = x - x.max(-1, keepdims=True)
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def leaf(x: np.ndarray) -> torch.Tensor:
    return torch.tensor(x, requires_grad=True)


@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(1, 6),
    k=st.integers(2, 5),
    smoothing=st.floats(0, 0.9),
    weighted=st.booleans(),
    seed=st.integers(0, 99),
)
def test_cross_entropy_is_the_formula(n: int, k: int, smoothing: float, weighted: bool, seed: int) -> None:
    random = rng(seed)
    logits, labels = random.normal(size=(n, k)) * 5, random.integers(0, k, n)
    w = random.uniform(0.1, 3, k) if weighted else np.ones(k)
    target = (1 - smoothing) * np.eye(k)[labels] + smoothing / k
    rows = -(target * w * log_softmax(logits)).sum(1)
    loss = cross_entropy(torch.tensor(logits), torch.tensor(labels), smoothing, torch.tensor(w) if weighted else None)
    assert float(loss.mean) == pytest.approx(rows.sum() / w[labels].sum(), rel=1e-10)
    assert float(loss.count) == pytest.approx(w[labels].sum())


def test_ignored_rows_do_not_count_whatever_stands_in_them() -> None:
    logits, labels = rng().normal(size=(5, 3)), np.array([0, -100, 2, -100, 1])
    w = torch.tensor([1.0, 2.0, 4.0], dtype=torch.float64)
    kept = labels >= 0
    whole = cross_entropy(torch.tensor(logits), torch.tensor(labels), 0.1, w)
    part = cross_entropy(torch.tensor(logits[kept]), torch.tensor(labels[kept]), 0.1, w)
    assert float(whole.mean) == pytest.approx(float(part.mean), rel=1e-12)
    assert float(whole.count) == float(part.count) == 7.0


def test_token_cross_entropy_is_a_mean_over_tokens_not_over_texts() -> None:
    logits, labels = rng(1).normal(size=(2, 4, 7)), np.array([[3, -100, -100, -100], [1, 2, 0, 6]])
    rows = [-log_softmax(logits[b, t])[labels[b, t]] for b, t in zip(*np.nonzero(labels >= 0), strict=True)]
    loss = token_cross_entropy(torch.tensor(logits), torch.tensor(labels))
    assert float(loss.mean) == pytest.approx(np.mean(rows), rel=1e-12)
    assert float(loss.count) == 5


@pytest.mark.parametrize("temperature", [1.0, 2.0, 5.0])
def test_kl_is_the_formula_and_no_gradient_reaches_the_teacher(temperature: float) -> None:
    a, b = rng(2).normal(size=(3, 4, 6)), rng(3).normal(size=(3, 4, 6))
    keep = np.array([[1, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]], bool)
    p, q = np.exp(log_softmax(b / temperature)), np.exp(log_softmax(a / temperature))
    rows = temperature**2 * (p * (np.log(p) - np.log(q))).sum(-1)
    student, teacher = leaf(a), leaf(b)
    loss = kl_on_logits(student, teacher, temperature, torch.tensor(keep))
    assert loss.mean.item() == pytest.approx(rows[keep].mean(), rel=1e-10)
    loss.mean.backward()
    assert teacher.grad is None
    closed = np.where(keep[..., None], temperature * (q - p) / keep.sum(), 0.0)  # d/ds of T² KL = T (q - p)
    np.testing.assert_allclose(student.grad.numpy(), closed, atol=1e-12)
    assert kl_on_logits(teacher, teacher, temperature).mean.item() == pytest.approx(0, abs=1e-12)


def test_feature_mse_is_the_formula() -> None:
    a, b = rng(4).normal(size=(5, 3)), rng(5).normal(size=(5, 3))
    keep = np.array([True, False, True, True, False])
    loss = feature_mse(torch.tensor(a), torch.tensor(b), torch.tensor(keep))
    assert float(loss.mean) == pytest.approx(((a - b) ** 2)[keep].mean(), rel=1e-12)


def contrastive_by_hand(vectors: np.ndarray, labels: np.ndarray, tau: float) -> float:
    z = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    losses = []
    for i in range(len(z)):
        partners = [p for p in range(len(z)) if p != i and labels[p] == labels[i]]
        if not partners:
            continue
        below = sum(np.exp(z[i] @ z[a] / tau) for a in range(len(z)) if a != i)
        losses.append(-np.mean([np.log(np.exp(z[i] @ z[p] / tau) / below) for p in partners]))
    return float(np.mean(losses))


@settings(max_examples=30, deadline=None)
@given(n=st.integers(3, 9), classes=st.integers(1, 2), tau=st.floats(0.05, 2), seed=st.integers(0, 99))
def test_supervised_contrastive_is_equation_2(n: int, classes: int, tau: float, seed: int) -> None:
    vectors, labels = rng(seed).normal(size=(n, 4)), rng(seed).integers(0, classes, n)
    loss = supervised_contrastive(torch.tensor(vectors), torch.tensor(labels), tau)
    assert float(loss.mean) == pytest.approx(contrastive_by_hand(vectors, labels, tau), rel=1e-8)


def test_contrastive_stays_in_float32_under_autocast() -> None:
    vectors, labels = rng(7).normal(size=(16, 8)).astype(np.float32), rng(7).integers(0, 3, 16)
    with torch.autocast("cpu", torch.bfloat16):
        loss = supervised_contrastive(torch.tensor(vectors), torch.tensor(labels)).mean
    assert float(loss) == pytest.approx(contrastive_by_hand(vectors.astype(np.float64), labels, 0.07), rel=1e-5)


def empty(shape: tuple[int, ...]) -> torch.Tensor:
    return torch.zeros(shape, requires_grad=True)


NOTHING = {
    "no row": lambda x: cross_entropy(x[:0], torch.zeros(0, dtype=torch.long)),
    "no row, weighted": lambda x: cross_entropy(x[:0], torch.zeros(0, dtype=torch.long), 0.1, torch.ones(3)),
    "all ignored": lambda x: cross_entropy(x, torch.full((4,), -100), 0.1, torch.ones(3)),
    "no token": lambda x: token_cross_entropy(x[None], torch.full((1, 4), -100)),
    "no row kept": lambda x: kl_on_logits(x, torch.randn(4, 3), 2.0, torch.zeros(4)),
    "no feature kept": lambda x: feature_mse(x, torch.full((4, 3), float("nan")), torch.zeros(4)),
    "no partner": lambda x: supervised_contrastive(x, torch.arange(4)),
    "one vector": lambda x: supervised_contrastive(x[:1], torch.zeros(1)),
    "no vector": lambda x: supervised_contrastive(x[:0], torch.zeros(0)),
}


@pytest.mark.parametrize("case", NOTHING)
def test_an_empty_selection_gives_zero_with_a_gradient_of_zero(case: str) -> None:
    x = torch.randn(4, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
    loss = NOTHING[case](x)
    assert loss.mean.item() == 0.0 and float(loss.count) == 0.0
    loss.mean.backward()
    assert x.grad is not None and bool((x.grad == 0).all())


@pytest.mark.parametrize("name", ["cross_entropy", "kl", "mse"])
def test_sums_add_up_over_unequal_parts(name: str) -> None:
    """mean * count over parts of 1 and 6 rows is that of all 7: what accumulation and several processes rely on."""
    x, y = torch.tensor(rng(8).normal(size=(7, 4))), torch.tensor(rng(9).normal(size=(7, 4)))
    labels, w = torch.tensor(rng(8).integers(0, 4, 7)), torch.tensor([0.5, 1.0, 2.0, 3.0], dtype=torch.float64)
    losses = {
        "cross_entropy": lambda rows: cross_entropy(x[rows], labels[rows], 0.1, w),
        "kl": lambda rows: kl_on_logits(x[rows], y[rows], 2.0),
        "mse": lambda rows: feature_mse(x[rows], y[rows]),
    }
    parts = [losses[name](slice(0, 1)), losses[name](slice(1, 7))]
    whole = losses[name](slice(0, 7))
    total = sum(float(p.mean * p.count) for p in parts) / sum(float(p.count) for p in parts)
    assert total == pytest.approx(float(whole.mean), rel=1e-12)


def constant(value: float, count: float) -> Loss:
    return Loss(torch.tensor(value, requires_grad=True), torch.tensor(count))


def test_an_objective_weighs_its_terms_and_returns_each() -> None:
    terms = Objective(lambda nets, batch: {"a": constant(2.0, 4.0), "b": constant(3.0, 4.0)}, {"b": 0.5})({}, {})
    assert {k: v.item() for k, v in terms.items()} == {"loss": 3.5, "count": 4.0, "a": 2.0, "b": 3.0}
    assert terms["loss"].requires_grad and not terms["a"].requires_grad


def test_an_objective_says_what_is_wrong_with_it() -> None:
    with pytest.raises(HedgerowError, match=r"names the loss 'contrast'.*did you mean 'contrastive'"):
        Objective(lambda nets, batch: {"contrastive": constant(1.0, 1.0)}, {"contrast": 1.0})({}, {})

    def uneven(nets: object, batch: object) -> dict[str, Loss]:
        return {"a": constant(1.0, 4.0), "b": constant(1.0, 3.0)}

    with pytest.raises(HedgerowError, match=r"different counts: declare the objective in_batch"):
        Objective(uneven)({}, {})
    assert float(Objective(uneven, in_batch=True)({}, {})["count"]) == 4.0
