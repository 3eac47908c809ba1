"""The training step of the published MultiEMO, to be timed beside ours.

Its code is imported from a checkout of `URL`. Its modules have common names (`MLP`, `DialogueRNN`),
so a process should import it for nothing else.
"""

import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import cross_entropy, one_hot

from mlsan.corpus import Batch
from mlsan.model.checkpoints import published_state
from mlsan.model.multiemo import MultiEMO
from mlsan.training.settings import RunSettings

URL = "https://github.com/TaoShi1998/MultiEMO-ACL2023"
MODULES = {
    "Model": ("MultiEMO_Model", "MultiAttn", "DialogueRNN", "MLP"),
    "Loss": ("SampleWeightedFocalContrastiveLoss", "SoftHGRLoss"),
}


class PublishedCodeError(ValueError):
    """A folder is not a checkout of the published code. The message names the file and the fix."""


def check(folder: Path) -> None:
    """Raise PublishedCodeError if a file of the model or of its losses is missing."""
    for part, modules in MODULES.items():
        for file in (folder / part / f"{module}.py" for module in modules):
            if not file.is_file():
                raise PublishedCodeError(f"{file} is missing; set PUBLISHED to a checkout of {URL}")


def published_step(
    folder: Path,
    run: RunSettings,
    model: MultiEMO,
    batch: Batch,
    class_weight: Float[Tensor, "class"],
) -> Callable[[], float]:
    """A function that trains the published model on `batch` and returns the loss before the step.

    The model starts with the weights of `model`; what it never uses keeps its own. The step is that
    of the published `Train/TrainMultiEMO.py`.
    """
    sys.path[:0] = [str(folder / part) for part in MODULES]
    settings, loss, device = run.model, run.loss, class_weight.device
    theirs = (
        import_module("MultiEMO_Model")
        .MultiEMO(
            dataset=run.benchmark,
            multi_attn_flag=True,
            roberta_dim=model.project["text"].in_features,
            D_m_audio=model.project["audio"].in_features,
            D_m_visual=model.project["visual"].in_features,
            **dict.fromkeys(("model_dim", "D_g", "D_p", "D_e", "D_h", "D_a"), settings.d),
            **{"hidden_dim": settings.feedforward, "num_layers": settings.layers},
            **{"num_heads": settings.heads, "n_classes": len(class_weight), "n_speakers": None},
            **dict.fromkeys(("dropout", "dropout_rec"), settings.dropout),
            **{"listener_state": False, "context_attention": "simple", "device": device},
        )
        .to(device)
    )
    theirs.load_state_dict(theirs.state_dict() | published_state(model))
    contrastive, soft_hgr = (import_module(name) for name in MODULES["Loss"])
    swfc = contrastive.SampleWeightedFocalContrastiveLoss(
        loss.tau, loss.gamma, loss.alpha, run.benchmark, torch.ones_like(class_weight), device
    )
    swfc.class_weights = class_weight
    hgr = soft_hgr.SoftHGRLoss()
    rates = {"lr": run.train.lr, "weight_decay": run.train.weight_decay}
    optimiser = torch.optim.Adam(theirs.parameters(), **rates)

    batch = batch.to(device)
    label = batch.label.T.reshape(-1)
    known = label[label != -1]
    role = one_hot(batch.party).float() * batch.mask[..., None]
    features = [batch.feature[m] for m in ("text", "audio", "visual")]

    def step() -> float:
        optimiser.zero_grad()
        *fused, z, logits = theirs(*features, role, batch.mask.T.float(), label)
        total = loss.hgr * hgr(*fused) + loss.swfc * swfc(z, known)
        total = total + loss.ce * cross_entropy(logits, known)
        total.backward()
        optimiser.step()
        return total.item()

    return step
