"""The kit for DRA drivers: `fakehw-conformance --api dra`.

    settings.py procedure.py                       what is done, and where
    evidence.py                                    what was seen; values only
    drive.py observed.py                           calls beside the kubelet's; slices, health, files at a moment
    registration_checks.py slice_checks.py         what follows from it
    claim_checks.py cdi_checks.py health_checks.py recovery_checks.py
    catalogue.py                                   all checks, in the order of the report

The fake API server and the fake kubelet do to the driver what real ones do. docs/conformance.md lists the checks.
"""
