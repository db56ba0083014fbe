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
    minimum_effect: float = 0.055  # log; smaller changes are not looked for
    prior_effect: float = 0.5  # log; mean of the exponential prior on the size of a change
    hazard: float = 1 / 200  # prior probability that a change sets in at a given run
    alarm: float = -1.75  # log posterior odds for an alarm, before what follows is added
    haste: float = 0.25  # more for each slower run short of five
    sloth: float = 1.0  # more for each slower run beyond six: what was not plain by then is rarely a step
    youth: float = 1.5  # more for each factor e that the runs at the known level fall short of `level_runs`
    unlike_the_past: float = 0.85  # an earlier stretch as slow as this share of the latest one is in the way
    like_the_past: float = 15.0  # more for each 100% beyond that share
    cpu_runs: int = 16  # runs with CPU time before it is used
    wall_share: tuple[float, ...] = (0.75, 0.5, 0.3, 0.15)  # of wall time in the blend of wall and CPU time
    cpu_gain: float = 0.85  # the blend is used where its scale is below this share of that of wall time
    wall_follows: float = 0.4  # of a shift of the blend must show in wall time
    busier: float = 0.2  # other busy tasks per core more than usual: wall time is then no proof
    cpu_veto: float = 0.3  # of the shift of wall time that CPU time must show on a busier machine
    drop_alarm: float = 6.0  # log posterior odds for an improvement
    again: float = 4.0  # log posterior odds for a further rise during an alarm
    give_up: float = -3.25  # log odds under the bar at which an alarm is taken back
    hold: int = 25  # slower runs after which the new level is the known one
    drop_runs: int = 6  # faster runs before an improvement is believed


DEFAULT = Settings()
