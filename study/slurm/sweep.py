"""A sweep on Slurm: send what is neither recorded nor queued, wait for it or leave, tell how it stands."""

import time
from collections import Counter
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass

from study.config import Slurm
from study.errors import Damaged
from study.execute.sweep import Recorder, Sweep
from study.plan import PlannedCell, iterations
from study.slurm import submissions
from study.slurm.groups import Group, group
from study.slurm.send import send
from study.slurm.submissions import Job, NoAnswer
from study.standing import known_speeds
from study.terminal import Display, duration

POLL_SECONDS = 2.0
QUEUE_SECONDS = 10.0
FAILURES_SHOWN = 5


@dataclass(frozen=True)
class Outlook:
    """The job that each cell without a record was last sent with, and groups of those that are in no living job."""

    sent: Mapping[str, Job]
    unsent: list[Group]

    @property
    def jobs(self) -> list[Job]:
        return _distinct(self.sent)


def show(sweep: Sweep, display: Display) -> None:
    """Say what there is to do, what became of what was sent, and what would be sent."""
    outlook = Outlook({}, [])
    try:
        outlook = _look(sweep)
    except NoAnswer as error:
        display.note(str(error))
    display.plan(sweep.run.name, sweep.standing(_workers(sweep, outlook)))
    _tell(outlook.jobs, display)
    if outlook.unsent:
        longest = max(one.seconds(sweep.run.cluster.workers) for one in outlook.unsent)
        display.note(f"Slurm: {_jobs(len(outlook.unsent))} to send, of {duration(longest)} at most")


def run(sweep: Sweep, display: Display) -> bool:
    """Send what is neither recorded nor queued, and wait for it unless told not to; whether that was seen through.

    Cells that jobs left undone are in `sweep.failures`. Raises StudyError where Slurm takes no jobs.
    """
    cluster, todo, begun = sweep.run.cluster, len(sweep.unrecorded), time.monotonic()
    assert isinstance(cluster, Slurm)
    outlook = _look(sweep)
    display.plan(sweep.run.name, sweep.standing(_workers(sweep, outlook)))
    _send(sweep, display, outlook)
    if not cluster.wait and sweep.missing:
        _tell(_distinct(_sent(sweep)), display)
        return False
    try:
        while True:
            with suppress(Damaged):  # what is found damaged is missing from then on
                _wait(sweep, display)
                break
            _send(sweep, display, _look(sweep))
    except KeyboardInterrupt:
        display.note("the jobs go on without this command; scancel ends them")
        raise
    display.end(sweep.records.values(), sweep.failures, todo, time.monotonic() - begun, sweep.run.records)
    return True


def _send(sweep: Sweep, display: Display, outlook: Outlook) -> None:
    if outlook.unsent:
        folders = send(sweep.run, outlook.unsent)
        display.note(f"Slurm: {_jobs(len(outlook.unsent))} sent, logs in {', '.join(map(str, folders))}")


def _look(sweep: Sweep) -> Outlook:
    """See what became of what was sent; on a Slurm cluster, group what is to be sent. Raises NoAnswer."""
    sent, missing, cluster = _sent(sweep), sweep.missing, sweep.run.cluster
    free = [p for p in sweep.unrecorded if p.cell.id not in sent or not sent[p.cell.id].lives]
    unsent = [planned for planned in free if _needs(planned, missing)]
    if not isinstance(cluster, Slurm) or not unsent:
        return Outlook(sent, [])
    speeds = known_speeds(sweep.plan, sweep.store, sweep.run.published)
    return Outlook(sent, group(unsent, missing, speeds, cluster))


def _sent(sweep: Sweep) -> dict[str, Job]:
    """The job that each cell without a record was last sent with, less those that have ended well. Raises NoAnswer."""
    jobs = submissions.jobs(sweep.run)
    missing = sweep.missing  # seen after the queue: a job that ends in between has not failed
    sent = [(planned, jobs[planned.cell.id]) for planned in sweep.unrecorded if planned.cell.id in jobs]
    return {planned.cell.id: job for planned, job in sent if job.lives or _needs(planned, missing)}


def _needs(planned: PlannedCell, missing: Collection[str]) -> bool:
    return any(node.id in missing for node in planned.trainings)


def _distinct(sent: Mapping[str, Job]) -> list[Job]:
    return list({(job.folder, job.index): job for job in sent.values()}.values())


def _workers(sweep: Sweep, outlook: Outlook) -> int:
    """How many workers will take part: those of the jobs that run, else of those that can soon, else this command's."""
    cluster = sweep.run.cluster
    running = sum(job.workers for job in outlook.jobs if job.state == "running")
    soon = sum(job.workers for job in outlook.jobs if job.lives) + len(outlook.unsent) * cluster.workers
    most = cluster.array_parallelism * cluster.workers if isinstance(cluster, Slurm) else soon
    return running or min(soon, most) or cluster.workers


def _wait(sweep: Sweep, display: Display) -> None:
    """Record cells as their trainings appear in the store, until all are there or no job lives that could make them."""
    missing = sweep.missing
    watch = Watch(sweep, display)
    length = {training: iterations(node) for training, node in missing.items()}
    left, begun = list(missing), time.monotonic()
    with Recorder(sweep, display) as recorder, display.progress(sum(length.values())) as progress:
        recorder.begin(missing)
        while sweep.unrecorded and not watch.is_over():
            for training in [training for training in left if sweep.store.has_training(training)]:
                left.remove(training)
                recorder.finished(training)
            undone = sum(length[training] for training in left)
            done = sum(length.values()) - undone
            seconds = (time.monotonic() - begun) / done * undone if done else None
            trainings = f"{len(missing) - len(left)}/{len(missing)} trainings"
            progress(done, f"{len(sweep.records)}/{len(sweep.plan.cells)} cells, {trainings}, {watch}", seconds)
            time.sleep(POLL_SECONDS if sweep.unrecorded else 0)
    if sweep.unrecorded:
        _tell_failed(_distinct(watch.sent), display)
        ended = {cell: f"job {job.name} ended without it" for cell, job in watch.sent.items()}
        cells = (planned.cell.id for planned in sweep.unrecorded)
        sweep.failures |= {cell: ended.get(cell, "no job is left that could make it") for cell in cells}


class Watch:
    """Looks at the queue now and then while a sweep waits."""

    def __init__(self, sweep: Sweep, display: Display) -> None:
        self._sweep, self._display = sweep, display
        self._asked, self._idle, self._silent = -QUEUE_SECONDS, 0, False
        self.sent: dict[str, Job] = {}

    def is_over(self) -> bool:
        """Whether no job lives: seen twice, lest results of the last one are still on their way through a network."""
        if time.monotonic() - self._asked >= QUEUE_SECONDS:
            self._asked = time.monotonic()
            self._ask()
        return self._idle > 1

    def _ask(self) -> None:
        try:
            self.sent = _sent(self._sweep)
        except NoAnswer as error:
            if not self._silent:
                self._display.note(f"{error}; results are waited for all the same")
            self._silent = True
            return
        self._silent = False
        self._idle = 0 if any(job.lives for job in self.sent.values()) else self._idle + 1

    def __str__(self) -> str:
        count = Counter(job.state for job in _distinct(self.sent))
        return f"{_jobs(count['running'])} running, {count['queued']} queued"


def _tell(jobs: list[Job], display: Display) -> None:
    """Say how many jobs run, wait and have failed, and how those did."""
    if not jobs:
        return
    count = Counter(job.state for job in jobs)
    reasons = sorted({job.queued.note for job in jobs if job.queued and not job.queued.running} - {"None"})
    queued = f"{count['queued']} queued" + (f" ({', '.join(reasons)})" if reasons else "")
    display.note(f"Slurm: {_jobs(count['running'])} running, {queued}, {count['failed']} failed")
    _tell_failed(jobs, display)


def _tell_failed(jobs: list[Job], display: Display) -> None:
    failed = [job for job in jobs if job.state == "failed"]
    for job in failed[:FAILURES_SHOWN]:
        path, lines = job.log
        told = f"; the end of {path}:" if lines else ", before it printed anything"
        display.note(f"failed: job {job.name} ({job.ending}){told}")
        for line in lines:
            display.note(f"    {line}")
    if len(failed) > FAILURES_SHOWN:
        display.note(f"and {len(failed) - FAILURES_SHOWN} more failed")


def _jobs(number: int) -> str:
    return "1 job" if number == 1 else f"{number} jobs"
