"""What tests of commands share."""

from align.__main__ import main


def refused(capsys, *arguments):
    """The one line that a refused command prints; it must exit with 2 and print nothing else."""
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "Traceback" not in err
    assert len(err.strip().splitlines()) == 1, err
    return err
