"""THE loop: ``train(nets, phases, plan)`` runs named phases in turn, and a resumed run equals a straight one.

::

    fit = Phase("fit", Objective(losses), Shuffled(len(texts), 32, run.seeds.order, collate), ("encoder", "head"),
                steps=400, optimiser=Optimiser(lr=5e-5), schedule=Schedule(shape="linear", warmup=0.1), clip=1.0)
    trained = train({"encoder": encoder, "head": head}, [fit], TrainPlan(seed=run.seed, run=run))
"""

from hedgerow.train.batches import Batches, Shuffled, steps_for
from hedgerow.train.loop import train
from hedgerow.train.plan import Phase, Trained, TrainPlan, Validation
from hedgerow.train.schedules import Optimiser, Schedule

__all__ = [
    "Batches",
    "Optimiser",
    "Phase",
    "Schedule",
    "Shuffled",
    "TrainPlan",
    "Trained",
    "Validation",
    "steps_for",
    "train",
]
