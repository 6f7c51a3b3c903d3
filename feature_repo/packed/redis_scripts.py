"""What Redis does in one step, in its own Lua."""

from __future__ import annotations

# Writes each row unless a newer one is there, in one step of the server's. Returns 1 for a row that was written,
# 0 for one that is there as it is, and -1 for one that is older. Foreign bytes under our key are written over.
WRITE = """
local out = {}
for i, key in ipairs(KEYS) do
  local new, old = ARGV[i + 1], redis.pcall('GET', key)
  local done = 1
  if type(old) == 'string' and #old >= 28 and string.sub(old, 1, 3) == string.sub(new, 1, 3) then
    local was, made = struct.unpack('<i8i8', old, 9)
    local is, now = struct.unpack('<i8i8', new, 9)
    if old == new then
      done = 0
    elseif was > is or (was == is and made > now) then
      done = -1
    end
  end
  if done == 1 then
    if ARGV[1] == '0' then redis.call('SET', key, new) else redis.call('SET', key, new, 'EX', ARGV[1]) end
  elseif done == 0 and ARGV[1] ~= '0' then
    redis.call('EXPIRE', key, ARGV[1])
  end
  out[i] = done
end
return out
"""

# Counts a write to a table and remembers its keys under the count, in a hash of the last writes; all in one step.
# The first count of a table is the time, so that a server that lost its memory does not count the same again.
ADVANCE = """
if redis.call('SETNX', KEYS[1], ARGV[1]) == 0 then redis.call('INCR', KEYS[1]) end
local version = redis.call('GET', KEYS[1])
if ARGV[3] == '1' then redis.call('HSET', KEYS[2], version, ARGV[4]) else redis.call('DEL', KEYS[2]) end
redis.call('HDEL', KEYS[2], string.format('%.0f', version - ARGV[2]))
return version
"""
