"""The log of a server whose disk is full."""

import logging

from depictqa.serve.server import LogFile


def test_a_log_that_cannot_be_written_is_one_line(capsys):
    handler = LogFile("/dev/full", delay=True)
    for number in range(3):
        handler.handle(logging.makeLogRecord({"msg": f"line {number}", "levelno": logging.INFO}))
    assert capsys.readouterr().err == (
        "warning: /dev/full: cannot be written (No space left on device); the log goes on here\n"
    )
