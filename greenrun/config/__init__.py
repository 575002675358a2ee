"""The settings of greenrun: greenrun.toml, with GREENRUN_SECTION__KEY variables over it."""

from greenrun.config.load import load_config
from greenrun.config.models import Config, Setting

__all__ = ["Config", "Setting", "load_config"]
