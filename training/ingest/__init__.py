"""From any known source to the canonical event table, cleaned, with everything that was dropped kept and counted."""

from training.ingest.quality import QualityReport
from training.ingest.run import ingest
from training.ingest.source import Source

__all__ = ["QualityReport", "Source", "ingest"]
