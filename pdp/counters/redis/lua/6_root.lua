-- A root as a whole: opened once Redis has lost its data, and how far each spool is counted.

-- K {{key, day, month, {slot, ...}}, ...} -> {day, month, total, times} of each.
local function look(op)
  local states = {}
  for place, window in ipairs(op[2]) do
    local all = names(window)
    local times = {}
    for at, slot in ipairs(window[4]) do
      times[at] = call('HGET', PREFIX .. 'r:' .. window[1], slot)
    end
    states[place] = {bucket(all[1]), bucket(all[2]), total_bucket(all[3]), times}
  end
  return states
end

local MOST_LEFT = 200

-- Take out what an opening has left that came to nothing; whether that was all.
local function clear_left()
  local left = call('ZRANGE', PREFIX .. 'ends', 0, MOST_LEFT - 1)
  for _, id in ipairs(left) do
    local packed = call('HGET', hold_name(id), 'b')
    if packed then
      local hold = cmsgpack.unpack(packed)
      move_held(hold, -1)
      call('DEL', hold_name(id), request_name(hold[KEY], hold[REQUEST]))
    end
    call('ZREM', PREFIX .. 'ends', id)
  end
  return #left < MOST_LEFT
end

-- A epoch -> whether this owner may open the root, under an epoch of its choice: it is not
-- open, and nobody else does. False, too, as long as there is more to clear: ask again.
local function begin(op)
  if EPOCH then return false end
  local opener = call('GET', PREFIX .. 'opening')
  local own = OWNER .. ' '
  if opener and string.sub(opener, 1, #own) ~= own then return false end
  call('SET', PREFIX .. 'opening', own .. op[2], 'EX', 30)
  return clear_left()
end

-- Whether it is this owner that opens the root, under this epoch.
local function is_opening(epoch)
  if EPOCH or call('GET', PREFIX .. 'opening') ~= OWNER .. ' ' .. epoch then return false end
  call('EXPIRE', PREFIX .. 'opening', 30)
  return true
end

-- F epoch rows -> whether this owner still opens the root. rows {key, period 1 2 3, start,
-- spent, tokens, requests}, amounts as decimals: what the ledger has. Nobody else writes
-- meanwhile.
local function fill(op)
  if not is_opening(op[2]) then return false end
  for _, row in ipairs(op[3]) do
    local name = names({row[1], row[3], row[3]})[row[2]]
    call('DEL', name)
    call('HSET', name, 's', row[4], 'ts', row[5])
    if row[2] == 3 then call('HSET', name, 'r', row[6]) end
    if row[2] == 1 then call('EXPIRE', name, DAY_KEPT) end
    if row[2] == 2 then call('EXPIRE', name, MONTH_KEPT) end
  end
  return true
end

-- Hold what the ledger knows to be pending, unless it is known here.
local function fill_hold(packed, ends)
  local hold = cmsgpack.unpack(packed)
  local name = hold_name(hold[ID])
  if call('EXISTS', name) == 1 then return end
  move_held(hold, 1)
  call('HSET', name, 'b', packed, 'e', ends, 'o', '', 'l', '')
  call('ZADD', PREFIX .. 'ends', score(ends), hold[ID])
  call('SET', request_name(hold[KEY], hold[REQUEST]), hold[ID])
end

-- N epoch ends holds -> whether this owner still opens the root. holds {packed, ...}: what the
-- ledger knows to be pending, once all rows are filled. Whoever has a hold publishes it; if
-- nobody does by then, it `ends`.
local function fill_held(op)
  if not is_opening(op[2]) then return false end
  for _, packed in ipairs(op[4]) do fill_hold(packed, op[3]) end
  return true
end

-- B epoch {{spool, number}, ...} grace -> whether the root is open now, by this owner. `number`
-- is that of the first record of a spool that the rows do not include. Nothing is reserved for
-- `grace` ms more: so long others have to publish what they hold.
local function open(op)
  if not is_opening(op[2]) then return false end
  for _, each in ipairs(op[3]) do
    call('HSET', PREFIX .. 'spools', each[1], text(each[2]))
  end
  EPOCH = op[2]
  call('SET', PREFIX .. 'epoch', EPOCH)
  if op[4] > 0 then
    call('PEXPIRE', PREFIX .. 'opening', op[4])
  else
    call('DEL', PREFIX .. 'opening')
  end
  return true
end

-- H spool number -> up to which record of a spool all is counted, before this; false: none.
-- `number` -1 only asks.
local function beat(op)
  local before = call('HGET', PREFIX .. 'spools', op[2])
  if op[3] >= 0 then
    call('HSET', PREFIX .. 'spools', op[2], text(op[3]))
  end
  return before
end
