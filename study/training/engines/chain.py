"""From a torch module that is a sequence of layers to the layers of the sparse engine."""

from collections import OrderedDict
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from study.data.arrays import Part
from study.models import prunable
from study.models.rnn import GRU, LSTM, Rows
from study.training.engines.layers import (
    Flatten,
    ImageRows,
    Layer,
    Linear,
    MaxPool,
    PixelLinear,
    ReLU,
    SparseConv,
    SparseLinear,
    TorchLayers,
)
from study.training.engines.recurrent import SparseGRU, SparseLSTM
from study.training.engines.weights import Array, Bias, DenseWeight, Numbers, linear_weight

SPARSE_BELOW = {nn.Linear: 0.4, nn.Conv2d: 0.4, LSTM: 0.12, GRU: 0.4}
"""The density below which kernels over kept weights are faster than dense ones, as measured."""

FEW = 4000
"""So many weights of a linear layer are faster in kernels at any density: torch's calls alone take longer."""

WORTH_IT = 0.1
"""The share of its weights that a network must hold sparse to leave torch."""


def is_chain(network: nn.Module) -> bool:
    """Whether a network is a sequence of layers."""
    return isinstance(network, nn.Sequential)


def is_linear(network: nn.Module) -> bool:
    """Whether a network is a chain of linear layers."""
    return is_chain(network) and all(
        isinstance(layer, nn.Flatten | nn.Linear | nn.ReLU) for layer in network.children()
    )


def is_worth_it(network: nn.Module, mask: Mapping[str, Tensor]) -> bool:
    """Whether a chain is faster than the network in torch: linear layers alone, or much of it held sparse."""
    if not is_chain(network):
        return False
    held_sparse = sparse_layers(network, mask)
    sizes = {name: weight.numel() for name, weight in prunable(network).items()}
    sparse = sum(size for name, size in sizes.items() if name.rpartition(".")[0] in held_sparse)
    return is_linear(network) or sparse > WORTH_IT * sum(sizes.values())


def sparse_layers(network: nn.Module, mask: Mapping[str, Tensor]) -> set[str]:
    """The layers of a chain that are worth holding sparse, by their densities, or for having few weights."""
    layers = {name: layer for name, layer in network.named_children() if _has_kernel(layer)}
    return {name for name, layer in layers.items() if _is_sparse(layer, [mask[f"{name}.{w}"] for w in prunable(layer)])}


class Chain:
    """The layers of a network, in order. What has no kernel here is run by torch, with what follows it and needs none.

    Where the first layer takes images as bytes, `pixels` are those that it reads, by their place; else None, as where
    they are `augmented`, which makes them numbers.
    """

    def __init__(
        self,
        network: nn.Module,
        mask: Mapping[str, Tensor],
        sparse: Collection[str],
        numbers: Numbers,
        inputs: Part,
        width: int,
        augmented: bool,
    ) -> None:
        self._mask, self._sparse, self._numbers, self._inputs, self.width = mask, sparse, numbers, inputs, width
        self._as_bytes = inputs.are_bytes and not augmented
        self._layers: list[Layer] = []
        in_torch: OrderedDict[str, nn.Module] = OrderedDict()
        for name, module, shape in _shapes(network, inputs.inputs.shape[1:]):
            last = self._layers[-1] if self._layers and not in_torch else None
            if isinstance(module, nn.ReLU) and isinstance(last, SparseLinear):
                last.rectified = True
                continue
            layer = self._layer(name, module, (*shape, width), bool(in_torch))
            if layer is None:
                in_torch[name] = module
                continue
            if in_torch:
                self._layers.append(self._in_torch(in_torch))
                in_torch = OrderedDict()
            self._layers.append(layer)
        if in_torch:
            self._layers.append(self._in_torch(in_torch))
        self._torch_layers = [layer for layer in self._layers if isinstance(layer, TorchLayers)]
        self._first = next(i for i, layer in enumerate(self._layers) if layer.parameters)

    @property
    def pixels(self) -> Array | None:
        first = self._layers[self._first]
        return first.inputs if isinstance(first, PixelLinear) else None

    @property
    def takes_blocks(self) -> bool:
        """Whether a batch may pass block by block: what convolutions leave then stays in the cache."""
        return isinstance(self._layers[0], SparseConv) and not self._torch_layers

    def forward(self, x: Array, count: int) -> Array:
        """The outputs for a batch of which the first `count` examples are real."""
        for in_torch in self._torch_layers:
            in_torch.count = count
        for layer in self._layers:
            x = layer.forward(x)
        return x

    def backward(self, dy: Array) -> None:
        """Put the gradients to where they lie, from the derivative in the last outputs."""
        for layer in reversed(self._layers[self._first + 1 :]):
            layer.differentiate(dy)
            dy = layer.backward(dy)
        self._layers[self._first].differentiate(dy)

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Put torch's layers into evaluation mode for a while."""
        for layer in self._torch_layers:
            layer.modules.eval()
        yield
        for layer in self._torch_layers:
            layer.modules.train()

    def _layer(self, name: str, module: nn.Module, x: tuple[int, ...], after_torch: bool) -> Layer | None:
        """The layer for inputs of shape x; None where torch has to run it, or may as well."""
        dtype = self._numbers.values.dtype
        match module:
            case nn.Linear() if name in self._sparse:
                return self._sparse_linear(name, module, x, after_torch)
            case nn.Linear() if len(x) == 2:
                weight = f"{name}.weight"
                values, gradients = self._numbers.value(weight), self._numbers.gradient(weight)
                dense = DenseWeight(torch.from_numpy(values), torch.from_numpy(gradients))
                return Linear(dense, self._bias(name, module), x, module.out_features, dtype)
            case nn.Conv2d() if name in self._sparse:
                weight = f"{name}.weight"
                values, gradients = self._numbers.value(weight), self._numbers.gradient(weight)
                bias, padding = self._bias(name, module), int(module.padding[0])
                return SparseConv(self._mask[weight], values, gradients, bias, padding, x)
            case LSTM() if name in self._sparse:
                return SparseLSTM(module.hidden_size, name, self._mask, self._numbers, x)
            case GRU() if name in self._sparse:
                return SparseGRU(module.hidden_size, name, self._mask, self._numbers, x)
            case _ if after_torch:
                return None
            case nn.ReLU():
                return ReLU()
            case nn.MaxPool2d(kernel_size=2, stride=2, padding=0):
                return MaxPool(x, dtype)
            case nn.Flatten():
                return Flatten()
            case Rows():
                return ImageRows()
        return None

    def _sparse_linear(self, name: str, module: nn.Linear, x: tuple[int, ...], after_torch: bool) -> SparseLinear:
        full = f"{name}.weight"
        values, gradients = self._numbers.value(full), self._numbers.gradient(full)
        steps = x[0] if len(x) == 3 else 1
        weight = linear_weight(values, gradients, self._mask[full], self.width, steps)
        bias = self._bias(name, module)
        only_flattened = not after_torch and all(isinstance(layer, Flatten) for layer in self._layers)
        if only_flattened and self._as_bytes:
            area = self._inputs.inputs.shape[2:].numel()
            scale, shift = (values.repeat_interleave(area).numpy() for values in self._inputs.affine())
            return PixelLinear(weight, bias, x, module.out_features, scale, shift)
        return SparseLinear(weight, bias, x, module.out_features)

    def _bias(self, name: str, module: nn.Linear | nn.Conv2d) -> Bias:
        if module.bias is None:
            return Bias(*np.zeros((2, len(module.weight)), self._numbers.values.dtype))
        return Bias(self._numbers.value(f"{name}.bias"), self._numbers.gradient(f"{name}.bias"))

    def _in_torch(self, modules: "OrderedDict[str, nn.Module]") -> TorchLayers:
        part = nn.Sequential(modules)
        for name, parameter in part.named_parameters():
            parameter.data = torch.from_numpy(self._numbers.value(name))
        gradients = {name: torch.from_numpy(self._numbers.gradient(name)) for name, _ in part.named_parameters()}
        return TorchLayers(part, gradients, self.width, first=not self._layers)


def _shapes(network: nn.Module, inputs: torch.Size) -> Iterator[tuple[str, nn.Module, torch.Size]]:
    """Each layer of a sequence, with the shape of one example before it."""
    example = torch.zeros(1, *inputs, dtype=next(network.parameters()).dtype)
    network.eval()
    for name, module in network.named_children():
        yield name, module, example.shape[1:]
        with torch.no_grad():
            example = module(example)
    network.train()


def _is_sparse(layer: nn.Module, masks: Sequence[Tensor]) -> bool:
    """Whether kernels over kept weights are faster. Torch's convolutions of grey images are slow at any density."""
    kept, size = sum(int(mask.sum()) for mask in masks), sum(mask.numel() for mask in masks)
    if isinstance(layer, nn.Linear) and kept <= FEW:
        return True
    grey = isinstance(layer, nn.Conv2d) and layer.in_channels == 1
    return kept < size if grey else kept < SPARSE_BELOW[type(layer)] * size


def _has_kernel(layer: nn.Module) -> bool:
    if not isinstance(layer, nn.Conv2d):
        return type(layer) in SPARSE_BELOW
    plain = layer.stride == (1, 1) and layer.dilation == (1, 1) and layer.groups == 1
    return plain and isinstance(layer.padding, tuple) and layer.padding[0] == layer.padding[1]
