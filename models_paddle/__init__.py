"""One file for each architecture, in PaddlePaddle; those of the user's own folder `ports` belong to it too."""

import os
from pathlib import Path

__path__.append(str(Path(os.environ.get("PLUMBLINE_PORTS", "ports")).absolute() / "models_paddle"))
