"""How much households buy in a week, and what that says of the week to come: a shift of calibrated log-odds.

A calibration is fitted on one week and takes over how busy that week was. Before any cutoff the weeks that are complete
are known, and their mean forecasts the next week better than one week does: the prior shift of Saerens, Latinne and
Decaestecker (Adjusting the Outputs of a Classifier to New a Priori Probabilities, 2002) from the one to the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import numpy as np

from training.ranking.rows import active_users
from training.retrieval.log import PurchaseLog
from training.schedule import HORIZON, WEEK

COMPLETE = 4
"""Weeks whose mean is the forecast."""


def level(log: PurchaseLog, cutoff: datetime) -> float:
    """Mean distinct items bought in the horizon after the cutoff by households that bought something then and before.

    0 where no household did.
    """
    users = active_users(log, cutoff)
    return float(np.diff(log.truth(cutoff, HORIZON).indptr)[users].mean()) if len(users) else 0.0


def level_shift(log: PurchaseLog, calibrated: Sequence[datetime], cutoff: datetime, weeks: int = COMPLETE) -> float:
    """Log of the mean level of the last `weeks` weeks before the cutoff over that of the weeks of calibration.

    To be added to log-odds for the week after the cutoff; purchases from the cutoff on are not looked at. 0 where the
    log does not reach back far enough to tell.
    """
    past = log.before(cutoff)
    known = [level(past, cutoff - HORIZON - WEEK * n) for n in range(weeks)]
    at_calibration = [level(past, week) for week in calibrated]
    if min(*known, *at_calibration) <= 0:
        return 0.0
    return float(np.log(np.mean(known) / np.mean(at_calibration)))


def forecast_errors(
    log: PurchaseLog, last: datetime, judged: int = 15, weeks: Sequence[int] = (1, 2, 4, 8)
) -> dict[str, float]:
    """Mean absolute log error of forecasting a week's level by the mean of the 1, 2, 4 or 8 weeks before it.

    Over the `judged` weeks that end with the one after the cutoff `last`.
    """
    most = max(weeks)
    levels = np.array([level(log, last - WEEK * n) for n in range(judged + most - 1, -1, -1)])
    return {
        str(n): float(np.mean([abs(np.log(levels[i] / levels[i - n : i].mean())) for i in range(most, len(levels))]))
        for n in weeks
    }
