"""The mean teacher of DCASE 2019 task 4's official baseline: the joint paper's row MT.

The student learns from labels where there are some, and everywhere to agree with a teacher that is
its own running average. Notebook: joint_at_aed/method.ipynb.
"""

from pathlib import Path

import torch.nn.functional as F

from wsaed.losses import binary_cross_entropy, ramp_up
from wsaed.methods import detection
from wsaed.methods.detection import STRONG, WEAK, of_kind

HORIZON = 1 / 21  # of the training: the baseline's 0.999 a step, in its 21,000 steps
CONSISTENCY = 2.0  # the consistency's largest weight, reached half-way


def objective(spec: dict, pair):
    """(losses, after) of `detection.train`: supervised losses, and consistency on all clips.

    With spec["consistency"] 0 the unlabelled clips are not used: the labelled-only student.
    """
    weight = spec.get("consistency", CONSISTENCY)

    def losses(batch, teacher, student):
        (p_t, c_t, _), (p_s, c_s, _) = teacher, student
        found = {
            "weak": of_kind(binary_cross_entropy, c_s, batch.clip_labels, batch.kind == WEAK),
            "strong": of_kind(binary_cross_entropy, p_s, batch.frame_labels, batch.kind == STRONG),
            "consistency": F.mse_loss(c_s, c_t) + F.mse_loss(p_s, p_t),
        }
        beta = weight * ramp_up(batch.e / 50)
        return found | {"loss": found["weak"] + found["strong"] + beta * found["consistency"]}

    def after(batch):
        past = batch.step + 1
        pair.average(min(past / (past + 1), 1 - 1 / max(1, HORIZON * batch.steps)))

    return losses, after


def train(spec: dict, replicate: int, folder: Path, teachers: list[Path], tell) -> dict:
    """Train the pair into ``folder``; the scores are the student's."""
    return detection.train(spec, replicate, folder, tell, objective)
