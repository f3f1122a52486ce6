"""What a command that fails says."""

from api.cli.failures import CommandFailedError, told


def test_no_password_of_a_url_is_shown() -> None:
    said = "binance GET https://api.binance.com (407, message='…', url='http://me:secret@10.0.0.1:3128')"
    masked = "binance GET https://api.binance.com (407, message='…', url='http://me:***@10.0.0.1:3128')"
    assert told(CommandFailedError(said)) == masked
    assert told(OSError(said)) == masked
    assert told(KeyError(said)) is None
