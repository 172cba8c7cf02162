"""The loop against plain torch, and its promises one by one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from hedgerow.errors import HedgerowError
from hedgerow.objectives import Loss, Objective, cross_entropy, feature_mse, token_cross_entropy
from hedgerow.run import Run, open_run
from hedgerow.train import Optimiser, Phase, Schedule, Shuffled, TrainPlan, Validation, steps_for, train

torch.set_num_threads(1)
GOLDEN = Path(__file__).parents[1] / "golden" / "train_two_steps.json"
RNG = np.random.default_rng(0)
INPUTS = torch.tensor(RNG.normal(size=(13, 4)))
LABELS = torch.tensor(RNG.integers(0, 3, 13))


def linear(seed: int = 0, wide: int = 3) -> nn.Linear:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Linear(4, wide).double()


def collate(indices: np.ndarray) -> dict[str, Tensor]:
    return {"inputs": INPUTS[indices], "labels": LABELS[indices]}


def losses(nets: dict[str, nn.Module], batch: dict[str, Tensor]) -> dict[str, Loss]:
    return {"ce": cross_entropy(nets["net"](batch["inputs"]), batch["labels"])}


def phase(**more: object) -> Phase:
    given: dict[str, object] = {
        "name": "fit",
        "objective": Objective(losses),
        "batches": Shuffled(13, 5, 1, collate),
        "trains": ("net",),
        "steps": 6,
        "optimiser": Optimiser(lr=0.05),
    }
    return Phase(**{**given, **more})  # type: ignore[arg-type]


def weights(net: nn.Module) -> Tensor:
    return torch.cat([p.detach().flatten() for p in net.parameters()])


def run_in(root: Path) -> Run:
    return open_run(root, "toy", {}, 0)


def test_it_is_the_plain_loop() -> None:
    """Same order, schedule, clipping and optimiser written out by hand: one epoch and a half, uneven last batch."""
    ours, plain = linear(), linear()
    schedule = Schedule(shape="linear", warmup=0.34)
    train({"net": ours}, [phase(schedule=schedule, clip=0.3)], TrainPlan())

    optimiser = torch.optim.AdamW(plain.parameters(), lr=0.05)
    orders = [np.random.default_rng([1, epoch]).permutation(13) for epoch in range(2)]
    batches = [order[start : start + 5] for order in orders for start in (0, 5, 10)]
    for indices, factor in zip(batches, [1 / 3, 2 / 3, 1.0, 0.75, 0.5, 0.25], strict=True):
        optimiser.param_groups[0]["lr"] = 0.05 * factor
        optimiser.zero_grad()
        nn.functional.cross_entropy(plain(INPUTS[indices]), LABELS[indices]).backward()
        nn.utils.clip_grad_norm_(plain.parameters(), 0.3)
        optimiser.step()
    torch.testing.assert_close(weights(ours), weights(plain), rtol=1e-12, atol=1e-12)


def test_accumulated_uneven_batches_are_one_large_batch() -> None:
    """5 + 5 + 3 rows with class weights and ignored labels step like all 13 at once."""
    labels = torch.where(torch.arange(13) % 4 == 1, -100, LABELS)
    w = torch.tensor([0.3, 1.0, 4.0], dtype=torch.float64)

    def weighted(nets: dict[str, nn.Module], batch: dict[str, Tensor]) -> dict[str, Loss]:
        return {"ce": cross_entropy(nets["net"](batch["inputs"]), batch["labels"], 0.1, w)}

    def make(indices: np.ndarray) -> dict[str, Tensor]:
        return {"inputs": INPUTS[indices], "labels": labels[indices]}

    parts, whole = linear(), linear()
    sgd = Optimiser(name="SGD", lr=0.5)
    common = {"objective": Objective(weighted), "optimiser": sgd, "steps": 2}
    a = train({"net": parts}, [phase(batches=Shuffled(13, 5, 1, make), accumulate=3, **common)], TrainPlan(log_every=1))
    b = train({"net": whole}, [phase(batches=Shuffled(13, 13, 1, make), **common)], TrainPlan(log_every=1))
    torch.testing.assert_close(weights(parts), weights(whole), rtol=1e-12, atol=1e-12)
    assert [row["ce"] for row in a.history] == pytest.approx([row["ce"] for row in b.history], rel=1e-12)


def test_golden_losses_of_two_steps() -> None:
    """Fixed numbers: a change of seeds, order, schedule or arithmetic shows here before it shows in a result."""
    found = {}
    for name, more in {
        "adamw": {},
        "accumulated": {"accumulate": 2, "clip": 0.1},
        "sgd_cosine": {
            "optimiser": Optimiser(name="SGD", lr=0.2, options={"momentum": 0.9}),
            "schedule": Schedule(shape="cosine", warmup=0.5),
        },
    }.items():
        history = train({"net": linear()}, [phase(steps=2, **more)], TrainPlan(log_every=1)).history
        found[name] = [row["loss"] for row in history]
    expected = json.loads(GOLDEN.read_text())
    assert found.keys() == expected.keys()
    for name, values in found.items():
        assert values == pytest.approx(expected[name], rel=1e-6), name


def test_two_phases_train_different_nets_in_turn() -> None:
    """Each phase moves its nets only, leaves no gradient on the other's, and sets who is in training mode."""
    nets = {"net": linear(0), "rival": linear(1, wide=4), "teacher": linear(2)}
    start = {name: weights(net) for name, net in nets.items()}
    seen: list[tuple[str, bool, bool]] = []
    moved: list[str] = []
    foreign: list[bool] = []

    def watch(name: str) -> Callable[..., dict[str, Loss]]:
        def losses(nets: dict[str, nn.Module], batch: dict[str, Tensor]) -> dict[str, Loss]:
            seen.append((name, nets["net"].training, nets["rival"].training))
            foreign.append(nets["rival"].weight.grad is not None)
            moved.append("".join(k[0] for k, net in nets.items() if not torch.equal(weights(net), start[k])))
            logits = nets["net"](nets["rival"](batch["inputs"]))
            return {
                "ce": cross_entropy(logits, batch["labels"]),
                "mse": feature_mse(logits, nets["teacher"](batch["inputs"])),
            }

        return losses

    fit = phase(objective=Objective(watch("fit")), steps=2)
    attack = phase(name="attack", objective=Objective(watch("attack"), {"ce": -1.0}), steps=1, trains=("rival",))
    trained = train(nets, [fit, attack], TrainPlan(rounds=2, log_every=1))
    assert [row["phase"] for row in trained.history] == ["fit", "fit", "attack"] * 2
    assert seen == [("fit", True, False), ("fit", True, False), ("attack", False, True)] * 2
    assert moved == ["", "n", "n", "nr", "nr", "nr"]
    assert torch.equal(weights(nets["teacher"]), start["teacher"])
    assert not any(net.training for net in nets.values())
    assert foreign[:3] == [False] * 3  # two steps of 'fit' left no gradient on the rival


def test_frozen_parameters_of_a_trained_net_stay() -> None:
    net = nn.Sequential(linear(0, 4), linear(1))
    net[0].requires_grad_(False)
    before = weights(net[0])
    train({"net": net}, [phase()], TrainPlan())
    assert torch.equal(weights(net[0]), before)


def test_single_nets_have_their_own_rate() -> None:
    nets = {"body": linear(0, 4), "head": linear(1)}

    def both(nets: dict[str, nn.Module], batch: dict[str, Tensor]) -> dict[str, Loss]:
        return {"ce": cross_entropy(nets["head"](nets["body"](batch["inputs"])), batch["labels"])}

    body, head = weights(nets["body"]), weights(nets["head"])
    optimiser = Optimiser(name="Adam", lr=1e-6, lrs={"head": 1e-2})
    train(nets, [phase(objective=Objective(both), trains=("body", "head"), optimiser=optimiser, steps=1)], TrainPlan())
    assert 0 < float((weights(nets["body"]) - body).abs().max()) < 2e-6
    assert float((weights(nets["head"]) - head).abs().max()) == pytest.approx(1e-2, rel=1e-3)


@pytest.mark.parametrize("higher", [True, False])
def test_early_stop_returns_the_best_weights(higher: bool) -> None:
    scores = iter([0.1, 0.4, 0.3, 0.4, 0.2, 0.9])
    kept: list[Tensor] = []

    def score(nets: dict[str, nn.Module]) -> float:
        assert not nets["net"].training and not torch.is_grad_enabled()
        kept.append(weights(nets["net"]))
        return next(scores) * (1 if higher else -1)

    net = linear()
    plan = TrainPlan(validation=Validation(score, every=2, patience=3, higher=higher))
    trained = train({"net": net}, [phase(steps=50)], plan)
    assert (trained.stopped, trained.step, trained.best_step) == ("early", 10, 4)
    assert abs(trained.best) == 0.4  # type: ignore[arg-type]
    assert torch.equal(weights(net), kept[1]) and not torch.equal(weights(net), kept[-1])


def test_a_loss_that_is_not_finite_is_one_line_and_spoils_no_weight() -> None:
    inputs = INPUTS.clone()
    inputs[7, 2] = float("nan")

    def make(indices: np.ndarray) -> dict[str, Tensor]:
        return {"inputs": inputs[indices], "labels": LABELS[indices]}

    net = linear()
    with pytest.raises(HedgerowError, match=r"^phase 'fit', step \d: not a finite number \(ce nan, loss nan"):
        train({"net": net}, [phase(batches=Shuffled(13, 5, 1, make))], TrainPlan())
    assert bool(torch.isfinite(weights(net)).all())


@pytest.mark.parametrize("clip", [None, 1.0])
def test_a_gradient_that_is_not_finite_spoils_no_weight_either(clip: float | None) -> None:
    def steep(nets: dict[str, nn.Module], batch: dict[str, Tensor]) -> dict[str, Loss]:
        root = (nets["net"](batch["inputs"]) * 0).abs().sum().sqrt()  # 0 with an infinite slope
        return {"root": Loss(root, torch.tensor(5.0))}

    net = linear()
    with pytest.raises(HedgerowError, match="gradient_norm nan"):
        train({"net": net}, [phase(objective=Objective(steep), clip=clip)], TrainPlan())
    assert torch.equal(weights(net), weights(linear()))


def test_a_step_whose_selection_is_empty_moves_nothing() -> None:
    def none(nets: dict[str, nn.Module], batch: dict[str, Tensor]) -> dict[str, Loss]:
        return {
            "ce": token_cross_entropy(nets["net"](batch["inputs"])[None], torch.full((1, len(batch["labels"])), -100))
        }

    net = linear()
    trained = train({"net": net}, [phase(objective=Objective(none), clip=1.0)], TrainPlan(log_every=1))
    assert torch.equal(weights(net), weights(linear()))
    assert {row["loss"] for row in trained.history} == {0.0}


def test_bfloat16_is_autocast_and_the_weights_stay_float32() -> None:
    seen = []

    def half(nets: dict[str, nn.Module], batch: dict[str, Tensor]) -> dict[str, Loss]:
        logits = nets["net"](batch["inputs"].float())
        seen.append(logits.dtype)
        return {"ce": cross_entropy(logits, batch["labels"])}

    net = linear().float()
    trained = train({"net": net}, [phase(objective=Objective(half))], TrainPlan(precision="bfloat16"))
    assert set(seen) == {torch.bfloat16} and net.weight.dtype == torch.float32
    assert trained.history[-1]["loss"] < 2


def test_the_callers_random_stream_is_left_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    train({"net": nn.Sequential(nn.Dropout(), linear())}, [phase()], TrainPlan())
    assert torch.equal(torch.rand(3), expected)


def test_resume_refuses_another_plan_other_data_and_other_nets(tmp_path: Path) -> None:
    plan = TrainPlan(run=run_in(tmp_path))
    train({"net": linear()}, [phase()], plan)
    for other, what in [
        (phase(steps=7), "fit.steps was 6, now it is 7"),
        (phase(optimiser=Optimiser(lr=0.1)), "fit.optimiser was"),
        (phase(batches=Shuffled(13, 5, 2, collate)), "fit.data was"),
    ]:
        with pytest.raises(HedgerowError, match=what):
            train({"net": linear()}, [other], plan)
    with pytest.raises(HedgerowError, match="does not fit these nets"):
        train({"net": linear(wide=5)}, [phase()], plan)


def test_a_damaged_checkpoint_is_one_line(tmp_path: Path) -> None:
    plan = TrainPlan(run=run_in(tmp_path))
    train({"net": linear()}, [phase()], plan)
    state = next(tmp_path.glob("*/checkpoints/train/checkpoint-*/state.safetensors"))
    state.write_bytes(state.read_bytes()[:-5])
    with pytest.raises(HedgerowError, match=r"is damaged .*remove it to start again"):
        train({"net": linear()}, [phase()], plan)


def test_a_full_disk_while_saving_leaves_the_older_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import safetensors.torch

    plan = TrainPlan(run=run_in(tmp_path), save_seconds=0)
    real, calls = safetensors.torch.save_file, []

    def fails_later(tensors: dict[str, Tensor], path: Path) -> None:
        calls.append(path)
        if len(calls) == 3:
            path.write_bytes(b"half")
            raise OSError(28, "No space left on device")
        real(tensors, path)

    monkeypatch.setattr(safetensors.torch, "save_file", fails_later)
    with pytest.raises(HedgerowError, match=r"cannot save .*No space left on device"):
        train({"net": linear()}, [phase()], plan)
    kept = [path.name for path in tmp_path.glob("*/checkpoints/train/*")]
    assert kept == ["checkpoint-00000002"]
    net, whole = linear(), linear()
    train({"net": net}, [phase()], plan)
    train({"net": whole}, [phase()], TrainPlan())
    assert torch.equal(weights(net), weights(whole))


def test_a_plan_that_does_not_fit_is_one_line() -> None:
    nets = {"net": linear()}
    frozen = {"net": linear().requires_grad_(False)}
    constant = Objective(lambda nets, batch: {"x": Loss(torch.tensor(1.0), torch.tensor(1.0))})
    for given, phases, plan, what in [
        (nets, [], TrainPlan(), "needs phases with names of their own"),
        (nets, [phase(), phase()], TrainPlan(), "names of their own"),
        (nets, [phase(trains=("nett",))], TrainPlan(), "no net is called 'nett' .did you mean 'net'"),
        (nets, [phase()], TrainPlan(pools=("pool",)), "pools: no net is called 'pool'"),
        (nets, [phase(steps=0)], TrainPlan(), "fit.steps must be at least 1"),
        (nets, [phase(optimiser=Optimiser(name="AdamX"))], TrainPlan(), "no optimiser is called 'AdamX'"),
        (nets, [phase(optimiser=Optimiser(options={"momentum": 1}))], TrainPlan(), "optimiser AdamW: .*momentum"),
        (nets, [phase(optimiser=Optimiser(lrs={"head": 1.0}))], TrainPlan(), "lrs: no net of this phase"),
        (frozen, [phase()], TrainPlan(), "no parameter requires a gradient"),
        (nets, [phase(objective=constant)], TrainPlan(), "the loss does not depend on net"),
    ]:
        with pytest.raises(HedgerowError, match=what):
            train(given, phases, plan)
    with pytest.raises(HedgerowError, match="cannot make batches of 5 from 0"):
        Shuffled(0, 5, 1, collate)


def test_every_epoch_sees_every_example_once_in_an_order_of_its_own() -> None:
    batches = Shuffled(13, 5, 7, collate)
    epochs = [np.concatenate([batches.indices(3 * e + i) for i in range(3)]) for e in range(4)]
    assert all(sorted(epoch) == list(range(13)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 4
    assert np.array_equal(batches.indices(4), Shuffled(13, 5, 7, collate).indices(4))
    assert [len(batches.indices(i)) for i in range(4)] == [5, 5, 3, 5]
    assert list(Shuffled(4, 3, 0, collate, shuffle=False).indices(1)) == [3]
    assert steps_for(2, batches, accumulate=3) == 2 and steps_for(0.01, batches) == 1


def test_events_and_history_tell_the_same_story(tmp_path: Path) -> None:
    from hedgerow.files import read_jsonl

    run = run_in(tmp_path)
    plan = TrainPlan(run=run, log_every=2, name="head", validation=Validation(lambda nets: 1.0, every=3))
    trained = train({"net": linear()}, [phase()], plan)
    rows = [row for row in read_jsonl(run.folder / "events.jsonl") if row["event"] == "train"]
    assert [{k: v for k, v in row.items() if k not in ("when", "event", "name")} for row in rows] == trained.history
    assert [row["step"] for row in trained.history] == [2, 3, 4, 6, 6]
    assert {row["name"] for row in rows} == {"head"}
