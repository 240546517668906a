// The configuration of rewards behind a URL: what is refused, and what is warned of.
#include <doctest/doctest.h>
#include <sys/resource.h>

#include "rewards/outside/http_client.h"
#include "tests/outside_cases.h"

namespace vernier {
namespace {

using testing::CaughtErrors;
using testing::outside_group;
using testing::outside_reward;
using testing::usage_error;

TEST_CASE("a token that others may read is warned of") {
  testing::TemporaryFolder folder;
  const std::string path = (folder.path() / "log").string();
  ::setenv("VERNIER_TEST_TOKEN", "abc", 1);
  const auto warnings = [&](const std::string& url, const std::string& keys) {
    {
      const CaughtErrors errors(path);
      outside_reward("url", cat("url = \"", url, "\"\n", keys, "\n"));
    }
    return read_file(path);
  };
  const std::string token = "token_env = \"VERNIER_TEST_TOKEN\"\n";
  const auto has = [](const std::string& text, const std::string& part) {
    CAPTURE(text);
    CHECK(text.find(part) != std::string::npos);
    CHECK(std::count(text.begin(), text.end(), '\n') == 1);
  };
  has(warnings("http://judge.example/x", token),
      "reward.r: the token goes to http://judge.example/x unencrypted");
  has(warnings("http://127.0.0.1.example", token), "unencrypted");
  has(warnings("https://judge.example", token + "verify_tls = false"),
      "reward.r: verify_tls = false: the token goes to whoever answers in place of "
      "https://judge.example");
  CHECK(warnings("https://judge.example", token) == "");
  CHECK(warnings("http://127.0.0.1:5000", token + "verify_tls = false") == "");
  CHECK(warnings("http://localhost:5000", token) == "");
  CHECK(warnings("http://judge.example", "") == "");
  CHECK(warnings("https://judge.example", "verify_tls = false") == "");
}

TEST_CASE("URLs are read, and mistakes in them found") {
  const HttpUrl plain = parse_url("http://host/a/b?c=d#e");
  CHECK(plain.host == "host");
  CHECK(plain.port == "80");
  CHECK(plain.target == "/a/b?c=d");
  const HttpUrl six = parse_url("https://[::1]:8443?x");
  CHECK(six.tls);
  CHECK(six.host == "::1");
  CHECK(six.port == "8443");
  CHECK(six.target == "/?x");
  CHECK(parse_url("https://host").port == "443");
  for (const char* bad : {"host:80", "ftp://host", "http://", "http:///x", "http://host:0",
                          "http://host:70000", "http://host:8x", "http://a b", "http://u:p@host",
                          "http://[::1", "http://[::1]8", "http://host\r\nX: y"}) {
    CAPTURE(bad);
    CHECK(usage_error([&] { parse_url(bad); }) != "");
  }
}

TEST_CASE("mistakes in the configuration of a URL") {
  const auto says_of = [](const std::string& keys) {
    return usage_error([&] { outside_reward("url", keys + "\n"); });
  };
  const auto has = [&](const std::string& keys, const std::string& part) {
    const std::string found = says_of(keys);
    CAPTURE(found);
    CHECK(found.find(part) != std::string::npos);
  };
  has("", "reward.r: needs url or urls");
  has("url = \"http://a\"\nurls = [\"http://b\"]", "reward.r.urls: beside url");
  has("url = \"localhost:5000\"", "\"localhost:5000\" does not begin with http:// or https://");
  has("url = \"http://a\"\nshape = \"trl\"", "is not one of vernier, openrlhf, slime");
  has("url = \"http://a\"\nshape = \"slime\"\nneeds_group = true", "holds one response");
  has("url = \"http://a\"\nshape = \"slime\"\nbatch = 2", "has no effect with shape = \"slime\"");
  has("url = \"http://a\"\ntoken_file = \"nothing\"", "reward.r.token_file");
  has("url = \"http://a\"\ntoken_env = \"VERNIER_NO_TOKEN\"",
      "the environment has no VERNIER_NO_TOKEN");
  has("url = \"https://a\"\nca_file = \"nothing.pem\"", "nothing.pem: no certificates");
}

TEST_CASE("a URL that is only read wants no token, and asks for no files") {
  const auto read = [](const std::string& keys) {
    ScoringContext context;
    context.only_read = true;
    std::unique_ptr<Reward> reward;
    ConfigFile::parse(keys, "t.toml").bind([&](Binder& root) {
      root.rename("reward.r");
      reward = RewardRegistry::all().at("url").make(root, context);
    });
    return reward;
  };
  const std::string url = "url = \"https://a\"\n";
  const auto reward = read(url + "token_env = \"VERNIER_NO_TOKEN\"\nca_file = \"nothing.pem\"\n");
  REQUIRE(reward != nullptr);
  CHECK_THROWS_AS(reward->expect(outside_group({"a"}), 0), BugError);
  CHECK_THROWS_AS(reward->counters(), BugError);
  rlimit before = {}, after = {};
  ::getrlimit(RLIMIT_NOFILE, &before);
  read(url + "in_flight = 65536\n");
  ::getrlimit(RLIMIT_NOFILE, &after);
  CHECK(after.rlim_cur == before.rlim_cur);
  CHECK(usage_error([&] {
          read(url + "token_file = \"a\"\ntoken_env = \"b\"\n");
        }).find("beside token_file") != std::string::npos);
}

}  // namespace
}  // namespace vernier
