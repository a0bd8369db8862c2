"""Parts of scripts/deploy_ai.sh: first settings, releases, services of a trial."""
