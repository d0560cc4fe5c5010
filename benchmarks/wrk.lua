-- Sends the bodies of a file in turn, and prints one line of JSON at the end. Arguments: the file.
local bodies, number = {}, 0

function init(arguments)
  for line in io.lines(arguments[1]) do
    bodies[#bodies + 1] = wrk.format("POST", nil, { ["Content-Type"] = "application/json" }, line)
  end
end

function request()
  number = number + 1
  return bodies[(number - 1) % #bodies + 1]
end

function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format(
    'RESULT {"seconds": %.6f, "requests": %d, "p50": %.3f, "p90": %.3f, "p99": %.3f, "p100": %.3f, ' ..
    '"not_2xx": %d, "socket_errors": %d, "timeouts": %d}\n',
    summary.duration / 1e6, summary.requests, latency:percentile(50) / 1e3, latency:percentile(90) / 1e3,
    latency:percentile(99) / 1e3, latency.max / 1e3, errors.status,
    errors.connect + errors.read + errors.write, errors.timeout))
end
