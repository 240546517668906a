// Rewards behind a URL, against servers that are slow, down, and wrong.
#include <dlfcn.h>
#include <doctest/doctest.h>
#include <netdb.h>

#include <future>
#include <string_view>

#include "rewards/outside/http_client.h"
#include "rewards/outside/question.h"
#include "rewards/outside/spawner.h"
#include "tests/outside_cases.h"
#include "tests/raw_server.h"
#include "tests/reward_server.h"
#include "tests/socket_client.h"

namespace {

// Of lookups of stuck.invalid.
std::atomic<int> stuck_begun = 0, stuck_alive = 0;
std::atomic<int> stuck_first = 0;  // as many do not end before they are let go
std::atomic<bool> stuck_let_go = false;

}  // namespace

// In place of the system's, for this program: hosts as they are where the resolver's servers do not
// answer in time, or not at all. None is looked for in the network.
extern "C" int getaddrinfo(const char* host, const char* service, const addrinfo* hints,
                           addrinfo** found) {
  static const auto system =
      reinterpret_cast<decltype(&::getaddrinfo)>(::dlsym(RTLD_NEXT, "getaddrinfo"));
  const std::string_view name = host == nullptr ? "" : host;
  if (name == "slow.invalid") {
    std::this_thread::sleep_for(std::chrono::seconds(3));
    return EAI_AGAIN;
  }
  if (name == "stuck.invalid") {
    ++stuck_alive;
    const bool stays = stuck_begun++ < stuck_first;
    while (stays && !stuck_let_go) std::this_thread::sleep_for(std::chrono::milliseconds(5));
    --stuck_alive;
    return stays ? EAI_AGAIN : system("127.0.0.1", service, hints, found);
  }
  return name.ends_with(".invalid") ? EAI_NONAME : system(host, service, hints, found);
}

namespace vernier {
namespace {

using testing::begins;
using testing::comes_true;
using testing::lengths;
using testing::outside_group;
using testing::outside_reward;
using testing::RawServer;
using testing::RewardServer;
using testing::scores_of;
using testing::TimedReply;

std::unique_ptr<Reward> asking(const std::string& url, const std::string& keys = "") {
  return outside_reward("url", cat("url = \"", url, "\"\n", keys, "\n"));
}

TimedReply says(int status, const std::string& body) {
  return {{.status = status, .body = body}, 0};
}

TEST_CASE("a URL scores responses over connections that are kept") {
  std::string authorization, path;
  RewardServer server([&](const HttpRequest& request) {
    authorization = request.authorization;
    path = request.path;
    return lengths(request);
  });
  ::setenv("VERNIER_TEST_TOKEN", "abc", 1);
  const auto reward = asking(server.url("/score?x=1"), "token_env = \"VERNIER_TEST_TOKEN\"");
  for (int64_t step = 0; step < 3; ++step) {
    const auto scores = scores_of(*reward, outside_group({"a", "bb", "ccc"}, step));
    for (size_t i = 0; i < 3; ++i) {
      CHECK(scores[i].abstain == "");
      CHECK(scores[i].value == static_cast<double>(i + 1));
    }
  }
  CHECK(server.requests == 9);
  CHECK(authorization == "Bearer abc");
  CHECK(path == "/score");
  const auto group = asking(server.url(), "needs_group = true");
  CHECK(scores_of(*group, outside_group({"a", "bb"}))[1].value == 2);
  CHECK(server.requests == 10);
}

TEST_CASE("as many requests as in_flight allows are under way, and no more") {
  RewardServer server([](const HttpRequest& request) { return lengths(request, 0.2); });
  const auto reward = asking(server.url(), "in_flight = 40");
  const Group group = outside_group(std::vector<std::string>(80, "abc"));
  for (size_t i = 0; i < 80; ++i) reward->expect(group, i);
  const Clock clock;
  for (const Score& score : scores_of(*reward, group)) CHECK(score.value == 3);
  CHECK(server.most_under_way == 40);
  CHECK(clock.seconds() < 2);
}

TEST_CASE("batches hold several questions, and fail one by one where they can") {
  std::atomic<int> mode = 0;
  RewardServer server([&](const HttpRequest& request) {
    const Json asked = Json::parse(request.body);
    Json groups = Json::array();
    for (const Json& one : asked["groups"]) groups.push_back(testing::lengths_reply(one));
    if (mode == 1) groups[0]["rewards"].push_back({{"score", 1}});
    if (mode == 2) groups.erase(0);
    if (mode == 3) std::swap(groups[0], groups[1]);
    return says(200, dump_json({{"v", 1}, {"groups", groups}}));
  });
  const auto reward = asking(server.url(), "batch = 4");
  const std::vector<std::string> eight(8, "ab");
  for (const Score& score : scores_of(*reward, outside_group(eight))) CHECK(score.value == 2);
  CHECK(server.requests == 2);
  mode = 1;
  auto scores = scores_of(*reward, outside_group({"a", "b", "c"}, 1));
  CHECK(begins(scores[0].abstain, "count: 2 rewards for 1 responses"));
  CHECK(scores[1].value == 1);
  mode = 2;
  scores = scores_of(*reward, outside_group({"a", "b", "c"}, 2));
  CHECK(scores[2].abstain == "count: 2 groups for 3");
  mode = 3;
  scores = scores_of(*reward, outside_group({"a", "b", "c"}, 3));
  CHECK(begins(scores[0].abstain, "garbage: the reply is to "));
  CHECK(scores[2].abstain == "");
}

TEST_CASE("OpenRLHF's shape and slime's") {
  Json seen;
  std::atomic<int> mode = 0;
  RewardServer server([&](const HttpRequest& request) {
    seen = Json::parse(request.body);
    if (request.path == "/get_reward") {
      if (mode == 1) return says(200, R"({"rewards":[1]})");
      return says(200, R"({"rewards":[1.5,[2.5]],"scores":[0,1],"extra_logs":{"length":[3,4]}})");
    }
    return says(200, mode == 0 ? "0.5" : R"({"points":2,"parts":3,"note":"x"})");
  });
  const Group group = outside_group({"a", "bb"});
  const auto openrlhf = asking(server.url("/get_reward"), "shape = \"openrlhf\"\nbatch = 8");
  auto scores = scores_of(*openrlhf, group);
  CHECK(seen == Json::parse(R"({"query":["How many?a","How many?bb"],"prompts":["How many?",
                                "How many?"],"labels":["7","7"]})"));
  CHECK(scores[0].value == 1.5);
  CHECK(scores[1].value == 2.5);
  CHECK(scores[1].components ==
        std::vector<std::pair<std::string, double>>{{"score", 1}, {"length", 4}});
  const auto slime = asking(server.url("/rm"), "shape = \"slime\"");
  CHECK(scores_of(*slime, outside_group({"bb"}))[0].value == 0.5);
  CHECK(seen == Json::parse(R"({"prompt":"How many?","response":"bb","label":"7"})"));
  mode = 1;
  CHECK(scores_of(*openrlhf, outside_group({"c", "dd"}, 1))[0].abstain ==
        "count: 1 rewards for 2 responses");
  const auto keyed = asking(server.url("/rm"), "shape = \"slime\"\nreward_key = \"points\"");
  scores = scores_of(*keyed, outside_group({"bb"}));
  CHECK(scores[0].value == 2);
  CHECK(scores[0].components == std::vector<std::pair<std::string, double>>{{"parts", 3}});
  CHECK(begins(scores_of(*slime, outside_group({"c"}, 2))[0].abstain, "garbage: no score in"));
}

TEST_CASE("what may pass is tried again, and nothing else is") {
  std::atomic<int> good_after = 0, status = 500;
  RewardServer server([&](const HttpRequest& request) {
    return --good_after < 0 ? lengths(request) : says(status, "busy");
  });
  for (const int passing : {500, 502, 503, 429}) {
    CAPTURE(passing);
    status = passing;
    good_after = passing == 500 ? 2 : 1;
    const auto reward = asking(server.url());
    CHECK(scores_of(*reward, outside_group({"a"}))[0].value == 1);
    CHECK(reward->counters()["retries"] == (passing == 500 ? 2 : 1));
  }
  for (const int final : {301, 400, 401, 404, 413, 422}) {
    CAPTURE(final);
    status = final;
    good_after = 1;
    const auto reward = asking(server.url());
    CHECK(scores_of(*reward, outside_group({"a"}))[0].abstain == cat("http ", final, ": busy"));
    CHECK(reward->counters()["retries"] == 0);
  }
  status = 500;
  good_after = 1000;
  const auto reward = asking(server.url(), "retries = 1");
  CHECK(scores_of(*reward, outside_group({"a"}))[0].abstain == "http 500: busy (2 tries)");
  CHECK(reward->counters()["failed/http 500"] == 1);
  const Clock clock;
  CHECK(
      begins(scores_of(*asking(server.url(), "deadline_s = 0.4"), outside_group({"a"}))[0].abstain,
             "http 500: busy ("));
  CHECK(clock.seconds() < 1.5);
}

TEST_CASE("Retry-After holds a server back, and not another one") {
  std::mutex lock;
  std::vector<double> at;
  const Clock clock;
  const auto busy = [](const char* seconds) {
    return TimedReply{{.status = 429, .body = "busy", .headers = {{"Retry-After", seconds}}}, 0};
  };
  RewardServer server([&](const HttpRequest& request) {
    const std::lock_guard hold(lock);
    at.push_back(clock.seconds());
    return at.size() == 1 ? busy("1") : lengths(request);
  });
  const std::vector<std::string> texts(4, "ab");
  const auto reward = asking(server.url(), "in_flight = 1");
  for (const Score& score : scores_of(*reward, outside_group(texts))) CHECK(score.value == 2);
  {
    const std::lock_guard hold(lock);
    REQUIRE(at.size() == 5);
    CHECK(at[1] - at[0] > 0.95);
  }
  CHECK(reward->counters()["retries"] == 1);

  RewardServer full([&](const HttpRequest&) { return busy("60"); });
  const auto either = outside_reward(
      "url", cat("urls = [\"", full.url(), "\", \"", server.url(), "\"]\nin_flight = 1\n"));
  for (const Score& score : scores_of(*either, outside_group(texts))) CHECK(score.value == 2);
  CHECK(full.requests == 1);
  // Who would wait for that in vain is told at once.
  const auto waits = asking(full.url(), "in_flight = 1\ndeadline_s = 30");
  const Clock waiting;
  const std::string vain = "http 429: busy (not sent: its Retry-After ends behind the deadline)";
  auto scores = scores_of(*waits, outside_group(texts));
  CHECK(scores[0].abstain == "http 429: busy (1 try)");
  for (size_t i = 1; i < texts.size(); ++i) CHECK(scores[i].abstain == vain);
  CHECK(scores_of(*waits, outside_group(texts, 1))[0].abstain == vain);
  CHECK(waiting.seconds() < 15);
  CHECK(waits->counters()["failed/http 429"] == 8);
  CHECK(full.requests == 2);
}

TEST_CASE("replies that cannot be used abstain with their cause") {
  std::string body;
  double after_s = 0;
  RewardServer server([&](const HttpRequest& request) {
    const std::string id = Json::parse(request.body)["id"].get<std::string>();
    std::string text = body;
    if (const size_t at = text.find("ID"); at != std::string::npos) text.replace(at, 2, id);
    return TimedReply{{.status = 200, .body = text}, after_s};
  });
  const auto why = [&](const std::string& reply) {
    body = reply;
    return scores_of(*asking(server.url(), "deadline_s = 5"), outside_group({"a"}))[0].abstain;
  };
  CHECK(begins(why("<html>"), "garbage: reply: not JSON"));
  CHECK(begins(why(""), "garbage"));
  CHECK(begins(why(std::string(100'000, '[')), "garbage: reply: JSON nested deeper than 64"));
  CHECK(begins(why("{\"id\":\"ID\",\"rewards\":[{\"score\":1e400}]}"), "garbage"));
  CHECK(begins(why("{\"id\":\"ID\",\"rewards\":[{\"score\":\"1\"}]}"), "garbage: the score \"1\""));
  CHECK(begins(why("{\"id\":\"ID\",\"rewards\":[{}]}"), "garbage: {} has neither"));
  CHECK(begins(why("{\"id\":\"ID\",\"rewards\":[{\"score\":NaN}]}"), "nan"));
  CHECK(begins(why("{\"id\":\"ID\",\"rewards\":[{\"score\":-Infinity}]}"), "nan"));
  CHECK(why("{\"id\":\"ID\",\"rewards\":[{\"abstain\":\"NaN is no number\"}]}") ==
        "NaN is no number");
  CHECK(begins(why("{\"id\":\"ID\",\"rewards\":[]}"), "count: 0 rewards for 1 responses"));
  CHECK(begins(why("{\"id\":\"ID\",\"rewards\":[{\"score\":1},{\"score\":1}]}"), "count: 2"));
  CHECK(begins(why("{\"id\":\"x\",\"rewards\":[{\"score\":1}]}"), "garbage: the reply is to"));
  CHECK(begins(why("{\"v\":2,\"id\":\"ID\",\"rewards\":[{\"score\":1}]}"), "version"));
  CHECK(why("{\"v\":1,\"id\":\"ID\",\"rewards\":[{\"score\":true}]}") == "");
  after_s = 2;
  body = "{}";
  const Clock clock;
  const auto slow = asking(server.url(), "deadline_s = 0.5\nin_flight = 1");
  const auto scores = scores_of(*slow, outside_group({"a", "b", "c"}));
  CHECK(clock.seconds() < 1.5);
  CHECK(scores[0].abstain == "timeout: no answer within 0.5 s");
  // Where the first one's time is over a moment before its own, it is sent at last.
  CHECK(begins(scores[1].abstain, "timeout: "));
}

TEST_CASE("a server that is none, breaks off or is not there is a failed connection") {
  const auto why = [](int port, const std::string& keys = "") {
    return scores_of(*asking(cat("http://127.0.0.1:", port), cat("retries = 0\n", keys)),
                     outside_group({"a"}))[0]
        .abstain;
  };
  const std::string head = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n";
  for (const std::string& bytes :
       {std::string(), std::string("SSH-2.0-OpenSSH_9.2\r\n"), head + "{\"id\"",
        std::string("HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n"),
        cat("HTTP/1.1 200 OK\r\nX: ", std::string(100'000, 'x'))}) {
    CAPTURE(bytes.substr(0, 40));
    const RawServer server(bytes);
    const std::string found = why(server.port);
    CAPTURE(found);
    CHECK(begins(found, "connection: "));
    CHECK(found.find("(1 try)") != std::string::npos);
  }
  {
    const RawServer server(
        "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc");
    CHECK(begins(why(server.port), "garbage: reply: not JSON"));
  }
  {
    const RawServer server(head + "a byte a second", true);
    CHECK(begins(why(server.port, "deadline_s = 0.5"), "timeout: no answer within 0.5 s"));
  }
  int closed = 0;
  {
    const RawServer server("");
    closed = server.port;
  }
  CHECK(begins(why(closed), "connection: no connection: Connection refused (1 try)"));
  CHECK(begins(
      scores_of(*asking("http://no-such-host.invalid", "retries = 0"), outside_group({"a"}))[0]
          .abstain,
      "connection: the host is not found"));
}

TEST_CASE("a server that closes kept connections, or starts again, costs nothing") {
  std::optional<RewardServer> server;
  server.emplace([](const HttpRequest& request) { return lengths(request); });
  const int port = server->port;
  const auto reward = asking(server->url());
  CHECK(scores_of(*reward, outside_group({"a"}))[0].value == 1);
  server.reset();
  server.emplace([](const HttpRequest& request) { return lengths(request); }, port);
  CHECK(scores_of(*reward, outside_group({"a"}, 1))[0].value == 1);
  CHECK(reward->counters()["retries"] == 0);  // the old connection was not even a try
}

// An answer for those who look at no body.
TimedReply empty(const HttpRequest&) { return says(200, "{}"); }

// Posts to a client's URLs, one after the other; what came of each.
std::vector<HttpResult> post_all(HttpClient& client,
                                 const std::vector<std::pair<size_t, double>>& posts) {
  std::vector<std::future<HttpResult>> results;
  for (const auto& [url, deadline_s] : posts) {
    const auto result = std::make_shared<std::promise<HttpResult>>();  // of the client's thread too
    results.push_back(result->get_future());
    const auto deadline = std::chrono::steady_clock::now() + as_duration(deadline_s);
    client.call([&client, url, deadline, result] {
      client.post(url, "{}", deadline,
                  [result](HttpResult one) { result->set_value(std::move(one)); });
    });
  }
  std::vector<HttpResult> out;
  for (auto& result : results) out.push_back(result.get());
  return out;
}

TEST_CASE("what a server says before its reply is no reply") {
  const std::string before =
      "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n";
  const RawServer good(before + "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"), cut(before),
      other("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n");
  HttpClientConfig config;
  for (const int port : {good.port, cut.port, other.port})
    config.urls.push_back(parse_url(cat("http://127.0.0.1:", port)));
  HttpClient client(config);
  const auto results = post_all(client, {{0, 10}, {1, 10}, {2, 10}});
  CHECK(results[0].status == 200);
  CHECK(results[0].body == "{}");
  CHECK(begins(results[1].problem, "no reply: "));
  CHECK(results[2].status == 101);
}

TEST_CASE("a host that takes long to be looked up holds up nobody") {
  RewardServer server(empty);
  HttpClientConfig config;
  config.urls = {parse_url("http://slow.invalid"),
                 parse_url(cat("http://localhost:", server.port))};
  config.connect_s = 0.4;
  const Clock clock;
  {
    HttpClient client(config);
    const auto results = post_all(client, {{0, 0.2}, {0, 60}, {1, 60}});
    CHECK(results[0].problem == "timeout");
    CHECK(begins(results[1].problem, "the host is not found: "));
    CHECK(results[2].status == 200);
  }
  CHECK(clock.seconds() < 2);
}

TEST_CASE("a host whose lookup never ends is looked up again, a few times at once") {
  RewardServer server(empty);
  HttpClientConfig config;
  config.urls = {parse_url(cat("http://stuck.invalid:", server.port))};
  const auto begin = [](int first) {
    stuck_begun = 0;
    stuck_first = first;
    stuck_let_go = false;
  };
  const auto end = [] {
    stuck_let_go = true;
    CHECK(comes_true([] { return stuck_alive == 0; }));
  };
  begin(1);
  config.lookup_s = 0.05;
  {
    HttpClient client(config);
    auto early = std::async(std::launch::async, [&] { return post_all(client, {{0, 60}}); });
    CHECK(comes_true([] { return stuck_begun == 1; }));
    std::this_thread::sleep_for(as_duration(0.1));
    CHECK(post_all(client, {{0, 60}})[0].status == 200);
    CHECK(early.get()[0].status == 200);  // by the second lookup too
  }
  end();
  config.connect_s = 0.1;
  for (const auto& [lookup_s, posts, begun] : {std::tuple(30.0, 2, 1), std::tuple(0.05, 6, 4)}) {
    begin(100);
    config.lookup_s = lookup_s;
    HttpClient client(config);
    for (int i = 0; i < posts; ++i)
      CHECK(begins(post_all(client, {{0, 60}})[0].problem, "the host is not found: "));
    CHECK(stuck_begun == begun);
    end();
  }
}

TEST_CASE("connections that nobody uses make room for those that are needed") {
  const std::string reply = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
  const RawServer first(reply, true), second(reply, true);
  HttpClientConfig config;
  for (const int port : {first.port, second.port})
    config.urls.push_back(parse_url(cat("http://127.0.0.1:", port)));
  config.connections = 1;
  HttpClient client(config);
  CHECK(post_all(client, {{0, 10}})[0].status == 200);
  CHECK(post_all(client, {{1, 10}})[0].status == 200);
  CHECK(comes_true([&] { return first.left == 1; }));
  CHECK(second.left == 0);
}

TEST_CASE("a connection that nobody uses is closed after a while") {
  const RawServer server("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", true);
  HttpClientConfig config;
  config.urls = {parse_url(cat("http://127.0.0.1:", server.port))};
  config.idle_s = 0.3;
  HttpClient client(config);
  CHECK(post_all(client, {{0, 10}})[0].status == 200);
  CHECK(server.left == 0);
  CHECK(comes_true([&] { return server.left == 1; }));
}

TEST_CASE("several URLs share the work, and do without one that is down") {
  const auto answer = [](const HttpRequest& request) { return lengths(request, 0.05); };
  RewardServer first(answer);
  std::optional<RewardServer> second;
  second.emplace(answer);
  const auto reward = outside_reward(
      "url", cat("urls = [\"", first.url(), "\", \"", second->url(), "\"]\nin_flight = 8\n"));
  const std::vector<std::string> texts(32, "ab");
  for (const Score& score : scores_of(*reward, outside_group(texts))) CHECK(score.value == 2);
  CHECK(std::abs(first.requests - second->requests) <= 4);
  second.reset();
  for (const Score& score : scores_of(*reward, outside_group(texts, 1))) CHECK(score.value == 2);
  CHECK(reward->counters()["retries"] <= 8);
}

TEST_CASE("TLS: who the server is has to be proved, unless it need not") {
  ChildSpec spec;
  spec.command = {"python3", cat(VERNIER_TEST_CASES, "/outside/tls_server.py"),
                  cat(VERNIER_TEST_CASES, "/outside/tls/server.pem")};
  Child server(spec);
  std::string said;
  std::array<char, 64> buffer;
  CHECK(comes_true([&] {
    const ssize_t count = ::read(server.out(), buffer.data(), buffer.size());
    if (count > 0) said.append(buffer.data(), static_cast<size_t>(count));
    return said.find('\n') != std::string::npos;
  }));
  const int port = std::stoi(said);
  testing::TemporaryFolder folder;
  const std::string token = (folder.path() / "token").string();
  write_file(token, "secret\n");
  const std::string ca = cat("ca_file = \"", VERNIER_TEST_CASES, "/outside/tls/ca.pem\"\n",
                             "token_file = \"", token, "\"\nretries = 0");
  const auto ask = [&](const std::string& host, const std::string& keys) {
    return scores_of(*asking(cat("https://", host, ":", port), keys), outside_group({"a"}))[0];
  };
  const Score good = ask("localhost", ca);
  CHECK(good.abstain == "");
  CHECK(good.value == 1);
  CHECK(begins(ask("localhost", "retries = 0").abstain,
               "connection: no TLS: certificate verify failed"));
  CHECK(begins(ask("127.0.0.1", ca).abstain, "connection: no TLS: certificate verify failed"));
  CHECK(ask("127.0.0.1", "verify_tls = false").abstain == "");
  CHECK(begins(
      scores_of(*asking(cat("http://localhost:", port), "retries = 0"), outside_group({"a"}))[0]
          .abstain,
      "connection: no reply"));
}

}  // namespace
}  // namespace vernier
