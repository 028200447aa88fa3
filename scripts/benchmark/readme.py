"""The table of speeds in the README, made from results/benchmarks."""

import json
from pathlib import Path

import pandas as pd

from scripts.benchmark.measure import Row, shown
from study.config import ROOT
from study.files import write_atomically

README = ROOT / "README.md"
BEGIN, END = "<!-- made by: python -m scripts.benchmark readme -->\n", "<!-- end -->\n"
OTHERS = {"lenet_5_caffe": "LeNet-5", "conv_2": "Conv-2", "gru_s": "GRU-s", "lstm_s": "LSTM-s"}
ON_A_GPU = {**OTHERS, "lenet_300_100": "LeNet-300-100", "resnet_20": "ResNet-20", "vgg_19": "VGG-19"}


def run(output: Path) -> None:
    """Write the table into the README, from the results in a folder."""
    before, _, after = README.read_text().partition(BEGIN)
    write_atomically(README, "".join([before, BEGIN, tables(output), END, after.partition(END)[2]]).encode())


def tables(results: Path) -> str:
    """Iterations beside public codes', by sparsity; other networks and a sweep beside torch, on two hosts and a GPU."""
    peers = _rows(results / "peers.json")
    by_sparsity = pd.DataFrame(peers).pivot(index="code", columns="sparsity, %", values="iteration, ms")
    codes = [code for code in by_sparsity.index if not code.startswith("ours")]
    names = {**{code: code for code in codes}, "ours, dense engine": "torch, `dense` here", "ours, auto": "here"}
    by_sparsity = by_sparsity.loc[list(names)].rename(index=names)
    for code in codes:
        by_sparsity.loc[f"{code} / here"] = by_sparsity.loc[code] / by_sparsity.loc["here"]
    by_sparsity.columns = pd.Index([f"{value:g} %" if value else "dense" for value in by_sparsity.columns])
    here, elsewhere = _beside_torch(results), _beside_torch(results / "slower_host")
    others = here.assign(**{"ratio, slower host": elsewhere["ratio"]}).reset_index(names="")
    by_sparsity.index.name = "LeNet-300-100, batch 60"
    written = [by_sparsity.reset_index(), others, _on_a_gpu(results / "gpu.json")]
    return "\n" + "".join(f"{_markdown(table)}\n\n" for table in written)


def _beside_torch(results: Path) -> pd.DataFrame:
    engines, (plain, ours) = _rows(results / "engines.json"), _rows(results / "sweep.json")
    rows: dict[str, Row] = {}
    for row in engines:
        if row["network"] in OTHERS and row["chosen"]:
            here, ratio = row["iteration, ms"], row["dense engine / this"]
            name = f"{OTHERS[row['network']]} at {row['sparsity, %']:g} %, ms"
            rows[name] = {"plain torch": ratio * here, "here": here, "ratio": ratio}
    for what, ratio in {"CPU": "CPU / ours", "wall": "wall / ours"}.items():
        taken = f"{what}, s"
        rows[f"60 cells, {what} s"] = {"plain torch": plain[taken], "here": ours[taken], "ratio": plain[ratio]}
    return pd.DataFrame.from_dict(rows, orient="index")


def _on_a_gpu(path: Path) -> pd.DataFrame:
    """Replica-iterations a second of the plain loop, and the most of any way to run here, by precision."""
    most: dict[str, Row] = {}
    for row in _rows(path):
        by = "plain loop" if row["as"] == "plain loop" else row["precision"]
        found = most.setdefault(ON_A_GPU[row["network"]], {})
        found[by] = max(found.get(by, 0.0), row["replica-iterations / s"])
    gpu = json.loads(path.read_text())["circumstances"]["hardware"]["gpu"]
    rows = []
    for network, found in most.items():
        plain = found["plain loop"]
        row = {f"iterations a second, {gpu}": network, "plain loop": plain}
        for precision in ("float32", "tf32"):
            row |= {f"here, {precision}": found[precision], f"ratio, {precision}": found[precision] / plain}
        rows.append(row)
    return pd.DataFrame(rows)


def _rows(path: Path) -> list[Row]:
    (rows,) = json.loads(path.read_text())["tables"].values()
    found: list[Row] = rows
    return found


def _markdown(table: pd.DataFrame) -> str:
    text: str = table.map(shown).to_markdown(index=False, disable_numparse=True)
    return text
