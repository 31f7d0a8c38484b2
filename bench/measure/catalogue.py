"""The measurements, in the order in which they run and are shown."""

from __future__ import annotations

from typing import Any

from bench.measure.cold_start import COLD_START
from bench.measure.frame import Measurement

MEASUREMENTS: tuple[Measurement[Any], ...] = (COLD_START,)
