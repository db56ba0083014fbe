"""The constants of the detector, each with what it means; docs/regressions.md says where they come from."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Settings:
    """What the detector may be told. The defaults are the ones that the published figures are for."""

    history: int = 160  # runs that noise and strata are learned from
    level_runs: int = 60  # the latest of them that say the level
    window: int = 12  # latest runs in which a change may have set in
    warm_up: int = 8  # runs before anything is judged
    minimum_runs: int = 3  # slower runs before an alarm
    minimum_effect: float = 0.04  # log; smaller changes are not looked for
    prior_effect: float = 0.5  # log; mean of the exponential prior on the size of a change
    hazard: float = 1 / 200  # prior probability that a change sets in at a given run
    alarm: float = 4.5  # log posterior odds for an alarm with five slower runs or more
    haste: float = 1.0  # log odds more for each slower run short of five
    own_record: float = 0.7  # share of the series' highest excursion that is added to the bar
    unlike_the_past: float = (
        0.85  # an earlier stretch as slow as this share of the latest one forbids an alarm
    )
    hold: int = 25  # slower runs after which the new level is the known one
    drop_runs: int = 6  # faster runs before an improvement is believed
    stratum_runs: int = 4  # runs of a stratum before its runs are comparable


DEFAULT = Settings()
