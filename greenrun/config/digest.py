"""Tell in one short text by which settings figures were made, so that two reports can be compared."""

import json
from hashlib import sha256

from greenrun.config.models import Config

DECIDING = ("grid", "provider", "devices", "electricity", "accounting", "uncertainty")
_NO_MATTER = ("key_file", "password_file", "username", "timeout", "forecast_retention", "history_retention")


def config_hash(config: Config) -> str:
    """Return the SHA-256 of the settings that decide figures: neither keys, nor what files hold that they name."""
    told = {
        key: setting.value
        for key, setting in config.effective().items()
        if key.split(".")[0] in DECIDING and key.rsplit(".", 1)[-1] not in _NO_MATTER
    }
    return sha256(json.dumps(told, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
