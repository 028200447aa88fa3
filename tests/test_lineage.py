import hashlib
import json
import pickle

from study.lineage import GENERATION, Node, mask_step, step_function


@mask_step
def example(start: object, sparsity: float, *, rounds: int = 1) -> str:
    return f"{start} {sparsity} {rounds}"


def test_the_id_is_the_hash_of_name_and_arguments() -> None:
    node = Node("some.module:random", {"sparsity": 0.5, "seed": 0})
    content = f'[{GENERATION},{{"arguments":{{"seed":0,"sparsity":0.5}},"function":"random"}}]'
    assert json.loads(content)  # the text hashed by hand is the JSON that is meant
    assert node.id == hashlib.sha256(content.encode()).hexdigest()[:16]


def test_ids_follow_the_arguments_through_nodes() -> None:
    def child(seed: int) -> Node:
        return Node("m:f", {"start": Node("initialise", {"seed": seed})})

    assert child(0) == child(0)
    assert child(0) != child(1)
    assert len({child(0), child(0), child(1)}) == 2


def test_a_default_given_and_a_default_left_out_are_one_node() -> None:
    start = Node("initialise", {"seed": 0})
    assert example(start, 0.5) == example(start, sparsity=0.5, rounds=1)
    assert example(start, 0.5) != example(start, 0.5, rounds=2)


def test_a_node_crosses_processes_and_leads_back_to_its_function() -> None:
    node = pickle.loads(pickle.dumps(example(Node("initialise", {"seed": 0}), 0.5)))
    assert node == example(Node("initialise", {"seed": 0}), 0.5)
    assert step_function(node.function)("net", 0.5, rounds=3) == "net 0.5 3"


def test_trainings_are_listed_once_each_after_those_they_need() -> None:
    start = Node("initialise", {"seed": 0})
    mask = Node("m:full", {})
    trainings = []
    for _ in range(30):  # every level reaches every earlier one by two ways: listing paths would take for ever
        trainings.append(Node("train", {"start": start, "mask": mask}))
        mask = Node("m:prune", {"network": trainings[-1], "mask": mask})
    assert trainings[-1].trainings() == trainings
    assert mask.trainings() == trainings
