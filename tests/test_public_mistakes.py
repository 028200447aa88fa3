"""Mistakes found in public codes for pruning, and the tests that fail where one is made here. Paths are below tests/.

1. A shuffle that shuffles nothing: methods/test_controls.py::test_a_shuffled_mask_has_the_same_counts_elsewhere
   An inversion by 1/score: methods/test_masks.py::test_ranking_within_a_mask_never_leaves_it
2. Pruned weights come back: methods/test_masks.py::test_pruned_weights_never_come_back,
   methods/test_properties.py::test_no_round_gives_back_what_an_earlier_one_removed
3. Magnitudes without the absolute value:
   methods/test_masks.py::test_prune_smallest_ranks_absolute_values_over_all_layers_or_in_each
4. Masks in the forward pass alone: test_training.py::test_training_equals_a_plain_loop_in_float64,
   test_training.py::test_pruned_weights_are_zero_whenever_they_are_used_and_at_the_end;
   test_sweep.py::test_stored_weights_are_zero_where_pruned
5. Rewinding that forgets a tensor, the optimiser's state, the schedule or the data order: here
6. Two gradients of one Hessian product on different crops:
   methods/test_scores.py::test_scoring_images_are_augmented_once_for_both_of_grasps_passes
7. The seed ignored, or 0 taken for none: test_models.py::test_a_network_follows_its_seed_alone,
   methods/test_methods.py::test_random_masks_follow_the_seed_and_spread_over_layers,
   test_training.py::test_the_data_order_follows_the_seed_and_seed_zero_is_a_seed
8. The last partial batch weighs as much as a full one:
   test_training.py::test_evaluation_weighs_every_example_the_same_whatever_the_last_batch
9. Accuracy selected on the test set: here
10. Scores normalised by layer where they are ranked over all: here
11. A collapse that goes unreported: test_mistakes.py::test_a_sparsity_that_empties_a_layer_is_said_and_recorded for an
    empty layer, here for a path cut without one
"""

import re
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from study import data, models
from study.data import Examples, Split
from study.data.arrays import Arrays, Part
from study.lineage import step_function
from study.models.paths import effective
from study.plan import PlannedCell, plan_cell
from study.record import read_folder, summarise
from study.store import Store
from tests.conftest import ROOT, Command
from tests.test_plan import cell_of
from tests.test_record import training
from tests.training import train

snip = step_function("study.methods.snip:snip")
grasp = step_function("study.methods.grasp:grasp")
synflow = step_function("study.methods.synflow:synflow")
full_mask = step_function("study.methods.masks:full_mask")
prune_smallest = step_function("study.methods.masks:prune_smallest")

Tickets = dict[tuple[int, float], PlannedCell]
"""By the iteration rewound to and the momentum."""


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory, run_command: Command) -> Iterator[tuple[Tickets, Store]]:
    """Lottery tickets with batch norm, on augmented images of noise; in the middle of the schedule at iteration 4."""
    folder = tmp_path_factory.mktemp("rewinding")
    pixels = np.random.default_rng(0).integers(0, 256, (2, 25, 8, 8, 3), dtype=np.uint8)
    for label, i in np.ndindex(2, 25):
        path = folder / "noise" / ("train" if i < 20 else "test") / str(label) / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels[label, i]).save(path)
    settings = "dataset=image_folder dataset.name=noise dataset.size=8 dataset.validation=8 model=resnet_20"
    method = "method=lottery_ticket method.rewind=0,4 method.rate=0.5 method.conv_rate=0.5 method.output_rate=0.5"
    recipe = "recipe.optimizer=sgd recipe.learning_rate=0.001 recipe.momentum=0.0,0.9"
    recipe += " recipe.warmup=6 recipe.drops=[3,7]"
    loop = "recipe.augment=flip_crop recipe.batch_size=8 recipe.iterations=9 recipe.evaluate_every=9"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PRUNING_STUDY_DATA", str(folder))
        words = f"-m {settings} {method} {recipe} {loop} sparsity=0.75 wandb.mode=disabled output={folder}/out"
        done = run_command(*words.split())
        assert done.returncode == 0, done.stderr
        cells = [cell_of(record) for record in read_folder(folder / "out" / "records" / "adhoc")]
        tickets = {(c.method.model_dump()["rewind"], c.recipe.momentum): plan_cell(c) for c in cells}
        yield tickets, Store(folder / "out" / "store")


def test_the_tests_named_above_exist() -> None:
    assert __doc__ is not None
    for file, name in re.findall(r"([\w/]+\.py)::(test_\w+)", __doc__):
        assert f"def {name}(" in (ROOT / "tests" / file).read_text(), name


def assert_same(some: dict[str, Tensor], others: dict[str, Tensor]) -> None:
    """Equal but for rounding, every parameter and buffer. At a large learning rate rounding would grow."""
    assert some.keys() == others.keys()
    for name, tensor in some.items():
        torch.testing.assert_close(tensor, others[name], rtol=1e-3, atol=1e-4, msg=name)


@pytest.mark.parametrize("rewind", [0, 4])
def test_rewinding_restores_every_tensor_and_starts_a_fresh_optimiser(
    swept: tuple[Tickets, Store], rewind: int
) -> None:
    """The last round is a training that knows its mask and nothing else of the rounds before it."""
    tickets, store = swept
    planned = tickets[rewind, 0.9]
    cell, last = planned.cell, planned.training
    mask = store.mask(last.arguments["mask"].id)
    assert mask is not None
    assert sum(int(kept.sum()) for kept in mask.values()) == (270_896 - 8 * 64) // 4  # two classes, not ten
    network = models.build(cell.model, torch.Size([3, 8, 8]), 2, cell.seed)
    split = data.split(cell.dataset, cell.seed)
    if rewind:
        dense = {name: torch.ones_like(kept) for name, kept in mask.items()}
        train(network, dense, split, cell.recipe, cell.seed, until=rewind)
    train(network, mask, split, cell.recipe, cell.seed, since=rewind)
    found = store.weights(last.id)
    assert_same(found, network.state_dict())
    assert {int(tensor) for name, tensor in found.items() if name.endswith("num_batches_tracked")} == {9}


def test_late_rewinding_goes_on_where_the_dense_training_was(swept: tuple[Tickets, Store]) -> None:
    """Without momentum nothing else is lost: the round that nothing was pruned for ends where dense training does."""
    tickets, store = swept
    dense, (_, rewound, *_) = tickets[0, 0.0].trainings[0], tickets[4, 0.0].trainings
    assert (rewound.arguments["since"], rewound.arguments["mask"]) == (4, dense.arguments["mask"])
    assert_same(store.weights(rewound.id), store.weights(dense.id))


def test_accuracy_is_never_the_best_on_the_test_set() -> None:
    measured = training(losses=(2.0, 1.0, 0.5, 0.7))
    measured["curves"]["test_accuracy"] = [0.1, 0.9, 0.6, 0.8]
    measured["curves"]["test_loss"] = [2.0, 0.1, 0.6, 0.4]
    results = summarise("trial", "c0ffee", {}, {"t0": measured}).results
    assert (results.test_accuracy, results.test_loss) == (0.8, 0.4)
    assert (results.early_stop_iteration, results.early_stop_test_accuracy) == (20, 0.6)


def test_scores_are_ranked_over_all_layers_as_they_are() -> None:
    """Four inputs of 1, a linear hidden unit with weights w, two outputs with weights v = (1, -1); label 0.

    The unit is h = sum w = 0.5, the outputs differ by s = 2 h; L = log(1 + exp(-s)), L' = -0.27, L'' = 0.20. So g is
    2 L' in w and +-h L' in v, and H g is 2 (16 + 2 h^2) L' L'' + 2 h L'^2 and +-(h (16 + 2 h^2) L' L'' + 8 L'^2).

                    w = (5, -4, 3, -3.5)    v = (1, -1)
        |w|         5, 4, 3, 3.5            1, 1
        SNIP        2.7, 2.2, 1.6, 1.9      0.13, 0.13      2 |w L'| and |v h L'|
        GraSP       8.4, -6.7, 5.0, -5.9    -0.14, -0.14    -w (H g), the lowest are kept
        SynFlow     10, 8, 6, 7             15.5, 15.5      2 |w| and |v| sum |w|

    One layer is emptied. Divided by their layer's largest, v's scores would equal the best of w's.
    """
    network = nn.Sequential(nn.Linear(4, 1, bias=False), nn.Linear(1, 2, bias=False)).double()
    network.get_parameter("0.weight").data[:] = torch.tensor([[5.0, -4.0, 3.0, -3.5]])
    network.get_parameter("1.weight").data[:] = torch.tensor([[1.0], [-1.0]])
    part = Part(torch.ones(1, 4, dtype=torch.float64), torch.tensor([0]))
    one = Examples(Split(Arrays(part, part), torch.arange(1), torch.arange(0)), seed=0)
    full = full_mask({"0.weight": [1, 4], "1.weight": [2, 1]})
    masks = {
        "magnitude": prune_smallest(network, full, 4),
        "snip": snip(network, one, 1 / 3, scoring_examples=1),
        "grasp": grasp(network, one, 2 / 3, seed=0, examples_per_class=1, temperature=1.0),
        "synflow": synflow(network, [4], 2 / 3, rounds=1),
    }
    kept = {name: [int(layer.sum()) for layer in mask.values()] for name, mask in masks.items()}
    assert kept == {"magnitude": [4, 0], "snip": [4, 0], "grasp": [2, 0], "synflow": [0, 2]}


def test_a_path_cut_is_a_collapse_though_no_layer_is_empty() -> None:
    network = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1))
    mask = {"0.weight": torch.tensor([[True, True], [False, False]]), "2.weight": torch.tensor([[False, True]])}
    measured = training() | {
        "prunable": {name: kept.numel() for name, kept in mask.items()},
        "kept": {name: int(kept.sum()) for name, kept in mask.items()},
        "effective": effective(network, mask, [2]),
    }
    results = summarise("trial", "c0ffee", {}, {"t0": measured}).results
    assert results.kept == {"0.weight": 2, "2.weight": 1}
    assert results.status == "collapsed"
