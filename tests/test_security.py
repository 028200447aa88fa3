"""What others may have written is data, never code; what is secret stays in the environment."""

import ast
import io
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from study.data.cifar import PIXELS, read_records
from tests.conftest import ROOT, SHORT, command, environment

SECRET = "0123456789abcdef0123456789abcdef01234567"
UNPICKLING = {"pickle", "_pickle", "cPickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
FORBIDDEN = {
    "torch.load",
    "yaml.load",
    "yaml.unsafe_load",
    "eval",
    "exec",
    "shutil.unpack_archive",
    "pandas.read_pickle",
    "pd.read_pickle",
}
SOURCES = sorted(path for part in ("study", "scripts", "hydra_plugins") for path in (ROOT / part).rglob("*.py"))


def dangers(source: str) -> Iterator[str]:
    """Uses of what unpickles, executes or extracts."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            modules = [name.name for name in node.names] + [getattr(node, "module", None) or ""]
            yield from (module for module in modules if module.partition(".")[0] in UNPICKLING)
        elif isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if called in FORBIDDEN or called.endswith((".extractall", ".extract")):
                yield called
            yield from (k.arg for k in node.keywords if k.arg in ("allow_pickle", "weights_only"))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_is_unpickled_executed_or_extracted(path: Path) -> None:
    assert list(dangers(path.read_text())) == []


@pytest.mark.parametrize(
    "line",
    ["import pickle", "from joblib import load", "torch.load(p)", "tar.extractall()", "np.load(p, allow_pickle=1)"],
)
def test_the_search_finds_what_it_is_for(line: str) -> None:
    assert len(list(dangers(line))) == 1


def archive(folder: Path, *members: tarfile.TarInfo, batch: tarfile.TarInfo | None = None) -> Path:
    """A CIFAR archive of two images with more members than it should have."""
    path = folder / "cifar.tar.gz"
    content = bytes(range(2)) * (1 + PIXELS)
    whole = tarfile.TarInfo("batch.bin")
    whole.size = len(content)
    with tarfile.open(path, "w:gz") as tar:
        for member in members:
            member.size = 4 if member.isreg() else 0
            tar.addfile(member, io.BytesIO(b"evil"))
        tar.addfile(batch or whole, io.BytesIO(content))
    return path


def link(name: str, target: str) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = tarfile.SYMTYPE, target
    return member


def test_an_archive_writes_nothing_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    monkeypatch.chdir(inside)
    outside = tmp_path / "outside"
    path = archive(
        inside,
        tarfile.TarInfo("../outside"),
        tarfile.TarInfo(str(outside)),
        link("way", ".."),
        tarfile.TarInfo("way/out"),
    )
    images, labels = read_records(path, ["batch.bin"], label_bytes=1)
    assert (len(images), len(labels)) == (2, 2)
    assert list(tmp_path.rglob("*")) == [inside, path]


def test_a_link_in_an_archive_reads_nothing_outside(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(bytes(2 * (1 + PIXELS)))
    with pytest.raises(KeyError):
        read_records(archive(tmp_path, batch=link("batch.bin", str(tmp_path / "secret"))), ["batch.bin"], label_bytes=1)


def test_a_secret_reaches_no_file_and_no_output(tmp_path: Path) -> None:
    words = command("method=dense", "wandb.mode=offline", *SHORT, f"output={tmp_path}/out", "cluster.checkpoint=0.001")
    secret = {"WANDB_API_KEY": SECRET, "HOME": str(tmp_path)}
    done = subprocess.run(words, cwd=ROOT, env={**environment(), **secret}, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any(path.suffix == ".wandb" for path in files)
    assert any(path.parent.parent.name == "records" for path in files)
    for content in (done.stdout, done.stderr, *(path.read_bytes() for path in files)):
        assert SECRET.encode() not in content
