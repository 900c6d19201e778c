"""Ctrl-C ends a command at once. Imports nothing heavy: it is called before everything else."""

import os
import signal
import sys
import threading

EXIT_CODE = 130  # as a shell has it for SIGINT
SHOW_CURSOR = "\x1b[?25h"  # a progress bar hides it


def end_at_interrupt(line: str) -> None:
    """Makes SIGINT end this process with one line and EXIT_CODE, whatever it is doing. Call it in the main thread.

    A KeyboardInterrupt would wait until the main thread leaves compiled code, which can take minutes, and is lost where
    it is raised in a destructor. Files are complete or absent at every moment, so there is nothing to clean up.
    """
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)

    def wait() -> None:
        while received := os.read(read_end, 1):  # the numbers of all signals that Python handles
            if received[0] == signal.SIGINT:
                terminal = SHOW_CURSOR if sys.stdout.isatty() else ""
                os.write(2, f"{terminal}\n{line}\n".encode())
                os._exit(EXIT_CODE)

    signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
    signal.signal(signal.SIGINT, lambda *_: None)  # the thread has heard of it
    threading.Thread(target=wait, name="interrupt", daemon=True).start()
