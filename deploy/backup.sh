#!/bin/sh
# The job `backup` of docker-compose.yml:
#
#   backup.sh          # runs for ever; takes a backup when none is younger than BACKUP_EVERY_HOURS
#   backup.sh now      # takes one at once
#   backup.sh check    # fails when two were missed: the health check
#
# pg_basebackup copies the whole server, so both of Temporal's databases are as of one moment; two dumps would not be. A
# backup is a directory of $BACKUPS that is named after its end. The newest BACKUP_KEEP are kept. A failure ends the
# script, and the container engine starts it again.
set -eu

every_minutes=$((BACKUP_EVERY_HOURS * 60))

all() {
  find "$BACKUPS" -mindepth 1 -maxdepth 1 -type d -name '2*Z' "$@"
}

has_younger_than() {
  [ -n "$(all -mmin "-$1")" ]
}

take() {
  (
    # The job and a `backup.sh now` take turns.
    flock 9
    rm -rf "$BACKUPS/.unfinished"
    PGPASSWORD=$(cat "$PGPASSWORD_FILE") pg_basebackup --pgdata="$BACKUPS/.unfinished" --format=tar --gzip \
      --wal-method=stream --checkpoint=fast --no-password
    name=$(date -u +%Y%m%dT%H%M%SZ)
    mv "$BACKUPS/.unfinished" "$BACKUPS/$name"
    echo "backup_done $name $(du -sk "$BACKUPS/$name" | cut -f1) kB"
    all | sort -r | tail -n "+$((BACKUP_KEEP + 1))" | while read -r old; do
      rm -rf "$old"
      echo "backup_removed ${old##*/}"
    done
  ) 9>"$BACKUPS/.lock"
}

case ${1:-} in
  now) take ;;
  check) has_younger_than $((2 * every_minutes)) || {
    echo "no backup within $((2 * BACKUP_EVERY_HOURS)) hours" >&2
    exit 1
  } ;;
  '')
    while :; do
      has_younger_than "$every_minutes" || take
      sleep 60
    done
    ;;
  *)
    echo "backup.sh: unknown argument $1" >&2
    exit 2
    ;;
esac
