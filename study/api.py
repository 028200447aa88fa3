"""Pruning of any torch module, by the methods of the sweeps: for notebooks.

    from study import apply, snip

    masks = snip(model, (inputs, labels), sparsity=0.95)   # the model stays as it is
    apply(model, masks)                                    # pruned weights are zero from here on
    ...                                                    # your own training

Prunable are the weights of linear, convolutional, recurrent and attention layers (`prunable(model)` lists them), frozen
ones too. Methods that take a batch score the cross-entropy of the model's outputs, logits (n, classes, ...), and labels
(n, ...). Scoring runs on the model's device; masks are on the CPU.
"""

import copy
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.optim.optimizer import register_optimizer_step_post_hook
from torch.utils.weak import WeakTensorKeyDictionary

from study import methods
from study.lineage import Node, Training, step_function
from study.methods.masks import Mask
from study.models import prunable

__all__ = ["apply", "prunable"]

DRAWING = ("scoring_examples", "examples_per_class", "batches", "augment", "scored", "scoring_class")
"""Settings of the sweeps that the caller decides by the batches and weights that it gives."""

GIVEN = ("model", "batch", "inputs", "train")

ARGUMENTS = """
model       a torch module. Its weights, buffers, gradients and mode stay as they are; a method that ends with other
            weights than it began with (lottery_ticket with `rewind`, magnitude) loads those into it
batch       (inputs, labels) to score with, or several of them; inputs is what the model takes
inputs      the shape of one example: (1, 28, 28)
train       a function that trains the model that it is given, a copy, in place and from its present weights; with
            late rewinding it is also given the iteration to end after, until=k, or from then on that to begin
            after, since=k
sparsity    the fraction of prunable weights to remove, over all layers
seed        of the method's own random choices

Returns a mask: name of a weight -> boolean tensor, True where the weight is kept. Raises ValueError where the module
has nothing to prune or the arguments make no sense.
"""

_masks = WeakTensorKeyDictionary()


def __getattr__(name: str) -> Callable[..., Mask]:
    if name not in methods.names():
        raise AttributeError(f"module 'study.api' has no attribute {name!r}")
    return _function(name)


def apply(model: nn.Module, masks: Mapping[str, Tensor]) -> None:
    """Set pruned weights to zero and keep them so in training by any torch optimizer; a new mask replaces an old one.

    After each `optimizer.step()` pruned weights are zero again, whatever momentum or decay did; their gradients are
    zero, so a norm of gradients counts kept weights alone. The module's parameters, names and state dict stay those of
    the unpruned one. What makes other parameters, as copying a module does, or overwrites them, as `load_state_dict`
    does, calls for `apply` again.

    Raises ValueError for a mask that does not fit the module.
    """
    parameters = dict(model.named_parameters())
    for name, mask in masks.items():
        if name not in parameters:
            raise ValueError(f"the module has no parameter {name}: make the masks for this module")
        if parameters[name].shape != mask.shape:
            shapes = f"{tuple(parameters[name].shape)}, its mask {tuple(mask.shape)}"
            raise ValueError(f"{name} has shape {shapes}: make the masks for this module")
    for name, mask in masks.items():
        parameter = parameters[name]
        if parameter not in _masks and parameter.requires_grad:
            parameter.register_post_accumulate_grad_hook(_mask_gradient)
        _masks[parameter] = ~mask.to(parameter.device, torch.bool)
        _mask_weight(parameter)
        _mask_gradient(parameter)


def _mask_weight(parameter: Tensor) -> None:
    with torch.no_grad():
        parameter.masked_fill_(_pruned(parameter), 0.0)  # zero times NaN is NaN


def _mask_gradient(parameter: Tensor) -> None:
    if parameter.grad is not None:
        parameter.grad.detach().masked_fill_(_pruned(parameter), 0.0)


def _pruned(parameter: Tensor) -> Tensor:
    if _masks[parameter].device != parameter.device:
        _masks[parameter] = _masks[parameter].to(parameter.device)
    found: Tensor = _masks[parameter]
    return found


def _after_step(optimizer: torch.optim.Optimizer, *_: Any) -> None:
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            if parameter in _masks:
                _mask_weight(parameter)


register_optimizer_step_post_hook(_after_step)


def _function(name: str) -> Callable[..., Mask]:
    """A method as a function of a module, its signature made from the method's own."""
    method = methods.load(name)
    signature = _signature(method)

    def prune(*args: Any, **kwargs: Any) -> Mask:
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        return _prune(name, **bound.arguments)

    prune.__name__ = prune.__qualname__ = name
    prune.__doc__ = f"{inspect.getdoc(method)}\n{ARGUMENTS}\n{inspect.getdoc(inspect.getmodule(method))}"
    prune.__signature__ = signature  # type: ignore[attr-defined]
    return prune


def _signature(method: Callable[..., Any]) -> inspect.Signature:
    own = inspect.signature(method).parameters
    taken = {
        "model": True,
        "batch": "examples" in own,
        "inputs": "inputs" in own,
        "train": inspect.isgeneratorfunction(method),
        "sparsity": "sparsity" in own,
    }
    parameters = [inspect.Parameter(n, inspect.Parameter.POSITIONAL_OR_KEYWORD) for n, has in taken.items() if has]
    handles = {"seed": 0, "ranking": "score"}
    keywords = {n: p.replace(default=handles[n]) for n, p in own.items() if n in handles}
    keywords |= {n: p for n, p in own.items() if p.kind is p.KEYWORD_ONLY and n not in DRAWING}
    return inspect.Signature(
        parameters + [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in keywords.values()],
        return_annotation=Mask,
    )


def _prune(name: str, model: nn.Module, sparsity: float = 0.0, **given: Any) -> Mask:
    layers = {weight: list(tensor.shape) for weight, tensor in prunable(model).items()}
    if not layers:
        raise ValueError(f"{type(model).__name__} has no linear, convolutional, recurrent or attention layer to prune")
    if not 0 <= sparsity < 1:
        raise ValueError(f"sparsity={sparsity}: the fraction to remove is at least 0 and less than 1")
    settings = {k: v for k, v in given.items() if k not in (*GIVEN, "seed", "ranking")}
    methods.settings_schema(name)(name=name, **settings)
    device = next(iter(prunable(model).values())).device
    values = _Values(model, given.get("train"), _batches(given.get("batch", []), device))
    handles = {
        "start": Node("model", {}),
        "network": Node("model", {}),
        "examples": Node("batches", {}),
        "inputs": list(given.get("inputs", ())),
        "layers": layers,
        "sparsity": sparsity,
        "seed": given.get("seed", 0),
        "ranking": given.get("ranking", "score"),
    }
    ending = methods.ask(name, handles, settings, _training)
    with torch.enable_grad():
        mask: Mask = values.of(ending.mask)
        if ending.start != handles["start"]:
            model.load_state_dict(values.of(ending.start).state_dict())
    return mask


def _training(request: Training) -> Node:
    part = {"since": request.since, "until": request.until}
    return Node("train", {"start": request.start, "mask": request.mask} | {k: v for k, v in part.items() if v})


class _Values:
    """The values of a method's nodes, each made once. Trained networks wait on the CPU."""

    def __init__(self, model: nn.Module, train: Callable[..., object] | None, batches: list[Any]) -> None:
        self._model, self._train, self._batches = model, train, batches
        self._made: dict[str, Any] = {}

    def of(self, argument: Any) -> Any:
        if not isinstance(argument, Node):
            return argument
        if argument.id not in self._made:
            self._made[argument.id] = self._make(argument.function, argument.arguments)
        return self._made[argument.id]

    def _make(self, function: str, arguments: Mapping[str, Any]) -> Any:
        match function:
            case "model":
                return self._model
            case "batches":
                return self._batches
            case "train":
                return self._trained(**arguments)
            case path:
                with _differentiable_twice(self._model):
                    return step_function(path)(**{name: self.of(value) for name, value in arguments.items()})

    def _trained(self, start: Node, mask: Node, **part: int) -> nn.Module:
        assert self._train is not None, "only methods that train ask for trainings"
        network: nn.Module = copy.deepcopy(self.of(start)).to(next(self._model.parameters()).device)
        apply(network, self.of(mask))
        self._train(network, **part)
        return network.cpu()


@contextmanager
def _differentiable_twice(model: nn.Module) -> Iterator[None]:
    """Without the kernels that have no second derivative, or for recurrent layers none in eval mode."""
    recurrent = any(isinstance(module, nn.RNNBase) for module in model.modules())
    with sdpa_kernel(SDPBackend.MATH), torch.backends.cudnn.flags(enabled=not recurrent):
        yield


def _batches(given: Any, device: torch.device) -> list[tuple[Any, Tensor]]:
    """One batch or several, as a list on the device. Raises ValueError for what is neither."""
    several = [given] if len(given) == 2 and isinstance(given[1], Tensor) else list(given)
    return [_moved(batch, device) for batch in several]


def _moved(batch: Iterable[Any], device: torch.device) -> tuple[Any, Tensor]:
    try:
        inputs, labels = batch
        moved = tuple(i.to(device) for i in inputs) if isinstance(inputs, tuple) else inputs.to(device)
        return moved, labels.to(device)
    except (TypeError, ValueError, AttributeError):
        raise ValueError("a batch is a pair of tensors, inputs and labels") from None
