"""Does a device plugin keep the kubelet's contract? Any plugin, in any language, by its command.

    procedure.py      what is done to the plugin: started, asked, cut off, killed, and started again
    calls.py, direct_client.py, observed.py   what it is asked, and what came of it all
    subject.py, endings.py                    the plugin as a process; signals to the kit itself
    evidence.py       what was seen; values only
    *_checks.py       what follows from it: functions from evidence to a result, each with its contract numbers
    catalogue.py      all checks, in the order of the report
    report.py         the table, JSON and JUnit XML
    cli.py            the command `fakehw-conformance`

Nothing here needs pytest. docs/conformance.md lists the checks.
"""
