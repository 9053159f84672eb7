-- A turn is over. The rules of admission.gate.Gate.release. Times are seconds by this server's clock.
-- KEYS: gate, slots
-- ARGV: the asker, as in gate_load, then epoch, outcome, retry after ('': none), jitter, first and longest pause in s,
--       window in s, failures that open the breaker, channel, news of room
-- Returns: s left of the pause, its cause, strikes
local gate, at = gate_load(1, KEYS[1], KEYS[2]), 1 + ASKER
local now, outcome, retry_after = gate.now, ARGV[at + 1], tonumber(ARGV[at + 2])
redis.call('ZREM', KEYS[2], ARGV[1])
local read = redis.call('HMGET', KEYS[1], 'window', 'answered', 'failed', 'answered before', 'failed before', 'crowded')
local window, answered, failed = number(read[1]), number(read[2]), number(read[3])
local answered_before, failed_before = number(read[4]), number(read[5])

local function count(a, f)
  local passed, length = now - window, number(ARGV[at + 6])
  if not (passed >= 0 and passed < length / 2) then
    if passed >= 0 and passed < length then
      answered_before, failed_before = answered, failed
    else
      answered_before, failed_before = 0, 0
    end
    answered, failed, window = 0, 0, now
  end
  answered, failed = answered + a, failed + f
  gate.keep('window', text(window), 'answered', answered, 'failed', failed,
            'answered before', answered_before, 'failed before', failed_before)
end

local function trips()
  count(0, 1)
  local all_failed = failed + failed_before
  return all_failed >= number(ARGV[at + 7]) and all_failed >= answered + answered_before
end

local refused_by_hub = outcome == 'limited' or outcome == 'unavailable' or outcome == 'refused'
local named = refused_by_hub and retry_after
if not gate.forgotten and number(ARGV[at]) ~= gate.epoch and (gate.strikes > 0 or not named) then
  if named then
    gate.till = math.max(gate.till, now + retry_after)
    gate.keep('until', text(gate.till))
  end
elseif refused_by_hub or (outcome == 'failing' and (gate.strikes > 0 or trips())) then
  local first, longest = number(ARGV[at + 4]), number(ARGV[at + 5])
  local backoff = math.min(longest, first * 2 ^ math.min(gate.strikes, 10)) * (0.5 + number(ARGV[at + 3]) / 2)
  local wait = backoff
  if retry_after then
    wait = retry_after
    if gate.strikes > 0 then wait = math.max(retry_after, backoff) end
  end
  gate.pause(now + wait, outcome, gate.strikes + 1)
  gate.keep('answered', 0, 'failed', 0, 'answered before', 0, 'failed before', 0)
elseif outcome == 'answered' then
  count(1, 0)
  if gate.strikes > 0 then
    gate.strikes = 0
    gate.keep('strikes', 0)
  end
end
if number(read[6]) > now then
  redis.call('PUBLISH', ARGV[at + 8], ARGV[at + 9])
end
return {text(math.max(0, gate.till - now)), gate.cause, gate.strikes}
