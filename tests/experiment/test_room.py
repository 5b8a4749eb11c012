"""Memory that ends, and what is said beforehand."""

import pytest

import sanity
from sanity.errors import ConfigError
from sanity.experiment.room import smaller_batch_proposed
from sanity.network.tensorflow import is_out_of_memory
from sanity.results import RunFolder
from tests.pieces import ANY


def exhausted():
    import tensorflow as tf

    return tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")


@pytest.mark.parametrize(
    ("batch", "said"),
    [(24, "runtime.batch_size=12"), (5, "batch_size=4 goes"), (4, "fewer methods"), (2, "no less")],
)
@pytest.mark.parametrize("make", [exhausted, MemoryError])
def test_a_smaller_batch_is_proposed(batch, said, make):
    with pytest.raises(ConfigError, match=said), smaller_batch_proposed(batch):
        raise make()


def test_an_op_without_order_is_one_sentence():
    import tensorflow as tf

    said = "A deterministic GPU implementation of MadeUpGrad is not currently available."
    with pytest.raises(ConfigError, match="CUDA_VISIBLE_DEVICES=-1"), smaller_batch_proposed(24):
        raise tf.errors.UnimplementedError(None, None, said)


def test_other_errors_pass():
    import tensorflow as tf

    with pytest.raises(ZeroDivisionError), smaller_batch_proposed(24):
        raise ZeroDivisionError
    assert not is_out_of_memory(tf.errors.InternalError(None, None, "something else"))
    text = "failed call: CUDA_ERROR_OUT_OF_MEMORY: out of memory"
    assert is_out_of_memory(tf.errors.InternalError(None, None, text))


@pytest.mark.slow
def test_a_job_whose_memory_ends_is_one_sentence_and_goes_on(tmp_path, monkeypatch):
    job = [*ANY, "method=[gradient]", "layers.last=1", f"output={tmp_path}"]
    write, written = RunFolder.write_unit, []

    def crowded(self, unit, *rows):
        if written:
            raise exhausted()
        written.append(unit)
        write(self, unit, *rows)

    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "write_unit", crowded)
        with pytest.raises(ConfigError, match=r"batch_size=8: .* runtime\.batch_size=4 goes on"):
            sanity.run(overrides=[*job, "runtime.batch_size=8"])
    (failed,) = sanity.runs(tmp_path).to_dict("records")
    assert failed["status"] == "failed" and "memory ran out" in failed["error"]
    later = []

    def noted(self, unit, *rows):
        later.append(unit)
        write(self, unit, *rows)

    monkeypatch.setattr(RunFolder, "write_unit", noted)
    path = sanity.run(overrides=[*job, "runtime.batch_size=4"])
    assert str(path) == failed["path"] and later and not set(later) & set(written)
    assert set(sanity.load_runs(path)["status"]) == {"completed"}


def test_a_dry_run_says_disk_and_memory(tmp_path, caplog):
    with caplog.at_level("INFO"):
        sanity.run(overrides=[*ANY, "method=[gradient]", "dry_run=true", f"output={tmp_path}"])
    assert "on disk: masks of up to" in caplog.text and "in memory: about" in caplog.text
    assert not list(tmp_path.iterdir())
