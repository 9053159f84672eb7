# Starts redis-server with its settings and the password from the secret's file; neither is on a command line.
{
  cat "${CONFIGURATION:-/etc/redis.conf}"
  printf 'requirepass %s\n' "$(cat "${PASSWORD_FILE:-/run/secrets/redis_password}")"
} | exec redis-server - "$@"
