"""Reduced precision and GPUs: close to float32 on the CPU, and no step waits for the GPU."""

import numpy as np
import pytest
import torch
from tiny import source, tiny
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from torch.utils._pytree import tree_map_only

from mlsan.bench import Step
from mlsan.corpus import Batch, collate
from mlsan.corpus.batch import withhold_identities
from mlsan.model.losses import emotion_loss
from mlsan.training import begin, epochs, run_settings
from mlsan.training.loop import enrolment_of, label_weights, new_model, targets
from mlsan.vocabulary import BENCHMARKS

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
SYSTEMS = ("MultiEMO", "ML-SAN")


@pytest.fixture(scope="module")
def corpora(tmp_path_factory):
    return source(tmp_path_factory.mktemp("corpora")).open()


def losses(corpora, **changes):
    """Training loss by epoch."""
    run, corpus = tiny(epochs=4, **changes), corpora["MELD"]
    state = begin(run, corpus)
    for _ in epochs(run, corpus, state):
        pass
    return torch.tensor([row["train_loss"] for row in state.history])


def test_bfloat16_trains_and_stays_close_to_float32(corpora):
    full, half = losses(corpora), losses(corpora, precision="bfloat16")
    assert half[-1] < half[0]
    assert not torch.equal(full, half), "nothing was reduced"
    torch.testing.assert_close(half, full, rtol=0.02, atol=0)


@needs_cuda
def test_a_gpu_stays_close_to_the_cpu(corpora):
    torch.testing.assert_close(losses(corpora, device="cuda"), losses(corpora), rtol=1e-3, atol=0)
    reduced = losses(corpora, device="cuda", precision="bfloat16")
    torch.testing.assert_close(reduced, losses(corpora), rtol=0.02, atol=0)


@needs_cuda
@pytest.mark.parametrize("benchmark", BENCHMARKS)
@pytest.mark.parametrize("system", SYSTEMS)
def test_a_step_never_waits_for_the_gpu(system, benchmark):
    step = Step(run_settings(benchmark, "smoke", system, 0, device="cuda"), "smoke")
    step()
    torch.cuda.set_sync_debug_mode("error")
    try:
        step()
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("benchmark", BENCHMARKS)
@pytest.mark.parametrize("system", SYSTEMS)
def test_a_step_needs_no_value_of_a_tensor(corpora, system, benchmark):
    # Tensors without values stand in for a GPU: whatever would wait for a GPU fails on them.
    run, corpus = run_settings(benchmark, "smoke", system, 0), corpora[benchmark]
    enrolment = enrolment_of(run, corpus)
    drawn = enrolment.training(np.random.default_rng(0), random=True, unknown_rate=0.0)
    batch = collate(corpus.train[:4], drawn.at(range(4)))
    label, speaker = targets(batch, torch.device("cpu"))
    shown = withhold_identities(batch)
    weight = label_weights(run, corpus)
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        model = new_model(run, corpus, enrolment.code.size)
        shown, label, speaker, weight = tree_map_only(
            torch.Tensor, mode.from_tensor, (vars(shown), label, speaker, weight)
        )
        output = model(Batch(**shown))
        erc, _ = emotion_loss(run.loss, output, label, weight)
        loss, _ = model.total_loss(erc, output, speaker)
        loss.backward()
        with pytest.raises(DataDependentOutputException):
            loss.item()
