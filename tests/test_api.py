"""Pruning a module of one's own, and records as tables, as a notebook does it."""

import copy
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import study
from study import data, methods, models
from study.cell import Dataset, Model
from study.data import Examples
from study.errors import StudyError
from study.lineage import step_function
from study.methods.masks import Mask
from study.methods.scoring import draw
from tests.conftest import ROOT, environment

BATCH = torch.randn(12, 6, generator=torch.Generator().manual_seed(5)), torch.arange(12) % 3


def small(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 3))


def sgd(model: nn.Module, iterations: int = 6) -> None:
    optimizer = torch.optim.SGD(model.parameters(), 0.2, momentum=0.9, weight_decay=0.1)
    for _ in range(iterations):
        optimizer.zero_grad()
        cross_entropy(model.eval()(BATCH[0]), BATCH[1]).backward()
        optimizer.step()


def arguments(name: str) -> dict[str, Any]:
    needed = {"batch": BATCH, "inputs": (6,), "train": sgd, "sparsity": 0.7}
    return {k: v for k, v in needed.items() if k in study.api._signature(methods.load(name)).parameters}


def same(a: Mask, b: Mask) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize(
    ("name", "settings"),
    [("snip", {}), ("snip", {"biases": True, "rounds": 3}), ("grasp", {}), ("grasp", {"redraw": "linear"})],
)
def test_masks_are_those_of_the_sweeps(name: str, settings: dict[str, Any]) -> None:
    shape = data.shape("mnist")
    network = models.build(Model(name="lenet_300_100", family="lenet"), shape.inputs, shape.classes, seed=3)
    examples = Examples(data.split(Dataset(name="mnist"), 3), 3)
    batches = list(draw(examples, count=100, per_class=0, batches=2))
    own = {"scoring_examples": 100, "examples_per_class": 0, "batches": 2} | ({"seed": 3} if name == "grasp" else {})
    expected = step_function(f"study.methods.{name}:{name}")(network, examples, sparsity=0.95, **own, **settings)
    seed = {"seed": 3} if name == "grasp" else {}
    found = getattr(study, name)(network, batches, sparsity=0.95, **seed, **settings)
    assert same(found, expected)


@pytest.mark.parametrize("name", methods.names())
def test_a_method_leaves_the_module_as_it_was(name: str) -> None:
    model = small()
    model[4].weight.requires_grad_(False)
    model[0].train(), model[1].eval()
    sgd_like = copy.deepcopy(model)
    cross_entropy(model(BATCH[0]), BATCH[1]).backward()
    gradients = {n: None if p.grad is None else p.grad.clone() for n, p in model.named_parameters()}
    before, modes = copy.deepcopy(model.state_dict()), [module.training for module in model.modules()]
    with torch.no_grad():
        masks = getattr(study, name)(model, **arguments(name))
    assert [module.training for module in model.modules()] == modes
    assert [p.requires_grad for p in model.parameters()] == [p.requires_grad for p in sgd_like.parameters()]
    for n, p in model.named_parameters():
        before_it = gradients[n]
        assert (p.grad is None) == (before_it is None)
        assert p.grad is None or before_it is None or torch.equal(p.grad, before_it)
    if name != "magnitude":  # it goes on from the trained weights
        assert all(torch.equal(tensor, before[n]) for n, tensor in model.state_dict().items())
    kept = sum(int(m.sum()) for m in masks.values())
    assert kept == (72 if name == "dense" else round(72 * 0.3))


def test_prunable_are_the_layers_with_products() -> None:
    model = nn.ModuleDict(
        {
            "embedding": nn.Embedding(5, 8),
            "linear": nn.Linear(4, 4),
            "conv": nn.Conv1d(2, 3, 3),
            "up": nn.ConvTranspose2d(2, 3, 3),
            "norm": nn.LayerNorm((4, 4)),
            "lstm": nn.LSTM(3, 4),
            "cell": nn.GRUCell(3, 4),
            "attention": nn.MultiheadAttention(8, 2),
        }
    )
    assert list(study.prunable(model)) == [
        "linear.weight",
        "conv.weight",
        "up.weight",
        "lstm.weight_ih_l0",
        "lstm.weight_hh_l0",
        "cell.weight_ih",
        "cell.weight_hh",
        "attention.in_proj_weight",
        "attention.out_proj.weight",
    ]


def test_a_shared_weight_is_scored_in_all_its_places() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 3))
    model[2].weight = model[0].weight
    cross_entropy(model(BATCH[0]), BATCH[1]).backward()
    scores = torch.cat([(w * w.grad).abs().flatten() for w in study.prunable(model).values()])
    masks = study.snip(model, BATCH, sparsity=0.5)
    assert list(masks) == ["0.weight", "4.weight"]
    found = torch.cat([mask.flatten() for mask in masks.values()])
    assert set(found.nonzero().flatten().tolist()) == set(scores.topk(27).indices.tolist())


class Sequence(nn.Module):
    """Attention over the states of an LSTM, as users write them: the last state to an output."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(2, 4, batch_first=True)
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
        self.output = nn.Linear(4, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        states, _ = self.lstm(inputs.view(-1, 3, 2))
        mixed, _ = self.attention(states, states, states, need_weights=False)
        outputs: Tensor = self.output(mixed[:, -1])
        return outputs


@pytest.mark.parametrize("name", ["snip", "grasp"])
@pytest.mark.parametrize(
    "device", ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"))]
)
def test_recurrent_layers_and_attention(name: str, device: str) -> None:
    torch.manual_seed(0)
    model = Sequence().eval().to(device)
    masks = getattr(study, name)(model, BATCH, sparsity=0.8)
    total = sum(w.numel() for w in study.prunable(model).values())
    assert sum(int(m.sum()) for m in masks.values()) == round(0.2 * total)
    study.apply(model, masks)
    sgd(model.to(device))
    assert all(not w[~masks[n].to(device)].any() for n, w in study.prunable(model).items())


OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "sgd": lambda p: torch.optim.SGD(p, 0.1, momentum=0.9, nesterov=True, weight_decay=0.1),
    "adamw": lambda p: torch.optim.AdamW(p, 0.01, weight_decay=0.1),
    "rmsprop": lambda p: torch.optim.RMSprop(p, 0.01, momentum=0.9),
    "lbfgs": lambda p: torch.optim.LBFGS(p, 0.1),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_pruned_weights_stay_zero_whatever_the_optimizer_remembers(name: str) -> None:
    model = small().eval()
    optimizer = OPTIMIZERS[name](model.parameters())

    def loss() -> float:
        optimizer.zero_grad()
        value = cross_entropy(model(BATCH[0]), BATCH[1])
        value.backward()
        return value.item()

    for _ in range(3):  # momentum of weights that are pruned only then
        optimizer.step(loss)
    names, masks = list(model.state_dict()), study.random(model, sparsity=0.5)
    study.apply(model, masks)
    kept = {n: w[masks[n]].clone() for n, w in study.prunable(model).items()}
    for _ in range(3):
        optimizer.step(loss)
        for n, weight in study.prunable(model).items():
            assert not weight[~masks[n]].any()
            assert weight.grad is not None
            assert not weight.grad[~masks[n]].any()
    assert all((w[masks[n]] != kept[n]).any() for n, w in study.prunable(model).items())
    assert list(model.state_dict()) == names


def test_a_new_mask_replaces_the_old_one_and_a_copy_has_none() -> None:
    model = small()
    masks = study.random(model, sparsity=0.9)
    study.apply(model, masks)
    free = copy.deepcopy(model)
    sgd(free)
    assert all(w[~masks[n]].any() for n, w in study.prunable(free).items())
    study.apply(model, {name: ~mask for name, mask in masks.items()})
    sgd(model)
    for name, weight in study.prunable(model).items():
        assert not weight[masks[name]].any()
        assert weight[~masks[name]].any()


def test_a_weight_that_is_not_a_number_becomes_zero() -> None:
    model = small()
    with torch.no_grad():
        model.get_parameter("0.weight").fill_(torch.nan)
    study.apply(model, {"0.weight": torch.zeros(8, 6, dtype=torch.bool)})
    assert not model.get_parameter("0.weight").any()


def test_lottery_ticket_by_hand() -> None:
    """Two rounds of 20 %, 10 % of the output layer, by layer, each from the initial weights."""
    model = small(1)
    start, masks = copy.deepcopy(model.state_dict()), {"0.weight": torch.ones(8, 6), "4.weight": torch.ones(3, 8)}
    for rates in ({"0.weight": 38, "4.weight": 22}, {"0.weight": 31, "4.weight": 19}):
        network = copy.deepcopy(model)
        network.load_state_dict(start)
        optimizer = torch.optim.SGD(network.parameters(), 0.2, momentum=0.9, weight_decay=0.1)
        for _ in range(6):
            with torch.no_grad():
                for name, mask in masks.items():
                    network.get_parameter(name).mul_(mask)
            optimizer.zero_grad()
            cross_entropy(network.eval()(BATCH[0]), BATCH[1]).backward()
            optimizer.step()
        for name, kept in rates.items():
            ranked = (network.get_parameter(name).detach().abs() + 1e-9) * masks[name]
            masks[name] = (ranked >= ranked.flatten().topk(kept).values[-1]).float()
    found = study.lottery_ticket(model, sgd, sparsity=1 - 50 / 72)
    assert same(found, {name: mask.bool() for name, mask in masks.items()})


def test_late_rewinding_leaves_the_weights_that_it_rewinds_to() -> None:
    model, calls = small(), []

    def train(network: nn.Module, **part: int) -> None:
        calls.append(part)
        sgd(network, part.get("until", 6) - part.get("since", 0))

    early = copy.deepcopy(model)
    sgd(early, 2)
    study.lottery_ticket(model, train, sparsity=0.3, rewind=2)
    assert calls[0] == {"until": 2}
    assert calls[1:] == [{"since": 2}] * len(calls[1:])
    assert len(calls) > 2
    assert all(torch.equal(tensor, model.state_dict()[name]) for name, tensor in early.state_dict().items())


def test_magnitude_goes_on_from_the_trained_weights() -> None:
    model = small()
    trained = copy.deepcopy(model)
    sgd(trained)
    masks = study.magnitude(model, sgd, sparsity=0.5)
    assert all(torch.equal(tensor, model.state_dict()[name]) for name, tensor in trained.state_dict().items())
    magnitudes = torch.cat([w.detach().abs().flatten() for w in study.prunable(trained).values()])
    found = torch.cat([mask.flatten() for mask in masks.values()])
    assert magnitudes[found].min() > magnitudes[~found].max()


def test_a_weight_that_the_output_does_not_depend_on_is_the_first_to_go() -> None:
    class WithUnused(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.unused, self.used = nn.Linear(6, 3), nn.Linear(6, 3)

        def forward(self, inputs: Tensor) -> Tensor:
            outputs: Tensor = self.used(inputs)
            return outputs

    masks = study.snip(WithUnused(), BATCH, sparsity=0.5)
    assert not masks["unused.weight"].any()
    assert masks["used.weight"].all()


def test_mistakes_are_said() -> None:
    model = small()
    with pytest.raises(ValueError, match="no linear, convolutional, recurrent or attention layer"):
        study.snip(nn.ReLU(), BATCH, sparsity=0.5)
    with pytest.raises(ValueError, match=r"sparsity=95: the fraction"):
        study.snip(model, BATCH, sparsity=95)
    with pytest.raises(ValueError, match="a batch is a pair of tensors"):
        study.snip(model, BATCH[0], sparsity=0.5)
    with pytest.raises(TypeError, match="temprature"):
        study.grasp(model, BATCH, sparsity=0.5, temprature=1)
    with pytest.raises(TypeError, match="'train'"):
        study.lottery_ticket(model, sparsity=0.5)
    with pytest.raises(ValueError, match="temperature"):
        study.grasp(model, BATCH, sparsity=0.5, temperature=-1.0)
    with pytest.raises(ValueError, match=r"no parameter 9\.weight"):
        study.apply(model, {"9.weight": torch.ones(1)})
    with pytest.raises(ValueError, match=r"0.weight has shape \(8, 6\), its mask \(6, 8\)"):
        study.apply(model, {"0.weight": torch.ones(6, 8)})
    with pytest.raises(AttributeError, match="has no attribute 'snipe'"):
        study.snipe  # noqa: B018


PUBLISHED = ROOT / "results" / "records" / "quickstart"


def test_records_are_a_row_a_cell_and_curves_a_row_an_evaluation() -> None:
    written = [json.loads(path.read_text())["results"] for path in PUBLISHED.glob("*.json")]
    cells, points = study.records(str(PUBLISHED)), study.curves(PUBLISHED)
    assert len(cells) == len(written)
    assert sorted(cells["test_accuracy"]) == pytest.approx(sorted(100 * r["test_accuracy"] for r in written))
    assert not any(cells[column].map(lambda value: isinstance(value, (dict, list))).any() for column in cells)
    assert len(points) == sum(len(r["curves"]["iteration"]) for r in written)
    last = points.groupby(["method", "sparsity", "seed"])["test_accuracy"].last()
    expected = cells.set_index(["method", "sparsity", "seed"])["test_accuracy"] / 100
    assert last.to_dict() == pytest.approx(expected.to_dict())


def test_a_folder_without_records(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="no records in"):
        study.records(tmp_path)


def test_reading_records_imports_no_torch() -> None:
    script = (
        "import sys; from study import records; records('results/records/quickstart'); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, env=environment(), capture_output=True, text=True)
    assert done.stdout.strip() == "False", done.stderr
