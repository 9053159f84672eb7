-- A turn is over. The rules of admission.gate.Gate.leave. Times are seconds by this server's clock.
-- KEYS: gate, slots
-- ARGV: ticket, epoch, outcome, retry after ('': none), jitter, first and longest pause in s, window in s,
--       failures that open the breaker, ms for which all this is kept, now ('': by the clock), channel, news of room,
--       s that a pause has left at the most
-- Returns: s left of the pause, its cause, strikes
local ticket, outcome, retry_after = ARGV[1], ARGV[3], tonumber(ARGV[4])
local now = tonumber(ARGV[11])
if not now then
  local time = redis.call('TIME')
  now = number(time[1]) + number(time[2]) / 1e6
end
for index, kind in ipairs({'hash', 'zset'}) do
  if redis.call('TYPE', KEYS[index]).ok ~= kind then
    redis.call('DEL', KEYS[index])
  end
end
redis.call('ZREM', KEYS[2], ticket)
local gate = redis.call('HMGET', KEYS[1], 'next', 'until', 'cause', 'strikes', 'epoch',
                        'window', 'answered', 'failed', 'answered before', 'failed before', 'crowded')
local next_at, till, cause = number(gate[1]), number(gate[2]), known_cause(gate[3])
local strikes, epoch = whole(gate[4]), whole(gate[5])
if is_beyond(till, now + number(ARGV[14])) then
  till = 0
  redis.call('HSET', KEYS[1], 'until', 0)
end
local window, answered, failed = number(gate[6]), number(gate[7]), number(gate[8])
local answered_before, failed_before = number(gate[9]), number(gate[10])

local function count(a, f)
  local passed, length = now - window, number(ARGV[8])
  if not (passed >= 0 and passed < length / 2) then
    if passed >= 0 and passed < length then
      answered_before, failed_before = answered, failed
    else
      answered_before, failed_before = 0, 0
    end
    answered, failed, window = 0, 0, now
  end
  answered, failed = answered + a, failed + f
  redis.call('HSET', KEYS[1], 'window', text(window), 'answered', answered, 'failed', failed,
             'answered before', answered_before, 'failed before', failed_before)
end

local function trips()
  count(0, 1)
  local all_failed = failed + failed_before
  return all_failed >= number(ARGV[9]) and all_failed >= answered + answered_before
end

local told = outcome == 'limited' or outcome == 'unavailable' or outcome == 'refused'
if number(ARGV[2]) ~= epoch then
  if told and retry_after then
    till = math.max(till, now + retry_after)
    redis.call('HSET', KEYS[1], 'until', text(till))
  end
elseif told or (outcome == 'failing' and (strikes > 0 or trips())) then
  local backoff = math.min(number(ARGV[7]), number(ARGV[6]) * 2 ^ math.min(strikes, 10)) * (0.5 + number(ARGV[5]) / 2)
  local wait = backoff
  if retry_after then
    wait = retry_after
    if strikes > 0 then wait = math.max(retry_after, backoff) end
  end
  till, cause, strikes = now + wait, outcome, strikes + 1
  redis.call('HSET', KEYS[1], 'until', text(till), 'cause', cause, 'strikes', strikes, 'epoch', epoch + 1, 'probe', '',
             'next', text(math.min(next_at, till)), 'answered', 0, 'failed', 0, 'answered before', 0, 'failed before', 0)
elseif outcome == 'answered' then
  count(1, 0)
  if strikes > 0 then
    strikes = 0
    redis.call('HSET', KEYS[1], 'strikes', 0)
  end
end
redis.call('PEXPIRE', KEYS[1], ARGV[10])
if number(gate[11]) > now then
  redis.call('PUBLISH', ARGV[12], ARGV[13])
end
return {text(math.max(0, till - now)), cause, strikes}
