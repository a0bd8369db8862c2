"""Judge a site that runs, by asking it; scripts/verify_ai.sh and verify_security.sh use it."""
