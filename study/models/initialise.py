"""Initial weights, each tensor from a random stream of its own.

Fans count a kernel's positions; a recurrent layer's gates are one matrix, as in TensorFlow.

    name                 distribution                                  used by
    glorot_normal        N(0, 2 / (fan_in + fan_out))                  Frankle & Carbin 2019, "Gaussian Glorot"
    glorot_uniform       uniform of the same variance                  Glorot & Bengio 2010, equation 16
    he_normal            N(0, 2 / fan_in)                              He et al. 2015, equation 10
    he_normal_fan_out    N(0, 2 / fan_out)                             He et al. 2015, equation 14
    grasp                convolutions he_normal_fan_out, others        the code of Wang, Zhang & Grosse 2020
                         N(0, 0.01^2)
    variance_scaling     truncated normal, variance 1 / fan_in         the code of Lee, Ajanthan & Torr 2019 (SNIP)
    glorot_truncated     truncated normal, 2 / (fan_in + fan_out)      SNIP, section 5 and VS-X in table 3
    he_truncated         truncated normal, 2 / fan_in                  SNIP, VS-H in table 3
    standard_normal      N(0, 1)                                       SNIP, RN in table 3
    standard_truncated   truncated normal, N(0, 1)                     SNIP, TN in table 3

Truncated normals end at two standard deviations of the normal distribution. For the last two the paper gives no
deviation; 1 is the default of TensorFlow, which its code is written with.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from study.seeding import Seed, stream

TRUNCATED_DEVIATION = 0.87962566103423978
"""The standard deviation of N(0, 1) truncated at -2 and 2."""


def initialise(network: nn.Module, scheme: str, seed: Seed) -> None:
    """Draw the prunable weights in place; biases start at zero, the weights of norms keep torch's one."""
    for name, parameter in network.named_parameters():
        if parameter.dim() > 1:
            SCHEMES[scheme](parameter, generator=stream(seed, f"init/{name}"))
        elif "bias" in name:
            nn.init.zeros_(parameter)


def _truncated_normal(weight: Tensor, *, std: float, generator: torch.Generator) -> None:
    nn.init.trunc_normal_(weight, std=std, a=-2 * std, b=2 * std, generator=generator)


def _variance_scaling(weight: Tensor, *, variance: Callable[[int, int], float], generator: torch.Generator) -> None:
    """A truncated normal that has the variance after truncation, as TensorFlow's initializer of this name."""
    fan_in, fan_out = weight[0].numel(), weight[:, 0].numel()
    _truncated_normal(weight, std=variance(fan_in, fan_out) ** 0.5 / TRUNCATED_DEVIATION, generator=generator)


def _grasp(weight: Tensor, *, generator: torch.Generator) -> None:
    if weight.dim() > 2:
        SCHEMES["he_normal_fan_out"](weight, generator=generator)
    else:
        nn.init.normal_(weight, std=0.01, generator=generator)


SCHEMES: dict[str, Callable[..., object]] = {
    "glorot_normal": nn.init.xavier_normal_,
    "glorot_uniform": nn.init.xavier_uniform_,
    "he_normal": partial(nn.init.kaiming_normal_, nonlinearity="relu"),
    "he_normal_fan_out": partial(nn.init.kaiming_normal_, mode="fan_out", nonlinearity="relu"),
    "grasp": _grasp,
    "variance_scaling": partial(_variance_scaling, variance=lambda fan_in, fan_out: 1 / fan_in),
    "glorot_truncated": partial(_variance_scaling, variance=lambda fan_in, fan_out: 2 / (fan_in + fan_out)),
    "he_truncated": partial(_variance_scaling, variance=lambda fan_in, fan_out: 2 / fan_in),
    "standard_normal": nn.init.normal_,
    "standard_truncated": partial(_truncated_normal, std=1.0),
}
