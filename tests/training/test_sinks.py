"""Sinks of other packages hold every number, read back from what these wrote to the disk without a server.

Neither package is among the developers' extras (together they bring thirty others): `pip install wandb mlflow-skinny`.
"""

import importlib.util
import struct

import pytest

from cutaway.errors import MissingExtra
from cutaway.training.sinks import MlflowSink, Sink, WandbSink

WRITTEN = {0: {"train/accuracy": 0.25, "loss": 2.0}, 3: {"train/accuracy": 0.5}, 9: {"loss": float("nan")}}


def write(sink):
    assert isinstance(sink, Sink)
    for step, values in WRITTEN.items():
        sink.write(step, values)
    sink.close()


def same(found):
    wanted = [(step, name, value) for step, values in WRITTEN.items() for name, value in values.items()]
    assert [(s, n, repr(v)) for s, n, v in sorted(found)] == [(s, n, repr(v)) for s, n, v in sorted(wanted)]


def test_mlflow_holds_every_number(tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # folders, where there is neither server nor database
    place = f"file:{tmp_path}/mlruns"
    write(MlflowSink(place, experiment="mine", run_name="first"))
    client = mlflow.MlflowClient(place)
    (run,) = client.search_runs([client.get_experiment_by_name("mine").experiment_id])
    assert run.info.run_name == "first" and run.info.status == "FINISHED"
    names = {name for values in WRITTEN.values() for name in values}
    same([(m.step, n, m.value) for n in names for m in client.get_metric_history(run.info.run_id, n)])
    write(MlflowSink(place, experiment="mine"))  # the experiment is there already
    assert len(client.search_runs([run.info.experiment_id])) == 2


def records(data, block=32768):
    """What a log of LevelDB's form holds (blocks of 32 KiB; check sum, length and kind before each piece), after a head
    of 7 bytes."""
    place, whole = 7, b""
    while place + 7 <= len(data):
        if block - place % block < 7:
            place += block - place % block
            continue
        length, kind = struct.unpack_from("<HB", data, place + 4)
        whole += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # a whole record, or the last piece of one
            yield whole
            whole = b""


def test_wandb_holds_every_number_offline(tmp_path):
    wandb = pytest.importorskip("wandb")
    from wandb.proto.wandb_internal_pb2 import Record

    write(WandbSink(project="mine", mode="offline", dir=str(tmp_path)))
    wandb.teardown()  # its service has written everything when it has ended
    (file,) = tmp_path.rglob("*.wandb")
    found = []
    for data in records(file.read_bytes()):
        record = Record()
        record.ParseFromString(data)
        if record.WhichOneof("record_type") == "history":
            items = {item.key or "/".join(item.nested_key): item.value_json for item in record.history.item}
            step = int(items["_step"])
            found += [(step, name, float(text)) for name, text in items.items() if not name.startswith("_")]
    same(found)


@pytest.mark.parametrize(("sink", "package"), [(WandbSink, "wandb"), (MlflowSink, "mlflow")])
def test_a_missing_package_is_named_with_its_extra(sink, package):
    if importlib.util.find_spec(package) is not None:
        pytest.skip(f"{package} is installed")
    with pytest.raises(MissingExtra, match=rf"cutaway\[{package}\]"):
        sink()
