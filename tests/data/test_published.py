"""The published data sets: parsed from small archives of their true layout, verified, fetched."""

import gzip
import hashlib
import io
import struct
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from http.server import HTTPServer, SimpleHTTPRequestHandler
from pathlib import Path
from threading import Thread

import pytest
import torch
from PIL import Image

from study.data import cifar10, cifar100, fashion_mnist, fetch, tiny_imagenet
from study.data.arrays import Part
from study.data.remote import Remote
from study.errors import StudyError

UNREACHABLE = "http://127.0.0.1:9"  # nothing listens on the discard port


@pytest.fixture(autouse=True)
def data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "data"
    monkeypatch.setenv("PRUNING_STUDY_DATA", str(folder))
    monkeypatch.setenv("NO_PROXY", "*")
    return folder


def put(remote: Remote, content: bytes) -> Remote:
    """Place a file by hand where the remote's belongs; the remote, with the file's checksum."""
    remote.path.parent.mkdir(parents=True, exist_ok=True)
    remote.path.write_bytes(content)
    return replace(remote, md5=hashlib.md5(content).hexdigest())


def tar_gz(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def record(labels: bytes, first: int) -> bytes:
    """Red counts up from `first` pixel by pixel, green is 1 and blue 2."""
    return labels + bytes((first + i) % 256 for i in range(1024)) + b"\1" * 1024 + b"\2" * 1024


def assert_records(part: Part, labels: list[int], firsts: list[int]) -> None:
    assert isinstance(part.inputs, torch.Tensor)
    assert part.inputs.shape == (len(labels), 3, 32, 32)
    assert part.inputs.dtype == torch.uint8
    assert part.labels.tolist() == labels
    assert part.inputs[:, 0, 0, 0].tolist() == firsts
    assert part.inputs[0, 0, 1, 3] == (firsts[0] + 32 + 3) % 256  # row by row
    assert part.inputs[:, 1].unique().tolist() == [1]
    assert part.inputs[:, 2].unique().tolist() == [2]


def small_cifar10() -> bytes:
    batches = {f"data_batch_{i}": record(bytes([i]), 10 * i) + record(b"\0", i) for i in range(5, 0, -1)}
    batches["test_batch"] = record(b"\7", 70) + record(b"\x09", 90)
    files = {f"cifar-10-batches-bin/{name}.bin": content for name, content in batches.items()}
    return tar_gz({**files, "cifar-10-batches-bin/batches.meta.txt": b"airplane\n"})


def test_cifar10_binary_records(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cifar10, "ARCHIVE", put(cifar10.ARCHIVE, small_cifar10()))
    arrays = cifar10.load()
    assert_records(arrays.training, [1, 0, 2, 0, 3, 0, 4, 0, 5, 0], [10, 1, 20, 2, 30, 3, 40, 4, 50, 5])
    assert_records(arrays.test, [7, 9], [70, 90])


def test_cifar100_has_its_fine_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    train = record(bytes([19, 99]), 5) + record(bytes([0, 20]), 6)
    content = tar_gz({"cifar-100-binary/train.bin": train, "cifar-100-binary/test.bin": record(bytes([3, 41]), 7)})
    monkeypatch.setattr(cifar100, "ARCHIVE", put(cifar100.ARCHIVE, content))
    arrays = cifar100.load()
    assert_records(arrays.training, [99, 20], [5, 6])
    assert_records(arrays.test, [41], [7])


def jpeg(colour: int, mode: str = "RGB") -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, (64, 64), colour if mode == "L" else (colour, colour, colour)).save(buffer, "JPEG")
    return buffer.getvalue()


def test_tiny_imagenet_is_read_from_its_zip(monkeypatch: pytest.MonkeyPatch) -> None:
    root, wnids = "tiny-imagenet-200", ["n02", "n01", "n03"]
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(f"{root}/wnids.txt", "\n".join(wnids) + "\n")
        for label, wnid in enumerate(wnids):
            archive.writestr(f"{root}/train/{wnid}/{wnid}_boxes.txt", f"{wnid}_0.JPEG\t0\t0\t63\t63\n")
            for i in range(2):
                archive.writestr(f"{root}/train/{wnid}/images/{wnid}_{i}.JPEG", jpeg(80 * label + 10 * i))
        archive.writestr(
            f"{root}/val/val_annotations.txt", "val_1.JPEG\tn03\t0\t0\t9\t9\nval_0.JPEG\tn02\t0\t0\t9\t9\n"
        )
        archive.writestr(f"{root}/val/images/val_0.JPEG", jpeg(200))
        archive.writestr(f"{root}/val/images/val_1.JPEG", jpeg(100, "L"))
        archive.writestr(f"{root}/test/images/test_0.JPEG", b"its labels were never published")
    monkeypatch.setattr(tiny_imagenet, "ARCHIVE", put(tiny_imagenet.ARCHIVE, buffer.getvalue()))
    for _ in range(2):  # decoded, then mapped
        arrays = tiny_imagenet.load()
        assert arrays.training.labels.tolist() == [1, 1, 0, 0, 2, 2]  # sorted by file, numbered as wnids.txt does
        pixels = arrays.training.inputs[torch.arange(6)]
        assert pixels.shape == (6, 3, 64, 64)
        assert pixels.float().mean((1, 2, 3)).tolist() == pytest.approx([80, 90, 0, 10, 160, 170], abs=2)
        assert arrays.test.labels.tolist() == [2, 0]
        assert arrays.test.inputs[torch.arange(2)].float().mean((2, 3)).flatten().tolist() == pytest.approx(
            [100] * 3 + [200] * 3, abs=2
        )


def small_fashion_mnist(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four gzipped IDX files of 3 and 2 examples, and their checksums."""
    folder.mkdir(parents=True)
    for prefix, count in (("train", 3), ("t10k", 2)):
        images = struct.pack(">HBBIII", 0, 8, 3, count, 28, 28) + bytes(range(count)) * 784
        labels = struct.pack(">HBBI", 0, 8, 1, count) + bytes(range(count))
        for name, content in ((f"{prefix}-images-idx3-ubyte", images), (f"{prefix}-labels-idx1-ubyte", labels)):
            (folder / f"{name}.gz").write_bytes(gzip.compress(content, compresslevel=1))
            monkeypatch.setitem(fashion_mnist.MD5, name, hashlib.md5(content).hexdigest())


@pytest.mark.parametrize("place", ["debian", "data/fashion_mnist"])
def test_fashion_mnist_is_found_in_either_place(place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fashion_mnist, "DEBIAN", tmp_path / "debian")
    small_fashion_mnist(tmp_path / place, monkeypatch)
    arrays = fashion_mnist.load()
    assert arrays.training.inputs.shape == (3, 1, 28, 28)
    assert arrays.training.labels.tolist() == [0, 1, 2]
    assert arrays.test.labels.tolist() == [0, 1]
    (tmp_path / place / "t10k-labels-idx1-ubyte.gz").unlink()
    remedy = "reinstall" if place == "debian" else "make data DATASET=fashion_mnist"
    with pytest.raises(StudyError, match=f"t10k-labels-idx1-ubyte.gz is missing: .*{remedy}"):
        fashion_mnist.load()


@pytest.mark.skipif(not fashion_mnist.DEBIAN.is_dir(), reason="needs Debian's package dataset-fashion-mnist")
def test_debians_fashion_mnist_is_complete() -> None:
    arrays = fashion_mnist.load()
    assert arrays.training.labels.bincount().tolist() == [6_000] * 10
    assert arrays.test.labels.bincount().tolist() == [1_000] * 10
    batch = arrays.training.batch(torch.arange(60_000), torch.device("cpu"))
    assert abs(float(batch.inputs.mean())) < 1e-3
    assert abs(float(batch.inputs.std()) - 1) < 1e-3


def test_a_missing_archive_says_where_it_belongs(data_folder: Path) -> None:
    place = f"{data_folder}/cifar10/cifar-10-binary.tar.gz"
    with pytest.raises(StudyError, match=f"{place} is missing: run `make data DATASET=cifar10`, or put"):
        cifar10.load()


def test_a_file_placed_by_hand_is_verified() -> None:
    put(cifar10.ARCHIVE, small_cifar10())
    with pytest.raises(StudyError, match="not the published file, its MD5 differs: run `make data"):
        cifar10.load()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """An HTTP server of the folder `served`."""
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path / "served"))
    server = HTTPServer(("127.0.0.1", 0), handler)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def serve(tmp_path: Path, server: str, content: bytes, monkeypatch: pytest.MonkeyPatch) -> Remote:
    """Have the server publish CIFAR-10's archive."""
    (tmp_path / "served").mkdir()
    (tmp_path / "served" / "cifar-10-binary.tar.gz").write_bytes(content)
    remote = Remote("cifar10", f"{server}/cifar-10-binary.tar.gz", hashlib.md5(content).hexdigest())
    monkeypatch.setattr(cifar10, "ARCHIVE", remote)
    return remote


def test_fetching_downloads_once_verifies_and_says_where(
    tmp_path: Path, server: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    remote = serve(tmp_path, server, small_cifar10(), monkeypatch)
    assert fetch.main(["cifar10"]) == 0
    assert capsys.readouterr().out == f"{remote.path}: 10 training and 2 test examples, verified\n"
    monkeypatch.setattr(cifar10, "ARCHIVE", replace(remote, url=f"{UNREACHABLE}/cifar-10-binary.tar.gz"))
    assert cifar10.fetch() == remote.path


def test_what_is_not_the_published_file_is_not_kept(
    tmp_path: Path, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    remote = serve(tmp_path, server, small_cifar10(), monkeypatch)
    with pytest.raises(StudyError, match=f"{remote.url} is not the published file, its MD5 differs"):
        replace(remote, md5="0" * 32).fetch()
    assert list(remote.path.parent.iterdir()) == []


def test_offline_the_error_says_what_to_put_where(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    remote = replace(cifar10.ARCHIVE, url=f"{UNREACHABLE}/cifar-10-binary.tar.gz")
    monkeypatch.setattr(cifar10, "ARCHIVE", remote)
    assert fetch.main(["cifar10"]) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert errors == [
        f"error: {remote.url} can't be fetched (ConnectionError): download it elsewhere and put it at {remote.path}"
    ]
