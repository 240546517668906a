// Asks a service behind a URL, or behind several.
//
// Questions go out as responses end, up to `in_flight` at a time, over connections that are kept.
// What may pass is tried again after a while: no connection, 429 and 5xx. Anything else is final. A
// URL is not asked before the first question: the service may start later than the run.
#include <arpa/inet.h>
#include <sys/resource.h>

#include <algorithm>
#include <cstdlib>
#include <memory>

#include "core/base/files.h"
#include "core/base/log.h"
#include "rewards/outside/outside.h"
#include "rewards/outside/url_service.h"

namespace vernier {
namespace {

constexpr rlim_t kOtherFiles = 512;

bool is_loopback(const std::string& host) {
  in_addr address = {};  // 127.0.0.1.example.com is a name, and anybody's
  return host == "localhost" || host == "::1" ||
         (host.starts_with("127.") && ::inet_pton(AF_INET, host.c_str(), &address) == 1);
}

// Says where a token may be read by others than whom it is for.
void warn_of_token(const std::string& name, const HttpClientConfig& client) {
  if (client.token.empty()) return;
  for (const HttpUrl& url : client.urls)
    if (!url.tls && !is_loopback(url.host))
      log::warn(cat(name, ": the token goes to ", url.text, " unencrypted"));
  const auto tls = std::ranges::find_if(client.urls, [](const HttpUrl& url) { return url.tls; });
  if (tls != client.urls.end() && !client.verify_tls)
    log::warn(cat(name, ": verify_tls = false: the token goes to whoever answers in place of ",
                  tls->text));
}

void bind_urls(Binder& config, std::vector<HttpUrl>& urls) {
  std::string url;
  std::vector<std::string> list;
  config.text("url", url, "whom to ask, as http://127.0.0.1:5000/get_reward");
  config.texts("urls", list, {},
               "several that do the same; the one with the fewest requests is next");
  if (url.empty() == list.empty()) {
    const bool both = !url.empty();
    config.error(both                ? "urls"
                 : config.has("url") ? "url"
                                     : "",
                 both ? "beside url; give one of them" : "needs url or urls");
    return;
  }
  const char* key = url.empty() ? "urls" : "url";
  if (!url.empty()) list = {url};
  for (const std::string& one : list) try {
      urls.push_back(parse_url(one));
    } catch (const UsageError& problem) {
      config.error(key, problem.what());
    }
}

// A token as a header can hold it.
std::string clean_token(Binder& config, const char* key, std::string token) {
  while (!token.empty() && (token.back() == '\n' || token.back() == '\r' || token.back() == ' '))
    token.pop_back();
  if (token.empty()) config.error(key, "holds no token");
  for (const char c : token)
    if (static_cast<unsigned char>(c) <= 0x20 || static_cast<unsigned char>(c) >= 0x7F) {
      config.error(key, "holds a token with a character that no token has");
      return "";
    }
  return token;
}

// `wanted`: else its keys are read, and no token.
std::string bind_token(Binder& config, bool wanted) {
  std::string file, variable;
  config.text("token_file", file, "file with a token, sent as Authorization: Bearer");
  config.text("token_env", variable, "environment variable with the token, instead of a file");
  if (!file.empty() && !variable.empty()) {
    config.error("token_env", "beside token_file; give one of them");
    return "";
  }
  if (!wanted) return "";
  try {
    if (!file.empty()) return clean_token(config, "token_file", read_file(file));
  } catch (const UsageError& problem) {
    config.error("token_file", problem.what());
    return "";
  }
  if (variable.empty()) return "";
  const char* token = std::getenv(variable.c_str());
  if (token != nullptr) return clean_token(config, "token_env", token);
  config.error("token_env", cat("the environment has no ", variable));
  return "";
}

void bind_shape(Binder& config, UrlConfig& url, bool needs_group) {
  UrlShape& shape = url.shape;
  config.choice("shape", shape.name, {"vernier", "openrlhf", "slime"},
                "of request and reply; the other two are those of existing servers");
  config.number("batch", url.batch, 1, 4096, "questions in a request, at most");
  config.text("reward_key", shape.reward_key,
              "shape = \"slime\": of the score in a reply that is an object");
  const bool slime = shape.name == "slime";
  config.only_if("batch", !slime, "shape = \"slime\"");
  config.only_if("reward_key", slime, cat("shape = \"", shape.name, "\""));
  if (slime && needs_group)
    config.error("shape",
                 "a request of slime's shape holds one response; needs_group asks for all");
  shape.batches = url.batch > 1;
}

// A connection is an open file, of which a process has few until it asks for more.
void allow_connections(Binder& config, int64_t in_flight) {
  const rlim_t wanted = static_cast<rlim_t>(in_flight) + kOtherFiles;
  rlimit limit = {};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= wanted) return;
  if (limit.rlim_max < wanted)
    return config.error("in_flight",
                        cat(in_flight, " connections are more than the ", limit.rlim_max,
                            " open files that a process may have here (ulimit -Hn)"));
  limit.rlim_cur = wanted;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

std::unique_ptr<Reward> make_url(Binder& config, const ScoringContext& context) {
  OutsideConfig outside;
  UrlConfig url;
  bind_urls(config, url.client.urls);
  outside.bind(config);
  bind_shape(config, url, outside.needs_group);
  config.number("in_flight", url.in_flight, 1, 65536, "requests at a time");
  config.number("retries", url.retries, 0, 100,
                "of a request that got no connection, 429 or 5xx, before it fails");
  url.client.token = bind_token(config, !context.only_read);
  config.text("ca_file", url.client.ca_file,
              "certificates (PEM) of who signed the server's; by default the system's");
  config.flag("verify_tls", url.client.verify_tls, "whether the server has to prove who it is");
  if (!context.only_read) allow_connections(config, url.in_flight);
  if (url.client.urls.empty()) return nullptr;
  if (context.only_read) return std::make_unique<OutsideReward>(outside, nullptr);
  warn_of_token(outside.name, url.client);
  try {
    return std::make_unique<OutsideReward>(outside, std::make_unique<UrlService>(url));
  } catch (const UsageError& problem) {
    config.error("ca_file", problem.what());
    return nullptr;
  }
}

const RewardRegistry::Entry entry{
    "url",
    {"asks a service over HTTP", "r = what it answers", "its own", "rewards/outside/url_shape.h"},
    make_url};

}  // namespace
}  // namespace vernier
