#!/bin/sh
# Puts a backup in the place of the database: the job `restore` of docker-compose.yml.
#
#   restore.sh         # lists the backups
#   restore.sh NAME
#
# What the database holds now is deleted, but only after the backup was unpacked beside it and verified.
set -eu

backup=$BACKUPS/${1:-}
if [ -z "${1:-}" ] || [ ! -f "$backup/base.tar.gz" ]; then
  echo "usage: restore NAME, with one of these:" >&2
  find "$BACKUPS" -mindepth 1 -maxdepth 1 -type d -name '2*Z' -exec basename {} \; | sort >&2
  exit 2
fi

answer=0
pg_isready --quiet || answer=$?
if [ "$answer" -ne 2 ]; then
  echo "PostgreSQL runs: stop it first, with everything that uses it." >&2
  exit 1
fi

unpacked=$PGDATA/.restored
rm -rf "$unpacked"
mkdir -m 700 "$unpacked"
tar --extract --gzip --file="$backup/base.tar.gz" --directory="$unpacked"
tar --extract --gzip --file="$backup/pg_wal.tar.gz" --directory="$unpacked/pg_wal"
cp "$backup/backup_manifest" "$unpacked/"
pg_verifybackup --quiet "$unpacked"
rm "$unpacked/backup_manifest"

find "$PGDATA" -mindepth 1 -maxdepth 1 ! -name .restored -exec rm -rf {} +
find "$unpacked" -mindepth 1 -maxdepth 1 -exec mv {} "$PGDATA/" \;
rmdir "$unpacked"
chmod 700 "$PGDATA"
sync
echo "restored ${backup##*/}"
