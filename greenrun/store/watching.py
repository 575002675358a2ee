"""What is watched in runs: the work they say to have done, and the anomalies that were noticed in them."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from sqlalchemy import Connection, exists, or_, select, update

from greenrun.core.jobs.anomalies import Sign, Spell
from greenrun.core.jobs.job import Anomaly
from greenrun.core.jobs.reasons import ReasonCode, because
from greenrun.store.columns import among
from greenrun.store.database import Database
from greenrun.store.journal import ANOMALIES, Change, count, key, record
from greenrun.store.records import reason_columns
from greenrun.store.tables import EVENTS, JOBS, RUNS


class Watching(Database):
    """The part of the store that `greenrun.engine.ports.Store` lists under what is watched in runs."""

    def keep_work(self, run_id: int, *, work: float, unit: str, at: datetime) -> bool:
        """Keep what a run says to have done, unless that is no more than before; False when nothing was changed."""
        is_more = or_(RUNS.c.work.is_(None), RUNS.c.work < work)
        values = {"work": work, "work_unit": unit, "work_at": at}
        with self._write() as connection:
            return connection.execute(update(RUNS).where(RUNS.c.id == run_id, is_more).values(**values)).rowcount == 1

    def note_ignored_work(self, run_id: int, why: str, *, now: datetime) -> bool:
        """Add an event that what a run said of its work was ignored; False when there is one of it already."""
        with self._write() as connection:
            job_id = connection.scalar(select(RUNS.c.job_id).where(RUNS.c.id == run_id))
            own = (EVENTS.c.job_id == job_id) & (EVENTS.c.run_id == run_id) & (EVENTS.c.kind == Change.WORK_IGNORED)
            if connection.scalar(select(exists().where(own))):
                return False
            record(connection, Change.WORK_IGNORED, at=now, job_id=job_id, run_id=run_id, detail={"text": why})
        return True

    def note_anomaly(self, run_id: int, sign: Sign, anomaly: Anomaly, *, stop: bool, now: datetime) -> bool:
        """Add an event that an anomaly of a live run began or (`sign` is not so) is over, and count what began.

        With `stop`, its job is asked to end at once, with a reason that says why. False when the run had ended.
        """
        with self._write() as connection:
            live = select(RUNS.c.job_id).where(RUNS.c.id == run_id, RUNS.c.outcome.is_(None))
            job_id = connection.scalar(live)
            if job_id is None:
                return False
            detail = {"anomaly": anomaly, "began": sign.is_so, "text": sign.text, **sign.numbers}
            record(connection, Change.ANOMALY, at=now, job_id=job_id, run_id=run_id, detail=detail)
            if sign.is_so:
                count(connection, {key(ANOMALIES, rule=anomaly.value): 1})
            if stop:
                _stop(connection, job_id, run_id, sign, anomaly, now)
        return True

    def anomalies(self, job_ids: Sequence[int]) -> Mapping[int, Sequence[Spell]]:
        """Return the anomalies of each run of these jobs by its id, in order; a run without any is absent."""
        query = select(EVENTS).where(among(EVENTS.c.job_id, job_ids), EVENTS.c.kind == Change.ANOMALY)
        found: defaultdict[int, list[Spell]] = defaultdict(list)
        with self._read() as connection:
            rows = sorted(connection.execute(query), key=lambda row: int(row.id))
        for row in rows:
            anomaly, spells = Anomaly(row.detail["anomaly"]), found[row.run_id]
            if row.detail["began"]:
                spells.append(Spell(anomaly=anomaly, run_id=row.run_id, since=row.at, text=row.detail["text"]))
                continue
            found[row.run_id] = [
                replace(spell, until=row.at) if spell.anomaly is anomaly and spell.until is None else spell
                for spell in spells
            ]
        return dict(found)


def _stop(connection: Connection, job_id: int, run_id: int, sign: Sign, anomaly: Anomaly, now: datetime) -> None:
    """Ask for the end of a job just as its user does who cancels it."""
    reason = because(ReasonCode.ANOMALOUS, anomaly=anomaly.value, why=sign.text)
    wanted = update(JOBS).where(JOBS.c.id == job_id, ~JOBS.c.cancel_requested)
    if connection.execute(wanted.values(cancel_requested=True, **reason_columns(reason))).rowcount == 1:
        detail = {"anomaly": anomaly}
        record(connection, Change.CANCEL_REQUESTED, at=now, job_id=job_id, run_id=run_id, detail=detail)
