#!/usr/bin/env bash
# make-secrets.sh [FOLDER]: makes up the passwords of docker/compose.yaml, as files. What is there already stays, so that a second run
# changes nothing. Remove the folder and the volumes together: a database keeps the password that it was made with.
set -euo pipefail
folder=${1:-"$(dirname "${BASH_SOURCE[0]}")/secrets"}

# Containers run as users of their own and must be able to read the files, nobody else on this machine: the folder is closed, and a file
# that is mounted can be read without passing through it.
umask 022
mkdir -p "$folder/alertmanager"
chmod 0700 "$folder"

# Letters and digits only: they need no quoting in a URL, in JSON and in a configuration of Redis or curl.
made_up() { LC_ALL=C tr -dc 'A-Za-z0-9' </dev/urandom | head -c 40 || true; }

# write FILE TEXT
write() {
    [ -e "$folder/$1" ] && return
    printf '%s' "$2" >"$folder/$1.new"
    mv "$folder/$1.new" "$folder/$1"
    echo "made $folder/$1"
}
secret() { cat "$folder/$1"; }

write postgres-password "$(made_up)"
write catalog-url "postgres://otlp:$(secret postgres-password)@postgres:5432/otlp"
write redis-password "$(made_up)"
write redis.conf "requirepass $(secret redis-password)
"
write redis-url "redis://:$(secret redis-password)@redis:6379/0"
write s3-secret-access-key "$(made_up)"
write s3-admin-secret "$(made_up)"
write s3-admin.curl "user = \"admin:$(secret s3-admin-secret)\"
"
# The platform reads and writes its bucket; the rights of an administrator are with the step that makes buckets alone.
write s3.json "{
  \"identities\": [
    {
      \"name\": \"admin\",
      \"credentials\": [{\"accessKey\": \"admin\", \"secretKey\": \"$(secret s3-admin-secret)\"}],
      \"actions\": [\"Admin\"]
    },
    {
      \"name\": \"otlp-rust\",
      \"credentials\": [{\"accessKey\": \"otlp-rust\", \"secretKey\": \"$(secret s3-secret-access-key)\"}],
      \"actions\": [\"Read:otlp\", \"Write:otlp\", \"List:otlp\"]
    }
  ]
}
"
write grafana-password "$(made_up)"
