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

-- A -> whether this owner may open the root: it is not open, and nobody else does.
local function begin(op)
  if EPOCH then return false end
  local opener = call('GET', PREFIX .. 'opening')
  if opener and opener ~= OWNER then return false end
  call('SET', PREFIX .. 'opening', OWNER, 'EX', 30)
  return true
end

-- F rows -> whether this owner still opens the root. rows {key, period 1 2 3, start, spent,
-- tokens, requests}, amounts as decimals: what the ledger has. Nobody else writes meanwhile.
local function fill(op)
  if EPOCH then return false end
  if call('GET', PREFIX .. 'opening') ~= OWNER then return false end
  call('EXPIRE', PREFIX .. 'opening', 30)
  for _, row in ipairs(op[2]) do
    local name = names({row[1], row[3], row[3]})[row[2]]
    call('DEL', name)
    call('HSET', name, 's', row[4], 'ts', row[5])
    if row[2] == 3 then call('HSET', name, 'r', row[6]) end
    if row[2] == 1 then call('EXPIRE', name, DAY_KEPT) end
    if row[2] == 2 then call('EXPIRE', name, MONTH_KEPT) end
  end
  return true
end

-- B epoch {{spool, number}, ...} grace -> whether the root is open now, by this owner. `number`
-- is that of the first record of a spool that the rows do not include. Nothing is reserved for
-- `grace` ms more: so long others have to publish what they hold.
local function open(op)
  if EPOCH then return false end
  if call('GET', PREFIX .. 'opening') ~= OWNER then return false end
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
