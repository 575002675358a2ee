"""What the meters are told; apart from the daemon's parts, so that `greenrun measure` need not load those."""

from greenrun.config.external import external_settings
from greenrun.config.models import Config
from greenrun.meters.settings import ConstantSettings, EmulatedSettings, MeterSettings


def meter_settings(config: Config) -> MeterSettings:
    """Return what the meters are told."""
    devices = config.devices
    return MeterSettings(
        kinds=tuple(devices.meter),
        include=tuple(int(name) if name.isdigit() else name for name in devices.include),
        emulated=EmulatedSettings(**devices.emulated.model_dump()),
        constant=ConstantSettings(**devices.constant.model_dump()) if devices.constant else None,
        cpu_kinds=tuple(devices.cpu_meter),
        powercap=devices.powercap,
        external=external_settings(devices.external),
    )
