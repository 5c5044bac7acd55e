-- The load: POST with an id of its own in every request. KIND=order sends
-- 1 KiB orders, KIND=fetch asks for one by id; TAG keeps the ids of runs apart.
local threads = 0
function setup(thread)
  thread:set("number", threads)
  threads = threads + 1
end

local kind = os.getenv("KIND") or "order"
local tag = os.getenv("TAG") or "t"
local before = '{"order_id":"'
local after = '","customer":{"id":"C-48213","name":"Ana Oliveira","email":"ana.oliveira@example.com","phone":"+351 21 555 0199","address":{"street":"Rua do Ouro 114","city":"Lisboa","zip":"1100-063","country":"PT"}},"currency":"EUR","total":1289.45,"status":"new","channel":"web","created":"2026-05-11T09:30:00Z","lines":[{"sku":"SKU-10021","desc":"Steel bracket 40mm","qty":12,"price":4.95},{"sku":"SKU-20417","desc":"Control unit B7","qty":1,"price":899.00},{"sku":"SKU-33310","desc":"Cable harness 2m","qty":5,"price":32.50}],"note":"'
local sample = string.format("%s-%d-%09d", tag, 0, 0)
local tail = after .. string.rep("x", 1024 - #before - #sample - #after - 2) .. '"}'
local headers = { ["Content-Type"] = "application/json" }
local n = 0

function request()
  n = n + 1
  local id = string.format("%s-%d-%09d", tag, number, n)
  local body
  if kind == "fetch" then
    body = '{"id":"' .. id .. '"}'
  else
    body = before .. id .. tail
  end
  return wrk.format("POST", nil, headers, body)
end

function done(summary, latency, _)
  local e = summary.errors
  io.write(string.format('\nRESULT {"requests":%d,"microseconds":%d,"p50":%.3f,"p90":%.3f,"p99":%.3f,"max":%.3f,"status":%d,"connect":%d,"read":%d,"write":%d,"timeout":%d}\n',
    summary.requests, summary.duration, latency:percentile(50) / 1000, latency:percentile(90) / 1000, latency:percentile(99) / 1000,
    latency.max / 1000, e.status, e.connect, e.read, e.write, e.timeout))
end
