"""What methods that score weights share: examples, loss, the state of the network while scoring, rounds."""

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy
from torch.nn.modules.batchnorm import _BatchNorm

from study.cell import Augment, Init
from study.data import Examples
from study.data.augment import augmentation
from study.errors import StudyError
from study.methods.masks import Mask, SignedRanking, keep_top, kept_count
from study.models import prunable

BatchNorm = Literal["train", "eval"]
"""Whether batch norm uses the scoring batch's statistics or its own, initial ones."""

Scored = Literal["trained", "redrawn"] | Init
"""The weights that are scored: those that will be trained, another draw of them, or a draw by another scheme."""

Batch = tuple[Tensor, Tensor]
Weights = dict[str, Tensor]


def draw(
    examples: Examples | Sequence[Batch],
    count: int,
    per_class: int,
    batches: int,
    augment: Augment = "none",
    of_class: int | None = None,
) -> Iterable[Batch]:
    """Batches (inputs, labels) of scoring examples: `per_class` of each class in each batch, or where that is 0,
    `count` at random, of all classes or of one, divided among the batches. Batches that are given are taken as they
    are.

    They may be gone over any number of times. Each is made when its turn comes: together they may be more than a memory
    holds. Images are augmented by the streams "score/augment/0", "score/augment/1" and so on, a stream a batch:
    whatever goes over a batch again, for a Hessian or another round, sees the same images.

    Raises StudyError where they are asked for in two ways or none, or do not make batches of one size: batches weigh
    the same, so that examples of smaller ones would count for more.
    """
    if not isinstance(examples, Examples):
        return examples
    if (count == 0) == (per_class == 0):
        raise StudyError("set one of method.scoring_examples and method.examples_per_class, and the other to 0")
    if per_class and of_class is not None:
        raise StudyError("method.scoring_class goes with method.scoring_examples: set method.examples_per_class=0")
    if count % batches:
        raise StudyError(f"{count} scoring examples do not make {batches} batches of one size: change method.batches")
    drawn = examples.balanced(per_class * batches) if per_class else examples.sample(count, of_class)
    changed = augmentation(augment, examples.split.arrays.training.black(), f"{examples.seed}/score")
    # Balanced examples are sorted by class: every n-th of them is balanced too.
    return _Drawn(examples, [drawn[i::batches] for i in range(batches)], changed)


@dataclass(frozen=True)
class _Drawn:
    examples: Examples
    batches: Sequence[Tensor]
    augment: Callable[[int, Tensor], Tensor]

    def __iter__(self) -> Iterator[Batch]:
        for i, indices in enumerate(self.batches):
            batch = self.examples.batch(indices)
            yield self.augment(i, batch.inputs), batch.labels


def for_scoring(network: nn.Module, batch_norm: BatchNorm) -> nn.Module:
    """A copy of the network, so that scoring leaves no trace in batch norm's statistics. Dropout is off."""
    scored = copy.deepcopy(network).eval()
    for module in scored.modules():
        if isinstance(module, _BatchNorm):
            module.train(batch_norm == "train")
    return scored


def rankable(network: nn.Module, biases: bool = False) -> Weights:
    """The parameters to rank, in the network's order: the prunable weights, and with `biases` their layers' biases."""
    names = set(prunable(network))
    if biases:
        names |= {name.replace("weight", "bias") for name in names}
    return {name: parameter for name, parameter in network.named_parameters() if name in names}


def loss(network: nn.Module, weights: Weights, batch: Batch, temperature: float = 1.0) -> Tensor:
    """Mean cross-entropy on a batch, with `weights` for the network's own and logits divided by a temperature."""
    inputs, labels = batch
    return cross_entropy(functional_call(network, weights, inputs) / temperature, labels)


def derivatives(value: Tensor, weights: Sequence[Tensor], create_graph: bool = False) -> Sequence[Tensor]:
    """The derivative of `value` in each weight, zero in one that it does not depend on."""
    return torch.autograd.grad(value, weights, create_graph=create_graph, materialize_grads=True)


def summed(terms: Iterable[Sequence[Tensor]]) -> list[Tensor]:
    """The sum over batches of a sequence of tensors, tensor by tensor."""
    totals: list[Tensor] = []
    for term in terms:
        totals = [a + b for a, b in zip(totals, term, strict=True)] if totals else list(term)
    return totals


def prune_in_rounds(
    weights: Weights, sparsity: float, rounds: int, ranking: SignedRanking, score: Callable[[Weights], Sequence[Tensor]]
) -> Mask:
    """Score, keep the highest, and again among those kept, each round keeping the same fraction.

    `score` is given the weights as leaves, pruned ones at zero, and gives a score for each.
    """
    total = sum(w.numel() for w in weights.values())
    mask = {name: torch.ones(w.shape, dtype=torch.bool) for name, w in weights.items()}
    for kept in exponential_rounds(total, kept_count(total, sparsity), rounds):
        leaves = {name: (w.detach() * mask[name].to(w.device)).requires_grad_() for name, w in weights.items()}
        mask = keep_top(dict(zip(weights, score(leaves), strict=True)), kept, ranking, mask)
    return mask


def exponential_rounds(total: int, kept: int, rounds: int) -> list[int]:
    """Counts kept after each of several rounds, each keeping the same fraction, the last exactly `kept`."""
    if kept == 0:
        return [0]
    return [round(total * (kept / total) ** (i / rounds)) for i in range(1, rounds + 1)]
