"""The features of a trained model at each stage, gathered over many dialogues."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int, Shaped
from torch import nn

from mlsan.corpus import Corpus, Dialogue, batches
from mlsan.corpus.enrolment import Amount
from mlsan.corpus.standardised import speaker_names
from mlsan.training.loop import EVALUATED, divided, enrolment_of
from mlsan.training.settings import RunSettings
from mlsan.vocabulary import Modality


@dataclass(frozen=True)
class Stages:
    """Features of all utterances of some dialogues, in dialogue order.

    `at[stage][modality]` for the stages raw, calibrated (Eq. 2), context (after DialogueRNN) and
    gated (Eq. 3); `z` is the classifier's input. `code` is the speaker's entry in the model's
    table (0 unknown), `speaker` the name, or the role where the corpus has no names.
    """

    label: Int[np.ndarray, "utterance"]
    code: Int[np.ndarray, "utterance"]
    speaker: Shaped[np.ndarray, "utterance"]
    logits: Float[np.ndarray, "utterance class"]
    z: Float[np.ndarray, "utterance feature"]
    at: dict[str, dict[Modality, Float[np.ndarray, "utterance _"]]]


@torch.no_grad()
def stages_of(
    run: RunSettings,
    corpus: Corpus,
    model: nn.Module,
    dialogues: tuple[Dialogue, ...],
    amount: Amount = 0,
    generator: np.random.Generator | None = None,
    *,
    withheld: bool = False,
) -> Stages:
    """Run `model` over `dialogues` and keep every stage.

    Strangers are enrolled with `amount` of their utterances, drawn by `generator`. With
    `withheld` no speaker is known by code: everyone has the unknown entry, and still their style.
    """
    enrolment = enrolment_of(run, divided(run, corpus))
    speakers = enrolment.evaluation(dialogues, amount, generator)
    if withheld:
        speakers = replace(speakers, code=[np.zeros_like(code) for code in speakers.code])
    outputs = [model.eval()(batch) for batch in batches(dialogues, speakers, EVALUATED)]
    at = {
        stage: {
            modality: torch.cat([o.stages[stage][modality] for o in outputs]).numpy()
            for modality in found
        }
        for stage, found in outputs[0].stages.items()
    }
    return Stages(
        label=np.concatenate([d.label for d in dialogues]),
        code=np.concatenate(speakers.code),
        speaker=np.array([name for d in dialogues for name in speaker_names(corpus, d)]),
        logits=torch.cat([o.logits for o in outputs]).numpy(),
        z=torch.cat([o.z for o in outputs]).numpy(),
        at=at,
    )
