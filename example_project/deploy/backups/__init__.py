"""Back up and restore the database; scripts/db_backup.sh, db_restore.sh and rollback.sh use it."""
