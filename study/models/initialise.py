"""Initial weights, each tensor from a random stream of its own."""

from torch import nn

from study.seeding import stream


def initialise(network: nn.Module, scheme: str, seed: int) -> None:
    """Draw the weights of linear and convolutional layers in place; biases start at zero.

    glorot_normal: N(0, 2 / (fan_in + fan_out)), Glorot & Bengio 2010, equation 12 with a normal distribution.
    """
    draw = {"glorot_normal": nn.init.xavier_normal_}[scheme]
    for name, module in network.named_modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            draw(module.weight, generator=stream(seed, f"init/{name}.weight"))
            if module.bias is not None:
                nn.init.zeros_(module.bias)
