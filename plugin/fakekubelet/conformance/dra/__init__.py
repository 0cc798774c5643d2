"""The kit for DRA drivers: `fakehw-conformance --api dra`.

    settings.py procedure.py                       what the kit is told; what is done, in order
    first_life.py disturbances.py                  its parts, each on the bench
    rolling_update.py
    claims.py changes.py                           what is done with claims and to devices
    bench.py                                       API server, kubelet and driver, from start to end
    drive.py observed.py                           calls beside the kubelet's; slices, health, files at a moment
    evidence.py                                    what was seen; values only
    registration_checks.py slice_checks.py         what follows from it
    claim_checks.py cdi_checks.py health_checks.py recovery_checks.py
    catalogue.py                                   all checks, in the order of the report

The fake API server and the fake kubelet do to the driver what real ones do. docs/conformance.md lists the checks.
"""
