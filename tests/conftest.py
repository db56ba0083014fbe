"""What all tests have in common."""

from __future__ import annotations

import signal

# Who starts us in the background of a script, or with nohup, has us ignore these, and so would all processes
# that tests start and interrupt.
for _signum, _handler in (
    (signal.SIGINT, signal.default_int_handler),
    (signal.SIGQUIT, signal.SIG_DFL),
    (signal.SIGHUP, signal.SIG_DFL),
):
    if signal.getsignal(_signum) is signal.SIG_IGN:
        signal.signal(_signum, _handler)
