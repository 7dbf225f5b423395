-- What wrk sends, for `bench`: wrk ... -s load.lua URL -- create | same FILE
--   create  POST /users with an e-mail address that nothing else uses
--   same    the URL as it stands, or with each line of FILE in turn after it
-- Writes one line of JSON when it is done.

local number = 0

function setup(thread)
  number = number + 1
  thread:set("number", number)
end

function init(args)
  count = 0
  if args[1] == "create" then
    local random = assert(io.open("/dev/urandom", "rb"))
    local unique = random:read(8):gsub(".", function(c) return string.format("%02x", c:byte()) end)
    random:close()
    local body = '{"email":"' .. unique .. number .. '-%010d@example.com","name":"User %010d"}'
    local headers = { ["Content-Type"] = "application/json" }
    local whole = wrk.format("POST", nil, headers, body:format(0, 0))
    local head = whole:sub(1, select(2, whole:find("\r\n\r\n", 1, true)))
    request = function()
      count = count + 1
      return head .. body:format(count, count)
    end
  elseif args[2] then
    local requests = {}
    for line in io.lines(args[2]) do
      requests[#requests + 1] = wrk.format("GET", wrk.path .. line)
    end
    request = function()
      count = count % #requests + 1
      return requests[count]
    end
  end
end

function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(
    '{"requests":%d,"seconds":%f,"p50_ms":%f,"p99_ms":%f,"errors":%d}\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    e.status + e.connect + e.read + e.write + e.timeout))
end
