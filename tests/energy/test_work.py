"""Operations and bytes of a masked network, by hand."""

from study.energy import work

PRUNABLE = {"conv.weight": 6, "fc.weight": 20}
KEPT = {"conv.weight": 3, "fc.weight": 5}
FLOPS = {"conv.weight": 2 * 6 * 100, "fc.weight": 2 * 20}  # the convolution at 100 positions


def test_a_layer_costs_what_its_kept_weights_cost() -> None:
    """3 weights at 100 positions and 5 at one, two operations each."""
    assert work.forward(FLOPS, PRUNABLE, KEPT) == 2 * (3 * 100 + 5)
    assert work.forward(FLOPS, PRUNABLE, PRUNABLE) == sum(FLOPS.values())


def test_a_training_step_is_three_forward_passes() -> None:
    assert work.training(610, examples=100) == 183_000


def test_bytes_by_format() -> None:
    """8 of 26 weights. A bit each: 6 and 20 fill 1 and 3 bytes. Layers of 2 and 4 outputs have 3 and 5 pointers."""
    assert work.sizes(KEPT, PRUNABLE, {"conv.weight": 2, "fc.weight": 4}) == {
        "dense": 4 * 26,
        "bitmask": 4 * 8 + 1 + 3,
        "csr": 4 * 8 + 4 * 8 + 4 * (3 + 5),
    }
