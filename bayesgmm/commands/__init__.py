"""What the command ``bayesgmm`` can do: a row a subcommand, in the order of its help."""

from bayesgmm.commands import bundled, calibrate, fit, predict, reporting, select

__all__ = ["COMMANDS"]

COMMANDS = (
    fit.COMMAND,
    select.COMMAND,
    predict.COMMAND,
    reporting.COMMAND,
    bundled.COMMAND,
    calibrate.COMMAND,
)
