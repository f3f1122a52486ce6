"""What is said of an error."""


def one_line(error: BaseException) -> str:
    """Its message on one line, or else its name; of a database's error what the driver said, without SQL."""
    return " ".join(str(getattr(error, "orig", None) or error).split()) or type(error).__name__
