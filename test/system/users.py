"""Marks of tests that become other users."""
import os

import pytest

from daemon import BUILD

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user, or mount")
CLOSED = next((path for path in (BUILD, *BUILD.parents) if not path.stat().st_mode & 0o001), None)
# Other users execute, or load, what was built here.
as_others = pytest.mark.skipif(os.geteuid() != 0 or CLOSED is not None,
                               reason=f"other users may not enter {CLOSED}" if CLOSED else "only root can become another user")
