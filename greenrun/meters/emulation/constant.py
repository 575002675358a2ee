"""GPUs that nothing can measure: the user vouches for their watts, and every joule is graded as estimated."""

from greenrun.core.energy.model import Quality
from greenrun.meters.emulation.power_model import Kind

KIND = Kind(name="constant", model="GPU, estimated at {watts} W", quality=Quality.ESTIMATED, emulated=False)
