"""Identify a job in a report: its owner, its times, and the hardware it ran on."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from greenrun.core.energy.model import Component, Device
from greenrun.core.jobs.job import Job, Run
from greenrun.core.reference.countries import ALPHA_3, COUNTRIES, country_of
from greenrun.reports.model import JobIdentity
from greenrun.reports.uncertainty import sampled_sparsely


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where jobs run, and for whom: the host's name, what its owner calls the site, the CPU; None where not known.

    `boundary` is how the organisation consolidates its emissions (GHG Protocol).
    """

    host: str | None = None
    site: str | None = None
    organisation: str | None = None
    boundary: str | None = None
    cpu_model: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardware:
    """The devices of this host as they are now, and their power according to the books.

    `idle_w` are the GPUs' idle powers by id, `peaks_w` the highest power of each run.
    """

    devices: Mapping[str, Device] = field(default_factory=dict)
    idle_w: Mapping[str, float] = field(default_factory=dict)
    peaks_w: Mapping[int, float] = field(default_factory=dict)

    @property
    def sparse(self) -> frozenset[str]:
        """The GPUs whose power sensors see a part of the time only."""
        return frozenset(key for key, device in self.devices.items() if sampled_sparsely(device))

    def sources(self, kind: Component) -> str | None:
        """Return which meters read a kind of device."""
        return "; ".join(sorted({row.source for row in self.devices.values() if row.kind is kind})) or None


def identity(job: Job, own: Sequence[Run], hardware: Hardware, place: Place, zone: str | None) -> JobIdentity:
    """Return a job's identity; its times are of all its runs (`own`, by id), including those outside the period."""
    country = country_of(zone)
    started_at = min((run.started_at for run in own if run.started_at), default=None)
    ended_at = max((run.ended_at for run in own if run.ended_at), default=None) if job.finished_at else None
    run_s = sum(run.length.total_seconds() for run in own)
    wall_s = (ended_at - started_at).total_seconds() if started_at and ended_at else None
    last = own[-1] if own else None
    ids = sorted({device for run in own for device in run.devices})
    found = [hardware.devices[each] for each in ids if each in hardware.devices]
    return JobIdentity(
        job_id=job.id,
        job_name=job.name,
        project=job.spec.project,
        user=job.user,
        tags=dict(job.spec.labels),
        git_commit=job.spec.git_commit,
        host=place.host,
        site=place.site,
        country_iso3=ALPHA_3[country] if country else None,
        country_name=COUNTRIES[country] if country else None,
        submitted_at=job.submitted_at,
        eligible_at=job.earliest_start,
        deadline_at=job.spec.finish_by,
        started_at=started_at,
        ended_at=ended_at,
        wall_seconds=wall_s,
        paused_seconds=wall_s - run_s if wall_s is not None else None,
        deferral_seconds=(started_at - job.earliest_start).total_seconds() if started_at else None,
        attempts=len(own),
        outcome=last.outcome.value if last and last.outcome else job.state.value,
        exit_code=last.exit_code if last else None,
        gpu_count=job.spec.gpus,
        gpu_share=1.0 if ids else None,
        gpu_model=sorted({device.model for device in found}),
        gpu_models=dict(sorted(Counter(device.model for device in found).items())),
        gpu_uuid=ids,
        gpu_source="; ".join(sorted({device.source for device in found})) or None,
        cpu_source=hardware.sources(Component.CPU),
        cpu_model=place.cpu_model,
        power_limit_watts=_power_limit_w(found),
        peak_power_w=max((hardware.peaks_w[run.id] for run in own if run.id in hardware.peaks_w), default=None),
    )


def _power_limit_w(devices: Sequence[Device]) -> float | None:
    """Return the power limits of these devices together; None where one is not known."""
    limits = [device.power_w for device in devices]
    return sum(each for each in limits if each) if limits and None not in limits else None
