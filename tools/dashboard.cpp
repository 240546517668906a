#include "tools/dashboard.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <charconv>
#include <chrono>
#include <ctime>
#include <optional>
#include <set>
#include <utility>

#include "core/base/errors.h"
#include "core/base/files.h"
#include "core/base/json.h"
#include "core/base/log.h"
#include "core/base/text.h"
#include "rollout/endpoint/access.h"
#include "tools/report_html.h"
#include "tools/report_samples.h"

namespace vernier {
namespace {

constexpr double kLookSeconds = 1;   // between two looks at the folders
constexpr double kBeatSeconds = 15;  // a stream says that it is there
constexpr double kWaitPerWork = 9;   // seconds of rest for each of reading
constexpr int64_t kMaxGroups = 64;   // of one answer about samples
// Where a browser comes with its new cookie. It does not send a SameSite=Strict one along a
// redirect that began on another site's page, but from this one it does.
constexpr std::string_view kEntered = "/entered";
constexpr std::string_view kEnteredPage =
    "<!DOCTYPE html><title>vernier</title><link rel=\"icon\" href=\"data:,\"><meta "
    "http-equiv=\"refresh\" content=\"0; url=/\">";

// The cookie is made from the token, so that it holds when the server starts again, and cannot be
// made without it.
std::string cookie_of(const std::string& token) {
  if (token.empty()) return "";
  constexpr std::string_view kWhat = "vernier serve: cookie";
  std::array<unsigned char, EVP_MAX_MD_SIZE> mac{};
  unsigned size = 0;
  ::HMAC(EVP_sha256(), token.data(), static_cast<int>(token.size()),
         reinterpret_cast<const unsigned char*>(kWhat.data()), kWhat.size(), mac.data(), &size);
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string out;
  for (unsigned i = 0; i < size; ++i) {
    out += kDigits[mac[i] >> 4];
    out += kDigits[mac[i] & 15];
  }
  return out;
}

HttpReply problem_reply(int status, const std::string& message) {
  return {.status = status, .body = dump_json(Json{{"error", to_valid_utf8(message)}}) + "\n"};
}

HttpReply reply_of(std::string type, std::string body, const std::string& cache) {
  HttpReply out{.status = 200, .body = std::move(body), .type = std::move(type)};
  out.headers = {{"Cache-Control", cache},
                 {"X-Content-Type-Options", "nosniff"},
                 {"Referrer-Policy", "no-referrer"},
                 {"Content-Security-Policy", "frame-ancestors 'none'"}};
  return out;
}

std::string lower(std::string text) {
  for (char& letter : text)
    if (letter >= 'A' && letter <= 'Z') letter = static_cast<char>(letter - 'A' + 'a');
  return text;
}

// The host without its port.
std::string host_name(const std::string& header) {
  if (header.starts_with('[')) return header.substr(0, header.find(']') + 1);
  std::string name = lower(header.substr(0, header.find(':')));
  if (name.ends_with('.')) name.pop_back();
  return name;
}

// No name can be made to mean an address: a page elsewhere cannot ask by one (DNS rebinding).
bool is_address(const std::string& host) {
  if (host.starts_with('[')) return host.size() > 2 && host.ends_with(']');
  return !host.empty() && host.find_first_not_of("0123456789.") == std::string::npos;
}

std::string machine_name() {
  std::array<char, 256> name{};
  if (::gethostname(name.data(), name.size() - 1) != 0) return "";
  return lower(name.data());
}

// Changes whenever something was added to a run.
std::string signature_of(const std::vector<std::string>& runs) {
  std::string out;
  for (const std::string& run : runs) {
    out += run + "\n";
    for (const char* name : {"metrics.jsonl", "config.toml", "eval", "rollouts"}) {
      std::error_code missing;
      const fs::path path = fs::path(run) / name;
      const auto time = fs::last_write_time(path, missing);
      if (missing) continue;
      const auto size = fs::is_regular_file(path, missing) ? fs::file_size(path, missing) : 0;
      out += cat(name, " ", time.time_since_epoch().count(), " ", size, "\n");
    }
  }
  return out;
}

std::string time_of_day() {
  const std::time_t now = std::time(nullptr);
  std::tm local{};
  ::localtime_r(&now, &local);
  std::array<char, 32> text{};
  std::strftime(text.data(), text.size(), "%H:%M:%S", &local);
  return text.data();
}

// A version that no other server, before or after, gives to other data.
std::string new_version() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return cat(std::chrono::duration_cast<std::chrono::microseconds>(now).count());
}

std::string event_text(const std::string& version) {
  return cat("id: ", version, "\nretry: 2000\nevent: report\ndata: {}\n\n");
}

// Names of hosts as they are compared.
DashboardConfig with_names(DashboardConfig config) {
  for (std::string& host : config.hosts) {
    if (host.empty() || host.find_first_of(":/[]@ ") != std::string::npos)
      fail("--allow-host: '", host, "' is no name of a host (without a port)");
    host = host_name(host);
  }
  return config;
}

std::optional<int64_t> number_of(const std::optional<std::string>& text) {
  if (!text) return std::nullopt;
  int64_t value = 0;
  const auto [end, problem] = std::from_chars(text->data(), text->data() + text->size(), value);
  if (problem != std::errc() || end != text->data() + text->size() || value < 0)
    return std::nullopt;
  return value;
}

}  // namespace

Dashboard::Dashboard(DashboardConfig config)
    : config_(with_names(std::move(config))),
      cookie_(cookie_of(config_.token)),
      cookie_name_(cat("vernier_serve_", cookie_.substr(0, 8))) {
  std::string problems;
  for (const std::string& folder : config_.folders) {
    std::error_code missing;
    if (!fs::is_directory(folder, missing))
      problems += cat("\n", folder, ": is not a folder; a run, or a folder of runs, is wanted");
  }
  if (!problems.empty()) fail(problems.substr(1));
  page_.problem = "the runs are being read";
  watcher_ = std::thread([this] { watch(); });
}

Dashboard::~Dashboard() {
  {
    const std::lock_guard held(lock_);
    stopping_ = true;
  }
  stop_.notify_all();
  watcher_.join();
  tasks_.finish();
}

HttpHandlers Dashboard::handlers() {
  return {
      .refuse = [this](const HttpRequest& request) { return refuse(request); },
      .answer = [this](HttpRequest&& request,
                       const std::shared_ptr<Exchange>& exchange) { answer(request, exchange); },
      .problem = problem_reply};
}

std::optional<HttpReply> Dashboard::refuse(const HttpRequest& request) const {
  const std::string host = host_name(request.host);
  const bool known = is_address(host) || host == "localhost" || host == machine_name() ||
                     std::ranges::find(config_.hosts, host) != config_.hosts.end();
  if (!known)
    return problem_reply(421,
                         cat("Host: '", request.host.substr(0, 200),
                             "' is not a name of this server; --allow-host NAME makes it one"));
  if (request.method != "GET" && request.method != "HEAD") {
    HttpReply reply = problem_reply(405, "only GET and HEAD: nothing can be changed here");
    reply.headers.emplace_back("Allow", "GET, HEAD");
    return reply;
  }
  if (request.fetch_site == "cross-site" && request.path != "/" && request.path != kEntered)
    return problem_reply(403, "another site's page asks for this");
  if (config_.token.empty() || request.path == kEntered) return std::nullopt;
  if (request.path == "/" && query_value(request.query, "token")) return std::nullopt;  // enter()
  const auto cookie = cookie_value(request.cookie, cookie_name_);
  if (cookie && same_secret(*cookie, cookie_)) return std::nullopt;
  const auto bearer = bearer_token(request.authorization);
  if (bearer && same_secret(*bearer, config_.token)) return std::nullopt;
  HttpReply reply = problem_reply(
      401, "open /?token=TOKEN once, with the token of --token-file; a cookie remembers it");
  reply.headers.emplace_back("WWW-Authenticate", "Bearer");
  return reply;
}

void Dashboard::answer(const HttpRequest& request, const std::shared_ptr<Exchange>& exchange) {
  const std::string& path = request.path;
  if (path == "/") return exchange->reply(enter(request));
  if (path == kEntered)
    return exchange->reply(
        reply_of("text/html; charset=utf-8", std::string(kEnteredPage), "no-store"));
  if (path == "/report.json") return exchange->reply(report());
  if (path == "/events") return stream(request, exchange);
  if (path == "/report.js")
    return exchange->reply(
        reply_of("text/javascript; charset=utf-8", page_script(true), "no-cache"));
  if (path == "/plotly.js")
    return exchange->reply(reply_of("text/javascript; charset=utf-8", std::string(plotly_script()),
                                    "private, max-age=86400"));
  if (path == "/samples") {
    const auto left = std::make_shared<std::atomic<bool>>(false);
    exchange->when_left([left] { *left = true; });
    return tasks_.post([this, request, exchange, left] {
      if (!*left && !stopping_) exchange->reply(samples(request));
    });
  }
  exchange->reply(
      problem_reply(404, "no such page; there are /, /report.json, /samples and /events"));
}

// The page; with the token in its address first the cookie, so that the address need not keep it.
HttpReply Dashboard::enter(const HttpRequest& request) const {
  const auto token = query_value(request.query, "token");
  if (!token || config_.token.empty()) {
    return reply_of("text/html; charset=utf-8", live_page(), "no-store");
  }
  if (!same_secret(*token, config_.token))
    return problem_reply(401, "token: is not the one of --token-file");
  HttpReply reply = reply_of("text/plain", "", "no-store");
  reply.status = 303;
  reply.headers.emplace_back("Location", std::string(kEntered));
  reply.headers.emplace_back(
      "Set-Cookie", cat(cookie_name_, "=", cookie_, "; HttpOnly; SameSite=Strict; Path=/"));
  return reply;
}

HttpReply Dashboard::report() const {
  std::shared_ptr<const std::string> body;
  Json head;
  {
    const std::lock_guard held(lock_);
    head = {{"version", page_.version.empty() ? Json() : Json(page_.version)},
            {"problem", page_.problem.empty() ? Json() : Json(to_valid_utf8(page_.problem))},
            {"seen", page_.seen}};
    body = page_.body;
  }
  std::string text = dump_json(head);
  text.pop_back();
  text += body == nullptr ? "}" : cat(",", std::string_view(*body).substr(1));
  return reply_of("application/json", std::move(text), "no-store");
}

HttpReply Dashboard::samples(const HttpRequest& request) const {
  const auto run = query_value(request.query, "run");
  const auto step = number_of(query_value(request.query, "step"));
  const auto from = number_of(query_value(request.query, "from"));
  const auto count = number_of(query_value(request.query, "count"));
  if (!run || !step || !from || !count || *count > kMaxGroups)
    return problem_reply(400, cat("wanted are run, step, from and count, of at most ", kMaxGroups));
  std::string path;
  {
    const std::lock_guard held(lock_);
    const auto found = page_.paths.find(*run);
    if (found == page_.paths.end()) return problem_reply(404, cat("no run is called '", *run, "'"));
    path = found->second;
  }
  try {
    const StoredRollouts stored(path);
    if (!std::ranges::binary_search(stored.steps(), *step))
      return problem_reply(404, cat("run '", *run, "' has no rollouts of step ", *step));
    return reply_of("application/json", dump_json(stored.groups(*step, *from, *count)), "no-store");
  } catch (const std::exception& problem) {
    return problem_reply(500, problem.what());  // as of a file that went away meanwhile
  }
}

void Dashboard::stream(const HttpRequest& request, const std::shared_ptr<Exchange>& exchange) {
  HttpReply head = reply_of("text/event-stream", "", "no-store");
  if (request.method == "HEAD") return exchange->reply(std::move(head));
  const std::lock_guard held(lock_);
  const int64_t number = next_stream_++;
  exchange->begin(std::move(head));
  const bool is_new = !page_.version.empty() && request.last_event_id != page_.version;
  exchange->write(is_new ? event_text(page_.version) : std::string("retry: 2000\n\n"));
  streams_[number] = exchange;
  exchange->when_left([this, number] {
    const std::lock_guard inside(lock_);
    streams_.erase(number);
  });
}

// ---- Watching.

// Whether it is time, and not the end. Tells all streams now and then that somebody is here.
bool Dashboard::wait(double seconds) {
  for (const Clock clock; clock.seconds() < seconds;) {
    const double slice = std::min(kBeatSeconds, seconds - clock.seconds());
    {
      std::unique_lock held(lock_);
      if (stop_.wait_for(held, std::chrono::duration<double>(slice),
                         [&] { return stopping_.load(); }))
        return false;
    }
    if (beat_.seconds() < kBeatSeconds) continue;
    beat_ = Clock();
    tell(": here\n\n");
  }
  return !stopping_;
}

void Dashboard::watch() {
  std::optional<std::string> last;
  double rest = 0;
  while (wait(rest)) {
    rest = kLookSeconds;
    const std::vector<std::string> runs = find_runs(config_.folders);
    if (const std::string now = signature_of(runs); now != last) {
      const Clock clock;
      if (read_runs(runs)) last = now;
      rest = std::max(rest, kWaitPerWork * clock.seconds());
    }
  }
}

bool Dashboard::read_runs(const std::vector<std::string>& runs) {
  std::string problem;
  std::shared_ptr<const std::string> body;
  std::map<std::string, std::string> paths;
  try {
    if (runs.empty()) fail("no run is here yet: none has a metrics.jsonl");
    const Report report =
        make_report(runs, {.bootstrap = {}, .tolerant = true, .stop = &stopping_});
    for (const Run& run : report.runs) paths[run.name] = run.path;
    PageParts parts = page_parts(report);
    for (Json& run : parts.data["runs"])
      if (run["samples"].is_object()) run["samples"].erase("groups");  // they are asked for
    body = std::make_shared<const std::string>(dump_json(Json{{"names", parts.names},
                                                              {"summary", parts.summary},
                                                              {"cost", parts.cost},
                                                              {"statements", parts.statements},
                                                              {"notes", parts.notes},
                                                              {"configs", parts.configs},
                                                              {"data", std::move(parts.data)}}));
  } catch (const std::exception& failure) {
    // A run that is being written may be read again in a second; one that was moved stays away.
    problem = failure.what();
  }
  std::string version;
  {
    const std::lock_guard held(lock_);
    // The same problem again is no news.
    if (!problem.empty() && problem == page_.problem) return runs.empty();
    page_.problem = problem;
    version = page_.version = new_version();
    if (problem.empty()) {
      page_.seen = cat("read at ", time_of_day());
      page_.body = std::move(body);
      page_.paths = std::move(paths);
    }
  }
  tell(event_text(version));
  return problem.empty() || runs.empty();
}

void Dashboard::tell(const std::string& event) {
  const std::lock_guard held(lock_);
  for (const auto& [number, exchange] : streams_) exchange->write(event);
}

}  // namespace vernier
