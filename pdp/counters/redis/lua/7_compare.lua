-- What tells the counters from the ledger while both move (pdp/reconcile).
--
-- As long as somebody watches a root, each request that moves its counters is noted in `moves`
-- with all that is counted of it then. So a look at sums knows exactly which requests the
-- ledger may not have yet, and what they make of the difference.
local WATCH, MOVES, ADJUSTED = PREFIX .. 'watch', PREFIX .. 'moves', PREFIX .. 'adjusted'
local WATCH_KEPT, MOVES_KEPT, ADJUSTED_KEPT = 30, 90, 3600
local MOST_MOVES, MOST_READ = 200000, 2000

-- Of whom the present op is, and {spent, held, tokens spent, tokens held, requests} once it
-- is done; nil where that cannot be told: Redis had lost the hold, and has it from a spool.
local function moved()
  local letter, id = CURRENT[1], CURRENT[2]
  if letter == 'R' or letter == 'P' then
    local hold = cmsgpack.unpack(id)
    if letter == 'P' and call('HEXISTS', hold_name(hold[ID]), 'z') == 1 then return nil end
    return hold[DECISION], hold[KEY], hold[REQUEST], {0, hold[COST] or 0, 0, hold[TOKENS], 1}
  end
  local counted = {0, 0, 0, 0, 0}
  if letter ~= 'C' then counted = {CURRENT[5], 0, CURRENT[6], 0, 1} end
  if id == '' then id = call('GET', request_name(CURRENT[3], CURRENT[4])) or '' end
  if id == '' then return '', CURRENT[3], CURRENT[4], counted end
  local packed = call('HGET', hold_name(id), 'b')
  if not packed then return nil end
  local hold = cmsgpack.unpack(packed)
  return hold[DECISION], hold[KEY], hold[REQUEST], counted
end

note = function(windows)
  local decision, key, request, counted = moved()
  if not decision then return end
  local noted = cmsgpack.pack({decision, key, request, windows, counted})
  -- Whatever is wrong with the list, what moves must not fail for it.
  local length = redis.pcall('RPUSH', MOVES, noted)
  if length == 1 then redis.pcall('EXPIRE', MOVES, MOVES_KEPT) end
  if type(length) ~= 'number' or length > MOST_MOVES then
    redis.pcall('DEL', WATCH, MOVES)
    WATCHER = false
  end
end

-- w who -> whether this one watches from now on, alone.
local function watch(op)
  if WATCHER or OPENING then return false end
  WATCHER = op[2]
  call('DEL', MOVES)
  call('SET', WATCH, WATCHER, 'EX', WATCH_KEPT)
  return true
end

-- v who first {{key, period 1 2 3, start}, ...} -> {moves from the place `first` on, sums}, or
-- false: it watches no longer. Sums are {s, h, ts, th, r} each; nil where there are so many
-- moves that the rest of them is to be read first.
local function values(op)
  if WATCHER ~= op[2] then return false end
  call('EXPIRE', WATCH, WATCH_KEPT)
  call('EXPIRE', MOVES, MOVES_KEPT)
  local moves = call('LRANGE', MOVES, op[3], op[3] + MOST_READ - 1)
  if #moves == MOST_READ then return {moves, false} end
  local sums = {}
  for place, each in ipairs(op[4]) do
    sums[place] = total_bucket(names({each[1], each[3], each[3]})[each[2]])
  end
  return {moves, sums}
end

-- l from skip most -> {{packed, ends}, ...} of live holds that end at the microsecond `from` or
-- later, the earliest first, but for so many.
local function live(op)
  local found = {}
  local ids = call('ZRANGEBYSCORE', PREFIX .. 'ends', op[2], '+inf', 'LIMIT', op[3], op[4])
  for _, id in ipairs(ids) do
    local hold = call('HMGET', hold_name(id), 'b', 'e')
    if hold[1] then found[#found + 1] = hold end
  end
  return found
end

-- j who number {{key, period 1 2 3, start, spent, held, tokens spent, tokens held, requests},
-- ...} -> whether it was done, now or before: add differences (decimals) to sums. What else
-- moves them meanwhile stays. The same number is done once.
local function adjust(op)
  if WATCHER ~= op[2] then return false end
  if call('SADD', ADJUSTED, op[2] .. ':' .. text(op[3])) == 0 then return true end
  call('EXPIRE', ADJUSTED, ADJUSTED_KEPT)
  local fields = {'s', 'h', 'ts', 'th', 'r'}
  for _, row in ipairs(op[4]) do
    local name = names({row[1], row[3], row[3]})[row[2]]
    local kept = ({DAY_KEPT, MONTH_KEPT})[row[2]]
    for place, field in ipairs(fields) do
      local decimal = row[3 + place]
      if decimal ~= '0' then add(name, field, tonumber(decimal), decimal, kept) end
    end
  end
  return true
end

-- r who ends {packed, ...} -> whether it was done: hold again what is pending in the ledger and
-- was lost here, as when a root is opened.
local function restore(op)
  if WATCHER ~= op[2] then return false end
  for _, packed in ipairs(op[4]) do
    CURRENT = {'P', packed}
    fill_hold(packed, op[3])
  end
  return true
end

-- n who -> true. Watch no longer.
local function leave(op)
  if WATCHER == op[2] then
    call('DEL', WATCH, MOVES)
    WATCHER = false
  end
  return true
end
