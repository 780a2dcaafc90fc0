"""Named sets: the offline default, the mirror with its checksums, and the published formats read from small files
made here."""

import gzip
import hashlib
import io
import os
import pickle
import socket
import struct
import tarfile
from pathlib import Path

import numpy as np
import pytest

from cutaway.data import available, load_data, named
from cutaway.data.formats import read_cifar_archive, read_cifar_batch, read_idx
from cutaway.errors import FileError, InputError

needs_data = pytest.mark.skipif(
    not os.environ.get("CUTAWAY_DATA"), reason="CUTAWAY_DATA names no folder with data sets"
)


def idx(array: np.ndarray) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


class TestDigits:
    def test_split_is_fixed_disjoint_and_complete(self, no_mirror):
        train, test = load_data("digits", "train"), load_data("digits", "test")
        assert (len(train), len(test)) == (1433, 364)
        rows = [row.numpy().tobytes() for data in (train, test) for row in data.inputs]
        from sklearn.datasets import load_digits

        original = sorted((image / 16).astype(np.float32).tobytes() for image in load_digits().images)
        assert sorted(rows) == original
        assert test.labels.bincount().min() >= 35
        assert test.fingerprint() == load_data("digits").fingerprint()
        assert test.inputs.shape == (364, 1, 8, 8)
        assert test.num_classes == 10

    def test_num_beyond_the_set(self, no_mirror, says):
        says(InputError, lambda: load_data("digits", num=365), "a request for 365 rows", "1 to 364")
        assert available("digits") == 364


@needs_data
class TestMirror:
    # md5 sums of the uncompressed originals, as published
    @pytest.mark.parametrize(
        ("name", "sums"),
        [
            ("mnist", ("2646ac647ad5339dbf082846283269ea", "27ae3e4e09519cfbb04c329615203637")),
            ("fashion-mnist", ("8181f5470baa50b63fa0f6fddb340f0a", "15d484375f8d13e6eb1aabb0c3f46965")),
        ],
    )
    def test_pixels_and_labels_are_the_published_ones(self, name, sums):
        data = load_data(name)
        images = np.rint(data.inputs.numpy() * 255).astype(np.uint8).reshape(-1, 28, 28)
        assert hashlib.md5(idx(images)).hexdigest() == sums[0]
        assert hashlib.md5(idx(data.labels.numpy().astype(np.uint8))).hexdigest() == sums[1]

    def test_cifar(self):
        exact = load_data("cifar10")
        assert exact.inputs.shape == (622, 3, 32, 32)
        assert "too high" in exact.note
        shuffled = load_data("cifar10-jpeg", num=200)
        assert shuffled.labels.bincount().tolist() == [20] * 10
        assert "lossy" in shuffled.note
        raw = np.load(Path(os.environ["CUTAWAY_DATA"]) / "cifar10" / "cifar10_exact.npz")
        assert exact.inputs[5, 2, 7, 9].item() * 255 == pytest.approx(raw["x_test"][5, 7, 9, 2])

    def test_altered_file_is_refused(self, tmp_path, monkeypatch, says):
        whole = (Path(os.environ["CUTAWAY_DATA"]) / "cifar10" / "cifar10_exact.npz").read_bytes()
        (tmp_path / "cifar10").mkdir()
        (tmp_path / "cifar10" / "cifar10_exact.npz").write_bytes(whole[:-1])
        monkeypatch.setenv("CUTAWAY_DATA", str(tmp_path))
        says(
            FileError,
            lambda: load_data("cifar10"),
            "sha256",
            named.MIRROR["cifar10/cifar10_exact.npz"][:16],
            "truncated",
        )


class TestIdx:
    def test_plain_and_gzipped(self, tmp_path):
        array = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
        (tmp_path / "a").write_bytes(idx(array))
        (tmp_path / "b.gz").write_bytes(gzip.compress(idx(array)))
        assert np.array_equal(read_idx(tmp_path / "a"), array)
        assert np.array_equal(read_idx(tmp_path / "b.gz"), array)

    def test_broken(self, tmp_path, says):
        raw = idx(np.zeros((2, 3), np.uint8))
        packed = gzip.compress(raw)
        cases = {
            b"": "magic",
            raw[:7]: "cut off",
            raw[:-1]: "5 bytes of data, 6 announced",
            packed[:-9]: "idx",
            b"\x00\x00\x0d\x01": "magic",
        }
        for content, word in cases.items():
            (tmp_path / "x").write_bytes(content)
            says(FileError, lambda: read_idx(tmp_path / "x"), word)


class TestCifarArchive:
    def archive(self, path, batches):
        with tarfile.open(path, "w:gz") as tar:
            for name, content in batches.items():
                info = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))

    def batch(self, num, seed, protocol=2):
        rng = np.random.default_rng(seed)
        data, labels = rng.integers(0, 256, (num, 3072), dtype=np.uint8), rng.integers(0, 10, num).tolist()
        return data, labels, pickle.dumps({b"data": data, b"labels": labels, b"batch_label": b"x"}, protocol=protocol)

    @pytest.mark.parametrize("protocol", [2, 4])
    def test_reads_batches_in_order(self, tmp_path, protocol):
        made = {f"data_batch_{k}": self.batch(4, k, protocol) for k in range(1, 6)}
        made["test_batch"] = self.batch(3, 9, protocol)
        self.archive(tmp_path / "c.tar.gz", {name: content for name, (_, _, content) in made.items()})
        images, labels = read_cifar_archive(tmp_path / "c.tar.gz", "train")
        assert images.shape == (20, 3, 32, 32)
        assert np.array_equal(images[4:8].reshape(4, 3072), made["data_batch_2"][0])
        assert labels[4:8].tolist() == made["data_batch_2"][1]
        assert read_cifar_archive(tmp_path / "c.tar.gz", "test")[1].tolist() == made["test_batch"][1]

    def test_pickle_that_asks_for_code_is_refused(self, tmp_path, says):
        class Evil:
            def __reduce__(self):
                return Path.touch, (Path(tmp_path / "touched"),)

        raw = pickle.dumps({b"data": Evil()}, protocol=2)
        says(FileError, lambda: read_cifar_batch(raw, "evil"), "which image data never needs")
        for code in (b"cos\nsystem\n(S'true'\ntR.", b"cbuiltins\neval\n(S'1'\ntR.", b"cnumpy\nload\n(S'x'\ntR."):
            says(FileError, lambda code=code: read_cifar_batch(code, "evil"), "never needs")
        assert not (tmp_path / "touched").exists()

    def test_broken(self, tmp_path, says):
        _, _, raw = self.batch(2, 0)
        says(FileError, lambda: read_cifar_batch(raw[: len(raw) // 2], "half"), "half")
        says(FileError, lambda: read_cifar_batch(pickle.dumps([1, 2]), "list"), "no uint8 data")
        self.archive(tmp_path / "c.tar.gz", {"test_batch": raw})
        says(FileError, lambda: read_cifar_archive(tmp_path / "c.tar.gz", "train"), "data_batch_1")
        (tmp_path / "cut.tar.gz").write_bytes((tmp_path / "c.tar.gz").read_bytes()[:200])
        says(FileError, lambda: read_cifar_archive(tmp_path / "cut.tar.gz", "test"), "CIFAR-10 archive")


class TestDownload:
    """Downloads through file:// addresses made here: the same path as a real one, from checksum to tensor."""

    @pytest.fixture
    def served(self, tmp_path, no_mirror, monkeypatch):
        files = {}
        rng = np.random.default_rng(0)
        for file, array in (
            ("i.gz", rng.integers(0, 256, (30, 28, 28), dtype=np.uint8)),
            ("l.gz", np.arange(30, dtype=np.uint8) % 10),
        ):
            files[file] = gzip.compress(idx(array))
        sums = {name: hashlib.md5(content).hexdigest() for name, content in files.items()}
        monkeypatch.setattr(named, "MNIST_FILES", {"test": tuple(sums.items())})
        fetched = []

        def retrieve(url, known_hash, fname, path):
            assert known_hash == f"md5:{sums[fname]}"
            assert url == named.MNIST_URL + fname
            fetched.append(fname)
            Path(path).mkdir(parents=True, exist_ok=True)
            (Path(path) / fname).write_bytes(files[fname])
            return str(Path(path) / fname)

        import pooch

        monkeypatch.setattr(pooch, "retrieve", retrieve)
        return fetched, rng

    def test_idx_files_become_a_dataset(self, served):
        data = load_data("mnist")
        assert data.inputs.shape == (30, 1, 28, 28)
        assert data.labels.tolist() == [k % 10 for k in range(30)]
        assert served[0] == ["i.gz", "l.gz"]

    def test_no_connection(self, no_mirror, monkeypatch, says):
        import pooch

        def refuse(*_args, **_options):
            raise OSError("Network is unreachable")

        monkeypatch.setattr(pooch, "retrieve", refuse)
        says(FileError, lambda: load_data("cifar10"), "Network is unreachable", "CUTAWAY_DATA", "--data digits")
        says(FileError, lambda: load_data("cifar10-jpeg"), "no public download")

    def test_no_connection_in_one_line(self, no_mirror, says):
        with socket.create_server(("127.0.0.1", 0)) as server:
            closed = server.getsockname()[1]
        url = f"http://127.0.0.1:{closed}/set.gz"
        says(FileError, lambda: named._download(url, "0" * 32, "x"), "no connection (ConnectionError)", "CUTAWAY_DATA")

    def test_wrong_checksum_from_pooch_itself(self, tmp_path, no_mirror, says):
        import pooch

        served = tmp_path / "served.gz"
        served.write_bytes(b"not the data")
        (Path(pooch.os_cache("cutaway"))).mkdir(parents=True, exist_ok=True)
        import http.server
        import threading

        def handler(*a):
            return http.server.SimpleHTTPRequestHandler(*a, directory=str(tmp_path))

        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            url = f"http://127.0.0.1:{server.server_address[1]}/served.gz"
            says(FileError, lambda: named._download(url, "0" * 32, "x"), "hash", "md5 " + "0" * 32)
            path = named._download(url, hashlib.md5(b"not the data").hexdigest(), "x")
            assert path.read_bytes() == b"not the data"
            server.shutdown()
