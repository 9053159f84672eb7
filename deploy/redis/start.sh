# Becomes redis-server, with its settings and the password from the secret's file; neither is on a command line.
exec redis-server - "$@" <<EOF
$(cat "${CONFIGURATION:-/etc/redis.conf}")
requirepass $(cat "${PASSWORD_FILE:-/run/secrets/redis_password}")
EOF
